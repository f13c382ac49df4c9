import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { ROOT, startNode } from './helpers/child'
import { plainAttributes, readOtlp } from './helpers/http-peer'
import { until } from './helpers/until'
import { apt, run, which } from './servers/install'
import { startMariaDb } from './servers/mariadb'
import { npmPackages } from './servers/npm'
import { freePort } from './servers/process'

/** The fenced block of a page that begins with these words, such as `js before/front.js`. */
function block(page: string, words: string): string {
  const text = readFileSync(join(ROOT, 'docs', page), 'utf8')
  const start = text.indexOf(`\`\`\`${words}\n`)
  assert.notEqual(start, -1, `${page} has a block ${words}`)
  return text.slice(start + words.length + 4, text.indexOf('\n```', start) + 1)
}

/** Files that a page shows. @param when the folder in which it shows them */
function blocks(page: string, when: string, names: string[]): Record<string, string> {
  return Object.fromEntries(names.map(name => [name, block(page, `${name.split('.')[1]} ${when}/${name}`)]))
}

/** A span of any tracer, as far as traces are compared. */
interface Seen {
  traceId: string
  id: string
  parentId?: string
  service: string
  kind: 'client' | 'server' | 'local'
  name: string
  startUs: number
  item?: string
}

/** The trace of the request for this item, a line for each span. */
function tree(spans: Seen[], item: string): string[] {
  const traceId = spans.find(span => span.item === item)?.traceId
  const trace = spans.filter(span => span.traceId === traceId)
  /** A server that has joined its client's span is below it. */
  const above = (span: Seen) =>
    trace.find(({ id, kind }) => span.kind === 'server' && kind === 'client' && id === span.id) ??
    trace.find(({ id, kind }) => id === span.parentId && kind !== 'client') ??
    trace.find(({ id }) => id === span.parentId)
  const below = (parent: Seen | undefined, depth: number): string[] =>
    trace
      .filter(span => above(span) === parent)
      .sort((a, b) => a.startUs - b.startUs)
      .flatMap(span => [`${'  '.repeat(depth)}${span.service} ${span.kind} ${span.name}`, ...below(span, depth + 1)])
  return below(undefined, 0)
}

const MILO = ['-r', 'milo/register']

describe('moving to Milo', function () {
  this.timeout(300_000)
  const children: ChildProcess[] = []
  const folders: string[] = []
  const errors: string[] = []
  /** Where all spans go; what it is sent. HttpPeer doesn't read chunks, which OpenTelemetry's exporter sends. */
  let sink: Server
  let url: string
  const bodies: Buffer[] = []
  let rates: Server
  const asked: IncomingHttpHeaders[] = []

  before(async () => {
    if (which('thrift') === undefined) await apt(['thrift-compiler'], 'put the compiler of Apache Thrift on the PATH')
    rates = createServer((req, res) => {
      asked.push(req.headers)
      res.end('2')
    })
    rates.listen(0, '127.0.0.1')
    await once(rates, 'listening')
  })
  beforeEach(async () => {
    bodies.splice(0)
    sink = createServer(async (req, res) => {
      const chunks: Buffer[] = []
      for await (const chunk of req) chunks.push(chunk)
      const body = Buffer.concat(chunks)
      bodies.push(req.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body)
      res.end()
    }).listen(0, '127.0.0.1')
    await once(sink, 'listening')
    url = `http://127.0.0.1:${(sink.address() as AddressInfo).port}`
  })
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
    errors.splice(0)
    sink.closeAllConnections()
    sink.close()
  })
  after(() => rates.close())

  /** An application's folder with these packages, Milo as npm installs it, and files: their names, and what is in them. */
  async function application(packages: string[], files: Record<string, string>): Promise<string> {
    const installed = join(await npmPackages(...packages), 'node_modules')
    const home = mkdtempSync(join(tmpdir(), 'milo-test-moving-'))
    folders.push(home)
    const modules = join(home, 'node_modules')
    mkdirSync(join(modules, 'milo'), { recursive: true })
    for (const name of readdirSync(installed)) symlinkSync(join(installed, name), join(modules, name))
    for (const name of ['thrift', 'node-int64', 'shimmer'])
      if (!readdirSync(modules).includes(name)) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name))
    cpSync(join(ROOT, 'dist'), join(modules, 'milo/dist'), { recursive: true })
    copyFileSync(join(ROOT, 'package.json'), join(modules, 'milo/package.json'))
    for (const [name, text] of Object.entries(files)) writeFileSync(join(home, name), text)
    if (files['stock.thrift'] !== undefined) {
      mkdirSync(join(home, 'gen'))
      await run(which('thrift')!, ['--gen', 'js:node,es6', '-out', 'gen', 'stock.thrift'], { cwd: home })
    }
    return home
  }

  /** Starts a file of an application, whose text has the port 8080 or 9090. */
  async function serve(
    home: string,
    file: string,
    ports: Record<string, number>,
    flags: string[],
    env: Record<string, string>,
    expected = /^$/,
  ) {
    let text = readFileSync(join(home, file), 'utf8')
    for (const [shown, port] of Object.entries(ports)) text = text.replaceAll(shown, String(port))
    const name = `${Object.values(ports).join('-')}-${file}`
    writeFileSync(join(home, name), text)
    const child = startNode([...flags, name], env, home)
    children.push(child)
    child.stderr!.on('data', data => expected.test(String(data)) || errors.push(`${file}: ${data}`))
    const own = Object.values(ports)[0]!
    await until(`${file} listens on ${own}`, () => isOpen(own).then(open => open || errors.length > 0), 30_000)
    assert.deepEqual(errors, [])
    return child
  }

  const ratesPort = () => (rates.address() as AddressInfo).port

  async function get(port: number, path: string, headers: Record<string, string> = {}) {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers, signal: AbortSignal.timeout(15_000) })
    return answer.text()
  }

  /** Asks a stock, from this process, which isn't traced. */
  async function price(home: string, port: number, item: string): Promise<number> {
    const thrift = require(join(home, 'node_modules/thrift'))
    const connection = thrift.createConnection('127.0.0.1', port, {})
    try {
      return await thrift.createClient(require(join(home, 'gen/Stock')), connection).price(item)
    } finally {
      connection.end()
    }
  }

  describe('from zipkin-js', () => {
    const PAGE = 'moving-from-zipkin-js.md'
    const PACKAGES = [
      'zipkin@0.22.0',
      'zipkin-transport-http@0.22.0',
      'zipkin-context-cls@0.22.0',
      'zipkin-instrumentation-express@0.22.0',
      'zipkin-instrumentation-fetch@0.22.0',
      'express@4.22.1',
      'node-fetch@2.7.0',
      'thrift@0.24.0',
    ]

    const files = (when: string, names: string[]) => blocks(PAGE, when, names)

    function old() {
      const all = files('before', ['stock.thrift', 'tracing.js', 'front.js', 'stock.js'])
      return { ...all, 'tracing.js': changed(all['tracing.js']!, /JSON_V2 \}/, 'JSON_V2, httpInterval: 50 }') }
    }

    function between() {
      const all: Record<string, string> = old()
      const tracing = changed(
        all['tracing.js']!,
        /module.exports = \{ /,
        `${block(PAGE, 'js between/w3c.js')}\nmodule.exports = { toW3c, carrierOf, `,
      )
      return {
        ...files('between', ['stock.thrift']),
        'tracing.js': tracing,
        'front.js': changed(all['front.js']!, /^ {2}const price = .*\n/m, block(PAGE, 'js between/front.js')).replace(
          'tracer, call',
          'tracer, call, toW3c',
        ),
        'stock.js': changed(all['stock.js']!, /^ {2}price: [\s\S]*?\{\n/m, block(PAGE, 'js between/stock.js')).replace(
          'tracer, serve',
          'tracer, serve, carrierOf',
        ),
      }
    }

    /** What one trace is, by Zipkin's JSON. */
    const spans = (): Seen[] =>
      bodies
        .flatMap(body => JSON.parse(body.toString()))
        .map(({ traceId, id, parentId, kind, name, timestamp, localEndpoint, tags }) => ({
          traceId: traceId.replace(/^0{16}/, ''),
          id,
          parentId,
          service: localEndpoint.serviceName,
          kind: kind?.toLowerCase() ?? 'local',
          name,
          startUs: timestamp,
          item: kind === 'SERVER' && localEndpoint.serviceName === 'front' ? tags?.item : undefined,
        }))

    it('gives the same traces before, after, and while one of two services has moved', async () => {
      const [before, mixed, moved] = await Promise.all([
        application(PACKAGES, old()),
        application(PACKAGES, between()),
        application(PACKAGES, files('after', ['stock.thrift', 'front.js', 'stock.js'])),
      ])
      const [oldStock, mixedStock, movedStock, ...fronts] = await Promise.all(
        Array.from({ length: 7 }, () => freePort()),
      )
      const zipkin = (service: string) => ({ ZIPKIN: url, SERVICE: service })
      const milo = (service: string) => ({
        MILO_EXPORT: `zipkin:${url}`,
        MILO_SERVICE: service,
        MILO_SAMPLER: 'always',
      })
      const mixing = { ...milo('front'), MILO_PROPAGATION: 'b3multi,compat' }
      await Promise.all([
        serve(before, 'stock.js', { 9090: oldStock! }, [], zipkin('stock')),
        serve(mixed, 'stock.js', { 9090: mixedStock! }, [], zipkin('stock')),
        serve(moved, 'stock.js', { 9090: movedStock! }, MILO, milo('stock')),
      ])
      const front = (at: number, stock: number) => ({ 8080: fronts[at]!, 9090: stock, 9091: ratesPort() })
      await Promise.all([
        serve(before, 'front.js', front(0, oldStock!), [], zipkin('front')),
        serve(moved, 'front.js', front(1, movedStock!), MILO, milo('front')),
        serve(mixed, 'front.js', front(2, movedStock!), [], zipkin('front')),
        serve(moved, 'front.js', front(3, mixedStock!), MILO, mixing),
      ])
      asked.splice(0)
      const items = ['a', 'bb', 'ccc', 'dddd']
      const b3 = { 'x-b3-traceid': '00000000000000a1', 'x-b3-spanid': '00000000000000a2', 'x-b3-sampled': '1' }
      const answers = items.map((item, i) => get(fronts[i]!, `/buy/${item}`))
      assert.deepEqual(await Promise.all([...answers, get(fronts[1]!, '/buy/e', b3)]), ['20', '40', '60', '80', '20'])
      // A service that has moved, and whose Milo is off.
      assert.equal(await price(moved, mixedStock!, 'eeeee'), 50)
      await until('the traces have come', () => [...items, 'e'].every(item => tree(spans(), item).length === 5), 15_000)
      assert.deepEqual(errors, [])
      const names = (web: string, rate: string, client: string, server: string) => [
        `front server ${web} /buy/:item`,
        `  front client ${rate}`,
        '  front local look up',
        `    front client ${client}`,
        `      stock server ${server}`,
      ]
      assert.deepEqual(
        items.map(item => tree(spans(), item)),
        [
          names('get', 'get', 'price', 'price'),
          names('GET', 'GET /rate', 'Stock.price', 'Stock.price'),
          names('get', 'get', 'price', 'Stock.price'),
          names('GET', 'GET /rate', 'Stock.price', 'price'),
        ],
      )
      assert.equal(spans().find(({ item }) => item === 'e')?.traceId, b3['x-b3-traceid'])
      // The service that is asked by HTTP sees B3 of all but the one that has moved, twice, and goes on as by default.
      assert.equal(asked.filter(headers => headers['x-b3-traceid'] !== undefined).length, 3)
      assert.equal(asked.filter(headers => headers.traceparent !== undefined).length, 2)
    })
  })

  describe('from OpenTelemetry', () => {
    const PAGE = 'moving-from-opentelemetry.md'
    const PACKAGES = [
      '@opentelemetry/api@1.9.1',
      '@opentelemetry/sdk-node@0.223.0',
      '@opentelemetry/auto-instrumentations-node@0.81.2',
    ]
    const files = (when: string, names: string[]) => blocks(PAGE, when, names)

    function between() {
      const all: Record<string, string> = files('before', NAMES)
      return {
        ...all,
        ...files('between', ['stock.thrift']),
        'front.js': changed(all['front.js']!, /^ *return await call.*\n/m, block(PAGE, 'js between/front.js')),
        'stock.js': changed(all['stock.js']!, /^ {2}price: [\s\S]*?\{\n/m, block(PAGE, 'js between/stock.js')),
      }
    }
    const NAMES = ['stock.thrift', 'instrumentation.js', 'thrift-tracing.js', 'front.js', 'stock.js']

    const KINDS = ['', 'local', 'server', 'client'] as const
    const spans = (): Seen[] =>
      bodies
        .flatMap(body => readOtlp(body).resourceSpans)
        .flatMap(({ resource, scopeSpans }: any) =>
          scopeSpans.flatMap((scope: any) =>
            scope.spans.map((span: any) => ({
              traceId: span.traceId,
              id: span.spanId,
              parentId: span.parentSpanId,
              service: plainAttributes(resource.attributes)['service.name'],
              kind: KINDS[span.kind] || 'local',
              name: span.name,
              startUs: Number(span.startTimeUnixNano) / 1000,
              item: plainAttributes(span.attributes).item,
            })),
          ),
        )

    it('gives the same traces before, after in both ways, and while one of two services has moved', async () => {
      const after = files('after', ['stock.thrift', 'front.js', 'stock.js'])
      const [before, mixed, moved] = await Promise.all([
        application(PACKAGES, files('before', NAMES)),
        application(PACKAGES, between()),
        application(PACKAGES, { ...after, ...files('keep', ['instrumentation.js']) }),
      ])
      const [either, kept, milo, ...fronts] = await Promise.all(Array.from({ length: 9 }, () => freePort()))
      const otel = (service: string) => ({
        OTEL_SERVICE_NAME: service,
        OTEL_EXPORTER_OTLP_ENDPOINT: url,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
        OTEL_METRICS_EXPORTER: 'none',
        OTEL_LOGS_EXPORTER: 'none',
        OTEL_NODE_RESOURCE_DETECTORS: 'env',
        OTEL_BSP_SCHEDULE_DELAY: '100',
      })
      const sdk = ['-r', './instrumentation.js']
      const under = ['-r', 'milo/otel/register']
      const env = (service: string) => ({
        MILO_EXPORT: `otlp:${url}`,
        MILO_SERVICE: service,
        MILO_SAMPLER: 'always',
        MILO_PROPAGATION: 'compat',
      })
      const front = (at: number, stock: number) => ({ 8080: fronts[at]!, 9090: stock })
      await Promise.all([
        serve(mixed, 'stock.js', { 9090: either! }, sdk, otel('stock')),
        serve(moved, 'stock.js', { 9090: kept! }, sdk, otel('stock')),
        serve(moved, 'stock.js', { 9090: milo! }, under, env('stock')),
      ])
      await Promise.all([
        serve(before, 'front.js', front(0, either!), sdk, otel('front')),
        serve(mixed, 'front.js', front(1, kept!), sdk, otel('front')),
        serve(moved, 'front.js', front(2, either!), sdk, otel('front')),
        serve(moved, 'front.js', front(3, kept!), sdk, otel('front')),
        serve(moved, 'front.js', front(4, milo!), under, env('front')),
        serve(moved, 'front.js', front(5, either!), under, env('front')),
      ])
      const items = ['a', 'bb', 'ccc', 'dddd', 'eeeee', 'ffffff']
      const answers = items.map((item, i) => get(fronts[i]!, `/buy/${item}`))
      assert.deepEqual(await Promise.all(answers), ['10', '20', '30', '40', '50', '60'])
      await until('the traces have come', () => items.every(item => tree(spans(), item).length === 4), 15_000)
      assert.deepEqual(errors, [])
      const names = (web: string, client: string, server: string) => [
        `front server ${web}`,
        '  front local look up',
        `    front client ${client}`,
        `      stock server ${server}`,
      ]
      assert.deepEqual(
        items.map(item => tree(spans(), item)),
        [
          names('GET', 'price', 'price'),
          names('GET', 'price', 'Stock/price'),
          names('GET', 'Stock/price', 'price'),
          names('GET', 'Stock/price', 'Stock/price'),
          names('GET /buy/eeeee', 'Stock.price', 'Stock.price'),
          names('GET /buy/ffffff', 'Stock.price', 'price'),
        ],
      )
    })
  })

  describe('from cls-hooked', () => {
    const PAGE = 'moving-from-cls-hooked.md'
    const PACKAGES = ['cls-hooked@4.2.2', 'express@4.22.1', 'winston@3.19.0', 'sequelize@6.37.7', 'mysql2@3.24.6']
    const app = { 'app.js': block(PAGE, 'js before/app.js'), 'check.js': block(PAGE, 'js check.js') }

    it('gives the same answers and logs before, after, and without changing a line', async () => {
      const [{ host, port, username, password }, before, after] = await Promise.all([
        startMariaDb(),
        application(PACKAGES, { ...app, ...blocks(PAGE, 'before', ['context.js']) }),
        application(PACKAGES, { ...app, ...blocks(PAGE, 'after', ['context.js']) }),
      ])
      const DATABASE_URL = `mysql://${username}:${password}@${host}:${port}/information_schema`
      const check = ['-r', './check.js']
      const houses: { home: string; flags: string[]; env: Record<string, string> }[] = [
        { home: before, flags: check, env: {} },
        { home: after, flags: check, env: {} },
        { home: before, flags: [...check, ...MILO], env: { MILO_CLS_HOOKED: '1', MILO_SAMPLER: 'never' } },
      ]
      const results = houses.map(async ({ home, flags, env }) => {
        const own = await freePort()
        const child = await serve(home, 'app.js', { 8080: own }, flags, { ...env, DATABASE_URL }, /a hook is made/)
        let printed = ''
        child.stdout!.on('data', data => {
          printed += data
        })
        const ids = ['ann', 'bob', 'cy', 'dee']
        const answers = ids.map(async id => JSON.parse(await get(own, '/', { 'x-request-id': id })))
        const answered = await Promise.all(answers)
        const lines = () => printed.split('\n').slice(0, -1)
        await until('eight lines are logged', () => lines().length === 8)
        return [
          answered,
          lines()
            .map(line => JSON.parse(line))
            .map(({ message, request }) => `${message} ${request}`)
            .sort(),
        ]
      })
      const said = await Promise.all(results)
      const ids = ['ann', 'bob', 'cy', 'dee']
      assert.deepEqual(said[0], [
        ids.map(request => ({ request, isOneTransaction: true })),
        [...ids.map(id => `asked ${id}`), ...ids.map(id => `done ${id}`)],
      ])
      assert.deepEqual(said.slice(1), [said[0], said[0]])
    })
  })
})

/** @returns the text with this part replaced, which must be there */
function changed(text: string, part: RegExp, by: string): string {
  assert.match(text, part)
  return text.replace(part, () => by)
}

function isOpen(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createConnection(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    }).on('error', () => resolve(false))
  })
}
