import { clock } from '../process/genuine'
import type { LiveSpan } from '../trace/span'
import type { SpanHistory, TraceId } from './history'

/** About what a span takes as an object. */
const SPAN_BYTES = 1_000

/** A history of objects, until there is one in fixed memory: objects cost time, and the garbage collector's. */
export class SpanList implements SpanHistory {
  private readonly ring: (LiveSpan | undefined)[]
  private at = 0
  private count = 0
  private readonly madeUs = clock.wallMs() * 1000

  constructor(bytes: number) {
    this.ring = new Array(Math.floor(bytes / SPAN_BYTES)).fill(undefined)
  }

  add(span: LiveSpan): void {
    this.ring[this.at] = span
    this.at = (this.at + 1) % this.ring.length
    this.count = Math.min(this.count + 1, this.ring.length)
  }

  collect(ids: readonly TraceId[], each: (span: LiveSpan) => void): void {
    for (const span of this.all())
      if (ids.some(({ hi, lo }) => span.trace.hi === hi && span.trace.lo === lo)) each(span)
  }

  last(name: string, n: number): TraceId[] {
    const ids: TraceId[] = []
    for (const span of this.all().reverse()) {
      if (ids.length === n) break
      const { hi, lo } = span.trace
      if (span.name === name && !ids.some(id => id.hi === hi && id.lo === lo)) ids.push({ hi, lo })
    }
    return ids
  }

  get beganUs(): number {
    return this.all()[0]?.endUs ?? this.madeUs
  }

  get spans(): number {
    return this.count
  }

  get bytes(): number {
    return this.count * SPAN_BYTES
  }

  private all(): LiveSpan[] {
    const { ring, at, count } = this
    return Array.from({ length: count }, (_, i) => ring[(at - count + i + ring.length) % ring.length]!)
  }
}
