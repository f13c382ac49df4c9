import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildTrace } from '../../../collector/src/trace'
import { Reader } from '../../../src/codec/binary'
import { readLogArgs } from '../../../src/codec/scribe'
import { readSpanStruct, type SpanRecord } from '../../../src/codec/span'
import { recordsIn } from '../../helpers/records'

interface Vector {
  name: string
  framed: boolean
  hex: string
  decoded: { name: string; body?: { messages?: unknown } }
}
interface CollectorVector {
  name: string
  cassandra: Array<{ row_key: string; column_name: string; column_value_hex: string }>
}

const read = (name: string) => JSON.parse(readFileSync(join(__dirname, '../../vectors', `${name}.json`), 'utf8'))
const scribeLog: Vector[] = read('scribe-log')
const collectorRows: CollectorVector[] = read('original-collector-rows')

function recordsOf(name: string): SpanRecord[] {
  const vector = scribeLog.find(v => v.name === name)!
  const reader = new Reader(Buffer.from(vector.hex, 'hex'), vector.framed ? 4 : 0)
  reader.messageBegin()
  return readLogArgs(reader).flatMap(({ message }) => recordsIn(message))
}

describe('traces of what the original sent', () => {
  it('merges the halves of its Python client and server, though the client swapped send and receive', () => {
    const { traceId, services, spans, start, duration } = buildTrace(recordsOf('py_emitter_two_log_entries'))
    assert.equal(traceId, '112210f47de98115')
    assert.deepEqual([start, duration, services], [1286000000000500, 500, []])
    const [span, ...others] = spans
    assert.deepEqual(others, [])
    assert.equal(span!.spanId, '6bf037ae325f1c71')
    assert.equal(span!.parentId, '4000000000000001')
    assert.equal(span!.name, 'Helloworld.ping')
    assert.deepEqual([span!.clientHost, span!.serverHost], ['10.0.0.1', '10.0.0.2'])
    assert.deepEqual([span!.clientStart, span!.clientDuration], [1286000000000500, 500])
    assert.deepEqual([span!.serverStart, span!.serverDuration], [1286000000000600, 300])
    assert.deepEqual(span!.annotations, { user: 'Zoë' })
    assert.deepEqual(span!.counters, { big: '9007199254740993' })
    assert.deepEqual(span!.events, [{ time: 1286000000000700, value: 'cache miss é☃', side: 'server' }])
    assert.equal(span!.orphan, true)
  })

  it('puts the call below its root span, which has annotations and no events', () => {
    const records = recordsOf('py_emitter_four_spans_one_message').filter(r => r.traceId === 1234567890123456789n)
    const { spans } = buildTrace(records)
    assert.deepEqual(
      spans.map(s => [s.name, s.depth, s.kind, s.orphan]),
      [
        ['MiloClientExample', 0, 'local', false],
        ['Helloworld.ping', 1, 'rpc', false],
      ],
    )
    assert.deepEqual(spans[0]!.annotations, { synapse: 'take over the world' })
    assert.equal(spans[0]!.start, null)
  })

  it('keeps negative ids and counters exact', () => {
    const { traceId, spans } = buildTrace(recordsOf('py_emitter_negative_ids_negative_counter'))
    assert.equal(traceId, 'ffffffffffffffff')
    assert.deepEqual([spans[0]!.spanId, spans[0]!.parentId], ['8000000000000000', 'ffffffffffffffd6'])
    assert.deepEqual(spans[0]!.counters, { neg: '-5' })
  })

  it('shows a span whose id is 0, and leaves out a record without an id', () => {
    const records = recordsOf('py_emitter_empty_strings_and_empty_collections_plus_empty_event')
    assert.equal(records.length, 2)
    assert.deepEqual(
      buildTrace(records).spans.map(s => [s.spanId, s.kind, s.start]),
      [['0000000000000000', 'local', null]],
    )
  })

  for (const { name, cassandra } of collectorRows.filter(v => v.cassandra.length > 0)) {
    it(`agrees with the original's collector about ${name}`, () => {
      for (const { column_name, column_value_hex } of cassandra) {
        const record = readSpanStruct(new Reader(Buffer.from(column_value_hex, 'hex')))
        // Columns of records without an id are the original's invention: it wrote 0 for what was absent.
        if (record.id === undefined) continue
        const [, id, parent, side] = /^(-?\d+)-(-?\d+)-(client|server|unknown)$/.exec(column_name)!
        const { spans } = buildTrace([record])
        assert.equal(spans.length, 1)
        assert.equal(BigInt.asIntN(64, BigInt(`0x${spans[0]!.spanId}`)), BigInt(id!))
        assert.equal(BigInt.asIntN(64, BigInt(`0x${spans[0]!.parentId}`)), BigInt(parent!))
        const expected = name === 'span_type_client_and_server_events' ? 'rpc' : side === 'unknown' ? 'local' : side
        assert.equal(spans[0]!.kind, expected)
      }
    })
  }
})
