import type { EventType, SpanEvent, SpanRecord } from '../../../src/codec/span'
import { type Conflict, NO_PARENT, type Report, type Side, type TraceEvent, type TraceSpan } from './model'

// The codec's values, by type only: the codec needs Node's Buffer, and this runs in browsers.
const CLIENT_SEND: typeof EventType.CLIENT_SEND = 1
const CLIENT_RECV: typeof EventType.CLIENT_RECV = 2
const SERVER_SEND: typeof EventType.SERVER_SEND = 3
const SERVER_RECV: typeof EventType.SERVER_RECV = 4
const CUSTOM: typeof EventType.CUSTOM = 5

/** From the first event to the last, whatever their labels: the original's Python client swapped send and receive. */
interface Window {
  start: number
  end: number
}

/** A record, and what its events say of times. A record may hold times of both sides; each counts for its own. */
interface ReadRecord {
  record: SpanRecord
  side: Side
  client: Window | undefined
  server: Window | undefined
  local: Window | undefined
}

/** Makes one span of all records that have its id; its place in the tree is still to be filled in. */
export function mergeSpan(spanId: string, records: SpanRecord[]): TraceSpan {
  const events: TraceEvent[] = []
  const reports: ReadRecord[] = []
  for (const record of records) reports.push(readRecord(record, events))
  // The server half's word stands, and of several that of the earliest.
  if (reports.length > 1) reports.sort((a, b) => RANK[a.side] - RANK[b.side] || byTime(startOf(a), startOf(b)))
  if (events.length > 1) events.sort((a, b) => byTime(a.time, b.time))

  const client = union(reports, 'client')
  const server = union(reports, 'server')
  const called = client !== undefined || reports.some(r => r.side === 'client')
  const served = server !== undefined || reports.some(r => r.side === 'server')
  const own = client ?? server ?? union(reports, 'local')
  const conflicts: Conflict[] = []
  const annotations = mergeMaps(reports, 'annotations', conflicts)
  const counters = mergeMaps(reports, 'counters', conflicts)
  return {
    spanId,
    parentId: agree(reports, 'parentId', conflicts) ?? NO_PARENT,
    name: agree(reports, 'name', conflicts) ?? '',
    kind: called ? (served ? 'rpc' : 'client') : served ? 'server' : 'local',
    service: said(reports, 'server', 'service') ?? (called ? null : said(reports, 'local', 'service')),
    clientService: said(reports, 'client', 'service'),
    // Each side knows its own host best; the other's word is better than none.
    clientHost: said(reports, 'client', 'clientHost') ?? said(reports, undefined, 'clientHost'),
    serverHost: said(reports, undefined, 'serverHost'),
    start: own?.start ?? null,
    duration: own === undefined ? null : Math.max(durationOf(own)!, durationOf(server) ?? 0),
    clientStart: client?.start ?? null,
    clientDuration: durationOf(client),
    serverStart: server?.start ?? null,
    serverDuration: durationOf(server),
    annotations,
    counters,
    events,
    probability: probabilityOf(reports),
    error: Object.hasOwn(annotations, 'error.type') || Object.hasOwn(annotations, 'error'),
    depth: 0,
    orphan: false,
    cycle: false,
    conflicts,
    repeats: repeatsOf(reports),
  }
}

const RANK: Record<Side, number> = { server: 0, client: 1, local: 2 }

/** Also adds what the application recorded to `events`. */
function readRecord(record: SpanRecord, events: TraceEvent[]): ReadRecord {
  const list = record.events ?? []
  const side = sideOf(list)
  const read: ReadRecord = { record, side, client: undefined, server: undefined, local: undefined }
  // The two events with which the SDK times a local span; others of the same words are the application's own.
  const begin = side === 'local' ? list.find(e => e.eventType === CUSTOM && e.value === 'milo.start') : undefined
  const end = side === 'local' ? list.findLast(e => e.eventType === CUSTOM && e.value === 'milo.end') : undefined
  for (const event of list) {
    const time = event.timestamp === undefined ? null : Number(event.timestamp)
    if (event.eventType === CUSTOM && event !== begin && event !== end) {
      events.push({ time, value: event.value ?? '', side })
    }
    const of = eventSide(event.eventType) ?? (side === 'local' ? side : undefined)
    if (time === null || of === undefined) continue
    const window = read[of]
    if (window === undefined) read[of] = { start: time, end: time }
    else if (time < window.start) window.start = time
    else if (time > window.end) window.end = time
  }
  return read
}

/** A half is what its first client or server event says, as in the original's Cassandra columns. */
function sideOf(events: SpanEvent[]): Side {
  for (const event of events) {
    const side = eventSide(event.eventType)
    if (side !== undefined) return side
  }
  return 'local'
}

function eventSide(type: number | undefined): 'client' | 'server' | undefined {
  if (type === CLIENT_SEND || type === CLIENT_RECV) return 'client'
  if (type === SERVER_SEND || type === SERVER_RECV) return 'server'
  return undefined
}

function union(reports: ReadRecord[], side: Side): Window | undefined {
  let all: Window | undefined
  for (const { [side]: window } of reports) {
    if (window === undefined) continue
    if (all === undefined) all = window
    else all = { start: Math.min(all.start, window.start), end: Math.max(all.end, window.end) }
  }
  return all
}

function durationOf(window: Window | undefined): number | null {
  return window === undefined ? null : window.end - window.start
}

/** The first of that side (or of any) that said something. */
function said(reports: ReadRecord[], side: Side | undefined, field: 'service' | 'clientHost' | 'serverHost') {
  for (const report of reports) {
    const value = side === undefined || report.side === side ? report.record[field] : undefined
    if (value) return value
  }
  return null
}

/** What the first says stands; who says otherwise is noted. Who says nothing agrees. */
function agree(reports: ReadRecord[], field: 'name' | 'parentId', conflicts: Conflict[]): string | undefined {
  let standing: string | undefined
  for (const { record, side } of reports) {
    const said = record[field]
    if (!said) continue
    const value = typeof said === 'bigint' ? hexId(said) : said
    if (standing === undefined) standing = value
    else if (value !== standing) conflicts.push({ field, key: null, value, side })
  }
  return standing
}

function mergeMaps(reports: ReadRecord[], field: 'annotations' | 'counters', conflicts: Conflict[]) {
  const merged: Record<string, string> = {}
  for (const { record, side } of reports) {
    for (const [key, v] of record[field] ?? []) {
      const value = String(v)
      if (!Object.hasOwn(merged, key)) put(merged, key, value)
      else if (merged[key] !== value) {
        conflicts.push({ field: field === 'annotations' ? 'annotation' : 'counter', key, value, side })
      }
    }
  }
  return merged
}

function put(map: Record<string, string>, key: string, value: string): void {
  // Assigned, this one key would be the prototype.
  if (key !== '__proto__') map[key] = value
  else Object.defineProperty(map, key, { value, enumerable: true, writable: true, configurable: true })
}

function probabilityOf(reports: ReadRecord[]): number | null {
  for (const { record } of reports) {
    // The wire has doubles that JSON hasn't.
    if (record.probability !== undefined && Number.isFinite(record.probability)) return record.probability
  }
  return null
}

function repeatsOf(reports: ReadRecord[]): Report[] {
  if (reports.length < 2) return []
  const perSide = { client: 0, server: 0, local: 0 }
  for (const { side } of reports) perSide[side]++
  return reports
    .filter(({ side }) => perSide[side] > 1)
    .map(report => ({
      side: report.side,
      service: report.record.service || null,
      host: (report.side === 'server' ? report.record.serverHost : report.record.clientHost) || null,
      start: startOf(report),
      duration: durationOf(report[report.side]),
    }))
    .sort((a, b) => byTime(a.start, b.start))
}

function startOf(report: ReadRecord): number | null {
  return report[report.side]?.start ?? null
}

/** For sorting: what has no time comes last. */
export function byTime(a: number | null, b: number | null): number {
  return (a ?? Infinity) - (b ?? Infinity) || 0
}

/** 16 lower-case hex digits of an i64; negative ones as their two's complement. */
export function hexId(id: bigint): string {
  return BigInt.asUintN(64, id).toString(16).padStart(16, '0')
}
