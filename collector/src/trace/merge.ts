import type { SpanRecord } from 'milo/codec/span'
import { SpanColumns } from './columns'
import { EVENTS_KEY, eventAttributes } from './event-attributes'
import { hexId } from './ids'
import { ASKED, HISTORY_KEY, KEEP_KEY, KEEP_SPAN_KEY, LEFT_OUT_KEY } from './kept'
import { waited } from './measure'
import { type Conflict, NO_PARENT, type Report, type TraceEvent, type TraceSpan } from './model'
import { calledHostOf, peerOf } from './peer'
import { CLIENT, customEvents, HAS_CUSTOM, hostOf, LOCAL, type Reports, SERVER, SIDES, UNKNOWN } from './reports'

/**
 * The time that all reports of one side cover, by corrected clocks. `raw` is the start as reported. NaN if there is no report.
 */
interface Window {
  start: number
  end: number
  raw: number
}

// Most spans have none of these, so they share empty lists. A built trace is never changed.
const NO_EVENTS: TraceEvent[] = []
const NO_MAP: Record<string, string> = {}
const NO_CONFLICTS: Conflict[] = []
const NO_REPEATS: Report[] = []

/** What processes say when a trace is kept after the fact. */
const OF_KEEPING = [KEEP_KEY, KEEP_SPAN_KEY, HISTORY_KEY, LEFT_OUT_KEY]

/** Whether two processes have only said what each had to say then: whose reason counts, replaces the other. */
function isOfKeeping(merged: Record<string, string>, key: string, value: string): boolean {
  if (key === KEEP_KEY && merged[key] === ASKED) merged[key] = value
  return OF_KEEPING.includes(key)
}

/**
 * The annotations that tell how a Thrift call ended. Both are taken from one report, so that the reason belongs to the result.
 */
const OUTCOME = ['thrift.result', 'error.type']

/**
 * Merges all records of a span id into one span. Its working state is allocated once, rather than for each of 100,000 spans.
 */
export class Merger {
  readonly columns: SpanColumns
  private readonly reports: Reports
  private readonly offsets: Float64Array
  private readonly hex: string[] = []
  /** The span's records. Where two differ, the first one's value counts. */
  private ranked: number[] = []
  private conflicts = NO_CONFLICTS
  private readonly windows: Window[] = [SERVER, CLIENT, LOCAL].map(() => ({ start: NaN, end: NaN, raw: NaN }))

  /** @param offsets the microseconds to add to the times of each clock */
  constructor(reports: Reports, offsets: Float64Array) {
    const { ids } = reports
    this.reports = reports
    this.offsets = offsets
    this.columns = new SpanColumns(ids.size)
    for (let i = 0; i < ids.size; i++) this.hex.push(ids.hex(i))
  }

  /** Merges a span. The fields that depend on its position in the tree are filled in later (build.ts). */
  merge(span: number): TraceSpan {
    this.rank(span)
    this.conflicts = NO_CONFLICTS
    const server = this.window(SERVER)
    const client = this.window(CLIENT)
    const local = this.window(LOCAL)
    const hasClient = !Number.isNaN(client.start)
    const hasServer = !Number.isNaN(server.start)
    const own = hasClient ? client : hasServer ? server : local
    const timed = !Number.isNaN(own.start)
    const clientDuration = client.end - client.start
    const serverDuration = server.end - server.start
    let duration = own.end - own.start
    if (serverDuration > duration) duration = serverDuration
    const called = hasClient || this.has(CLIENT)
    const served = hasServer || this.has(SERVER)

    const annotations = this.mergeMaps('annotations')
    const counters = this.mergeMaps('counters')
    const parentId = this.agree('parentId') as bigint | undefined
    // A span whose id really is 0 has no children: parent 0 means that there is no parent.
    const parent = parentId === undefined ? -1 : this.reports.ids.find(parentId)
    const { service, clientService } = this.sides(called, served, annotations)
    const { columns } = this
    columns.parent[span] = parent
    columns.start[span] = own.start
    columns.duration[span] = duration
    columns.clientStart[span] = client.start
    columns.clientDuration[span] = clientDuration
    columns.serverDuration[span] = serverDuration
    this.extend(own.start, own.start + duration)
    this.extend(server.start, server.end)
    this.count(span)
    const merged: TraceSpan = {
      spanId: this.hex[span]!,
      parentId: parentId === undefined ? NO_PARENT : parent === -1 ? hexId(parentId) : this.hex[parent]!,
      name: (this.agree('name') as string | undefined) ?? '',
      kind: called ? (served ? 'rpc' : 'client') : served ? 'server' : 'local',
      service,
      clientService,
      // Each side knows its own host best, but the other side's value is better than none.
      clientHost: this.said(CLIENT, 'clientHost') ?? this.said(undefined, 'clientHost'),
      serverHost: this.said(undefined, 'serverHost') ?? (called ? calledHostOf(annotations) : null),
      start: timed ? own.start : null,
      duration: timed ? duration : null,
      clientStart: hasClient ? client.start : null,
      clientDuration: hasClient ? clientDuration : null,
      serverStart: hasServer ? server.start : null,
      serverDuration: hasServer ? serverDuration : null,
      annotations,
      counters,
      events: this.events(),
      probability: this.probability(),
      error: typeof annotations['error.type'] === 'string' || typeof annotations.error === 'string',
      depth: 0,
      orphan: false,
      cycle: false,
      conflicts: this.conflicts,
      repeats: this.repeats(),
      selfTime: null,
      criticalTime: 0,
      networkTime: waited(clientDuration - serverDuration),
    }
    if (this.ranked.some(r => this.offset(r) !== 0)) {
      merged.rawStart = timed ? own.raw : null
      merged.rawClientStart = hasClient ? client.raw : null
      merged.rawServerStart = hasServer ? server.raw : null
    }
    return merged
  }

  /** Names caller and callee. A side that reported no half gets the name that the other side gives it. */
  private sides(called: boolean, served: boolean, annotations: Record<string, string>) {
    const service = this.said(SERVER, 'service')
    const clientService = this.said(CLIENT, 'service')
    if (called) return { service: service ?? (served ? null : peerOf(annotations)), clientService }
    if (served) return { service, clientService: peerOf(annotations) }
    const local = this.said(LOCAL, 'service')
    const kind = (annotations['otel.kind'] ?? annotations['zipkin.kind'] ?? '').toLowerCase()
    const broker = kind === 'producer' || kind === 'consumer' ? peerOf(annotations) : null
    if (broker === null) return { service: local, clientService }
    return kind === 'producer' ? { service: broker, clientService: local } : { service: local, clientService: broker }
  }

  /** Orders the records: server halves first, the earliest first. A half that was reported twice counts once. */
  private rank(span: number): void {
    const { side, last, before, records } = this.reports
    const { ranked } = this
    ranked.length = 0
    for (let r = last[span]!; r !== -1; r = before[r]!) ranked.push(r)
    if (ranked.length === 1) return
    ranked.reverse()
    // The order in which they came is another one each time.
    const texts = new Map<number, string>()
    const text = (r: number) => {
      const known = texts.get(r) ?? textOf(records[r]!)
      texts.set(r, known)
      return known
    }
    ranked.sort((a, b) => side[a]! - side[b]! || byTime(this.start(a), this.start(b)) || compareTexts(text(a), text(b)))
    if (this.isPair()) return
    const different = new Map<string, number>()
    for (const r of ranked) {
      const same = different.get(text(r))
      // Of two that differ in why they were kept alone, the one that says why.
      if (same === undefined || records[same]!.annotations?.get(KEEP_KEY) === ASKED) different.set(text(r), r)
    }
    this.ranked = [...different.values()]
  }

  private extend(from: number, to: number): void {
    const { columns } = this
    if (from < columns.first) columns.first = from
    if (to > columns.latest) columns.latest = to
  }

  private count(span: number): void {
    const { reported } = this.columns
    for (const r of this.ranked) {
      const { service } = this.reports.records[r]!
      if (!service) continue
      const known = reported.get(service)
      if (known === undefined) reported.set(service, { spans: 1, latest: span })
      else if (known.latest !== span) {
        known.spans++
        known.latest = span
      }
    }
  }

  /** Tells whether no side has more than one record. */
  private isPair(): boolean {
    const { side } = this.reports
    const { ranked } = this
    return ranked.length === 1 || (ranked.length === 2 && side[ranked[0]!] !== side[ranked[1]!])
  }

  private has(of: number): boolean {
    for (const r of this.ranked) if (this.reports.side[r] === of) return true
    return false
  }

  private offset(r: number): number {
    const clock = this.reports.clock[r]!
    return clock === UNKNOWN ? 0 : this.offsets[clock]!
  }

  /** Returns the start that the record's own side reports, corrected. */
  private start(r: number): number | null {
    const start = this.reports.start[3 * r + this.reports.side[r]!]!
    return Number.isNaN(start) ? null : start + this.offset(r)
  }

  private window(side: number): Window {
    const { start, end } = this.reports
    const all = this.windows[side]!
    all.start = NaN
    all.end = NaN
    for (const r of this.ranked) {
      const raw = start[3 * r + side]!
      if (Number.isNaN(raw)) continue
      const offset = this.offset(r)
      if (!(all.start <= raw + offset)) {
        all.start = raw + offset
        all.raw = raw
      }
      if (!(all.end >= end[3 * r + side]! + offset)) all.end = end[3 * r + side]! + offset
    }
    return all
  }

  /** Returns the first value that a record of that side (or of any side) has. */
  private said(of: number | undefined, field: 'service' | 'clientHost' | 'serverHost'): string | null {
    const { records, side } = this.reports
    for (const r of this.ranked) {
      const value = of === undefined || side[r] === of ? records[r]![field] : undefined
      if (value) return value
    }
    return null
  }

  /** Returns the first record's value, and notes different values as conflicts. A record without a value agrees. */
  private agree(field: 'name' | 'parentId'): string | bigint | undefined {
    let standing: string | bigint | undefined
    for (const r of this.ranked) {
      const said = this.reports.records[r]![field]
      if (!said) continue
      if (standing === undefined) standing = said
      else if (said !== standing) this.differs(field, null, typeof said === 'bigint' ? hexId(said) : said, r)
    }
    return standing
  }

  private differs(field: Conflict['field'], key: string | null, value: string, r: number): void {
    if (this.conflicts === NO_CONFLICTS) this.conflicts = []
    this.conflicts.push({ field, key, value, side: SIDES[this.reports.side[r]!]! })
  }

  private mergeMaps(field: 'annotations' | 'counters'): Record<string, string> {
    if (this.ranked.every(r => this.reports.records[r]![field] === undefined)) return NO_MAP
    const merged: Record<string, string> = {}
    const outcome = field === 'annotations' ? this.betterOutcome() : undefined
    if (outcome !== undefined) {
      for (const key of OUTCOME) if (outcome.has(key)) merged[key] = outcome.get(key)!
    }
    for (const r of this.ranked) {
      const map: Map<string, string | bigint> | undefined = this.reports.records[r]![field]
      if (map === undefined) continue
      for (const [key, said] of map) {
        const value = typeof said === 'string' ? said : String(said)
        // The type is enough to tell own keys: what an object inherits is never a string.
        const standing = merged[key]
        if (typeof standing !== 'string') put(merged, key, value)
        else if (standing !== value && !isOfKeeping(merged, key, value))
          this.differs(field === 'annotations' ? 'annotation' : 'counter', key, value, r)
      }
    }
    return merged
  }

  /**
   * Returns the annotations whose outcome replaces that of the first record, if there are any. A half that says `ok` doesn't
   * know of the other half's failure, and a server that abandons a call doesn't know why its client left.
   */
  private betterOutcome(): Map<string, string> | undefined {
    const { records, side } = this.reports
    let better: Map<string, string> | undefined
    let least: number | undefined
    for (const r of this.ranked) {
      const { annotations } = records[r]!
      const result = annotations?.get('thrift.result')
      if (result === undefined) continue
      const doubt = result === 'ok' ? 2 : result === 'abandoned' && side[r] === SERVER ? 1 : 0
      if (least === undefined) least = doubt
      else if (doubt < least) {
        least = doubt
        better = annotations
      }
    }
    return better
  }

  private events(): TraceEvent[] {
    const { records, side, flags } = this.reports
    let events = NO_EVENTS
    for (const r of this.ranked) {
      if (!(flags[r]! & HAS_CUSTOM)) continue
      const attributes = eventAttributes(records[r]!.annotations?.get(EVENTS_KEY))
      for (const [i, { timestamp, value }] of customEvents(records[r]!, side[r]!).entries()) {
        const raw = timestamp === undefined ? null : Number(timestamp)
        const offset = this.offset(r)
        const event: TraceEvent = {
          time: raw === null ? null : raw + offset,
          value: value ?? '',
          side: SIDES[side[r]!]!,
        }
        if (raw !== null && offset !== 0) event.rawTime = raw
        const own = attributes?.get(i)
        if (own !== undefined) event.attributes = own
        if (events === NO_EVENTS) events = []
        events.push(event)
      }
    }
    return events.length > 1 ? events.sort((a, b) => byTime(a.time, b.time)) : events
  }

  private probability(): number | null {
    for (const r of this.ranked) {
      const { probability } = this.reports.records[r]!
      // JSON has neither NaN nor infinities, but the wire has.
      if (probability !== undefined && Number.isFinite(probability)) return probability
    }
    return null
  }

  private repeats(): Report[] {
    if (this.isPair()) return NO_REPEATS
    const { records, side, start, end } = this.reports
    const perSide = [0, 0, 0]
    for (const r of this.ranked) perSide[side[r]!]!++
    const repeats: Report[] = []
    for (const r of this.ranked) {
      if (perSide[side[r]!] === 1) continue
      const at = 3 * r + side[r]!
      const timed = !Number.isNaN(start[at]!)
      const report: Report = {
        side: SIDES[side[r]!]!,
        service: records[r]!.service || null,
        host: hostOf(records[r]!, side[r]!) || null,
        start: this.start(r),
        duration: timed ? end[at]! - start[at]! : null,
      }
      if (timed && this.offset(r) !== 0) report.rawStart = start[at]!
      repeats.push(report)
    }
    return repeats.sort((a, b) => byTime(a.start, b.start))
  }
}

/** Returns a string that is equal for equal records: also for what a process has sent twice because it was asked again. */
function textOf(record: SpanRecord): string {
  return JSON.stringify(
    Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)),
    (_, value) => {
      if (typeof value === 'bigint') return `${value}n`
      return value instanceof Map ? [...value].filter(([key]) => !OF_KEEPING.includes(key)) : value
    },
  )
}

function put(map: Record<string, string>, key: string, value: string): void {
  // An assignment to this key would set the prototype.
  if (key !== '__proto__') map[key] = value
  else Object.defineProperty(map, key, { value, enumerable: true, writable: true, configurable: true })
}

/** Compares times for sorting: null comes last. */
function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function byTime(a: number | null, b: number | null): number {
  return (a ?? Infinity) - (b ?? Infinity) || 0
}
