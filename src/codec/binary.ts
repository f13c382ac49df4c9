/**
 * The part of Thrift's binary protocol that Milo's formats need, written for speed and for hostile input.
 *
 * Writing goes into one growing buffer at a local offset. Reading never allocates from a length on the wire before it
 * has been checked against the bytes that are really there.
 */

export enum T {
  STOP = 0,
  BOOL = 2,
  BYTE = 3,
  DOUBLE = 4,
  I16 = 6,
  I32 = 8,
  I64 = 10,
  STRING = 11,
  STRUCT = 12,
  MAP = 13,
  SET = 14,
  LIST = 15,
  UUID = 16,
}

export enum MessageType {
  CALL = 1,
  REPLY = 2,
  EXCEPTION = 3,
  ONEWAY = 4,
  /** A message type of the original Milo's: a CALL with 24 bytes of ids between header and arguments. */
  CALLTRACE = 5,
}

/** 0x8001____ as an i32: the binary protocol's version in a strict message header. */
const VERSION_1 = -2147418112
const VERSION_MASK = -65536
/** How deep unknown values may nest before they are refused; Thrift's own libraries use 64. */
export const MAX_DEPTH = 64

/** Input that can't be decoded. `code` is a short, stable word that labels a counter. */
export class CodecError extends Error {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.name = 'CodecError'
    this.code = code
  }
}

export class Writer {
  buf: Buffer
  /** The same bytes. V8 writes a number through it by one instruction. */
  view: DataView
  pos = 0

  constructor(size = 4096) {
    this.buf = Buffer.allocUnsafeSlow(size)
    this.view = new DataView(this.buf.buffer)
  }

  /** Makes room for `n` more bytes. */
  reserve(n: number): void {
    if (this.pos + n <= this.buf.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(this.buf.length * 2, this.pos + n))
    this.buf.copy(grown, 0, 0, this.pos)
    this.use(grown)
  }

  byte(v: number): void {
    this.reserve(1)
    this.buf[this.pos++] = v
  }

  i32(v: number): void {
    this.reserve(4)
    this.putI32(v)
  }

  /** An i32 where room has been reserved. */
  putI32(v: number): void {
    this.view.setInt32(this.pos, v)
    this.pos += 4
  }

  field(type: number, id: number): void {
    this.reserve(3)
    const b = this.buf
    const p = this.pos
    b[p] = type
    b[p + 1] = id >> 8
    b[p + 2] = id
    this.pos = p + 3
  }

  /** Writes an id as an i64 from two 32-bit halves. The hot path makes no BigInt. */
  i64(hi: number, lo: number): void {
    this.reserve(8)
    this.putI32(hi)
    this.putI32(lo)
  }

  /** Writes an integral number as an i64: a time in microseconds, a counter. */
  i64FromNumber(v: number): void {
    const hi = Math.floor(v / 4294967296)
    this.i64(hi, v - hi * 4294967296)
  }

  double(v: number): void {
    this.reserve(8)
    this.view.setFloat64(this.pos, v)
    this.pos += 8
  }

  string(s: string): void {
    this.reserve(STRING_LENGTH_BYTES + 3 * s.length)
    this.pos = putString(this.buf, this.view, this.pos, s)
  }

  bytes(b: Uint8Array): void {
    this.reserve(4 + b.length)
    this.putI32(b.length)
    this.buf.set(b, this.pos)
    this.pos += b.length
  }

  /** A list of strings. */
  strings(list: readonly string[]): void {
    this.byte(T.STRING)
    this.i32(list.length)
    for (const s of list) this.string(s)
  }

  raw(b: Uint8Array): void {
    this.reserve(b.length)
    this.buf.set(b, this.pos)
    this.pos += b.length
  }

  /** Returns a copy of what has been written, and empties the writer. */
  take(): Buffer {
    return Buffer.from(this.empty())
  }

  /** Empties the writer. @returns what has been written, which is there until more is */
  empty(): Buffer {
    const out = this.buf.subarray(0, this.pos)
    this.pos = 0
    return out
  }

  /** Goes on in another buffer, which has memory of its own, and what has been written. */
  use(buf: Buffer): void {
    this.buf = buf
    this.view = new DataView(buf.buffer)
  }
}

/** Of a string's length. */
export const STRING_LENGTH_BYTES = 4
/** Names and keys are short and ASCII: for up to so many characters, a loop beats a call into C++. */
const SHORT_LENGTH = 48

/**
 * Writes a string where there is room for its length and three bytes a character.
 * @returns where it ends
 */
export function putString(b: Buffer, view: DataView, at: number, text: string): number {
  const { length } = text
  const start = at + STRING_LENGTH_BYTES
  let i = 0
  if (length <= SHORT_LENGTH) {
    for (; i < length; i++) {
      const c = text.charCodeAt(i)
      if (c > 127) break
      b[start + i] = c
    }
  }
  const written = i === length ? length : b.write(text, start, 'utf8')
  view.setInt32(at, written)
  return start + written
}

/** An i64 is assembled here: Buffer's readBigInt64BE does BigInt arithmetic, and takes six times as long. */
const words = new Uint32Array(2)
const wide = new BigInt64Array(words.buffer)
const LOW = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 0 : 1

/**
 * Short ASCII strings that were read recently, by a hash of their bytes. Names, keys and hosts are repeated, and finding
 * one here takes a third of the time of making it. The table never grows; colliding strings only take the slower way.
 */
const KNOWN_STRINGS: string[] = new Array(2048).fill('')
const KNOWN_LENGTH = 40

export class Reader {
  readonly buf: Buffer
  pos: number
  readonly end: number

  constructor(buf: Buffer, pos = 0, end = buf.length) {
    this.buf = buf
    this.pos = pos
    this.end = end
  }

  private need(n: number): void {
    if (this.pos + n > this.end) {
      throw new CodecError('truncated', `${n} bytes wanted at offset ${this.pos}, ${this.end - this.pos} left`)
    }
  }

  byte(): number {
    this.need(1)
    return this.buf[this.pos++]!
  }

  i16(): number {
    this.need(2)
    const v = this.buf.readInt16BE(this.pos)
    this.pos += 2
    return v
  }

  i32(): number {
    this.need(4)
    const b = this.buf
    const p = this.pos
    this.pos = p + 4
    return (b[p]! << 24) | (b[p + 1]! << 16) | (b[p + 2]! << 8) | b[p + 3]!
  }

  i64(): bigint {
    this.need(8)
    const b = this.buf
    const p = this.pos
    this.pos = p + 8
    words[1 - LOW] = (b[p]! << 24) | (b[p + 1]! << 16) | (b[p + 2]! << 8) | b[p + 3]!
    words[LOW] = (b[p + 4]! << 24) | (b[p + 5]! << 16) | (b[p + 6]! << 8) | b[p + 7]!
    return wide[0]!
  }

  double(): number {
    this.need(8)
    const v = this.buf.readDoubleBE(this.pos)
    this.pos += 8
    return v
  }

  /** Reads the number of elements that take at least `minBytes` each. @throws CodecError when they can't all be there */
  size(minBytes: number): number {
    const n = this.i32()
    if (n < 0) throw new CodecError('negative_length', `length ${n} at offset ${this.pos - 4}`)
    if (n * minBytes > this.end - this.pos) {
      throw new CodecError('truncated', `length ${n} at offset ${this.pos - 4}, ${this.end - this.pos} bytes left`)
    }
    return n
  }

  string(): string {
    const n = this.size(1)
    const b = this.buf
    const start = this.pos
    const end = start + n
    this.pos = end
    if (n > KNOWN_LENGTH || n === 0) return n === 0 ? '' : b.toString('utf8', start, end)
    // Both ends and the middle distinguish most strings. The whole string is compared below.
    let hash = n ^ (b[start]! << 3) ^ (b[end - 1]! << 9)
    if (n > 4) hash ^= (b[start + 1]! << 15) ^ (b[end - 2]! << 20) ^ (b[start + (n >> 1)]! << 6) ^ (b[end - 3]! << 12)
    const slot = (hash ^ (hash >>> 11)) & 2047
    const known = KNOWN_STRINGS[slot]!
    if (known.length === n) {
      let i = 0
      while (i < n && known.charCodeAt(i) === b[start + i]) i++
      if (i === n) return known
    }
    for (let i = start; i < end; i++) if (b[i]! > 127) return b.toString('utf8', start, end)
    const made = b.toString('latin1', start, end)
    KNOWN_STRINGS[slot] = made
    return made
  }

  /** Returns a view, not a copy. */
  bytes(): Buffer {
    const n = this.size(1)
    const b = this.buf.subarray(this.pos, this.pos + n)
    this.pos += n
    return b
  }

  /** Reads a struct. @param read reads the field's value, or returns false for one that is passed over */
  eachField(read: (id: number, type: number) => boolean): void {
    for (;;) {
      const type = this.byte()
      if (type === T.STOP) return
      if (!read(this.i16(), type)) this.skip(type)
    }
  }

  skip(type: number, depth = 0): void {
    if (depth > MAX_DEPTH) throw new CodecError('too_deep', `values nest deeper than ${MAX_DEPTH}`)
    switch (type) {
      case T.BOOL:
      case T.BYTE:
        this.jump(1)
        return
      case T.I16:
        this.jump(2)
        return
      case T.I32:
        this.jump(4)
        return
      case T.I64:
      case T.DOUBLE:
        this.jump(8)
        return
      case T.UUID:
        this.jump(16)
        return
      case T.STRING:
        this.jump(this.size(1))
        return
      case T.STRUCT:
        for (;;) {
          const fieldType = this.byte()
          if (fieldType === T.STOP) return
          this.jump(2)
          this.skip(fieldType, depth + 1)
        }
      case T.MAP: {
        const keyType = this.byte()
        const valueType = this.byte()
        const n = this.size(2)
        for (let i = 0; i < n; i++) {
          this.skip(keyType, depth + 1)
          this.skip(valueType, depth + 1)
        }
        return
      }
      case T.SET:
      case T.LIST: {
        const type = this.byte()
        const n = this.size(1)
        for (let i = 0; i < n; i++) this.skip(type, depth + 1)
        return
      }
      default:
        throw new CodecError('bad_type', `unknown type ${type} at offset ${this.pos}`)
    }
  }

  private jump(n: number): void {
    this.need(n)
    this.pos += n
  }

  /** Reads the header of a message, strict or not. The reader is then at the arguments (or at CALLTRACE's ids). */
  messageBegin(): MessageHeader {
    const first = this.i32()
    if (first < 0) {
      if ((first & VERSION_MASK) !== VERSION_1) {
        throw new CodecError('bad_version', `not a Thrift binary message: first word 0x${(first >>> 0).toString(16)}`)
      }
      const name = this.string()
      return { strict: true, type: first & 0xff, name, seqid: this.i32() }
    }
    this.pos -= 4
    const name = this.string()
    const type = this.byte()
    return { strict: false, type, name, seqid: this.i32() }
  }
}

export interface MessageHeader {
  /** Whether the header carried the protocol's version. A reply takes the form of its request. */
  strict: boolean
  type: number
  name: string
  seqid: number
}

export function writeMessageBegin(w: Writer, header: MessageHeader): void {
  if (header.strict) {
    w.i32(VERSION_1 | header.type)
    w.string(header.name)
  } else {
    w.string(header.name)
    w.byte(header.type)
  }
  w.i32(header.seqid)
}
