import { ERROR_KEYS } from '../../../record/half'
import { RecordReader } from '../../../record/reader'
import { MULTIPLIER } from '../../../record/seed'
import { Bytes, compareBytes } from '../../bytes'
import { earlier, later } from '../../pipeline/clock'
import type { Entry } from '../../pipeline/entry'
import type { IndexPolicy } from '../../search/index-policy'
import type { EmbeddedFile } from '../file'
import { ColumnsWriter, PART_ROWS } from './columns'
import { cutWord, ERROR, isPlain, MAX_WORD_LENGTH, NAME, SERVICE, TokenWriter, tokenOfKey } from './tokens'

/** What isn't longer than this is written again with what comes next: few large rows are read faster than many small ones. */
const TAIL_ROWS = 512
const TAIL_BYTES = 8 * 1024
/** Ends a value in a row of values: it's in no UTF-8. */
export const END_OF_VALUE = 0xff
const END_OF_VALUE_BYTES = Buffer.from([END_OF_VALUE])

/** Rows that are given to FTS5 at once, in bytes of JSON. */
const STEP_BYTES = 4 * 1024 * 1024
/**
 * A row with more tokens is written as several rows of the same number. FTS5 writes out its hash table between them, whose hash
 * has no seed: with tokens that were made to collide, the time would grow with their square.
 */
const MAX_ROW_TOKENS = 1_000

export type TakeTokens = (row: bigint | number, tokens: Buffer) => void

/** Puts records into a part of the index, within transactions of its caller. */
export class Indexer {
  private readonly file: EmbeddedFile
  private readonly reader = new RecordReader()
  private readonly tokens = new TokenWriter()
  private readonly columns = new ColumnsWriter()
  private readonly known = new KnownValues()
  private readonly keys: (Key | undefined)[] = []
  private newValues: Key[] = []
  /** Which traces are in the messages of this transaction: halves of ids. */
  private traces: { message: bigint; ids: number[] }[] = []
  private policy: IndexPolicy | undefined
  private take: TakeTokens | undefined
  private part = -1n
  /** The last record's number. */
  private row = 0
  /** The last chunk, while it is short. */
  private tail: Tail | undefined

  constructor(file: EmbeddedFile) {
    this.file = file
  }

  /** Whether the transaction should end: it has so many records, or as much as may be given to FTS5 at once. */
  isFull(most: number): boolean {
    return this.columns.rows >= most || this.tokens.bytes >= STEP_BYTES
  }

  /** @param take is given each row's tokens, in place of the file */
  begin(part: bigint, policy: IndexPolicy, take?: TakeTokens): void {
    if (policy !== this.policy) this.keys.length = 0
    this.policy = policy
    this.take = take
    if (part === this.part) return
    this.part = part
    this.known.clear()
    this.tail = undefined
    this.row = 0
    if (take !== undefined) return
    const last = this.file.sql.selectLastChunk.get([part * PART_ROWS, (part + 1n) * PART_ROWS]) as
      | [bigint, bigint]
      | undefined
    if (last !== undefined) this.row = Number(last[0] + last[1] - 1n - part * PART_ROWS)
  }

  /** Forgets what it knows of the file: a transaction has failed. */
  reset(): void {
    this.part = -1n
    this.columns.take()
    this.tokens.clear()
    for (const key of this.newValues) key.values = emptied(key.values)
    this.newValues = []
    this.traces = []
  }

  /** @returns where the records end that were taken, until there are `most` of the transaction */
  add({ id, body, end, receivedUs }: Entry, from: number, most: number): number {
    const { reader, tokens } = this
    const ids: number[] = []
    let pos = from
    while (pos < end && !this.isFull(most)) {
      const next = reader.read(body, pos)
      tokens.begin(++this.row)
      this.addTokens(body)
      this.endRow(this.row)
      this.columns.add(body, reader, receivedUs)
      const high = body.readInt32BE(reader.traceIdAt)
      const low = body.readInt32BE(reader.traceIdAt + 4)
      if (ids.at(-1) !== low || ids.at(-2) !== high) ids.push(high, low)
      pos = next
    }
    this.traces.push({ message: id, ids })
    return pos
  }

  private endRow(row: bigint | number): void {
    const tokens = this.tokens.end()
    if (this.take === undefined) return
    this.take(row, tokens)
    this.tokens.clear()
  }

  private splitRow(row: bigint | number): void {
    if (this.tokens.count < MAX_ROW_TOKENS) return
    this.endRow(row)
    this.tokens.begin(row)
  }

  /** The columns of the records that were added. */
  takeColumns(): Buffer {
    return this.columns.take().data
  }

  /** Adds the words by which the messages of these records are found: behind the records, as FTS5 takes rows in their order. */
  addTraces(): void {
    const { traces } = this
    for (const [i, { message, ids }] of traces.entries()) {
      if (traces[i - 1]?.message !== message) this.tokens.begin(message)
      for (let j = 0; j < ids.length; j += 2) {
        this.tokens.addTrace(ids[j]!, ids[j + 1]!)
        this.splitRow(message)
      }
      if (traces[i + 1]?.message !== message) this.endRow(message)
    }
    this.traces = []
  }

  /** Writes what belongs to the records that were added. */
  finish(): void {
    const { columns, file, part, tokens } = this
    if (columns.rows === 0) return
    this.addTraces()
    // In one statement, and before any other: each that could fail halfway makes FTS5 write out what it has.
    file.index(part).insert.run([tokens.json()])
    tokens.clear()
    this.writeChunk()
    for (const key of this.newValues) {
      const { word } = key
      const data = key.values.taken()
      key.values = emptied(key.values)
      const { appendValues, insertValues } = file.sql
      if (appendValues.run([data, part, word, BigInt(TAIL_BYTES)]).changes === 0) insertValues.run([part, word, data])
    }
    this.newValues = []
  }

  private addTokens(buf: Buffer): void {
    const { reader, tokens } = this
    const policy = this.policy!
    if (reader.nameAt !== -1) this.addWord(NAME, buf, reader.nameAt, reader.nameEnd)
    if (reader.serviceAt !== -1) this.addWord(SERVICE, buf, reader.serviceAt, reader.serviceEnd)
    const { annotations } = reader
    let isError = false
    for (let i = 0; i < annotations.length; i += 4) {
      const key = this.keyOf(buf, annotations[i]!, annotations[i + 1]!)
      if (key.isError) isError = true
      if (!key.indexed) continue
      const { values } = key
      let [value, start, end] = [buf, annotations[i + 2]!, annotations[i + 3]!]
      if (!isPlain(buf, start, end, policy.maxValueLength)) {
        value = Buffer.from(policy.cut(buf.toString('utf8', start, end)))
        start = 0
        end = value.length
      }
      tokens.addValue(key.token, value, start, end)
      this.splitRow(this.row)
      if (!this.known.add(key.hash, value, start, end)) continue
      if (values.pos === 0) this.newValues.push(key)
      values.copy(value, start, end)
      values.copy(END_OF_VALUE_BYTES, 0, 1)
    }
    if (isError) tokens.add(ERROR, buf, 0, 0)
  }

  private addWord(kind: string, buf: Buffer, start: number, end: number): void {
    if (isPlain(buf, start, end, MAX_WORD_LENGTH)) this.tokens.add(kind, buf, start, end)
    else {
      const word = Buffer.from(cutWord(buf.toString('utf8', start, end)))
      this.tokens.add(kind, word, 0, word.length)
    }
  }

  private keyOf(buf: Buffer, start: number, end: number): Key {
    const hash = hashOf(MULTIPLIER, buf, start, end)
    const slot = hash & (KEYS - 1)
    const found = this.keys[slot]
    if (found !== undefined && compareBytes(found.raw, 0, found.raw.length, buf, start, end) === 0) return found
    const raw = Buffer.from(buf.subarray(start, end))
    const whole = raw.toString()
    const word = cutWord(whole)
    const key: Key = {
      raw,
      hash,
      word: Buffer.from(word),
      token: tokenOfKey(word),
      indexed: this.policy!.indexes(word),
      isError: ERROR_KEYS.includes(whole),
      values: new Bytes(256),
    }
    this.keys[slot] = key
    return key
  }

  private writeChunk(): void {
    const { part, file } = this
    const { data, rows, firstUs, lastUs, longestUs } = this.columns.take()
    let chunk: Tail = { id: part * PART_ROWS + BigInt(this.row - rows + 1), rows, firstUs, lastUs, longestUs, data }
    if (this.tail !== undefined && this.tail.rows + rows <= TAIL_ROWS) chunk = joined(this.tail, chunk)
    const { id } = chunk
    file.sql.replaceChunk.run([id, BigInt(chunk.rows), chunk.firstUs, chunk.lastUs, chunk.longestUs, chunk.data])
    this.tail = chunk.rows < TAIL_ROWS ? { ...chunk, data: Buffer.from(chunk.data) } : undefined
  }
}

/** Keys that are kept. */
const KEYS = 4096

interface Key {
  raw: Buffer
  hash: number
  word: Buffer
  /** Of tokenOfKey. */
  token: Buffer
  indexed: boolean
  isError: boolean
  /** Those that the part hasn't got yet. */
  values: Bytes
}

/** The same again, unless it has grown: there are thousands of keys. */
function emptied(values: Bytes): Bytes {
  if (values.buf.length > TAIL_BYTES) return new Bytes(256)
  values.pos = 0
  return values
}

interface Tail {
  id: bigint
  rows: number
  firstUs: bigint
  lastUs: bigint
  longestUs: bigint
  data: Buffer
}

function joined(a: Tail, b: Tail): Tail {
  return {
    id: a.id,
    rows: a.rows + b.rows,
    firstUs: earlier(a.firstUs, b.firstUs),
    lastUs: later(a.lastUs, b.lastUs),
    longestUs: later(a.longestUs, b.longestUs),
    data: Buffer.concat([a.data, b.data]),
  }
}

/** Values that were seen lately, by 64 bits of hash: one that is forgotten is written once more, which costs its bytes. */
class KnownValues {
  private readonly highs = new Int32Array(KNOWN)
  private readonly lows = new Int32Array(KNOWN)

  /** @returns whether it may be new */
  add(key: number, value: Buffer, start: number, end: number): boolean {
    const high = hashOf(key, value, start, end)
    const low = hashOf(~key, value, start, end) | 1
    const slot = high & (KNOWN - 1)
    if (this.highs[slot] === high && this.lows[slot] === low) return false
    this.highs[slot] = high
    this.lows[slot] = low
    return true
  }

  clear(): void {
    this.lows.fill(0)
  }
}

const KNOWN = 2 ** 18

export function hashOf(seed: number, buf: Uint8Array, start: number, end: number): number {
  let hash = seed ^ (end - start)
  for (let i = start; i < end; i++) {
    hash = Math.imul(hash ^ buf[i]!, MULTIPLIER)
    hash ^= hash >>> 15
  }
  return Math.imul(hash, 0x2c1b3c6d)
}
