import { GenuinePromise } from '../process/genuine'
import type { LiveSpan } from '../trace/span'
import type { Emitter } from './emitter'
import { type DropReason, Ledger, type SpanCounts } from './ledger'

/** What one exporter has done. At any moment ended = sent + buffered + inFlight + spooled + dropped. */
export interface ExportCounts extends SpanCounts {
  /** How many times the peer wanted to be asked later. */
  tryLater: number
  /** How many times a connection failed or broke. */
  failures: number
  /** How many times the spool was full, or a file in it couldn't be written, read, taken over or removed. */
  spoolErrors: number
  /** Spans of processes that have ended, found in the spool and sent; no other counter has them. */
  recovered: number
}

/**
 * All exporters of a process. Each gets every span, and each has a buffer, a connection and a spool of its own: none waits for
 * another.
 */
export class Exporters {
  readonly emitters: readonly Emitter[]

  constructor(emitters: readonly Emitter[]) {
    this.emitters = emitters
  }

  add(span: LiveSpan): void {
    const { emitters } = this
    for (let i = 0; i < emitters.length; i++) emitters[i]!.add(span)
  }

  /** For the sampler. Fewer traces would help none that keeps up, so the one with the least pressure counts. */
  pressure(): number {
    return Math.min(...this.emitters.map(emitter => emitter.pressure()))
  }

  /** @returns whether all spans were sent, to each. @see Emitter.flush */
  async flush(deadlineMs: number, impatient = false): Promise<boolean> {
    const sent = await GenuinePromise.all(this.emitters.map(emitter => emitter.flush(deadlineMs, impatient)))
    return !sent.includes(false)
  }

  async drain(deadlineMs: number): Promise<void> {
    await GenuinePromise.all(this.emitters.map(emitter => emitter.drain(deadlineMs)))
  }

  async close(deadlineMs = 0): Promise<void> {
    await GenuinePromise.all(this.emitters.map(emitter => emitter.close(deadlineMs)))
  }

  hurry(): void {
    for (const emitter of this.emitters) emitter.hurry()
  }

  hold(isHeld: boolean): void {
    for (const emitter of this.emitters) emitter.hold(isHeld)
  }

  /** The process's last moment. */
  last(): void {
    for (const emitter of this.emitters) {
      emitter.drainNow()
      emitter.closeSpool()
    }
  }

  abandon(reason: 'exit' | 'shutdown'): void {
    for (const emitter of this.emitters) emitter.abandon(reason)
  }

  /** How many spans would be lost with the process; one that several exporters have counts for each. */
  inMemory(): number {
    return this.emitters.reduce((sum, emitter) => sum + emitter.inMemory(), 0)
  }

  counts(): Record<string, ExportCounts> {
    return Object.fromEntries(
      this.emitters.map(emitter => {
        const { name, buffer, tryLater, failures, spoolErrors, recovered } = emitter
        return [name, { ...buffer.counts(), tryLater, failures, spoolErrors, recovered }]
      }),
    )
  }
}

/** @returns the sums */
export function sum(all: ExportCounts[]): ExportCounts {
  const total = { ...NOTHING, drops: { ...NOTHING.drops } }
  for (const counts of all) {
    for (const key of KEYS) total[key] += counts[key]
    for (const reason of REASONS) total.drops[reason] += counts.drops[reason]
  }
  return total
}

const NOTHING: ExportCounts = {
  ...new Ledger().counts(0),
  tryLater: 0,
  failures: 0,
  spoolErrors: 0,
  recovered: 0,
}
const REASONS = Object.keys(NOTHING.drops) as DropReason[]
const KEYS = Object.keys(NOTHING).filter(key => key !== 'drops') as Exclude<keyof ExportCounts, 'drops'>[]
