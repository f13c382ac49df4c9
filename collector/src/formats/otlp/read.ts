import type { Type } from 'protobufjs/light'
import {
  attempt,
  BadInput,
  FieldReader,
  type Fields,
  type Format,
  isObject,
  Reading,
  type Spans,
  Unusable,
} from '../fields'
import { decode, decodeWithout, fieldBytes } from '../protobuf'
import { camelCased } from './json'
import { OTLP_TYPES } from './schema'
import { readResource, readScope, readSpan } from './span'

/**
 * Describes one of the three messages around spans.
 * @param inner the fields that hold the next message, under their names in all versions (Tempo says batches)
 * @param others the message's other fields
 */
function level(type: Type, inner: string[], others: string[]) {
  const idsOf = (names: string[]) => names.flatMap(name => type.fields[name]?.id ?? [])
  return { type, inner, innerIds: idsOf(inner), others, ids: idsOf([...inner, ...others]) }
}

type Level = ReturnType<typeof level>
const REQUEST = level(OTLP_TYPES.ExportTraceServiceRequest, ['resourceSpans', 'batches'], [])
const RESOURCE_SPANS = level(
  OTLP_TYPES.ResourceSpans,
  ['scopeSpans', 'instrumentationLibrarySpans'],
  ['resource', 'schemaUrl'],
)
const SCOPE_SPANS = level(OTLP_TYPES.ScopeSpans, ['spans'], ['scope', 'instrumentationLibrary', 'schemaUrl'])
const LEVELS = [REQUEST, RESOURCE_SPANS, SCOPE_SPANS]

/**
 * Reads the spans of a request in OTLP's protobuf.
 * @throws BadInput before the first span, if the bytes aren't a request
 */
export function* readOtlpProtobuf(body: Uint8Array, reading = new Reading()): Spans {
  const within = (message: Uint8Array, { type, innerIds }: Level) => fieldBytes(message, type, innerIds)
  const without = (message: Uint8Array, { type, innerIds }: Level) => decodeWithout(message, type, innerIds, read)
  for (const resourceSpans of within(body, REQUEST)) {
    reading.addEntries(1)
    for (const scopeSpans of within(resourceSpans, RESOURCE_SPANS)) {
      reading.addEntries(1)
      for (const _ of within(scopeSpans, SCOPE_SPANS)) reading.addEntries(1)
    }
  }
  nameOthers(body, 0, reading)
  const read = new FieldReader('otlp', reading)
  for (const resourceSpans of within(body, REQUEST)) {
    const resource = once(() => readResource(without(resourceSpans, RESOURCE_SPANS), read))
    for (const scopeSpans of within(resourceSpans, RESOURCE_SPANS)) {
      const scope = once(() => readScope(without(scopeSpans, SCOPE_SPANS), resource(), read))
      for (const span of within(scopeSpans, SCOPE_SPANS)) {
        yield () => attempt(() => readSpan(decode(span, OTLP_TYPES.Span, read), scope, read))
      }
    }
  }
}

/** Notes the unknown fields of a request, for the answer in case no span is found in it. */
function nameOthers(message: Uint8Array, depth: number, reading: Reading): void {
  const { type, innerIds, ids } = LEVELS[depth]!
  for (const bytes of fieldBytes(message, type, ids, true))
    reading.passOver([`field ${bytes[0]! >> 3} of ${type.name}`])
  if (depth + 1 === LEVELS.length || reading.others.size > 0) return
  for (const bytes of fieldBytes(message, type, innerIds)) nameOthers(bytes, depth + 1, reading)
}

/**
 * Reads the spans of a body in OTLP's JSON.
 * @param json the parsed body: a request, a list of requests, an element of resourceSpans, or a trace in Tempo's answer
 * @param format the format of the spans before they were converted to OTLP; it labels the counters
 * @throws BadInput before the first span, if the body is none of these
 */
export function* readOtlpJson(json: unknown, reading = new Reading(), format: Format = 'otlp'): Spans {
  const resources = resourcesOf(json, reading).map(raw => {
    const scopes = within(raw, RESOURCE_SPANS, reading).map(raw => ({ raw, spans: within(raw, SCOPE_SPANS, reading) }))
    reading.addEntries(1 + scopes.length + scopes.reduce((sum, { spans }) => sum + spans.length, 0))
    return { raw, scopes }
  })
  const read = new FieldReader(format, reading)
  for (const { raw, scopes } of resources) {
    const resource = once(() => readResource(camelCased(raw as Fields), read))
    for (const { raw, spans } of scopes) {
      const scope = once(() => readScope(camelCased(raw as Fields), resource(), read))
      for (const span of spans) yield () => attempt(() => readSpan(read.object(span, 'span') ?? {}, scope, read))
    }
  }
}

function resourcesOf(json: unknown, reading: Reading): unknown[] {
  if (Array.isArray(json) && json.length > 0) return json.flatMap(request => resourcesOf(request, reading))
  if (!isObject(json)) throw new BadInput('not OTLP: there should be an object with resourceSpans')
  const fields = camelCased(json)
  if (isObject(fields.trace)) return resourcesOf(fields.trace, reading)
  return isResourceSpans(fields) ? [fields] : within(fields, REQUEST, reading)
}

/** Tells an element of resourceSpans, which Java's OtlpJsonLoggingSpanExporter writes without the list around it. */
export function isResourceSpans(fields: Fields): boolean {
  return RESOURCE_SPANS.inner.some(name => Array.isArray(camelCased(fields)[name]))
}

/** Returns the elements of the next level: messages that hold spans, or the spans. */
function within(raw: unknown, { inner, others }: Level, reading: Reading): unknown[] {
  if (!isObject(raw)) throw new BadInput(`not OTLP: there should be an object with ${inner[0]}`)
  const fields = camelCased(raw)
  reading.passOver(Object.keys(fields).filter(key => !inner.includes(key) && !others.includes(key)))
  return inner.flatMap(name => {
    const value = fields[name] ?? []
    if (!Array.isArray(value)) throw new BadInput(`not OTLP: ${name} is not a list`)
    return value
  })
}

/** Returns a function that calls `make` once, at the first call. If that throws an Unusable, each call throws it. */
function once<V extends object>(make: () => V): () => V {
  let made: V | Unusable | undefined
  return () => {
    made ??= attempt(make)
    if (made instanceof Unusable) throw made
    return made
  }
}
