import { isUtf8 } from 'node:buffer'
import { randomBytes } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { type Side, sideOf } from 'milo/codec/events'
import { isErrorAt } from '../../record/half'
import { IdMap } from '../../record/ids'
import { RecordReader } from '../../record/reader'
import { PEER_KEYS } from '../../trace/peer'
import { Turns } from '../../turns'
import type { Entry } from '../pipeline/entry'
import { Recent } from '../recent'

/**
 * What services did, minute by minute: how many calls, how long, how many errors, and which service called which. Spans are
 * counted while they are settled. Each counter of a minute is stored as one row, always as a whole: so a row that is written
 * twice counts once, and the rows of several collectors add up.
 *
 * Every number is divided by the probability with which its trace was kept: a trace kept with 0.01 stands for a hundred.
 */

/** The counts of one minute, added up from all its rows. */
export interface ActivityMinute {
  /** Minutes since the epoch. */
  minute: number
  operations: Operation[]
  calls: Calls[]
}

export interface Operation extends Measure {
  service: string
  name: string
  side: Side
  /** How many of the counted spans are roots of a trace. */
  roots: number
}

export interface Calls extends Measure {
  caller: string
  callee: string
}

export interface Measure {
  /** Scaled count of spans. */
  count: number
  /** Scaled count of failed spans. */
  errors: number
  /** Scaled count by bucket of duration (see bucketOf); spans without a duration are in no bucket. */
  durations: Record<number, number>
}

/** With four buckets per doubling, a percentile is off by 9% at most. */
const BUCKETS_PER_DOUBLING = 4

function bucketOf(durationUs: number): number {
  return durationUs < 1 ? 0 : 1 + Math.floor(BUCKETS_PER_DOUBLING * Math.log2(durationUs))
}

/** Returns the middle of a bucket, in microseconds. */
function durationOf(bucket: number): number {
  return bucket === 0 ? 0 : 2 ** ((bucket - 0.5) / BUCKETS_PER_DOUBLING)
}

/** Returns a percentile of the durations in microseconds; undefined if no span has a duration. */
export function percentile({ durations }: Pick<Measure, 'durations'>, share: number): number | undefined {
  const buckets = Object.entries(durations)
    .map(([bucket, count]) => [Number(bucket), count] as const)
    .sort(([a], [b]) => a - b)
  const total = buckets.reduce((sum, [, count]) => sum + count, 0)
  let below = 0
  for (const [bucket, count] of buckets) {
    below += count
    if (below >= share * total) return durationOf(bucket)
  }
  return undefined
}

export function addMeasure(to: Measure, from: Measure): void {
  to.count += from.count
  to.errors += from.errors
  for (const [bucket, count] of Object.entries(from.durations)) {
    to.durations[Number(bucket)] = (to.durations[Number(bucket)] ?? 0) + count
  }
}

export const emptyMeasure = (): Measure => ({ count: 0, errors: 0, durations: {} })

/** A row to store: everything that one counter knows of a minute. */
export interface ActivityRow {
  minute: number
  /** The name of the counter's part: a row replaces an earlier row with the same minute and part. */
  part: string
  body: string
}

/** How many operations and pairs of services are counted separately per minute; the rest is counted as OTHER. */
const MAX_OPERATIONS = 2_000
const MAX_CALLS = 1_000
const OTHER = '(other)'
/** The maximal length of a word, in characters: a row has thousands of words, and databases limit its size. */
const MAX_WORD_LENGTH = 200
/** How many written minutes stay in memory, those that changed last. Spans of any other minute begin a new part. */
const MAX_KEPT_MINUTES = 15
/** How many minutes are counted between two writes. Spans of further minutes aren't counted: no honest sender has that many. */
const MAX_MINUTES = 2_000
/** How many halves wait for their other half; and how many messages are remembered, to count a repeated message once. */
const MAX_WAITING = 50_000
const MAX_MESSAGES = 10_000

interface Counter {
  minute: number
  part: string
  operations: Map<string, Operation>
  calls: Map<string, Calls>
  changed: boolean
  touched: number
}

interface Half {
  traceId: bigint
  /** 0 for a root. */
  parentId: bigint
  service: string
  durationUs: number | undefined
  error: boolean
  weight: number
  startUs: bigint
  /** The other service of the call, as counted from this half's annotations. */
  other?: string
}

export class ActivityMeter {
  private readonly counters = new Map<number, Counter>()
  /** Halves of calls whose other half hasn't arrived yet, by span id. */
  private readonly clients = new Recent<bigint, Half>(MAX_WAITING, () => new IdMap())
  private servers = new IdMap<Half>()
  /** Server halves that have been waiting since before the last rows(). */
  private lateServers = new IdMap<Half>()
  private readonly messages = new Recent<string, true>(MAX_MESSAGES)
  private readonly newPart: () => string
  private readonly reader = new RecordReader()
  private touches = 0

  /** @param newPart returns a unique string */
  constructor(newPart: () => string) {
    this.newPart = newPart
  }

  /**
   * Counts the spans of a message.
   * @param body valid records, concatenated; a repeated message isn't counted again
   * @param receivedUs the time of spans without times
   * @returns how many records have a name, service or annotation that isn't UTF-8
   */
  add(body: Buffer, receivedUs: bigint): number {
    const seen = `${body.length}${body.toString('latin1', 0, 64)}${body.toString('latin1', body.length - 64)}`
    if (this.messages.get(seen)) return 0
    this.messages.set(seen, true)
    const { reader } = this
    const view = new DataView(body.buffer, body.byteOffset, body.length)
    let notUtf8 = 0
    for (let pos = 0; pos < body.length; ) {
      pos = reader.read(body, pos)
      this.addRecord(body, view, receivedUs)
      if (holdsBadUtf8(body, reader)) notUtf8++
    }
    return notUtf8
  }

  /** Returns the rows that have changed since the last call. */
  rows(): ActivityRow[] {
    this.meetParents()
    const rows: ActivityRow[] = []
    for (const counter of this.counters.values()) {
      if (!counter.changed) continue
      counter.changed = false
      const { minute, part, operations, calls } = counter
      rows.push({
        minute,
        part,
        body: JSON.stringify({ operations: [...operations.values()], calls: [...calls.values()] }),
      })
    }
    const byTouch = [...this.counters.values()].sort((a, b) => b.touched - a.touched)
    for (const { minute } of byTouch.slice(MAX_KEPT_MINUTES)) this.counters.delete(minute)
    return rows
  }

  private addRecord(body: Buffer, view: DataView, receivedUs: bigint): void {
    const {
      idAt,
      traceIdAt,
      parentIdAt,
      probabilityAt,
      firstAt,
      lastAt,
      callType,
      nameAt,
      nameEnd,
      serviceAt,
      serviceEnd,
    } = this.reader
    const startUs = firstAt === -1 ? receivedUs : view.getBigInt64(firstAt)
    const half: Half = {
      traceId: view.getBigInt64(traceIdAt),
      parentId: parentIdAt === -1 ? 0n : view.getBigInt64(parentIdAt),
      service: text(body, serviceAt, serviceEnd),
      durationUs: firstAt === -1 ? undefined : Number(view.getBigInt64(lastAt) - startUs),
      error: isErrorAt(body, this.reader),
      weight: weightOf(probabilityAt === -1 ? undefined : view.getFloat64(probabilityAt)),
      startUs,
    }
    const side = sideOf(callType)
    const counter = this.counter(startUs)
    const operation = operationOf(counter.operations, half.service, text(body, nameAt, nameEnd), side)
    count(operation, half)
    if (half.parentId === 0n) operation.roots += half.weight
    if (side === 'client') this.addClient(view.getBigInt64(idAt), half, body)
    else if (side === 'server') this.addServer(view.getBigInt64(idAt), half, body)
    else this.addMessage(half, body)
  }

  private addClient(id: bigint, client: Half, body: Buffer): void {
    for (const servers of [this.servers, this.lateServers]) {
      const server = servers.get(id)
      if (server?.traceId !== client.traceId) continue
      servers.delete(id)
      this.meet(client, server!)
      return
    }
    // A callee that isn't traced is known by the name that its caller uses, until its own half arrives.
    const callee = wordOf(body, this.reader, PEERS)
    if (callee !== '') this.addCall(client.service, (client.other = callee), client)
    this.clients.set(id, client)
  }

  private addServer(id: bigint, server: Half, body: Buffer): void {
    const client = this.clients.get(id)
    if (client?.traceId !== server.traceId) {
      const caller = server.parentId === 0n ? wordOf(body, this.reader, PEERS) : ''
      if (caller !== '') this.addCall((server.other = caller), server.service, server)
      if (this.servers.size < MAX_WAITING) this.servers.set(id, server)
      return
    }
    this.clients.delete(id)
    this.meet(client!, server)
  }

  /**
   * With OpenTelemetry, a server half has its own id, and the client half is its parent. Only a server half that has waited in
   * vain for a half with its own id may be one of these: the parent of our server halves may be a call too, but of another server.
   */
  private meetParents(): void {
    for (const server of this.lateServers.values()) {
      const { traceId, parentId } = server
      const client = parentId === 0n ? undefined : this.clients.get(parentId)
      if (client === undefined || client.traceId !== traceId) continue
      this.clients.delete(parentId)
      this.meet(client, server)
    }
    this.lateServers = this.servers
    this.servers = new IdMap()
  }

  /** Counts a message to or from a broker, which reports no half. */
  private addMessage(half: Half, body: Buffer): void {
    const kind = wordOf(body, this.reader, KINDS).toLowerCase()
    if (kind !== 'producer' && kind !== 'consumer') return
    const broker = wordOf(body, this.reader, PEERS)
    if (broker === '') return
    if (kind === 'producer') this.addCall(half.service, broker, half)
    else this.addCall(broker, half.service, half)
  }

  /** Counts a call by its two halves, and takes back what was counted for each half alone. */
  private meet(client: Half, server: Half): void {
    if (client.other !== undefined) this.addCall(client.service, client.other, client, -1)
    if (server.other !== undefined) this.addCall(server.other, server.service, server, -1)
    this.addCall(client.service, server.service, client)
  }

  private addCall(caller: string, callee: string, half: Half, sign = 1): void {
    const { calls } = this.counter(half.startUs)
    const pair = entry(calls, MAX_CALLS, [caller, callee], [OTHER, OTHER], ([from, to]) => ({
      caller: from!,
      callee: to!,
      ...emptyMeasure(),
    }))
    count(pair, half, sign)
  }

  private counter(startUs: bigint): Counter {
    const minute = Number(startUs / 60_000_000n)
    let counter = this.counters.get(minute)
    if (counter === undefined) {
      const fresh = { minute, part: this.newPart(), changed: true, touched: 0 }
      counter = { ...fresh, operations: new Map(), calls: new Map() }
      if (this.counters.size < MAX_MINUTES) this.counters.set(minute, counter)
    }
    counter.changed = true
    counter.touched = ++this.touches
    return counter
  }
}

/** Counts what is settled: of what is settled again after a failure, the rows are the same. */
export class SettledActivity {
  private readonly meter = new ActivityMeter(() => randomBytes(8).toString('hex'))
  private last: { entries: Entry[]; rows: ActivityRow[]; notUtf8: number } | undefined

  async count(entries: Entry[]): Promise<{ rows: ActivityRow[]; notUtf8: number }> {
    if (this.last?.entries === entries) return this.last
    let notUtf8 = 0
    for (const { receivedUs, body } of entries) {
      notUtf8 += this.meter.add(body, receivedUs)
      await setImmediate()
    }
    this.last = { entries, rows: this.meter.rows(), notUtf8 }
    return this.last
  }
}

function count(measure: Measure, { durationUs, error, weight }: Half, sign = 1): void {
  measure.count += sign * weight
  if (error) measure.errors += sign * weight
  if (durationUs === undefined) return
  const bucket = bucketOf(durationUs)
  measure.durations[bucket] = (measure.durations[bucket] ?? 0) + sign * weight
}

const PEERS = PEER_KEYS.map(key => Buffer.from(key))
const KINDS = ['otel.kind', 'zipkin.kind'].map(key => Buffer.from(key))

/** Returns the first value of these annotations that isn't empty. */
function wordOf(body: Buffer, { annotations }: RecordReader, keys: Buffer[]): string {
  for (const key of keys) {
    for (let i = 0; i < annotations.length; i += 4) {
      const [at, end] = [annotations[i]!, annotations[i + 1]!]
      if (key.length !== end - at || body.compare(key, 0, key.length, at, end) !== 0) continue
      const word = text(body, annotations[i + 2]!, annotations[i + 3]!)
      if (word !== '') return word
    }
  }
  return ''
}

/** A trace that was forced, or has an unknown probability, counts once. */
function weightOf(probability: number | undefined): number {
  return probability !== undefined && probability > 0 && probability <= 1 ? 1 / probability : 1
}

function text(body: Buffer, at: number, end: number): string {
  if (at === -1) return ''
  return body.toString(isAscii(body, at, end) ? 'latin1' : 'utf8', at, end).slice(0, MAX_WORD_LENGTH)
}

/** Uses a loop: words are short, and a call into C++ costs more. */
function isAscii(body: Buffer, at: number, end: number): boolean {
  for (let i = at; i < end; i++) if (body[i]! > 127) return false
  return true
}

function holdsBadUtf8(body: Buffer, { nameAt, nameEnd, serviceAt, serviceEnd, annotations }: RecordReader): boolean {
  const bad = (at: number, end: number) => at !== -1 && !isAscii(body, at, end) && !isUtf8(body.subarray(at, end))
  if (bad(nameAt, nameEnd) || bad(serviceAt, serviceEnd)) return true
  for (let i = 0; i < annotations.length; i += 2) if (bad(annotations[i]!, annotations[i + 1]!)) return true
  return false
}

function operationOf(all: Map<string, Operation>, service: string, name: string, side: Side): Operation {
  const known = all.get(`${service}\0${name}\0${side}`)
  if (known !== undefined) return known
  const words = [service, name.slice(0, MAX_WORD_LENGTH), side]
  return entry(all, MAX_OPERATIONS, words, [service, OTHER, side], ([service, name]) => ({
    service: service!,
    name: name!,
    side,
    roots: 0,
    ...emptyMeasure(),
  }))
}

function entry<V>(
  map: Map<string, V>,
  max: number,
  words: string[],
  others: string[],
  make: (words: string[]) => V,
): V {
  const known = map.get(words.join('\0'))
  if (known !== undefined) return known
  const used = map.size < max ? words : others
  const key = used.join('\0')
  const value = map.get(key) ?? make(used)
  map.set(key, value)
  return value
}

/** Returns the first and last minute of a time range. */
export function minutesOf(fromUs: number, toUs: number): [number, number] {
  return [Math.floor(fromUs / 60_000_000), Math.floor(toUs / 60_000_000)]
}

/** Adds up stored rows of any minutes and parts, by minute. */
export function readActivity(rows: { minute: number; body: string }[]): ActivityMinute[] {
  const reading = addUp(rows)
  for (;;) {
    const step = reading.next()
    if (step.done) return step.value
  }
}

/** Adds up rows in turns: a day may have 100 MB of them. */
export async function readActivityInTurns(rows: { minute: number; body: string }[]): Promise<ActivityMinute[]> {
  const turns = new Turns()
  const reading = addUp(rows)
  for (;;) {
    const step = reading.next()
    if (step.done) return step.value
    if (turns.over()) await turns.next()
  }
}

/** Yields after each row. */
function* addUp(rows: { minute: number; body: string }[]): Generator<void, ActivityMinute[]> {
  const minutes = new Map<number, { operations: Map<string, Operation>; calls: Map<string, Calls> }>()
  for (const { minute, body } of rows) {
    const of = minutes.get(minute) ?? { operations: new Map(), calls: new Map() }
    minutes.set(minute, of)
    const { operations, calls } = JSON.parse(body) as Omit<ActivityMinute, 'minute'>
    for (const operation of operations) {
      const key = `${operation.service}\0${operation.name}\0${operation.side}`
      const known = of.operations.get(key)
      if (known === undefined) of.operations.set(key, operation)
      else {
        addMeasure(known, operation)
        known.roots += operation.roots
      }
    }
    for (const pair of calls) {
      const key = `${pair.caller}\0${pair.callee}`
      const known = of.calls.get(key)
      if (known === undefined) of.calls.set(key, pair)
      else addMeasure(known, pair)
    }
    yield
  }
  return [...minutes]
    .sort(([a], [b]) => a - b)
    .map(([minute, { operations, calls }]) => ({
      minute,
      operations: [...operations.values()],
      // Calls that were counted for one half and taken back leave only rounding errors.
      calls: [...calls.values()].filter(({ count }) => count > 1e-6),
    }))
}
