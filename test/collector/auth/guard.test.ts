import assert from 'node:assert/strict'
import { randomBytes, scryptSync } from 'node:crypto'
import { copyFileSync, readFileSync } from 'node:fs'
import { type RequestOptions, request } from 'node:https'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { createToken, hashPassword, readCredentials } from '../../../collector/src/auth/credentials'
import { type Config, loadConfig } from '../../../collector/src/config'
import { ROOT } from '../../helpers/child'
import { until } from '../../helpers/until'
import { collector, logFrame, Peer, resultCode, span, type TestCollector, temporaryDirectory, undo } from '../support'

const HTTP = { ...loadConfig(undefined, {}).config.http, port: 0 }
const CERTIFICATES = join(ROOT, 'test/fixtures/tls')

function http(changes: Partial<Config['http']>): Partial<Config> {
  return { http: { ...HTTP, ...changes } }
}

/** A user's line at the least cost that its form has, where many passwords are tried. */
function cheapUser(name: string, password: string): string {
  const salt = randomBytes(16)
  const hash = scryptSync(password, salt, 32, { N: 1024, r: 8, p: 1 })
  return `${name}:scrypt$1024$8$1$${salt.toString('base64url')}$${hash.toString('base64url')}`
}

function basic(name: string, password: string): string {
  return `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`
}

async function ask(c: TestCollector, path: string, headers: Record<string, string> = {}, init: RequestInit = {}) {
  const response = await fetch(c.url + path, { ...init, headers })
  const text = await response.text()
  return { status: response.status, headers: response.headers, text, json: () => JSON.parse(text) }
}

describe('credentials', () => {
  it('are kept as hashes that only the right password and the right token match', async () => {
    const line = await hashPassword('anna', 'correct horse')
    const { token, line: tokenLine } = createToken('grafana', 'read')
    assert.doesNotMatch(line, /horse/)
    assert.ok(!tokenLine.includes(token))
    const credentials = readCredentials([line], [tokenLine])
    assert.deepEqual([credentials.required, credentials.schemes], [true, ['basic', 'bearer']])
    const scope = (header: string) => credentials.scopeOf(header, async () => true)
    assert.equal(await scope(basic('anna', 'correct horse')), 'full')
    assert.equal(await scope(basic('anna', 'correct horse')), 'full')
    assert.equal(await scope(`Bearer ${token}`), 'read')
    assert.equal(await scope(`bearer ${token}`), 'read')
    for (const header of [
      basic('anna', 'correct hors'),
      basic('anna', ''),
      basic('bob', 'correct horse'),
      basic('', 'correct horse'),
      'Basic',
      'Basic !!!',
      `Basic ${Buffer.from('anna').toString('base64')}`,
      `Bearer ${token}x`,
      `Bearer ${token.slice(0, -1)}`,
      `Bearer ${tokenLine}`,
      `Digest ${token}`,
      '',
    ]) {
      assert.equal(await scope(header), undefined, header)
    }
  })

  it('of which no client may try many at once', async () => {
    const credentials = readCredentials([cheapUser('anna', 'correct horse')], [])
    const tries = Array.from({ length: 40 }, (_, i) =>
      credentials.scopeOf(basic('anna', `guess number ${i}`), async () => true),
    )
    const answers = await Promise.all(tries)
    assert.ok(answers.filter(answer => answer === 'later').length >= 18)
    assert.ok(answers.every(answer => answer === 'later' || answer === undefined))
    assert.equal(await credentials.scopeOf(basic('anna', 'correct horse'), async () => true), 'full')
    assert.equal(await credentials.scopeOf(basic('anna', 'another one'), async () => false), 'later')
  })

  it('have names that the configuration can hold', async () => {
    for (const name of ['', 'a:b', 'a,b', 'a b', 'x'.repeat(101)]) {
      await assert.rejects(hashPassword(name, 'correct horse'), RangeError)
      assert.throws(() => createToken(name, 'full'), RangeError)
    }
  })
})

describe('access to the API', () => {
  after(undo)

  it('is everybody on loopback, as long as there are no users and tokens', async () => {
    const c = await collector()
    assert.equal((await ask(c, '/api/search')).status, 200)
    assert.equal((await ask(c, '/api/status')).json().auth, 'none')
    assert.ok((await ask(c, '/api/search', { authorization: 'Bearer nonsense' })).status === 200)
  })

  it('needs a user’s password for everything, once there are users', async () => {
    const c = await collector(http({ users: [await hashPassword('anna', 'correct horse')] }))
    const good = { authorization: basic('anna', 'correct horse') }
    for (const path of [
      '/api/search',
      '/api/status',
      '/metrics',
      '/metrics/services',
      '/api/traces/1',
      '/nothing',
      '/',
      '/search',
    ]) {
      const { status, headers, json } = await ask(c, path)
      assert.deepEqual([status, json().code, json().schemes], [401, 'MILO_UNAUTHORIZED', ['basic']], path)
      assert.match(headers.get('www-authenticate')!, /^Basic realm="Milo"/)
      assert.equal((await ask(c, path, { authorization: basic('anna', 'wrong') })).status, 401)
    }
    assert.equal((await ask(c, '/api/search', good)).status, 200)
    assert.equal((await ask(c, '/api/status', good)).json().auth, 'basic')
    assert.equal((await ask(c, '/metrics', good)).status, 200)
    assert.equal((await ask(c, '/metrics/services', good)).status, 200)
    for (const path of ['/v1/traces', '/api/v1/spans', '/api/v2/spans', '/api/traces', '/api/saved-searches']) {
      const init = { method: 'POST', body: '[]' }
      assert.equal((await ask(c, path, { 'content-type': 'application/json' }, init)).status, 401, path)
    }
    // For who watches the process, without a reason where there is one.
    assert.deepEqual((await ask(c, '/healthz')).json(), { status: 'ok' })
    assert.deepEqual((await ask(c, '/readyz')).json(), { status: 'ok' })
    assert.ok(
      (await fetch(`${c.url}/metrics`, { headers: good }).then(r => r.text())).includes('auth_failures_total 8'),
    )
    assert.doesNotMatch(JSON.stringify(c.lines), /correct horse|scrypt|authorization/i)
  })

  it('may with a token what its scope says', async () => {
    const tokens = (['full', 'read', 'ingest'] as const).map(scope => createToken(scope, scope))
    const c = await collector(http({ tokens: tokens.map(({ line }) => line) }))
    const [full, read, ingest] = tokens.map(({ token }) => ({ authorization: `Bearer ${token}` }))
    const json = { 'content-type': 'application/json' }
    const spans = JSON.stringify([{ traceId: '000000000000000a', id: '000000000000000b', name: 'x' }])
    const post = (who: object, path: string, body: string) =>
      ask(c, path, { ...json, ...who }, { method: 'POST', body }).then(({ status }) => status)
    const saved = JSON.stringify({ name: 'x', query: 'name=x' })
    for (const [who, reads, sends, changes] of [
      [full, 200, 202, 201],
      [read, 200, 403, 403],
      [ingest, 403, 202, 403],
      [{}, 401, 401, 401],
    ] as const) {
      assert.equal((await ask(c, '/api/search', who as Record<string, string>)).status, reads)
      assert.equal((await ask(c, '/metrics', who as Record<string, string>)).status, reads)
      for (const path of [
        ...['/jaeger/api/services', '/jaeger/api/services/x/operations', '/jaeger/api/traces?service=x'],
        ...['/api/traces?service=x', '/api/v2/services', '/zipkin/api/v2/services', '/zipkin/api/v2/traces'],
      ]) {
        const { status, headers } = await ask(c, path, who as Record<string, string>)
        assert.deepEqual([status, headers.get('cache-control')], [reads, 'no-store'], path)
      }
      assert.equal(await post(who!, '/api/v1/spans', spans), sends)
      assert.equal(await post(who!, '/api/v2/spans', spans), sends)
      assert.equal(await post(who!, '/api/saved-searches', saved), changes)
    }
    for (const path of [
      '/%61pi/search',
      '/api/../api/search',
      '//api/search',
      '/api/search/',
      '/API/search',
      '/metrics/',
    ]) {
      const { status, text } = await ask(c, path)
      assert.ok(status === 401 || status === 404, `${path}: ${status} ${text}`)
    }
    // A browser can't send a token for a page.
    assert.equal((await ask(c, '/nothing')).status, 404)
  })

  it('is asked for a new password once the configuration is loaded again', async () => {
    const [old, next] = [cheapUser('anna', 'correct horse'), cheapUser('anna', 'another one')]
    const c = await collector(http({ users: [old] }))
    const asked = async (password: string) =>
      (await ask(c, '/api/search', { authorization: basic('anna', password) })).status
    assert.deepEqual([await asked('correct horse'), await asked('another one')], [200, 401])
    const others = c.reload({
      ...c.config,
      ...http({ users: [next], allowed_hosts: ['x.example'] }),
      log_level: 'error',
    })
    assert.deepEqual([await asked('correct horse'), await asked('another one')], [401, 200])
    assert.deepEqual(others, [])
  })

  it('is never opened by a reload: a configuration without users and tokens is refused', async () => {
    const { token, line } = createToken('me', 'full')
    const c = await collector(http({ host: '0.0.0.0', tokens: [line] }))
    assert.throws(() => c.reload({ ...c.config, ...http({ host: '127.0.0.1' }) }), /still listens on 0\.0\.0\.0/)
    assert.equal((await ask(c, '/api/search')).status, 401)
    assert.equal((await ask(c, '/api/search', { authorization: `Bearer ${token}` })).status, 200)
  })

  it('is no page of another site, when something would change', async () => {
    const c = await collector(http({ allowed_hosts: ['milo.example'] }))
    const post = (headers: Record<string, string>, path = '/api/saved-searches') =>
      ask(
        c,
        path,
        { 'content-type': 'application/json', ...headers },
        {
          method: 'POST',
          body: JSON.stringify({ name: 'x', query: '' }),
        },
      )
    // fetch sends sec-fetch-mode, and leaves these to whoever wants to say them.
    for (const headers of [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: `http://127.0.0.1.evil.example:${c.httpPort}` },
      { 'sec-fetch-site': 'cross-site', origin: c.url },
    ]) {
      for (const path of ['/api/saved-searches', '/v1/traces', '/api/v1/spans', '/api/v2/spans', '/api/traces']) {
        const { status, json } = await post(headers as Record<string, string>, path)
        assert.deepEqual([status, json().code], [403, 'MILO_CROSS_SITE'], `${path} ${JSON.stringify(headers)}`)
      }
    }
    for (const headers of [
      {},
      { 'sec-fetch-site': 'same-origin' },
      { origin: c.url },
      { origin: 'https://milo.example' },
    ]) {
      assert.equal((await post(headers as Record<string, string>)).status, 201, JSON.stringify(headers))
    }
    const preflight = await ask(
      c,
      '/api/search',
      { origin: 'https://evil.example', 'access-control-request-method': 'GET' },
      {
        method: 'OPTIONS',
      },
    )
    assert.equal(preflight.headers.get('access-control-allow-origin'), null)
  })

  it('may ask so many times a minute, where there is a limit, but send spans and watch the process without end', async () => {
    const c = await collector(http({ rate_limit: 5 }))
    const statuses: number[] = []
    for (let i = 0; i < 7; i++) statuses.push((await ask(c, '/api/search')).status)
    assert.deepEqual(statuses, [200, 200, 200, 200, 200, 429, 429])
    const refused = await ask(c, '/api/search')
    assert.equal(refused.json().code, 'MILO_TOO_MANY_REQUESTS')
    assert.ok(Number(refused.headers.get('retry-after')) >= 1)
    for (let i = 0; i < 7; i++) {
      const init = { method: 'POST', body: '[]' }
      assert.equal((await ask(c, '/api/v2/spans', { 'content-type': 'application/json' }, init)).status, 202)
    }
    for (const path of ['/livez', '/readyz', '/healthz']) assert.equal((await ask(c, path)).status, 200, path)
    c.reload({ ...c.config, ...http({ rate_limit: 0 }) })
    assert.equal((await ask(c, '/api/search')).status, 200)
  })

  it('is counted by itself behind a proxy that is trusted, and by the proxy behind one that is not', async () => {
    const users = [cheapUser('anna', 'correct horse')]
    const c = await collector(http({ rate_limit: 3, users }))
    const statuses = async (header: string, addresses: string[]) => {
      const all: number[] = []
      for (const address of addresses) all.push((await ask(c, '/api/search', { [header]: address })).status)
      return all
    }
    const untrusted = await statuses('x-forwarded-for', ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'])
    assert.deepEqual(untrusted, [401, 401, 401, 429])

    c.reload({ ...c.config, ...http({ rate_limit: 3, users, trusted_proxies: ['127.0.0.1', '10.0.0.0/8'] }) })
    const clients = ['192.0.2.1', '192.0.2.2:4711', '6.6.6.6, 192.0.2.1', '192.0.2.2, 10.0.0.7']
    assert.deepEqual(await statuses('x-forwarded-for', [...clients, ...clients]), [
      ...[401, 401, 401, 401],
      ...[401, 401, 429, 429],
    ])
    assert.deepEqual(
      await statuses('forwarded', [
        'for=198.51.100.1',
        'for="[2001:db8::1]:1"',
        'for="[2001:db8::2]"',
        'for=198.51.100.1',
      ]),
      [401, 401, 401, 401],
    )
    // A network of 64 bits is one client's.
    assert.deepEqual(
      await statuses('x-forwarded-for', ['2001:db8::3', '2001:db8::4', '2001:db8:0:1::1']),
      [401, 429, 401],
    )
    // Where a proxy brings others, a limit is the default on loopback too.
    c.reload({ ...c.config, ...http({ trusted_proxies: ['127.0.0.1'] }) })
    const many = Array(620).fill('203.0.113.9')
    const counts = await Promise.all(many.map(address => ask(c, '/api/nothing', { 'x-forwarded-for': address })))
    assert.equal(counts.filter(({ status }) => status === 429).length, 20)
  })

  it('may try 20 passwords a minute, wherever else passwords are tried behind the same proxy', async () => {
    const users = [cheapUser('anna', 'correct horse')]
    const c = await collector(http({ users, trusted_proxies: ['127.0.0.1'], rate_limit: 0 }))
    const guess = async (i: number, from: string) => {
      const headers = { authorization: basic('anna', `guess ${i}`), 'x-forwarded-for': from }
      return (await ask(c, '/api/search', headers)).status
    }
    const statuses: number[] = []
    for (let i = 0; i < 21; i++) statuses.push(await guess(i, '192.0.2.1'))
    assert.deepEqual(statuses, [...Array(20).fill(401), 429])
    assert.equal(await guess(1, '192.0.2.2'), 401)
  })

  it('may try 20 passwords a minute', async () => {
    const c = await collector(http({ users: [cheapUser('anna', 'correct horse')] }))
    const statuses: number[] = []
    for (let i = 0; i < 22; i++) {
      statuses.push((await ask(c, '/api/search', { authorization: basic('anna', `guess ${i}`) })).status)
    }
    assert.deepEqual(statuses, [...Array(20).fill(401), 429, 429])
  })
})

describe('TLS', () => {
  after(undo)

  const file = (name: string) => join(CERTIFICATES, name)

  /** What a client that trusts `ca` gets. */
  function get(port: number, path: string, options: RequestOptions): Promise<{ status: number; issuer: string }> {
    return new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port, path, agent: false, ...options }, response => {
        const { subject } = (response.socket as import('node:tls').TLSSocket).getPeerCertificate()
        response.resume().on('end', () => resolve({ status: response.statusCode!, issuer: String(subject.CN) }))
      })
      asked.on('error', reject).end()
    })
  }

  it('serves HTTP and Scribe, and takes new certificates without a restart', async () => {
    const directory = temporaryDirectory()
    const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
    const use = (name: string) => {
      copyFileSync(file(`${name}.pem`), cert)
      copyFileSync(file(`${name}.key`), key)
    }
    use('first')
    const settings = {
      ...http({ tls: { cert, key } }),
      scribe: { category: 'Milo-Trace', zipkin_category: 'zipkin', tls: { cert, key } },
    }
    const c = await collector(settings)
    const first = readFileSync(file('first.pem'))
    const second = readFileSync(file('second.pem'))
    assert.deepEqual(await get(c.httpPort, '/healthz', { ca: first }), { status: 200, issuer: 'milo test first' })

    const log = (ca: Buffer) =>
      new Promise<number>((resolve, reject) => {
        const socket = connectTls({ host: '127.0.0.1', port: c.scribePorts[0]!, ca }, () =>
          socket.write(logFrame([span()])),
        )
        socket.on('error', reject).on('data', reply => {
          socket.destroy()
          resolve(resultCode(reply))
        })
      })
    assert.equal(await log(first), 0)

    use('second')
    assert.deepEqual(c.reload(c.config), [])
    assert.equal((await get(c.httpPort, '/healthz', { ca: second })).issuer, 'milo test second')
    assert.equal(await log(second), 0)
    await assert.rejects(log(first), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })

    copyFileSync(file('first.key'), key)
    assert.throws(() => c.reload(c.config), /^Error: scribe\.tls: .*give both/)
    assert.equal((await get(c.httpPort, '/healthz', { ca: second })).status, 200)
  })

  it('serves only clients with a certificate, where an authority is given', async () => {
    const tls = { cert: file('first.pem'), key: file('first.key'), ca: file('second.pem') }
    const c = await collector(http({ tls }))
    const ca = readFileSync(file('first.pem'))
    await assert.rejects(get(c.httpPort, '/healthz', { ca }))
    const mine = { cert: readFileSync(file('second.pem')), key: readFileSync(file('second.key')) }
    assert.equal((await get(c.httpPort, '/healthz', { ca, ...mine })).status, 200)
  })

  it('is refused at the start with file and remedy, and nothing of what is in the file', async () => {
    const pair = (cert: string, key: string) => collector(http({ tls: { cert, key } }))
    await assert.rejects(
      pair('/nonexistent.pem', file('first.key')),
      /^Error: http\.tls\.cert: \/nonexistent\.pem can't be read/,
    )
    await assert.rejects(
      pair(file('first.pem'), file('second.key')),
      /^Error: http\.tls: cert and key aren't a certificate and its private key/,
    )
    await assert.rejects(
      pair(file('README.md'), file('first.key')),
      /^Error: http\.tls: cert and key aren't a certificate and its private key/,
    )
  })

  it('counts clients that send plain bytes to a port with TLS, and serves the others', async () => {
    const tls = { cert: file('first.pem'), key: file('first.key') }
    const c = await collector({ scribe: { category: 'Milo-Trace', zipkin_category: 'zipkin', tls } })
    const plain = new Peer(c.scribePorts[0]!)
    plain.send(logFrame([span()]))
    await plain.closed
    await until('it is counted', async () => (await c.metric('connection_errors_total{reason="tls"}')) === 1)
  })
})
