import { Writer } from 'milo/codec/binary'
import { scanRecords } from './records'

/** The records of a line, unless a single one is longer: programs that read lines have limits. */
const LINE_BYTES = 1024 * 1024
const ID_DIGITS = 16
const TAB = 0x09
const NEWLINE = 0x0a

/**
 * Writes records as lines, for programs that work line by line, such as those of Hadoop Streaming: the trace id in 16 hex digits, a
 * tab, and records of the trace in base64. What is added together makes one line for each of its traces, or several for a large one.
 */
export class TraceLines {
  /** How many records the lines have. */
  records = 0
  private readonly out = new Writer(64 * 1024)
  private readonly scratch = new Writer(0)

  /** How many bytes the lines have. */
  get bytes(): number {
    return this.out.pos
  }

  /**
   * Adds lines for each trace, in order of appearance.
   * @throws RangeError if a record can't be read; then nothing has been added
   */
  add(records: Buffer): void {
    /** Start and end of each run of records, by the trace id's digits. */
    const traces = new Map<string, number[]>()
    let count = 0
    let runs: number[] = []
    let lastIdAt = -1
    scanRecords(records, (start, end, { traceIdAt }) => {
      if (traceIdAt === -1) throw new RangeError(`no trace id from ${start} to ${end} of ${records.length} bytes`)
      count++
      if (lastIdAt === -1 || !isSameId(records, lastIdAt, traceIdAt)) {
        const id = records.toString('hex', traceIdAt, traceIdAt + 8)
        const known = traces.get(id)
        runs = known ?? []
        if (known === undefined) traces.set(id, runs)
      }
      lastIdAt = traceIdAt
      if (runs.at(-1) === start && end - runs.at(-2)! <= LINE_BYTES) runs[runs.length - 1] = end
      else runs.push(start, end)
    })
    for (const [id, runs] of traces) this.addLines(id, records, runs)
    this.records += count
  }

  /** Does the same, except that it adds the reason to `damaged` where records can't be read. @param where names them */
  addOrName(records: Buffer, where: string, damaged: string[]): void {
    try {
      this.add(records)
    } catch (error) {
      damaged.push(`${where} can't be read: ${(error as Error).message}`)
    }
  }

  /** Returns the lines, in memory of their own, and begins anew. */
  take(): Buffer {
    const { out } = this
    const lines = Buffer.allocUnsafeSlow(out.pos)
    out.buf.copy(lines, 0, 0, out.pos)
    out.pos = this.records = 0
    return lines
  }

  private addLines(id: string, records: Buffer, runs: number[]): void {
    if (runs.length === 2) {
      this.addLine(id, records, runs[0]!, runs[1]!)
      return
    }
    const { scratch } = this
    for (let i = 0; i < runs.length; ) {
      scratch.pos = 0
      do {
        scratch.raw(records.subarray(runs[i], runs[i + 1]))
        i += 2
      } while (i < runs.length && scratch.pos + runs[i + 1]! - runs[i]! <= LINE_BYTES)
      this.addLine(id, scratch.buf, 0, scratch.pos)
    }
  }

  private addLine(id: string, records: Buffer, start: number, end: number): void {
    const base64 = records.toString('base64', start, end)
    const { out } = this
    out.reserve(ID_DIGITS + base64.length + 2)
    const { buf, pos } = out
    buf.write(id, pos, 'latin1')
    buf[pos + ID_DIGITS] = TAB
    buf.write(base64, pos + ID_DIGITS + 1, 'latin1')
    buf[pos + ID_DIGITS + 1 + base64.length] = NEWLINE
    out.pos = pos + ID_DIGITS + base64.length + 2
  }
}

function isSameId(buf: Buffer, a: number, b: number): boolean {
  return buf.readInt32LE(a) === buf.readInt32LE(b) && buf.readInt32LE(a + 4) === buf.readInt32LE(b + 4)
}
