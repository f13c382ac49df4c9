import { isUtf8 } from 'node:buffer'
import { hexId } from '../../../trace/ids'
import { Bytes } from '../../bytes'
import type { Match } from '../../store'

/**
 * Words as FTS5 has them. Its ascii tokenizer ends a token at a space and makes capitals small, and rows come to it as JSON, so
 * characters that mean something there are written with two others. The order of tokens is that of the words' bytes, and what
 * begins a word begins its token:
 *
 *     0x00 … 0x20, !, "    !0 … !w, !x, !y        between a key and its value stands !!, which sorts before all of these
 *     @, A … Z             @0, @a … @z
 *     [, \                 [0, [1
 *
 *     record:  nNAME sSERVICE kKEY vKEY!!VALUE e (an error)        row: the record's number in the part, from 1 on
 *     message: tTRACE, 16 hexadecimal digits                      row: the message's id
 */

export const NAME = 'n'
export const SERVICE = 's'
export const KEY = 'k'
export const VALUE = 'v'
export const ERROR = 'e'
export const TRACE = 't'
const BETWEEN = '!!'

/** Of names, services and keys, in characters. */
export const MAX_WORD_LENGTH = 256

const PUNCTUATION = '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~\x7f'
/** FTS5's options, in SQL: which records a token is in, and nothing else. */
export const FTS_OPTIONS = `content = '', detail = none, columnsize = 0, tokenize = "ascii tokenchars '${PUNCTUATION.replace('"', '""').replace("'", "''")}'"`

/** For each byte the two that stand for it; 0 for one that stands for itself. */
const ESCAPES = new Uint16Array(256)
const CONTROLS = '0123456789abcdefghijklmnopqrstuvwxy'
for (const [byte, second] of Buffer.from(CONTROLS).entries()) ESCAPES[byte] = (0x21 << 8) | second
ESCAPES[0x40] = 0x4030
for (let capital = 0x41; capital <= 0x5a; capital++) ESCAPES[capital] = 0x4000 | (capital + 0x20)
ESCAPES[0x5b] = 0x5b30
ESCAPES[0x5c] = 0x5b31

/** Rows of tokens as JSON, as an insert takes them: {"row":"tokens", …} */
export class TokenWriter {
  private readonly out = new Bytes(512 * 1024)
  private rowAt = 0
  /** How many tokens the row has. */
  count = 0

  clear(): void {
    this.out.pos = 0
  }

  get bytes(): number {
    return this.out.pos
  }

  begin(row: number | bigint): void {
    const { out } = this
    out.text(out.pos === 0 ? '{"' : ',"')
    out.text(String(row))
    out.text('":"')
    this.rowAt = out.pos
    this.count = 0
  }

  /** @returns the row's tokens, which are good until more is written */
  end(): Buffer {
    const tokens = this.out.buf.subarray(this.rowAt, this.out.pos)
    this.out.text('"')
    return tokens
  }

  add(kind: string, word: Buffer, start: number, end: number): void {
    const { out } = this
    this.count++
    out.text(kind)
    this.addEscaped(word, start, end)
    out.text(' ')
  }

  /** @param key of tokenOfKey */
  addValue(key: Buffer, value: Buffer, start: number, end: number): void {
    const { out } = this
    this.count++
    out.copy(key, 0, key.length)
    this.addEscaped(value, start, end)
    out.text(' ')
  }

  addTrace(high: number, low: number): void {
    const { out } = this
    this.count++
    out.text(TRACE)
    out.reserve(16)
    for (let half = high, i = 0; i < 2; half = low, i++) {
      for (let shift = 28; shift >= 0; shift -= 4) out.buf[out.pos++] = HEX[(half >>> shift) & 15]!
    }
    out.text(' ')
  }

  /** @returns the rows, without copying them */
  json(): Buffer {
    this.out.text('}')
    return this.out.taken()
  }

  private addEscaped(word: Buffer, start: number, end: number): void {
    const { out } = this
    out.reserve(2 * (end - start))
    const { buf } = out
    let p = out.pos
    for (let i = start; i < end; i++) {
      const byte = word[i]!
      const two = ESCAPES[byte]!
      if (two === 0) buf[p++] = byte
      else {
        buf[p++] = two >>> 8
        buf[p++] = two & 0xff
      }
    }
    out.pos = p
  }
}

const HEX = Buffer.from('0123456789abcdef')

/** Whether a word is as the index has it: valid UTF-8, and not too long. */
export function isPlain(buf: Buffer, start: number, end: number, maxLength: number): boolean {
  if (end - start > maxLength) return false
  for (let i = start; i < end; i++) if (buf[i]! > 127) return isUtf8(buf.subarray(start, end))
  return true
}

export function cutWord(word: string): string {
  return word.length > MAX_WORD_LENGTH ? word.slice(0, MAX_WORD_LENGTH) : word
}

export function token(kind: string, word: string): string {
  return kind + escaped(word)
}

export function valueToken(key: string, value: string): string {
  return VALUE + escaped(key) + BETWEEN + escaped(value)
}

/** The token of a key, and the beginning of its values' tokens. */
export function tokenOfKey(key: string): Buffer {
  return Buffer.from(`${token(KEY, key)} ${valueToken(key, '')}`)
}

export function traceToken(traceId: bigint): string {
  return TRACE + hexId(traceId)
}

/** In FTS5's language of queries. */
export function query(tokens: string[], { match = 'exact' as Match, join = 'AND' } = {}): string {
  const end = match === 'prefix' ? ' *' : ''
  return tokens.map(token => `"${token}"${end}`).join(` ${join} `)
}

/** @param start the kind, or that and a key: what stands before the word */
export function wordOf(token: string, start: string): string {
  return unescaped(token.slice(start.length))
}

function escaped(word: string): string {
  // Lone surrogates become what they are in UTF-8.
  return Buffer.from(word)
    .toString()
    .replace(/[\0-"@-\\]/g, char => {
      const two = ESCAPES[char.charCodeAt(0)]!
      return String.fromCharCode(two >>> 8, two & 0xff)
    })
}

function unescaped(text: string): string {
  return text.replace(/!(.)|@(.)|\[(.)/g, (_, control?: string, capital?: string, bracket?: string) => {
    if (control !== undefined) return String.fromCharCode(CONTROLS.indexOf(control))
    if (capital !== undefined) return capital === '0' ? '@' : capital.toUpperCase()
    return bracket === '0' ? '[' : '\\'
  })
}
