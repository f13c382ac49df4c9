import { type Answer, useWorker } from '../shell/use-worker'
import type { GraphLayout, Sizes } from './graph-layout'

/** Lays out a graph in a worker. @param sizes must be the same object while the graph is the same */
export function useLayout(sizes: Sizes): Answer<GraphLayout> {
  return useWorker(() => new Worker(new URL('./graph-worker.ts', import.meta.url), { type: 'module' }), sizes)
}
