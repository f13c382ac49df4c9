import { EventType, type SpanRecord } from '../../../src/codec/span'
import { hash64 } from './hash64'
import type { Message, SearchQuery } from './store'

/**
 * What a span can be found by, as numbers: a term is 64 bits of the SHA-256 of what it stands for. So the index holds
 * integers alone, is exact about case, spaces and every other character, and has no limit on lengths.
 */

const KIND = { name: 'n', key: 'k', value: 'v', pair: 'p' } as const

function termOf(kind: string, text: string): bigint {
  return hash64(kind + text)
}

function pairTerm(key: string, value: string): bigint {
  // With the key's length, or a key that ends where another's value begins would do as well.
  return termOf(KIND.pair, `${key.length}:${key}${value}`)
}

/** The terms that must all be found on one span. None: every trace matches. */
export function queryTerms({ name, key, value }: SearchQuery): bigint[] {
  const terms: bigint[] = []
  if (name !== undefined) terms.push(termOf(KIND.name, name))
  if (key !== undefined && value !== undefined) terms.push(pairTerm(key, value))
  else if (key !== undefined) terms.push(termOf(KIND.key, key))
  else if (value !== undefined) terms.push(termOf(KIND.value, value))
  return terms
}

/** Known strings' terms, at most so many: beyond, it starts anew, which costs the hashes of what is in use. */
const CACHE_ENTRIES = 65_536
/** Long strings seldom come twice. */
const CACHED_LENGTH = 256

interface KeyTerms {
  term: bigint
  values: Map<string, ValueTerms>
}

interface ValueTerms {
  term: bigint
  pair: bigint
}

/** Finds records' terms. Remembers those of strings that come again, as most do. */
export class TermReader {
  private names = new Map<string, bigint>()
  private keys = new Map<string, KeyTerms>()
  private entries = 0

  /** Calls `add` with each of the record's terms; with some of them more than once. */
  read(record: SpanRecord, add: (term: bigint) => void): void {
    if (record.name !== undefined) add(this.name(record.name))
    if (record.annotations === undefined) return
    for (const [key, value] of record.annotations) {
      const keyTerms = this.key(key)
      const valueTerms = this.value(key, keyTerms, value)
      add(keyTerms.term)
      add(valueTerms.term)
      add(valueTerms.pair)
    }
  }

  private name(name: string): bigint {
    return this.names.get(name) ?? this.keep(this.names, name, termOf(KIND.name, name))
  }

  private key(key: string): KeyTerms {
    return this.keys.get(key) ?? this.keep(this.keys, key, { term: termOf(KIND.key, key), values: new Map() })
  }

  private value(key: string, { values }: KeyTerms, value: string): ValueTerms {
    return (
      values.get(value) ?? this.keep(values, value, { term: termOf(KIND.value, value), pair: pairTerm(key, value) })
    )
  }

  private keep<V>(map: Map<string, V>, text: string, terms: V): V {
    if (text.length > CACHED_LENGTH) return terms
    if (++this.entries > CACHE_ENTRIES) {
      this.names.clear()
      this.keys.clear()
      this.entries = 0
    }
    map.set(text, terms)
    return terms
  }
}

/**
 * When the record's span began, in microseconds: its earliest client or server event, whatever its label (the original's
 * Python client swapped send and receive); without one the earliest of any kind; undefined when it has no time at all.
 */
function recordStartUs(record: SpanRecord): bigint | undefined {
  let ofCall: bigint | undefined
  let ofAny: bigint | undefined
  for (const { timestamp, eventType } of record.events ?? []) {
    if (timestamp === undefined) continue
    if (ofAny === undefined || timestamp < ofAny) ofAny = timestamp
    const call = eventType !== undefined && eventType >= EventType.CLIENT_SEND && eventType <= EventType.SERVER_RECV
    if (call && (ofCall === undefined || timestamp < ofCall)) ofCall = timestamp
  }
  return ofCall ?? ofAny
}

/** term, trace id, span id */
export type Posting = [bigint, bigint, bigint]
/** trace id, microseconds */
export type Start = [bigint, bigint]

/** What the index keeps of messages: some postings more than once, each trace's start once. */
export function indexRows(reader: TermReader, messages: Message[]): { postings: Posting[]; starts: Start[] } {
  const receivedUs = BigInt(Date.now()) * 1000n
  const postings: Posting[] = []
  const starts = new Map<bigint, bigint>()
  for (const { records } of messages) {
    for (const { record } of records) {
      const { traceId, id } = record
      reader.read(record, term => postings.push([term, traceId, id]))
      const startUs = recordStartUs(record) ?? receivedUs
      const known = starts.get(traceId)
      if (known === undefined || startUs < known) starts.set(traceId, startUs)
    }
  }
  return { postings, starts: [...starts] }
}
