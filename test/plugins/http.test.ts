import assert from 'node:assert/strict'
import { once } from 'node:events'
import * as http from 'node:http'
import type { AddressInfo } from 'node:net'
import { http as httpPlugin } from '../../plugins/http'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { install } from '../../src/hook'
import { current, flush, init, shutdown, span } from '../../src/index'
import { runNode } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'
import { until } from '../helpers/until'

const before_ = { request: http.request, get: http.get, requestLength: http.request.length, getLength: http.get.length }
install([httpPlugin])
// What applications use: the module's own object, and not the copy that an import statement may have made.
const live: typeof http = require('node:http')

const isServer = (s: SpanRecord) => s.events!.some(e => e.eventType === EventType.SERVER_RECV)

describe('the http plugin', () => {
  let peer: ScribePeer
  let server: http.Server
  let handle: http.RequestListener

  const start = (more: object = {}) => init({ scribe: peer.address, service: 'web', sampler: 'always', ...more })

  beforeEach(async () => {
    peer = await ScribePeer.listen()
    start()
    handle = (_req, res) => res.end('hello')
    server = live.createServer((req, res) => handle(req, res)).listen(0, '127.0.0.1')
    await once(server, 'listening')
  })

  afterEach(async () => {
    server.closeAllConnections()
    server.close()
    await shutdown(0)
    await peer.close()
  })

  const url = (path = '/') => `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`

  async function fetchText(path: string, options: http.RequestOptions = {}): Promise<{ status: number; text: string }> {
    const req = live.get(url(path), options)
    const [res] = (await once(req, 'response')) as [http.IncomingMessage]
    let text = ''
    for await (const chunk of res) text += chunk
    return { status: res.statusCode!, text }
  }

  async function spans(n: number): Promise<SpanRecord[]> {
    await until(`${n} spans have come`, async () => {
      await flush()
      return peer.spans.length >= n
    })
    return peer.spans
  }

  it('makes a request the root of what its handler does', async () => {
    handle = async (_req, res) => {
      await null
      span('work', () => {})
      res.end()
    }
    const socket = require('node:net').connect((server.address() as AddressInfo).port, '127.0.0.1')
    socket.write('GET /users/123/orders?x=secret HTTP/1.1\r\nHost: x\r\n\r\n')
    const all = await spans(2)
    socket.destroy()
    const request = all.find(isServer)!
    assert.equal(request.name, 'GET /users/*/orders')
    assert.equal(request.parentId, 0n)
    assert.equal(request.annotations!.get('url.path'), '/users/123/orders')
    assert.equal(request.annotations!.get('http.response.status_code'), '200')
    assert.ok(![...request.annotations!.values()].some(v => v.includes('secret')))
    assert.equal(all.find(s => s.name === 'work')!.parentId, request.id)
  })

  it('names requests by method and path, values in it replaced, and cut after four segments', async () => {
    const names = {
      '/': 'GET /',
      '/?x=/1': 'GET /',
      '/a/b/c/d': 'GET /a/b/c/d',
      '/a/b/c/d/e?f': 'GET /a/b/c/d/…',
      '/a/b/c/d/': 'GET /a/b/c/d/…',
      '/users/42/orders/a7': 'GET /users/*/orders/*',
      [`/${'x'.repeat(32)}/${'y'.repeat(33)}/z`]: `GET /${'x'.repeat(32)}/*/z`,
      '//v1//': 'GET //*//',
    }
    for (const path of Object.keys(names)) await fetchText(path)
    const served = (await spans(2 * Object.keys(names).length)).filter(isServer)
    assert.deepEqual(served.map(s => s.name).sort(), Object.values(names).sort())
  })

  it('sees a request once that one server hands on to another', async () => {
    const inner = live.createServer((_req, res) => res.end(String(current().spanId)))
    let spanId: string | undefined
    handle = (req, res) => {
      spanId = current().spanId
      inner.emit('request', req, res)
    }
    assert.equal((await fetchText('/')).text, spanId)
    assert.equal((await spans(2)).filter(isServer).length, 1)
  })

  it('passes on what applications emit as requests that aren’t node’s', async () => {
    const seen: unknown[][] = []
    const other = live.createServer().on('request', (...args: unknown[]) => seen.push(args))
    handle = (req, res) => {
      for (const args of [[], [req], [req, {}], [{}, res], ['a', 'b', 'c']]) other.emit('request', ...args)
      res.end()
    }
    await fetchText('/')
    assert.deepEqual(
      seen.map(args => args.length),
      [0, 1, 2, 2, 3],
    )
    assert.equal((await spans(2)).filter(isServer).length, 1)
  })

  it('leaves nothing to be seen on requests and responses', async () => {
    const own = (o: object) => Reflect.ownKeys(o).map(String)
    const seen: string[][] = []
    handle = (req, res) => {
      seen.push([...own(req), ...own(res)])
      res.end()
    }
    await fetchText('/')
    start({ enabled: false })
    await fetchText('/')
    assert.deepEqual(seen[0], seen[1])
  })

  it('continues a caller’s trace: the server’s span is a child with an id of its own', async () => {
    await fetchText('/', { headers: { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' } })
    const request = (await spans(2)).find(isServer)!
    assert.equal(request.traceId, BigInt.asIntN(64, 0xa3ce929d0e0e4736n))
    assert.equal(request.traceIdHigh, 0x4bf92f3577b34da6n)
    assert.equal(request.parentId, 0x00f067aa0ba902b7n)
    assert.notEqual(request.id, request.parentId)
    assert.equal(request.probability, undefined)
  })

  it('obeys a caller that does not sample', async () => {
    let sampled: boolean | undefined
    handle = (_req, res) => {
      sampled = current().sampled
      res.end()
    }
    const req = live.get(url(), { headers: { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00' } })
    const [res] = await once(req, 'response')
    res.resume()
    await once(res, 'end')
    assert.equal(sampled, false)
    assert.ok(!(await spans(1)).some(isServer))
  })

  for (const how of ['get', 'request'] as const) {
    it(`joins client and server by traceparent, with http.${how}`, async () => {
      await span('root', async () => {
        const req = live[how](url('/a'))
        if (how === 'request') req.end()
        const [res] = await once(req, 'response')
        res.resume()
        await once(res, 'end')
      })
      const all = await spans(3)
      const root = all.find(s => s.name === 'root')!
      const server = all.find(isServer)!
      const client = all.find(s => s.name === 'GET /a' && s !== server)!
      assert.equal(client.parentId, root.id)
      assert.equal(server.parentId, client.id)
      assert.equal(client.annotations!.get('http.response.status_code'), '200')
    })
  }

  it('marks a 500, an aborted request and a refused connection as errors', async () => {
    handle = (req, res) => {
      if (req.url === '/broken') {
        res.statusCode = 500
        res.end()
      } else req.socket.destroy()
    }
    await fetchText('/broken')
    const aborted = live.get(url('/aborted'))
    await once(aborted, 'error')
    const refused = live.get('http://127.0.0.1:1/refused')
    await once(refused, 'error')
    const all = await spans(5)
    const errors = all.map(s => [s.name, isServer(s), s.annotations!.get('error.type')].join(' ')).sort()
    assert.deepEqual(errors, [
      'GET /aborted false ECONNRESET',
      'GET /aborted true aborted',
      'GET /broken false 500',
      'GET /broken true 500',
      'GET /refused false ECONNREFUSED',
    ])
  })

  it('leaves an unread response, a missing error listener and listener counts as they are', async () => {
    const counts: [string | symbol, number][] = []
    handle = (_req, res) => {
      for (const name of res.eventNames()) counts.push([name, res.listenerCount(name)])
      res.end('x'.repeat(100_000))
    }
    // Nobody listens to 'response': node drains it by itself.
    const req = live.get(url('/unread'))
    await once(req, 'close')
    const mine = [...counts]
    counts.length = 0
    start({ enabled: false })
    await once(live.get(url('/unread')), 'close')
    assert.deepEqual(mine, counts)
    const run = await runNode(['-r', './dist/register.js', '-e', `require('http').get('http://127.0.0.1:1/')`], {
      MILO_SAMPLER: 'always',
      MILO_SCRIBE: '127.0.0.1:1',
    })
    assert.equal(run.status, 1)
    assert.match(run.stderr, /Unhandled 'error' event/)
  })

  it('keeps length and name of what it wraps, and the application’s own traceparent', async () => {
    assert.deepEqual([live.request.length, live.get.length], [before_.requestLength, before_.getLength])
    assert.deepEqual([live.request.name, live.get.name], ['request', 'get'])
    let seen: unknown
    handle = (req, res) => {
      seen = req.headers.traceparent
      res.end()
    }
    await fetchText('/', { headers: { traceparent: 'mine' } })
    assert.equal(seen, 'mine')
  })

  it('takes headers given as an array', async () => {
    const req = live.request(url('/'), { headers: ['X-A', '1', 'Host', 'x'] as any })
    req.end()
    const [res] = await once(req, 'response')
    assert.equal(res.statusCode, 200)
    res.resume()
  })

  it('reaches named imports of an ESM application', async () => {
    const program = `
      import { get, createServer } from 'node:http'
      import { current } from 'milo'
      const server = createServer((req, res) => res.end(String(current().sampled) + ' ' + req.headers.traceparent)).listen(0, () =>
        get({ port: server.address().port }, res => { res.on('data', d => console.log(String(d))); res.on('end', () => server.close()) }))`
    const run = await runNode(['--import', 'milo/register', '--input-type=module', '-e', program], {
      MILO_SCRIBE: peer.address,
    })
    assert.match(run.stdout, /^true 00-[0-9a-f]{32}-[0-9a-f]{16}-01\n$/)
  })

  it('is left out by MILO_PLUGINS', async () => {
    for (const [plugins, patched] of [
      ['-http', false],
      ['thrift', false],
      ['http', true],
    ] as const) {
      const run = await runNode(
        ['-r', 'milo/register', '-p', `'__wrapped' in require('http').ClientRequest.prototype._implicitHeader`],
        {
          MILO_PLUGINS: plugins,
        },
      )
      assert.equal(run.stdout.trim(), String(patched))
    }
    const run = await runNode(['-r', 'milo/register', '-p', '1'], { MILO_PLUGINS: 'htp' })
    assert.match(run.stderr, /MILO_BAD_PLUGINS: MILO_PLUGINS knows thrift, http,.*got 'htp'/)
    assert.equal(run.stdout, '1\n')
  })
})
