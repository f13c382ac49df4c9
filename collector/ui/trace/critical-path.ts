import { type Columns, FLAG } from './columns'
import type { Tree } from './tree'

/**
 * Where on the time axis each span of the critical path was what took the time: span → [from, to, from, to, …], microseconds
 * from the trace's start. The same walk as src/trace/measure.ts makes for the sums (there it is drawn); a test compares them.
 */
export function criticalPath(columns: Columns, tree: Tree): Map<number, number[]> {
  const { count, numbers, flags } = columns
  const segments = new Map<number, number[]>()
  if (count === 0) return segments
  const from = new Float64Array(count).fill(Infinity)
  const to = new Float64Array(count).fill(-Infinity)
  for (let i = count - 1; i >= 0; i--) {
    const p = tree.parent[i]!
    const client = p !== -1 && !Number.isNaN(numbers.clientStart[i]!)
    const start = (client ? numbers.clientStart : numbers.start)[i]!
    if (!Number.isNaN(start)) {
      from[i] = start
      to[i] = start + (client ? numbers.clientDuration : numbers.duration)[i]!
    }
    // A span without times, such as the original's roots, is as long as what it called.
    if (p !== -1 && Number.isNaN(numbers.start[p]!)) {
      from[p] = Math.min(from[p]!, from[i]!)
      to[p] = Math.max(to[p]!, to[i]!)
    }
  }

  const halves = FLAG.client | FLAG.server
  const stack: { span: number; begin: number; end: number }[] = []
  if (from[0]! < to[0]!) stack.push({ span: 0, begin: from[0]!, end: to[0]! })
  const children: number[] = []
  while (stack.length > 0) {
    const { span, begin, end } = stack.pop()!
    children.length = 0
    for (let child = span + 1; child < tree.end[span]!; child = tree.end[child]!) {
      const answers = (flags[child]! & halves) === FLAG.server && (flags[span]! & halves) === FLAG.client
      if ((to[child]! <= to[span]! || answers) && to[child]! > begin && from[child]! < end) children.push(child)
    }
    children.sort((a, b) => to[b]! - to[a]! || from[b]! - from[a]!)
    const own: number[] = []
    let at = end
    for (const child of children) {
      const childEnd = Math.min(to[child]!, end)
      const childBegin = Math.max(from[child]!, begin)
      if (childEnd > at || childEnd <= childBegin) continue
      if (at > childEnd) own.push(childEnd, at)
      stack.push({ span: child, begin: childBegin, end: childEnd })
      at = childBegin
    }
    if (at > begin) own.push(begin, at)
    if (own.length > 0) segments.set(span, own)
  }
  return segments
}
