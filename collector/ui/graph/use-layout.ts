import { type Answer, useWorker } from '../shell/use-worker'
import type { GraphLayout, Sizes } from './graph-layout'

/** Lays a graph out, in a worker. @param sizes the same object as long as it is the same graph */
export function useLayout(sizes: Sizes): Answer<GraphLayout> {
  return useWorker(() => new Worker(new URL('./graph-worker.ts', import.meta.url), { type: 'module' }), sizes)
}
