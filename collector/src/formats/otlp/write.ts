import { EventType, ownEvents, recordSide, type Side } from 'milo/codec/events'
import type { SpanEvent, SpanRecord } from 'milo/codec/span'
import { isError } from '../../record/half'
import { FieldReader, type Fields, hexOf, Reading } from '../fields'
import { PROBABILITY_KEY } from '../probability'
import { attributesFromPlain, fromText, keyValuesToJson, readKeyValues, type Value } from './any-value'
import { prune } from './json'
import { ERROR, EVENT_NS, KINDS, OUR_NAMES, OURS, RESOURCE, STATUS } from './names'

/** Returns a request in OTLP's JSON. What OTLP has no field for becomes an attribute. */
export function toOtlpJson(records: SpanRecord[]): { resourceSpans: unknown[] } {
  const resources = new Map<string, { head: Fields; scopes: Map<string, { head: Fields; spans: unknown[] }> }>()
  for (const record of records) {
    if (record.traceId === undefined || record.id === undefined) continue
    const { resource, scope, span } = toOtlpSpan(record)
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

/** Returns a record's span with its resource and scope, in OTLP's JSON. The record has its ids. */
export function toOtlpSpan(record: SpanRecord): { resource: Fields; scope: Fields; span: Fields } {
  const annotations = record.annotations ?? new Map<string, string>()
  const counters = record.counters ?? new Map<string, bigint>()
  const kindName = annotations.get(OURS.kind)
  const isOtlp = kindName !== undefined
  const get = (key: string) => annotations.get(key) ?? ''
  const count = (key: string) => Number(counters.get(key) ?? 0n)
  const code = isOtlp ? numberOf(get(OURS.statusCode), STATUS) : isError(record) ? ERROR : 0

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
    if (record.probability !== undefined && !annotations.has(PROBABILITY_KEY)) {
      attributes.push([PROBABILITY_KEY, record.probability])
    }
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

/** Splits a record that readSpan made: the span's own two events are the first and the last. */
function splitOtlp({ events = [] }: SpanRecord): Window {
  return { kind: 0, start: events[0]?.timestamp, end: events.at(-1)?.timestamp, events: events.slice(1, -1) }
}

/** Splits any other record. As in trace/merge.ts, a half goes from its side's first event to its last, whatever their labels. */
function splitNative({ events = [] }: SpanRecord): Window {
  const side = recordSide(events)
  const isOwn = ownEvents(events)
  const times = events.flatMap(e => ((side === 'local' || isOwn(e)) && e.timestamp !== undefined ? e.timestamp : []))
  times.sort((a, b) => (a < b ? -1 : 1))
  return { kind: KIND_OF[side], start: times[0], end: times.at(-1), events: events.filter(e => !isOwn(e)) }
}

/** OpenTelemetry's numbers for internal, server and client. */
const KIND_OF: Record<Side, number> = { local: 1, server: 2, client: 3 }

function writeLinks(links: unknown): unknown[] {
  if (!Array.isArray(links)) return []
  return links.map(link => {
    const fields = object0(link)
    return prune({ ...fields, attributes: plainKeyValues(fields.attributes) })
  })
}

/** Parses JSON, or returns undefined: a record that readSpan didn't make may hold any string under our names. */
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
