import type { Trace, TraceSpan } from './model'
import { ownerOf } from './totals'

/** Spans with the same services and names on the way from the root to them, of one trace or of several. */
export interface CallPath<V> {
  /** The number of the path above; −1 for roots. */
  parent: number
  service: string | null
  name: string
  depth: number
  /** When the first of its spans began, in microseconds after its trace. */
  began: number
  value: V
}

/**
 * Lays traces over each other by their structure. Calls in a loop have the same path, so that one more call is one more call, and doesn't
 * shift all that follow.
 */
export class CallPaths<V> {
  private readonly make: () => V
  private readonly paths: CallPath<V>[] = []
  private readonly byKey = new Map<string, number>()

  /** @param make makes the value of a new path */
  constructor(make: () => V) {
    this.make = make
  }

  lay(trace: Pick<Trace, 'spans' | 'start'>, visit: (value: V, span: TraceSpan) => void): void {
    const { paths, byKey } = this
    // The number of the path of the latest span at each depth.
    const latest: number[] = []
    for (const span of trace.spans) {
      const { depth, name, start } = span
      const parent = depth === 0 ? -1 : latest[depth - 1]!
      const service = ownerOf(span)
      const key = `${parent} ${service === null ? '' : service.length} ${service ?? ''}${name}`
      let i = byKey.get(key)
      if (i === undefined) {
        i = paths.length
        byKey.set(key, i)
        paths.push({ parent, service, name, depth, began: Infinity, value: this.make() })
      }
      latest[depth] = i
      const path = paths[i]!
      if (start !== null) path.began = Math.min(path.began, start - trace.start!)
      visit(path.value, span)
    }
  }

  get size(): number {
    return this.paths.length
  }

  /** Returns the paths depth-first, siblings in the order in which they began in any trace. */
  inOrder(): CallPath<V>[] {
    const { paths } = this
    const order = paths.map((_, i) => i)
    // Paths that began at the same time stay in the order in which they were found: first those of the first trace.
    order.sort((i, j) => (paths[i]!.began < paths[j]!.began ? -1 : paths[i]!.began > paths[j]!.began ? 1 : i - j))
    const firstChild = new Int32Array(paths.length + 1).fill(-1)
    const nextSibling = new Int32Array(paths.length).fill(-1)
    // The last element belongs to parent −1, the traces themselves.
    const at = (parent: number) => (parent === -1 ? paths.length : parent)
    for (const i of order.reverse()) {
      const parent = at(paths[i]!.parent)
      nextSibling[i] = firstChild[parent]!
      firstChild[parent] = i
    }
    const out: CallPath<V>[] = []
    const stack = [firstChild[paths.length]!]
    while (stack.length > 0) {
      const i = stack.pop()!
      if (i === -1) continue
      out.push(paths[i]!)
      stack.push(nextSibling[i]!, firstChild[i]!)
    }
    return out
  }
}
