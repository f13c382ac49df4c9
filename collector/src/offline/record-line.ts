import { SpanScan, scanSpanStruct } from 'milo/codec/scan'
import { DELIMITER, RECORD_HEADER } from 'milo/codec/span'
import { hexId } from '../trace/ids'
import { TAB } from './lines'

/**
 * A line of records:
 *
 *     trace id, 16 hex digits of its lower half │ tab │ base64 of records in a row, as they are stored
 *
 * What `map` reads may have any key, or none, and records of several traces. It writes a line with this key at its beginning and one at its end,
 * with counts as JSON. Sorted, both come first, so that they are there where the end is missing:
 */
export const COUNTS_KEY = '!map'

/** Longer lines are passed over. */
export const MAX_LINE_BYTES = 32 * 1024 * 1024

/** Of base64, in characters: a whole number of its groups. */
const CHUNK = 64 * 1024

/**
 * Decodes base64 into the bytes where it stands.
 * @returns where the decoded bytes end; −1 if it isn't base64
 */
export function decodeInPlace(buf: Buffer, from: number, to: number): number {
  let end = to
  while (end > from && to - end < 2 && buf[end - 1] === EQUALS) end--
  let out = from
  for (let pos = from; pos < end; pos += CHUNK) {
    const chunk = Math.min(CHUNK, end - pos)
    // Buffer's decoder passes over what isn't base64, and so gives fewer bytes.
    const decoded = buf.write(buf.toString('latin1', pos, pos + chunk), out, 'base64')
    if (decoded !== Math.floor((chunk * 3) / 4) || chunk % 4 === 1) return -1
    out += decoded
  }
  return out
}

const EQUALS = 61

/** Where the line's base64 begins: behind the last tab, if there is one. */
export function payloadAt(buf: Buffer, start: number, end: number): number {
  const tab = buf.subarray(start, end).lastIndexOf(TAB)
  return tab === -1 ? start : start + tab + 1
}

/**
 * Calls `visit` for each record up to one that isn't valid.
 * @returns whether all bytes are valid records with a trace id and a span id
 */
export function eachRecordAt(
  buf: Buffer,
  from: number,
  to: number,
  visit: (start: number, end: number, found: SpanScan) => void,
): boolean {
  for (let start = from; start < to; ) {
    if (start + RECORD_HEADER > to || buf.readUInt32BE(start) !== DELIMITER) return false
    const end = start + RECORD_HEADER + buf.readInt32BE(start + 4)
    if (end <= start || end > to || scanSpanStruct(buf, start + RECORD_HEADER, end, scan) !== end) return false
    if (scan.traceIdAt === -1 || scan.idAt === -1) return false
    visit(start, end, scan)
    start = end
  }
  return true
}

const scan = new SpanScan()

/** The key of a trace whose id is at `at`. */
export function keyOf(buf: Buffer, at: number): string {
  return hexId(buf.readBigInt64BE(at))
}
