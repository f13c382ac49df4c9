import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { ROOT, runNode } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'
import { THRIFT_VERSIONS, thriftOfVersion } from '../servers'

const APP = join(__dirname, '../fixtures/thrift-versions-app.js')
/** The version that this package has: no installing. */
const OWN = require('thrift/package.json').version as string

const folders: string[] = []

/** A folder whose code finds this version of thrift, with the generated code in it. */
async function folderWith(version: string): Promise<string> {
  const installed = version === OWN ? ROOT : await thriftOfVersion(version as (typeof THRIFT_VERSIONS)[number])
  const folder = mkdtempSync(join(tmpdir(), `milo-test-thrift-${version}-`))
  folders.push(folder)
  for (const style of ['es6', 'js'])
    cpSync(join(__dirname, '../gen', style), join(folder, 'gen', style), { recursive: true })
  symlinkSync(join(installed, 'node_modules'), join(folder, 'node_modules'))
  return folder
}

interface Ran {
  server: string
  client: string
  results: { label: string; replies: [unknown, string][]; inChunks: number }[]
}

const STYLES = ['es6 promises', 'js callbacks', 'js Q promises']
const hasQ = (version: string) => version !== OWN

const combinations = (styles: string[]) =>
  styles.flatMap(style => [
    ...['TBufferedTransport', 'TFramedTransport'].flatMap(transport =>
      ['TBinaryProtocol', 'TCompactProtocol'].map(protocol => `${style} ${transport} ${protocol}`),
    ),
    `${style} multiplexed`,
  ])

/** What the application must print for a combination, but for what is current. */
const REPLIES: [suffix: string, reply: (label: string) => unknown][] = [
  ['', label => `hello ${label}, 42`],
  [' divide', () => 3],
  [' by zero', () => 'zero 7'],
  [' touch', () => null],
  [' fire', () => null],
  [' add', () => 2],
  [' #1', label => `hello ${label}, 42`],
  [' #2', label => `hello ${label}, 42`],
  [' #3', label => `hello ${label}, 42`],
]

/** The methods of the calls whose handlers call nobody. */
const METHODS: Record<string, string> = {
  ' divide': 'divide',
  ' by zero': 'divide',
  ' touch': 'touch',
  ' fire': 'fire',
  ' add': 'add',
}

const isClient = (s: SpanRecord) => s.events!.some(e => e.eventType === EventType.CLIENT_SEND)
const isServer = (s: SpanRecord) => s.events!.some(e => e.eventType === EventType.SERVER_RECV)

/** The client half of the one call that was made in `parent`; it has one server half. */
function callIn(parent: SpanRecord, name: string, children: Map<bigint, SpanRecord[]>): SpanRecord {
  const halves = children.get(parent.id!)!.filter(s => s.name === name)
  assert.equal(halves.length, 2, `${parent.name}: ${halves.length} halves of ${name}`)
  const clientHalf = halves.find(isClient)!
  const serverHalf = halves.find(isServer)!
  for (const key of ['traceId', 'id', 'parentId'] as const) assert.equal(clientHalf[key], serverHalf[key], key)
  assert.equal(clientHalf.traceId, parent.traceId)
  assert.equal(clientHalf.annotations!.get('thrift.result'), serverHalf.annotations!.get('thrift.result'))
  assert.equal(clientHalf.annotations!.get('error.type'), serverHalf.annotations!.get('error.type'))
  return clientHalf
}

/** Each call one span with two halves, under its caller; what the handler did, under the request. */
function assertSpans(all: SpanRecord[], labels: string[]): void {
  const children = new Map<bigint, SpanRecord[]>()
  for (const s of all) children.set(s.parentId!, [...(children.get(s.parentId!) ?? []), s])
  let records = 0
  for (const label of labels) {
    // A multiplexed service goes by the name under which it is registered.
    const operation = (service: string, method: string) =>
      `${label.endsWith('multiplexed') ? 'registered' : service}.${method}`
    for (const [suffix] of REPLIES) {
      const [calling, ...others] = all.filter(s => s.name === `calling ${label}${suffix}`)
      assert.ok(calling !== undefined && others.length === 0)
      assert.equal(calling.parentId, 0n)
      records += 3
      const method = METHODS[suffix]
      if (method !== undefined) {
        const call = callIn(calling, operation('Calculator', method), children)
        assert.equal(call.annotations!.get('error.type'), suffix === ' by zero' ? 'Oops' : undefined)
        assert.equal(call.annotations!.get('thrift.result'), suffix === ' by zero' ? 'exception' : 'ok')
        continue
      }
      const ping = callIn(calling, operation('Base', 'ping'), children)
      const [handling, ...more] = children.get(ping.id!) ?? []
      assert.equal(handling?.name, `handling ${label}${suffix}`)
      assert.equal(more.length, 0)
      callIn(handling!, operation('Calculator', 'add'), children)
      records += 3
    }
  }
  assert.equal(all.length, records)
}

describe('versions of npm thrift', () => {
  let scribe: ScribePeer

  before(async function () {
    this.timeout(300_000)
    await Promise.all(THRIFT_VERSIONS.map(thriftOfVersion))
  })

  beforeEach(async () => {
    scribe = await ScribePeer.listen()
  })

  afterEach(async () => {
    await scribe.close()
  })

  after(() => {
    for (const folder of folders) rmSync(folder, { recursive: true })
  })

  const runApp = async (args: string[], env: Record<string, string> = {}): Promise<Ran> => {
    const { status, signal, stdout, stderr } = await runNode(['-r', 'milo/register', APP, ...args], {
      MILO_SCRIBE: scribe.address,
      MILO_SAMPLER: 'always',
      ...env,
    })
    assert.deepEqual({ status, signal, stderr }, { status: 0, signal: null, stderr: '' }, stdout)
    return JSON.parse(stdout)
  }

  const check = async (server: string, client: string) => {
    const ran = await runApp([await folderWith(server), await folderWith(client)])
    assert.deepEqual([ran.server, ran.client], [server, client])
    const styles = STYLES.filter(style => style !== 'js Q promises' || (hasQ(server) && hasQ(client)))
    const labels = combinations(styles)
    assert.deepEqual(
      ran.results.map(({ label, replies }) => [label, replies]),
      labels.map(label => [
        label,
        REPLIES.map(([suffix, reply]) => {
          const own = `${label}${suffix}`
          return [reply(own), `${own}|calling ${own}`]
        }),
      ]),
    )
    for (const { label, inChunks } of ran.results) assert.equal(inChunks, 1, `${label}: three requests in one chunk`)
    assertSpans(scribe.spans, labels)
  }

  for (const version of [...THRIFT_VERSIONS, OWN]) {
    it(`${version}: every style, transport and protocol gives its replies, and whole traces of them`, async () => {
      await check(version, version)
    })
  }

  for (const [server, client] of [
    [OWN, '0.20.0'],
    ['0.20.0', OWN],
    ['0.9.3', '0.23.0'],
  ] as const) {
    it(`two copies in one process: servers with ${server}, clients with ${client}, and traces that cross`, async () => {
      await check(server, client)
    })
  }
})
