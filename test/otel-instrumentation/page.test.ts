import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { finished, ROOT, runNode, startNode } from '../helpers/child'
import { type Collector, startCollector } from '../helpers/programs'
import { until } from '../helpers/until'
import { AUTO, application } from './support'

const PAGE = readFileSync(join(ROOT, 'docs/opentelemetry.md'), 'utf8')
const STARTED = readFileSync(join(ROOT, 'docs/getting-started.md'), 'utf8')

/** The fenced block of a page for this file. */
function program(page: string, name: string): string {
  const code = page.slice(page.indexOf(`\`\`\`js ${name}\n`) + name.length + 7)
  return code.slice(0, code.indexOf('\n```') + 1)
}

/** A service and who calls it by HTTP, as their authors wrote them; in either module system. */
const SERVICE = `
const server = createServer(Calculator, { add: async (a, b) => a + b }).listen(0, '127.0.0.1', () => {
  const client = createClient(Calculator, createConnection('127.0.0.1', server.address().port, {}))
  const front = http.createServer(async (request, response) => response.end(String(await client.add(20, 22))))
  front.listen(0, '127.0.0.1', async () => {
    const answer = await fetch('http://127.0.0.1:' + front.address().port + '/checkout')
    console.log(await answer.text())
  })
})
`

describe('docs/opentelemetry.md', function () {
  this.timeout(300_000)
  let home: string
  let collector: Collector
  before(async () => {
    home = await application(AUTO)
    for (const name of ['instrumentation.js', 'instrumentation.mjs'])
      writeFileSync(join(home, name), program(PAGE, name))
    writeFileSync(
      join(home, 'server.js'),
      `const http = require('node:http'), { createServer, createClient, createConnection } = require('thrift')
       const Calculator = require(process.env.GEN + '/es6/Calculator')${SERVICE}`,
    )
    writeFileSync(
      join(home, 'server.mjs'),
      `import http from 'node:http'
       import { createServer, createClient, createConnection } from 'thrift'
       import { createRequire } from 'node:module'
       const Calculator = createRequire(import.meta.url)(process.env.GEN + '/es6/Calculator')${SERVICE}`,
    )
    collector = await startCollector()
  })
  after(async () => {
    rmSync(home, { recursive: true, force: true })
    await collector.stop()
  })

  const environment = (service: string, endpoint = collector.web) => ({
    OTEL_SERVICE_NAME: service,
    OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
    OTEL_METRICS_EXPORTER: 'none',
    OTEL_LOGS_EXPORTER: 'none',
    OTEL_NODE_RESOURCE_DETECTORS: 'env',
  })

  for (const command of [
    'node --require ./instrumentation.js server.js',
    'node --import ./instrumentation.mjs server.mjs',
    'node --require @opentelemetry/auto-instrumentations-node/register --require milo/otel-instrumentation/register server.js',
  ]) {
    it(`shows a setup whose Thrift calls are below its HTTP requests: ${command}`, async () => {
      const args = command.split(' ').slice(1)
      // The page has the flags; the second program is the first one's as an ES module.
      assert.ok(PAGE.includes(command.includes('.mjs') ? args.slice(0, 2).join(' ') : command))
      const service = `orders ${args.length} ${args[0]} ${args[1]}`.replaceAll(/\W+/g, '-')
      const env = { ...environment(service), GEN: join(ROOT, 'test/gen'), OTEL_BSP_SCHEDULE_DELAY: '50' }
      const child = startNode(args, env, home)
      const ended = finished(child, 60_000)
      const spans: any[] = await until('the trace is found', async () => {
        const found: any = await (
          await fetch(`${collector.web}/api/search?service=${service}&name=Calculator/add`)
        ).json()
        const [summary] = found.traces ?? []
        if (summary === undefined) return undefined
        const trace: any = await (await fetch(`${collector.web}/api/traces/${summary.traceId}`)).json()
        return trace.spans.some((s: any) => s.name === 'Calculator/add' && s.kind === 'server')
          ? trace.spans
          : undefined
      })
      // On SIGTERM the SDK shuts down, and its handler leaves it to the servers to end the process.
      child.kill('SIGKILL')
      const { stdout, stderr } = await ended
      assert.equal(stdout.trim().split('\n').at(-1), '42')
      assert.doesNotMatch(stderr, /milo/)
      const server = spans.find(s => s.name === 'Calculator/add' && s.kind === 'server')
      const client = spans.find(s => s.spanId === server.parentId)
      const request = spans.find(s => s.spanId === client.parentId)
      assert.deepEqual([client.name, client.kind], ['Calculator/add', 'client'])
      assert.deepEqual([request.name, request.kind], ['GET', 'server'])
    })
  }

  for (const [flags, name] of [
    ['--require ./instrumentation.js', 'client.js'],
    ['--import ./instrumentation.mjs', 'client.mjs'],
  ] as const) {
    it(`shows a setup that sends the last spans of a program that ends, and ends it as ever without a collector: ${flags}`, async () => {
      const generated = join(ROOT, 'test/gen/es6/Calculator.js')
      const { createServer } = require('thrift')
      const server = createServer(require(generated), { add: async (a: number, b: number) => a + b })
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
      const { port } = server.address() as { port: number }
      // That of the page to which this one sends its readers, for the service that the tests have.
      const code = program(STARTED, name)
        .replace(/'\.\/gen-nodejs\/Greeter(\.js)?'/, JSON.stringify(generated))
        .replace("greet('ada')", 'add(20, 22)')
        .replace('9090', String(port))
      writeFileSync(join(home, name), code)
      try {
        const service = `visitor-${name.replace('.', '-')}`
        for (const env of [
          environment(service),
          { ...environment(service, 'http://127.0.0.1:1'), OTEL_EXPORTER_OTLP_TIMEOUT: '500' },
        ]) {
          const { status, stdout, stderr } = await runNode([...flags.split(' '), name], env, home)
          assert.deepEqual([status, stdout], [0, '42\n'], stderr)
        }
        await until('the client’s span is found', async () => {
          const found = await fetch(`${collector.web}/api/search?service=${service}&name=Calculator/add`)
          return ((await found.json()) as { traces: unknown[] }).traces.length > 0
        })
      } finally {
        server.close()
      }
    })
  }
})
