import { hash } from 'node:crypto'

/**
 * Terms and places, as the tables of sql/mysql/0001-blocks.sql have them: bytes, which sort as they are and which the server needs
 * not convert. They are written in hex here and in SQL.
 *
 *     term, 7 bytes     01, 02 or 03, and 48 bits of a hash      a name, a service or a key
 *                       04, 05, and zeros                        an error; any record
 *                       1, and 52 bits of a hash                 a key with its value
 *     place, 16 bytes   start and trace id                       each plus 2^63, so that they sort as signed integers
 */

/** The hex digits of a term. */
export const TERM_DIGITS = 14
/** Of 64 bits. */
const PART_DIGITS = 16
export const MAX_DURATION_US = Number.MAX_SAFE_INTEGER
/** Of one more than MAX_DURATION_US. */
const DURATION_DIGITS = 14
/** Scopes of words in dict. The scope of a value is its key. */
export const SCOPE = { name: mark(1), service: mark(2), key: mark(3) } as const
export const ERROR = mark(4)
export const EVERY = mark(5)

/** How many words are cached. Above it, the cache starts anew, and each word in use is hashed once more. */
const MAX_CACHED_WORDS = 200_000
/** Longer words aren't cached: they rarely occur twice. */
const MAX_CACHED_LENGTH = 300
/** The maximal length of a name, service or key in dict: it fits into a TEXT whatever the characters. */
export const MAX_WORD_LENGTH = 10_000

function mark(kind: number): string {
  return `0${kind}`.padEnd(TERM_DIGITS, '0')
}

/** Returns the term of a name, a service or a key. */
export function termOf(scope: string, text: string): string {
  return scope.slice(0, 2) + hash('sha256', text).slice(0, TERM_DIGITS - 2)
}

/** Returns the term of a key with a value. @param value already cut to the indexed length */
export function valueTerm(key: string, value: string): string {
  // The key's length is hashed too: otherwise, key and value could be divided elsewhere with the same result.
  return `1${hash('sha256', `${key.length}:${key}${value}`).slice(0, TERM_DIGITS - 1)}`
}

export function isValue(term: string): boolean {
  return term.startsWith('1')
}

/** Yields terms that stand one after the other, as in trace_terms. */
export function* termsIn(terms: string): Generator<string> {
  for (let at = 0; at < terms.length; at += TERM_DIGITS) yield terms.slice(at, at + TERM_DIGITS)
}

/** Returns a part of a place. */
export function ordered(n: bigint): string {
  return (n + 2n ** 63n).toString(16).padStart(PART_DIGITS, '0')
}

/** Returns a duration as it follows a place. @param us at most MAX_DURATION_US; -1 without times */
export function durationHex(us: number): string {
  return (us + 1).toString(16).padStart(DURATION_DIGITS, '0')
}

/** A term, with the text that dict has for it. */
export class Word {
  readonly term: string
  readonly scope: string
  readonly text: string
  /** The key of a value. */
  readonly key: KeyWord | undefined
  /** The last day for which a committed transaction has written the word. */
  known = -1
  /** The last trace and the last window of time that it was noted for: see Postings. */
  trace = 0
  window = 0
  /** The postings that have places of it, and its last place there. */
  postings = 0
  place = -1
  private high = -1
  private low = 0

  constructor(term: string, scope: string, text: string, key?: KeyWord) {
    this.term = term
    this.scope = scope
    this.text = text.slice(0, MAX_WORD_LENGTH)
    this.key = key
  }

  /** The term's first three bytes. */
  get termHigh(): number {
    if (this.high === -1) {
      this.high = Number.parseInt(this.term.slice(0, 6), 16)
      this.low = Number.parseInt(this.term.slice(6), 16) | 0
    }
    return this.high
  }

  /** The other four. */
  get termLow(): number {
    return this.termHigh === -1 ? 0 : this.low
  }
}

export class KeyWord extends Word {
  readonly values = new Map<string, Word>()
  /** Its values in the trace that was last noted. */
  noted: Word[] = []
}

/** Words by their text, so that it isn't hashed each time. */
export class Words {
  readonly every = new Word(EVERY, '', '')
  readonly error = new Word(ERROR, '', '')
  private names = new Map<string, Word>()
  private services = new Map<string, Word>()
  private keys = new Map<string, KeyWord>()
  private cached = 0
  private marks = 0

  /** Returns a number that is used for nothing else, and isn't 0. */
  mark(): number {
    return ++this.marks
  }

  name(text: string): Word {
    return this.names.get(text) ?? this.keep(this.names, text, new Word(termOf(SCOPE.name, text), SCOPE.name, text))
  }

  service(text: string): Word {
    const known = this.services.get(text)
    return known ?? this.keep(this.services, text, new Word(termOf(SCOPE.service, text), SCOPE.service, text))
  }

  key(text: string): KeyWord {
    return this.keys.get(text) ?? this.keep(this.keys, text, new KeyWord(termOf(SCOPE.key, text), SCOPE.key, text))
  }

  /** @param text already cut to the indexed length */
  value(key: KeyWord, keyText: string, text: string): Word {
    const known = key.values.get(text)
    return known ?? this.keep(key.values, text, new Word(valueTerm(keyText, text), key.term, text, key))
  }

  private keep<W extends Word>(words: Map<string, W>, text: string, word: W): W {
    if (text.length > MAX_CACHED_LENGTH) return word
    if (++this.cached > MAX_CACHED_WORDS) {
      this.names = new Map()
      this.services = new Map()
      this.keys = new Map()
      this.cached = 0
    } else {
      words.set(text, word)
    }
    return word
  }
}
