import { Turns } from '../../turns'
import type { Entry } from '../pipeline/entry'
import {
  CALLEE_NAME,
  CALLER_NAME,
  EDGE,
  FIRST_WORD,
  FLAGS,
  HASH,
  LAST_WORD,
  OTHER_SERVICE,
  Ring,
  SEEN,
  TRACE,
} from './halves'
import { Identities } from './identities'
import { readSettled, type SettledReader } from './settled-records'
import { type Counted, Scratch, Settling } from './settling'
import { Words } from './words'

export type { MeterStats } from './model'
export type { Counted } from './settling'

/** What the words of waiting records may take: less than a megabyte, unless a sender makes names up. */
const MAX_WORD_BYTES = 32 * 1024 * 1024
const DAY_US = 86_400e6
/** How many records may be forgotten without a look at the clock. */
const STEP = 64

/**
 * Counts what is settled: calls by operation, and by edge between operations.
 *
 *     count()  entries ─▶ records that haven't come before ─▶ operations ─▶ delta
 *                           │                                              ▲
 *                           ▼                                              │
 *                         their traces, with the records that wait ─▶ edges, new ones and others taken back
 *                           │
 *                           ▼
 *     learn()  recent: of all collectors, in the order of their settlings
 *
 * The meter changes by learn() alone. So meters that have learnt the same settlings know the same, and one that failed can be
 * counted again.
 */
export class Meter {
  private readonly retentionUs: number
  private readonly known: { words: Words; identities: Identities; waiting: Ring }
  /** Tables that a settling leaves for the next one, unless it has them now. */
  private scratch: Scratch | undefined
  private readonly learner: Learner
  private counting = 0

  /** @param maxWaiting how many records wait for others of their traces at most */
  constructor({ retentionDays, maxWaiting }: { retentionDays: number; maxWaiting?: number }) {
    this.retentionUs = retentionDays * DAY_US
    this.known = { words: new Words(), identities: new Identities(), waiting: new Ring(maxWaiting) }
    this.learner = new Learner(this.known.words, this.known.identities, this.known.waiting)
  }

  /**
   * Counts valid records, and changes nothing.
   * @param nowUs microseconds since the epoch
   */
  async count(entries: Entry[], nowUs: bigint): Promise<Counted> {
    const scratch = this.scratch ?? new Scratch(this.known.words)
    this.scratch = undefined
    this.counting++
    try {
      return await new Settling(this.known, scratch, this.retentionUs, Number(nowUs)).count(entries)
    } finally {
      if (scratch.clear()) this.scratch = scratch
      if (--this.counting === 0) this.known.words.sweep()
    }
  }

  /**
   * Takes note of a settling, of this collector or of another one, in turns. Neither count() nor another learn() may be at work.
   * @param recent as Counted has it
   * @param atUs when it was settled, in microseconds since the epoch
   * @throws StoreError if `recent` is damaged
   */
  async learn(recent: Buffer, atUs: bigint): Promise<void> {
    await new Turns().take(this.learner.learn(recent, Number(atUs)))
    if (this.counting === 0) this.known.words.sweep()
  }
}

class Learner implements SettledReader {
  at = 0
  /** The row that changed last, or −1: changes of a trace come in the order of its rows, so the next one is behind it. */
  private changed = -1
  private readonly words: Words
  private readonly identities: Identities
  private readonly waiting: Ring
  /** Of all collectors' clocks the latest. */
  private nowUs = 0

  constructor(words: Words, identities: Identities, waiting: Ring) {
    this.words = words
    this.identities = identities
    this.waiting = waiting
  }

  *learn(recent: Buffer, atUs: number): Generator<void, void> {
    const { waiting, words, identities } = this
    this.nowUs = Math.max(this.nowUs, atUs)
    while (waiting.isOld(this.nowUs / 1e6)) {
      this.forgetOldest()
      if (waiting.size % STEP === 0) yield
    }
    this.changed = -1
    yield* readSettled(recent, words, this)
    while (waiting.size > 0 && words.usedBytes > MAX_WORD_BYTES) {
      this.forgetOldest()
      if (waiting.size % STEP === 0) yield
    }
    identities.age(this.nowUs)
  }

  lone(hashHigh: number, hashLow: number): void {
    this.identities.add(hashHigh, hashLow)
  }

  record(traceHigh: number, traceLow: number, hashHigh: number, hashLow: number): Ring {
    const { waiting } = this
    this.identities.add(hashHigh, hashLow)
    if (waiting.isFull()) this.forgetOldest()
    this.at = waiting.push(traceHigh, traceLow)
    waiting.i32[this.at + SEEN] = Math.floor(this.nowUs / 1e6)
    return waiting
  }

  recorded(): void {
    this.useWords(this.at)
  }

  change(
    traceHigh: number,
    traceLow: number,
    hashHigh: number,
    hashLow: number,
    hasEdge: boolean,
    callerName: number,
    other: number,
    calleeName: number,
  ): void {
    const { waiting } = this
    const { i32 } = waiting
    const { changed } = this
    const isSame = changed !== -1 && i32[changed + TRACE] === traceHigh && i32[changed + TRACE + 1] === traceLow
    const find = (from: number) => {
      let at = from
      while (at !== -1 && (i32[at + HASH] !== hashHigh || i32[at + HASH + 1] !== hashLow)) at = waiting.nextOf(at)
      return at
    }
    let at = isSame ? find(waiting.nextOf(changed)) : -1
    if (at === -1) at = find(waiting.firstOf(traceHigh, traceLow))
    if (at === -1) return
    this.changed = at
    this.releaseWords(at)
    i32[at + CALLER_NAME] = callerName
    i32[at + OTHER_SERVICE] = other
    i32[at + CALLEE_NAME] = calleeName
    i32[at + FLAGS] = hasEdge ? i32[at + FLAGS]! | EDGE : i32[at + FLAGS]! & ~EDGE
    this.useWords(at)
  }

  private forgetOldest(): void {
    this.releaseWords(this.waiting.first())
    this.waiting.shift()
  }

  private useWords(at: number): void {
    const { words } = this
    const { i32 } = this.waiting
    for (let column = FIRST_WORD; column <= LAST_WORD; column++)
      if (i32[at + column] !== 0) words.use(i32[at + column]!)
  }

  private releaseWords(at: number): void {
    const { words } = this
    const { i32 } = this.waiting
    for (let column = FIRST_WORD; column <= LAST_WORD; column++)
      if (i32[at + column] !== 0) words.release(i32[at + column]!)
  }
}
