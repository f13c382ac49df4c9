import { EventType, WINDOWS } from 'milo/codec/events'
import type { SpanEvent, SpanRecord } from 'milo/codec/span'
import {
  anyInteger,
  type FieldReader,
  type Fields,
  hexOf,
  isEmpty,
  isObject,
  MAX_SPAN_BYTES,
  plainObject,
  requiredId,
  signed,
  Unusable,
} from '../fields'
import { probabilityOf } from '../probability'
import { attributesToPlain, keyValuesToJson, readKeyValues, type TextType, toText, type Value } from './any-value'
import { camelCased, prune } from './json'
import { ERROR, EVENT_NS, isOurs, KINDS, OURS, RESOURCE, STATUS } from './names'

/** The data that all spans of a resource and scope share. */
interface Common {
  service: string | undefined
  host: string | undefined
  annotations: [string, string][]
  counters: [string, bigint][]
}

export function readResource(raw: Fields, read: FieldReader): Common {
  const resource = message(raw.resource, 'resource', read)
  const common: Common = { service: undefined, host: undefined, annotations: [], counters: [] }
  const add = adder(common)
  const attributes = readKeyValues(resource.attributes, read)
  // A record has a field for the service. A second service.name, or one that isn't a string, stays among the annotations.
  const named = attributes.findIndex(([key]) => key === 'service.name')
  if (typeof attributes[named]?.[1] === 'string') common.service = attributes.splice(named, 1)[0]![1] as string
  const resourceAnnotations = new Map<string, string>()
  const { types, more } = annotate(attributes, resourceAnnotations, RESOURCE, () => false)
  const host = resourceAnnotations.get(`${RESOURCE}host.name`)
  if (host) common.host = host
  common.annotations.push(...resourceAnnotations)
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

export function readScope(raw: Fields, resource: Common, read: FieldReader): Common {
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

/** Returns the fields of a nested message, under their JSON names. */
function message(raw: unknown, field: string, read: FieldReader): Fields {
  return camelCased(read.object(raw, field) ?? {})
}

/**
 * Returns `common` unchanged. Each span repeats it, so it must leave room for the span's own data.
 * @throws Unusable if it is larger than a span may be
 */
function bounded(common: Common, what: string): Common {
  let length = 0
  for (const [key, value] of common.annotations) length += key.length + value.length
  if (length > MAX_SPAN_BYTES) throw new Unusable('too_large', `a ${what} is over ${MAX_SPAN_BYTES} bytes`)
  return common
}

/** Returns a function that adds a value as an annotation or counter, unless it is empty or 0. */
function adder({ annotations, counters }: Common) {
  return (key: string, value: string | number) => {
    if (typeof value === 'number') {
      if (value !== 0) counters.push([key, BigInt(value)])
    } else if (value !== '') annotations.push([key, value])
  }
}

/**
 * Puts attributes into annotations, each under its own name.
 * @param taken tells whether an attribute's name is reserved
 * @returns two JSON strings, which may be empty: `types` of the values that aren't strings, and `more`, the attributes whose
 *   names were taken
 */
function annotate(
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

/**
 * Converts a span into a record.
 * @param scope returns the data that all spans of the resource and scope share
 * @throws Unusable if the span has no usable ids, or its resource or scope is unusable
 */
export function readSpan(fields: Fields, scope: () => Common, read: FieldReader): SpanRecord {
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
  // An annotation `error` means that the span has failed, whatever its value. So an attribute that is false must not become one.
  const { types, more } = annotate(
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
  const traceState = read.text(raw.traceState, 'trace_state')
  add(OURS.traceState, traceState)
  count(OURS.flags, read.u32(raw.flags, 'flags'))
  count(OURS.droppedAttributes, read.u32(raw.droppedAttributesCount, 'dropped_attributes_count'))
  count(OURS.droppedEvents, read.u32(raw.droppedEventsCount, 'dropped_events_count'))
  count(OURS.droppedLinks, read.u32(raw.droppedLinksCount, 'dropped_links_count'))
  const links = read.objects(raw.links, 'link').map(link => readLink(camelCased(link), read))
  if (links.length > 0) annotations.set(OURS.links, JSON.stringify(links))

  const [first, last] = WINDOWS[kindName === 'client' || kindName === 'server' ? kindName : 'local']
  const start = readTime(raw.startTimeUnixNano, 'start_time', read)
  const end = readTime(raw.endTimeUnixNano, 'end_time', read)
  count(OURS.startNs, start.ns)
  count(OURS.endNs, end.ns)
  const events: SpanEvent[] = [{ timestamp: start.timestamp, ...first }]
  // Attributes of events, by the event's number, for the events that have any.
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
  const probability = probabilityOf(annotations, traceState)
  if (probability !== undefined) record.probability = probability
  record.service = common.service
  return record
}

function readTime(raw: unknown, field: string, read: FieldReader): { timestamp: bigint | undefined; ns: number } {
  const ns = read.time(raw, field, 1_000_000n)
  return ns === undefined ? { timestamp: undefined, ns: 0 } : { timestamp: ns / 1000n, ns: Number(ns % 1000n) }
}

/** Reads a number (OTLP's JSON) or a name (protobuf's own mapping). Senders write names with and without their common prefix. */
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
