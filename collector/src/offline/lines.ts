import { readSync, writeSync } from 'node:fs'

/**
 * Lines of a file descriptor, read and written synchronously: a line program waits for its input anyway, and streams would hold several
 * times as much memory.
 */

const BLOCK_BYTES = 1024 * 1024
const WRITE_BYTES = 64 * 1024
const [NEWLINE, RETURN] = [10, 13]
/** How long to wait for a descriptor that has nothing, or takes nothing, for now. */
const WAIT_MS = 2

/** The input isn't what a line program reads, or not all of it: says what to do. */
export class BadInput extends Error {}

/** Reads lines. One that is too long is passed over and counted. */
export class LineReader {
  /** The line is buf[start … end), without its end of line. It may be overwritten, until next(). */
  buf: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES)
  start = 0
  end = 0
  /** How many lines were too long. */
  tooLong = 0
  private readonly fd: number
  private readonly maxBytes: number
  /** Where the next line begins, and where what has been read ends. */
  private after = 0
  private filled = 0

  constructor(fd: number, maxBytes: number) {
    this.fd = fd
    this.maxBytes = maxBytes
  }

  /** Goes to the next line. @returns false if there is none @throws BadInput where a compressed file begins */
  next(): boolean {
    let isSkipping = false
    let searched = this.after
    for (;;) {
      const at = this.find(searched)
      if (at === -1) {
        if (this.filled - this.after > this.maxBytes) isSkipping = true
        if (isSkipping) this.after = this.filled
        const rest = this.filled - this.after
        if (this.fill()) {
          searched = this.after + rest
          continue
        }
        if (isSkipping) this.tooLong++
        if (rest === 0) return false
      }
      this.start = this.after
      this.end = at === -1 ? this.filled : at
      this.after = at === -1 ? this.filled : at + 1
      if (isSkipping || this.end - this.start > this.maxBytes) this.tooLong++
      else {
        if (this.end > this.start && this.buf[this.end - 1] === RETURN) this.end--
        this.refuseCompressed()
        return true
      }
      isSkipping = false
      searched = this.after
    }
  }

  private refuseCompressed(): void {
    const { buf, start } = this
    // No line begins with these bytes: they are no text.
    if (buf[start] === 0x1f && buf[start + 1] === 0x8b) throw compressed('gzip')
    if (buf[start] === 0x28 && buf[start + 1] === 0xb5) throw compressed('zstd')
  }

  private find(from: number): number {
    const at = this.buf.indexOf(NEWLINE, from)
    return at < this.filled ? at : -1
  }

  /** Reads more, behind what is left. @returns false at the end of the file */
  private fill(): boolean {
    const { length } = this.buf
    const rest = this.filled - this.after
    const most = Math.max(BLOCK_BYTES, this.maxBytes + 1)
    if (length > BLOCK_BYTES && rest < BLOCK_BYTES / 2) this.moveTo(Buffer.allocUnsafeSlow(BLOCK_BYTES))
    else if (rest > length / 2 && length < most) this.moveTo(Buffer.allocUnsafeSlow(Math.min(2 * length, most)))
    else if (this.after > 0) this.moveTo(this.buf)
    const read = whenReady(() => readSync(this.fd, this.buf, this.filled, this.buf.length - this.filled, null))
    this.filled += read
    return read > 0
  }

  private moveTo(buf: Buffer): void {
    this.buf.copy(buf, 0, this.after, this.filled)
    this.buf = buf
    this.filled -= this.after
    this.after = 0
  }
}

/** Collects what is written, up to flush(). */
export class LineWriter {
  private readonly fd: number
  private buf: Buffer = Buffer.allocUnsafeSlow(WRITE_BYTES)
  private size = 0

  constructor(fd: number) {
    this.fd = fd
  }

  /** Writes a key, which is ASCII, a tab, bytes in base64, and an end of line. */
  bytes(key: string, bytes: Buffer, from: number, to: number): void {
    const base64 = bytes.toString('base64', from, to)
    this.reserve(key.length + base64.length + 2)
    this.latin1(key)
    this.buf[this.size++] = TAB
    this.latin1(base64)
    this.buf[this.size++] = NEWLINE
  }

  /** Writes a line of text. */
  text(line: string): void {
    this.reserve(3 * line.length + 1)
    this.size += this.buf.write(line, this.size, 'utf8')
    this.buf[this.size++] = NEWLINE
  }

  flush(): void {
    for (let from = 0; from < this.size; ) {
      from += whenReady(() => writeSync(this.fd, this.buf, from, this.size - from))
    }
    this.size = 0
  }

  private latin1(text: string): void {
    this.size += this.buf.write(text, this.size, 'latin1')
  }

  private reserve(bytes: number): void {
    if (this.size + bytes <= this.buf.length) return
    this.flush()
    const length = Math.max(WRITE_BYTES, bytes)
    if (this.buf.length < bytes || this.buf.length > BLOCK_BYTES) this.buf = Buffer.allocUnsafeSlow(length)
  }
}

function compressed(format: string): BadInput {
  return new BadInput(`standard input is compressed by ${format}: decompress it first, ${format} -dc FILE… |`)
}

export const TAB = 9

const waiting = new Int32Array(new SharedArrayBuffer(4))

/** A pipe may be set not to block by whoever is at its other end. */
function whenReady(act: () => number): number {
  for (;;) {
    try {
      return act()
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // How a closed pipe ends on Windows.
      if (code === 'EOF') return 0
      if (code !== 'EAGAIN') throw error
      Atomics.wait(waiting, 0, 0, WAIT_MS)
    }
  }
}
