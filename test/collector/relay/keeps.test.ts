import assert from 'node:assert/strict'
import type { Server } from 'node:net'
import { join } from 'node:path'
import { EventType } from '../../../src/codec/span'
import { until } from '../../helpers/until'
import { freePort } from '../../servers/process'
import { keepsFrame, kept, told } from '../keeps'
import { cleanUp, collector, hex, Peer, span, temporaryDirectory, undo } from '../support'

const thrift = require('thrift')
const Scribe = require('../../gen/idl/scribe')

describe('a relay’s processes', () => {
  afterEach(undo)

  function relay(...ports: number[]) {
    return collector({
      store: 'scribe',
      relay: {
        path: join(temporaryDirectory(), 'relay.db'),
        max_bytes: 10_000_000,
        upstreams: ports.map(port => ({ host: '127.0.0.1', port })),
        base64: false,
      },
    } as object)
  }

  it('hear what to keep from its collectors, whoever said it, and are known there', async () => {
    const c = await collector()
    const nobody = await freePort()
    const r = await relay(nobody, c.scribePorts[0]!)
    const [one, other] = [new Peer(r.scribePorts[0]!), new Peer(r.scribePorts[0]!)]
    let since = told(await one.call(keepsFrame(0n, 0, {}, -5n))).next
    const ask = () => [one.call(keepsFrame(since, 30_000, {}, -5n)), other.call(keepsFrame(since, 30_000, {}, 6n))]
    // By another process of the relay, by a sender of the collector, by a person.
    const failed = kept('error')
    const slow = kept('slow')
    const wanted = span()
    const ways = [
      async () => assert.equal(await new Peer(r.scribePorts[0]!).log(failed, kept('asked')), 0),
      async () => assert.equal(await new Peer(c.scribePorts[0]!).log(slow), 0),
      async () => assert.equal((await post(c.url, { traceId: hex(wanted.traceId) })).status, 202),
    ]
    for (const [i, { traceId }] of [failed, slow, wanted].entries()) {
      const answers = ask()
      await ways[i]!()
      for (const answer of await Promise.all(answers)) {
        const { entries, next } = told(answer)
        assert.deepEqual(entries, [{ kind: 0, id: traceId, n: 0 }])
        since = next
      }
    }
    // One question of the relay's, for both.
    await until('it asks again', async () => (await c.metric('keep_polls')) === 1)
    await until('they are known', async () => {
      const { services } = (await c.get('/api/keeps')).body
      return services[0]?.service === 'shop' && services[0].processes === 2
    })
    other.socket.destroy()
    await until('one has gone', async () => (await c.get('/api/keeps')).body.services[0].processes === 1)
    // What a process says of itself comes up as well.
    const says = 'service=stock&host=h&process=9&made=1&history=1&listening=10.0.0.7:80'
    assert.equal((await fetch(`${r.url}/api/keeps/feed?${says}`)).status, 200)
    const events = [{ timestamp: BigInt(Date.now()) * 1000n, eventType: EventType.CLIENT_SEND }]
    const call = span({ probability: 0, events })
    call.annotations = new Map(
      Object.entries({ 'milo.keep': 'error', 'milo.history': '1', 'server.address': '10.0.0.7', 'server.port': '80' }),
    )
    assert.equal(await new Peer(r.scribePorts[0]!).log(call), 0)
    await until('the trace says that it was called', async () => {
      // It asks again, and the relay tells that when it asks again itself.
      assert.equal((await fetch(`${r.url}/api/keeps/feed?${says}`)).status, 200)
      assert.equal((await post(c.url, { traceId: hex(wanted.traceId) })).status, 202)
      const { kept } = (await c.get(`/api/traces/${hex(call.traceId)}`)).body
      return kept?.missing[0]?.service === 'stock' && kept.missing[0].why === 'unsent'
    })
    const { status, body } = await post(r.url, { traceId: hex(wanted.traceId) })
    assert.deepEqual([status, body.code], [400, 'MILO_STORE_ELSEWHERE'])
  })

  it('are answered nothing where no upstream is a Milo collector, which the relay says once', async () => {
    let asked = 0
    const server: Server = thrift.createServer(
      Scribe,
      {
        Log(_entries: unknown, done: (error: null, code: number) => void) {
          done(null, 0)
        },
      },
      { transport: thrift.TFramedTransport, protocol: thrift.TBinaryProtocol },
    )
    server.on('connection', () => asked++)
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    cleanUp.push(() => server.close())
    const r = await relay((server.address() as { port: number }).port)
    const peer = new Peer(r.scribePorts[0]!)
    const waiting = peer.call(keepsFrame(0n, 30_000))
    const says = () => r.lines.filter(({ msg }) => /keep their own spans only/.test(msg))
    await until('the relay has said so', () => says().length > 0)
    // Spans are forwarded all the same.
    assert.equal(await new Peer(r.scribePorts[0]!).log(kept('error')), 0)
    await until('they have been forwarded', async () => (await r.metric('relay_forwarded_calls_total')) === 1)
    await r.close()
    assert.deepEqual(told(await waiting).entries, [])
    assert.equal(says().length, 1)
    assert.ok(asked <= 3)
  })
})

async function post(url: string, body: object): Promise<{ status: number; body: any }> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${url}/api/keep`, { method: 'POST', headers, body: JSON.stringify(body) })
  return { status: response.status, body: await response.json() }
}
