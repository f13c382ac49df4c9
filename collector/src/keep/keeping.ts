import { hash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { KEEP_BYTES, KEEP_REQUEST } from 'milo/codec/keeps'
import type { LogRarely } from '../log'
import type { Metrics } from '../metrics'
import { IdMap } from '../record/ids'
import { hash64 } from '../store/hash64'
import { type Keep, type KeepLog, OPERATION, TRACE } from '../store/keeps'
import { Recent } from '../store/recent'
import { AwaitedCauses } from './awaited-causes'
import { Feed } from './feed'
import type { KeptRecord } from './kept-records'
import { OrderedLimit } from './ordered-limit'
import { Rings } from './rings'

/**
 * What is kept after the fact, from all who ask for it to all who should hear of it:
 *
 *     stored records with milo.keep ─┐
 *     POST /api/keep ────────────────┼→ once a trace, so many a second ─┬→ feed → processes, relays
 *     collectors on the databases ───┘                                  └→ the store's log → other collectors, GET /api/keeps
 */

interface KeepingOptions {
  /** Undefined for a relay, which stores nothing. */
  store: KeepLog | undefined
  collector: string
  metrics: Metrics
  warn: LogRarely
  nowUs?: () => number
}

/** A trace is announced once in so long. */
const AGAIN_MS = 600_000
const MAX_REMEMBERED = 200_000
/** Announced traces a second, and at once. A process takes a tenth of it. */
const TRACES_A_SECOND = 1_000
const BURST = 5_000
/** What else announced traces were kept for: so many a second in all, and of one trace. */
const REASONS_A_SECOND = 5_000
const REASONS_BURST = 25_000
const REASONS_A_TRACE = 100
const MAX_UNWRITTEN = 20_000
const WRITE_AT_ONCE = 1_000
const RETRY_MS = 1_000
/** How often other collectors' keeps are read while processes ask this one. */
const READ_MS = 250
/** Rows become visible out of order: each read begins again with rows that were seen for the first time in so long. */
const SETTLED_MS = 3_000
/** What was announced so long before the first read counts as new: processes that ask have just lost a collector, or this one's last life. */
const FIRST_READ_US = 30_000_000
/** More than that: what was told before it is not told again. */
const PAUSE_MS = 40_000
const RINGS_MS = 10_000
const AWAITED_MS = 1_000
const NEWS_MS = 200
/** How long `close` may take to write what is left. */
const CLOSE_MS = 3_000
/** Reasons that are told apart in metrics: others are the applications' own words. */
const REASONS = ['error', 'slow', 'lateral', 'requested']

/** What is written of a trace while it isn't known for which span it was kept: other collectors announce it. */
const UNTOLD = { reason: '', service: '', name: '' }

/** The reason of what a person has asked for. */
export const REQUESTED = 'requested'

export class Keeping {
  readonly feed: Feed
  readonly rings: Rings
  private readonly options: KeepingOptions
  /** The time that all collectors on the same databases have in common, in microseconds since the epoch. */
  readonly nowUs: () => number
  /** Tells this process's rows from others'. */
  private readonly origin = randomBytes(8).readBigInt64BE()
  /** When a trace was announced, and how many reasons were written for it. */
  private readonly announced = new Recent<bigint, { atMs: number; reasons: number }>(MAX_REMEMBERED, () => new IdMap())
  private readonly limit = new OrderedLimit(TRACES_A_SECOND, BURST)
  /** For what traces were kept, as it was written: each may come several times. */
  private readonly noted = new Recent<bigint, true>(MAX_REMEMBERED, () => new IdMap())
  private readonly awaited = new AwaitedCauses()
  private readonly reasonsLimit = new OrderedLimit(REASONS_A_SECOND, REASONS_BURST)
  private kepts = 0
  private unwritten: Keep[] = []
  private writing: Promise<void> | undefined
  /** The rows that were read lately, by their numbers: when first. */
  private readonly read = new IdMap<number>()
  /** Everything up to this number has been read, of what isn't older than this. */
  private readTo = 0n
  private readFromUs = 0
  private readAtMs = Number.NEGATIVE_INFINITY
  private readonly timers: NodeJS.Timeout[] = []
  private reading = false
  private saving: NodeJS.Timeout | undefined
  private closed = false

  constructor(options: KeepingOptions) {
    this.options = options
    this.nowUs = options.nowUs ?? (() => Math.floor(options.store?.nowUs() ?? Date.now() * 1000))
    this.feed = new Feed(this.nowUs)
    this.rings = new Rings(this.nowUs)
    if (options.store === undefined) return
    const { store } = options
    this.timers.push(setInterval(() => void this.readOthers(store), READ_MS).unref())
    this.timers.push(setInterval(() => void this.saveRings(store), RINGS_MS).unref())
    this.timers.push(setInterval(() => this.noteAwaited(), AWAITED_MS).unref())
    // Who looks at a trace wants to know that a process has just ended.
    this.rings.onNews = () => {
      if (this.closed) return
      this.saving ??= setTimeout(() => void this.saveRings(store), NEWS_MS).unref()
    }
  }

  /** Announces the traces of stored records, and writes down what each was kept for: several processes may have kept one. */
  kept(records: KeptRecord[]): void {
    const { store } = this.options
    for (const record of records.toSorted((a, b) => Number(b.isItself) - Number(a.isItself))) {
      const { traceId, reason, service, name, spanId, isItself } = record
      const isNew = this.isNew(traceId)
      const row = { ...(isItself ? { reason, service, name } : UNTOLD), by: '' }
      if (isNew && !this.announce(traceId, row, reason)) continue
      const cause = keyOf(record, '', spanId)
      if (isItself) {
        this.noted.set(cause, true)
        this.awaited.remove(traceId, reason, service, spanId)
        if (isNew) this.noted.set(keyOf(record, name), true)
        else this.note(record)
      } else if (store !== undefined && !this.noted.get(cause) && !this.awaited.add(record)) this.drop()
    }
  }

  /** Asks all processes for what they have of a trace. @param by who asks */
  keepTrace(traceId: bigint, by: string): void {
    // A person may ask again.
    this.announced.delete(traceId)
    this.announce(traceId, { ...UNTOLD, reason: REQUESTED, by }, REQUESTED)
  }

  /** Asks all processes for the next `n` traces of an operation, each for so many. @param n at most 255 */
  keepOperation(service: string, name: string, n: number, by: string): void {
    const id = operationId(service, name)
    const keep = this.made({ kind: OPERATION, id, n, reason: REQUESTED, service, name, by })
    this.tellRequest(keep)
    this.count(REQUESTED)
    this.write(keep)
  }

  /** Tells what a relay's upstream has told. @param keeps entries of KEEP_BYTES */
  passOn(keeps: Buffer): void {
    for (let at = 0; at + KEEP_BYTES <= keeps.length; at += KEEP_BYTES) {
      this.tell(keeps[at]!, keeps.readBigInt64BE(at + 1), keeps[at + 9]!, false)
    }
  }

  /** Writes what is left. */
  async close(): Promise<void> {
    this.closed = true
    for (const timer of this.timers) clearInterval(timer)
    this.feed.close()
    const { store } = this.options
    if (store === undefined) return
    this.noteAwaited(Number.POSITIVE_INFINITY)
    await Promise.race([Promise.all([this.saveRings(store), this.writing]), sleep(CLOSE_MS, undefined, { ref: false })])
  }

  /** @returns whether it is announced */
  private announce(traceId: bigint, row: Pick<Keep, 'reason' | 'service' | 'name' | 'by'>, reason: string): boolean {
    if (!this.limit.take(traceId)) {
      this.options.metrics.keepsRefused.inc()
      return false
    }
    this.announced.set(traceId, { atMs: performance.now(), reasons: 1 })
    this.feed.add(TRACE, traceId)
    this.count(reason)
    this.write(this.made({ ...row, kind: TRACE, id: traceId, n: 0 }))
    return true
  }

  /** Writes down what else an announced trace was kept for, if there is room: what others have yet to announce goes first. */
  private note(record: KeptRecord): void {
    const { traceId, reason, service, name } = record
    const trace = this.announced.get(traceId)
    const key = keyOf(record, name)
    if (trace === undefined || this.noted.get(key)) return
    const isRoom = trace.reasons < REASONS_A_TRACE && this.unwritten.length <= MAX_UNWRITTEN / 2
    if (!isRoom || !this.reasonsLimit.take(traceId)) {
      this.drop()
      return
    }
    this.noted.set(key, true)
    trace.reasons++
    this.write(this.made({ reason, service, name, by: '', kind: TRACE, id: traceId, n: 0 }))
  }

  /** Writes down by the names that other spans have told what hasn't come itself. */
  private noteAwaited(nowMs?: number): void {
    for (const record of this.awaited.take(nowMs)) this.note(record)
  }

  /** Tells what another collector has told. @param again whether a trace that was told may be told again */
  private tell(kind: number, id: bigint, n: number, again: boolean): void {
    if (kind === TRACE) {
      if (!again && !this.isNew(id)) return
      this.announced.set(id, { atMs: performance.now(), reasons: 0 })
    }
    this.feed.add(kind, id, n)
  }

  /** Tells what a person has asked for: to processes that tell requests apart by their numbers, and to older ones. */
  private tellRequest({ id, n, atUs, origin }: Keep): void {
    const request = BigInt(`0x${hash('sha256', `${origin} ${atUs}`).slice(0, 4)}`)
    this.feed.add(KEEP_REQUEST, ((id >> 16n) << 16n) | request, n)
    this.feed.add(OPERATION, id, n)
  }

  private isNew(traceId: bigint): boolean {
    const trace = this.announced.get(traceId)
    return trace === undefined || performance.now() - trace.atMs > AGAIN_MS
  }

  /** Counts what isn't written down. */
  private drop(): void {
    this.options.metrics.keepRowsDropped.inc()
  }

  private count(reason: string): void {
    this.options.metrics.keepsAnnounced.inc({ reason: REASONS.includes(reason) ? reason : 'application' })
  }

  /** The clock has whole milliseconds, but each keep a time of its own. */
  private made(keep: Omit<Keep, 'atUs' | 'origin' | 'collector'>): Keep {
    const atUs = Math.floor(this.nowUs()) + (this.kepts++ % 1000)
    return { ...keep, atUs, origin: this.origin, collector: this.options.collector }
  }

  private write(keep: Keep): void {
    const { store } = this.options
    if (store === undefined) return
    if (this.unwritten.length >= MAX_UNWRITTEN) {
      this.unwritten.shift()
      this.drop()
    }
    this.unwritten.push(keep)
    this.writing ??= this.writeAll(store).finally(() => {
      this.writing = undefined
    })
  }

  private async writeAll(store: KeepLog): Promise<void> {
    while (this.unwritten.length > 0) {
      const some = this.unwritten.splice(0, WRITE_AT_ONCE)
      try {
        await store.addKeeps(some)
      } catch (error) {
        this.unwritten.unshift(...some)
        this.options.warn('keeps', { err: error }, 'what is kept after the fact is not yet told to other collectors')
        if (this.closed) return
        await sleep(RETRY_MS, undefined, { ref: false })
      }
    }
  }

  /** Announces what other collectors have announced, while anybody asks. */
  private async readOthers(store: KeepLog): Promise<void> {
    if (this.reading || !this.feed.isAsked()) return
    const nowMs = performance.now()
    this.reading = true
    try {
      // After a pause it begins anew.
      if (nowMs - this.readAtMs > PAUSE_MS) [this.readTo, this.readFromUs] = [0n, this.nowUs() - FIRST_READ_US]
      const rows = await store.keepsAfter(this.readTo, this.readFromUs)
      this.readAtMs = performance.now()
      for (const row of rows) {
        if (this.read.has(row.seq)) continue
        this.read.set(row.seq, nowMs)
        if (row.origin === this.origin) continue
        if (row.kind === OPERATION) this.tellRequest(row)
        else {
          this.awaited.remove(row.id, row.reason, row.service)
          this.tell(row.kind, row.id, row.n, row.reason === REQUESTED && row.service + row.name === '')
        }
      }
      for (const [seq, atMs] of this.read) {
        if (nowMs - atMs < SETTLED_MS) break
        this.read.delete(seq)
        if (seq > this.readTo) this.readTo = seq
      }
    } catch (error) {
      this.options.warn('keeps of others', { err: error }, "other collectors' keeps can't be read")
    } finally {
      this.reading = false
    }
  }

  private async saveRings(store: KeepLog): Promise<void> {
    clearTimeout(this.saving)
    this.saving = undefined
    const rings = this.rings.take()
    if (rings.length === 0) return
    try {
      await store.saveRings(rings)
    } catch (error) {
      this.rings.putBack(rings)
      this.options.warn('rings', { err: error }, 'which processes have a history is not stored')
    }
  }
}

function keyOf({ traceId, reason, service }: KeptRecord, name: string, spanId = ''): bigint {
  return hash64(JSON.stringify([`${traceId}`, reason, service, name, spanId]))
}

/** Returns the number of an operation in the feed. */
export function operationId(service: string, name: string): bigint {
  return BigInt(`0x${hash('sha256', `${service}\0${name}`).slice(0, 16)}`)
}
