import type { SpanScan } from 'milo/codec/scan'
import { RecordReader } from '../record/reader'
import { ASKED } from '../trace'

/** A record whose process keeps the trace after the fact, and asks others for what they have of it. */
export interface KeptRecord {
  traceId: bigint
  /** error, slow, lateral, or a word of the application's. */
  reason: string
  service: string
  name: string
}

/** These spans were sent because they were asked for: they ask for no others. */
const ASKED_BYTES = Buffer.from(ASKED)
const MAX_REASON = 64
const MAX_NAME = 200

const reader = new RecordReader()

/**
 * Reads what a record with the annotation milo.keep asks for.
 * @param start where the record begins
 * @param found its scan
 * @returns undefined when it asks for nothing
 */
export function keptRecord(body: Buffer, start: number, { keepAt }: SpanScan): KeptRecord | undefined {
  const reasonEnd = keepAt + 4 + body.readInt32BE(keepAt)
  if (ASKED_BYTES.equals(body.subarray(keepAt + 4, reasonEnd))) return undefined
  reader.read(body, start)
  const { nameAt, nameEnd, serviceAt, serviceEnd, probabilityAt } = reader
  // A sampled trace is sent by everybody.
  if (probabilityAt !== -1 && body.readDoubleBE(probabilityAt) > 0) return undefined
  return {
    traceId: body.readBigInt64BE(reader.traceIdAt),
    reason: text(body, keepAt + 4, reasonEnd, MAX_REASON),
    service: serviceAt === -1 ? '' : text(body, serviceAt, serviceEnd, MAX_NAME),
    name: nameAt === -1 ? '' : text(body, nameAt, nameEnd, MAX_NAME),
  }
}

function text(body: Buffer, start: number, end: number, maxLength: number): string {
  // No character has more than four bytes.
  return body.toString('utf8', start, Math.min(end, start + 4 * maxLength)).slice(0, maxLength)
}
