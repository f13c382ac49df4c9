import { useEffect, useState } from 'preact/hooks'
import type { GraphLayout, Sizes } from './graph-layout'

export const NODE_HEIGHT = 28
const LETTER_PX = 7.1
export const NODE_PADDING = 24

/** Of a box that holds the label. */
export function nodeWidth(label: string): number {
  return Math.round(label.length * LETTER_PX) + NODE_PADDING
}

/** Lays a graph out, in a worker; null until it is done. @param sizes the same object as long as it is the same graph */
export function useLayout(sizes: Sizes): GraphLayout | { failed: string } | null {
  const [layout, setLayout] = useState<GraphLayout | { failed: string } | null>(null)
  useEffect(() => {
    setLayout(null)
    const worker = new Worker(new URL('./graph-worker.ts', import.meta.url), { type: 'module' })
    worker.addEventListener('message', ({ data }) => setLayout(data))
    worker.addEventListener('error', event =>
      setLayout({ failed: event.message || 'Graphviz could not be loaded. Load the page again.' }),
    )
    worker.postMessage(sizes)
    return () => worker.terminate()
  }, [sizes])
  return layout
}
