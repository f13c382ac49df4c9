import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { ROOT, runNode } from '../helpers/child'
import type { ScribePeer } from '../helpers/scribe-peer'
import { type ThriftVersion, thriftOfVersion } from '../servers'

/**
 * Runs test/fixtures/thrift-versions-app.js under milo/register, with some version of thrift and of Node, and knows what it
 * must print and report.
 */

export const APP = join(__dirname, '../fixtures/thrift-versions-app.js')
/** The version that this package has: no installing. */
export const OWN = require('thrift/package.json').version as string

const folders: string[] = []

/** A folder whose code finds this version of thrift, with the generated code in it. */
export async function folderWith(version: string): Promise<string> {
  const installed = version === OWN ? ROOT : await thriftOfVersion(version as ThriftVersion)
  const folder = mkdtempSync(join(tmpdir(), `milo-test-thrift-${version}-`))
  folders.push(folder)
  for (const style of ['es6', 'js']) {
    cpSync(join(__dirname, '../gen', style), join(folder, 'gen', style), { recursive: true })
  }
  symlinkSync(join(installed, 'node_modules'), join(folder, 'node_modules'))
  return folder
}

/**
 * A folder whose generated code uses a copy of thrift: that of a package, or a folder of the application's own.
 * @param name what it is required by
 * @param modules the node_modules that has the package, or what the copy depends on
 */
export function folderWithCopy(name: string, modules: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'milo-test-thrift-copy-'))
  folders.push(folder)
  const used = name.startsWith('.') ? join(folder, name) : name
  if (used !== name) cpSync(join(ROOT, 'node_modules/thrift/lib/nodejs/lib/thrift'), used, { recursive: true })
  for (const style of ['es6', 'js']) {
    const generated = join(folder, 'gen', style)
    cpSync(join(__dirname, '../gen', style), generated, { recursive: true })
    for (const file of readdirSync(generated)) {
      const code = readFileSync(join(generated, file), 'utf8')
      writeFileSync(join(generated, file), code.replaceAll("require('thrift')", `require(${JSON.stringify(used)})`))
    }
  }
  symlinkSync(modules, join(folder, 'node_modules'))
  return folder
}

export function removeFolders(): void {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
}

interface Ran {
  server: string
  client: string
  results: { label: string; replies: [unknown, string][]; inChunks: number }[]
}

/** What the application runs: since 0.24 thrift has no Q, and clients with 0.9.3 send no context in JSON. */
function combinations(server: string, client: string): string[] {
  const withoutQ = [server, client].some(version => version === OWN || version.startsWith('.'))
  const styles = ['es6 promises', 'js callbacks', ...(withoutQ ? [] : ['js Q promises'])]
  const protocols = ['TBinaryProtocol', 'TCompactProtocol', ...(client === '0.9.3' ? [] : ['TJSONProtocol'])]
  return styles.flatMap(style => [
    ...['TBufferedTransport', 'TFramedTransport'].flatMap(transport =>
      protocols.map(protocol => `${style} ${transport} ${protocol}`),
    ),
    `${style} multiplexed`,
  ])
}

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

export const isClient = (s: SpanRecord) => s.events!.some(e => e.eventType === EventType.CLIENT_SEND)
export const isServer = (s: SpanRecord) => s.events!.some(e => e.eventType === EventType.SERVER_RECV)

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

/** Runs it with servers of one version and clients of another, and looks at all that comes of it. */
export async function checkApp(
  scribe: ScribePeer,
  server: string,
  client: string,
  { node = process.execPath, flag = '-r', copyIn = undefined as string | undefined } = {},
): Promise<void> {
  const apps = copyIn === undefined ? [await folderWith(server), await folderWith(client)] : [copyIn, copyIn, client]
  const { status, signal, stdout, stderr } = await runNode(
    // Node says that thrift's `new Buffer` is deprecated only where it isn't in node_modules.
    [...(copyIn === undefined ? [] : ['--no-deprecation']), flag, 'milo/register', APP, ...apps],
    { MILO_SCRIBE: scribe.address, MILO_SAMPLER: 'always' },
    ROOT,
    node,
  )
  assert.deepEqual({ status, signal, stderr }, { status: 0, signal: null, stderr: '' }, stdout)
  const ran: Ran = JSON.parse(stdout)
  assert.deepEqual([ran.server, ran.client], [server, client])
  const labels = combinations(server, client)
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
