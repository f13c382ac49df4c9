import { EventType, type SpanEvent, type SpanRecord } from '../../../src/codec/span'
import {
  attempt,
  BadInput,
  double,
  EntryCount,
  i32,
  i64,
  list,
  object,
  plainObject,
  type Spans,
  text,
  Unusable,
} from './fields'

/**
 * Records as `GET /api/traces/{id}?form=records` answers them, in the words of the IDL: 64-bit numbers as decimal strings,
 * event types by name, absent fields absent.
 */

const EVENT_NAMES = new Map<number, string>(Object.entries(EventType).map(([name, value]) => [value, name]))

export function recordToJson(r: SpanRecord) {
  return {
    trace_id: r.traceId?.toString(),
    name: r.name,
    id: r.id?.toString(),
    parent_id: r.parentId?.toString(),
    client_host: r.clientHost,
    server_host: r.serverHost,
    events: r.events?.map(event => ({
      timestamp: event.timestamp?.toString(),
      event_type: event.eventType === undefined ? undefined : (EVENT_NAMES.get(event.eventType) ?? event.eventType),
      value: event.value,
    })),
    annotations: r.annotations && plainObject(r.annotations),
    counters: r.counters && plainObject([...r.counters].map(([key, value]) => [key, value.toString()] as const)),
    trace_id_high: r.traceIdHigh?.toString(),
    service: r.service,
    // JSON has no NaN and no infinities; the wire does.
    probability: Number.isFinite(r.probability) ? r.probability : r.probability?.toString(),
  }
}

/**
 * @param json what JSON.parse made of the body
 * @throws BadInput before the first record, when it isn't such an answer
 */
export function* readMiloJson(json: unknown): Spans {
  const { records } = (json ?? {}) as { records?: unknown }
  if (!Array.isArray(records)) throw new BadInput('not records of Milo: there should be a list "records"')
  new EntryCount().add(records.length)
  for (const record of records) yield () => attempt(() => readRecord(object(record, 'a record') ?? {}))
}

function readRecord(raw: Record<string, unknown>): SpanRecord {
  const given = <V>(field: string, read: (v: unknown, what: string) => V): V | undefined =>
    raw[field] === undefined || raw[field] === null ? undefined : read(raw[field], field)
  const record: SpanRecord = {
    traceId: given('trace_id', i64),
    name: given('name', text),
    id: given('id', i64),
    parentId: given('parent_id', i64),
    clientHost: given('client_host', text),
    serverHost: given('server_host', text),
    events: given('events', readEvents),
    annotations: given('annotations', (v, what) => readMap(v, what, text)),
    counters: given('counters', (v, what) => readMap(v, what, i64)),
    traceIdHigh: given('trace_id_high', i64),
    service: given('service', text),
    probability: given('probability', double),
  }
  if (record.traceId === undefined) throw new Unusable('no_trace_id', 'trace_id is absent')
  if (record.id === undefined) throw new Unusable('no_span_id', 'id is absent')
  return record
}

function readEvents(v: unknown, what: string): SpanEvent[] {
  return list(v, what).map(entry => {
    const { timestamp, event_type, value } = object(entry, 'an event') ?? {}
    const event: SpanEvent = {}
    if (timestamp !== undefined) event.timestamp = i64(timestamp, 'timestamp')
    if (typeof event_type === 'string' && Object.hasOwn(EventType, event_type)) {
      event.eventType = EventType[event_type as keyof typeof EventType]
    } else if (event_type !== undefined) event.eventType = i32(event_type, 'event_type')
    if (value !== undefined) event.value = text(value, "an event's value")
    return event
  })
}

function readMap<V>(v: unknown, what: string, read: (v: unknown, what: string) => V): Map<string, V> {
  return new Map(Object.entries(object(v, what) ?? {}).map(([key, value]) => [key, read(value, `${what}' ${key}`)]))
}
