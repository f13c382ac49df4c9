import { randomBytes } from 'node:crypto'

/**
 * An odd random multiplier for hash tables whose keys come from untrusted senders. If it were known, keys could be chosen that
 * share one slot, and each lookup would take as long as the table.
 */
export const MULTIPLIER = randomBytes(4).readInt32LE() | 1
