import { KEEP_BYTES, KEEP_OPERATION, KEEP_REQUEST, KEEP_TRACE } from '../codec/keeps'
import { memoryOf } from '../export/buffer'
import type { Address } from '../export/connection'
import type { Exporters } from '../export/exporters'
import type { HttpTarget } from '../export/http/target'
import { clearTimeout, clock } from '../process/genuine'
import { after } from '../process/later'
import { History, type TraceId } from '../ring/history'
import { fraction, toHex } from '../trace/id'
import { Kind, type LiveSpan } from '../trace/span'
import { Durations } from './durations'
import { FeedClient, type FeedState } from './feed-client'
import { overHttp, overScribe } from './feed-peers'
import { Gathering, type Room } from './gathering'
import { ASKED, type Kept, KeptTraces, TraceIds } from './kept'
import { Rules } from './rules'
import type { RetroactiveSettings } from './settings'
import { ByteBucket, OrderedBucket, SharedBucket } from './tokens'

/**
 * What becomes of the spans of traces that aren't sampled:
 *
 *     a span ends ──▶ is its trace kept? ──no──▶ does it trigger? ──no──▶ a few wait ──▶ history
 *                          │ yes                     │ yes, and there is a token
 *                          ▼                         ▼
 *                       exporters ◀── collected ── the trace is kept ◀── milo.keep(), and the feed: what others have kept
 *
 * The history is searched a moment later, for all traces that were kept meanwhile. What ends of them in the next ten minutes is sent at once.
 */

/** What `stats()` says of the history. */
export interface RetroactiveStats {
  /** How long ago the oldest span of the history ended. */
  seconds: number
  spans: number
  bytes: number
  /** Traces that this process has kept and of which it has sent spans, by the reason. */
  kept: Record<string, number>
  /** Traces of which it has sent spans because the collector asked for them. */
  asked: number
  /** Traces that this process might have kept or was asked for, and didn't keep because there were too many, or too many bytes of them. */
  refused: number
  /** Traces that are among `kept` or `asked`, but of which spans were left out, because there were too many bytes of them. */
  partial: number
  /** How many spans of those were left out. */
  leftOut: number
  /** Spans of which the history has names, times and ids alone, because they would have taken more than a quarter of it. */
  tooLarge: number
  /** The connection to the collector: `unavailable` where nobody there knows what a feed is. */
  feed: FeedState
}

/** What an operation may trigger; all of them together, with what the feed asks for. In traces. */
const OPERATION = { perSecond: 1, burst: 10 }
const PROCESS = { perSecond: 100, burst: 500 }
const MIB = 1024 * 1024
const BYTES = { perSecond: MIB, burst: 4 * MIB }
const MAX_OPERATIONS = 1_000
const MAX_REASONS = 64
/** How long the history isn't searched after a trace was kept: others may be kept meanwhile. */
const COLLECT_MS = 20
/** How many spans wait to be written into the history, and how many texts of their own each of them has at most. */
const WAITING = 32
const MAX_WAITING_TEXTS = 32

/** Of an operation: what it triggers, and its durations. */
class Operation {
  readonly bucket = new OrderedBucket(OPERATION.perSecond, OPERATION.burst)
  /** Of what is slow: it takes nothing from what fails. */
  readonly slowBucket = new OrderedBucket(OPERATION.perSecond, OPERATION.burst)
  readonly durations = new Durations()
}

/** A trace that was kept, and whose spans the history may have. */
interface Sought extends TraceId {
  kept: Kept
}

/** By what whoever may know what to keep is found. */
interface FeedSettings {
  readonly host: string
  scribe: Address[]
  exports: (HttpTarget | { kind: 'scribe' })[]
}

/** Where spans go that are kept. */
interface Exits {
  readonly exporters: Exporters
  /** Takes them in the exporters' place. */
  readonly collect: ((span: LiveSpan) => void) | undefined
}

export class Retroactive {
  readonly settings: RetroactiveSettings
  private readonly history: History
  private readonly exits: () => Exits
  private readonly feed: FeedClient | undefined
  private readonly kept: KeptTraces
  private readonly rules: Rules
  private readonly operations = new Map<string, Operation>()
  private lastOperation = ''
  private lastFound: Operation | undefined
  /**
   * Spans that have ended, and neither are in the history nor count as durations. One at a time, in the midst of an application's work,
   * both take four times as long as many at once, because the processor has neither the code nor the tables at hand.
   */
  private readonly waiting: (LiveSpan | undefined)[] = new Array(WAITING).fill(undefined)
  private waits = 0
  /** All processes see the same traces here, those of others included, and so they agree which are too many. */
  private readonly traces = new SharedBucket(PROCESS.perSecond, PROCESS.burst)
  /** Of what this process keeps, and of what is wanted from it. */
  private readonly ownBytes = new ByteBucket(BYTES.perSecond, BYTES.burst)
  private readonly askedBytes = new ByteBucket(BYTES.perSecond, BYTES.burst)
  private sought: Sought[] = []
  private timer: NodeJS.Timeout | undefined
  private readonly counts = { kept: new Map<string, number>(), asked: 0, refused: 0, partial: 0, leftOut: 0 }
  /** Those that were refused lately: a trace may be refused at each of its spans. */
  private refusals: TraceIds | undefined

  /**
   * @param feed whom to ask; undefined: nobody
   * @param exits whoever takes spans at the moment
   * @param previous its history goes on here, if it has the same size
   */
  constructor(
    settings: RetroactiveSettings,
    service: string,
    feed: FeedSettings | undefined,
    exits: () => Exits,
    previous?: Retroactive,
  ) {
    const same = previous?.settings.bytes === settings.bytes ? previous : undefined
    this.settings = settings
    this.history = same?.history ?? new History(settings.bytes)
    this.kept = same?.kept ?? new KeptTraces()
    this.exits = exits
    this.rules = new Rules(service)
    if (feed === undefined) return
    const { history } = this
    // What was announced since the history began concerns it; the one before has asked for that.
    const sinceUs = same === undefined ? undefined : clock.wallMs() * 1000
    const targets = feed.exports.flatMap(target => (target.kind === 'scribe' ? [] : target))
    this.feed = new FeedClient({
      // Where spans go to Scribe, others needn't be Milo collectors.
      peers: targets.length < feed.exports.length ? feed.scribe.map(overScribe) : targets.map(overHttp),
      host: () => feed.host,
      service,
      beganUs: () => history.beganUs,
      madeUs: history.madeUs,
      sinceUs: () => sinceUs ?? history.beganUs,
      take: keeps => this.take(keeps),
    })
    // The traces that it has may be asked for, though no other ends.
    if (history.spans > 0) this.feed.start()
  }

  /** Takes a span that has ended, of a trace that isn't sampled. */
  ended(span: LiveSpan): void {
    if (this.feed?.state === 'off') this.feed.start()
    const { trace } = span
    const nowS = span.endUs / 1e6
    const kept = this.kept.find(trace.hi, trace.lo, nowS)
    const isEntry = isEntryOf(span)
    if (kept === undefined && !this.rules.any && !hasFailed(span) && (!isEntry || this.isOrdinary(span))) {
      this.wait(span)
      return
    }
    this.settle()
    const reason = this.reasonOf(span, isEntry, nowS)
    if (kept !== undefined) {
      if (isEntry && reason !== undefined && kept.reason !== ASKED) this.keepLateral(span, kept, nowS)
      this.sendOne(span, kept)
      return
    }
    if (reason !== undefined && this.mayKeep(span.name, trace, reason)) {
      const begun = this.begin(trace, reason)
      this.sendOne(span, begun)
      if (isEntry && !begun.isGivenUp) this.keepLateral(span, begun, nowS)
      return
    }
    if (this.rules.any && this.mayKeepByRule(span)) {
      this.sendOne(span, this.begin(trace, RULE))
      return
    }
    this.history.add(span)
  }

  /** Has a span written a little later. It triggers nothing. */
  private wait(span: LiveSpan): void {
    const { own, events } = span
    if (events !== undefined || (own !== undefined && own.length > MAX_WAITING_TEXTS)) {
      this.settle()
      this.write(span)
      return
    }
    this.waiting[this.waits++] = span
    if (this.waits === WAITING) this.settle()
  }

  /** Writes what waits. */
  private settle(): void {
    const { waiting, waits } = this
    this.waits = 0
    let failure: unknown
    for (let i = 0; i < waits; i++) {
      const span = waiting[i]!
      waiting[i] = undefined
      try {
        this.write(span)
      } catch (error) {
        failure = error
      }
    }
    if (failure !== undefined) throw failure
  }

  private write(span: LiveSpan): void {
    if (this.settings.triggers.slow && isEntryOf(span))
      this.durationsOf(span).add(span.endUs - span.startUs, span.endUs / 1e6)
    this.history.add(span)
  }

  /**
   * Keeps the trace of a span that is open.
   * @returns whether it is kept
   */
  keep(span: LiveSpan, reason: string): boolean {
    const { trace } = span
    if (!trace.recording) return false
    if (this.kept.find(trace.hi, trace.lo, trace.nowUs() / 1e6) !== undefined) return true
    if (!this.mayKeep(span.name, trace, reason)) return false
    this.begin(trace, reason)
    return true
  }

  /** Whether spans are to be collected that no exporter has yet. */
  get isWaiting(): boolean {
    return this.sought.length > 0
  }

  /** Searches the history for the traces that were kept, now. */
  collect(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    const { sought } = this
    if (sought.length === 0) return
    this.settle()
    this.sought = []
    this.collectFor(
      sought.filter(({ kept }) => !kept.isForeign && !kept.isGivenUp),
      this.ownBytes,
    )
    this.collectFor(
      sought.filter(({ kept }) => kept.isForeign && !kept.isGivenUp),
      this.askedBytes,
    )
  }

  /** Sends what the history has of these traces. */
  private collectFor(sought: Sought[], bucket: ByteBucket): void {
    if (sought.length === 0) return
    const bytes = bucket.left(clock.now())
    const { exporters, collect } = this.exits()
    const emitters = collect === undefined ? exporters.emitters : []
    // One that keeps up is enough.
    const fullness = (spans: number, memory: number) => {
      let least = emitters.length === 0 ? 0 : 1
      for (const { buffer } of emitters) least = Math.min(least, buffer.fullnessWith(spans, memory))
      return least
    }
    const room: Room = { bytes, mostBytes: BYTES.burst, fullness, bytesOf, memoryOf }
    const gathering = new Gathering(sought, room)
    this.history.collect(sought, span => gathering.add(span))
    bucket.take(gathering.total, clock.now())
    for (const { of, spans, first, isRefused } of gathering.parts) {
      const { kept } = of
      if (isRefused && !kept.begun) {
        this.giveUp(of, kept)
        continue
      }
      if (first > 0) this.leaveOut(kept, first)
      for (let i = first; i < spans.length; i++) this.pass(spans[i]!, kept)
    }
  }

  hold(isHeld: boolean): void {
    this.feed?.hold(isHeld)
  }

  stop(): void {
    this.settle()
    clearTimeout(this.timer)
    this.sought = []
    this.feed?.stop()
  }

  stats(): RetroactiveStats {
    this.settle()
    const { spans, bytes, beganUs, tooLarge } = this.history
    const { kept, ...counts } = this.counts
    const seconds = spans === 0 ? 0 : Math.max(0, (clock.wallMs() * 1000 - beganUs) / 1e6)
    return {
      seconds,
      spans,
      bytes,
      kept: Object.fromEntries(kept),
      ...counts,
      tooLarge,
      feed: this.feed?.state ?? 'unavailable',
    }
  }

  private reasonOf(span: LiveSpan, isEntry: boolean, nowS: number): string | undefined {
    const { error, slow } = this.settings.triggers
    const isSlow = slow && isEntry && this.durationsOf(span).add(span.endUs - span.startUs, nowS)
    if (error && hasFailed(span)) return 'error'
    return isSlow ? SLOW : undefined
  }

  private isOrdinary(span: LiveSpan): boolean {
    return !this.settings.triggers.slow || this.durationsOf(span).isOrdinary(span.endUs - span.startUs)
  }

  private durationsOf(span: LiveSpan): Durations {
    return this.operation(span.name).durations
  }

  private operation(name: string): Operation {
    // Mostly it is that of the last span.
    if (name === this.lastOperation && this.lastFound !== undefined) return this.lastFound
    const { operations } = this
    let found = operations.get(name)
    if (found === undefined) {
      found = new Operation()
      if (operations.size === MAX_OPERATIONS) operations.delete(operations.keys().next().value!)
      operations.set(name, found)
    }
    this.lastOperation = name
    this.lastFound = found
    return found
  }

  /** Asks the buckets: that of the operation, and that of all traces. */
  private mayKeep(name: string, { hi, lo }: TraceId, reason: string): boolean {
    const nowMs = clock.now()
    const f = fraction(hi, lo)
    const { bucket, slowBucket } = this.operation(name)
    if ((reason === SLOW ? slowBucket : bucket).take(f, nowMs) && this.traces.take(f, nowMs, false)) return true
    this.refuse(hi, lo)
    return false
  }

  private refuse(hi: number, lo: number): void {
    const nowS = clock.now() / 1000
    this.refusals ??= new TraceIds()
    if (this.refusals.find(hi, lo, nowS) === -1) this.counts.refused++
    this.refusals.add(hi, lo, nowS)
  }

  private mayKeepByRule({ name, trace }: LiveSpan): boolean {
    const nowMs = clock.now()
    const rule = this.rules.find(name, nowMs)
    if (rule === undefined || !this.traces.take(fraction(trace.hi, trace.lo), nowMs, false)) return false
    this.rules.use(rule)
    return true
  }

  /** From now on, the trace is kept. */
  private begin(trace: TraceId, reason: string): Kept {
    const { hi, lo } = trace
    const isForeign = reason === ASKED || reason === RULE
    const kept = this.kept.add(hi, lo, reason, isForeign, clock.wallMs() / 1000)
    this.sought.push({ hi, lo, kept })
    this.timer ??= after(COLLECT_MS, () => this.collect())
    return kept
  }

  /** Keeps the traces of the same operation that were before. */
  private keepLateral({ name }: LiveSpan, kept: Kept, nowS: number): void {
    if (kept.hasLateral || this.settings.lateral === 0 || kept.reason === LATERAL) return
    kept.hasLateral = true
    for (const id of this.history.last(name, this.settings.lateral)) {
      if (this.kept.find(id.hi, id.lo, nowS) !== undefined) continue
      if (this.traces.take(fraction(id.hi, id.lo), clock.now(), false)) this.begin(id, LATERAL)
      else this.refuse(id.hi, id.lo)
    }
  }

  /** Sends a span that has just ended. */
  private sendOne(span: LiveSpan, kept: Kept): void {
    const bytes = kept.isForeign ? this.askedBytes : this.ownBytes
    if (bytes.take(bytesOf(span), clock.now())) this.pass(span, kept)
    else if (kept.begun) this.leaveOut(kept, 1)
    else {
      this.giveUp(span.trace, kept)
      this.history.add(span)
    }
  }

  /** Nothing of the trace was sent, and nothing will be. */
  private giveUp({ hi, lo }: TraceId, kept: Kept): void {
    kept.isGivenUp = true
    this.kept.remove(hi, lo)
    this.refuse(hi, lo)
  }

  private leaveOut(kept: Kept, spans: number): void {
    if (!kept.isPartial) this.counts.partial++
    kept.isPartial = true
    kept.untold += spans
    this.counts.leftOut += spans
  }

  private pass(span: LiveSpan, kept: Kept): void {
    const list = (span.own ??= [])
    list.push('milo.keep', kept.reason)
    if (!kept.begun) {
      list.push('milo.history', String(Math.floor(this.history.beganUs)))
      this.countKept(kept.reason)
    }
    if (kept.untold > 0) list.push('milo.left_out', String(kept.untold))
    kept.begun = true
    kept.untold = 0
    const { exporters, collect } = this.exits()
    if (collect !== undefined) collect(span)
    else exporters.add(span)
  }

  private countKept(reason: string): void {
    if (reason === ASKED) {
      this.counts.asked++
      return
    }
    const { kept } = this.counts
    const counted = !kept.has(reason) && kept.size >= MAX_REASONS ? 'other' : reason
    kept.set(counted, (kept.get(counted) ?? 0) + 1)
  }

  /** Takes what the feed says. */
  private take(keeps: Buffer): void {
    const nowMs = clock.now()
    const nowS = clock.wallMs() / 1000
    const asked: TraceId[] = []
    for (let at = 0; at + KEEP_BYTES <= keeps.length; at += KEEP_BYTES) {
      const kind = keeps[at]
      const hi = keeps.readInt32BE(at + 1)
      const lo = keeps.readInt32BE(at + 5)
      if (kind === KEEP_OPERATION) this.rules.add(toHex(hi, lo), keeps[at + 9]!, nowMs)
      else if (kind === KEEP_REQUEST) this.rules.add(toHex(hi, lo), keeps[at + 9]!, nowMs, lo & 0xffff)
      else if (kind === KEEP_TRACE && this.kept.find(hi, lo, nowS) === undefined) asked.push({ hi, lo })
    }
    for (const id of asked) {
      if (this.kept.find(id.hi, id.lo, nowS) !== undefined) continue
      if (this.traces.take(fraction(id.hi, id.lo), nowMs, true)) this.begin(id, ASKED)
      else this.refuse(id.hi, id.lo)
    }
  }
}

const SLOW = 'slow'
/** Of another file of dist, what is imported is got anew at each use. */
const { SERVER } = Kind
const { byteLength } = Buffer
const LATERAL = 'lateral'
/** An operation whose next traces are wanted. */
const RULE = 'requested'

/** Whether it is a server's half, or a root: only these are slow. */
function isEntryOf({ kind, parentHi, parentLo }: LiveSpan): boolean {
  return kind === SERVER || (parentHi === 0 && parentLo === 0)
}

function hasFailed({ own: annotations }: LiveSpan): boolean {
  if (annotations === undefined) return false
  for (let i = 0; i < annotations.length; i += 2) {
    const key = annotations[i]
    if (key === 'error.type' || key === 'error') return true
  }
  return false
}

/** About how many bytes it has on the wire. */
function bytesOf({ name, annotations, counters, events }: LiveSpan): number {
  let bytes = 150 + (typeof name === 'string' ? byteLength(name) : 0)
  if (annotations !== undefined) for (const text of annotations) bytes += 4 + byteLength(text)
  if (counters !== undefined)
    for (let i = 0; i < counters.length; i += 2) bytes += 12 + byteLength(counters[i] as string)
  if (events !== undefined) for (let i = 1; i < events.length; i += 2) bytes += 28 + byteLength(events[i] as string)
  return bytes
}
