import { readConsoleSpan } from './console-span'
import { BadInput, type Fields, instead, isObject, Reading, type Spans, Unusable } from './fields'
import { readJaegerJson } from './jaeger'
import { type Document, parseDocuments } from './json'
import { readMiloJson } from './milo-json'
import { isResourceSpans, readOtlpJson, readOtlpProtobuf } from './otlp/read'
import { fieldBytes } from './protobuf'
import { isZipkinSpan, readZipkinJson, readZipkinProtobuf, readZipkinV1Thrift } from './zipkin/read'
import { ZIPKIN_TYPES } from './zipkin/schema'

/**
 * Reads spans from a file in any known form, for the page's upload, `POST /api/traces` and `milo-collector import`.
 *
 *     bytes ─ Thrift, protobuf, or text ─ documents ─ each in the form that it has, or a list of such
 */
export const EXPECTED =
  "Milo's records ({ records: [...] }), OTLP ({ resourceSpans: [...] }), Zipkin (a list of spans) or Jaeger ({ data: [...] })"

/** Known files nest their traces in fewer lists. */
const MAX_LISTS = 4
/** OpenTelemetry's file exporter puts every signal into the same file. */
const OTHER_SIGNALS = ['resourceLogs', 'resourceMetrics', 'resourceProfiles']

/**
 * @param bounded false when the collector's operator gives the file
 * @param firstLine above 1 for a further part of a file of lines
 * @throws BadInput when it is none of these forms; of several documents each that is none is one rejected span
 */
export function* readAny(body: Buffer, reading = new Reading(), bounded = true, firstLine = 1): Spans {
  if (body.length === 0) throw new BadInput('there is nothing in it')
  if (isThriftList(body)) yield* readZipkinV1Thrift(body, reading)
  else if (isProtobuf(body)) yield* readProtobuf(body, reading)
  else {
    const documents = parseDocuments(body, bounded, firstLine)
    yield* readDocuments(documents, json => readDocument(json, reading, 0), documents.length > 1 || firstLine > 1)
  }
}

/** A single document has to be right. Of several, each is judged by itself, since it may have been written by itself. */
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

/** In a list, an unknown object is read as a span of Zipkin's. */
function isOther(json: unknown): boolean {
  return isObject(json) && (knownReader(json) ?? readZipkinJson) !== readZipkinJson
}

/** By the fields that no other form has. @throws BadInput */
function readerOf(json: unknown): (json: unknown, reading: Reading) => Spans {
  if (isObject(json)) {
    const reader = knownReader(json)
    if (reader !== undefined) return reader
    if ('traceId' in json && 'spans' in json) {
      throw new BadInput('this is a trace as it is drawn, without its records: give what ?form=records answers')
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

/** The elements' type (a struct), and how many they are. */
function isThriftList(body: Buffer): boolean {
  return body.length >= 5 && body[0] === 0x0c && body.readInt32BE(1) >= 0
}

/** A row of messages in field 1, to the last byte. Text may begin with a newline, which is the same byte as that field. */
function isProtobuf(body: Buffer): boolean {
  if (body[0] !== 0x0a) return false
  try {
    for (const _ of fieldBytes(body, ZIPKIN_TYPES.ListOfSpans, [1], true)) return false
    return true
  } catch {
    return false
  }
}

/** Both formats begin alike. What has the ids of a Zipkin span is one: to a ResourceSpans they would be a resource of 16 bytes. */
function* readProtobuf(body: Buffer, reading: Reading): Spans {
  const [first] = readZipkinProtobuf(body)
  yield* first!() instanceof Unusable ? readOtlpProtobuf(body, reading) : readZipkinProtobuf(body, reading)
}
