import fc from 'fast-check'

const hex = (bytes: number) =>
  fc
    .uint8Array({ minLength: bytes, maxLength: bytes })
    .filter(b => b.slice(0, 8).some(byte => byte !== 0) && b.slice(-8).some(byte => byte !== 0))
    .map(b => Buffer.from(b).toString('hex'))
const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 10 })
const timestamp = fc.integer({ min: 1_700_000_000_000_000, max: 1_700_000_001_000_000 })
const endpoint = fc
  .record(
    {
      serviceName: fc.oneof(text, fc.constantFrom('front', '10.0.0.1')),
      ipv4: fc.ipV4(),
      ipv6: fc.constantFrom('::1', '2001:db8::c001', 'fe80::1:2'),
      port: fc.integer({ min: 1, max: 65535 }),
    },
    { requiredKeys: [] },
  )
  .filter(e => Object.keys(e).length > 0)
/** A span of Zipkin's JSON, version 2. */
export const zipkinSpan: fc.Arbitrary<Record<string, any>> = fc.record(
  {
    traceId: fc.oneof(hex(8), hex(16)),
    id: hex(8),
    parentId: hex(8),
    kind: fc.constantFrom('CLIENT', 'SERVER', 'PRODUCER', 'CONSUMER'),
    name: text,
    timestamp,
    duration: fc.integer({ min: 1, max: 10_000_000 }),
    localEndpoint: endpoint,
    remoteEndpoint: endpoint,
    annotations: fc.array(
      fc.record({ timestamp, value: fc.oneof(text, fc.constantFrom('milo.start', 'milo.end', 'ws')) }),
      { minLength: 1, maxLength: 3 },
    ),
    tags: fc.dictionary(
      fc.oneof(text, fc.constantFrom('http.path', 'error', 'zipkin.kind', 'zipkin.tags', '__proto__', '7')),
      fc.string({ unit: 'grapheme' }),
      { minKeys: 1, maxKeys: 4 },
    ),
    debug: fc.constant(true),
    shared: fc.constant(true),
  },
  { requiredKeys: ['traceId', 'id'] },
)
