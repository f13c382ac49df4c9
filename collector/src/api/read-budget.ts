import { HttpError } from '../http/errors'

/** The approximate memory of a completion: some thousand words, and the blocks in which it searches for them. */
export const COMPLETION_BYTES = 4 * 1024 * 1024

/** A reader's part of a budget. */
export interface Grant {
  /** Gives back all but this many bytes. */
  shrink(bytes: number): void
  /** Gives back the rest. Calling it again has no effect. */
  release(): void
}

interface Waiter {
  bytes: number
  resolve(grant: Grant): void
  timer: NodeJS.Timeout
}

interface ReadBudgetOptions {
  /** The limit for all readers together. */
  maxBytes: number
  /** The time after which a waiting reader is refused. */
  waitMs?: number
  /** The number of readers that may wait. */
  maxWaiting?: number
}

const WAIT_MS = 10_000
const MAX_WAITING = 200

/**
 * Limits how many stored bytes all readers together have in memory. What is made of these bytes takes several times as much.
 * Readers get their parts in the order of their requests, so that a reader that needs much isn't passed over again and again.
 */
export class ReadBudget {
  private readonly options: Required<ReadBudgetOptions>
  private readonly waiting: Waiter[] = []
  private usedBytes = 0

  constructor(options: ReadBudgetOptions) {
    this.options = { waitMs: WAIT_MS, maxWaiting: MAX_WAITING, ...options }
  }

  /**
   * Waits for a part of the budget.
   * @param bytes the part's size. A request for more than the whole budget gets the whole budget
   * @throws HttpError 503 when the budget has no room within waitMs, or too many readers wait
   */
  take(bytes: number): Promise<Grant> {
    const { maxBytes, waitMs, maxWaiting } = this.options
    const wanted = Math.min(bytes, maxBytes)
    if (this.waiting.length === 0 && this.usedBytes + wanted <= maxBytes) return Promise.resolve(this.grant(wanted))
    return new Promise((resolve, reject) => {
      const tooMany = () => {
        const message = 'too much is being read at the same time: try later'
        reject(new HttpError(503, 'MILO_TOO_MANY_READS', message, undefined, Math.ceil(waitMs / 2_000)))
      }
      if (this.waiting.length >= maxWaiting) return tooMany()
      const timer = setTimeout(() => {
        this.waiting.splice(this.waiting.indexOf(waiter), 1)
        tooMany()
        this.next()
      }, waitMs)
      const waiter = { bytes: wanted, resolve, timer }
      this.waiting.push(waiter)
    })
  }

  /** Runs `work` with a part of the budget, which is given back when the work has ended. Returns its result. */
  async during<V>(bytes: number, work: () => Promise<V>): Promise<V> {
    const grant = await this.take(bytes)
    try {
      return await work()
    } finally {
      grant.release()
    }
  }

  private grant(bytes: number): Grant {
    let own = bytes
    this.usedBytes += own
    const shrink = (to: number) => {
      if (to >= own) return
      this.usedBytes -= own - to
      own = to
      this.next()
    }
    return { shrink, release: () => shrink(0) }
  }

  private next(): void {
    for (;;) {
      const first = this.waiting[0]
      if (first === undefined || this.usedBytes + first.bytes > this.options.maxBytes) return
      this.waiting.shift()
      clearTimeout(first.timer)
      first.resolve(this.grant(first.bytes))
    }
  }
}

/** The budgets of all readers. */
export interface Reads {
  /** Searches have their parts while the store works. */
  searches: ReadBudget
  /** Reads of traces have their parts until the client has read the answer, so this budget must not keep searches waiting. */
  traces: ReadBudget
  /** Reads of services' activity run one after the other, so that pages about services keep no search waiting. */
  activity: ReadBudget
  /** Comparisons of many traces run one after the other, too: each reads for seconds, and keeps what it has counted. */
  differences: ReadBudget
  /** Results of offline analyses: each read has all lines of a kind. */
  analyses: ReadBudget
  /** Overviews, errors and searches in another order than the newest first: two at a time, as each searches for seconds. */
  surveys: ReadBudget
  /** Exports run one after the other: each reads for as long as its client takes it. */
  exports: ReadBudget
  /** About how long each of these reads, before it answers with what it has. */
  surveyMs: number
  /** The maximum number of bytes that are read of one trace. */
  maxTraceBytes: number
  /** A client that reads nothing of an answer for this time is disconnected: other readers need its part of the budget. */
  answerStandstillMs: number
}

const ANSWER_STANDSTILL_MS = 20_000
const SURVEY_MS = 2_000

export function createReads(
  maxReadBytes: number,
  maxTraceBytes: number,
  answerStandstillMs = ANSWER_STANDSTILL_MS,
  surveyMs = SURVEY_MS,
): Reads {
  const half = () => new ReadBudget({ maxBytes: maxReadBytes / 2 })
  const oneByOne = () => new ReadBudget({ maxBytes: 1 })
  return {
    searches: half(),
    traces: half(),
    activity: oneByOne(),
    differences: oneByOne(),
    analyses: oneByOne(),
    surveys: new ReadBudget({ maxBytes: 2 }),
    exports: oneByOne(),
    surveyMs,
    maxTraceBytes,
    answerStandstillMs,
  }
}
