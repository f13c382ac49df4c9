import { waited } from './merge'
import type { NameTotals, ServiceTotals, Totals, Trace, TraceSpan } from './model'

/** How many spans a step takes. */
const STEP = 8192

/**
 * Fills in what follows from a span's place in the tree: self time, network time, and its part in the critical path; and adds
 * up. In steps, between which it says how much of the whole trace is done.
 * @param spans depth-first, siblings by start
 * @param reported of how many spans each service reported
 */
export function* measure(spans: TraceSpan[], reported: Map<string, number>): Generator<number, Trace['totals']> {
  const parents = new Int32Array(spans.length).fill(-1)
  // The latest span of each depth: what comes next is its child, or a sibling.
  const path = new Int32Array(spans.length)
  for (let i = 0; i < spans.length; i++) {
    const { depth } = spans[i]!
    path[depth] = i
    if (depth > 0) parents[i] = path[depth - 1]!
  }
  putSelfTimes(spans, parents)
  putNetworkTimes(spans, parents)
  yield 0.85
  yield* putCriticalTimes(spans, parents)
  yield 0.95
  return addUp(spans, reported)
}

/** Siblings come by start: to go once over them is enough to know how much of the parent's time they cover. */
function putSelfTimes(spans: TraceSpan[], parents: Int32Array): void {
  const covered = new Float64Array(spans.length)
  const until = new Float64Array(spans.length)
  for (let i = 0; i < spans.length; i++) {
    const { start, duration } = spans[i]!
    if (start === null || duration === null) continue
    until[i] = start
    const p = parents[i]!
    const parent = spans[p]
    if (parent === undefined || parent.start === null) continue
    const end = Math.min(start + duration, parent.start + parent.duration!)
    const from = Math.max(start, until[p]!)
    if (end <= from) continue
    covered[p]! += end - from
    until[p] = end
  }
  for (let i = 0; i < spans.length; i++) {
    const { duration } = spans[i]!
    if (duration !== null) spans[i]!.selfTime = duration - covered[i]!
  }
}

/** Where client and server are spans of their own, as in OpenTelemetry. A client that asked several servers knows no one's. */
function putNetworkTimes(spans: TraceSpan[], parents: Int32Array): void {
  const servers = new Uint8Array(spans.length)
  for (let i = 0; i < spans.length; i++) {
    const { kind, serverDuration } = spans[i]!
    const p = parents[i]!
    const client = spans[p]
    if (kind !== 'server' || client === undefined || client.kind !== 'client') continue
    servers[p]! = Math.min(2, servers[p]! + 1)
    const { clientDuration } = client
    if (servers[p] === 1 && clientDuration !== null && serverDuration !== null) {
      client.networkTime = waited(clientDuration - serverDuration)
    } else client.networkTime = null
  }
}

/**
 * What the first root waited for, walked backwards from its end: the child that finished last before there took the time from
 * its start to its end, and is looked into in the same way; before its start, again the child that finished last. What no child
 * took is the span's own.
 *
 *     root   ├─────────────────────────────┤
 *     a        ├───────┤
 *     b            ├──────┤                       runs beside a: had it been faster, nothing had ended earlier
 *     c                     ├──────┤
 *     path   ┄┄┄┄┄┄[───b──]┄[──c───]┄┄┄┄┄┄        ┄ is the root's own
 *
 * Nobody waits for what ends later than he does: a child that outlives its parent isn't on the path, and of a call the client's
 * half alone counts. The exception is the server's span of a client's one, which may end after its last byte has arrived: it
 * is cut at the client's end. Each microsecond of the root is somebody's, so the sum is the root's duration.
 */
function* putCriticalTimes(spans: TraceSpan[], parents: Int32Array): Generator<number, void> {
  if (spans.length === 0) return
  const from = new Float64Array(spans.length).fill(Infinity)
  const to = new Float64Array(spans.length).fill(-Infinity)
  const firstChild = new Int32Array(spans.length).fill(-1)
  const nextSibling = new Int32Array(spans.length).fill(-1)
  // Backwards, children come before their parents.
  for (let i = spans.length - 1; i >= 0; i--) {
    const { start, duration, clientStart, clientDuration } = spans[i]!
    const p = parents[i]!
    if (clientStart !== null && p !== -1) {
      from[i] = clientStart
      to[i] = clientStart + clientDuration!
    } else if (start !== null) {
      from[i] = start
      to[i] = start + duration!
    }
    if (p === -1) continue
    nextSibling[i] = firstChild[p]!
    firstChild[p] = i
    // A span without times, such as the original's roots, is as long as what it called.
    if (spans[p]!.start === null) {
      from[p] = Math.min(from[p]!, from[i]!)
      to[p] = Math.max(to[p]!, to[i]!)
    }
  }

  // Spans on the path that are still to be looked into, with the part of them that counts.
  const stack: Array<{ span: number; begin: number; end: number }> = []
  if (from[0]! < to[0]!) stack.push({ span: 0, begin: from[0]!, end: to[0]! })
  const children: number[] = []
  for (let visited = 1; stack.length > 0; visited++) {
    const { span, begin, end } = stack.pop()!
    children.length = 0
    for (let child = firstChild[span]!; child !== -1; child = nextSibling[child]!) {
      const answers = spans[child]!.kind === 'server' && spans[span]!.kind === 'client'
      if ((to[child]! <= to[span]! || answers) && to[child]! > begin && from[child]! < end) children.push(child)
    }
    children.sort((a, b) => to[b]! - to[a]! || from[b]! - from[a]!)
    let left = 0
    let at = end
    for (const child of children) {
      const childEnd = Math.min(to[child]!, end)
      const childBegin = Math.max(from[child]!, begin)
      if (childEnd > at || childEnd <= childBegin) continue
      left += at - childEnd
      stack.push({ span: child, begin: childBegin, end: childEnd })
      at = childBegin
    }
    spans[span]!.criticalTime = left + at - begin
    if (visited % STEP === 0) yield 0.9
  }
}

function addUp(spans: TraceSpan[], reported: Map<string, number>): Trace['totals'] {
  const services = new Map<string | null, ServiceTotals>()
  const names = new Map<string | null, Map<string, NameTotals>>()
  for (const [service, count] of reported) services.set(service, { service, reported: count, ...nothing() })
  for (const span of spans) {
    const service = ownerOf(span)
    let ofService = services.get(service)
    if (ofService === undefined) services.set(service, (ofService = { service, reported: 0, ...nothing() }))
    add(ofService, span)
    let ofNames = names.get(service)
    if (ofNames === undefined) names.set(service, (ofNames = new Map()))
    let ofName = ofNames.get(span.name)
    if (ofName === undefined) ofNames.set(span.name, (ofName = { service, name: span.name, ...nothing() }))
    add(ofName, span)
  }
  const list: NameTotals[] = []
  for (const service of services.keys()) {
    const ofNames = [...(names.get(service)?.values() ?? [])]
    ofNames.sort((a, b) => (a.name < b.name ? -1 : 1))
    for (const totals of ofNames) list.push(totals)
  }
  return { services: [...services.values()], names: list }
}

/** The service that a span's time is put down to: who worked, or, when nobody says so, who called. */
export function ownerOf({ service, clientService }: TraceSpan): string | null {
  return service ?? clientService
}

export function nothing(): Totals {
  return { count: 0, errors: 0, total: 0, max: 0, self: 0, critical: 0 }
}

export function add(totals: Totals, span: TraceSpan): void {
  const duration = span.duration ?? 0
  totals.count++
  if (span.error) totals.errors++
  totals.total += duration
  totals.max = Math.max(totals.max, duration)
  totals.self += span.selfTime ?? 0
  totals.critical += span.criticalTime
}
