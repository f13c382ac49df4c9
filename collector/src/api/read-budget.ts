import { HttpError } from '../http/errors'

/** A part of a budget, which a reader holds. */
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
  /** How many bytes all readers may hold together. */
  maxBytes: number
  /** How long a reader may wait for a part. */
  waitMs?: number
  /** How many readers may wait. */
  waitingMost?: number
}

const WAIT_MS = 10_000
const MAX_WAITING = 200

/**
 * What all readers together may hold in memory of what is stored, in bytes as they are stored; what is made of them takes
 * several times as much. Readers get their parts in the order in which they asked, so that one that needs much isn't
 * passed over again and again.
 */
export class ReadBudget {
  private readonly options: Required<ReadBudgetOptions>
  private readonly waiting: Waiter[] = []
  private held = 0

  constructor(options: ReadBudgetOptions) {
    this.options = { waitMs: WAIT_MS, waitingMost: MAX_WAITING, ...options }
  }

  /**
   * @param bytes the most that is going to be held; more than there is in all counts as all
   * @throws HttpError 503 when there is none in time
   */
  take(bytes: number): Promise<Grant> {
    const { maxBytes, waitMs, waitingMost } = this.options
    const wanted = Math.min(bytes, maxBytes)
    if (this.waiting.length === 0 && this.held + wanted <= maxBytes) return Promise.resolve(this.grant(wanted))
    return new Promise((resolve, reject) => {
      const tooMany = () => {
        const message = 'too much is being read at the same time: try later'
        reject(new HttpError(503, 'MILO_TOO_MANY_READS', message, undefined, Math.ceil(waitMs / 2_000)))
      }
      if (this.waiting.length >= waitingMost) return tooMany()
      const timer = setTimeout(() => {
        this.waiting.splice(this.waiting.indexOf(waiter), 1)
        tooMany()
        this.next()
      }, waitMs)
      const waiter = { bytes: wanted, resolve, timer }
      this.waiting.push(waiter)
    })
  }

  /** What `work` gives, which holds so much while it is under way. */
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
    this.held += own
    const shrink = (to: number) => {
      if (to >= own) return
      this.held -= own - to
      own = to
      this.next()
    }
    return { shrink, release: () => shrink(0) }
  }

  private next(): void {
    for (;;) {
      const first = this.waiting[0]
      if (first === undefined || this.held + first.bytes > this.options.maxBytes) return
      this.waiting.shift()
      clearTimeout(first.timer)
      first.resolve(this.grant(first.bytes))
    }
  }
}

/** Every reader holds a part of one of these budgets. */
export interface Reads {
  /** Held for as long as the store needs. */
  searches: ReadBudget
  /** Of traces, for as long as the answer takes, which is the reader's to say. Apart: it must not keep searches waiting. */
  traces: ReadBudget
  /** Reads of services' activity, one after the other: pages about services keep no search waiting. */
  activity: ReadBudget
  /** The most bytes that are read of one trace. */
  maxTraceBytes: number
  /** A reader who takes nothing of an answer for so long gets no more of it: the others need what it holds. */
  answerStandstillMs: number
}

const ANSWER_STANDSTILL_MS = 20_000

export function createReads(
  maxReadBytes: number,
  maxTraceBytes: number,
  answerStandstillMs = ANSWER_STANDSTILL_MS,
): Reads {
  const half = () => new ReadBudget({ maxBytes: maxReadBytes / 2 })
  const activity = new ReadBudget({ maxBytes: 1 })
  return { searches: half(), traces: half(), activity, maxTraceBytes, answerStandstillMs }
}
