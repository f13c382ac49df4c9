import assert from 'node:assert/strict'
import { copyFileSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import { createToken, hashPassword } from '../../collector/src/auth/credentials'
import { type Config, changedKeys, KEYS, loadConfig } from '../../collector/src/config'
import { ROOT } from '../helpers/child'
import { until } from '../helpers/until'
import { collector, logFrame, Peer, resultCode, span, type TestCollector, temporaryDirectory, undo } from './support'

const CERTIFICATES = join(ROOT, 'test/fixtures/tls')
const file = (name: string) => join(CERTIFICATES, name)

/** A copy with another value at a path. */
function changed(config: Config, key: string, value: unknown): Config {
  const copy = structuredClone(config)
  const path = key.split('.')
  const last = path.pop()!
  let at = copy as unknown as Record<string, any>
  for (const part of path) at = at[part] ??= {}
  at[last] = value
  return copy
}

function status(c: TestCollector, path: string, headers: Record<string, string> = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const asking = request(c.url + path, { headers, agent: false }, answer => {
      answer.resume().on('end', () => resolve(answer.statusCode!))
    })
    asking.on('error', reject).end()
  })
}

/** Settings that need a restart, each with a value that isn't the default. */
const RESTART: Record<string, unknown> = {
  collector_host: '127.0.0.2',
  collector_port: [0, 0],
  collector_id: 'another',
  'scribe.category': 'Other',
  'scribe.zipkin_category': '',
  'fb303.allow_shutdown': true,
  'http.host': '127.0.0.2',
  'http.port': 1,
  'http.max_body_bytes': 4096,
  store: 'scribe',
  'embedded.path': '/elsewhere.db',
  'cassandra.hostname': ['a', 'b'],
  'cassandra.port': 9043,
  'cassandra.local_dc': 'other',
  'cassandra.keyspace': 'other',
  'cassandra.username': 'other',
  'cassandra.password': 'other',
  'cassandra.consistency': 'ONE',
  'cassandra.tls.ca': '/ca.pem',
  'cassandra.tls.cert': '/cert.pem',
  'cassandra.tls.key': '/key.pem',
  'mysql.hostname': 'other',
  'mysql.port': 3307,
  'mysql.database': 'other',
  'mysql.username': 'other',
  'mysql.password': 'other',
  'mysql.tls.ca': '/ca.pem',
  'mysql.tls.cert': '/cert.pem',
  'mysql.tls.key': '/key.pem',
  'relay.path': '/elsewhere.db',
  'relay.max_bytes': 2_000_000,
  'relay.upstreams': [{ host: 'other', port: 1463 }],
  'relay.tls.ca': '/ca.pem',
  'relay.tls.cert': '/cert.pem',
  'relay.tls.key': '/key.pem',
  'relay.base64': true,
  retention_days: 3,
  activity_days: 30,
  analysis_days: 30,
  max_frame_bytes: 2048,
  max_in_flight_bytes: 2_000_000,
  max_backlog_spans: 2000,
  max_backlog_bytes: 2_000_000,
  max_trace_bytes: 4096,
  max_read_bytes: 2_000_000,
  max_service_series: 700,
  max_connections: 7,
  idle_timeout_ms: 2000,
}

const OBSOLETE = ['collector_min_workers', 'scribe.hostname', 'scribe.port', 'cassandra.column_family']
/** Taken over where TLS is spoken already; shown below. */
const CERTIFICATE_FILES = ['scribe', 'http'].flatMap(at => ['cert', 'key', 'ca'].map(name => `${at}.tls.${name}`))

const TOKEN = createToken('me', 'full')

/** Settings that are taken over, each with a value and what shows that it is. */
const RELOADED: Record<string, { value: unknown; given?: [string, unknown]; shows(c: TestCollector): Promise<void> }> =
  {
    log_level: {
      value: 'silent',
      async shows(c) {
        const before = c.lines.length
        const peer = new Peer(c.scribePorts[0]!)
        peer.send(Buffer.from('no frame'))
        await peer.closed
        assert.equal(c.lines.length, before)
      },
    },
    'http.users': {
      value: [],
      async shows(c) {
        assert.equal(await status(c, '/api/search'), 401)
      },
    },
    'http.tokens': {
      value: [TOKEN.line],
      async shows(c) {
        const authorization = `Bearer ${TOKEN.token}`
        assert.deepEqual(
          [await status(c, '/api/search'), await status(c, '/api/search', { authorization })],
          [401, 200],
        )
      },
    },
    'http.auth': {
      value: 'none',
      given: ['http.tokens', [TOKEN.line]],
      async shows(c) {
        assert.equal(await status(c, '/api/search'), 200)
      },
    },
    'http.rate_limit': {
      value: 1,
      async shows(c) {
        assert.deepEqual([await status(c, '/api/search'), await status(c, '/api/search')], [200, 429])
      },
    },
    'http.allowed_hosts': {
      value: ['milo.example'],
      async shows(c) {
        const statuses = ['milo.example', 'other.example'].map(host => status(c, '/api/search', { host }))
        assert.deepEqual(await Promise.all(statuses), [200, 403])
      },
    },
    'http.trusted_proxies': {
      value: ['127.0.0.1'],
      given: ['http.rate_limit', 1],
      async shows(c) {
        for (const expected of [200, 429]) {
          assert.equal(await status(c, '/api/search', { 'x-forwarded-for': '192.0.2.1' }), expected)
        }
      },
    },
    'http.base_path': {
      value: '/milo',
      async shows(c) {
        assert.deepEqual([await status(c, '/milo/livez'), await status(c, '/livez')], [200, 200])
      },
    },
    log_link: {
      value: 'https://logs.example/{traceId}',
      async shows(c) {
        assert.deepEqual((await c.get('/api/settings')).body, { logLink: 'https://logs.example/{traceId}' })
      },
    },
    'index.allow': {
      value: ['other'],
      async shows(c) {
        assert.equal(await status(c, '/api/search?q=color%3Dred'), 400)
      },
    },
    'index.deny': {
      value: ['color'],
      async shows(c) {
        assert.equal(await status(c, '/api/search?q=color%3Dred'), 400)
      },
    },
    'index.value_length': {
      value: 3,
      async shows(c) {
        // What it does to a search is the stores' contract; here, that a store with it takes and finds spans.
        assert.equal(await new Peer(c.scribePorts[0]!).log(span({ annotations: new Map([['color', 'yellow']]) })), 0)
        await until('it is found', async () => (await c.get('/api/search?q=color%5E%3Dyel')).body.traces.length === 1)
      },
    },
  }

describe('a reload', () => {
  afterEach(undo)

  it('is a matter that every setting decides', () => {
    const decided = [...Object.keys(RESTART), ...Object.keys(RELOADED), ...CERTIFICATE_FILES, ...OBSOLETE]
    assert.deepEqual(decided.sort(), [...KEYS].sort())
  })

  it('names each setting that needs a restart, and no other', async () => {
    const c = await collector()
    for (const [key, value] of Object.entries(RESTART)) {
      const next = changed(c.config, key, value)
      assert.deepEqual(changedKeys(c.config, next), [key], `${key} has another value`)
      assert.deepEqual(c.reload(next), [key])
    }
    for (const key of OBSOLETE) assert.deepEqual(c.reload(changed(c.config, key, 1)), [])
    // TLS where there was none, and the other way round.
    for (const at of ['scribe.tls', 'http.tls']) {
      const files = { cert: file('first.pem'), key: file('first.key') }
      assert.deepEqual(c.reload(changed(c.config, at, files)), [`${at}.cert`, `${at}.key`])
    }
  })

  it('names a file of a connection of its own that has other contents under the same path', async () => {
    const path = join(temporaryDirectory(), 'client.pem')
    const tls = { ca: path }
    const { cassandra, mysql, relay } = loadConfig(undefined, {}).config
    copyFileSync(file('first.pem'), path)
    const c = await collector({ cassandra: { ...cassandra, tls }, mysql: { ...mysql, tls }, relay: { ...relay, tls } })
    assert.deepEqual(c.reload(c.config), [])
    const keys = ['relay.tls.ca', 'cassandra.tls.ca', 'mysql.tls.ca']
    copyFileSync(file('second.pem'), path)
    assert.deepEqual(c.reload(c.config), keys)
    rmSync(path)
    assert.deepEqual(c.reload(c.config), keys)
    copyFileSync(file('first.pem'), path)
    assert.deepEqual(c.reload(c.config), [])
  })

  it('takes over each of the others', async () => {
    const users = [await hashPassword('anna', 'correct horse')]
    RELOADED['http.users']!.value = users
    const c = await collector()
    for (const [key, { value, given, shows }] of Object.entries(RELOADED)) {
      const base = given === undefined ? c.config : changed(c.config, ...given)
      assert.deepEqual(c.reload(changed(base, key, value)), [], key)
      await shows(c)
      c.reload(c.config)
    }
  })

  it('asks for client certificates as soon as tls.ca is given, of resumed sessions too, and no longer once it is gone', async () => {
    const directory = temporaryDirectory()
    const caFile = join(directory, 'ca.pem')
    copyFileSync(file('second.pem'), caFile)
    const without = { cert: file('first.pem'), key: file('first.key') }
    const settings = loadConfig(undefined, {}).config
    const c = await collector({
      http: { ...settings.http, port: 0, tls: without },
      scribe: { ...settings.scribe, tls: without },
    })
    const trusted = { host: '127.0.0.1', ca: readFileSync(file('first.pem')) }
    const [first, second] = ['first', 'second'].map(name => ({
      cert: readFileSync(file(`${name}.pem`)),
      key: readFileSync(file(`${name}.key`)),
    }))
    const sessions: Record<string, Buffer> = {}
    /** Whether a call is answered. */
    const served = (at: 'http' | 'scribe', options: object) =>
      new Promise<boolean>(resolve => {
        const port = at === 'http' ? c.httpPort : c.scribePorts[0]!
        const socket: TLSSocket = connect({ port, ...trusted, ...options }, () =>
          socket.write(at === 'http' ? 'GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n' : logFrame([span()])),
        )
        socket.on('session', session => {
          sessions[at] = session
        })
        socket.on('data', answer => {
          resolve(at === 'http' ? answer.toString().startsWith('HTTP/1.1 200') : resultCode(answer) === 0)
          socket.destroy()
        })
        socket.on('error', () => {}).on('close', () => resolve(false))
      })
    const reload = (ca: string | undefined) => {
      const tls = ca === undefined ? without : { ...without, ca }
      assert.deepEqual(c.reload(changed(changed(c.config, 'http.tls', tls), 'scribe.tls', tls)), [])
    }
    for (const at of ['http', 'scribe'] as const) {
      reload(undefined)
      assert.equal(await served(at, {}), true)
      const session = sessions[at]
      assert.ok(session !== undefined)
      reload(caFile)
      for (const [options, expected] of [
        [{}, false],
        [{ session }, false],
        [first!, false],
        [second!, true],
      ] as const) {
        assert.equal(await served(at, options), expected, `${at} with ${Object.keys(options)}`)
      }
      reload(file('first.pem'))
      assert.deepEqual([await served(at, second!), await served(at, first!)], [false, true])
      reload(undefined)
      assert.equal(await served(at, {}), true)
    }
  })
})
