import { randomBytes } from 'node:crypto'

/**
 * An odd number for the hash tables whose keys come from strangers. It differs with each process and nobody knows it: keys
 * that are chosen so that all of them meet in one slot would make each look-up as long as the table.
 */
export const MULTIPLIER = randomBytes(4).readInt32LE() | 1
