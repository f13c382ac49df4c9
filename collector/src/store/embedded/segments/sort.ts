/** A key's bits; the rest of 64 is the number of what it belongs to. */
const NUMBER_BITS = 24
export const KEY_BITS = 64 - NUMBER_BITS

/**
 * The numbers 0 to n − 1 in order. Whole keys are sorted by the engine's own sort of integers, ten times faster than with a
 * function that compares; that is asked only where keys are equal.
 * @param n below 2^24
 * @param key below 2^40, in the order that is wanted
 */
export function sortedNumbers(n: number, key: (i: number) => number, compare: (i: number, j: number) => number) {
  const keys = new BigUint64Array(n)
  const halves = new Uint32Array(keys.buffer)
  for (let i = 0; i < n; i++) {
    const k = key(i)
    const low = k % 256
    halves[2 * i + HIGH] = (k - low) / 256
    halves[2 * i + 1 - HIGH] = low * 2 ** NUMBER_BITS + i
  }
  keys.sort()
  const order = new Uint32Array(n)
  for (let i = 0; i < n; i++) order[i] = halves[2 * i + 1 - HIGH]! & 0xffffff
  for (let from = 0; from < n; ) {
    let to = from + 1
    while (to < n && hasSameKey(halves, from, to)) to++
    if (to - from > 1) order.subarray(from, to).sort(compare)
    from = to
  }
  return order
}

/** Where the high half of 64 bits is. */
const HIGH = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 1 : 0

function hasSameKey(halves: Uint32Array, i: number, j: number): boolean {
  return (
    halves[2 * i + HIGH] === halves[2 * j + HIGH] &&
    halves[2 * i + 1 - HIGH]! >>> NUMBER_BITS === halves[2 * j + 1 - HIGH]! >>> NUMBER_BITS
  )
}
