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

  it('is at least called by its host, under the newer name, the older ones, or the address', () => {
    const host = (annotations: Record<string, string>, known: Partial<SpanRecord> = {}) =>
      buildTrace([{ ...record(CLIENT_SEND, annotations), ...known }]).spans[0]!.serverHost
    assert.equal(host({ 'server.address': 'pay.internal', 'net.peer.name': 'older' }), 'pay.internal')
    assert.equal(host({ 'net.peer.name': 'older', 'network.peer.address': '10.0.0.7' }), 'older')
    assert.equal(host({ 'network.peer.address': '10.0.0.7' }), '10.0.0.7')
    assert.equal(host({ 'server.address': 'pay.internal' }, { serverHost: 'known' }), 'known')
    assert.equal(host({ 'server.address': '' }), null)
    // A server's own address isn't one that it calls.
    assert.equal(buildTrace([record(SERVER_RECV, { 'server.address': 'me' })]).spans[0]!.serverHost, null)
  })
})
