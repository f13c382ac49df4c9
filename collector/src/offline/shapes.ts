import type { TraceSpan } from '../trace/model'
import { ownerOf } from '../trace/totals'
import type { Operations } from './operations'

/** The hashes of a subtree's parts: two lanes of 32 bits, which together hardly ever collide. */
interface Hashes {
  high: number[]
  low: number[]
}

/**
 * Hashes trees of operations. Trees have the same shape if they have the same operations in the same places; in which order siblings began
 * doesn't matter, nor how many there are that are alike with all that is below them: a loop is one call.
 */
export class Shapes {
  private readonly words: Operations
  /** The hashes of the children that have been met, by their depth. */
  private levels: Hashes[] = []

  constructor(words: Operations) {
    this.words = words
  }

  /** Returns the hash of a tree, which is the same in all processes: 16 hex digits. @param spans depth-first */
  of(spans: readonly TraceSpan[]): string {
    const { levels } = this
    // Backward, children come before their parents.
    for (let i = spans.length - 1; i >= 0; i--) {
      const span = spans[i]!
      const { depth } = span
      while (levels.length < depth + 2) levels.push({ high: [], low: [] })
      const { hash } = this.words.of(ownerOf(span), span.name)
      const below = levels[depth + 1]!
      fold(below, hash)
      levels[depth]!.high.push(folded.high)
      levels[depth]!.low.push(folded.low)
    }
    fold(levels[0]!, spans.length === 0 ? 0 : 1)
    if (levels.length > MAX_KEPT) levels.length = MAX_KEPT
    return (folded.high >>> 0).toString(16).padStart(8, '0') + (folded.low >>> 0).toString(16).padStart(8, '0')
  }
}

const MAX_KEPT = 256
const folded = { high: 0, low: 0 }

/** Hashes an operation with the set of its children, and empties their lists. */
function fold({ high, low }: Hashes, hash: number): void {
  let [a, b] = [hash ^ 0x2545f491, Math.imul(hash, 0x27d4eb2f)]
  if (high.length > 1) sortPairs(high, low)
  for (let i = 0; i < high.length; i++) {
    if (i > 0 && high[i] === high[i - 1] && low[i] === low[i - 1]) continue
    a = Math.imul(a ^ high[i]!, 0x2c1b3c6d)
    a ^= a >>> 15
    b = Math.imul(b ^ low[i]!, 0x297a2d39)
    b ^= b >>> 13
  }
  folded.high = Math.imul(a ^ (b >>> 7), 0x85ebca6b) ^ (a >>> 16)
  folded.low = Math.imul(b ^ (a >>> 11), 0xc2b2ae35) ^ (b >>> 16)
  high.length = low.length = 0
}

/** Sorts pairs of numbers, of which there are few as a rule. */
function sortPairs(high: number[], low: number[]): void {
  if (high.length > 16) {
    const order = high.map((_, i) => i).sort((i, j) => high[i]! - high[j]! || low[i]! - low[j]!)
    const [sortedHigh, sortedLow] = [order.map(i => high[i]!), order.map(i => low[i]!)]
    for (let i = 0; i < order.length; i++) {
      high[i] = sortedHigh[i]!
      low[i] = sortedLow[i]!
    }
    return
  }
  for (let i = 1; i < high.length; i++) {
    const [a, b] = [high[i]!, low[i]!]
    let at = i - 1
    for (; at >= 0 && (high[at]! > a || (high[at] === a && low[at]! > b)); at--) {
      high[at + 1] = high[at]!
      low[at + 1] = low[at]!
    }
    high[at + 1] = a
    low[at + 1] = b
  }
}
