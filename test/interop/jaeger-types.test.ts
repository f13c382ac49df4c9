import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { EventType } from '../../src/codec/span'
import { collector, hex, Peer, randomId, span, type TestCollector, undo } from '../collector/support'
import { until } from '../helpers/until'
import { goJaeger } from '../servers'

/** Jaeger's own types read what the collector answers in its place, and write the same again. */

const START_US = BigInt(Date.now()) * 1000n - 60_000_000n

describe('Jaeger’s types in Go', function () {
  this.timeout(300_000)
  let program: string
  let c: TestCollector
  const traceId = randomId()

  before(async () => {
    program = await goJaeger()
    c = await collector()
    const id = randomId()
    const half = (service: string, [first, last]: [number, number], fields: object) =>
      span({
        ...{ traceId, id, name: 'Orders.place', service, probability: 1, ...fields },
        events: [
          { timestamp: START_US, eventType: first },
          { timestamp: START_US + 5n, eventType: EventType.CUSTOM, value: 'retry "<&>"' },
          { timestamp: START_US + 9_000n, eventType: last },
        ],
      })
    const client = half('front', [EventType.CLIENT_SEND, EventType.CLIENT_RECV], { clientHost: 'web1' })
    const server = half('orders', [EventType.SERVER_RECV, EventType.SERVER_SEND], {
      annotations: new Map([['error.type', 'SoldOut']]),
      counters: new Map([
        ['rows', 3n],
        ['wide', 2n ** 60n],
      ]),
      probability: 0,
      serverHost: 'app1',
    })
    const orphan = span({ traceId, parentId: 77n, events: [] })
    assert.equal(await new Peer(c.scribePorts[0]!).log(client, server, orphan), 0)
    await until('the trace is found', async () => (await c.get('/api/search')).body.traces.length === 1)
  })
  after(undo)

  async function asJaegerReads(what: string, text: string): Promise<unknown> {
    const child = spawn(program, [what])
    let [stdout, stderr] = ['', '']
    child.stdout.setEncoding('utf8').on('data', data => {
      stdout += data
    })
    child.stderr.setEncoding('utf8').on('data', data => {
      stderr += data
    })
    child.stdin.end(text)
    const [status] = await once(child, 'close')
    assert.deepEqual([status, stderr], [0, ''], text)
    return JSON.parse(stdout)
  }

  const answers: [string, () => string, number][] = [
    ['services', () => '/jaeger/api/services', 3],
    ['services', () => '/jaeger/api/services/front/operations', 1],
    ['operations', () => '/jaeger/api/operations?service=front', 1],
    ['traces', () => `/jaeger/api/traces/${hex(traceId)}`, 1],
    ['traces', () => '/jaeger/api/traces?service=orders', 1],
    ['traces', () => '/jaeger/api/traces?service=nobody', 0],
    ['dependencies', () => '/jaeger/api/dependencies', 1],
    ['traces', () => '/jaeger/api/traces/00000000000000ff', 0],
  ]
  for (const [what, path, least] of answers) {
    it(`take ${path().replace(hex(traceId), '{id}')}`, async () => {
      const text = await (await fetch(c.url + path())).text()
      const read = (await asJaegerReads(what, text)) as { data: unknown[] | null }
      assert.deepEqual(read, JSON.parse(text))
      assert.ok((read.data ?? []).length >= least)
    })
  }

  it('refuse another field, and another type', async () => {
    for (const wrong of ['{"data":[{"id":"1"}]}', '{"data":[{"spans":[{"startTime":1.5}]}]}']) {
      await assert.rejects(asJaegerReads('traces', wrong), wrong)
    }
  })
})
