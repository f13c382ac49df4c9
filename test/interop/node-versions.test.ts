import assert from 'node:assert/strict'
import { join } from 'node:path'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { ROOT, runNode } from '../helpers/child'
import { run } from '../helpers/programs'
import { ScribePeer } from '../helpers/scribe-peer'
import { NODE_VERSIONS, nodeOfVersion } from '../servers'
import { checkApp, isClient, isServer, OWN, removeFolders } from './versions-app'

const fixture = (name: string) => join(__dirname, '../fixtures', name)

describe('newer versions of Node', () => {
  let scribe: ScribePeer

  before(async function () {
    this.timeout(300_000)
    for (const version of NODE_VERSIONS) {
      assert.ok((await run(await nodeOfVersion(version), ['--version'])).startsWith(`v${version}.`))
    }
  })

  beforeEach(async () => {
    scribe = await ScribePeer.listen()
  })

  afterEach(async () => {
    await scribe.close()
  })

  after(removeFolders)

  const runOn = async (version: (typeof NODE_VERSIONS)[number], flag: string, file: string): Promise<string> => {
    const node = await nodeOfVersion(version)
    const env = { MILO_SCRIBE: scribe.address, MILO_SAMPLER: 'always' }
    const { stdout, ...rest } = await runNode([flag, 'milo/register', fixture(file)], env, ROOT, node)
    assert.deepEqual(rest, { status: 0, signal: null, stderr: '' })
    return stdout
  }

  for (const version of NODE_VERSIONS) {
    for (const flag of ['-r', '--import']) {
      for (const file of ['thrift-app.cjs', 'thrift-app.mjs']) {
        it(`Node ${version} traces an unmodified Thrift application by ${flag}: ${file}`, async () => {
          assert.equal(await runOn(version, flag, file), '42\n')
          const [one, other, ...rest] = scribe.spans
          assert.equal(rest.length, 0)
          for (const key of ['name', 'traceId', 'id', 'parentId'] as const) assert.equal(one![key], other![key], key)
          assert.equal(one!.name, 'Calculator.add')
          assert.ok([one!, other!].some(isClient) && [one!, other!].some(isServer))
        })
      }

      it(`Node ${version} traces node:http imported by name, by ${flag}: whole traces, the inner call after an await`, async () => {
        assert.equal(await runOn(version, flag, 'http-app.mjs'), '["/get inner","/request inner"]\n')
        const child = (parent: SpanRecord) => {
          const [child, ...others] = scribe.spans.filter(s => s.parentId === parent.id)
          assert.ok(child !== undefined && others.length === 0, `one child of ${parent.name}`)
          assert.equal(child.traceId, parent.traceId)
          return child
        }
        const roots = scribe.spans.filter(s => s.parentId === 0n)
        assert.equal(roots.length, 2)
        for (const root of roots) {
          const chain = [root, child(root), child(child(root)), child(child(child(root)))]
          assert.deepEqual(
            chain.map(s => s.events![0]!.eventType),
            [EventType.CLIENT_SEND, EventType.SERVER_RECV, EventType.CLIENT_SEND, EventType.SERVER_RECV],
          )
          assert.equal(chain[3]!.annotations!.get('url.path'), '/inner')
        }
        assert.equal(scribe.spans.length, 8)
      })

      it(`Node ${version} keeps contexts in every style of Thrift’s code, after awaits and in callbacks, by ${flag}`, async () => {
        await checkApp(scribe, OWN, OWN, { node: await nodeOfVersion(version), flag })
      })
    }

    it(`Node ${version} keeps contexts in the Q promises of thrift 0.23`, async () => {
      await checkApp(scribe, '0.23.0', '0.23.0', { node: await nodeOfVersion(version) })
    })
  }
})
