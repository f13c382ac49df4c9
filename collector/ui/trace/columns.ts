import type { Trace, TraceSpan } from '../../src/trace'

/**
 * A trace's spans in columns: 100,000 objects would take a second to copy between threads, and make every walk slow. A worker
 * sends batches, and the page appends them. Times are microseconds from the trace's start; NaN means unknown.
 */
export interface Columns {
  count: number
  numbers: Record<NumberColumn, Float64Array>
  integers: Record<IntegerColumn, Int32Array>
  /** Bits as in FLAG. */
  flags: Uint8Array
  /** The strings that `name`, `service`, `caller` and `host` are indexes of. */
  strings: string[]
}

const NUMBERS = [
  'start',
  'duration',
  'clientStart',
  'clientDuration',
  'serverStart',
  'serverDuration',
  'rawStart',
  'rawClientStart',
  'rawServerStart',
  'self',
  'critical',
  'network',
] as const
type NumberColumn = (typeof NUMBERS)[number]

/** `service` did the work, and is empty if unknown; `caller` is the client half's service; `host` is the server's. Ids are split in two. */
const INTEGERS = ['depth', 'name', 'service', 'caller', 'host', 'idHigh', 'idLow'] as const
type IntegerColumn = (typeof INTEGERS)[number]

export const FLAG = {
  error: 1,
  orphan: 2,
  cycle: 4,
  client: 8,
  server: 16,
  conflicts: 32,
  events: 64,
  skewed: 128,
} as const

/** A trace without its spans. */
export type TraceHead = Omit<Trace, 'spans'>

export function emptyColumns(capacity: number): Columns {
  const columns = { count: 0, numbers: {}, integers: {}, flags: new Uint8Array(capacity), strings: [] as string[] }
  const numbers = columns.numbers as Columns['numbers']
  const integers = columns.integers as Columns['integers']
  for (const name of NUMBERS) numbers[name] = new Float64Array(capacity)
  for (const name of INTEGERS) integers[name] = new Int32Array(capacity)
  return { ...columns, numbers, integers }
}

/** Returns the buffers that a worker's message can transfer instead of copy. */
export function buffersOf({ numbers, integers, flags }: Columns): ArrayBufferLike[] {
  return [...NUMBERS.map(name => numbers[name].buffer), ...INTEGERS.map(name => integers[name].buffer), flags.buffer]
}

/** Turns spans into columns. Strings are numbered once for the whole trace; a batch contains the new ones. */
export class ColumnWriter {
  private readonly numbered = new Map<string, number>()
  private readonly start: number
  private fresh: string[] = []

  constructor(start: number | null) {
    this.start = start ?? 0
    this.number('')
  }

  write(spans: TraceSpan[]): Columns {
    const out = emptyColumns(spans.length)
    const { numbers: n, integers: i, flags } = out
    const { start } = this
    const from = (us: number | null | undefined) => (us === null || us === undefined ? Number.NaN : us - start)
    for (let at = 0; at < spans.length; at++) {
      const span = spans[at]!
      const skewed =
        span.rawStart !== undefined || span.rawClientStart !== undefined || span.rawServerStart !== undefined
      n.start[at] = from(span.start)
      n.duration[at] = span.duration ?? Number.NaN
      n.clientStart[at] = from(span.clientStart)
      n.clientDuration[at] = span.clientDuration ?? Number.NaN
      n.serverStart[at] = from(span.serverStart)
      n.serverDuration[at] = span.serverDuration ?? Number.NaN
      n.rawStart[at] = from(span.rawStart === undefined ? span.start : span.rawStart)
      n.rawClientStart[at] = from(span.rawClientStart === undefined ? span.clientStart : span.rawClientStart)
      n.rawServerStart[at] = from(span.rawServerStart === undefined ? span.serverStart : span.rawServerStart)
      n.self[at] = span.selfTime ?? Number.NaN
      n.critical[at] = span.criticalTime
      n.network[at] = span.networkTime ?? Number.NaN
      i.depth[at] = span.depth
      i.name[at] = this.number(span.name)
      i.service[at] = this.number(span.service ?? '')
      i.caller[at] = this.number(span.clientService ?? '')
      i.host[at] = this.number(span.serverHost ?? '')
      i.idHigh[at] = Number.parseInt(span.spanId.slice(0, 8), 16)
      i.idLow[at] = Number.parseInt(span.spanId.slice(8), 16)
      flags[at] =
        (span.error ? FLAG.error : 0) |
        (span.orphan ? FLAG.orphan : 0) |
        (span.cycle ? FLAG.cycle : 0) |
        (span.kind === 'client' || span.kind === 'rpc' ? FLAG.client : 0) |
        (span.kind === 'server' || span.kind === 'rpc' ? FLAG.server : 0) |
        (span.conflicts.length > 0 ? FLAG.conflicts : 0) |
        (span.events.length > 0 ? FLAG.events : 0) |
        (skewed ? FLAG.skewed : 0)
    }
    out.count = spans.length
    out.strings = this.fresh
    this.fresh = []
    return out
  }

  private number(text: string): number {
    const known = this.numbered.get(text)
    if (known !== undefined) return known
    const number = this.numbered.size
    this.numbered.set(text, number)
    this.fresh.push(text)
    return number
  }
}

/** Appends a batch; the arrays grow by doubling. */
export function append(to: Columns, batch: Columns): void {
  const count = to.count + batch.count
  if (count > to.flags.length) {
    const capacity = Math.max(count, 2 * to.flags.length)
    const grow = <A extends Float64Array | Int32Array | Uint8Array>(old: A, fresh: A): A => {
      fresh.set(old)
      return fresh
    }
    for (const name of NUMBERS) to.numbers[name] = grow(to.numbers[name], new Float64Array(capacity))
    for (const name of INTEGERS) to.integers[name] = grow(to.integers[name], new Int32Array(capacity))
    to.flags = grow(to.flags, new Uint8Array(capacity))
  }
  for (const name of NUMBERS) to.numbers[name].set(batch.numbers[name], to.count)
  for (const name of INTEGERS) to.integers[name].set(batch.integers[name], to.count)
  to.flags.set(batch.flags, to.count)
  for (const text of batch.strings) to.strings.push(text)
  to.count = count
}

/** Returns the span's id as 16 hex digits. */
export function spanIdAt({ integers }: Columns, span: number): string {
  const half = (n: number) => (n >>> 0).toString(16).padStart(8, '0')
  return half(integers.idHigh[span]!) + half(integers.idLow[span]!)
}

/** Returns the index of the span with this id, or −1. */
export function spanById({ count, integers: { idHigh, idLow } }: Columns, id: string): number {
  if (!/^[0-9a-f]{16}$/i.test(id)) return -1
  const high = Number.parseInt(id.slice(0, 8), 16) | 0
  const low = Number.parseInt(id.slice(8), 16) | 0
  for (let i = 0; i < count; i++) if (idLow[i] === low && idHigh[i] === high) return i
  return -1
}

export function nameAt({ integers, strings }: Columns, span: number): string {
  return strings[integers.name[span]!]!
}

/** Names the service that did the work; if the server reported nothing, the caller and whom it called. */
export function serviceText(columns: Columns, span: number): string {
  const { integers, strings } = columns
  const [service, caller, host] = [integers.service, integers.caller, integers.host].map(of => strings[of[span]!]!)
  return service || (caller && `${caller} → ${calleeBelow(columns, span) || host || 'unknown'}`)!
}

/** Returns the service that reported its half of a call as a span of its own, as OpenTelemetry's do, below the caller's; or ''. */
function calleeBelow(columns: Columns, span: number): string {
  const { count, integers, strings } = columns
  const child = span + 1
  if (child >= count || integers.depth[child] !== integers.depth[span]! + 1) return ''
  const answers = hasFlag(columns, child, FLAG.server) && !hasFlag(columns, child, FLAG.client)
  return answers ? strings[integers.service[child]!]! : ''
}

/** Returns the service that did the work, or else the caller; empty if neither is known. */
export function ownerAt({ integers, strings }: Columns, span: number): string {
  return strings[integers.service[span]!]! || strings[integers.caller[span]!]!
}

export function hasFlag({ flags }: Columns, span: number, flag: number): boolean {
  return (flags[span]! & flag) !== 0
}
