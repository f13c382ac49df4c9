import { randomBytes } from 'node:crypto'

/**
 * An odd random multiplier for hash tables whose keys come from untrusted senders. If it were known, keys could be chosen that
 * share one slot, and each lookup would take as long as the table.
 */
export const MULTIPLIER = randomBytes(4).readInt32LE() | 1

/** Returns a hash of these bytes of a record. */
export function hashOfRecord(view: DataView, start: number, end: number): number {
  let hash = end - start
  let at = start
  for (; at + 4 <= end; at += 4) {
    hash = Math.imul(hash ^ view.getInt32(at), MULTIPLIER)
    hash ^= hash >>> 15
  }
  for (; at < end; at++) hash = Math.imul(hash ^ view.getUint8(at), MULTIPLIER)
  return hash ^ (hash >>> 16)
}
