import assert from 'node:assert/strict'
import { join } from 'node:path'
import { flush, shutdown } from '../../src/index'
import { Program, run } from '../helpers/programs'
import { ScribePeer } from '../helpers/scribe-peer'
import { client, closeAll, traced, type Wire, wireName } from '../helpers/thrift'
import { THRIFT_VERSIONS, thriftOfVersion } from '../servers'
import { checkClient, checkServer, PROPAGATIONS, portsOf, STYLES, start, WIRES, wireArguments } from './calculator'
import { folderWith, isClient, OWN, removeFolders } from './versions-app'

const PROGRAM = join(__dirname, 'calculator-peer.js')

/** Thrift 0.9.3 can't skip a field in JSON. */
const skips = (version: string, wire: Wire) => version !== '0.9.3' || wire.protocol !== 'TJSONProtocol'

describe('Node peers that know nothing of Milo, of every version of thrift', () => {
  let scribe: ScribePeer

  before(async function () {
    this.timeout(300_000)
    await Promise.all(THRIFT_VERSIONS.map(thriftOfVersion))
  })

  beforeEach(async () => {
    scribe = await ScribePeer.listen()
  })

  afterEach(async () => {
    closeAll()
    await shutdown(0)
    await scribe.close()
  })

  after(removeFolders)

  for (const version of [...THRIFT_VERSIONS, OWN]) {
    describe(`thrift ${version}`, () => {
      let folder: string
      let servers: Program
      let ports: Map<string, number>

      before(async () => {
        folder = await folderWith(version)
        servers = new Program(process.execPath, [PROGRAM, folder, 'serve'])
        const [all] = await servers.printed(new RegExp(`^(?:.+ \\d+\n){${WIRES.length}}`))
        ports = portsOf(all)
      })

      after(async () => {
        await servers?.stop()
      })

      for (const wire of WIRES) {
        const portOf = () => ports.get(wireArguments(wire).join(' '))!

        for (const propagation of PROPAGATIONS) {
          if (propagation.id !== undefined && !skips(version, wire)) continue
          it(`its server answers a traced client: ${wireName(wire)}, ${propagation.title}`, async () => {
            await checkClient(scribe, portOf(), wire, propagation)
          })
        }

        if (!skips(version, wire)) {
          it(`its server can't skip any field, and needs propagation off: ${wireName(wire)}`, async () => {
            start(scribe, { propagation: `127.0.0.1:${portOf()}=off` })
            const c = client(traced, traced.Calculator, portOf(), wire)
            assert.equal(await c.add(20, 22), 42)
            assert.equal(await flush(20_000), true)
            assert.deepEqual(
              scribe.spans.map(s => [s.name, isClient(s)]),
              [['Calculator.add', true]],
            )
          })
        }

        for (const style of STYLES) {
          it(`its client is answered by a traced server: ${wireName(wire)}, ${style}`, async () => {
            await checkServer(scribe, wire, style, port =>
              run(process.execPath, [PROGRAM, folder, 'call', port, ...wireArguments(wire)]),
            )
          })
        }
      }
    })
  }
})
