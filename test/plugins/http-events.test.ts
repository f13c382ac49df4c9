import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import type * as http from 'node:http'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { type Duplex, PassThrough, pipeline, Writable } from 'node:stream'
import { http as httpPlugin } from '../../plugins/http'
import * as cls from '../../src/cls/namespaces'
import { current, span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { assertTree, start, stop, tree } from '../../src/testing'
import { ended } from '../helpers/ended'
import { until } from '../helpers/until'

install([httpPlugin])
// What applications use: the module's own object, and not the copy that an import statement may have made.
const live: typeof http = require('node:http')

/*
 * What happens to a request after its handler has returned comes from its socket, which belongs to no request. Work that is
 * done then is the request's all the same.
 */

type Handler = (req: http.IncomingMessage, res: http.ServerResponse, work: () => void) => void

describe('what a request does later', () => {
  let server: http.Server
  let socket: Socket
  const open: { destroy(): void }[] = []
  let received: string
  let handled: Promise<unknown>

  const work = () => span('work', () => {})

  async function listen(): Promise<void> {
    server = live.createServer().listen(0, '127.0.0.1')
    const listening = server
    open.push({ destroy: () => listening.close() })
    server.on('connection', other => open.push(other))
    await once(server, 'listening')
    socket = connect((server.address() as AddressInfo).port, '127.0.0.1').setNoDelay()
    open.push(socket)
    received = ''
    socket.on('data', data => {
      received += data
    })
    socket.on('error', () => {})
  }

  beforeEach(async () => {
    start()
    await listen()
  })

  afterEach(() => {
    for (const one of open.splice(0)) one.destroy()
    stop()
  })

  const serve = (handler: Handler, event = 'request') => {
    server.on(event, (req, res) => handler(req, res, work))
    handled = once(server, event)
  }

  const HEAD = 'POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n'
  const sink = () => new Writable({ write: (_chunk, _encoding, done) => void setImmediate(done) })

  const ways: Record<string, Handler> = {
    'a listener of the request’s data': (req, res, work) => {
      req.once('data', work)
      req.on('end', () => res.end())
    },
    'a listener of its end': (req, res, work) => {
      req.resume()
      req.on('end', () => res.end(work()))
    },
    'a listener that was put first': (req, res, work) => {
      req.resume()
      req.prependOnceListener('end', () => res.end(work()))
    },
    'a listener of its end, added after the answer, behind Node’s own': (req, res, work) => {
      // Node listens to the end of a request that is answered before it is over.
      req.once('data', () => {
        res.end()
        res.on('finish', () => req.on('end', work))
      })
    },
    'a listener of its end, put before Node’s own': (req, res, work) => {
      req.once('data', () => {
        res.end()
        res.on('finish', () => req.prependListener('end', work))
      })
    },
    'a listener of its end, once': (req, res, work) => {
      req.once('end', work)
      res.end()
    },
    'a listener of its end with the name of Node’s': (req, res, work) => {
      req.on('end', function clearIncoming() {
        work()
      })
      req.once('data', () => res.end())
    },
    'a listener of its end in the place of Node’s': (req, res, work) => {
      req.once('data', () => {
        res.end()
        res.on('finish', () => req.removeAllListeners('end').on('end', work))
      })
    },
    'a listener of readable': (req, res, work) => {
      req.on('readable', () => req.read())
      req.once('end', () => res.end(work()))
    },
    'a listener of its close': (req, res, work) => {
      req.resume()
      req.on('close', work)
      req.on('end', () => res.end())
    },
    'a loop over it': async (req, res, work) => {
      for await (const _ of req);
      res.end(work())
    },
    'a pipe’s end': (req, res, work) => {
      req.pipe(sink()).on('finish', () => res.end(work()))
    },
    'a pipeline’s callback': (req, res, work) => {
      pipeline(req, new PassThrough(), sink(), () => res.end(work()))
    },
    'a listener of the response’s finish': (req, res, work) => {
      res.on('finish', work)
      req.resume().on('end', () => res.end())
    },
    'a listener of the response’s close': (req, res, work) => {
      res.on('close', work)
      req.resume().on('end', () => res.end())
    },
    'the response’s drain': (req, res, work) => {
      req.resume()
      res.once('drain', () => res.end(work()))
      const more = () => res.write('x'.repeat(100_000)) && setImmediate(more)
      more()
    },
    'the callback of a write': (req, res, work) => {
      req.resume().on('end', () => res.write('x', () => res.end(work())))
    },
  }

  for (const [how, handler] of Object.entries(ways)) {
    for (const when of ['with its head', 'later']) {
      it(`belongs to it: ${how}, when the body comes ${when}`, async () => {
        serve(handler)
        if (when === 'later') {
          socket.write(HEAD)
          await handled
          socket.write('{"a"')
          await new Promise(setImmediate)
          socket.write(':1')
        } else socket.write(`${HEAD}{"a":1`)
        await ended(2)
        assertTree('"POST /orders" (server)\n  work', { annotations: [] })
      })
    }
  }

  const aborts: Record<string, Handler> = {
    'the response’s close': (req, res, work) => {
      req.resume().on('error', () => {})
      res.on('close', work)
    },
    'the request’s aborted': (req, _res, work) => {
      req.resume().on('error', () => {})
      req.on('aborted', work)
    },
    'the request’s error': (req, _res, work) => {
      req.resume().on('error', work)
    },
    'a pipeline’s callback': (req, _res, work) => {
      pipeline(req, sink(), work)
    },
  }
  for (const [how, handler] of Object.entries(aborts)) {
    it(`belongs to it when the client goes away: ${how}`, async () => {
      serve(handler)
      socket.write(`${HEAD}{"a"`)
      await handled
      socket.destroy()
      await ended(2)
      assertTree('"POST /orders" (server) error.type=aborted\n  work', { annotations: ['error.type'] })
    })
  }

  it('belongs to it when its time is up', async () => {
    serve((req, res, work) => {
      req.setTimeout(5)
      req.on('timeout', () => res.end(work()))
    })
    socket.write(HEAD)
    await ended(2)
    assertTree('"POST /orders" (server)\n  work', { annotations: [] })
  })

  it('belongs to it alone, when a connection’s requests come in one chunk and one trace', async () => {
    server.on('request', (req, res) => {
      req.resume().on('end', () => {
        span(`work of ${req.url}`, () => {})
        res.end()
      })
    })
    const parent = 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    const request = (name: string) => `POST /${name} HTTP/1.1\r\nHost: x\r\n${parent}\r\nContent-Length: 1\r\n\r\nx`
    socket.write(request('a') + request('b') + request('c'))
    await ended(6)
    assertTree(['a', 'b', 'c'].map(name => `"POST /${name}" (server)\n  "work of /${name}"`).join('\n'), {
      annotations: [],
    })
  })

  it('belongs to a request that expects to be asked for its body', async () => {
    for (const event of ['checkContinue', 'checkExpectation']) {
      serve((req, res, work) => {
        req.resume().on('end', () => res.end(work()))
        if (event === 'checkContinue') res.writeContinue()
      }, event)
      const expects = event === 'checkContinue' ? '100-continue' : 'more'
      const spans = start()
      socket.write(`POST /orders HTTP/1.1\r\nHost: x\r\nExpect: ${expects}\r\nContent-Length: 1\r\n\r\n`)
      await handled
      socket.write('x')
      await ended(2)
      assert.equal(spans.length, 2)
      assertTree('"POST /orders" (server)\n  work', { annotations: [] })
    }
  })

  it('makes no trace of its own where the request isn’t sampled', async () => {
    const seen: unknown[] = []
    serve((req, res) => {
      req.resume().on('end', () => {
        seen.push(current().sampled, span('x').sampled)
        res.end()
      })
    })
    socket.write(
      `${HEAD.replace('\r\n\r\n', '\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\r\n\r\n')}123456`,
    )
    await until('it has answered', () => received !== '')
    assert.deepEqual(seen, [false, false])
  })

  it('runs where it is when the application itself emits it', async () => {
    serve((req, res) => {
      const seen: boolean[] = []
      req.on('mine', () => seen.push(current().spanId === inner))
      let inner = ''
      span('inner', own => {
        inner = own.spanId
        req.emit('mine')
      })
      req.resume()
      res.end(String(seen))
    })
    socket.write(`${HEAD}123456`)
    await until('it has answered', () => received.endsWith('true'))
  })

  it('is emitted by what has taken the place of EventEmitter’s emit, as node:domain does', async () => {
    const { emit } = EventEmitter.prototype
    const through = new Set<unknown>()
    EventEmitter.prototype.emit = function (this: unknown, ...args: any) {
      through.add(args[0])
      return emit.apply(this as EventEmitter, args)
    } as typeof emit
    try {
      serve((req, res) => req.resume().on('end', () => res.end()))
      socket.write(`${HEAD}123456`)
      await until('it has answered', () => received !== '' && through.has('finish'))
      for (const event of ['request', 'end', 'prefinish', 'finish']) assert.ok(through.has(event), event)
    } finally {
      EventEmitter.prototype.emit = emit
    }
  })

  it('leaves the contexts of milo/cls as they are without the plugin', async () => {
    const namespace = cls.createNamespace<{ n: number }>('http-events')
    const seen: Record<string, unknown>[] = []
    const handler: Handler = (req, res) => {
      const found: Record<string, unknown> = {}
      namespace.run(() => {
        namespace.set('n', 1)
        req.resume()
        req.on('end', () => {
          found.end = namespace.get('n')
          res.end()
        })
        namespace.bindEmitter(res)
        res.on('finish', () => {
          found.finish = namespace.get('n')
        })
        setImmediate(() => {
          found.later = namespace.get('n')
        })
      })
      res.on('close', () => {
        found.close = namespace.get('n')
        seen.push(found)
      })
    }
    for (const enabled of [true, false]) {
      start({ enabled })
      await listen()
      serve(handler)
      socket.write(HEAD)
      await handled
      await new Promise(setImmediate)
      socket.write('123456')
      await until('it has answered', () => seen.length === (enabled ? 1 : 2))
    }
    assert.deepEqual(seen[0], seen[1])
    cls.destroyNamespace('http-events')
  })

  for (const [event, head, name] of [
    ['upgrade', 'GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n', 'GET /chat'],
    ['connect', 'CONNECT db:1 HTTP/1.1\r\nHost: x\r\n\r\n', 'CONNECT /'],
  ] as const) {
    it(`belongs to the request that gave its socket away: ${event}`, async () => {
      server.on(event, (_req: unknown, other: Duplex) => {
        other.once('data', work)
        other.on('end', () => other.end())
        other.on('close', work)
        setImmediate(() => other.write('HTTP/1.1 101 Switching Protocols\r\n\r\n'))
      })
      socket.write(head)
      await until('the handshake is over', () => received.includes('101'))
      // Before the socket has closed.
      assertTree(`"${name}" (server) http.response.status_code=101`, { annotations: ['http.response.status_code'] })
      socket.write('hello')
      await ended(2)
      socket.destroy()
      await ended(3)
      assertTree(`"${name}" (server)\n  work\n  work`, { annotations: [] })
    })

    it(`reports a request by ${event} that isn’t answered as aborted`, async () => {
      server.on(event, (_req: unknown, other: Duplex) => other.destroy())
      socket.write(head)
      await ended(1)
      assertTree(`"${name}" (server) error.type=aborted`, { annotations: ['error.type'] })
    })
  }

  it('is a child of the handshake, for messages of a WebSocket on both sides', async () => {
    const { WebSocket, WebSocketServer } = createRequire(require.resolve('thrift'))('ws')
    const sockets = new WebSocketServer({ server })
    sockets.on('connection', (ws: any) =>
      ws.on('message', (message: unknown) => span(`got ${message}`, () => ws.send(`re: ${message}`))),
    )
    await span('caller', async () => {
      const ws = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}/chat`)
      ws.on('open', () => ws.send('a'))
      ws.on('message', (message: unknown) => {
        if (String(message) === 're: a') ws.send('b')
        else ws.close()
        span(`got ${message}`, () => {})
      })
      await once(ws, 'close')
    })
    sockets.close()
    await ended(7)
    assertTree(
      `
      caller
        "GET /chat" (client) http.response.status_code=101
          "GET /chat" (server) http.response.status_code=101
            "got a"
            "got b"
        "got re: a"
        "got re: b"
      `,
      { annotations: ['http.response.status_code'] },
    )
  })

  it('is the caller’s, for what a request that it makes hears later, over a connection that others use too', async () => {
    server.on('request', (req, res) => {
      if (req.url === '/late') return
      res.writeEarlyHints({ link: '</a>; rel=preload' })
      res.write('x')
      setImmediate(() => res.end('y'))
    })
    const { port } = server.address() as AddressInfo
    const agent = new live.Agent({ keepAlive: true, maxSockets: 1 })
    const wrong: string[] = []
    let heard = 0
    const ask = (name: string) =>
      span(name, async own => {
        const look = (event: string) => () => {
          heard++
          if (current() !== own) wrong.push(`${name} ${event}: ${current().spanId}`)
        }
        const path = name === 'late' ? '/late' : '/'
        const req = live.get({ host: '127.0.0.1', port, agent, path, timeout: 10 })
        for (const event of ['socket', 'finish', 'information', 'response', 'timeout', 'error', 'close'])
          req.on(event, look(`request’s ${event}`))
        req.on('timeout', () => path === '/late' && req.destroy())
        req.on('response', res => {
          for (const event of ['data', 'end', 'close']) res.on(event, look(`response’s ${event}`))
        })
        await new Promise(resolve => req.on('close', resolve))
      })
    await Promise.all(['a', 'b', 'late', 'c'].map(ask))
    agent.destroy()
    assert.deepEqual(wrong, [])
    assert.ok(heard > 30, `${heard} ${tree()}`)
  })
})
