import fc from 'fast-check'
import type { Type } from 'protobufjs'

/** OTLP requests in their JSON, canonical: nothing that is empty is there, 64-bit numbers are strings, ids lower-case hex. */

export type Json = Record<string, any>

const key = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom('http.method', 'k', 'server.address', 'error', 'host.name', '7', '__proto__'),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom('otel.kind', 'otel.resource.x', 'otel.more', 'otel.event_ns.0', 'constructor'),
  },
  { weight: 4, arbitrary: fc.string({ unit: 'grapheme', maxLength: 8 }) },
)
const text = fc.string({ unit: 'grapheme', maxLength: 12 })
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String)
const smallInt = fc.integer({ min: -5, max: 500 }).map(String)
const double = fc
  .oneof(fc.double(), fc.integer())
  .map(n => (Number.isFinite(n) && !Object.is(n, -0) ? n : Object.is(n, -0) ? '-0' : String(n)))

const { value } = fc.letrec<{ value: Json }>(tie => ({
  value: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    text.map(stringValue => ({ stringValue })),
    fc.boolean().map(boolValue => ({ boolValue })),
    fc.oneof(int64, smallInt).map(intValue => ({ intValue })),
    double.map(doubleValue => ({ doubleValue })),
    fc.uint8Array({ maxLength: 6 }).map(b => ({ bytesValue: Buffer.from(b).toString('base64') })),
    fc.constant({}),
    fc.array(tie('value'), { maxLength: 3 }).map(values => ({ arrayValue: { values } })),
    fc.array(fc.record({ key, value: tie('value') }), { maxLength: 3 }).map(values => ({ kvlistValue: { values } })),
  ),
}))

const attributes = (maxLength: number) => fc.array(fc.record({ key, value }), { maxLength })
const hex = (bytes: number) =>
  fc
    .uint8Array({ minLength: bytes, maxLength: bytes })
    .filter(b => b.some(byte => byte !== 0))
    .map(b => Buffer.from(b).toString('hex'))
const u32 = fc.oneof(fc.constant(0), fc.nat(300), fc.integer({ min: 0, max: 2 ** 32 - 1 }))
const unix = fc
  .oneof(
    { weight: 1, arbitrary: fc.constant(0n) },
    { weight: 8, arbitrary: fc.bigInt({ min: 1_700_000_000_000_000_000n, max: 1_700_000_001_000_000_000n }) },
    { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) },
  )
  .map(String)

const event = fc.record({
  timeUnixNano: unix,
  name: fc.oneof(text, fc.constantFrom('milo.start', 'milo.end', 'exception')),
  attributes: attributes(2),
  droppedAttributesCount: u32,
})
const link = fc.record({
  traceId: hex(16),
  spanId: hex(8),
  traceState: text,
  attributes: attributes(2),
  droppedAttributesCount: u32,
  flags: u32,
})
const span = fc.record({
  traceId: hex(16),
  spanId: hex(8),
  traceState: text,
  parentSpanId: fc.oneof(fc.constant(''), hex(8)),
  flags: u32,
  name: text,
  kind: fc.integer({ min: 0, max: 6 }),
  startTimeUnixNano: unix,
  endTimeUnixNano: unix,
  attributes: attributes(5),
  droppedAttributesCount: u32,
  events: fc.array(event, { maxLength: 3 }),
  droppedEventsCount: u32,
  links: fc.array(link, { maxLength: 2 }),
  droppedLinksCount: u32,
  status: fc.record({ message: text, code: fc.integer({ min: 0, max: 3 }) }),
})
const scopeSpans = fc.record({
  scope: fc.record({ name: text, version: text, attributes: attributes(2), droppedAttributesCount: u32 }),
  spans: fc.array(span, { maxLength: 3 }),
  schemaUrl: text,
})
const resourceSpans = fc.record({
  resource: fc.record({
    attributes: fc
      .tuple(fc.option(text), attributes(3))
      .map(([service, others]) => [
        ...(service === null ? [] : [{ key: 'service.name', value: { stringValue: service } }]),
        ...others,
      ]),
    droppedAttributesCount: u32,
    entityRefs: fc.array(
      fc.record({
        schemaUrl: text,
        type: text,
        idKeys: fc.array(text, { maxLength: 2 }),
        descriptionKeys: fc.constant([]),
      }),
      { maxLength: 1 },
    ),
  }),
  scopeSpans: fc.array(scopeSpans, { maxLength: 2 }),
  schemaUrl: text,
})

export const otlpRequest: fc.Arbitrary<Json> = fc
  .record({ resourceSpans: fc.array(resourceSpans, { maxLength: 2 }) })
  .map(prune)

/** Without what protobuf leaves out. A value keeps its form: an empty string, or false, isn't the same as nothing. */
export function prune(json: any): any {
  if (Array.isArray(json)) return json.map(prune)
  if (typeof json !== 'object' || json === null) return json
  const out: Json = {}
  for (const [name, v] of Object.entries(json)) {
    if (name === 'value' || name === 'key') out[name] = v
    else if (v !== '' && v !== 0 && v !== '0' && !(Array.isArray(v) && v.length === 0)) out[name] = prune(v)
  }
  return out
}

/** Every span with what its resource and its scope say, in an order that doesn't depend on how they were grouped. */
export function flatten(request: Json): Json[] {
  const byKey = (list: Json[] = []) => [...list].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
  const holder = ({ attributes, ...rest }: Json = {}) => ({ ...rest, attributes: byKey(attributes) })
  const flat: Json[] = []
  // fast-check's objects have no prototype.
  const { resourceSpans = [] }: Json = JSON.parse(JSON.stringify(request))
  for (const { resource, scopeSpans = [], schemaUrl: ofResource } of resourceSpans) {
    for (const { scope, spans = [], schemaUrl: ofScope } of scopeSpans) {
      for (const span of spans) {
        const { attributes, events = [], links = [], status = {}, ...rest } = span
        flat.push({
          resource: holder(resource),
          scope: holder(scope),
          ofResource,
          ofScope,
          ...rest,
          attributes: byKey(attributes),
          events: events.map(holder),
          links: links.map(holder),
          status,
        })
      }
    }
  }
  return byKey(flat)
}

/** The same request in protobuf, by the library alone. */
export function toProtobuf(request: Json, type: Type): Buffer {
  const bytes = (v: any, name = ''): any => {
    if (Array.isArray(v)) return v.map(entry => bytes(entry))
    if (typeof v === 'string' && /^(traceId|spanId|parentSpanId)$/.test(name)) return Buffer.from(v, 'hex')
    if (typeof v === 'string' && name === 'bytesValue') return Buffer.from(v, 'base64')
    if (typeof v === 'string' && name === 'doubleValue') return Number(v)
    if (typeof v !== 'object' || v === null) return v
    return Object.fromEntries(Object.entries(v).map(([key, inner]) => [key, bytes(inner, key)]))
  }
  return Buffer.from(type.encode(type.fromObject(bytes(request))).finish())
}
