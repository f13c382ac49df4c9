/** Numbers and their bytes: the lowest first on every machine that Node runs on. */
const DOUBLE = new Float64Array(1)
const DOUBLE_BYTES = new Uint8Array(DOUBLE.buffer)
const SINGLE = new Float32Array(1)
const SINGLE_BYTES = new Uint8Array(SINGLE.buffer)

/** Whole numbers below this are written as varints by number(). */
const MAX_WHOLE = 2 ** 50

/** A growing buffer. Numbers up to 2^53 are written as varints: seven bits per byte, lowest bits first, the last byte below 128. */
export class Bytes {
  buf: Buffer
  pos = 0

  constructor(size = 16 * 1024) {
    this.buf = Buffer.allocUnsafeSlow(size)
  }

  reserve(n: number): void {
    if (this.pos + n <= this.buf.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(this.buf.length * 2, this.pos + n))
    this.buf.copy(grown, 0, 0, this.pos)
    this.buf = grown
  }

  varint(n: number): void {
    this.reserve(8)
    const { buf } = this
    let p = this.pos
    while (n > 0x7fffffff) {
      buf[p++] = (n % 128) | 128
      n = Math.floor(n / 128)
    }
    while (n > 127) {
      buf[p++] = (n & 127) | 128
      n >>>= 7
    }
    buf[p++] = n
    this.pos = p
  }

  /** Appends the bytes of `from` between `start` and `end`. */
  copy(from: Uint8Array, start: number, end: number): void {
    const n = end - start
    this.reserve(n)
    // A call out of JavaScript costs as much as copying fifty bytes here.
    if (n < 50) for (let i = start, p = this.pos; i < end; i++) this.buf[p++] = from[i]!
    else this.buf.set(from.subarray(start, end), this.pos)
    this.pos += n
  }

  /** Appends a string in UTF-8. */
  text(s: string): void {
    const n = s.length
    this.reserve(3 * n)
    const { buf, pos } = this
    let i = 0
    if (n < 50) {
      for (; i < n; i++) {
        const c = s.charCodeAt(i)
        if (c > 127) break
        buf[pos + i] = c
      }
    }
    this.pos += i === n ? n : buf.write(s, pos, 'utf8')
  }

  i32(n: number): void {
    this.reserve(4)
    const { buf, pos } = this
    buf[pos] = n >>> 24
    buf[pos + 1] = n >>> 16
    buf[pos + 2] = n >>> 8
    buf[pos + 3] = n
    this.pos = pos + 4
  }

  f64(n: number): void {
    this.reserve(8)
    DOUBLE[0] = n
    for (let i = 0; i < 8; i++) this.buf[this.pos + i] = DOUBLE_BYTES[i]!
    this.pos += 8
  }

  f32(n: number): void {
    this.reserve(4)
    SINGLE[0] = n
    for (let i = 0; i < 4; i++) this.buf[this.pos + i] = SINGLE_BYTES[i]!
    this.pos += 4
  }

  /** Appends any finite number, without loss. Small whole ones, also negative, take a byte or two; others nine bytes. */
  number(n: number): void {
    const size = Math.abs(n)
    if (size < MAX_WHOLE && Math.floor(size) === size) this.varint(4 * size + (n < 0 ? 2 : 0))
    else {
      this.varint(1)
      this.f64(n)
    }
  }

  /** Returns a copy of the bytes written. */
  taken(): Buffer {
    return Buffer.from(this.buf.subarray(0, this.pos))
  }
}

/** Reads what Bytes writes. Varints that reach beyond the end are some number; the caller compares `pos` with the end. */
export class Cursor {
  buf: Buffer
  pos: number

  constructor(buf: Buffer, pos = 0) {
    this.buf = buf
    this.pos = pos
  }

  varint(): number {
    const { buf } = this
    let byte = buf[this.pos++]!
    if (byte < 128) return byte
    let n = byte & 127
    let scale = 128
    do {
      byte = buf[this.pos++]!
      n += (byte & 127) * scale
      scale *= 128
    } while (byte > 127)
    return n
  }

  f64(): number {
    const { buf, pos } = this
    for (let i = 0; i < 8; i++) DOUBLE_BYTES[i] = buf[pos + i]!
    this.pos += 8
    return DOUBLE[0]!
  }

  f32(): number {
    const { buf, pos } = this
    for (let i = 0; i < 4; i++) SINGLE_BYTES[i] = buf[pos + i]!
    this.pos += 4
    return SINGLE[0]!
  }

  i32(): number {
    const { buf, pos } = this
    this.pos += 4
    return (buf[pos]! << 24) | (buf[pos + 1]! << 16) | (buf[pos + 2]! << 8) | buf[pos + 3]!
  }

  /** Reads what Bytes.number() wrote. */
  number(): number {
    const n = this.varint()
    if (n & 1) return this.f64()
    const size = Math.floor(n / 4)
    return n % 4 === 2 ? -size : size
  }
}

/** Compares like memcmp and SQLite's blobs. @returns −1, 0 or 1 */
export function compareBytes(a: Uint8Array, aStart: number, aEnd: number, b: Uint8Array, bStart: number, bEnd: number) {
  const n = Math.min(aEnd - aStart, bEnd - bStart)
  for (let i = 0; i < n; i++) {
    const difference = a[aStart + i]! - b[bStart + i]!
    if (difference !== 0) return difference < 0 ? -1 : 1
  }
  const difference = aEnd - aStart - (bEnd - bStart)
  return difference < 0 ? -1 : difference > 0 ? 1 : 0
}

/** If a word's first byte has at least this share of all bytes, Node's search is slower than Horspool's. */
const FREQUENT_SHARE = 1 / 50

/**
 * Returns a function that tells whether bytes contain the word, to be called many times. Node looks for the word's first byte
 * and then compares the rest, which is ten times slower where that byte is everywhere, as zeros are in numbers. Horspool's
 * algorithm (1980) compares from the word's last byte.
 * @param sample typical bytes
 */
export function wordSearch(word: Buffer, sample: Buffer): (bytes: Buffer) => boolean {
  if (word.length < 2) return bytes => bytes.includes(word)
  let seen = 0
  for (const byte of sample) if (byte === word[0]) seen++
  if (seen < FREQUENT_SHARE * sample.length) return bytes => bytes.includes(word)

  const last = word.length - 1
  const skip = new Uint32Array(256).fill(word.length)
  for (let i = 0; i < last; i++) skip[word[i]!] = last - i
  return bytes => {
    for (let at = last; at < bytes.length; at += skip[bytes[at]!]!) {
      let i = last
      while (i >= 0 && bytes[at - last + i] === word[i]) i--
      if (i < 0) return true
    }
    return false
  }
}
