import { randomBytes } from 'node:crypto'

/**
 * An odd number for the hash tables whose keys come from strangers. It differs in each process and nobody knows it: keys
 * chosen to meet in one slot would make each lookup as long as the table.
 */
export const MULTIPLIER = randomBytes(4).readInt32LE() | 1
