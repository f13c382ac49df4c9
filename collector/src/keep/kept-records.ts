import type { SpanScan } from 'milo/codec/scan'
import { RecordReader } from '../record/reader'
import { MAX_NAME } from '../store/keeps'
import { ASKED, HISTORY_KEY, KEEP_SPAN_KEY, keepSpanOf } from '../trace'
import { hexId } from '../trace/ids'

/** A record whose process keeps the trace after the fact, and asks others for what they have of it. */
export interface KeptRecord {
  traceId: bigint
  /** error, slow, lateral, requested, or a word of the application's. */
  reason: string
  service: string
  /** The span for which the process keeps it, by its name and its id in hexadecimal digits. */
  name: string
  spanId: string
  /** Whether that is this one: its name is the one that it has ended with. */
  isItself: boolean
}

/** These spans were sent because they were asked for: they ask for no others. */
const ASKED_BYTES = Buffer.from(ASKED)
const KEEP_SPAN_BYTES = Buffer.from(KEEP_SPAN_KEY)
const HISTORY_BYTES = Buffer.from(HISTORY_KEY)
const MAX_KEEP_SPAN = 300
const MAX_REASON = 64

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
  const said = annotation(body, KEEP_SPAN_BYTES)
  // In a forced trace the application's word is all there is.
  if (said === undefined && annotation(body, HISTORY_BYTES) === undefined) return undefined
  const ownId = hexId(body.readBigInt64BE(reader.idAt))
  const cause = keepSpanOf(said)
  // The first span that is sent needn't be the one for which the trace is kept. Older SDKs don't say which one that is.
  const isItself = cause === undefined || cause.spanId === ownId
  const ownName = nameAt === -1 ? '' : text(body, nameAt, nameEnd, MAX_NAME)
  return {
    traceId: body.readBigInt64BE(reader.traceIdAt),
    reason: text(body, keepAt + 4, reasonEnd, MAX_REASON),
    service: serviceAt === -1 ? '' : text(body, serviceAt, serviceEnd, MAX_NAME),
    name: isItself ? ownName : cause.name.slice(0, MAX_NAME),
    spanId: cause?.spanId ?? ownId,
    isItself,
  }
}

/** Of the record that has been read. */
function annotation(body: Buffer, key: Buffer): string | undefined {
  const { annotations } = reader
  for (let i = 0; i < annotations.length; i += 4) {
    const [at, end] = [annotations[i]!, annotations[i + 1]!]
    if (end - at === key.length && key.equals(body.subarray(at, end)))
      return text(body, annotations[i + 2]!, annotations[i + 3]!, MAX_KEEP_SPAN)
  }
  return undefined
}

function text(body: Buffer, start: number, end: number, maxLength: number): string {
  // No character has more than four bytes.
  return body.toString('utf8', start, Math.min(end, start + 4 * maxLength)).slice(0, maxLength)
}
