import { walkCriticalPath } from '../../src/trace'
import type { Columns } from './columns'
import type { Tree } from './tree'

/**
 * Returns the segments of the critical path by span: span → [from, to, from, to, …], in microseconds from the trace's start.
 */
export function criticalPath({ count, numbers }: Columns, { parent }: Tree): Map<number, number[]> {
  const order = Int32Array.from({ length: count }, (_, span) => span)
  const segments = new Map<number, number[]>()
  walkCriticalPath({ order, parent }, numbers, (span, from, to) => {
    const own = segments.get(span)
    if (own === undefined) segments.set(span, [from, to])
    else own.push(from, to)
  })
  return segments
}
