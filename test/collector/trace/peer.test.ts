import assert from 'node:assert/strict'
import { buildTrace } from '../../../collector/src/trace'
import { EventType, type SpanRecord } from '../../../src/codec/span'

const { CLIENT_SEND, SERVER_RECV, CUSTOM } = EventType
const at = (eventType: number): SpanRecord['events'] => [{ timestamp: 1_700_000_000_000_000n, eventType }]
const record = (eventType: number, annotations: Record<string, string>): SpanRecord => ({
  ...{ traceId: 1n, id: 2n, parentId: 0n, service: 'shop', events: at(eventType) },
  annotations: new Map(Object.entries(annotations)),
})
const sides = (...records: SpanRecord[]) => {
  const { service, clientService } = buildTrace(records).spans[0]!
  return [clientService, service]
}

describe('a service that reports no spans', () => {
  it('has the name that the other side gives it', () => {
    const cases: [SpanRecord, (string | null)[]][] = [
      [record(CLIENT_SEND, { 'zipkin.remote.service': 'mysql', 'peer.service': 'x' }), ['shop', 'mysql']],
      [record(CLIENT_SEND, { 'peer.service': 'ledger', 'db.system': 'postgresql' }), ['shop', 'ledger']],
      [record(CLIENT_SEND, { 'db.system': 'postgresql' }), ['shop', 'postgresql']],
      [record(CLIENT_SEND, { 'server.address': 'db1' }), ['shop', null]],
      [record(SERVER_RECV, { 'zipkin.remote.service': 'mobile-app' }), ['mobile-app', 'shop']],
      [record(CUSTOM, { 'otel.kind': 'producer', 'messaging.system': 'kafka' }), ['shop', 'kafka']],
      [record(CUSTOM, { 'zipkin.kind': 'CONSUMER', 'zipkin.remote.service': 'kafka' }), ['kafka', 'shop']],
      [record(CUSTOM, { 'peer.service': 'x' }), [null, 'shop']],
    ]
    for (const [one, expected] of cases) assert.deepEqual(sides(one), expected)
  })

  it('has its own name if it reports after all', () => {
    const server = { ...record(SERVER_RECV, {}), service: 'ledger' }
    assert.deepEqual(sides(record(CLIENT_SEND, { 'peer.service': 'x' }), server), ['shop', 'ledger'])
  })
})
