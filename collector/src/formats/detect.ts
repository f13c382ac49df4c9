import { readConsoleSpan } from './console-span'
import { BadInput, type Fields, instead, isObject, Reading, type Spans, Unusable } from './fields'
import { readJaegerJson } from './jaeger/read'
import { type Document, parseDocuments } from './json'
import { readMiloJson } from './milo-json'
import { isResourceSpans, readOtlpJson, readOtlpProtobuf } from './otlp/read'
import { fieldBytes } from './protobuf'
import { isZipkinSpan, readZipkinJson, readZipkinProtobuf, readZipkinV1Thrift } from './zipkin/read'
import { ZIPKIN_TYPES } from './zipkin/schema'

/**
 * Reads spans from a file in any known format, for the page's upload, `POST /api/traces` and `milo-collector import`.
 *
 *     bytes ─ Thrift, protobuf, or text ─ documents ─ each in a format of its own, or a list of such
 */
export const EXPECTED =
  "Milo's records ({ records: [...] }), OTLP ({ resourceSpans: [...] }), Zipkin (a list of spans) or Jaeger ({ data: [...] })"

/** How deep lists may nest. Known files nest their traces less. */
const MAX_LISTS = 4
/** OpenTelemetry's file exporter puts all signals into the same file. */
const OTHER_SIGNALS = ['resourceLogs', 'resourceMetrics', 'resourceProfiles']

/**
 * Reads the spans of a file.
 * @param bounded false if the file comes from the collector's operator
 * @param firstLine the number of the body's first line: above 1 if the body is a later part of a file
 * @throws BadInput if the format is unknown. Among several documents, each of an unknown format is one rejected span
 */
export function* readAny(body: Buffer, reading = new Reading(), bounded = true, firstLine = 1): Spans {
  if (body.length === 0) throw new BadInput('the input is empty')
  if (isThriftList(body)) yield* readZipkinV1Thrift(body, reading)
  else if (isProtobuf(body)) yield* readProtobuf(body, reading)
  else {
    const documents = parseDocuments(body, bounded, firstLine)
    yield* readDocuments(documents, json => readDocument(json, reading, 0), documents.length > 1 || firstLine > 1)
  }
}

/** Reads documents. A single one has to be right. Of several, each is judged alone, since it may have been written alone. */
export function* readDocuments(
  documents: Document[],
  read: (json: unknown) => Spans,
  several = documents.length > 1,
): Spans {
  for (const document of documents) {
    if ('problem' in document) {
      yield () => new Unusable('bad_json', `line ${document.line} isn't JSON: ${document.problem}`)
    } else if (!several) yield* read(document.json)
    else yield* orUnusable(() => read(document.json), `line ${document.line}: `)
  }
}

function* orUnusable(read: () => Spans, where: string): Spans {
  try {
    yield* read()
  } catch (error) {
    if (!(error instanceof BadInput)) throw error
    yield () => new Unusable('bad_document', where + error.message)
  }
}

function* readDocument(json: unknown, reading: Reading, depth: number): Spans {
  if (!Array.isArray(json)) return yield* readerOf(json)(json, reading)
  const isZipkin = (entry: unknown) => !Array.isArray(entry) && !isOther(entry)
  if (depth === MAX_LISTS || json.every(entry => (Array.isArray(entry) ? entry.every(isZipkin) : isZipkin(entry)))) {
    return yield* readZipkinJson(json, reading)
  }
  reading.addEntries(json.length)
  for (const entry of json) {
    if (Array.isArray(entry)) yield* readDocument(entry, reading, depth + 1)
    else if (isOther(entry)) yield* orUnusable(() => readerOf(entry)(entry, reading), '')
    else yield* readZipkinJson([entry], reading)
  }
}

/** Tells entries of formats other than Zipkin's. In a list, an unknown object is read as a Zipkin span. */
function isOther(json: unknown): boolean {
  return isObject(json) && (knownReader(json) ?? readZipkinJson) !== readZipkinJson
}

/** Chooses the reader by fields that no other format has. @throws BadInput */
function readerOf(json: unknown): (json: unknown, reading: Reading) => Spans {
  if (isObject(json)) {
    const reader = knownReader(json)
    if (reader !== undefined) return reader
    if ('traceId' in json && 'spans' in json) {
      throw new BadInput('this is a merged trace, without its records: send the answer of ?form=records instead')
    }
  }
  throw new BadInput(`there should be ${EXPECTED}${instead(json)}`)
}

function knownReader(json: Fields): ((json: unknown, reading: Reading) => Spans) | undefined {
  const has = (...fields: string[]) => fields.some(field => Object.hasOwn(json, field))
  if (has('records')) return readMiloJson
  if (has('resourceSpans', 'resource_spans', 'batches') || isResourceSpans(json)) return readOtlpJson
  if (isObject(json.trace)) return readOtlpJson
  if (isZipkinSpan(json)) return readZipkinJson
  if (has('data', 'spanID', 'traceID')) return readJaegerJson
  if (isObject(json.context) && has('start_time')) return readConsoleSpan
  if (has(...OTHER_SIGNALS)) return passOver
  return undefined
}

// biome-ignore lint/correctness/useYield: there is no span in it
function* passOver(json: unknown, reading: Reading): Spans {
  reading.passOver(Object.keys(json as Fields))
}

/** A Thrift list begins with the type of its elements (here a struct) and their number. */
function isThriftList(body: Buffer): boolean {
  return body.length >= 5 && body[0] === 0x0c && body.readInt32BE(1) >= 0
}

/**
 * Both protobuf formats have nothing but messages in field 1. The first byte isn't enough: text may begin with a newline, which
 * is the same byte as that field's tag.
 */
function isProtobuf(body: Buffer): boolean {
  if (body[0] !== 0x0a) return false
  try {
    for (const _ of fieldBytes(body, ZIPKIN_TYPES.ListOfSpans, [1], true)) return false
    return true
  } catch {
    return false
  }
}

/**
 * Reads OTLP or Zipkin: both begin alike. A message with the ids of a Zipkin span is one; read as ResourceSpans, they would be a
 * resource of 16 bytes.
 */
function* readProtobuf(body: Buffer, reading: Reading): Spans {
  const [first] = readZipkinProtobuf(body)
  yield* first!() instanceof Unusable ? readOtlpProtobuf(body, reading) : readZipkinProtobuf(body, reading)
}
