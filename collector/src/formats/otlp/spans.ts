import type { Type } from 'protobufjs'
import { EventType, type SpanEvent, type SpanRecord } from '../../../../src/codec/span'
import {
  anyInteger,
  attempt,
  BadInput,
  FieldReader,
  type Fields,
  type Format,
  hexOf,
  isEmpty,
  isObject,
  MAX_SPAN_BYTES,
  plainObject,
  Reading,
  requiredId,
  type Spans,
  signed,
  Unusable,
} from '../fields'
import { decode, decodeWithout, fieldBytes } from '../protobuf'
import {
  attributesFromPlain,
  attributesToPlain,
  camelCased,
  fromText,
  keyValuesToJson,
  readKeyValues,
  type TextType,
  toText,
  type Value,
} from './any-value'
import { OTLP_TYPES } from './schema'

/**
 * OpenTelemetry's traces, as OTLP's protobuf and JSON have them, into records and back. Nothing is lost: attributes become
 * annotations of the same keys, what the resource and the scope say is repeated with each span, and what a record has no
 * place for stands in annotations and counters that begin with `otel.`. docs/wire-format.md has the whole table.
 */

const KINDS = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer']
const STATUS = ['UNSET', 'OK', 'ERROR']
const ERROR = 2
/** The first and the last event of a record: when the span started and ended. */
const WINDOWS: Record<string, readonly [SpanEvent, SpanEvent]> = {
  client: [{ eventType: EventType.CLIENT_SEND }, { eventType: EventType.CLIENT_RECV }],
  server: [{ eventType: EventType.SERVER_RECV }, { eventType: EventType.SERVER_SEND }],
  local: [
    { eventType: EventType.CUSTOM, value: 'milo.start' },
    { eventType: EventType.CUSTOM, value: 'milo.end' },
  ],
}

/** Annotations and counters that are ours: an attribute of such a name is kept in `otel.more`. */
const OURS = {
  kind: 'otel.kind',
  // The names that OpenTelemetry gives them in other formats.
  statusCode: 'otel.status_code',
  statusDescription: 'otel.status_description',
  scopeName: 'otel.scope.name',
  scopeVersion: 'otel.scope.version',
  scopeAttributes: 'otel.scope.attributes',
  scopeSchemaUrl: 'otel.scope.schema_url',
  resourceTypes: 'otel.resource_types',
  resourceMore: 'otel.resource_more',
  resourceSchemaUrl: 'otel.resource_schema_url',
  resourceEntities: 'otel.resource_entity_refs',
  types: 'otel.types',
  more: 'otel.more',
  events: 'otel.events',
  links: 'otel.links',
  traceState: 'otel.trace_state',
  flags: 'otel.flags',
  droppedAttributes: 'otel.dropped_attributes_count',
  droppedEvents: 'otel.dropped_events_count',
  droppedLinks: 'otel.dropped_links_count',
  resourceDroppedAttributes: 'otel.resource_dropped_attributes_count',
  scopeDroppedAttributes: 'otel.scope.dropped_attributes_count',
  startNs: 'otel.start_ns',
  endNs: 'otel.end_ns',
} as const
const RESOURCE = 'otel.resource.'
/** With the event's index behind it. */
const EVENT_NS = 'otel.event_ns.'
const OUR_NAMES = new Set<string>(Object.values(OURS))

function isOurs(key: string): boolean {
  return key.startsWith('otel.') && (OUR_NAMES.has(key) || key.startsWith(RESOURCE) || key.startsWith(EVENT_NS))
}

/**
 * One of the three messages around spans.
 * @param inner the fields that hold the next message, under their names in all versions (Tempo says batches)
 * @param others the fields besides
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

/** @throws BadInput before the first span, when the bytes aren't a request */
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

/** For a request in which no span is found: by what it has instead. */
function nameOthers(message: Uint8Array, depth: number, reading: Reading): void {
  const { type, innerIds, ids } = LEVELS[depth]!
  for (const bytes of fieldBytes(message, type, ids, true))
    reading.passOver([`field ${bytes[0]! >> 3} of ${type.name}`])
  if (depth + 1 === LEVELS.length || reading.others.size > 0) return
  for (const bytes of fieldBytes(message, type, innerIds)) nameOthers(bytes, depth + 1, reading)
}

/**
 * @param json what JSON.parse made of the body: a request, a list of them, what one holds, or a trace as Tempo answers it
 * @param format whose spans these were before they were put into OTLP's words
 * @throws BadInput before the first span, when it isn't one
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

/** Without the list that it should stand in, as Java's OtlpJsonLoggingSpanExporter writes it. */
export function isResourceSpans(fields: Fields): boolean {
  return RESOURCE_SPANS.inner.some(name => Array.isArray(camelCased(fields)[name]))
}

/** What spans are in, or the spans. */
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

/** What `make` gives, made when it is first asked for. What is Unusable then makes all unusable that asks for it. */
function once<V extends object>(make: () => V): () => V {
  let made: V | Unusable | undefined
  return () => {
    made ??= attempt(make)
    if (made instanceof Unusable) throw made
    return made
  }
}

/** What all spans of a resource and scope have in common. */
interface Common {
  service: string | undefined
  host: string | undefined
  annotations: [string, string][]
  counters: [string, bigint][]
}

function readResource(raw: Fields, read: FieldReader): Common {
  const resource = message(raw.resource, 'resource', read)
  const common: Common = { service: undefined, host: undefined, annotations: [], counters: [] }
  const add = adder(common)
  const attributes = readKeyValues(resource.attributes, read)
  // The one attribute that has a field of its own. A second one, or one that is no string, stays with the others.
  const named = attributes.findIndex(([key]) => key === 'service.name')
  if (typeof attributes[named]?.[1] === 'string') common.service = attributes.splice(named, 1)[0]![1] as string
  const placed = new Map<string, string>()
  const { types, more } = place(attributes, placed, RESOURCE, () => false)
  const host = placed.get(`${RESOURCE}host.name`)
  if (host) common.host = host
  common.annotations.push(...placed)
  add(OURS.resourceTypes, types)
  add(OURS.resourceMore, more)
  add(OURS.resourceSchemaUrl, read.text(raw.schemaUrl, 'schema_url'))
  const entities = read.objects(resource.entityRefs, 'entity_refs').map(entity => readEntity(camelCased(entity), read))
  if (entities.length > 0) add(OURS.resourceEntities, JSON.stringify(entities))
  add(OURS.resourceDroppedAttributes, read.u32(resource.droppedAttributesCount, 'dropped_attributes_count'))
  return bounded(common, 'resource')
}

function readEntity({ schemaUrl, type, idKeys, descriptionKeys }: Fields, read: FieldReader) {
  const keys = (v: unknown) => read.list(v, 'entity_refs').map(key => read.text(key, 'entity_refs'))
  return prune({
    schemaUrl: read.text(schemaUrl, 'entity_refs'),
    type: read.text(type, 'entity_refs'),
    idKeys: keys(idKeys),
    descriptionKeys: keys(descriptionKeys),
  })
}

function readScope(raw: Fields, resource: Common, read: FieldReader): Common {
  const scope = message(raw.scope ?? raw.instrumentationLibrary, 'scope', read)
  const common = { ...resource, annotations: [...resource.annotations], counters: [...resource.counters] }
  const add = adder(common)
  add(OURS.scopeName, read.text(scope.name, 'scope_name'))
  add(OURS.scopeVersion, read.text(scope.version, 'scope_version'))
  const attributes = readKeyValues(scope.attributes, read)
  if (attributes.length > 0) add(OURS.scopeAttributes, JSON.stringify(attributesToPlain(attributes)))
  add(OURS.scopeSchemaUrl, read.text(raw.schemaUrl, 'schema_url'))
  add(OURS.scopeDroppedAttributes, read.u32(scope.droppedAttributesCount, 'dropped_attributes_count'))
  return bounded(common, 'scope')
}

/** A message within another one, by its fields' JSON names. */
function message(raw: unknown, field: string, read: FieldReader): Fields {
  return camelCased(read.object(raw, field) ?? {})
}

/** It is repeated with each span: what leaves them no room is refused before it is. */
function bounded(common: Common, what: string): Common {
  let length = 0
  for (const [key, value] of common.annotations) length += key.length + value.length
  if (length > MAX_SPAN_BYTES) throw new Unusable('too_large', `a ${what} is over ${MAX_SPAN_BYTES} bytes`)
  return common
}

/** Adds what isn't empty. */
function adder({ annotations, counters }: Common) {
  return (key: string, value: string | number) => {
    if (typeof value === 'number') {
      if (value !== 0) counters.push([key, BigInt(value)])
    } else if (value !== '') annotations.push([key, value])
  }
}

/**
 * Puts attributes into annotations, each under its own name.
 * @param taken tells further names that it can't have
 * @returns as JSON, or empty: what isn't a string, and what has found no place
 */
function place(
  attributes: [string, Value][],
  annotations: Map<string, string>,
  prefix: string,
  taken: (key: string, value: Value) => boolean,
): { types: string; more: string } {
  const types: [string, TextType][] = []
  const more: [string, Value][] = []
  for (const [key, value] of attributes) {
    const name = prefix + key
    if (annotations.has(name) || taken(key, value)) {
      more.push([key, value])
      continue
    }
    const { type, text } = toText(value)
    annotations.set(name, text)
    if (type !== 'string') types.push([key, type])
  }
  return {
    types: types.length === 0 ? '' : JSON.stringify(plainObject(types)),
    more: more.length === 0 ? '' : JSON.stringify(keyValuesToJson(more)),
  }
}

/** @param scope what the span's resource and scope say */
function readSpan(fields: Fields, scope: () => Common, read: FieldReader): SpanRecord {
  const raw = camelCased(fields)
  const traceId = requiredId(raw.traceId, 16, 'trace_id')
  const spanId = requiredId(raw.spanId, 8, 'span_id')
  const parentId = read.id(raw.parentSpanId, 8, 'parent_id') ?? 0n
  const common = scope()
  const kind = enumeration(raw.kind, 'kind', KINDS, read)
  const kindName = KINDS[kind] ?? String(kind)
  const status = isObject(raw.status) ? camelCased(raw.status) : { code: raw.status }
  const code = enumeration(status.code, 'status_code', STATUS, read)
  const description = read.text(status.message, 'status_message')

  const annotations = new Map<string, string>()
  // Whatever its value, an annotation `error` says that the span has failed.
  const { types, more } = place(
    readKeyValues(raw.attributes, read),
    annotations,
    '',
    (key, value) => (key === 'error' && (code === ERROR || value === false)) || isOurs(key),
  )
  const counters = new Map<string, bigint>()
  const add = (key: string, value: string) => value !== '' && annotations.set(key, value)
  const count = (key: string, n: number) => n !== 0 && counters.set(key, BigInt(n))
  annotations.set(OURS.kind, kindName)
  if (code !== 0) annotations.set(OURS.statusCode, STATUS[code] ?? String(code))
  if (code === ERROR) annotations.set('error', description || 'true')
  add(OURS.statusDescription, description)
  add(OURS.types, types)
  add(OURS.more, more)
  add(OURS.traceState, read.text(raw.traceState, 'trace_state'))
  count(OURS.flags, read.u32(raw.flags, 'flags'))
  count(OURS.droppedAttributes, read.u32(raw.droppedAttributesCount, 'dropped_attributes_count'))
  count(OURS.droppedEvents, read.u32(raw.droppedEventsCount, 'dropped_events_count'))
  count(OURS.droppedLinks, read.u32(raw.droppedLinksCount, 'dropped_links_count'))
  const links = read.objects(raw.links, 'link').map(link => readLink(camelCased(link), read))
  if (links.length > 0) annotations.set(OURS.links, JSON.stringify(links))

  const [first, last] = WINDOWS[kindName] ?? WINDOWS.local!
  const start = readTime(raw.startTimeUnixNano, 'start_time', read)
  const end = readTime(raw.endTimeUnixNano, 'end_time', read)
  count(OURS.startNs, start.ns)
  count(OURS.endNs, end.ns)
  const events: SpanEvent[] = [{ timestamp: start.timestamp, ...first }]
  // Its attributes by the event's number, as far as there are any.
  const details: [string, unknown][] = []
  for (const [i, entry] of read.objects(raw.events, 'event').entries()) {
    const event = camelCased(entry)
    const time = readTime(event.timeUnixNano, 'event_time', read)
    events.push({ timestamp: time.timestamp, eventType: EventType.CUSTOM, value: read.text(event.name, 'event_name') })
    count(EVENT_NS + i, time.ns)
    const detail = readDetail(event, read)
    if (Object.keys(detail).length > 0) details.push([String(i), detail])
  }
  if (details.length > 0) annotations.set(OURS.events, JSON.stringify(plainObject(details)))
  events.push({ timestamp: end.timestamp, ...last })

  const record: SpanRecord = { traceId: signed(traceId), name: read.text(raw.name, 'name'), id: signed(spanId) }
  record.parentId = signed(parentId)
  const peer = (...keys: string[]) => keys.map(key => annotations.get(key)).find(value => value)
  if (kindName === 'server') {
    record.clientHost = peer('client.address', 'network.peer.address', 'net.peer.ip', 'net.sock.peer.addr')
    record.serverHost = common.host ?? peer('server.address', 'net.host.name')
  } else {
    record.clientHost = common.host
    if (kindName === 'client') {
      record.serverHost = peer('server.address', 'net.peer.name', 'network.peer.address', 'net.peer.ip')
    }
  }
  for (const [key, value] of common.annotations) annotations.set(key, value)
  for (const [key, value] of common.counters) counters.set(key, value)
  record.events = events
  record.annotations = annotations
  if (counters.size > 0) record.counters = counters
  const high = signed(traceId >> 64n)
  if (high !== 0n) record.traceIdHigh = high
  record.service = common.service
  return record
}

function readTime(raw: unknown, field: string, read: FieldReader): { timestamp: bigint | undefined; ns: number } {
  const ns = read.time(raw, field, 1_000_000n)
  return ns === undefined ? { timestamp: undefined, ns: 0 } : { timestamp: ns / 1000n, ns: Number(ns % 1000n) }
}

/** OTLP's JSON has numbers; protobuf's own mapping has names, and senders have them with and without what all begin with. */
function enumeration(raw: unknown, field: string, names: string[], read: FieldReader): number {
  if (isEmpty(raw)) return 0
  const word = typeof raw === 'string' ? raw.toUpperCase() : ''
  const named = names.findIndex(name => word !== '' && /[^._]*$/.exec(word)![0] === name.toUpperCase())
  if (named !== -1) return named
  const n = anyInteger(raw)
  const isWhole = n !== undefined && (typeof raw !== 'number' || Number.isInteger(raw))
  return isWhole && n >= -(2n ** 31n) && n < 2n ** 31n ? Number(n) : read.leave(field, 'unknown', 0)
}

function readDetail(raw: Fields, read: FieldReader) {
  const attributes = readKeyValues(raw.attributes, read)
  return prune({
    attributes: attributes.length === 0 ? undefined : attributesToPlain(attributes),
    droppedAttributesCount: read.u32(raw.droppedAttributesCount, 'dropped_attributes_count'),
  })
}

function readLink(link: Fields, read: FieldReader) {
  const hex = (v: unknown, bytes: number, field: string) => {
    const n = read.id(v, bytes, field)
    return n === undefined ? '' : hexOf(n, bytes * 2)
  }
  return prune({
    traceId: hex(link.traceId, 16, 'link_trace_id'),
    spanId: hex(link.spanId, 8, 'link_span_id'),
    traceState: read.text(link.traceState, 'trace_state'),
    flags: read.u32(link.flags, 'flags'),
    ...readDetail(link, read),
  })
}

/** Without what is empty, as protobuf leaves it out. */
function prune<V extends Fields>(fields: V): Partial<V> {
  const full = Object.entries(fields).filter(
    ([, v]) => v !== undefined && v !== '' && v !== 0 && !(Array.isArray(v) && v.length === 0),
  )
  return Object.fromEntries(full) as Partial<V>
}

/** A request in OTLP's JSON; what a record says otherwise than OTLP would, becomes an attribute. */
export function toOtlpJson(records: SpanRecord[]): { resourceSpans: unknown[] } {
  const resources = new Map<string, { head: Fields; scopes: Map<string, { head: Fields; spans: unknown[] }> }>()
  for (const record of records) {
    if (record.traceId === undefined || record.id === undefined) continue
    const { resource, scope, span } = writeSpan(record)
    const resourceKey = JSON.stringify(resource)
    let ofResource = resources.get(resourceKey)
    if (ofResource === undefined) resources.set(resourceKey, (ofResource = { head: resource, scopes: new Map() }))
    const scopeKey = JSON.stringify(scope)
    const ofScope = ofResource.scopes.get(scopeKey)
    if (ofScope === undefined) ofResource.scopes.set(scopeKey, { head: scope, spans: [span] })
    else ofScope.spans.push(span)
  }
  return {
    resourceSpans: [...resources.values()].map(({ head, scopes }) => ({
      ...head,
      scopeSpans: [...scopes.values()].map(({ head, spans }) => ({ ...head, spans })),
    })),
  }
}

function writeSpan(record: SpanRecord): { resource: Fields; scope: Fields; span: Fields } {
  const annotations = record.annotations ?? new Map<string, string>()
  const counters = record.counters ?? new Map<string, bigint>()
  const kindName = annotations.get(OURS.kind)
  const isOtlp = kindName !== undefined
  const get = (key: string) => annotations.get(key) ?? ''
  const count = (key: string) => Number(counters.get(key) ?? 0n)
  const isError = annotations.has('error.type') || annotations.has('error')
  const code = isOtlp ? numberOf(get(OURS.statusCode), STATUS) : isError ? ERROR : 0

  const resourceAttributes: [string, Value][] = []
  const attributes: [string, Value][] = []
  if (record.service !== undefined) resourceAttributes.push(['service.name', record.service])
  const types = parse(get(OURS.types))
  const resourceTypes = parse(get(OURS.resourceTypes))
  for (const [key, value] of annotations) {
    if (isOtlp && key.startsWith(RESOURCE)) {
      const name = key.slice(RESOURCE.length)
      resourceAttributes.push([name, typed(value, resourceTypes, name)])
    } else if (!isOtlp || (!OUR_NAMES.has(key) && !(key === 'error' && code === ERROR))) {
      attributes.push([key, typed(value, types, key)])
    }
  }
  resourceAttributes.push(...parsedKeyValues(get(OURS.resourceMore)))
  attributes.push(...parsedKeyValues(get(OURS.more)))

  const window = isOtlp ? splitOtlp(record) : splitNative(record)
  if (!isOtlp) {
    const host = window.kind === 2 ? record.serverHost : record.clientHost
    if (host) resourceAttributes.push(['host.name', host])
    const peer = window.kind === 2 ? record.clientHost : record.serverHost
    if (peer) attributes.push([window.kind === 2 ? 'client.address' : 'server.address', peer])
    if (record.probability !== undefined) attributes.push(['milo.probability', record.probability])
    for (const [key, value] of counters) attributes.push([key, value])
  }
  const details = parse(get(OURS.events)) ?? {}
  const unix = (timestamp: bigint | undefined, ns: bigint | undefined) =>
    timestamp === undefined && ns === undefined
      ? ''
      : String(BigInt.asUintN(64, (timestamp ?? 0n) * 1000n + (ns ?? 0n)))
  return {
    resource: prune({
      resource: prune({
        attributes: keyValuesToJson(resourceAttributes),
        droppedAttributesCount: count(OURS.resourceDroppedAttributes),
        entityRefs: parse(get(OURS.resourceEntities)),
      }),
      schemaUrl: get(OURS.resourceSchemaUrl),
    }),
    scope: prune({
      scope: prune({
        name: get(OURS.scopeName),
        version: get(OURS.scopeVersion),
        attributes: plainKeyValues(parse(get(OURS.scopeAttributes))),
        droppedAttributesCount: count(OURS.scopeDroppedAttributes),
      }),
      schemaUrl: get(OURS.scopeSchemaUrl),
    }),
    span: prune({
      traceId: hexOf(record.traceIdHigh ?? 0n, 16) + hexOf(record.traceId!, 16),
      spanId: hexOf(record.id!, 16),
      parentSpanId: record.parentId ? hexOf(record.parentId, 16) : '',
      traceState: get(OURS.traceState),
      flags: count(OURS.flags),
      name: record.name,
      kind: isOtlp ? numberOf(kindName, KINDS) : window.kind,
      startTimeUnixNano: unix(window.start, counters.get(OURS.startNs)),
      endTimeUnixNano: unix(window.end, counters.get(OURS.endNs)),
      attributes: keyValuesToJson(attributes),
      droppedAttributesCount: count(OURS.droppedAttributes),
      events: window.events.map(({ timestamp, eventType, value }, i) => {
        const detail = object0(details[String(i)])
        return prune({
          timeUnixNano: unix(timestamp, counters.get(EVENT_NS + i)),
          name: value ?? (eventType === EventType.CUSTOM ? '' : `event ${eventType}`),
          attributes: plainKeyValues(detail.attributes),
          droppedAttributesCount: detail.droppedAttributesCount,
        })
      }),
      droppedEventsCount: count(OURS.droppedEvents),
      links: writeLinks(parse(get(OURS.links))),
      droppedLinksCount: count(OURS.droppedLinks),
      status:
        code === 0 && !annotations.has(OURS.statusDescription)
          ? undefined
          : prune({ message: get(OURS.statusDescription) || (isOtlp ? '' : get('error')), code }),
    }),
  }
}

interface Window {
  kind: number
  start: bigint | undefined
  end: bigint | undefined
  events: SpanEvent[]
}

/** As readSpan put it: the span's own two events are the first and the last. */
function splitOtlp({ events = [] }: SpanRecord): Window {
  return { kind: 0, start: events[0]?.timestamp, end: events.at(-1)?.timestamp, events: events.slice(1, -1) }
}

/** A half goes from the earliest of its side's events to the latest, whatever their labels, as in trace/merge.ts. */
function splitNative({ events = [] }: SpanRecord): Window {
  const { CLIENT_SEND, CLIENT_RECV, SERVER_SEND, SERVER_RECV } = EventType
  const first = events.find(e => e.eventType! >= CLIENT_SEND && e.eventType! <= SERVER_RECV)?.eventType
  const isClient = first === CLIENT_SEND || first === CLIENT_RECV
  const begin = events.find(e => e.eventType === EventType.CUSTOM && e.value === 'milo.start')
  const end = events.findLast(e => e.eventType === EventType.CUSTOM && e.value === 'milo.end')
  const isOwn = (event: SpanEvent) =>
    first === undefined
      ? event === begin || event === end
      : isClient
        ? event.eventType === CLIENT_SEND || event.eventType === CLIENT_RECV
        : event.eventType === SERVER_SEND || event.eventType === SERVER_RECV
  const times = events.flatMap(e => ((first === undefined || isOwn(e)) && e.timestamp !== undefined ? e.timestamp : []))
  times.sort((a, b) => (a < b ? -1 : 1))
  return {
    kind: first === undefined ? 1 : isClient ? 3 : 2,
    start: times[0],
    end: times.at(-1),
    events: events.filter(e => !isOwn(e)),
  }
}

function writeLinks(links: unknown): unknown[] {
  if (!Array.isArray(links)) return []
  return links.map(link => {
    const fields = object0(link)
    return prune({ ...fields, attributes: plainKeyValues(fields.attributes) })
  })
}

/** What reading wrote can be read; records come from elsewhere, too, and may say anything under our names. */
function parse(json: string): any {
  if (json === '') return undefined
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

function object0(v: unknown): Fields {
  return typeof v === 'object' && v !== null ? (v as Fields) : {}
}

function typed(value: string, types: unknown, key: string): Value {
  const type = Object.hasOwn(object0(types), key) ? object0(types)[key] : undefined
  try {
    return fromText(value, type)
  } catch {
    return value
  }
}

function parsedKeyValues(json: string): [string, Value][] {
  try {
    return readKeyValues(parse(json), new FieldReader('otlp', new Reading()))
  } catch {
    return []
  }
}

function plainKeyValues(plain: unknown): unknown {
  try {
    return plain === undefined ? undefined : keyValuesToJson(attributesFromPlain(plain))
  } catch {
    return undefined
  }
}

function numberOf(name: string, names: string[]): number {
  const n = names.indexOf(name)
  return n === -1 ? Number(name) || 0 : n
}
