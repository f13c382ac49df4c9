import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { finished, ROOT, startNode } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'
import { nodeOfVersion } from '../servers'
import { type KafkaServer, startKafka } from '../servers/kafka'
import { type MongoServer, startMongo } from '../servers/mongodb'
import { instrumented } from '../servers/opentelemetry'
import { startPostgres } from '../servers/postgresql'
import { startRedis } from '../servers/redis'

/** A span of the fixture's, whichever tracer made it. */
interface AppSpan {
  name: string
  kind: string
  id: string
  parent: string
  failed: boolean
  attributes: Record<string, unknown>
}

/** What the fixture uses, and the tree of spans that both tracers must make of it: siblings by name. */
const TREES = {
  web: `
    GET (client)
      GET /orders/:id (server)
        middleware - user (internal)
        request handler (internal)
          ask (internal)
            GET (client)
              GET /stock/:sku (server)
                request handler - fastify (internal)
                  look (internal)
                  middleware - known (internal)
    GET (client) !
      GET /broken (server) !
        middleware - user (internal)
        request handler (internal) !`,
  pg: `
    at once 1 (internal)
      pg-pool.connect (client)
      pg.query:SELECT postgres (client)
    at once 2 (internal)
      pg-pool.connect (client)
        pg.connect (client)
      pg.query:SELECT postgres (client)
    at once 3 (internal)
      pg-pool.connect (client)
        pg.connect (client)
      pg.query:SELECT postgres (client)
    callback (internal)
      pg.query:SELECT postgres (client)
    pg-pool.connect (client)
    promise (internal)
      pg-pool.connect (client)
        pg.connect (client)
      pg.query:SELECT postgres (client)
    wrong (internal)
      pg.query:SELECT postgres (client) !`,
  ioredis: `
    callback (internal)
      get (client)
    pipeline (internal)
      del (client)
      incr (client)
    promise (internal)
      set (client)
    wrong (internal)
      lpush (client) !`,
  kafkajs: `
    send (internal)
      send orders (producer)
        process orders (consumer)
          handle (internal)`,
  mongodb: `
    at once 1 (internal)
      find orders (client)
    at once 2 (internal)
      find orders (client)
    find (internal)
      find orders (client)
    insert (internal)
      insert orders (client)
    wrong (internal)
      insert orders (client)`,
  aws: `
    missing (internal)
      S3.GetObject (client) !
        GET (client) !
    put (internal)
      S3.PutObject (client)
        PUT (client)
    receive (internal)
      orders receive (consumer)
        POST (client)
    send (internal)
      orders send (producer)
        POST (client)`,
} satisfies Record<string, string>
type Use = keyof typeof TREES | 'express'

function lines(text: string): string {
  const all = text.split('\n').filter(line => line.trim() !== '')
  const shared = Math.min(...all.map(line => line.search(/\S/)))
  return all.map(line => line.slice(shared)).join('\n')
}

function treeOf(all: AppSpan[], named = (name: string) => name): string {
  const spans = all.map(one => ({ ...one, name: named(one.name) }))
  const line = (one: AppSpan) => `${one.name} (${one.kind})${one.failed ? ' !' : ''}`
  const below = (isHere: (one: AppSpan) => boolean, depth: number): string[] =>
    spans
      .filter(isHere)
      .sort((a, b) => (line(a) < line(b) ? -1 : 1))
      .flatMap(one => [`${'  '.repeat(depth)}${line(one)}`, ...below(({ parent }) => parent === one.id, depth + 1)])
  return below(one => !spans.some(({ id }) => id === one.parent), 0).join('\n')
}

/** Plays S3 and SQS, as far as the fixture's requests go: Amazon's own can't be had here. */
class FakeAws {
  readonly server: Server = createServer((req, res) => void this.answer(req, res))
  /** The attributes of the messages that were sent. */
  readonly sent: Record<string, unknown>[] = []

  async url(): Promise<string> {
    await once(this.server.listen(0, '127.0.0.1'), 'listening')
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  private async answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    let body = ''
    for await (const chunk of req) body += chunk
    const md5 = 'f97c5d29941bfb1b2fdab0874906ab82'
    const json = (value: unknown) =>
      res.setHeader('content-type', 'application/x-amz-json-1.0').end(JSON.stringify(value))
    switch (req.headers['x-amz-target']) {
      case 'AmazonSQS.SendMessage':
        this.sent.push(JSON.parse(body).MessageAttributes)
        return void json({ MessageId: '1', MD5OfMessageBody: md5 })
      case 'AmazonSQS.ReceiveMessage':
        return void json({ Messages: [{ MessageId: '1', ReceiptHandle: 'r', Body: 'one', MD5OfBody: md5 }] })
    }
    if (req.url?.includes('missing'))
      res.writeHead(404, { 'content-type': 'application/xml' }).end('<Error><Code>NoSuchKey</Code></Error>')
    else res.end()
  }
}

describe('libraries that OpenTelemetry instruments', function () {
  this.timeout(240_000)
  const folders: string[] = []
  const aws = new FakeAws()
  let kafkas: KafkaServer[] = []
  let mongo: MongoServer
  let servers: Record<string, unknown>

  before(async () => {
    // One broker for each tracer: a consumer gets the messages of all producers.
    const [postgres, redis, url, ...rest] = await Promise.all([
      startPostgres(),
      startRedis(),
      aws.url(),
      startMongo(),
      startKafka(['orders']),
      startKafka(['orders']),
    ])
    ;[mongo, ...kafkas] = rest
    const { host, port, username: user, database } = postgres
    servers = {
      pg: { host, port, user, database },
      redis: { host: redis.host, port: redis.port },
      mongodb: mongo.url,
      aws: url,
    }
  })

  after(async () => {
    for (const folder of folders) rmSync(folder, { recursive: true })
    aws.server.close()
    await Promise.all([mongo?.stop(), ...kafkas.map(kafka => kafka.stop())])
  })

  interface Run {
    set: Parameters<typeof instrumented>[0]
    tracer?: 'milo' | 'sdk'
    uses: Partial<Record<Use, number>>
    args?: string[]
    env?: Record<string, string>
    node?: string
  }

  /** Runs the fixture with packages of that set. @returns the spans of each use, and standard error */
  async function run({ set, tracer = 'milo', uses, args = [], env = {}, node }: Run) {
    const folder = mkdtempSync(join(await instrumented(set), 'run-'))
    folders.push(folder)
    // It finds the packages from where it is.
    const app = join(folder, 'app.cjs')
    copyFileSync(join(ROOT, 'test/fixtures/otel-app.cjs'), app)
    const given = {
      tracer,
      dist: join(ROOT, 'dist'),
      servers: { ...servers, kafka: [kafkas[tracer === 'milo' ? 0 : 1]!.broker] },
      uses,
    }
    const child = startNode([...args, app, JSON.stringify(given)], { NODE_NO_WARNINGS: '1', ...env }, folder, node)
    const { status, stdout, stderr } = await finished(child, 60_000)
    assert.equal(status, 0, stderr)
    return { spans: JSON.parse(stdout) as Record<Use, AppSpan[]>, stderr }
  }

  const counted = (...names: (keyof typeof TREES)[]) =>
    Object.fromEntries(names.map(name => [name, lines(TREES[name]).split('\n').length]))

  describe('on the oldest Node', () => {
    let milo: Awaited<ReturnType<typeof run>>
    let sdk: Awaited<ReturnType<typeof run>>

    before(async () => {
      const uses = counted(...(Object.keys(TREES) as (keyof typeof TREES)[]))
      ;[milo, sdk] = await Promise.all([
        run({ set: 'all', tracer: 'milo', uses }),
        run({ set: 'all', tracer: 'sdk', uses }),
      ])
    })

    for (const [name, expected] of Object.entries(TREES)) {
      it(`are in Milo’s traces as they are in those of OpenTelemetry’s SDK: ${name}`, () => {
        assert.equal(treeOf(milo.spans[name as Use]), lines(expected))
        assert.equal(treeOf(sdk.spans[name as Use]), lines(expected))
      })
    }

    it('have the same attributes, as text', () => {
      for (const name of Object.keys(TREES) as Use[]) {
        // Ports and addresses of this run, Kafka's offsets and partitions, and what took how long.
        const own =
          /port|peer|namespace|address|url|host|offset|partition|key|message|user_agent|otel\.|exception|sent|tombstone/
        const attributes = (spans: AppSpan[]) =>
          spans.flatMap(one =>
            Object.entries(one.attributes).flatMap(([key, value]) =>
              own.test(key) || /^error/.test(key)
                ? []
                : [`${one.name} ${key}=${typeof value === 'object' ? JSON.stringify(value) : value}`],
            ),
          )
        assert.deepEqual(attributes(milo.spans[name]).sort(), attributes(sdk.spans[name]).sort())
      }
    })

    it('are quiet: nothing on standard error', () => assert.deepEqual([milo.stderr, sdk.stderr], ['', '']))

    it('carry the trace in a message of SQS, by the attributes that are written and no more', () => {
      for (const attributes of aws.sent) assert.deepEqual(Object.keys(attributes), ['traceparent'])
    })
  })

  it('work with the oldest API, and instrumentations of 2022', async () => {
    const uses = { express: 6, ...counted('ioredis') }
    const { spans, stderr } = await run({ set: 'oldest', uses })
    assert.equal(stderr, '')
    assert.equal(treeOf(spans.ioredis), lines(TREES.ioredis))
    assert.equal(
      treeOf(spans.express),
      lines(`
        HTTP GET (client)
          GET /orders/:id (server)
            middleware - expressInit (internal)
            middleware - query (internal)
            request handler - /orders/:id (internal)
            work (internal)`),
    )
  })

  it('work on a newer Node, with the API and the instrumentations that need it', async () => {
    const { spans, stderr } = await run({
      set: 'newest',
      uses: counted('web', 'pg', 'ioredis'),
      node: await nodeOfVersion('24'),
    })
    assert.equal(stderr, '')
    for (const name of ['web', 'pg', 'ioredis'] as const) assert.equal(treeOf(spans[name]), lines(TREES[name]))
  })

  it('are registered as the documentation shows it', async () => {
    const page = readFileSync(join(ROOT, 'docs/opentelemetry.md'), 'utf8')
    const [, tracing] = /```js tracing\n(.*?)\n```/s.exec(page)!
    const folder = mkdtempSync(join(await instrumented('all'), 'run-'))
    folders.push(folder)
    writeFileSync(join(folder, 'tracing.js'), tracing!)
    const app = `
      const app = require('express')().get('/', (req, res) => res.end())
      const server = app.listen(0, '127.0.0.1', async () => {
        await (await fetch('http://127.0.0.1:' + server.address().port)).text()
        server.close()
      })`
    const scribe = await ScribePeer.listen()
    try {
      const args = ['-r', join(ROOT, 'dist/otel/register.js'), '-r', './tracing.js', '-e', app]
      const env = { MILO_SCRIBE: scribe.address, MILO_SAMPLER: 'always' }
      const { status, stderr } = await finished(startNode(args, env, folder))
      assert.deepEqual([status, stderr], [0, ''])
      const names = new Map(scribe.spans.map(span => [span.name, span]))
      assert.equal(names.get('request handler')?.parentId, scribe.spans.find(span => span.serverHost !== undefined)?.id)
    } finally {
      await scribe.close()
    }
  })

  it('are traced once where plugins of Milo’s trace them too, and Milo says which', async () => {
    const args = ['-r', join(ROOT, 'dist/otel/register.js')]
    const [plugins, instrumentations] = await Promise.all([
      run({ set: 'all', uses: { ...counted('web'), pg: 12 }, args }),
      run({ set: 'all', uses: counted('web', 'pg'), args, env: { MILO_PLUGINS: '-http,-undici,-pg' } }),
    ])
    // Whose spans they are shows in their names alone.
    const method = (name: string) => name.replace(/^GET \/.*/, 'GET')
    assert.equal(treeOf(plugins.spans.web, method), treeOf(instrumentations.spans.web, method))
    for (const name of ['web', 'pg'] as const) assert.equal(treeOf(instrumentations.spans[name]), lines(TREES[name]))
    // One span for each statement, below the code that made it.
    assert.match(
      treeOf(plugins.spans.pg, () => ''),
      /^( \(internal\)\n {3}\(client\)( !)?(\n|$)){6}$/,
    )
    const scopes = ({ spans }: typeof plugins) =>
      new Set([...spans.web, ...spans.pg].map(one => String(one.attributes['otel.scope.name'])))
    for (const name of ['http', 'undici', 'pg']) {
      const scope = `@opentelemetry/instrumentation-${name}`
      assert.ok(!scopes(plugins).has(scope) && scopes(instrumentations).has(scope))
      assert.match(plugins.stderr, new RegExp(`^milo warn: Milo's plugin ${name} traces what ${scope} traces`, 'm'))
    }
    assert.equal(plugins.stderr.trim().split('\n').length, 3)
    assert.equal(instrumentations.stderr, '')
  })
})
