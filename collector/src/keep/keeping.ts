import { hash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { KEEP_BYTES, KEEP_REQUEST } from 'milo/codec/keeps'
import type { LogRarely } from '../log'
import type { Metrics } from '../metrics'
import { IdMap } from '../record/ids'
import { type Keep, type KeepLog, OPERATION, TRACE } from '../store/keeps'
import { Recent } from '../store/recent'
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
const NEWS_MS = 200
/** How long `close` may take to write what is left. */
const CLOSE_MS = 3_000
/** Reasons that are told apart in metrics: others are the applications' own words. */
const REASONS = ['error', 'slow', 'lateral', 'requested']

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
  /** When a trace was announced. */
  private readonly announced = new Recent<bigint, number>(MAX_REMEMBERED, () => new IdMap())
  private readonly limit = new OrderedLimit(TRACES_A_SECOND, BURST)
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
    // Who looks at a trace wants to know that a process has just ended.
    this.rings.onNews = () => {
      if (this.closed) return
      this.saving ??= setTimeout(() => void this.saveRings(store), NEWS_MS).unref()
    }
  }

  /** Announces the traces of stored records. */
  kept(records: KeptRecord[]): void {
    for (const { traceId, ...of } of records) this.announce(traceId, { ...of, by: '' })
  }

  /** Asks all processes for what they have of a trace. @param by who asks */
  keepTrace(traceId: bigint, by: string): void {
    // A person may ask again.
    this.announced.delete(traceId)
    this.announce(traceId, { reason: REQUESTED, service: '', name: '', by })
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
    await Promise.race([Promise.all([this.saveRings(store), this.writing]), sleep(CLOSE_MS, undefined, { ref: false })])
  }

  private announce(traceId: bigint, keep: Pick<Keep, 'reason' | 'service' | 'name' | 'by'>): void {
    if (!this.isNew(traceId)) return
    if (!this.limit.take(traceId)) {
      this.options.metrics.keepsRefused.inc()
      return
    }
    this.announced.set(traceId, performance.now())
    this.feed.add(TRACE, traceId)
    this.count(keep.reason)
    this.write(this.made({ ...keep, kind: TRACE, id: traceId, n: 0 }))
  }

  /** Tells what another collector has told. @param again whether a trace that was told may be told again */
  private tell(kind: number, id: bigint, n: number, again: boolean): void {
    if (kind === TRACE) {
      if (!again && !this.isNew(id)) return
      this.announced.set(id, performance.now())
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
    const atMs = this.announced.get(traceId)
    return atMs === undefined || performance.now() - atMs > AGAIN_MS
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
    if (this.unwritten.length >= MAX_UNWRITTEN) this.unwritten.shift()
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
        else this.tell(row.kind, row.id, row.n, row.reason === REQUESTED)
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

/** Returns the number of an operation in the feed. */
export function operationId(service: string, name: string): bigint {
  return BigInt(`0x${hash('sha256', `${service}\0${name}`).slice(0, 16)}`)
}
