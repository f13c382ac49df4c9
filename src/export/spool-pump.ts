import { clearTimeout, GenuinePromise, setTimeout } from '../process/genuine'
import { after, apart, guarded, oncePerTurn } from '../process/later'
import type { Batch, Batches } from './batches'
import type { Ledger } from './ledger'
import { Spool, type SpoolOptions } from './spool'

/**
 * Moves batches between memory and the spool:
 *
 *     memory ──divert──▶ a file ──replay──▶ the peer, oldest first, in turn with what is new
 *                          ▲                  │
 *                          └──── giveBack ────┘
 */
export class SpoolPump {
  readonly spool: Spool
  private readonly batches: Batches
  private readonly ledger: Ledger
  private readonly isStopped: () => boolean
  private readonly onReady: () => void
  /** The oldest batch: being read, or read and safe in its file until it is sent. */
  private oldest: Batch | 'reading' | undefined
  /** The batch that is being written. */
  private writing: Batch | undefined
  /** What goes to the spool: the upper half of the buffer, or everything that waits. */
  private diverting: 'half' | 'all' = 'half'
  /** Called when `drain` is done. */
  private drained: (() => void)[] = []
  private isReplayNext = true

  /**
   * @param isStopped while it returns true, no write is begun
   * @param onReady called when there may be something to send
   */
  constructor(options: SpoolOptions, batches: Batches, ledger: Ledger, isStopped: () => boolean, onReady: () => void) {
    this.batches = batches
    this.ledger = ledger
    this.isStopped = isStopped
    this.onReady = onReady
    this.spool = new Spool(options, onReady, lost => ledger.unspool(lost, 'spool_lost'))
    apart(() => this.spool.start())
  }

  get isReading(): boolean {
    return this.oldest === 'reading'
  }

  get isDraining(): boolean {
    return this.drained.length > 0
  }

  /** Whether the spool has a batch to send. */
  get waiting(): boolean {
    return this.oldest !== undefined || this.spool.waiting
  }

  /**
   * The oldest batch, when it is the spool's turn. Undefined while it is being read: `onReady` is called afterwards.
   * @param isAlone whether no span waits in memory
   */
  replay(isAlone: boolean): Batch | undefined {
    const { oldest, spool } = this
    const exists = oldest !== undefined || (spool.waiting && spool.usable)
    if (!exists || !(this.isReplayNext || isAlone)) {
      this.isReplayNext = true
      return undefined
    }
    if (typeof oldest === 'object') {
      this.isReplayNext = false
      this.oldest = undefined
      this.ledger.unspool(oldest.spans, 'flight')
      return oldest
    }
    this.oldest = 'reading'
    const read = guarded((file: Awaited<ReturnType<Spool['oldest']>>) => {
      this.oldest = file && { body: file.body, spans: file.own, refusals: 0, file, lent: undefined }
      this.onReady()
    })
    apart(() => void spool.oldest().then(read))
    return undefined
  }

  /** Takes a batch back that couldn't be sent. */
  giveBack(batch: Batch): void {
    this.ledger.settle(batch.spans, 'spooled')
    this.oldest = batch
  }

  /** The peer takes spans again; `batch` needs its file no more. */
  finish({ file }: Batch, isSent: boolean): void {
    this.diverting = 'half'
    if (file !== undefined) this.spool.remove(file, isSent)
  }

  /** Puts everything that waits into the spool, if that works. */
  divertAll(): void {
    if (!this.spool.usable) return
    this.diverting = 'all'
    this.divert()
  }

  /** Diverts in a later turn, not within the application's call that ended a span. */
  readonly divertSoon = oncePerTurn(() => this.divert())

  private divert(): void {
    const { batches, spool } = this
    if (this.writing !== undefined || this.isStopped()) return
    const batch = spool.usable ? batches.next() : undefined
    if (batch === undefined) {
      // This turn's spans were all too large.
      if (spool.usable && batches.waiting > 0) return void this.divertSoon()
      this.diverting = 'half'
      return void this.settleDrained()
    }
    this.writing = batch
    const written = guarded((file: string | undefined) => {
      // The batch was given up or written again in the meantime: the file's spans aren't counted a second time.
      if (this.writing !== batch) return
      this.writing = undefined
      if (file === undefined) batches.append(batch)
      else this.settle(file, batch)
      if (this.diverting === 'all' || this.isDraining || batches.isHalfFull) this.divert()
      this.onReady()
    })
    apart(() => void spool.put(batch.body, batch.spans).then(written))
  }

  private settle(file: string, { spans }: Batch): void {
    this.spool.claim(file, spans)
    this.ledger.settle(spans, 'spooled')
  }

  /** Writes everything that waits to the spool. Resolves when that is done, when it turns out impossible, or at the deadline. */
  drain(deadlineMs: number): Promise<void> {
    return new GenuinePromise(resolve => {
      const done = (): void => {
        clearTimeout(deadline)
        this.drained = this.drained.filter(other => other !== done)
        resolve()
      }
      const deadline = setTimeout(done, deadlineMs)
      this.drained.push(done)
      this.diverting = 'all'
      this.divert()
    })
  }

  /** Does the same as `drain` in the process's last moment, synchronously. What can't be written stays where it is. */
  drainNow(): void {
    const { batches, spool, writing } = this
    const put = (batch: Batch): boolean => {
      const file = spool.putSync(batch.body, batch.spans)
      if (file !== undefined) this.settle(file, batch)
      return file !== undefined
    }
    if (writing !== undefined && put(writing)) this.writing = undefined
    while (batches.hasReturned || batches.waiting > 0) {
      const batch = batches.next()
      if (batch !== undefined && !put(batch)) return void batches.giveBack(batch)
    }
  }

  /** @returns the batch that is being written */
  letGo(): Batch[] {
    const { writing } = this
    this.writing = undefined
    return writing === undefined ? [] : [writing]
  }

  /** Resolves every `drain`, whatever was written. */
  settleDrained(): void {
    for (const done of this.drained) done()
  }

  /** Lets the spool go. Resolves once its directory is touched no more, or at the deadline. */
  close(deadlineMs: number): Promise<void> {
    return new GenuinePromise(resolve => {
      const deadline = after(deadlineMs, resolve)
      void this.spool.close().then(() => {
        clearTimeout(deadline)
        resolve()
      })
    })
  }
}
