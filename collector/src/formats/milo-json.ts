import { EventType, type SpanEvent, type SpanRecord } from 'milo/codec/span'
import { attempt, BadInput, FieldReader, type Fields, plainObject, Reading, type Spans, Unusable } from './fields'

/**
 * The JSON of records, which `GET /api/traces/{id}?form=records` answers. Field names are the IDL's, 64-bit numbers are decimal
 * strings, event types are names, and absent fields are left out.
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
    // JSON has neither NaN nor infinities, but the wire has.
    probability: Number.isFinite(r.probability) ? r.probability : r.probability?.toString(),
  }
}

/**
 * Reads the records of such an answer.
 * @param json the parsed body
 * @throws BadInput before the first record, if the body isn't such an answer
 */
export function* readMiloJson(json: unknown, reading = new Reading()): Spans {
  const { records } = (json ?? {}) as { records?: unknown }
  if (!Array.isArray(records)) throw new BadInput('not Milo\'s records: there should be a list "records"')
  reading.addEntries(records.length)
  const read = new FieldReader('milo', reading)
  for (const record of records) yield () => attempt(() => readRecord(read.object(record, 'record') ?? {}, read))
}

function readRecord(raw: Fields, read: FieldReader): SpanRecord {
  const optional = <V>(field: string, value: (v: unknown, field: string) => V): V | undefined =>
    raw[field] === undefined || raw[field] === null ? undefined : value(raw[field], field)
  const text = (v: unknown, field: string) => read.text(v, field)
  const i64 = (v: unknown, field: string) => read.i64(v, field)
  const record: SpanRecord = {
    traceId: optional('trace_id', i64),
    name: optional('name', text),
    id: optional('id', i64),
    parentId: optional('parent_id', i64),
    clientHost: optional('client_host', text),
    serverHost: optional('server_host', text),
    events: optional('events', v => read.objects(v, 'event').map(event => readEvent(event, read))),
    annotations: optional('annotations', v => readMap(v, 'annotation', read, v => text(v, 'annotation'))),
    counters: optional('counters', v => readMap(v, 'counter', read, v => i64(v, 'counter'))),
    traceIdHigh: optional('trace_id_high', i64),
    service: optional('service', text),
    probability: optional('probability', (v, field) => read.double(v, field)),
  }
  if (record.traceId === undefined) throw new Unusable('no_trace_id', 'trace_id is absent, or not a 64-bit integer')
  if (record.id === undefined) throw new Unusable('no_span_id', 'id is absent, or not a 64-bit integer')
  return record
}

function readEvent({ timestamp, event_type, value }: Fields, read: FieldReader): SpanEvent {
  const event: SpanEvent = {}
  const time = read.i64(timestamp, 'timestamp')
  if (time !== undefined) event.timestamp = time
  const type =
    typeof event_type === 'string' && Object.hasOwn(EventType, event_type)
      ? EventType[event_type as keyof typeof EventType]
      : read.integer(event_type, 'event_type', -(2n ** 31n), 2n ** 31n - 1n)
  if (type !== undefined) event.eventType = Number(type)
  if (value !== undefined) event.value = read.text(value, 'event_value')
  return event
}

/** Reads a map without the entries whose value can't be read. */
function readMap<V>(
  v: unknown,
  field: string,
  read: FieldReader,
  value: (v: unknown) => V | undefined,
): Map<string, V> {
  const map = new Map<string, V>()
  for (const [key, raw] of Object.entries(read.object(v, field) ?? {})) {
    const one = value(raw)
    if (one !== undefined) map.set(key, one)
  }
  return map
}
