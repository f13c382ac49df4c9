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

/** @throws BadInput before the first span, when the bytes aren't a list of spans */
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

/** What is one span's on the wire: a struct, as Scribe's entries hold it. What follows it is left alone. */
export function readZipkinV1Span(bytes: Buffer, reading = new Reading()): Converted[] {
  const read = new FieldReader('zipkin', reading)
  return convert(() => readThrift(bytes), read)
}

/** @throws BadInput before the first span, when the bytes aren't a list of structs: nothing says where the next one begins */
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
 * Spans of either version, told apart one by one.
 * @param json what JSON.parse made of the body: a list of spans, or of such lists, as Zipkin's own API answers, or one span
 * @throws BadInput before the first span, when it is none of them
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

/** Version 2 has no binary annotations, and no endpoint in an annotation. */
function isVersion1({ annotations, binaryAnnotations }: Fields): boolean {
  if (Array.isArray(binaryAnnotations)) return true
  return Array.isArray(annotations) && annotations.some(annotation => isObject(annotation?.endpoint))
}

function convert(fields: () => Fields, read: FieldReader): Converted[] {
  const records = attempt(() => toRecords(fields(), read))
  return records instanceof Unusable ? [records] : records
}
