import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { ClientHttp2Stream, Http2SecureServer, Http2Server, ServerHttp2Stream } from 'node:http2'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { http as httpPlugin } from '../../plugins/http'
import { undici as undiciPlugin } from '../../plugins/undici'
import { baggage, current, span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { start, stop, type TestSpan, tree } from '../../src/testing'
import { ROOT, runNode } from '../helpers/child'
import { until } from '../helpers/until'
import { run, which } from '../servers/install'
import { NODE_VERSIONS, nodeOfVersion } from '../servers/node-versions'
import { npmPackages } from '../servers/npm'

install([httpPlugin, undiciPlugin])
// The module's own object, and not the copy that an import statement may have made.
const http2: typeof import('node:http2') = require('node:http2')
const TLS = {
  key: readFileSync(join(__dirname, '../fixtures/tls/key.pem')),
  cert: readFileSync(join(__dirname, '../fixtures/tls/cert.pem')),
}

describe('the http plugin: HTTP/2', () => {
  let server: Http2Server | Http2SecureServer
  let spans: TestSpan[]
  let handle: (stream: ServerHttp2Stream, headers: Record<string, any>) => void

  beforeEach(async () => {
    spans = start()
    handle = stream => {
      stream.respond({ ':status': 200 })
      stream.end('ok')
    }
    server = http2.createServer().on('stream', (stream, headers) => handle(stream, headers))
    await listen()
  })

  afterEach(() => {
    server.close()
    stop()
  })

  async function listen(): Promise<void> {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  }

  const port = () => (server.address() as AddressInfo).port
  const connect = (options = {}) => http2.connect(`http://127.0.0.1:${port()}`, options)
  const ended = (n: number) => until(`${n} spans have ended`, () => spans.length >= n)
  const shown = () => tree({ annotations: ['http.response.status_code', 'error.type'] })

  /** Makes a request in a span, and reads its answer. @returns it, and the span that is current in each listener */
  function ask(name: string, headers: any, act: (req: ClientHttp2Stream) => void = () => {}, session = connect()) {
    return span(name, async () => {
      const mine = current().spanId
      const req = session.request(headers)
      const events: string[] = []
      for (const event of ['response', 'data', 'end', 'close'])
        req.on(event, () => events.push(current().spanId === mine ? event : `${event} elsewhere`))
      let text = ''
      req.on('data', data => {
        text += data
      })
      const failed = new Promise(resolve => req.on('error', (error: any) => resolve(error.code)))
      act(req)
      await Promise.race([new Promise(resolve => req.on('close', resolve)), failed])
      session.close()
      return { text, events: [...new Set(events)] }
    })
  }

  it('joins client and server, and runs the listeners of both in their spans, by streams and by requests', async () => {
    handle = async (stream, headers) => {
      const mine = current().spanId
      const events: string[] = []
      for (const event of ['data', 'end', 'close'])
        stream.on(event, () => events.push(current().spanId === mine ? event : `${event} elsewhere`))
      await once(stream, 'end')
      stream.respond({ ':status': 201 })
      stream.end(JSON.stringify([...new Set(events), headers[':path']]))
    }
    const post = { ':method': 'POST', ':path': '/users/42?secret=1' }
    const first = await ask('by streams', post, req => req.end('body'))
    assert.deepEqual(first, {
      text: '["data","end","/users/42?secret=1"]',
      events: ['response', 'data', 'end', 'close'],
    })
    server.removeAllListeners('stream').on('request', (req: any, res: any) => {
      const mine = current().spanId
      req.on('data', () => {}).on('end', () => res.end(String(current().spanId === mine)))
    })
    assert.equal((await ask('by requests', post, req => req.end('body'))).text, 'true')
    await ended(6)
    assert.equal(
      shown(),
      `
"by streams"
  "POST /users/*" (client) http.response.status_code=201
    "POST /users/*" (server) http.response.status_code=201
"by requests"
  "POST /users/*" (client) http.response.status_code=200
    "POST /users/*" (server) http.response.status_code=200`.slice(1),
    )
    const { 'server.port': serverPort, ...client } = spans.find(one => one.kind === 'client')!.annotations
    assert.equal(serverPort, String(port()))
    assert.deepEqual(client, {
      'http.request.method': 'POST',
      'server.address': '127.0.0.1',
      'url.path': '/users/42',
      'network.protocol.version': '2',
      'http.response.status_code': '201',
    })
  })

  it('says what became of failures, resets and sessions that end, on both sides', async () => {
    const fates: Record<string, (stream: ServerHttp2Stream) => void> = {
      '/fails': stream => {
        stream.respond({ ':status': 503 })
        stream.end()
      },
      '/refuses': stream => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM),
      '/breaks': stream => {
        stream.respond({ ':status': 200 })
        stream.write('x', () => stream.destroy(new Error('mine')))
      },
      '/goes': stream => stream.session!.destroy(),
      '/waits': () => {},
    }
    handle = (stream, headers) => {
      stream.on('error', () => {})
      fates[headers[':path']]!(stream)
    }
    for (const path of Object.keys(fates)) {
      await ask('call', { ':path': path }, req => {
        if (path === '/waits') req.on('ready', () => setImmediate(() => req.close(http2.constants.NGHTTP2_CANCEL)))
      })
    }
    await ended(15)
    const outcome = (kind: string) =>
      spans
        .filter(one => one.kind === kind)
        .map(({ name, annotations: a }) => `${name} ${a['http.response.status_code']} ${a['error.type']}`)
    assert.deepEqual(outcome('client'), [
      'GET /fails 503 503',
      'GET /refuses undefined REFUSED_STREAM',
      'GET /breaks 200 INTERNAL_ERROR',
      'GET /goes undefined CANCEL',
      'GET /waits undefined CANCEL',
    ])
    assert.deepEqual(
      outcome('server').map(text => text.replace(/aborted|[A-Z_]{6,}/, 'reset')),
      [
        'GET /fails 503 503',
        'GET /refuses undefined reset',
        'GET /breaks 200 reset',
        'GET /goes undefined reset',
        'GET /waits undefined reset',
      ],
    )
  })

  it('reports a request that a session told to go away won’t make, and throws what Node throws', async () => {
    const session = connect()
    await once(session, 'connect')
    session.destroy()
    for (const [headers, code] of [
      [{ ':path': '/late' }, 'ERR_HTTP2_INVALID_SESSION'],
      ['text', undefined],
      [null, undefined],
    ] as const) {
      let thrown: any
      try {
        session.request(headers as any)
      } catch (error) {
        thrown = error
      }
      assert.match(thrown.code, /^ERR_/)
      if (code !== undefined) assert.equal(thrown.code, code)
    }
    assert.deepEqual(
      spans.map(({ name, annotations }) => [name, annotations['error.type']]),
      [['GET /late', 'ERR_HTTP2_INVALID_SESSION']],
    )
  })

  it('takes what a server pushes as the request’s, on both sides', async () => {
    let pushedIn: string | undefined
    handle = stream => {
      const mine = current().spanId
      stream.pushStream({ ':path': '/pushed' }, (_error, pushed) => {
        pushedIn = current().spanId
        assert.equal(pushedIn, mine)
        pushed.respond({ ':status': 200 })
        pushed.end('pushed')
        stream.respond({ ':status': 200 })
        stream.end('ok')
      })
    }
    const session = connect()
    const got = new Promise(resolve => session.on('stream', pushed => pushed.on('data', data => resolve(String(data)))))
    await ask('call', {}, undefined, session)
    assert.equal(await got, 'pushed')
    await ended(3)
    assert.equal(shown().split('\n').length, 3)
  })

  it('keeps every form of headers, and writes what the settings want for the host that a request is for', async () => {
    const names: string[][] = []
    handle = (stream, headers) => {
      names.push(Object.keys(headers).filter(name => /^(traceparent|b3|baggage|a)$/.test(name)))
      stream.respond()
      stream.end(headers.traceparent)
    }
    spans = start({ propagation: `127.0.0.1:${port()}=b3,shop.example=off`, baggage: '*' })
    const sensitive = { a: 'b', [http2.sensitiveHeaders]: ['a'] }
    for (const headers of [
      undefined,
      Object.freeze({ a: 'b' }),
      sensitive,
      { ':authority': 'shop.example:80' },
      { B3: '0' },
    ])
      await ask('call', headers)
    assert.deepEqual(names, [['b3'], ['a', 'b3'], ['a', 'b3'], [], ['b3']])
    spans = start()
    assert.equal((await ask('call', { TraceParent: 'mine' })).text, 'mine')
  })

  it('carries baggage, and in a trace that isn’t kept as well', async () => {
    spans = start({ sampler: 'never', baggage: 'tenant' })
    handle = stream => {
      stream.respond()
      stream.end(JSON.stringify(baggage()))
    }
    assert.equal((await ask('call', { baggage: 'tenant=acme,other=1' })).text, '{"tenant":"acme"}')
    assert.deepEqual(spans, [])
  })

  it('ends the span of an answer that nobody reads, and of a tunnel that is granted', async () => {
    handle = stream => {
      stream.respond({ ':status': 200 })
      stream.write('x'.repeat(1000))
    }
    const session = connect()
    const streams = [{ ':path': '/unread' }, { ':method': 'CONNECT', ':authority': 'x:1' }].map(headers =>
      session.request(headers),
    )
    await until('their spans have ended', () => spans.filter(one => one.kind === 'client').length === 2)
    assert.deepEqual(
      streams.map(stream => stream.destroyed),
      [false, false],
    )
    await until('the tunnel’s server half has ended', () =>
      spans.some(one => one.kind === 'server' && one.name.startsWith('CONNECT')),
    )
    session.destroy()
  })

  it('traces both versions at one TLS port, curl’s requests, and undici’s once', async () => {
    server.close()
    server = http2.createSecureServer({ ...TLS, allowHTTP1: true }, (_req, res: any) => res.end(current().spanId))
    await listen()
    const url = `https://127.0.0.1:${port()}`
    const parent = 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    const outputs: string[] = []
    for (const version of ['--http1.1', '--http2'])
      outputs.push(await run(which('curl')!, ['-sk', version, '-H', parent, `${url}/curl`]))
    await ended(2)
    assert.deepEqual(
      spans.map(one => [one.spanId, one.parentId, one.annotations['network.protocol.version']]),
      [
        [outputs[0], '00f067aa0ba902b7', undefined],
        [outputs[1], '00f067aa0ba902b7', '2'],
      ],
    )
    for (const version of ['6.27.0', '7.30.2']) {
      spans.length = 0
      const { Client } = createRequire(join(await npmPackages(`undici@${version}`), 'package.json'))('undici')
      const client = new Client(url, { allowH2: true, connect: { rejectUnauthorized: false } })
      const { body } = await client.request({ path: '/undici', method: 'GET' })
      assert.equal(await body.text(), spans.find(one => one.kind === 'server')?.spanId)
      await ended(2)
      assert.match(
        tree(),
        /^"?GET \/undici"? \(client\).*\n {2}"?GET \/undici"? \(server\).*network.protocol.version=2[^\n]*$/,
      )
      await client.destroy()
    }
  })

  it('reaches named imports of an ESM application, and a connection that somebody else has made', async function () {
    this.timeout(300_000)
    const program = `
      import { connect, createServer } from 'node:http2'
      import * as net from 'node:net'
      const server = createServer((req, res) => res.end(req.headers.traceparent)).listen(0, async () => {
        const { port } = server.address()
        for (const options of [{}, { createConnection: () => net.connect(port) }]) {
          const session = connect('http://localhost:' + port, options)
          const req = session.request({})
          for await (const text of req.setEncoding('utf8')) console.log(text)
          session.close()
        }
        server.close()
      })`
    const newer = await Promise.all(NODE_VERSIONS.map(nodeOfVersion))
    for (const node of [process.execPath, ...newer]) {
      const { stdout, stderr } = await runNode(
        ['--import', 'milo/register', '--input-type=module', '-e', program],
        { MILO_SCRIBE: '127.0.0.1:1', MILO_LOG_LEVEL: 'error', MILO_SAMPLER: 'always' },
        ROOT,
        node,
      )
      assert.match(stdout, /^(00-[0-9a-f]{32}-[0-9a-f]{16}-01\n){2}$/, stderr)
    }
  })
})
