import { type Columns, FLAG } from './columns'
import type { Tree } from './tree'

/** The failed spans of a trace. */
export interface Errors {
  /** 1 for a span in which an error arose: it failed, and nothing below it did. */
  arose: Uint8Array
  /**
   * All failed spans in the order in which the page goes through them: those in which an error arose, the earliest first, and then
   * those through which it rose, the deepest first.
   */
  order: Int32Array
}

export function errorsOf({ count, flags, numbers, integers }: Columns, { parent }: Tree): Errors {
  const arose = new Uint8Array(count)
  const failsBelow = new Uint8Array(count)
  const first: number[] = []
  const rose: number[] = []
  // Descendants come after their ancestors.
  for (let i = count - 1; i >= 0; i--) {
    const failed = (flags[i]! & FLAG.error) !== 0
    if (failed && failsBelow[i] === 0) {
      arose[i] = 1
      first.push(i)
    } else if (failed) rose.push(i)
    if ((failed || failsBelow[i] === 1) && parent[i] !== -1) failsBelow[parent[i]!] = 1
  }
  const start = (span: number) => (Number.isNaN(numbers.start[span]!) ? Infinity : numbers.start[span]!)
  first.sort((a, b) => (start(a) === start(b) ? a - b : start(a) - start(b)))
  rose.sort((a, b) => integers.depth[b]! - integers.depth[a]! || a - b)
  return { arose, order: Int32Array.from([...first, ...rose]) }
}

/** Returns the span below a failed one in which its error arose; −1 if that is the span itself. */
export function originOf({ arose }: Errors, { end }: Tree, span: number): number {
  for (let below = span + 1; below < end[span]!; below++) if (arose[below] === 1) return below
  return -1
}
