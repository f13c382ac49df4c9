import assert from 'node:assert/strict'
import type { DeploymentsAnswer, PeersAnswer } from '../../../../collector/src/http/answers'
import { EventType, type SpanRecord } from '../../../../src/codec/span'
import { until } from '../../../helpers/until'
import { collector, Peer, randomId, span, type TestCollector, undo } from '../../support'

const MINUTE_US = 60e6
const NOW_US = Date.now() * 1000
const ago = (minutes: number) => Math.round(NOW_US - minutes * MINUTE_US)

/** OTLP's JSON of one span. */
function otlp(fields: { service: string; resource?: object; kind: number; attributes: object; atUs: number }) {
  const list = (values: object) =>
    Object.entries(values).map(([key, value]) => ({ key, value: { stringValue: value } }))
  const { service, resource = {}, kind, attributes, atUs } = fields
  const id = (bytes: number) => [...Array(bytes)].map(() => randomId().toString(16).slice(-2).padStart(2, '1')).join('')
  const one = {
    ...{ traceId: id(16), spanId: id(8), name: 'call', kind, attributes: list(attributes) },
    ...{ startTimeUnixNano: `${atUs}000`, endTimeUnixNano: `${atUs + 5000}000` },
  }
  return {
    resource: { attributes: list({ 'service.name': service, ...resource }) },
    scopeSpans: [{ spans: [one] }],
  }
}

describe('what searches tell of services', () => {
  let c: TestCollector

  before(async () => {
    c = await collector()
    const versioned = (service: string, version: string, minutes: number): SpanRecord =>
      span({
        service,
        annotations: new Map([['service.version', version]]),
        events: [
          { timestamp: BigInt(ago(minutes)), eventType: EventType.SERVER_RECV },
          { timestamp: BigInt(ago(minutes) + 1000), eventType: EventType.SERVER_SEND },
        ],
      })
    const records = [
      // v1 is older than the hour that is asked about, and never stops.
      ...[200, 100, 59, 30, 1].map(minutes => versioned('shop', 'v1', minutes)),
      ...[40, 39, 20].map(minutes => versioned('shop', 'v2', minutes)),
      ...[12, 11, 3].map(minutes => versioned('shop', 'v3 beta', minutes)),
      ...[50, 5].map(minutes => versioned('stock', 'v9', minutes)),
    ]
    // One span, of which the caller reports the one half and stock the other: the version is stock's.
    const called = versioned('stock', 'v10', 15)
    const [from, to] = called.events!.map(({ timestamp }) => timestamp!)
    const caller = {
      ...{ ...called, service: 'front', annotations: new Map() },
      events: [
        { timestamp: from! - 10n, eventType: EventType.CLIENT_SEND },
        { timestamp: to! + 10n, eventType: EventType.CLIENT_RECV },
      ],
    }
    assert.equal(await new Peer(c.scribePorts[0]!).log(...records, called, caller), 0)
    const resourceSpans = [
      ...[25, 24].map(minutes =>
        otlp({
          ...{ service: 'mail', resource: { 'service.version': '1.4.2' }, kind: 2, attributes: {} },
          atUs: ago(minutes),
        }),
      ),
      otlp({
        ...{ service: 'mail', kind: 3, atUs: ago(10) },
        attributes: { 'db.system': 'postgresql', 'peer.service': 'orders-db', 'server.address': 'db7.internal' },
      }),
      otlp({
        ...{ service: 'mail', kind: 3, atUs: ago(10) },
        attributes: { 'db.system.name': 'mysql', 'server.address': 'db8.internal' },
      }),
      otlp({
        ...{ service: 'mail', kind: 4, atUs: ago(10) },
        attributes: { 'messaging.system': 'kafka', 'messaging.destination.name': 'orders' },
      }),
      otlp({
        ...{ service: 'mail', kind: 4, atUs: ago(10) },
        attributes: { 'messaging.system': 'in-house', 'peer.service': 'letterbox' },
      }),
      otlp({ ...{ service: 'mail', kind: 3, atUs: ago(10) }, attributes: { 'server.address': 'api.example.com' } }),
      otlp({ ...{ service: 'mail', kind: 3, atUs: ago(10) }, attributes: { 'peer.service': 'partner' } }),
    ]
    const posted = await fetch(`${c.url}/v1/traces`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ resourceSpans }),
    })
    assert.equal(posted.status, 200)
    await until('all can be found', async () => {
      const [shop, mail] = await Promise.all(['shop', 'mail'].map(s => c.get(`/api/search?service=${s}&limit=100`)))
      return shop!.body.traces.length === 11 && mail!.body.traces.length === 8
    })
  })
  after(undo)

  async function deployments(query: string): Promise<DeploymentsAnswer> {
    const { status, body } = await c.get(`/api/deployments?${query}`)
    assert.equal(status, 200, JSON.stringify(body))
    return body
  }

  describe('of deployments', () => {
    it('finds when each version was first seen, but for those that were known before', async () => {
      const { deployments: found, complete, from, to } = await deployments('service=shop&from=-1h')
      assert.equal(complete, true)
      assert.deepEqual(
        found.map(({ version }) => version),
        ['v2', 'v3 beta'],
      )
      for (const [i, minutes] of [40, 12].entries()) {
        const { time, within } = found[i]!
        assert.ok(within <= (to - from) / 500, `${within}`)
        assert.ok(time <= ago(minutes) && ago(minutes) <= time + within, `${i}: ${ago(minutes) - time} of ${within}`)
      }
      const earlier = await deployments('service=shop&from=-4h&to=-1h')
      assert.deepEqual(
        earlier.deployments.map(({ version }) => version),
        ['v1'],
      )
    })

    it('finds versions of OpenTelemetry’s resources, and of one service alone', async () => {
      const [mail] = (await deployments('service=mail&from=-1h')).deployments
      assert.equal(mail!.version, '1.4.2')
      assert.ok(mail!.time <= ago(25) && ago(25) <= mail!.time + mail!.within)
      const { deployments: others } = await deployments('service=stock&from=-1h')
      assert.deepEqual(
        others.map(({ version }) => version),
        ['v9', 'v10'],
      )
      assert.deepEqual((await deployments('service=nobody')).deployments, [])
      assert.equal((await c.get('/api/search?service=front&key=service.version')).body.traces.length, 1)
      assert.deepEqual((await deployments('service=front')).deployments, [])
    })

    it('refuses what makes no sense', async () => {
      for (const query of ['from=-1h', 'service=a&from=-1h&to=-2h', 'service=a&version=1']) {
        const { status, body } = await c.get(`/api/deployments?${query}`)
        assert.deepEqual([status, body.code], [400, 'MILO_BAD_PARAMETER'], query)
      }
    })
  })

  describe('of what reports no spans', () => {
    it('tells databases and queues by their systems’ names, and by what stands beside a name of their own', async () => {
      const names = ['mysql', 'kafka', 'orders-db', 'letterbox', 'partner', 'api.example.com', 'PostgreSQL']
      const { body } = await c.get(`/api/peers?${names.map(name => `name=${name}`).join('&')}`)
      const { peers } = body as PeersAnswer
      assert.deepEqual(
        peers.map(({ name, kind }) => `${name} ${kind}`),
        [
          'mysql database',
          'kafka queue',
          'orders-db database',
          'letterbox queue',
          'partner unknown',
          'api.example.com unknown',
          'PostgreSQL database',
        ],
      )
      assert.equal((await c.get('/api/peers')).status, 400)
      assert.equal((await c.get(`/api/peers?${'name=a&'.repeat(51)}`)).status, 400)
    })

    it('has them as callees of those that call them', async () => {
      const callees = async () =>
        (await c.get('/api/dependencies?from=-1h')).body.edges
          .filter(({ from }: { from: string }) => from === 'mail')
          .map(({ to }: { to: string }) => to)
          .sort()
      const wanted = ['api.example.com', 'kafka', 'letterbox', 'mysql', 'orders-db', 'partner']
      await until('they are counted', async () => (await callees()).length === wanted.length)
      assert.deepEqual(await callees(), wanted)
    })
  })
})
