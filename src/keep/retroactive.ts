import { KEEP_BYTES, KEEP_OPERATION, KEEP_REQUEST, KEEP_TRACE } from '../codec/keeps'
import { memoryOf } from '../export/buffer'
import type { Address } from '../export/connection'
import type { Exporters } from '../export/exporters'
import type { HttpTarget } from '../export/http/target'
import { clearTimeout, clock } from '../process/genuine'
import { after, attempt } from '../process/later'
import { describe, logRarely } from '../process/log'
import { History, type TraceId } from '../ring/history'
import { fraction, toHex } from '../trace/id'
import { cut, Kind, LIMITS, type LiveSpan } from '../trace/span'
import { Durations } from './durations'
import { FeedClient, type FeedState } from './feed-client'
import { overHttp, overScribe } from './feed-peers'
import { Gathering, GIANT_PART, LATER_PART, type Part, type Room } from './gathering'
import { ASKED, type Cause, type Entry, type Kept, KeptTraces, TraceIds } from './kept'
import { Rules } from './rules'
import type { RetroactiveSettings } from './settings'
import { ByteBucket, ByteOrder, OrderedBucket, SharedBucket } from './tokens'

/**
 * What becomes of the spans of traces that aren't sampled:
 *
 *     a span ends ──▶ is its trace kept? ──no──▶ does it trigger? ──no──▶ a few wait ──▶ history
 *                          │ yes                     │ yes, and there is a token
 *                          ▼                         ▼
 *                       exporters ◀── collected ── the trace is kept ◀── milo.keep(), and the feed: what others have kept
 *
 * The history is searched a moment later, for all traces that were kept meanwhile. What ends of them until then is held, so that it is
 * known of each trace what can be sent before any of it is. What ends of them in the next ten minutes is sent at once.
 */

/** What `stats()` says of the history. */
export interface RetroactiveStats {
  /** How long ago the oldest span of the history ended. */
  seconds: number
  spans: number
  bytes: number
  /** Traces that this process kept and has sent spans of, by reason. A trace with two reasons counts under both. */
  kept: Record<string, number>
  /** Traces of which it has sent spans because the collector asked for them. */
  asked: number
  /** Traces that this process might have kept or was asked for, and didn't keep because there were too many, or too many bytes of them. */
  refused: number
  /** Traces that are among `kept` or `asked`, and say that spans were left out, because there were too many or too many bytes of them. */
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
/** For so many reasons a process keeps one trace. */
const MAX_REASONS_OF_ONE = 16
/** How long the history isn't searched after a trace was kept: others may be kept meanwhile. */
const COLLECT_MS = 20
/** The spans that are held until then take about so much memory at most: if there are more, the history is searched at once. */
const MAX_HELD_BYTES = MIB
/** How long a trace of which a span was left out waits for another one that can say so. */
const TELL_MS = 1_000
/** If more traces wait, because the exporters' buffers are full, the first of them lose what they have to say. */
const MAX_UNTOLD = 4_096
/** Of a trace that is kept, spans that end later leave so much of the exporters' buffer free, at least. */
const LATER_FULLNESS = 15 / 16
/**
 * So many bytes of them are like those of the history: where there are too many in all, traces give way, and this one has gone before. Beyond
 * that it is a giant, and what goes on of it gives way itself: it leaves as much to other traces as is certain to a giant among them.
 */
const LATER = { perSecond: 16 * 1024, burst: LATER_PART * BYTES.burst }
/** How many spans wait to be written into the history, and how many texts of their own each of them has at most. */
const WAITING = 32
const MAX_WAITING_TEXTS = 32

/** Of an operation: what it triggers, and its durations. */
class Operation {
  readonly bucket = new OrderedBucket(OPERATION.perSecond, OPERATION.burst)
  /** Of what is slow: it takes nothing from what fails. */
  readonly slowBucket = new OrderedBucket(OPERATION.perSecond, OPERATION.burst)
  /** Of what shows in traces that are kept for the sake of others: of these, too, each brings those before it. */
  readonly keptBucket = new OrderedBucket(OPERATION.perSecond, OPERATION.burst)
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
  private readonly outlineBytes = new ByteBucket(BYTES.perSecond * GIANT_PART, BYTES.burst * GIANT_PART)
  private readonly bytesOrder = new ByteOrder(BYTES.perSecond)
  private sought: Sought[] = []
  private timer: NodeJS.Timeout | undefined
  private heldBytes = 0
  /** Traces of which spans were left out, and no span has said so yet. */
  private readonly untold = new Set<Kept>()
  private tellTimer: NodeJS.Timeout | undefined
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
    this.rules = previous?.rules.service === service ? previous.rules : new Rules(service)
    if (feed === undefined) return
    const { history } = this
    // What was announced since the history began concerns it; the one before has been told some of it.
    const toldUs = same?.feed?.sinceUs
    const targets = feed.exports.flatMap(target => (target.kind === 'scribe' ? [] : target))
    this.feed = new FeedClient({
      // Where spans go to Scribe, others needn't be Milo collectors.
      peers: targets.length < feed.exports.length ? feed.scribe.map(overScribe) : targets.map(overHttp),
      host: () => feed.host,
      service,
      beganUs: () => history.beganUs,
      madeUs: history.madeUs,
      sinceUs: () => toldUs || history.beganUs,
      take: keeps => this.hear(keeps),
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
      if (reason !== undefined) this.note(span, kept, reason)
      if (isEntry) this.keepLateral(span, kept)
      this.take(span, kept)
      return
    }
    if (reason !== undefined && this.mayKeep(span.name, trace, reason)) {
      const begun = this.begin(trace, reason, causeOf(span, isEntry), true)
      this.take(span, begun)
      if (isEntry && !begun.isGivenUp) this.keepLateral(span, begun)
      return
    }
    if (this.rules.any && this.mayKeepByRule(span)) {
      this.take(span, this.begin(trace, RULE, causeOf(span, isEntry)))
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
    for (let i = 0; i < waits; i++) {
      const span = waiting[i]!
      waiting[i] = undefined
      try {
        this.write(span)
      } catch (error) {
        logRarely('history', 'error', `a span couldn't be recorded: ${describe(error)}`)
      }
    }
  }

  private write(span: LiveSpan): void {
    if (this.settings.triggers.slow && isEntryOf(span))
      this.durationsOf(span).add(span.endUs - span.startUs, span.endUs / 1e6)
    this.history.add(span)
  }

  /**
   * Keeps the trace of a span that is open.
   * @returns whether it is kept, if there are bytes for it: it isn't known yet how many its spans in the history take
   */
  keep(span: LiveSpan, reason: string): boolean {
    const { trace } = span
    if (!trace.recording) return false
    const kept = this.kept.find(trace.hi, trace.lo, trace.nowUs() / 1e6)
    const hasEnded = span.endUs !== 0
    if (kept !== undefined) {
      // What has been sent says no more.
      if (hasEnded && !kept.held?.includes(span)) return false
      // Its first word is forgotten, unless it has been sent.
      if (!kept.begun && isCause(span, kept)) kept.reason = reason
      this.note(span, kept, reason, true)
    } else {
      if (!this.mayKeep(span.name, trace, reason)) return false
      this.begin(trace, reason, causeOf(span, isEntryOf(span)), true)
    }
    // It says so when it is sent, whatever its trace is kept for, and by its name of then.
    if (!hasEnded) span.annotate(KEEP, reason)
    return true
  }

  /** Notes a symptom of a trace that is kept already: its span says so, and the traces before it are kept as well. */
  private note(span: LiveSpan, kept: Kept, reason: string, isWord = false): void {
    const { name, trace, endUs } = span
    const list = (span.own ??= [])
    const at = indexOf(list, KEEP)
    // A span has one reason, and a word of the application's goes first.
    const isKnown = kept.reasons.includes(reason) || kept.reasons.length >= MAX_REASONS_OF_ONE
    if (!isWord && (isKnown || at !== -1)) return
    if (endUs !== 0 && at === -1) list.push(KEEP, reason)
    else if (endUs !== 0 && isWord) list[at + 1] = reason
    if (!isWord) kept.reasons.push(reason)
    const { symptom, entry } = kept
    if (symptom !== undefined || this.settings.lateral === 0) return
    if (!this.operation(name).keptBucket.take(fraction(trace.hi, trace.lo), clock.now())) return
    kept.symptom = causeOf(span, isEntryOf(span))
    if (entry !== undefined) this.keepLateral(entry, kept, entry.endUs)
  }

  /** Whether there are spans to be sent that no exporter has yet. */
  get isWaiting(): boolean {
    return this.sought.length > 0 || this.untold.size > 0
  }

  /** Passes all that is kept on to the exporters, now. */
  send(): void {
    this.collect()
    this.tell()
    // What has just been told may have been the entry of a trace before which others are to be kept.
    this.collect()
  }

  /** Searches the history for the traces that were kept. */
  private collect(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    this.heldBytes = 0
    const { sought } = this
    if (sought.length === 0) return
    this.settle()
    this.sought = []
    for (const isForeign of [false, true]) {
      const those = sought.filter(({ kept }) => kept.isForeign === isForeign)
      attempt(() => this.collectFor(those, isForeign))
      // Where something has failed, they may be kept again, or asked for.
      for (const { hi, lo, kept } of those) if (kept.held !== undefined) attempt(() => this.giveUp({ hi, lo }, kept))
    }
    // Those before an operation that had ended already when its trace was kept.
    this.collect()
  }

  /** Sends what there is of these traces. */
  private collectFor(sought: Sought[], isForeign: boolean): void {
    if (sought.length === 0) return
    const bucket = isForeign ? this.askedBytes : this.ownBytes
    const bytes = bucket.left(clock.now())
    const fullness = (spans: number, memory: number) => this.fullnessWith(spans, memory)
    const room: Room = { bytes, mostBytes: BYTES.burst, fullness, bytesOf, memoryOf }
    const gathering = new Gathering(sought, room)
    this.history.collect(sought, span => gathering.add(span))
    for (const { kept } of sought) for (const span of kept.held!) gathering.add(span)
    gathering.refuseBelow(this.floorOf(gathering, isForeign))
    bucket.take(gathering.total, clock.now())
    for (const part of gathering.parts) attempt(() => this.sendPart(part))
  }

  /** @returns what has lower ids is refused, because all has more bytes than may be sent */
  private floorOf({ parts }: Gathering<Sought>, isForeign: boolean): number {
    const { bytesOrder, askedBytes } = this
    const nowMs = clock.now()
    // What is cut is never refused for its own size.
    const most = GIANT_PART * BYTES.burst
    for (const { of, wanted } of parts) bytesOrder.note(fraction(of.hi, of.lo), Math.min(wanted, most), nowMs)
    return bytesOrder.floor(isForeign, askedBytes.left(nowMs) / BYTES.burst)
  }

  private sendPart({ of, rest, leftOut, isRefused }: Part<Sought>): void {
    const { kept } = of
    if (isRefused || (leftOut > 0 && rest.length === 0)) {
      this.giveUp(of, kept)
      return
    }
    kept.held = undefined
    // The first one tells.
    kept.untold = leftOut
    for (const span of rest) this.sendOne(span, kept)
  }

  /** How full the exporters' buffers would be with so many more. */
  private fullnessWith(spans: number, memory: number): number {
    const { exporters, collect } = this.exits()
    const emitters = collect === undefined ? exporters.emitters : []
    // One that keeps up is enough.
    let least = emitters.length === 0 ? 0 : 1
    for (const { buffer } of emitters) least = Math.min(least, buffer.fullnessWith(spans, memory))
    return least
  }

  hold(isHeld: boolean): void {
    this.feed?.hold(isHeld)
  }

  stop(): void {
    this.settle()
    clearTimeout(this.timer)
    clearTimeout(this.tellTimer)
    this.sought = []
    this.untold.clear()
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
    } else if (2 * operations.size > MAX_OPERATIONS) {
      // The one that was used least recently is the first to go. A process with fewer names doesn't pay for that.
      operations.delete(name)
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
    if (rule === undefined) return false
    const { hi, lo } = trace
    if (this.traces.take(fraction(hi, lo), nowMs, false)) {
      this.rules.use(rule)
      return true
    }
    this.refuse(hi, lo)
    return false
  }

  /** From now on, the trace is kept. */
  private begin(trace: TraceId, reason: string, cause?: Cause, isSymptom = false): Kept {
    const { hi, lo } = trace
    const isForeign = !isSymptom && reason !== LATERAL
    const kept = this.kept.add(hi, lo, reason, isForeign, clock.wallMs() / 1000, cause)
    if (isSymptom) kept.symptom = cause
    this.sought.push({ hi, lo, kept })
    this.timer ??= after(COLLECT_MS, () => this.collect())
    return kept
  }

  /** Keeps the traces before of the operation by which a trace that is kept came into this process, or began there. */
  private keepLateral({ name, idHi, idLo, trace }: Omit<Entry, 'endUs'>, kept: Kept, untilUs?: number): void {
    const { symptom } = kept
    const { lateral } = this.settings
    if (lateral === 0 || kept.hasLateral || symptom === undefined) return
    // Where an operation is the cause itself, it isn't another one, within it, that the trace came to in this process.
    if (symptom.isEntry && !isSame(symptom, idHi, idLo)) return
    kept.hasLateral = true
    // Its own trace may be the last one there.
    const last = this.history
      .last(name, lateral + 1, untilUs)
      .filter(({ hi, lo }) => hi !== trace.hi || lo !== trace.lo)
    for (const entry of last.slice(0, lateral)) {
      const { hi, lo } = entry
      if (this.kept.find(hi, lo, clock.wallMs() / 1000) !== undefined) continue
      if (this.traces.take(fraction(hi, lo), clock.now(), false))
        this.begin(entry, LATERAL, causeOf({ ...entry, name }, true))
      else this.refuse(hi, lo)
    }
  }

  /** Holds a span that has just ended, or sends it if the history has been searched. */
  private take(span: LiveSpan, kept: Kept): void {
    if (kept.held !== undefined) {
      kept.held.push(span)
      this.heldBytes += memoryOf(span)
      if (this.heldBytes > MAX_HELD_BYTES) this.collect()
      return
    }
    const { hi, lo } = span.trace
    const [bytes, nowMs] = [bytesOf(span), clock.now()]
    kept.later ??= new ByteBucket(LATER.perSecond, LATER.burst)
    const isGiant = !kept.later.take(bytes, nowMs)
    if (!isGiant) this.bytesOrder.note(fraction(hi, lo), bytes, nowMs)
    const spare = isGiant ? GIANT_PART : 0
    const hasRoom = this.fullnessWith(1, memoryOf(span)) <= LATER_FULLNESS - spare
    if (hasRoom && this.bytesFor(kept).take(bytes, nowMs, spare * BYTES.burst)) this.sendOne(span, kept)
    else if (kept.begun) this.leaveOut(span, kept)
    else {
      this.giveUp(span.trace, kept)
      this.history.add(span)
    }
  }

  private bytesFor({ isForeign }: Kept): ByteBucket {
    return isForeign ? this.askedBytes : this.ownBytes
  }

  /** Nothing of the trace was sent, and nothing will be, unless it is kept again. */
  private giveUp({ hi, lo }: TraceId, kept: Kept): void {
    const { held = [] } = kept
    kept.held = undefined
    kept.isGivenUp = true
    this.kept.remove(hi, lo)
    this.refuse(hi, lo)
    for (const span of held) this.history.add(span)
  }

  /** Leaves a span out. If no other says so within a second, what is left of this one does. */
  private leaveOut(span: LiveSpan, kept: Kept): void {
    kept.untold++
    const { outline } = kept
    // What says why the trace is kept is lost least of all.
    if (outline === undefined || saysWhy(span) || (isEntryOf(span) && !saysWhy(outline)))
      kept.outline = span.stub(bytesOf(span))
    this.untold.add(kept)
    this.tellTimer ??= after(TELL_MS, () => this.tell())
  }

  /** Says what was left out. */
  private tell(): void {
    clearTimeout(this.tellTimer)
    this.tellTimer = undefined
    for (const kept of this.untold) {
      const outline = kept.outline!
      const [bytes, nowMs] = [bytesOf(outline), clock.now()]
      const canTell = this.fullnessWith(1, memoryOf(outline)) < 1 && this.outlineBytes.take(bytes, nowMs)
      if (!canTell && this.untold.size <= MAX_UNTOLD) break
      if (!canTell) {
        this.told(kept)
        continue
      }
      this.untold.delete(kept)
      kept.outline = undefined
      kept.untold--
      this.bytesFor(kept).owe(bytes, nowMs)
      attempt(() => this.pass(outline, kept))
    }
    if (this.untold.size > 0) this.tellTimer = after(TELL_MS, () => this.tell())
  }

  /** Sends a span; its fault costs no other. */
  private sendOne(span: LiveSpan, kept: Kept): void {
    try {
      this.pass(span, kept)
    } catch (error) {
      logRarely('kept', 'error', `a span couldn't be passed on: ${describe(error)}`)
      this.leaveOut(span, kept)
    }
  }

  private pass(span: LiveSpan, kept: Kept): void {
    const { untold, cause, said } = kept
    const list = (span.own ??= [])
    const at = indexOf(list, KEEP)
    const reason = at === -1 ? kept.reason : list[at + 1]!
    if (at === -1) list.push(KEEP, reason)
    // By its name when it is sent. The cause may come last, or never.
    if (at !== -1 || isCause(span, kept)) list.push('milo.keep_span', causeText(causeOf(span, false)))
    else if (cause !== undefined && !kept.isCauseTold) list.push('milo.keep_span', causeText(cause))
    if (at === -1) kept.isCauseTold = true
    if (!kept.begun) list.push('milo.history', String(Math.floor(this.history.beganUs)))
    if (untold > 0) list.push('milo.left_out', String(untold))
    const { exporters, collect } = this.exits()
    if (collect !== undefined) collect(span)
    else exporters.add(span)
    if (!said.includes(reason) && said.length < MAX_REASONS_OF_ONE) {
      said.push(reason)
      this.countKept(reason)
    }
    kept.begun = true
    if (untold > 0) this.told(kept)
    if (kept.hasLateral || this.settings.lateral === 0 || !isEntryOf(span)) return
    // It may have ended before its trace was kept, and does so before there is another symptom.
    if (kept.symptom !== undefined) this.keepLateral(span, kept, span.endUs)
    else kept.entry ??= { ...causeOf(span, true), trace: { hi: span.trace.hi, lo: span.trace.lo }, endUs: span.endUs }
  }

  /** How many were left out before, a span has said, or nothing will: there are too many such traces. */
  private told(kept: Kept): void {
    if (!kept.isPartial) this.counts.partial++
    kept.isPartial = true
    this.counts.leftOut += kept.untold
    kept.untold = 0
    kept.outline = undefined
    this.untold.delete(kept)
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
  private hear(keeps: Buffer): void {
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
const KEEP = 'milo.keep'
/** An operation whose next traces are wanted. */
const RULE = 'requested'

/** Whether it is a server's half, or a root: only these are slow. */
function isEntryOf({ kind, parentHi, parentLo }: LiveSpan): boolean {
  return kind === SERVER || (parentHi === 0 && parentLo === 0)
}

function causeOf({ idHi, idLo, name }: Pick<LiveSpan, 'idHi' | 'idLo' | 'name'>, isEntry: boolean): Cause {
  // The application may have set it to anything.
  return { idHi, idLo, name: cut(String(name), LIMITS.nameLength), isEntry }
}

function causeText({ idHi, idLo, name }: Cause): string {
  return `${toHex(idHi, idLo)} ${name}`
}

function isCause({ idHi, idLo }: LiveSpan, { cause }: Kept): boolean {
  return cause !== undefined && isSame(cause, idHi, idLo)
}

/** Whether it says itself what it is kept for. */
function saysWhy({ own }: LiveSpan): boolean {
  return own !== undefined && indexOf(own, KEEP) !== -1
}

/** @returns where a key is among keys and values; -1 where it isn't */
function indexOf(list: readonly string[], key: string): number {
  for (let i = 0; i < list.length; i += 2) if (list[i] === key) return i
  return -1
}

function isSame(cause: Cause, idHi: number, idLo: number): boolean {
  return cause.idLo === idLo && cause.idHi === idHi
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
