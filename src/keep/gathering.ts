import type { TraceId } from '../ring/history'
import { fraction } from '../trace/id'
import type { LiveSpan } from '../trace/span'

/** What there is of one trace. */
export class Part<O extends TraceId> {
  readonly of: O
  /** Those before `leftOut` have been let go. */
  private spans: (LiveSpan | undefined)[] = []
  /** How many spans were left out, the oldest of them. */
  leftOut = 0
  bytes = 0
  memory = 0
  /** How many bytes all of its spans have. */
  wanted = 0
  /** There is no room for any of its spans. */
  isRefused = false

  constructor(of: O) {
    this.of = of
  }

  /** How many spans are to be sent. */
  get length(): number {
    return this.spans.length - this.leftOut
  }

  /** The spans that are to be sent. */
  get rest(): LiveSpan[] {
    return this.spans.slice(this.leftOut) as LiveSpan[]
  }

  add(span: LiveSpan): void {
    this.spans.push(span)
  }

  /** @returns the oldest one, which is left out */
  shift(): LiveSpan {
    const span = this.spans[this.leftOut]!
    this.spans[this.leftOut++] = undefined
    return span
  }

  refuse(): void {
    this.isRefused = true
    this.spans = []
    this.leftOut = this.bytes = this.memory = 0
  }
}

export interface Room {
  /** How many bytes may be sent now, and after a quiet time. */
  bytes: number
  mostBytes: number
  /** How full the exporters' buffer were with so many spans more, which take so much memory: from 0 to 1. */
  fullness(spans: number, memory: number): number
  /** About how many bytes a span has on the wire, and in memory. */
  bytesOf(span: LiveSpan): number
  memoryOf(span: LiveSpan): number
}

/** What a trace may take of all there may ever be, before it is cut for others or for its own size. */
export const GIANT_PART = 1 / 4
/** A trace that is cut leaves so much of the bytes to those of its spans that are yet to end. */
export const LATER_PART = 1 / 16
/** What is sampled, and what is yet to end, needs room in the buffer as well. */
const MOST_FULLNESS = 7 / 8

/**
 * Spans of several traces, as many as may be sent. If there are more, traces give way: giants lose their oldest spans, because those that
 * ended last are nearest to the symptom; and then whole traces are left out, those with the lowest ids, which is the same in all processes.
 */
export class Gathering<O extends TraceId> {
  /** The highest ids first. */
  readonly parts: Part<O>[]
  private readonly room: Room
  private readonly byId = new Map<string, Part<O>>()
  /** Those before it aren't refused. */
  private end: number
  private spans = 0
  private bytes = 0
  private memory = 0

  constructor(traces: readonly O[], room: Room) {
    this.room = room
    this.parts = traces.map(of => new Part(of))
    this.parts.sort((a, b) => fraction(b.of.hi, b.of.lo) - fraction(a.of.hi, a.of.lo))
    this.end = this.parts.length
    for (const part of this.parts) this.byId.set(keyOf(part.of), part)
  }

  /** How many bytes the spans have that are to be sent. */
  get total(): number {
    return this.bytes
  }

  /** Takes a span. Those of a trace come in the order in which they ended. */
  add(span: LiveSpan): void {
    const part = this.byId.get(keyOf(span.trace))
    if (part === undefined) return
    const bytes = this.room.bytesOf(span)
    part.wanted += bytes
    if (part.isRefused) return
    part.add(span)
    this.grow(part, span, bytes)
    // What goes beyond the limit isn't held until the end: it might be all of the history, as objects.
    while (this.isOver(1)) this.makeRoom()
  }

  /** Leaves out the traces with lower ids. */
  refuseBelow(floor: number): void {
    for (const part of this.parts) if (!part.isRefused && fraction(part.of.hi, part.of.lo) < floor) this.refuse(part)
  }

  /** @param bytes those of the span; negative: it is left out */
  private grow(part: Part<O>, span: LiveSpan, bytes: number): void {
    const sign = Math.sign(bytes)
    const memory = sign * this.room.memoryOf(span)
    part.bytes += bytes
    part.memory += memory
    this.spans += sign
    this.bytes += bytes
    this.memory += memory
  }

  private isOver(part: number): boolean {
    const { bytes, fullness } = this.room
    return this.spans > 0 && (this.bytes > part * bytes || fullness(this.spans, this.memory) > part * MOST_FULLNESS)
  }

  private makeRoom(): void {
    const giant = this.largest()
    if (giant === undefined) return void this.refuse(this.parts[--this.end]!)
    while (this.isOver(1 - LATER_PART) && this.isGiant(giant)) {
      const span = giant.shift()
      this.grow(giant, span, -this.room.bytesOf(span))
    }
  }

  private largest(): Part<O> | undefined {
    let largest: Part<O> | undefined
    for (const part of this.parts) if (part.bytes > (largest?.bytes ?? 0) && this.isGiant(part)) largest = part
    return largest
  }

  private isGiant({ length, bytes, memory }: Part<O>): boolean {
    const { mostBytes, fullness } = this.room
    return bytes > GIANT_PART * mostBytes || fullness(length, memory) - fullness(0, 0) > GIANT_PART
  }

  private refuse(part: Part<O>): void {
    this.spans -= part.length
    this.bytes -= part.bytes
    this.memory -= part.memory
    part.refuse()
  }
}

function keyOf({ hi, lo }: TraceId): string {
  return `${hi} ${lo}`
}
