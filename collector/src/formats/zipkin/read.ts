import {
  attempt,
  BadInput,
  type Converted,
  FieldReader,
  type Fields,
  instead,
  isObject,
  Reading,
  type Spans,
  Unusable,
} from '../fields'
import { decode, fieldBytes } from '../protobuf'
import { ZIPKIN_TYPES } from './schema'
import { toRecords } from './v1'
import { endsOfStructs, LIST_HEADER, readThrift } from './v1-thrift'
import { readSpan } from './v2'

/**
 * Reads the spans of a list in protobuf.
 * @throws BadInput before the first span, if the bytes aren't a list of spans
 */
export function* readZipkinProtobuf(body: Uint8Array, reading = new Reading()): Spans {
  const spans = [ZIPKIN_TYPES.ListOfSpans.fields.spans!.id]
  for (const _ of fieldBytes(body, ZIPKIN_TYPES.ListOfSpans, spans)) reading.addEntries(1)
  for (const bytes of fieldBytes(body, ZIPKIN_TYPES.ListOfSpans, spans, true))
    reading.passOver([`field ${bytes[0]! >> 3} of ListOfSpans`])
  const read = new FieldReader('zipkin', reading)
  for (const bytes of fieldBytes(body, ZIPKIN_TYPES.ListOfSpans, spans)) {
    yield () => attempt(() => readSpan(decode(bytes, ZIPKIN_TYPES.Span, read), read))
  }
}

/** Reads one span of version 1, a Thrift struct in an entry of Scribe's. Bytes after it are ignored. */
export function readZipkinV1Span(bytes: Buffer, reading = new Reading()): Converted[] {
  const read = new FieldReader('zipkin', reading)
  return convert(() => readThrift(bytes), read)
}

/**
 * Reads the spans of a Thrift list, version 1.
 * @throws BadInput before the first span, if the bytes aren't a list of structs: then nothing tells where the next one begins
 */
export function* readZipkinV1Thrift(body: Buffer, reading = new Reading()): Spans {
  const read = new FieldReader('zipkin', reading)
  let start = LIST_HEADER
  for (const end of endsOfStructs(body, reading)) {
    const bytes = body.subarray(start, end)
    for (const converted of convert(() => readThrift(bytes), read)) yield () => converted
    start = end
  }
}

/**
 * Reads spans of either version in JSON. Each span is looked at for its version.
 * @param json the parsed body: a list of spans, a list of such lists (Zipkin's own API answers with one), or one span
 * @throws BadInput before the first span, if the body is none of these
 */
export function* readZipkinJson(json: unknown, reading = new Reading()): Spans {
  if (!Array.isArray(json) && !isZipkinSpan(json)) {
    throw new BadInput(`not Zipkin: there should be a list of spans${instead(json)}`)
  }
  const read = new FieldReader('zipkin', reading)
  for (const entry of Array.isArray(json) ? json : [json]) {
    reading.addEntries(1 + (Array.isArray(entry) ? entry.length : 0))
  }
  for (const entry of Array.isArray(json) ? json : [json]) {
    for (const span of Array.isArray(entry) ? entry : [entry]) {
      const fields = isObject(span) ? span : {}
      if (!isVersion1(fields)) yield () => attempt(() => readSpan(fields, read))
      else for (const converted of convert(() => fields, read)) yield () => converted
    }
  }
}

export function isZipkinSpan(json: unknown): boolean {
  return isObject(json) && json.traceId !== undefined && json.id !== undefined
}

/** Tells version 1 by its binary annotations, or by an endpoint in an annotation: version 2 has neither. */
function isVersion1({ annotations, binaryAnnotations }: Fields): boolean {
  if (Array.isArray(binaryAnnotations)) return true
  return Array.isArray(annotations) && annotations.some(annotation => isObject(annotation?.endpoint))
}

function convert(fields: () => Fields, read: FieldReader): Converted[] {
  const records = attempt(() => toRecords(fields(), read))
  return records instanceof Unusable ? [records] : records
}
