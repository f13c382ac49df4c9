import { hash } from 'node:crypto'
import { I64_MIN, type Place } from '../search/place'
import { WINDOW_BITS } from '../search/window'

/**
 * How the table post has the places of a term. A row costs MySQL about the same whatever is in it, so those that are indexed
 * together and are in the same window of time share a row, a block:
 *
 *     place    the newest:                  start, 8 bytes │ trace id, 8 │ tail, 7 or 15 │ if there are others, 6 of their hash
 *     older    the others, newest first:    end of start, 3 │ trace id, 8 │ tail  …
 *
 * What is settled again after a crash may be divided otherwise, and then has the same newest place and others with it. The hash
 * keeps these rows apart: INSERT IGNORE never omits a place, though a place may be there twice.
 *
 * Rows are read in the order of their newest places. All places of a list that are at least as new as the last row read are known
 * then, since what is in the next rows is older. And no window is in two places of the order: a reader that begins in the middle of
 * the list begins at the end of a window, and leaves out what is too new.
 */

/** How many places a block has at most: some 3 KB, so that InnoDB keeps the row in its page. */
export const BLOCK_PLACES = 128
/** The bytes of a start and a trace id. */
const PLACE_BYTES = 16
/** The size of a place with a duration as its tail, and of one with a span's id and name. */
export const DURATION_SIZE = PLACE_BYTES + 7
export const SPAN_SIZE = PLACE_BYTES + 15
/** What a window's places have in common, in whole bytes; older has the rest of them. */
const COMMON_BYTES = 5
const HASH_BYTES = 6

/** A row of post, without term and day, in hex. */
export interface Block {
  place: string
  older: string
}

/**
 * Divides a term's places into blocks.
 * @param places each of `size` bytes, the newest first; they are overwritten
 */
export function* blocksOf(places: Buffer, size: number): Generator<Block> {
  for (let from = 0; from < places.length; ) {
    const place = places.toString('hex', from, from + size)
    const end = Math.min(places.length, from + BLOCK_PLACES * size)
    const first = from
    let length = 0
    for (from += size; from < end && isSameWindow(places, first, from); from += size) {
      // What is behind the newest one is moved up, to be written at once.
      places.copyWithin(first + size + length, from + COMMON_BYTES, from + size)
      length += size - COMMON_BYTES
    }
    if (length === 0) yield { place, older: '' }
    else {
      const older = places.toString('hex', first + size, first + size + length)
      yield { place: place + hash('sha256', older).slice(0, 2 * HASH_BYTES), older }
    }
  }
}

function isSameWindow(places: Buffer, a: number, b: number): boolean {
  for (let i = 0; i < COMMON_BYTES; i++) if (places[a + i] !== places[b + i]) return false
  return (places[a + COMMON_BYTES]! ^ places[b + COMMON_BYTES]!) >> (WINDOW_BITS % 8) === 0
}

/**
 * Yields the places of a row.
 * @param leastTail leaves out those with a lesser tail
 */
export function* placesIn(place: Buffer, older: Buffer, leastTail?: Buffer): Generator<Place> {
  const tail = place.length - PLACE_BYTES - (older.length > 0 ? HASH_BYTES : 0)
  const passes = (of: Buffer, at: number) =>
    leastTail === undefined || of.compare(leastTail, 0, leastTail.length, at, at + tail) >= 0
  if (passes(place, PLACE_BYTES)) yield placeAt(place)
  const common = (BigInt(place.readUIntBE(0, COMMON_BYTES)) << BigInt(64 - 8 * COMMON_BYTES)) + I64_MIN
  const size = PLACE_BYTES - COMMON_BYTES + tail
  for (let at = 0; at < older.length; at += size) {
    const traceAt = at + 8 - COMMON_BYTES
    if (!passes(older, traceAt + 8)) continue
    yield { startUs: common + BigInt(older.readUIntBE(at, 8 - COMMON_BYTES)), traceId: signedAt(older, traceAt) }
  }
}

/** Returns the newest place of a row. */
export function placeAt(place: Buffer): Place {
  return { startUs: signedAt(place, 0), traceId: signedAt(place, 8) }
}

/** Parts of a place are more by 2^63: see mysql-terms.ts. */
function signedAt(bytes: Buffer, at: number): bigint {
  return bytes.readBigInt64BE(at) ^ I64_MIN
}

/** SQL for how many places a row has. */
export const PLACES_OF_ROW = `1 + LENGTH(older) DIV (LENGTH(place) - ${HASH_BYTES + COMMON_BYTES})`
