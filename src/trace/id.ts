import { builtin } from '../process/builtin'

/**
 * Ids: random, non-zero, positive 63-bit numbers, as the original's Python clients made them, held as two signed 32-bit
 * halves. A call of randomBytes for each costs about 2 µs; words from a pool cost 1 to 3 ns. The pool is filled 64 KiB at a time: a fill
 * takes 10 µs, and 10 to 20 more where other code has been at work since the last one, whatever its size.
 */
const pool = new Int32Array(16_384)
let next = pool.length

/** A random signed 32-bit number. */
function randomWord(): number {
  if (next === pool.length) {
    // Loaded late: it takes 2 ms of a start, and a program that starts no trace doesn't pay for it.
    builtin('node:crypto', () => require('node:crypto')).randomFillSync(pool)
    next = 0
  }
  return pool[next++]!
}

/** A random number in [0, 1). */
export function random(): number {
  return (randomWord() >>> 0) / 4294967296
}

/** The high half of an id: never negative as an i64. */
export function randomHigh(): number {
  return randomWord() & 0x7fffffff
}

/** The low half: never zero, so that the id isn't (2^-32 of the randomness is given up for a branch). */
export function randomLow(): number {
  return randomWord() || 1
}

/** An id of 31 bits, positive and not zero. */
export function randomNarrow(): number {
  return randomWord() & 0x7fffffff || 1
}

/** The characters of hex digits. */
const HEX = Uint8Array.from('0123456789abcdef', digit => digit.charCodeAt(0))

/** 16 lower-case hex digits, made at once: text that is put together of parts costs twice as much, and is read more slowly. */
export function toHex(hi: number, lo: number): string {
  return String.fromCharCode(
    HEX[hi >>> 28]!,
    HEX[(hi >>> 24) & 15]!,
    HEX[(hi >>> 20) & 15]!,
    HEX[(hi >>> 16) & 15]!,
    HEX[(hi >>> 12) & 15]!,
    HEX[(hi >>> 8) & 15]!,
    HEX[(hi >>> 4) & 15]!,
    HEX[hi & 15]!,
    HEX[lo >>> 28]!,
    HEX[(lo >>> 24) & 15]!,
    HEX[(lo >>> 20) & 15]!,
    HEX[(lo >>> 16) & 15]!,
    HEX[(lo >>> 12) & 15]!,
    HEX[(lo >>> 8) & 15]!,
    HEX[(lo >>> 4) & 15]!,
    HEX[lo & 15]!,
  )
}

/** The low 56 bits of an id as a fraction in [0, 1): the randomness by which a trace is kept or not. */
export function fraction(hi: number, lo: number): number {
  return ((hi & 0xffffff) * 4294967296 + (lo >>> 0)) / 72057594037927936
}
