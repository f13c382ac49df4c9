import { EventType, LOCAL_END, LOCAL_START } from 'milo/codec/events'
import type { SpanEvent, SpanRecord } from 'milo/codec/span'
import { isEveryMachine } from './host'
import { IdTable } from './ids'
import type { Side } from './model'

const { CLIENT_SEND, CLIENT_RECV, SERVER_SEND, SERVER_RECV, CUSTOM } = EventType

/** The sides. If halves differ, the value of the side with the lower number counts. */
export const SERVER = 0
export const CLIENT = 1
export const LOCAL = 2
export const SIDES: readonly Side[] = ['server', 'client', 'local']

/** The clock of records that name neither host nor service. */
export const UNKNOWN = -1

/** The flags of a record. */
export const ROOT = 1
export const ONEWAY = 2
export const HAS_CUSTOM = 4

/** A clock is named by a host, or else by a service: one of them is null. */
interface NamedClock {
  host: string | null
  service: string | null
}

/**
 * The ids and times in a trace's records, in columns. Records are numbered, and so are spans (a span is all records of one
 * id), so that 200,000 records make no objects. `start` and `end` hold three windows for each record, at 3 × record + side. A
 * window goes from the side's first event to its last, whatever their labels (the original's Python client swapped send and
 * receive); it is NaN if there is none. A record may hold times of both sides; each counts for its own side.
 */
export class Reports {
  readonly records: SpanRecord[]
  /** The side that its first client or server event names, as in the original's Cassandra columns. */
  readonly side: Uint8Array
  readonly start: Float64Array
  readonly end: Float64Array
  readonly flags: Uint8Array
  /** Each record's index into `clocks`; UNKNOWN if it names neither host nor service. */
  readonly clock: Int32Array
  /** The number of each record's span. */
  readonly span: Int32Array
  readonly ids: IdTable
  /** The records of each span, as a list: its last record, and for each record the one before it; −1 at the end. */
  readonly last: Int32Array
  readonly before: Int32Array
  /** The two halves of the trace's id, each from the last record that has one. */
  traceId = 0n
  traceIdHigh = 0n
  clocks: NamedClock[] = []
  private readonly clockOfHost = new Map<string, number>()
  private readonly clockOfService = new Map<string, number>()

  constructor(records: SpanRecord[]) {
    const n = records.length
    this.records = records
    this.side = new Uint8Array(n)
    this.start = new Float64Array(3 * n).fill(Number.NaN)
    this.end = new Float64Array(3 * n).fill(Number.NaN)
    this.flags = new Uint8Array(n)
    this.clock = new Int32Array(n)
    this.span = new Int32Array(n)
    this.ids = new IdTable(n)
    this.last = new Int32Array(n).fill(-1)
    this.before = new Int32Array(n)
  }

  /** Reads a record, and passes over one without an id. The records before it must have been read. */
  read(r: number): void {
    const record = this.records[r]!
    if (record.id === undefined) {
      this.clock[r] = UNKNOWN
      return
    }
    if (record.traceId) this.traceId = record.traceId
    if (record.traceIdHigh) this.traceIdHigh = record.traceIdHigh
    let flags = record.parentId ? 0 : ROOT
    if (record.annotations?.has('thrift.oneway')) flags |= ONEWAY
    const events = record.events ?? []
    const side = sideOf(events)
    this.side[r] = side
    for (let i = 0; i < events.length; i++) {
      const { timestamp, eventType } = events[i]!
      if (eventType === CUSTOM) flags |= HAS_CUSTOM
      const of = timestamp === undefined ? undefined : (eventSide(eventType) ?? (side === LOCAL ? LOCAL : undefined))
      if (of === undefined) continue
      const time = Number(timestamp)
      const at = 3 * r + of
      // These conditions are also true for NaN, which means no time yet.
      if (!(this.start[at]! <= time)) this.start[at] = time
      if (!(this.end[at]! >= time)) this.end[at] = time
    }
    this.flags[r] = flags
    this.clock[r] = this.clockOf(record, side)
    const span = this.ids.add(record.id)
    this.span[r] = span
    this.before[r] = this.last[span]!
    this.last[span] = r
  }

  /**
   * Numbers the clocks by their names, once all records have been read. The result must not depend on the order of arrival:
   * sums of times beyond 2^53 are rounded, so even the order in which clocks are looked at would show.
   */
  orderClocks(): void {
    const { clock, clocks } = this
    const sorted = clocks.map((_, c) => c).sort((a, b) => (before(clocks[a]!, clocks[b]!) ? -1 : 1))
    const renumbered = new Int32Array(clocks.length)
    for (let c = 0; c < sorted.length; c++) renumbered[sorted[c]!] = c
    for (let r = 0; r < clock.length; r++) if (clock[r] !== UNKNOWN) clock[r] = renumbered[clock[r]!]!
    this.clocks = sorted.map(c => clocks[c]!)
  }

  /**
   * Returns the number of a record's clock. A clock belongs to a host. If the host has no name, or one that every host has,
   * the clock is the service's.
   */
  private clockOf(record: SpanRecord, side: number): number {
    const host = hostOf(record, side)
    const byHost = this.clockOfHost.get(host)
    if (byHost !== undefined && byHost !== UNKNOWN) return byHost
    if (byHost === undefined) {
      const known = host !== '' && !isEveryMachine(host)
      this.clockOfHost.set(host, known ? this.clocks.length : UNKNOWN)
      if (known) return this.clocks.push({ host, service: null }) - 1
    }
    const service = record.service ?? ''
    if (service === '') return UNKNOWN
    let clock = this.clockOfService.get(service)
    if (clock === undefined) {
      clock = this.clocks.push({ host: null, service }) - 1
      this.clockOfService.set(service, clock)
    }
    return clock
  }
}

/** Orders hosts before services, and each by name. No two clocks are the same. */
function before(a: NamedClock, b: NamedClock): boolean {
  if (a.host !== null) return b.host === null || a.host < b.host
  return b.host === null && a.service! < b.service!
}

/** Returns the host that reported a side. A local span's host is in clientHost or serverHost. */
export function hostOf(record: SpanRecord, side: number): string {
  return (side === SERVER ? record.serverHost : record.clientHost || (side === LOCAL && record.serverHost)) || ''
}

/** Returns what the application recorded: custom events, without the two that the SDK uses to time a local span. */
export function customEvents({ events }: SpanRecord, side: number): SpanEvent[] {
  if (events === undefined) return []
  // Other events with the same names are the application's own.
  const begin = side === LOCAL ? events.find(e => isCustom(e) && e.value === LOCAL_START) : undefined
  const end = side === LOCAL ? events.findLast(e => isCustom(e) && e.value === LOCAL_END) : undefined
  return events.filter(e => isCustom(e) && e !== begin && e !== end)
}

function isCustom({ eventType }: SpanEvent): boolean {
  return eventType === CUSTOM
}

/** Returns the side that a record's events name first. */
export function sideOf(events: SpanEvent[]): number {
  for (let i = 0; i < events.length; i++) {
    const side = eventSide(events[i]!.eventType)
    if (side !== undefined) return side
  }
  return LOCAL
}

function eventSide(type: number | undefined): number | undefined {
  if (type === CLIENT_SEND || type === CLIENT_RECV) return CLIENT
  if (type === SERVER_SEND || type === SERVER_RECV) return SERVER
  return undefined
}
