import { MULTIPLIER } from '../../../record/seed'
import { Bytes, compareBytes } from '../../bytes'
import type { IndexPolicy } from '../../search/index-policy'
import { sortedNumbers } from './sort'

/** Fields from here on are of keys' values; those before it of names, services and keys. */
export const VALUES = 4
/** Of these, in characters. Settings change, and with them what values are cut to: a name is found all the same. */
export const MAX_WORD_LENGTH = 256

export function cutWord(word: string): string {
  return word.length > MAX_WORD_LENGTH ? word.slice(0, MAX_WORD_LENGTH) : word
}

/** The terms of a segment that is being made, numbered as they come: a field and bytes, by open addressing. */
export class Words {
  private readonly policy: IndexPolicy
  /** All words' bytes, one after the other. */
  private readonly bytes = new Bytes(256 * 1024)
  /** Where each word starts. */
  private starts = new Uint32Array(16 * 1024)
  private hashes = new Int32Array(16 * 1024)
  private fields = new Uint32Array(16 * 1024)
  /** The number of the term; the same for words that are cut to the same, or whose bytes are no UTF-8. */
  private terms = new Uint32Array(16 * 1024)
  private count = 0
  /** Word + 1; 0 is free. Half full at most. */
  private slots = new Uint32Array(32 * 1024)
  /** The word that is written for each term. */
  private wordOf = new Uint32Array(16 * 1024)
  termCount = 0

  constructor(policy: IndexPolicy) {
    this.policy = policy
  }

  /** @returns the term's number */
  add(field: number, buf: Uint8Array, start: number, end: number): number {
    let hash = Math.imul(field, MULTIPLIER)
    let bits = 0
    for (let i = start; i < end; i++) {
      const byte = buf[i]!
      hash = Math.imul(hash ^ byte, MULTIPLIER)
      bits |= byte
    }
    hash ^= hash >>> 15
    hash = Math.imul(hash, 0x2c1b3c6d)
    hash ^= hash >>> 13
    const mask = this.slots.length - 1
    let slot = hash & mask
    for (let word = this.slots[slot]!; word !== 0; word = this.slots[slot]!) {
      if (this.hashes[word - 1] === hash && this.is(word - 1, field, buf, start, end)) return this.terms[word - 1]!
      slot = (slot + 1) & mask
    }
    const word = this.put(field, hash, slot, buf, start, end)
    const isValue = field >= VALUES
    if (bits > 127 || end - start > (isValue ? this.policy.maxValueLength : MAX_WORD_LENGTH)) {
      const raw = Buffer.from(buf.subarray(start, end))
      const text = raw.toString('utf8')
      const cut = Buffer.from(isValue ? this.policy.cut(text) : cutWord(text))
      if (!cut.equals(raw)) {
        this.terms[word] = this.add(field, cut, 0, cut.length)
        return this.terms[word]!
      }
    }
    if (this.termCount === this.wordOf.length) this.wordOf = grown(this.wordOf)
    this.wordOf[this.termCount] = word
    this.terms[word] = this.termCount
    return this.termCount++
  }

  /** The bytes of the term; use them before the next add. */
  read<R>(term: number, use: (buf: Buffer, start: number, end: number) => R): R {
    const word = this.wordOf[term]!
    return use(this.bytes.buf, this.starts[word]!, this.starts[word + 1]!)
  }

  fieldOf(term: number): number {
    return this.fields[this.wordOf[term]!]!
  }

  /** The terms in the order of their bytes; all belong to one field. */
  sorted(terms: Uint32Array): Uint32Array {
    const { buf } = this.bytes
    const startOf = (i: number) => this.starts[this.wordOf[terms[i]!]!]!
    const endOf = (i: number) => this.starts[this.wordOf[terms[i]!]! + 1]!
    let common = endOf(0) - startOf(0)
    for (let i = 1; i < terms.length; i++) {
      const [first, start] = [startOf(0), startOf(i)]
      common = Math.min(common, endOf(i) - start)
      for (let at = 0; at < common; at++) if (buf[first + at] !== buf[start + at]) common = at
    }
    // Where they begin to differ five bytes tell most apart. A word that ends goes before one that goes on with 0.
    const key = (i: number) => {
      const start = startOf(i) + common
      const end = endOf(i)
      let k = 0
      for (let at = start; at < start + 5; at++) k = k * 256 + (at < end ? buf[at]! : 0)
      return k
    }
    const order = sortedNumbers(terms.length, key, (i, j) =>
      compareBytes(buf, startOf(i), endOf(i), buf, startOf(j), endOf(j)),
    )
    return order.map(i => terms[i]!)
  }

  private is(word: number, field: number, buf: Uint8Array, start: number, end: number): boolean {
    const own = this.starts[word]!
    if (this.fields[word] !== field || this.starts[word + 1]! - own !== end - start) return false
    const bytes = this.bytes.buf
    for (let i = start, j = own; i < end; i++, j++) if (buf[i] !== bytes[j]) return false
    return true
  }

  private put(field: number, hash: number, slot: number, buf: Uint8Array, start: number, end: number): number {
    const word = this.count++
    if (word + 1 === this.starts.length) {
      this.starts = grown(this.starts)
      this.hashes = grown(this.hashes)
      this.fields = grown(this.fields)
      this.terms = grown(this.terms)
    }
    this.starts[word] = this.bytes.pos
    this.bytes.copy(buf, start, end)
    this.starts[word + 1] = this.bytes.pos
    this.hashes[word] = hash
    this.fields[word] = field
    this.slots[slot] = word + 1
    if (this.count * 2 > this.slots.length) this.rehash()
    return word
  }

  private rehash(): void {
    this.slots = new Uint32Array(this.slots.length * 2)
    const mask = this.slots.length - 1
    for (let word = 0; word < this.count; word++) {
      let slot = this.hashes[word]! & mask
      while (this.slots[slot] !== 0) slot = (slot + 1) & mask
      this.slots[slot] = word + 1
    }
  }
}

export function grown<A extends Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>>(array: A): A {
  const larger = new (array.constructor as new (n: number) => A)(array.length * 2)
  larger.set(array)
  return larger
}
