import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { readPalette } from '../../parts/colors'
import { useShownTheme } from '../../shell/theme'
import { type BarsPicture, drawBars } from './draw-bars'

type Props = Omit<BarsPicture, 'width' | 'barTop' | 'barHeight'>

/** The canvas behind the visible rows, as wide as their lanes. The rows contain the same information as text. */
export function Bars(props: Props) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const theme = useShownTheme()
  const [width, setWidth] = useState(0)
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.round(entry!.contentRect.width)))
    observer.observe(canvas.current!)
    return () => observer.disconnect()
  }, [])
  const height = props.rows.length * props.rowHeight
  useLayoutEffect(() => {
    if (width === 0) return
    const { current } = canvas
    const scale = devicePixelRatio
    const pixels = { width: Math.round(width * scale), height: Math.round(height * scale) }
    if (current!.width !== pixels.width || current!.height !== pixels.height) Object.assign(current!, pixels)
    const context = current!.getContext('2d')!
    context.setTransform(scale, 0, 0, scale, 0, 0)
    const style = getComputedStyle(current!)
    const metric = (name: string) => Number.parseFloat(style.getPropertyValue(name))
    drawBars(
      context,
      { ...props, width, barTop: metric('--bar-top'), barHeight: metric('--bar-height') },
      readPalette(),
    )
  }, [width, height, theme, ...Object.values(props)])
  return <canvas class="bars" ref={canvas} style={{ height: `${height}px` }} />
}
