/** In the place of a number: the name has none. */
export const NO_NUMBER = -1

const MAX_NAMES = 4096
/** Of one name, and of all. */
const MAX_LENGTH = 256
const MAX_CHARACTERS = 256 * 1024
/** How many hashes of names that were seen once are remembered. */
const SEEN = 4096
const LAST = 64

/**
 * Numbers for what repeats: the names of spans, and the keys of annotations and counters. The table never shrinks and is bounded. A name
 * gets a number when it comes for the second time, since an application that puts ids into its names would fill the table at once.
 */
export class Names {
  private readonly numbers = new Map<string, number>()
  private readonly texts: string[] = []
  private characters = 0
  /** The name of each length that was asked for last, and its number: mostly it is that one again. */
  private readonly last: (string | undefined)[] = new Array(LAST).fill(undefined)
  private readonly lastNumbers: number[] = new Array(LAST).fill(NO_NUMBER)
  /** Hashes, and not the names: a slice of a large string would keep all of it in memory. */
  private readonly seen = new Int32Array(SEEN)

  /** @returns the name's number, or NO_NUMBER */
  numberOf(name: string): number {
    const slot = name.length & (LAST - 1)
    if (this.last[slot] === name) return this.lastNumbers[slot]!
    const number = this.numbers.get(name) ?? this.admit(name)
    if (number !== NO_NUMBER) {
      this.last[slot] = this.texts[number]!
      this.lastNumbers[slot] = number
    }
    return number
  }

  /** @returns the number if the name has one already */
  find(name: string): number {
    return this.numbers.get(name) ?? NO_NUMBER
  }

  nameOf(number: number): string {
    return this.texts[number]!
  }

  private admit(name: string): number {
    const { length } = name
    const number = this.texts.length
    if (length > MAX_LENGTH || number === MAX_NAMES || this.characters + length > MAX_CHARACTERS) return NO_NUMBER
    let hash = length
    for (let i = 0; i < length; i++) hash = (Math.imul(hash, 31) + name.charCodeAt(i)) | 0
    const slot = (hash ^ (hash >>> 15)) & (SEEN - 1)
    // An empty slot has 0.
    hash |= 1
    if (this.seen[slot] !== hash) {
      this.seen[slot] = hash
      return NO_NUMBER
    }
    // A copy, for the same reason. As an object's key it is the very string that code has as a literal: so comparing them costs nothing.
    const text = Object.keys({ [Buffer.from(name, 'utf16le').toString('utf16le')]: 0 })[0]!
    this.numbers.set(text, number)
    this.texts.push(text)
    this.characters += length
    return number
  }
}
