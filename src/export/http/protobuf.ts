import type { Writer } from '../../codec/binary'

/** The part of protobuf's encoding that OTLP needs. A tag is given as it stands in the bytes: field number × 8 + wire type. */

/** A value of an attribute. Whole numbers are ints. */
export type Value = string | number | boolean | null | Value[] | { [key: string]: Value }

/** Values that nest deeper are left out. */
const MAX_DEPTH = 8

/** How many bytes a length up to `most` takes. */
function widthOf(most: number): number {
  return most < 128 ? 1 : most < 16_384 ? 2 : most < 2_097_152 ? 3 : 4
}

/**
 * Begins a message within another. Its length is filled in by `close`, in a varint that is wide enough for `most` bytes: a
 * longer one than needed is still a varint.
 * @returns what `close` takes
 */
export function open(w: Writer, tag: number, most: number): number {
  const width = widthOf(most)
  w.reserve(1 + width)
  w.buf[w.pos] = tag
  w.pos += 1 + width
  return w.pos * 8 + width
}

export function close(w: Writer, opened: number): void {
  const width = opened & 7
  const start = (opened - width) / 8
  let length = w.pos - start
  for (let p = start - width; p < start - 1; p++) {
    w.buf[p] = (length & 127) | 128
    length >>>= 7
  }
  w.buf[start - 1] = length
}

/** @param n a whole number below 2^31 */
export function varint(w: Writer, n: number): void {
  w.reserve(5)
  const b = w.buf
  let p = w.pos
  for (; n > 127; n >>>= 7) b[p++] = (n & 127) | 128
  b[p++] = n
  w.pos = p
}

/** @param n any safe integer, as an int64 */
function varint64(w: Writer, n: number): void {
  w.reserve(10)
  const b = w.buf
  let p = w.pos
  let hi = Math.floor(n / 4294967296) >>> 0
  let lo = n >>> 0
  while (hi !== 0 || lo > 127) {
    b[p++] = (lo & 127) | 128
    lo = ((lo >>> 7) | (hi << 25)) >>> 0
    hi >>>= 7
  }
  b[p++] = lo
  w.pos = p
}

/** The most bytes that a string takes, with its tag and length. */
export function most(text: string): number {
  return 3 * text.length + 6
}

export function string(w: Writer, tag: number, text: string): void {
  const { length } = text
  // 42 characters take 126 bytes at most. Keys and values are mostly short and ASCII: a loop beats a call into C++ there.
  if (length <= 42) {
    w.reserve(2 + 3 * length)
    const b = w.buf
    b[w.pos] = tag
    const start = w.pos + 2
    let i = 0
    for (; i < length; i++) {
      const c = text.charCodeAt(i)
      if (c > 127) break
      b[start + i] = c
    }
    const written = i === length ? length : b.write(text, start, 'utf8')
    b[start - 1] = written
    w.pos = start + written
    return
  }
  const bytes = Buffer.byteLength(text)
  w.byte(tag)
  varint(w, bytes)
  w.reserve(bytes)
  w.buf.write(text, w.pos, 'utf8')
  w.pos += bytes
}

export function fixed32(w: Writer, tag: number, n: number): void {
  w.byte(tag)
  w.reserve(4)
  w.pos = w.buf.writeUInt32LE(n >>> 0, w.pos)
}

/** Nanoseconds since the epoch. @param us whole microseconds */
export function nanoseconds(w: Writer, tag: number, us: number): void {
  const high = Math.floor(us / 4294967296)
  const low = (us - high * 4294967296) * 1000
  const carry = Math.floor(low / 4294967296)
  w.byte(tag)
  w.reserve(8)
  w.buf.writeUInt32LE(low - carry * 4294967296, w.pos)
  w.buf.writeUInt32LE((high * 1000 + carry) >>> 0, w.pos + 4)
  w.pos += 8
}

/** A KeyValue, in a field of this tag. */
export function attribute(w: Writer, tag: number, key: string, value: Value): void {
  const isShort = typeof value !== 'object' || value === null
  const pair = open(w, tag, isShort ? most(key) + sizeOf(value) + 8 : Number.POSITIVE_INFINITY)
  string(w, 0x0a, key)
  any(w, 0x12, value, 0)
  close(w, pair)
}

function sizeOf(value: Value): number {
  return typeof value === 'string' ? most(value) : 12
}

/** An AnyValue, in a field of this tag. */
function any(w: Writer, tag: number, value: Value, depth: number): void {
  const isShort = typeof value !== 'object' || value === null
  const message = open(w, tag, isShort ? sizeOf(value) : Number.POSITIVE_INFINITY)
  if (typeof value === 'string') string(w, 0x0a, value)
  else if (typeof value === 'boolean') {
    w.byte(0x10)
    w.byte(value ? 1 : 0)
  } else if (typeof value === 'number') {
    if (Number.isSafeInteger(value)) {
      w.byte(0x18)
      varint64(w, value)
    } else double(w, value)
  } else if (value !== null && depth < MAX_DEPTH) {
    const list = open(w, Array.isArray(value) ? 0x2a : 0x32, Number.POSITIVE_INFINITY)
    if (Array.isArray(value)) for (const one of value) any(w, 0x0a, one, depth + 1)
    else {
      for (const [key, one] of Object.entries(value)) {
        const pair = open(w, 0x0a, Number.POSITIVE_INFINITY)
        string(w, 0x0a, key)
        any(w, 0x12, one, depth + 1)
        close(w, pair)
      }
    }
    close(w, list)
  }
  close(w, message)
}

/** A double as an attribute, also of a whole number. */
export function doubleAttribute(w: Writer, tag: number, key: string, value: number): void {
  const pair = open(w, tag, most(key) + 12)
  string(w, 0x0a, key)
  const message = open(w, 0x12, 9)
  double(w, value)
  close(w, message)
  close(w, pair)
}

function double(w: Writer, value: number): void {
  w.byte(0x21)
  w.reserve(8)
  w.pos = w.buf.writeDoubleLE(value, w.pos)
}

/** Reads a message's fields of the types that replies have. @throws RangeError when it isn't one */
export function* fields(bytes: Buffer): Generator<{ field: number; value: number | Buffer }> {
  let pos = 0
  const number = () => {
    let value = 0
    for (let factor = 1; ; factor *= 128) {
      if (pos >= bytes.length || factor > 2 ** 63) throw new RangeError('no varint')
      const byte = bytes[pos++]!
      value += (byte & 127) * factor
      if (byte < 128) return value
    }
  }
  while (pos < bytes.length) {
    const tag = number()
    const field = Math.floor(tag / 8)
    if (tag % 8 === 0) yield { field, value: number() }
    else {
      const length = tag % 8 === 2 ? number() : tag % 8 === 1 ? 8 : tag % 8 === 5 ? 4 : Number.NaN
      if (!(pos + length <= bytes.length)) throw new RangeError('no field')
      yield { field, value: bytes.subarray(pos, pos + length) }
      pos += length
    }
  }
}
