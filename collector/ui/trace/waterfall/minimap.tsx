import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { readPalette } from '../../parts/colors'
import { useShownTheme } from '../../shell/theme'
import type { Columns } from '../columns'
import { useDrag } from './drag'
import { paintMinimap } from './paint-minimap'
import { isWhole, type View } from './view'

interface Props {
  columns: Columns
  /** The number of spans; it changes when spans arrive. */
  count: number
  extent: View
  view: View
  raw: boolean
  /** 1 for spans in which an error arose. */
  arose: Uint8Array
  colorOf(span: number): number
  onChoose(view: View): void
}

/** Shows the whole trace. Dragging over it chooses what the waterfall shows; the rest is shaded. */
export function Minimap({ columns, count, extent, view, raw, arose, colorOf, onChoose }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const canvas = useRef<HTMLCanvasElement>(null)
  const theme = useShownTheme()
  const [size, setSize] = useState({ width: 0, height: 0 })
  const dragged = useDrag(box, extent, onChoose)
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => {
      const { width, height } = entry!.contentRect
      setSize({ width: Math.round(width), height: Math.round(height) })
    })
    observer.observe(canvas.current!)
    return () => observer.disconnect()
  }, [])
  useLayoutEffect(() => {
    const { width, height } = size
    if (width === 0 || height === 0) return
    Object.assign(canvas.current!, { width, height })
    const context = canvas.current!.getContext('2d')!
    const image = context.createImageData(width, height)
    paintMinimap(image, { columns, count, extent, raw, arose, colorOf }, readPalette())
    context.putImageData(image, 0, 0)
  }, [size, theme, columns, count, extent, raw, arose, colorOf])
  const at = (us: number) => `${(100 * (us - extent.from)) / (extent.to - extent.from)}%`
  const shown = dragged ?? view
  return (
    <div class="minimap" ref={box} aria-hidden="true" title="Drag to zoom to a time range">
      <canvas ref={canvas} />
      {!isWhole(shown, extent) && (
        <>
          <span class="shade" style={{ left: 0, right: `calc(100% - ${at(shown.from)})` }} />
          <span class="shade" style={{ left: at(shown.to), right: 0 }} />
        </>
      )}
    </div>
  )
}
