import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { ModuleKind, ScriptTarget, transpileModule } from 'typescript'
import { ROOT, runNode } from '../helpers/child'
import { application, insteadOfMilo, SDK, thriftAlone } from '../otel-instrumentation/support'
import { run } from '../servers/install'
import { npmPackages } from '../servers/npm'

const APP = join(__dirname, '../fixtures/creditkarma-app.js')

const VERSIONS: Record<string, string[]> = {
  '1.0.4': [
    '@creditkarma/thrift-server-express@1.0.4',
    '@creditkarma/thrift-server-hapi@1.0.4',
    'express@4.21.2',
    '@types/express@4.17.21',
    '@hapi/hapi@20.3.0',
    '@types/hapi__hapi@20.0.13',
  ],
  '0.11.2': [],
}

type Ended = [result: string, client?: string, server?: string]
const OK: Ended = ['ok']
const DECLARED: Ended = ['exception', '"declared exception"', 'Oops']
const APPLICATION: Ended = ['application_exception', 'TApplicationException', 'TApplicationException']

/** The two halves of a call, over HTTP with those of its request, and what its handler did. */
function call(name: string, [result, client, server]: Ended, isHttp: boolean, ...rest: string[]): string[] {
  const post = [
    '"POST /thrift" (client) http.response.status_code=200',
    '"POST /thrift" (server) http.response.status_code=200',
  ]
  return [
    `${name} (client)${client === undefined ? '' : ` error.type=${client}`} thrift.result=${result}`,
    `  ${name.replace(/^(?=\w+$)/, 'Calculator.')} (server) thrift.result=${result}${server === undefined ? '' : ` error.type=${server}`}`,
    ...(isHttp ? [`    ${post[0]}`, `      ${post[1]}`] : []),
    ...rest.map(line => `    ${line}`),
  ]
}

const within = (caller: string, lines: string[]) => [`"${caller}"`, ...lines.map(line => `  ${line}`)]

/** What fixtures/creditkarma-app.js does, as spans. */
function treeOf(withHapi: boolean): string {
  const add = (isHttp: boolean) => call('Calculator.add', OK, isHttp, 'handling')
  const divide = (isHttp: boolean) => call('Calculator.divide', DECLARED, isHttp)
  const failed = (how: string, result = 'transport_error') =>
    `Calculator.add (client) error.type=${how} thrift.result=${result}`
  return [
    ...['binary', 'compact', 'json'].flatMap(protocol => [
      ...within(`${protocol} add`, add(true)),
      ...within(`${protocol} divide`, divide(true)),
      ...within(`${protocol} touch`, call('Calculator.touch', APPLICATION, true)),
      ...within(`${protocol} ping`, call('Base.ping', OK, true)),
      ...within(`${protocol} fire`, call('Calculator.fire', OK, true)),
      ...within(`${protocol} unwritable`, [
        failed(protocol === 'binary' && withHapi ? 'TypeError' : 'TProtocolException', 'not_sent'),
      ]),
    ]),
    ...(withHapi
      ? [
          ...within('hapi add', add(true)),
          ...within('hapi divide', divide(true)),
          ...divide(true),
          ...add(true),
          ...within('hapi gone', [failed('ECONNREFUSED'), '  "POST /thrift" (client) error.type=ECONNREFUSED']),
        ]
      : []),
    ...within('tcp add', add(false)),
    ...within('tcp divide', divide(false)),
    ...[...'abcde'].flatMap(label => within(`tcp ${label}`, call('Base.ping', OK, false))),
    ...within('tcp ended', [failed('"connection closed"')]),
    ...within('tcp silent', [failed('timeout')]),
    // Tracing is suppressed in the caller, of which the server isn't told.
    'Calculator.add (server) thrift.result=ok',
    '  handling',
    ...divide(false),
    ...within('direct move', [
      'Calculator.move (client) error.type=TypeError thrift.result=transport_error',
      '  Calculator.move (server) error.type=TypeError thrift.result=exception',
    ]),
    ...within('handmade touch', call('touch', APPLICATION, false)),
    ...within('handmade unknown', call('unknown', APPLICATION, false)),
  ].join('\n')
}

/** Thrift in TypeScript, with clients and servers of its own. */
describe('@creditkarma/thrift-client and -server', function () {
  this.timeout(120_000)
  const folders: string[] = []
  let otel: string

  before(async () => {
    otel = await application(SDK)
    folders.push(otel)
  })
  after(() => {
    for (const folder of folders) rmSync(folder, { recursive: true })
  })

  /** A folder with the packages, and the code that thrift-typescript generates for them. */
  async function folderWith(version: string): Promise<string> {
    const [generator, installed] = await Promise.all([
      npmPackages('@creditkarma/thrift-typescript@3.7.6'),
      npmPackages(
        ...['client', 'server-core'].map(name => `@creditkarma/thrift-${name}@${version}`),
        ...VERSIONS[version]!,
      ),
    ])
    const folder = mkdtempSync(join(tmpdir(), 'milo-test-creditkarma-'))
    folders.push(folder)
    const gen = join(folder, 'gen')
    const options = ['--target', 'thrift-server', '--rootDir', '.', '--sourceDir', '.', '--outDir', gen]
    await run(join(generator, 'node_modules/.bin/thrift-typescript'), [...options, 'calculator.thrift'], {
      cwd: join(ROOT, 'test/gen'),
    })
    const compilerOptions = { module: ModuleKind.CommonJS, target: ScriptTarget.ES2020 }
    for (const file of readdirSync(gen)) {
      const { outputText } = transpileModule(readFileSync(join(gen, file), 'utf8'), { compilerOptions })
      writeFileSync(join(gen, `${basename(file, '.ts')}.js`), outputText)
    }
    symlinkSync(join(installed, 'node_modules'), join(folder, 'node_modules'))
    mkdirSync(join(folder, 'apache/gen'), { recursive: true })
    cpSync(join(ROOT, 'test/gen/js'), join(folder, 'apache/gen/js'), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'apache/node_modules'))
    return folder
  }

  for (const version of Object.keys(VERSIONS)) {
    it(`${version}: every call is traced on both sides, by Milo and by ThriftInstrumentation, and nothing else is changed`, async () => {
      const folder = await folderWith(version)
      const expected = treeOf(version !== '0.11.2')
      const app = [APP, folder, join(folder, 'apache'), `${expected.split('\n').length}`]
      const plain = await runNode(['--no-deprecation', ...app])
      const traced = await runNode(['--no-deprecation', '-r', 'milo/register', ...app], { MILO_SCRIBE: '127.0.0.1:1' })
      assert.equal(traced.status, 0, traced.stderr)
      assert.equal(traced.stderr, plain.stderr)
      const { told, unhandled, tree } = JSON.parse(traced.stdout)
      assert.deepEqual({ told, unhandled }, JSON.parse(plain.stdout))
      // How long the client's pool let a call wait is the machine's matter.
      assert.equal(tree.replace(/ \[generic-pool: waited \d+ ms\]/g, ''), expected)

      const alone = thriftAlone(expected)
      app[app.length - 1] = String(alone.split('\n').length)
      const theirs = await runNode(['--no-deprecation', ...insteadOfMilo(otel), ...app])
      assert.deepEqual([theirs.status, theirs.stderr], [0, plain.stderr])
      const under = JSON.parse(theirs.stdout)
      assert.equal(under.tree, alone)
      const same = JSON.stringify({ told: under.told, unhandled: under.unhandled }).replaceAll('Base/ping', 'Base.ping')
      assert.deepEqual(JSON.parse(same), JSON.parse(plain.stdout))
    })
  }
})
