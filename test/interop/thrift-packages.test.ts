import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runNode } from '../helpers/child'
import { application, insteadOfMilo, SDK, thriftAlone } from '../otel-instrumentation/support'
import { npmPackages } from '../servers/npm'

const APP = join(__dirname, '../fixtures/thrift-packages-app.js')

interface Ran {
  told: unknown[]
  tree: string
  said: string[]
}

/** Packages that stand on thrift, with a connection class or a pool of their own; and some that only look like it. */
describe('packages that stand on thrift', () => {
  const folders: string[] = []

  after(() => {
    for (const folder of folders) rmSync(folder, { recursive: true })
  })

  async function run(name: string, ...packages: string[]): Promise<Ran> {
    return runWith(['-r', 'milo/register'], name, ...packages)
  }

  async function runWith(flags: string[], name: string, ...packages: string[]): Promise<Ran> {
    const installed = await npmPackages(...packages)
    const folder = mkdtempSync(join(tmpdir(), 'milo-test-thrift-package-'))
    folders.push(folder)
    const generated = join(__dirname, '../gen/js')
    for (const file of readdirSync(generated)) {
      const code = readFileSync(join(generated, file), 'utf8')
      writeFileSync(join(folder, file), code)
    }
    symlinkSync(join(installed, 'node_modules'), join(folder, 'node_modules'))
    const { status, stdout, stderr } = await runNode(['--no-deprecation', ...flags, APP, name, folder], {
      MILO_SCRIBE: '127.0.0.1:1',
    })
    assert.equal(status, 0, stderr)
    const { told, ports, tree } = JSON.parse(stdout)
    const named = (ports as number[]).reduce((text, port, i) => text.replaceAll(`${port}`, `PORT${i}`), tree as string)
    return { told, tree: named, said: stderr.split('\n').filter(line => line !== '') }
  }

  it('by ThriftInstrumentation, the calls of @databricks/sql and hive-driver are in the same trees', async () => {
    const home = await application(SDK)
    folders.push(home)
    for (const packages of [['@databricks/sql@2.1.0'], ['hive-driver@1.0.0']]) {
      const name = packages[0]!.replace(/(.)@.*/, '$1')
      const [theirs, ours] = [await runWith(insteadOfMilo(home), name, ...packages), await run(name, ...packages)]
      assert.deepEqual([theirs.told, theirs.said], [ours.told, []])
      const [under, alone] = [theirs.tree, thriftAlone(ours.tree)].map(tree =>
        tree.replace(/ server\.port=\w+| \[generic-pool: waited \d+ ms\]/g, ''),
      )
      assert.equal(under, alone)
    }
  })

  it('@databricks/sql: its POST is the call’s child; a status and a refused connection are the call’s errors', async () => {
    const { told, tree, said } = await run('@databricks/sql', '@databricks/sql@2.1.0')
    assert.deepEqual(told, [0, 'THTTPException', 'FetchError'])
    assert.deepEqual(said, [])
    const at = (port: string) => `server.address=127.0.0.1 server.port=${port}`
    assert.equal(
      tree,
      `caller
  TCLIService.OpenSession (client) ${at('PORT0')} thrift.result=ok
    TCLIService.OpenSession (server) thrift.result=ok
      "POST /sql" (client) ${at('PORT0')} http.response.status_code=200
        "POST /sql" (server) http.response.status_code=200
TCLIService.OpenSession (client) ${at('PORT0')} error.type=403 thrift.result=transport_error
  "POST /forbidden" (client) ${at('PORT0')} http.response.status_code=403 error.type=403
    "POST /forbidden" (server) http.response.status_code=403
TCLIService.OpenSession (client) ${at('PORT1')} error.type=ECONNREFUSED thrift.result=transport_error
  "POST /sql" (client) ${at('PORT1')} error.type=ECONNREFUSED`,
    )
  })

  for (const [name, versions, told] of [
    ['thrift-pool', ['thrift-pool@0.0.1'], [3, 3]],
    ['node-thrift-pool', ['node-thrift-pool@1.3.0', 'thrift@0.20.0'], [3, 'Thrift-pool: Connection timeout']],
  ] as const) {
    it(`${name}: a call that waits longer than the socket’s timeout has the result that it gets`, async () => {
      const ran = await run(name, ...versions)
      assert.deepEqual(ran.told, told)
      assert.deepEqual(ran.said, [])
      assert.equal(
        // How long the pool let the call wait is the machine's matter.
        ran.tree.replace(/ server\.(?:address|port)=[\d.]+| \[generic-pool: waited \d+ ms\]/g, ''),
        `caller
  Calculator.add (client) thrift.result=ok
    Calculator.add (server) thrift.result=ok
      handling
Calculator.divide (client) thrift.result=ok
  Calculator.divide (server) thrift.result=ok`,
      )
    })
  }

  const both = (name: string, client: string, server: string) => [
    `  ${name} (client) ${client}`,
    `    ${name} (server) ${server}`,
  ]
  const hive = ['OpenSession', 'ExecuteStatement', 'CloseSession'].flatMap(method =>
    both(`TCLIService.${method}`, 'thrift.result=ok', 'thrift.result=ok'),
  )
  for (const [name, versions, told, tree] of [
    ['hive-driver', ['hive-driver@1.0.0'], [['Status Error: parse error', true, 'caller']], ['caller', ...hive]],
    ['jshs2', ['jshs2@0.4.4', 'thrift@0.9.3'], [['parse error', true, 'caller']], ['caller', ...hive]],
    [
      'node-impala',
      ['node-impala@2.0.4', 'thrift@0.10.0'],
      [
        ['SELECT 1', 'caller'],
        ['parse error', 'caller'],
      ],
      [
        ...['caller', ...both('BeeswaxService.explain', 'thrift.result=ok', 'thrift.result=ok')],
        'caller',
        ...both(
          'BeeswaxService.explain',
          'error.type=BeeswaxException thrift.result=exception',
          'thrift.result=exception error.type=BeeswaxException',
        ),
      ],
    ],
  ] as [string, string[], unknown[], string[]][]) {
    it(`${name}: each of its calls is a span with both halves, and what it gives is unchanged`, async () => {
      const ran = await run(name, ...versions)
      assert.deepEqual(ran.told, told)
      assert.deepEqual(ran.said, [])
      assert.deepEqual(
        ran.tree.replace(/ server\.(?:address|port)=[\w.]+| \[generic-pool: waited \d+ ms\]/g, '').split('\n'),
        tree,
      )
    })
  }

  it('scribe: its thrift 0.7 is left alone on both sides, and it is said once by name and reason', async () => {
    const ran = await run('scribe', 'scribe@0.0.9')
    assert.deepEqual(ran.told, [0, 0, 0])
    assert.deepEqual(ran.said, ["milo warn: thrift 0.7.0 is outside >=0.9.3 <1 and isn't traced"])
    assert.equal(ran.tree, 'caller\ncaller\ncaller')
  })
})
