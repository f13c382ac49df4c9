import assert from 'node:assert/strict'
import { shutdown } from '../../src/index'
import { Program, run } from '../helpers/programs'
import { ScribePeer } from '../helpers/scribe-peer'
import { client, closeAll, traced, wireName } from '../helpers/thrift'
import { goPeer } from '../servers'
import { checkClient, checkServer, PROPAGATIONS, portsOf, STYLES, start, WIRES, wireArguments } from './calculator'

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

  describe('a traced client of a Go server', () => {
    let go: Program
    let ports: Map<string, number>

    before(async () => {
      go = new Program(peer, ['serve'])
      const [all] = await go.printed(new RegExp(`^(?:.+ \\d+\n){${WIRES.length}}`))
      ports = portsOf(all)
    })

    after(async () => {
      await go?.stop()
    })

    for (const wire of WIRES) {
      const portOf = () => ports.get(wireArguments(wire).join(' '))!

      for (const propagation of PROPAGATIONS) {
        it(`gets the right replies, call after call on one connection: ${wireName(wire)}, ${propagation.title}`, async () => {
          await checkClient(scribe, portOf(), wire, propagation)
        })
      }

      it(`gets the right reply to each of many calls at once: ${wireName(wire)}`, async () => {
        start(scribe)
        const c = client(traced, traced.Calculator, portOf(), wire)
        const numbers = Array.from({ length: 50 }, (_, i) => i)
        const calls = numbers.flatMap(i => [c.add(i, 1000), c.fire('also'), c.ping(String(i))])
        assert.deepEqual(
          await Promise.all(calls),
          numbers.flatMap(i => [i + 1000, undefined, `hello ${i}`]),
        )
      })
    }
  })

  describe('a Go client of a traced server', () => {
    for (const wire of WIRES) {
      for (const style of STYLES) {
        it(`gets the right replies, and each request is a root: ${wireName(wire)}, ${style}`, async () => {
          await checkServer(scribe, wire, style, port => run(peer, ['call', port, ...wireArguments(wire)]))
        })
      }
    }
  })
})
