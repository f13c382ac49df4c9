import type { RefObject } from 'preact'
import { useCallback, useEffect, useState } from 'preact/hooks'

/** Up to so many rows all are in the page, so that the browser's own search finds them; beyond, those in sight. */
const ALL_ROWS = 1000
/** Rows kept ready above and below what is in sight. */
const SPARE_ROWS = 20

export interface VisibleRows {
  from: number
  to: number
  /** Pixels in place of the rows left out before and after. */
  before: number
  after: number
  /** Scrolls until the row is in sight. */
  reveal(row: number): void
}

/** Which rows of a long list are worth having in the page. All rows are as high as the style sheet's --row-height. */
export function useVisibleRows(list: RefObject<HTMLElement | null>, count: number): VisibleRows {
  const [rowHeight, setRowHeight] = useState(0)
  const [range, setRange] = useState({ from: 0, to: count <= ALL_ROWS ? count : 4 * SPARE_ROWS })
  useEffect(() => {
    const update = () => {
      if (list.current === null) return
      const height = Number.parseFloat(getComputedStyle(list.current).getPropertyValue('--row-height'))
      setRowHeight(height)
      if (count <= ALL_ROWS) {
        setRange({ from: 0, to: count })
        return
      }
      const top = -list.current.getBoundingClientRect().top
      // By tens, so that most scroll events change nothing.
      const from = Math.floor(Math.max(0, top / height - SPARE_ROWS) / 10) * 10
      const to = Math.ceil(Math.min(count, (top + innerHeight) / height + SPARE_ROWS) / 10) * 10
      setRange(old => (old.from === from && old.to === to ? old : { from, to }))
    }
    update()
    addEventListener('scroll', update, { passive: true })
    addEventListener('resize', update)
    return () => {
      removeEventListener('scroll', update)
      removeEventListener('resize', update)
    }
  }, [list, count])

  const reveal = useCallback(
    (row: number) => {
      if (list.current === null || rowHeight === 0) return
      const top = list.current.getBoundingClientRect().top + row * rowHeight
      // Clear of the axis, which stays at the top, and of the detail below it on small screens.
      const room = Number.parseFloat(getComputedStyle(list.current).scrollPaddingBottom) || 0
      if (top < 2 * rowHeight) scrollBy(0, top - 2 * rowHeight)
      else if (top + rowHeight > innerHeight - room) scrollBy(0, top + 2 * rowHeight - innerHeight + room)
    },
    [list, rowHeight],
  )
  const from = Math.min(range.from, count)
  const to = Math.min(Math.max(range.to, from), count)
  return { from, to, before: from * rowHeight, after: (count - to) * rowHeight, reveal }
}
