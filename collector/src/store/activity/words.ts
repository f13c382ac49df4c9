import { randomBytes } from 'node:crypto'
import { MULTIPLIER } from '../../record/seed'
import { keyWord, MAX_WORD_LENGTH } from './rows'

/** keyWord() keeps MAX_WORD_LENGTH UTF-16 units, and none is made of more than three bytes: what is behind these bytes isn't seen. */
const MAX_WORD_BYTES = 3 * (MAX_WORD_LENGTH + 1)
/** What a word takes beside its bytes: a string, an array, places in tables. */
const WORD_BYTES = 150
/** Words that nothing refers to stay until there are this many of them, or bytes: most come again. */
const MAX_UNUSED = 20_000
const MAX_UNUSED_BYTES = 8 * 1024 * 1024

const SEED = randomBytes(4).readInt32LE()

/**
 * Names of services and operations by numbers. A word is found by its bytes, so that no string is made for each record; words
 * that become the same string, because they are too long or not UTF-8, have one number. The empty word is 0.
 */
export class Words {
  readonly strings: string[] = ['']
  /** Two hashes of a word's bytes that are the same in every process, by the number that find() left in `entry`. */
  readonly hashes: number[] = [0, 0]
  /** The entry of the bytes that find() has just found: bytes have one each, and share a word if their strings are the same. */
  entry = 0
  private readonly bytes: Uint8Array[] = [new Uint8Array(0)]
  private readonly seeded: number[] = [0]
  private readonly words: number[] = [0]
  private readonly uses: number[] = [1]
  private readonly free: number[] = []
  private readonly byString = new Map<string, number>([['', 0]])
  private slots = new Int32Array(1024)
  private size = 0
  private totalBytes = 0
  private used = 0
  /** What the words that something refers to take. */
  usedBytes = 0

  /** Returns the word's number. */
  find(buf: Uint8Array, at: number, end: number): number {
    if (at === -1 || at === end) {
      this.entry = 0
      return 0
    }
    const length = Math.min(end - at, MAX_WORD_BYTES)
    const to = at + length
    let hash = SEED ^ length
    for (let i = at; i < to; i++) hash = Math.imul(hash ^ buf[i]!, MULTIPLIER) ^ (hash >>> 15)
    hash = Math.imul(hash ^ (hash >>> 15), MULTIPLIER)
    const { slots, seeded } = this
    const mask = slots.length - 1
    for (let slot = (hash >>> 7) & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot]!
      if (entry === 0) return this.add(buf, at, to, hash, slot)
      if (seeded[entry] !== hash) continue
      const known = this.bytes[entry]!
      if (known.length !== length) continue
      let i = 0
      while (i < length && known[i] === buf[at + i]) i++
      if (i < length) continue
      this.entry = entry
      return this.words[entry]!
    }
  }

  use(word: number): void {
    if (this.uses[word]!++ > 0) return
    this.used++
    this.usedBytes += WORD_BYTES + this.bytes[word]!.length
  }

  release(word: number): void {
    if (--this.uses[word]! > 0) return
    this.used--
    this.usedBytes -= WORD_BYTES + this.bytes[word]!.length
  }

  /** Forgets words that nothing refers to, if there are many. Their numbers are given to other words then. */
  sweep(): void {
    if (this.size - this.used < MAX_UNUSED && this.totalBytes - this.usedBytes < MAX_UNUSED_BYTES) return
    const { uses, words, strings, bytes, free } = this
    free.length = 0
    this.size = this.totalBytes = 0
    this.slots = new Int32Array(Math.max(1024, 2 ** Math.ceil(Math.log2(this.used * 4 + 1))))
    for (let entry = 1; entry < words.length; entry++) {
      if (uses[entry]! > 0) {
        this.place(entry)
        this.size++
        this.totalBytes += WORD_BYTES + bytes[entry]!.length
        continue
      }
      if (words[entry] === entry) this.byString.delete(strings[entry]!)
      strings[entry] = ''
      bytes[entry] = bytes[0]!
      free.push(entry)
    }
  }

  private add(buf: Uint8Array, at: number, to: number, hash: number, slot: number): number {
    const bytes = Uint8Array.prototype.slice.call(buf, at, to)
    const string = keyWord(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString())
    const entry = this.free.pop() ?? this.words.length
    const word = this.byString.get(string) ?? entry
    this.strings[entry] = string
    this.bytes[entry] = bytes
    this.seeded[entry] = hash
    this.words[entry] = word
    this.uses[entry] = 0
    let [high, low] = [0x2545f491, bytes.length]
    for (const byte of bytes) {
      high = Math.imul(high ^ byte, 0x01000193)
      low = Math.imul((low << 5) ^ (low >>> 27) ^ byte, 0x27d4eb2f)
    }
    this.hashes[2 * entry] = high
    this.hashes[2 * entry + 1] = low
    this.byString.set(string, word)
    this.slots[slot] = entry
    this.size++
    this.totalBytes += WORD_BYTES + bytes.length
    if (this.size * 2 > this.slots.length) this.grow()
    this.entry = entry
    return word
  }

  private grow(): void {
    const { slots } = this
    this.slots = new Int32Array(slots.length * 2)
    for (const entry of slots) if (entry !== 0) this.place(entry)
  }

  private place(entry: number): void {
    const { slots } = this
    const mask = slots.length - 1
    let slot = (this.seeded[entry]! >>> 7) & mask
    while (slots[slot] !== 0) slot = (slot + 1) & mask
    slots[slot] = entry
  }
}
