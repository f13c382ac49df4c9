import { spreadOf } from '../store/activity/halves'
import type { Counts } from './counts'
import type { LineReader, LineWriter } from './lines'
import { COUNTS_KEY, decodeInPlace, eachRecordAt, keyOf, payloadAt } from './record-line'

/**
 * The first of the two line programs: a line of records of any traces becomes a line for each of its traces, so that a sort by the key
 * brings together what belongs together.
 */
export class Mapper {
  readonly counts = { lines: 0, records: 0, brokenLines: 0, longLines: 0 } satisfies Counts
  private readonly input: LineReader
  private readonly output: LineWriter
  private written = 0
  /** The records of a line: begin, end, where the trace's id is, and the next record of the same trace. */
  private records = new Int32Array(4 * 256)
  private size = 0
  /** Numbers of the first and last record of each trace, plus 1, by the trace's id. */
  private slots = new Int32Array(2 * 512)
  private readonly firsts: number[] = []
  private joined: Buffer = Buffer.allocUnsafeSlow(64 * 1024)

  constructor(input: LineReader, output: LineWriter) {
    this.input = input
    this.output = output
  }

  /** Maps all lines. @param now is called after each */
  run(now: () => void): void {
    const { input, counts, output } = this
    this.say({ mapsBegun: 1 })
    while (input.next()) {
      if (input.end > input.start) this.line(input.buf, input.start, input.end)
      counts.longLines = input.tooLong
      now()
    }
    counts.longLines = input.tooLong
    const { brokenLines, longLines } = counts
    this.say({ mapsEnded: 1, mapped: this.written, brokenLines, longLines })
    output.flush()
  }

  /** Tells `reduce`, so that the results say it too, or aren't made where a part is missing. */
  private say(counts: Counts): void {
    this.output.text(`${COUNTS_KEY}\t${JSON.stringify(counts)}`)
  }

  private line(buf: Buffer, start: number, end: number): void {
    const { counts } = this
    counts.lines++
    const from = payloadAt(buf, start, end)
    const to = decodeInPlace(buf, from, end)
    this.size = 0
    this.firsts.length = 0
    const isWhole =
      to !== -1 && eachRecordAt(buf, from, to, (start, end, found) => this.add(start, end, found.traceIdAt))
    if (!isWhole) counts.brokenLines++
    counts.records += this.size
    if (this.size === 0) return
    this.link(buf)
    for (const first of this.firsts) this.write(buf, first)
  }

  private add(start: number, end: number, traceIdAt: number): void {
    if (4 * (this.size + 1) > this.records.length) {
      const grown = new Int32Array(2 * this.records.length)
      grown.set(this.records)
      this.records = grown
    }
    const at = 4 * this.size++
    this.records[at] = start
    this.records[at + 1] = end
    this.records[at + 2] = traceIdAt
    this.records[at + 3] = 0
  }

  /** Makes a list of each trace's records. */
  private link(buf: Buffer): void {
    const { records, size } = this
    let length = 16
    while (length < 2 * size) length *= 2
    if (this.slots.length < 2 * length) this.slots = new Int32Array(2 * length)
    const { slots } = this
    slots.fill(0, 0, 2 * length)
    for (let r = 0; r < size; r++) {
      const idAt = records[4 * r + 2]!
      const [high, low] = [buf.readInt32BE(idAt), buf.readInt32BE(idAt + 4)]
      let slot = spreadOf(high, low) & (length - 1)
      for (; ; slot = (slot + 1) & (length - 1)) {
        const first = slots[2 * slot]! - 1
        if (first === -1) {
          slots[2 * slot] = slots[2 * slot + 1] = r + 1
          this.firsts.push(r)
          break
        }
        const known = records[4 * first + 2]!
        if (buf.readInt32BE(known) !== high || buf.readInt32BE(known + 4) !== low) continue
        records[4 * (slots[2 * slot + 1]! - 1) + 3] = r + 1
        slots[2 * slot + 1] = r + 1
        break
      }
    }
  }

  private write(buf: Buffer, first: number): void {
    const { records } = this
    this.written++
    const key = keyOf(buf, records[4 * first + 2]!)
    let start = records[4 * first]!
    let size = 0
    let end = start
    // Records of a trace often stand together.
    for (let r = first + 1; r !== 0; r = records[4 * r - 1]!) {
      const at = 4 * (r - 1)
      if (records[at] !== end) {
        size = this.join(buf, start, end, size)
        start = records[at]!
      }
      end = records[at + 1]!
    }
    if (size === 0) this.output.bytes(key, buf, start, end)
    else this.output.bytes(key, this.joined, 0, this.join(buf, start, end, size))
  }

  /** Appends bytes to those that are joined. @returns how many they are now */
  private join(buf: Buffer, start: number, end: number, size: number): number {
    const next = size + end - start
    if (next > this.joined.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(next, 2 * this.joined.length))
      this.joined.copy(grown, 0, 0, size)
      this.joined = grown
    }
    buf.copy(this.joined, size, start, end)
    return next
  }
}
