import type uPlot from 'uplot'

/** Keeps a chart as wide as its box. @returns a function that stops it */
export function followWidth(plot: uPlot, box: HTMLElement, height: number): () => void {
  const observer = new ResizeObserver(([entry]) => {
    plot.setSize({ width: Math.round(entry!.contentRect.width), height })
  })
  observer.observe(box)
  return () => observer.disconnect()
}
