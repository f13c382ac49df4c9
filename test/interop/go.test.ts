import assert from 'node:assert/strict'
import { flush, init, shutdown, span } from '../../src/index'
import { Program, run } from '../helpers/programs'
import { ScribePeer } from '../helpers/scribe-peer'
import { client, closeAll, plain, serve, traced, wireName } from '../helpers/thrift'
import { goPeer } from '../servers'
import {
  assertCarrier,
  assertClientHalves,
  assertServerHalves,
  callEverything,
  HANDLERS,
  PROPAGATIONS,
  REPLIES,
  relayTo,
  WIRES,
  wireArguments,
} from './calculator'

describe('Go peers that know nothing of Milo', () => {
  let peer: string
  let scribe: ScribePeer

  before(async function () {
    this.timeout(300_000)
    peer = await goPeer()
  })

  beforeEach(async () => {
    scribe = await ScribePeer.listen()
  })

  afterEach(async () => {
    closeAll()
    await shutdown(0)
    await scribe.close()
  })

  const start = (options: object) =>
    init({ scribe: scribe.address, service: 'test', host: 'here', sampler: 'always', logLevel: 'warn', ...options })

  describe('a traced client of a Go server', () => {
    let go: Program
    let ports: Map<string, number>

    before(async () => {
      go = new Program(peer, ['serve'])
      const [all] = await go.printed(new RegExp(`^(?:\\w+ \\w+ \\d+\\n){${WIRES.length}}`))
      ports = new Map(
        all
          .trim()
          .split('\n')
          .map(line => [line.replace(/ \d+$/, ''), Number(/\d+$/.exec(line)![0])]),
      )
    })

    after(async () => {
      await go?.stop()
    })

    for (const wire of WIRES) {
      for (const propagation of PROPAGATIONS) {
        it(`gets the right replies, call after call on one connection: ${wireName(wire)}, ${propagation.title}`, async () => {
          const port = ports.get(wireArguments(wire).join(' '))!
          const unaware = await relayTo(port)
          assert.deepEqual(
            await callEverything(client(plain, plain.Calculator, unaware.port, wire), plain.types),
            REPLIES,
          )
          start(propagation.options)
          const relay = await relayTo(port)
          const c = client(traced, traced.Calculator, relay.port, wire)
          assert.deepEqual(await span('root', () => callEverything(c, traced.types)), REPLIES)
          assertCarrier(unaware.sent(), relay.sent(), wire, propagation)
          assert.equal(await flush(5000), true)
          if (propagation.title === 'unsampled') return assert.deepEqual(scribe.spans, [])
          const root = scribe.spans.find(s => s.name === 'root')!
          assertClientHalves(
            scribe.spans.filter(s => s !== root),
            root,
            relay.port,
          )
        })
      }

      it(`gets the right reply to each of many calls at once: ${wireName(wire)}`, async () => {
        start({})
        const c = client(traced, traced.Calculator, ports.get(wireArguments(wire).join(' '))!, wire)
        const numbers = Array.from({ length: 50 }, (_, i) => i)
        const sums = numbers.flatMap(i => [c.add(i, 1000), c.fire('also'), c.ping(String(i))])
        assert.deepEqual(
          await Promise.all(sums),
          numbers.flatMap(i => [i + 1000, undefined, `hello ${i}`]),
        )
      })
    }
  })

  describe('a Go client of a traced server', () => {
    for (const wire of WIRES) {
      for (const style of ['promises', 'callbacks'] as const) {
        it(`gets the right replies, and each request is a root: ${wireName(wire)}, ${style}`, async () => {
          start({})
          const { port } = await serve(traced, traced.Calculator, HANDLERS[style](traced), wire)
          const output = await run(peer, ['call', String(port), ...wireArguments(wire)])
          assert.deepEqual(JSON.parse(output), REPLIES)
          assert.equal(await flush(5000), true)
          assertServerHalves(scribe.spans)
        })
      }
    }
  })
})
