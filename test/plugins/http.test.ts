import assert from 'node:assert/strict'
import { once } from 'node:events'
import * as http from 'node:http'
import net, { type AddressInfo, Socket } from 'node:net'
import { Duplex } from 'node:stream'
import fc from 'fast-check'
import { http as httpPlugin } from '../../plugins/http'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { baggage, current, flush, init, shutdown, span, stats } from '../../src/index'
import { install } from '../../src/patch/hook'
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

  /** Makes the request, and gives what the server received of it and the client's span. */
  async function asked(options: http.RequestOptions, go: (req: http.ClientRequest) => void) {
    let raw: string[] = []
    server.removeAllListeners('connect').removeAllListeners('upgrade')
    const seen = (req: http.IncomingMessage) => {
      raw = req.rawHeaders
    }
    handle = (req, res) => {
      seen(req)
      req.resume().on('end', () => res.end('ok'))
    }
    server.on('connect', (req, socket) => {
      seen(req)
      socket.end('HTTP/1.1 200 OK\r\n\r\n')
    })
    server.on('upgrade', (req, socket) => {
      seen(req)
      socket.end(Buffer.from('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'))
    })
    const { port } = server.address() as AddressInfo
    await span('caller', async () => {
      const req = live.request({ host: '127.0.0.1', port, method: 'PUT', path: '/key', agent: false, ...options })
      go(req)
      const [res, socket] = await Promise.race(['response', 'connect', 'upgrade'].map(name => once(req, name)))
      if (socket) socket.destroy()
      else res.resume()
    })
    const all = await spans(3)
    const names = raw.filter((_, i) => i % 2 === 0).map(name => name.toLowerCase())
    const traceparents = raw.filter((_, i) => names[(i / 2) | 0] === 'traceparent' && i % 2 === 1)
    const client = all.find(one => !isServer(one) && one.name !== 'caller')!
    return { traceparents, client, served: all.find(isServer)!, raw }
  }

  const body = (req: http.ClientRequest) => req.end('body')
  const requests: Record<string, [http.RequestOptions, (req: http.ClientRequest) => void, string]> = {
    'with Expect: 100-continue, whose headers leave before anything is written': [
      { headers: { Expect: '100-continue', 'Content-Length': 4 } },
      req => req.on('continue', () => req.end('body')),
      '200',
    ],
    'whose headers are an array': [{ headers: ['Host', 'x', 'Content-Length', '4'] as any }, body, '200'],
    'whose headers are an array of pairs': [
      {
        headers: [
          ['Host', 'x'],
          ['Content-Length', '4'],
        ] as any,
      },
      body,
      '200',
    ],
    'whose headers have no prototype': [{ headers: Object.assign(Object.create(null), { a: 'b' }) }, body, '200'],
    'whose options are frozen': [Object.freeze({ headers: Object.freeze({ a: 'b' }) }), body, '200'],
    'whose headers are flushed first': [
      {},
      req => {
        req.flushHeaders()
        setImmediate(body, req)
      },
      '200',
    ],
    'written in pieces': [{}, req => req.write('bo') && req.end('dy'), '200'],
    'that opens a tunnel': [{ method: 'CONNECT', path: 'x:1' }, req => req.end(), '200'],
    'that upgrades': [{ method: 'GET', headers: { Connection: 'Upgrade', Upgrade: 'x' } }, req => req.end(), '101'],
  }
  for (const [how, [options, go, status]] of Object.entries(requests)) {
    it(`traces a request ${how}, with its status`, async () => {
      const { traceparents, client, served } = await asked(options, go)
      assert.equal(traceparents.length, 1)
      assert.equal(client.annotations!.get('http.response.status_code'), status)
      assert.equal(client.annotations!.get('error.type'), undefined)
      assert.equal(served.parentId, client.id)
      assert.equal(served.annotations!.get('http.response.status_code'), status)
    })
  }

  it('sends the application’s own traceparent alone, in whatever form it is given', async () => {
    const own = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    const forms: [http.RequestOptions, boolean][] = [
      [{ headers: { TraceParent: own } }, false],
      [{ headers: { traceparent: own, Expect: '100-continue' } }, false],
      [{ headers: ['Host', 'x', 'TRACEPARENT', own] as any }, false],
      [
        {
          headers: [
            ['Host', 'x'],
            ['Traceparent', own],
          ] as any,
        },
        false,
      ],
      [{}, true],
    ]
    for (const [options, setLater] of forms) {
      const { traceparents } = await asked(options, req => {
        if (setLater) req.setHeader('TraceParent', own)
        req.end()
      })
      assert.deepEqual(traceparents, [own])
      peer.spans.length = 0
    }
  })

  it('passes a caller’s tracestate on, beside an array of headers too, and leaves the application’s own', async () => {
    const headers = {
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      tracestate: 'a=1,b=2',
    }
    const states: unknown[] = []
    handle = (req, res) => {
      if (req.url !== '/outer') {
        states.push(req.headers.tracestate)
        res.end()
        return
      }
      const forms = [{}, { headers: ['Host', 'x'] as any }, { headers: ['Host', 'x', 'TraceState', 'c=3'] as any }]
      Promise.all(forms.map(form => fetchText('/inner', form))).then(() => res.end())
    }
    await fetchText('/outer', { headers })
    assert.deepEqual(states.sort(), ['a=1,b=2', 'a=1,b=2', 'c=3'])
  })

  it('writes what the settings want for a host, beside any form of headers, and reads it', async () => {
    const { port } = server.address() as AddressInfo
    const forms = [{}, { headers: ['Host', `x:${port}`] as any }, { headers: [['Host', `x:${port}`]] as any }]
    for (const [propagation, expected] of [
      [`127.0.0.1:${port}=b3`, 'b3'],
      ['127.0.0.1=b3multi', 'x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled'],
      ['127.0.0.1=off', ''],
      ['127.0.0.1:1=off,*.1=off', ''],
    ] as const) {
      start({ propagation })
      for (const form of forms) {
        const { raw, client, served } = await asked(form, req => req.end())
        const names = raw.filter((name, i) => i % 2 === 0 && /trace|^(x-)?b3/i.test(name))
        assert.equal(names.join(' '), expected, `${propagation} ${JSON.stringify(form)}`)
        assert.equal(served.parentId, expected === '' ? 0n : client.id)
        peer.spans.length = 0
      }
    }
  })

  it('takes baggage from a request to the calls that its handler makes, and to listeners of events', async () => {
    start({ baggage: 'tenant', sampler: 'never' })
    const seen: unknown[] = []
    // One connection for all calls: what comes from it comes in the context of the first.
    const agent = new live.Agent({ keepAlive: true, maxSockets: 1 })
    const inner = (done: () => void) =>
      live.get(url('/inner'), { agent }, res => {
        seen.push(baggage())
        res.resume().on('end', () => {
          seen.push(baggage())
          done()
        })
      })
    handle = (req, res) => {
      if (req.url === '/inner') {
        seen.push(req.headers.baggage)
        res.end()
      } else req.on('end', () => inner(() => res.end())).resume()
    }
    for (const tenant of ['acme', 'else'])
      await fetchText('/outer', { headers: { baggage: `tenant=${tenant},other=1` } })
    agent.destroy()
    const of = (tenant: string) => [`tenant=${tenant}`, { tenant }, { tenant }]
    assert.deepEqual(seen, [...of('acme'), ...of('else')])
  })

  it('throws what node throws for headers that make no sense, and goes on tracing', async () => {
    const wrong: unknown[] = [['odd'], [['a', 'b\n']], [Symbol('x'), 'y'], [null], [['a']], ['a', undefined]]
    for (const headers of wrong) {
      const message = () => {
        try {
          live
            .request(url('/'), { headers: headers as any })
            .on('error', () => {})
            .destroy()
          return undefined
        } catch (error) {
          return (error as Error).message
        }
      }
      const mine = message()
      start({ enabled: false })
      assert.equal(mine, message())
      start()
    }
    const { traceparents } = await asked({}, body)
    assert.equal(traceparents.length, 1)
  })

  it('reports a request whose response nobody reads, while its socket stays open', async () => {
    handle = (_req, res) => {
      res.writeHead(206)
      res.write('x'.repeat(100_000))
    }
    let req!: http.ClientRequest
    await new Promise(resolve => {
      req = live.get(url('/unread'), resolve)
    })
    const [client] = await spans(1)
    assert.equal(client!.annotations!.get('http.response.status_code'), '206')
    assert.equal(req.destroyed, false)
    req.destroy()
  })

  it('reports a request whose response is being read when that has been read', async () => {
    const endedBefore = stats().ended
    let finish!: () => void
    handle = (_req, res) => {
      res.write('x')
      finish = () => res.end('y')
    }
    const res = await new Promise<http.IncomingMessage>(resolve => {
      live.get(url('/slow'), resolve)
    })
    for await (const chunk of res) {
      if (String(chunk) !== 'x') continue
      await new Promise(resolve => setImmediate(() => setImmediate(resolve)))
      assert.equal(stats().ended, endedBefore)
      finish()
    }
    assert.equal((await spans(2)).length, 2)
  })

  it('marks responses that are cut short as aborted, on both sides', async () => {
    handle = (_req, res) => {
      res.writeHead(200, { 'Content-Length': 10 })
      res.write('12345', () => res.destroy())
    }
    const req = live.get(url('/cut'))
    const [res] = await once(req, 'response')
    res.resume()
    await once(res, 'error')
    const all = await spans(2)
    assert.deepEqual(
      all.map(s => [s.annotations!.get('http.response.status_code'), s.annotations!.get('error.type')]),
      [
        ['200', 'aborted'],
        ['200', 'aborted'],
      ],
    )
  })

  it('reports pipelined requests whose turn never came before their socket closed, and each of the others once', async () => {
    const net = require('node:net') as typeof import('node:net')
    const told: string[] = []
    handle = (req, res) => {
      req.resume()
      res.on('close', () => told.push(`${req.url} closed`))
      told.push(req.url!)
      if (req.url === '/c') return
      res.end('x')
    }
    const socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
    socket.resume()
    for (const path of ['/a', '/b', '/c', '/d', '/e']) socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await until('all have come', () => told.includes('/e') && told.includes('/b closed'))
    socket.destroy()
    const ended = (await spans(5)).map(s => [s.name, s.annotations!.get('error.type')])
    assert.deepEqual(ended.sort(), [
      ['GET /a', undefined],
      ['GET /b', undefined],
      ['GET /c', 'aborted'],
      ['GET /d', 'aborted'],
      ['GET /e', 'aborted'],
    ])
  })

  it('takes requests that come by no socket, or by one for all, as serverless adapters make them', async () => {
    const one = new Socket()
    for (let i = 0; i < 1200; i++) {
      const req = new http.IncomingMessage((i === 0 ? null : i === 1 ? {} : one) as Socket)
      const res = new http.ServerResponse(req)
      server.emit('request', req, res)
      res.emit('close')
    }
    assert.equal((await fetchText('/real')).text, 'hello')
    assert.equal((await spans(1202)).filter(isServer).length, 1201)
  })

  it('traces once a request of a class that makes its head again', async () => {
    class Again extends live.ClientRequest {
      override end(...args: any): this {
        const head = (this as any)._storeHeader
        head.call(this, 'GET / HTTP/1.1\r\n', null)
        ;(this as any)._header = null
        return super.end(...args)
      }
    }
    const sink = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
    const req = new Again({ host: 'x', createConnection: () => sink })
    req.on('error', () => {})
    await span('caller', async () => req.end())
    assert.match(String(req.getHeader('traceparent')), /^00-/)
    req.destroy()
    const { traceparents } = await asked({}, body)
    assert.equal(traceparents.length, 1)
  })

  it('stays on, whatever it is sent or asked to send', async () => {
    const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string(), fc.constantFrom('\ud800', 'x'.repeat(9000), ''))
    const given = fc.oneof(text, fc.constantFrom(undefined, null, 5, Symbol('x')))
    const parent = fc.oneof(text, fc.constant('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'))
    const served: unknown[] = []
    const other = live.createServer((req, res) => {
      served.push(req)
      res.emit('close')
    })
    const sink = () => new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
    const headers = fc.oneof(
      fc.dictionary(text, given),
      fc.array(given),
      fc.array(fc.array(given)),
      fc.constant(undefined),
    )
    const seed = Number(process.env.MILO_TEST_SEED ?? Date.now() % 2 ** 31)
    fc.assert(
      fc.property(text, given, parent, text, text, headers, (method, path, traceparent, tracestate, host, sent) => {
        const req = new http.IncomingMessage(new Socket())
        req.method = method
        req.url = path as string
        req.rawHeaders = ['traceparent', traceparent, 'tracestate', tracestate]
        req.headers = { traceparent, tracestate }
        other.once('request', () => {
          try {
            const options = { method, path, host, headers: sent, createConnection: sink } as http.RequestOptions
            live
              .request(options)
              .on('error', () => {})
              .end()
          } catch {
            // Node's own, for what it doesn't send.
          }
        })
        other.emit('request', req, new http.ServerResponse(req))
      }),
      { seed, numRuns: 200 },
    )
    assert.ok(served.length >= 200)
    await flush()
    peer.spans.length = 0
    const { traceparents } = await asked({}, body)
    assert.equal(traceparents.length, 1)
  })

  it('passes nothing on that is too long, repeated or no header of its kind, whatever size of headers a server takes', async () => {
    start({ propagation: 'w3c+b3+b3multi', baggage: '*' })
    const passed: string[][] = []
    const inner = net.createServer(socket =>
      socket.once('data', data => {
        passed.push(data.toString('latin1').split('\r\n').slice(1, -2))
        socket.end('HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n')
      }),
    )
    const large = live.createServer({ maxHeaderSize: 8 << 20 }, (_req, res) => {
      const { port } = inner.address() as AddressInfo
      live.get({ host: '127.0.0.1', port, agent: false }, answer => answer.resume().on('end', () => res.end('ok')))
    })
    for (const one of [inner, large]) await once(one.listen(0, '127.0.0.1'), 'listening')
    const parent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    const megabyte = 'x'.repeat(1 << 20)
    const b3 = 'a3ce929d0e0e4736-00f067aa0ba902b7-1'
    try {
      for (const [headers, joins] of [
        [[`traceparent: ${parent}${megabyte}`, `b3: ${b3}${megabyte}`, `x-b3-traceid: ${megabyte}`], false],
        [[`traceparent: ${parent}`, `traceparent: ${parent}`], false],
        [[`b3: ${b3}`, `b3: ${b3}`], false],
        [[`traceparent: ${parent}`, `tracestate: a=${megabyte}`, `baggage: a=${megabyte}`], true],
        [[`traceparent: ${parent}`, ...Array(2000).fill('tracestate: a=1'), ...Array(2000).fill('baggage: a=1')], true],
        [[`traceparent: ${parent}`, 'tracestate: a=\xe4\xff', 'baggage: a=\xe4,b="1",c=1%0d%0ax: y;d'], true],
        [[`traceparent: ${parent}`, 'tracestate: a=1,\tx: y', 'baggage: a=1\t2, b =3'], true],
      ] as [string[], boolean][]) {
        const socket = net.connect((large.address() as AddressInfo).port, '127.0.0.1')
        socket.write(`GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers.join('\r\n')}\r\n\r\n`, 'latin1')
        const [status] = await once(socket, 'data')
        assert.match(String(status), /^HTTP\/1\.1 200 /)
        socket.destroy()
        const what = headers.join().slice(0, 150)
        const sent = passed.pop()!.filter(line => !/^(host|connection):/i.test(line))
        for (const line of sent) {
          assert.match(line, /^(traceparent|tracestate|b3|x-b3-\w+|baggage): [\t\x20-\x7e]+$/, what)
          assert.ok(line.length < (line.startsWith('baggage') ? 8300 : 600), what)
        }
        const names = sent.map(line => line.slice(0, line.indexOf(':')))
        assert.equal(new Set(names).size, names.length, what)
        assert.equal(
          sent.some(line => line.includes('4bf92f3577b34da6')),
          joins,
          what,
        )
      }
    } finally {
      large.close()
      inner.close()
    }
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
        ['-r', 'milo/register', '-p', `'__wrapped' in require('http').ClientRequest.prototype._storeHeader`],
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
