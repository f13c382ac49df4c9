import fc from 'fast-check'
import type { SpanEvent, SpanRecord } from '../../../src/codec/span'

// Few distinct ids, so that halves meet, parents exist, and circles come about; and some from the edges of i64.
const id = fc.oneof(
  { weight: 9, arbitrary: fc.bigInt(0n, 12n) },
  { weight: 1, arbitrary: fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n) },
)
const i64 = fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n)
const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('milo.start', 'milo.end', '__proto__', 'error'))
const event: fc.Arbitrary<SpanEvent> = fc.record(
  {
    timestamp: fc.oneof(fc.bigInt(0n, 1000n), i64),
    eventType: fc.integer({ min: 0, max: 7 }),
    value: text,
  },
  { requiredKeys: [] },
)
export const record: fc.Arbitrary<SpanRecord> = fc.record(
  {
    traceId: i64,
    name: text,
    id,
    parentId: id,
    clientHost: text,
    serverHost: text,
    events: fc.array(event, { maxLength: 6 }),
    annotations: fc.array(fc.tuple(text, text), { maxLength: 4 }).map(entries => new Map(entries)),
    counters: fc.array(fc.tuple(text, i64), { maxLength: 4 }).map(entries => new Map(entries)),
    traceIdHigh: i64,
    service: text,
    probability: fc.double(),
  },
  { requiredKeys: ['id'] },
)
/** Records of one trace, as no sender would write them. */
export const records = fc.array(record, { maxLength: 40 })
