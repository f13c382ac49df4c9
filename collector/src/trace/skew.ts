import type { Clock } from './model'
import { CLIENT, ONEWAY, type Reports, ROOT, SERVER, UNKNOWN } from './reports'

/**
 * Estimates how far the hosts' clocks are apart from the calls between them, as NTP does. A server's window lies within its
 * client's window, so each call bounds what has to be added to one clock if the other is right:
 *
 *     client   ├──────────────────────┤          sent ≤ received      gives the lower bound
 *     server        ├────────┤                   answered ≤ answer    gives the upper one
 *
 * The bounds of all calls between two clocks are intersected. If they contradict each other (a half was stored with a wrong
 * time, a clock was set in between), the range that most of them allow is taken. The root's clock is taken for right, and from
 * there the clocks are set along the calls. A clock whose bounds allow it isn't moved. Any other goes to the middle of its
 * bounds, where the error is at most half of the time that the calls spent on the network.
 */

/** Bounds of the difference between two clocks, `lo ≤ offset of to − offset of from ≤ hi`. `weight` calls agree on them. */
interface Bounds {
  from: number
  to: number
  lo: number
  hi: number
  weight: number
}

/** The bounds that `size` single calls give, in columns. `from` is the client's clock. */
interface Calls {
  size: number
  from: Int32Array
  to: Int32Array
  lo: Float64Array
  hi: Float64Array
}

/** With more clocks than this, bounds aren't tightened: the time for that grows with the third power of their number. */
const MAX_TIGHTENED = 100

/**
 * Estimates the skew of each of `reports.clocks`.
 * @returns `offsets`, the whole microseconds to add to the times of each clock, and `clocks`, their descriptions for the trace
 */
export function estimateSkew(reports: Reports): { offsets: Float64Array; clocks: Clock[] } {
  const count = reports.clocks.length
  const offsets = new Float64Array(count)
  const agreeing = new Int32Array(count)
  if (count > 1) {
    const calls = callsOf(reports)
    const bounds = betweenClocks(calls, count)
    // Up to two bounds can't form a circle, so that setting one clock after the other can't lead to a contradiction.
    if (bounds.length > 2 && count <= MAX_TIGHTENED) setClocks(reports, tightened(bounds, count), offsets)
    else if (bounds.length > 0) setClocks(reports, bounds, offsets)
    for (let i = 0; i < calls.size; i++) {
      const from = calls.from[i]!
      const to = calls.to[i]!
      const apart = offsets[to]! - offsets[from]!
      if (apart < calls.lo[i]! || apart > calls.hi[i]!) continue
      agreeing[from]!++
      agreeing[to]!++
    }
  }
  // The subtraction gives 0 for an offset of 0, where a minus sign would give −0.
  return {
    offsets,
    clocks: reports.clocks.map(({ host, service }, i) => {
      return { host, service, skewUs: 0 - offsets[i]!, pairs: agreeing[i]! }
    }),
  }
}

/**
 * Pairs every server half with its client's window: that of the same span or, with W3C contexts, of its parent, a client-only
 * span. If clients with several clocks reported one span, it is unknown which of them the server answered, and there is no
 * pair.
 */
function callsOf(reports: Reports): Calls {
  const { side, start, end, clock, flags, ids, last, before, records } = reports
  const spans = ids.size
  const sent = new Float64Array(spans).fill(Infinity)
  const answered = new Float64Array(spans).fill(-Infinity)
  const caller = new Int32Array(spans).fill(UNKNOWN)
  const served = new Uint8Array(spans)
  for (let span = 0; span < spans; span++) {
    let several = false
    for (let r = last[span]!; r !== -1; r = before[r]!) {
      if (side[r] === SERVER) served[span] = 1
      const at = 3 * r + CLIENT
      if (side[r] !== CLIENT || Number.isNaN(start[at]!)) continue
      several ||= sent[span] !== Infinity && caller[span] !== clock[r]
      caller[span] = clock[r]!
      sent[span] = Math.min(sent[span]!, start[at]!)
      answered[span] = Math.max(answered[span]!, end[at]!)
    }
    if (several) caller[span] = UNKNOWN
  }
  const n = records.length
  const calls: Calls = {
    size: 0,
    from: new Int32Array(n),
    to: new Int32Array(n),
    lo: new Float64Array(n),
    hi: new Float64Array(n),
  }
  for (let span = 0; span < spans; span++) {
    if (!served[span]) continue
    for (let r = last[span]!; r !== -1; r = before[r]!) {
      const at = 3 * r + SERVER
      if (side[r] !== SERVER || clock[r] === UNKNOWN || Number.isNaN(start[at]!)) continue
      let call = span
      if (sent[span] === Infinity) {
        const { parentId } = records[r]!
        call = parentId ? ids.find(parentId) : -1
        if (call === -1 || served[call]) continue
      }
      const from = caller[call]!
      if (from === UNKNOWN || from === clock[r]) continue
      const lo = sent[call]! - start[at]!
      const hi = answered[call]! - end[at]!
      // A client that doesn't wait (one-way, timed out) tells only that the server can't have begun earlier.
      const waited = hi >= lo && !(flags[r]! & ONEWAY)
      const i = calls.size++
      calls.from[i] = from
      calls.to[i] = clock[r]!
      calls.lo[i] = lo
      calls.hi[i] = waited ? hi : Infinity
    }
  }
  return calls
}

/** Returns the bounds that the calls between two clocks allow, in one direction for each pair of clocks. */
function betweenClocks(calls: Calls, count: number): Bounds[] {
  const found = new Map<number, Bounds>()
  const bounds: Bounds[] = []
  for (let i = 0; i < calls.size; i++) {
    const call = boundsOf(calls, i)
    const key = call.from * count + call.to
    let all = found.get(key)
    if (all === undefined) {
      all = { ...call, weight: 0 }
      found.set(key, all)
      bounds.push(all)
    }
    all.lo = Math.max(all.lo, call.lo)
    all.hi = Math.min(all.hi, call.hi)
    all.weight++
  }
  const contradicting = new Map<Bounds, Bounds[]>()
  for (const all of bounds) if (all.lo > all.hi) contradicting.set(all, [])
  for (let i = 0; contradicting.size > 0 && i < calls.size; i++) {
    const call = boundsOf(calls, i)
    contradicting.get(found.get(call.from * count + call.to)!)?.push(call)
  }
  return bounds.map(all => {
    const list = contradicting.get(all)
    return list === undefined ? all : mostAllowed(list)
  })
}

/** Returns a call's bounds, from the clock with the lower number to the other. */
function boundsOf(calls: Calls, i: number): Bounds {
  const from = calls.from[i]!
  const to = calls.to[i]!
  const lo = calls.lo[i]!
  const hi = calls.hi[i]!
  return from < to ? { from, to, lo, hi, weight: 1 } : { from: to, to: from, lo: -hi, hi: -lo, weight: 1 }
}

/**
 * Returns the range that all bounds in the list allow, or else one that most of them allow (Marzullo's algorithm). Among
 * several such ranges, one that contains `stay` wins, and then the narrowest.
 * @param list bounds of the same two clocks; not empty
 * @param stay the offset at which nothing would be moved
 */
function mostAllowed(list: Bounds[], stay = 0): Bounds {
  let lo = -Infinity
  let hi = Infinity
  let weight = 0
  for (const bounds of list) {
    lo = Math.max(lo, bounds.lo)
    hi = Math.min(hi, bounds.hi)
    weight += bounds.weight
  }
  const { from, to } = list[0]!
  if (lo <= hi) return { from, to, lo, hi, weight }

  const edges: Array<{ at: number; add: number }> = []
  for (const bounds of list) {
    edges.push({ at: bounds.lo, add: bounds.weight }, { at: bounds.hi, add: -bounds.weight })
  }
  // At the same position, starts come before ends: a range includes its bounds.
  edges.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : b.add - a.add))
  const best: Bounds = { from, to, lo: 0, hi: 0, weight: 0 }
  const rank = (low: number, high: number) => (low <= stay && stay <= high ? -1 : high - low)
  let allow = 0
  for (let i = 0; i < edges.length - 1; i++) {
    allow += edges[i]!.add
    // The range that most allow begins at a start, and lasts until the next edge, which is an end.
    if (edges[i]!.add < 0) continue
    const low = edges[i]!.at
    const high = edges[i + 1]!.at
    if (allow > best.weight || (allow === best.weight && rank(low, high) < rank(best.lo, best.hi))) {
      best.lo = low
      best.hi = high
      best.weight = allow
    }
  }
  return best
}

/**
 * Tightens the bounds of each pair of clocks by those of all others (Floyd and Warshall's shortest paths over differences):
 * any difference that is then allowed between two clocks leaves an allowed one between all others.
 * @returns the tightened bounds, or `bounds` itself if they contradict each other
 */
function tightened(bounds: Bounds[], count: number): Bounds[] {
  // The offset of clock j is at most the offset of clock i plus most[i × count + j].
  const most = new Float64Array(count * count).fill(Infinity)
  const weights = new Map<number, number>()
  for (let i = 0; i < count; i++) most[i * count + i] = 0
  for (const { from, to, lo, hi, weight } of bounds) {
    most[from * count + to] = hi
    most[to * count + from] = -lo
    weights.set(from * count + to, weight)
  }
  for (let via = 0; via < count; via++) {
    for (let i = 0; i < count; i++) {
      const there = most[i * count + via]!
      if (there === Infinity) continue
      for (let j = 0; j < count; j++) {
        const way = there + most[via * count + j]!
        if (way < most[i * count + j]!) most[i * count + j] = way
      }
    }
  }
  const tight: Bounds[] = []
  for (let from = 0; from < count; from++) {
    if (most[from * count + from]! < 0) return bounds
    for (let to = from + 1; to < count; to++) {
      const hi = most[from * count + to]!
      const lo = -most[to * count + from]!
      if (hi === Infinity && lo === -Infinity) continue
      tight.push({ from, to, lo, hi, weight: weights.get(from * count + to) ?? 0 })
    }
  }
  return tight
}

/** Sets one clock after the other, outward from those that are taken for right, within the bounds to all clocks set before. */
function setClocks(reports: Reports, bounds: Bounds[], offsets: Float64Array): void {
  const neighbours: Bounds[][] = Array.from(offsets, () => [])
  for (const b of bounds) {
    neighbours[b.from]!.push(b)
    neighbours[b.to]!.push({ from: b.to, to: b.from, lo: -b.hi, hi: -b.lo, weight: b.weight })
  }
  const order = byStanding(reports)
  const standing = new Int32Array(order.length)
  for (let i = 0; i < order.length; i++) standing[order[i]!] = i
  const found = new Uint8Array(offsets.length)
  const set = new Uint8Array(offsets.length)
  for (const first of order) {
    if (found[first]) continue
    const queue = [first]
    found[first] = 1
    set[first] = 1
    for (let q = 0; q < queue.length; q++) {
      const near = queue[q]!
      // The walk follows only pairs with calls of their own (a weight), not bounds that were derived from other pairs' calls.
      const next = neighbours[near]!.filter(({ to, weight }) => weight > 0 && !found[to])
      next.sort((a, b) => standing[a.to]! - standing[b.to]!)
      for (const { to } of next) {
        found[to] = 1
        queue.push(to)
        offsets[to] = offsetWithin(neighbours[to]!, set, offsets, offsets[near]!)
        set[to] = 1
      }
    }
  }
}

/**
 * Returns the offset of a clock within the bounds to all clocks that are set.
 * @param stay the offset of the clock whose calls led here; it is taken if the bounds allow it
 */
function offsetWithin(neighbours: Bounds[], set: Uint8Array, offsets: Float64Array, stay: number): number {
  const list: Bounds[] = []
  for (const { from, to, lo, hi, weight } of neighbours) {
    // The other clock's offset is known, so the difference bounds this clock's offset.
    if (set[to]) list.push({ from, to, lo: offsets[to]! - hi, hi: offsets[to]! - lo, weight })
  }
  const { lo, hi } = mostAllowed(list, stay)
  if (lo <= stay && stay <= hi) return stay
  if (lo === -Infinity) return hi
  if (hi === Infinity) return lo
  return Math.round((lo + hi) / 2)
}

/**
 * Orders the clocks by the preference to take them for right: first those of roots, then by the number of records, then by
 * name.
 */
function byStanding({ clock, clocks, side, flags, span, ids, records }: Reports): number[] {
  const reported = new Int32Array(clocks.length)
  const rank = new Uint8Array(clocks.length).fill(2)
  const called = new Uint8Array(ids.size)
  let hasRoot = false
  for (let r = 0; r < records.length; r++) {
    if (clock[r] === UNKNOWN) continue
    if (side[r] === CLIENT) called[span[r]!] = 1
    if (flags[r]! & ROOT) hasRoot = true
  }
  for (let r = 0; r < records.length; r++) {
    const c = clock[r]!
    if (c === UNKNOWN) continue
    reported[c]!++
    // Without a root, spans whose parent is missing are the nearest to one.
    const top = hasRoot ? flags[r]! & ROOT : ids.find(records[r]!.parentId!) === -1
    // If a root is a call with both halves, the client's clock comes first: the call is shown with its times.
    if (top) rank[c] = Math.min(rank[c]!, side[r] === SERVER && called[span[r]!] ? 1 : 0)
  }
  return clocks.map((_, i) => i).sort((a, b) => rank[a]! - rank[b]! || reported[b]! - reported[a]! || a - b)
}
