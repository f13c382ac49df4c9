import type { RefObject } from 'preact'
import { useCallback, useEffect, useState } from 'preact/hooks'

/** Up to this many rows are all in the page, so that the browser's own search finds them; of more, only those in sight. */
const ALL_ROWS = 100
/** Rows rendered above and below the visible ones. */
const SPARE_ROWS = 20
/** The range moves in steps, so that most scroll events change nothing. */
const STEP_ROWS = 10

export interface VisibleRows {
  from: number
  to: number
  rowHeight: number
  /** Scrolls until the row is visible. */
  reveal(row: number): void
}

/** Returns which rows of a long list to render. All rows have the height --row-height of the style sheet. */
export function useVisibleRows(list: RefObject<HTMLElement | null>, count: number): VisibleRows {
  const [rowHeight, setRowHeight] = useState(28)
  const [range, setRange] = useState({ from: 0, to: 4 * SPARE_ROWS })
  useEffect(() => {
    const update = () => {
      if (list.current === null) return
      const height = Number.parseFloat(getComputedStyle(list.current).getPropertyValue('--row-height'))
      setRowHeight(height)
      const top = -list.current.getBoundingClientRect().top
      const all = count <= ALL_ROWS
      const first = Math.floor((top / height - SPARE_ROWS) / STEP_ROWS) * STEP_ROWS
      const from = all ? 0 : Math.min(Math.max(0, first), count)
      const last = Math.ceil(((top + innerHeight) / height + SPARE_ROWS) / STEP_ROWS) * STEP_ROWS
      const to = all ? count : Math.min(Math.max(from, last), count)
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
      if (list.current === null) return
      const top = list.current.getBoundingClientRect().top + row * rowHeight
      // Leave room for the pinned head, and for the detail that covers the bottom of small screens.
      const style = getComputedStyle(list.current)
      const above = Number.parseFloat(style.scrollPaddingTop) || 0
      const below = Number.parseFloat(style.scrollPaddingBottom) || 0
      if (top < above) scrollBy(0, top - above - rowHeight)
      else if (top + rowHeight > innerHeight - below) scrollBy(0, top + 2 * rowHeight - innerHeight + below)
    },
    [list, rowHeight],
  )
  const from = Math.min(range.from, count)
  return { from, to: Math.min(Math.max(range.to, from), count), rowHeight, reveal }
}
