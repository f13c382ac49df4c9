import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { EventEmitter, once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, createServer as createHttpServer } from 'node:http'
import { connect as connectSocket, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { http as httpPlugin } from '../../plugins/http'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { flush, init, shutdown, span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { runNode } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'
import {
  client,
  closeAll,
  connect,
  listen,
  onClose,
  plain,
  serve,
  type ThriftCopy,
  traced,
  type Wire,
} from '../helpers/thrift'
import { until } from '../helpers/until'

install([httpPlugin])

const BINARY: Wire = { transport: 'TBufferedTransport', protocol: 'TBinaryProtocol' }
const FRAMED: Wire = { transport: 'TFramedTransport', protocol: 'TBinaryProtocol' }

let peer: ScribePeer

const start = (more: object = {}) =>
  init({ scribe: peer.address, service: 'test', host: 'here', sampler: 'always', ...more })

async function spans(): Promise<SpanRecord[]> {
  assert.equal(await flush(20_000), true)
  return peer.spans
}

const isClient = (s: SpanRecord) => s.events!.some(e => e.eventType === EventType.CLIENT_SEND)

async function joined(name: string): Promise<SpanRecord> {
  const found = (await spans()).filter(s => s.name === name)
  assert.equal(found.length, 2, `${name}: ${found.length} records`)
  const clientHalf = found.find(isClient)!
  const serverHalf = found.find(s => !isClient(s))!
  assert.deepEqual(
    [clientHalf.traceId, clientHalf.id, clientHalf.parentId],
    [serverHalf.traceId, serverHalf.id, serverHalf.parentId],
  )
  assert.equal(clientHalf.annotations!.get('thrift.result'), 'ok')
  assert.equal(serverHalf.annotations!.get('thrift.result'), 'ok')
  return clientHalf
}

/** Unlike once(), it isn't upset by an 'error' on the way, and adds no listener for one. */
const happens = (emitter: any, event: string): Promise<void> =>
  new Promise(resolve => emitter.once(event, () => resolve()))
const closed = (connection: any): Promise<void> => happens(connection, 'close')

/** The one span of a call that was never answered. */
async function unanswered(name: string): Promise<{ result: string; error: string }> {
  const found = (await spans()).filter(s => s.name === name && isClient(s))
  assert.equal(found.length, 1, `${name}: ${found.length} records`)
  const annotations = found[0]!.annotations!
  return { result: annotations.get('thrift.result')!, error: annotations.get('error.type')! }
}

const handler = {
  add: async (a: number, b: number) => a + b,
  ping: async (name: string) => `hello ${name}`,
  fire: () => {},
}

/** Whether a promise settles while other things happen: a call that thrift never settles must stay so. */
function settled(promise: Promise<unknown>): () => boolean {
  let done = false
  promise.then(
    () => (done = true),
    () => (done = true),
  )
  return () => done
}

describe('the Thrift plugin on every connection', () => {
  let folder: string

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-uds-'))
  })
  after(() => rmSync(folder, { recursive: true }))

  beforeEach(async () => {
    peer = await ScribePeer.listen()
    start()
  })

  afterEach(async () => {
    closeAll()
    await shutdown(0)
    await peer.close()
  })

  it('traces calls over TLS', async () => {
    const tls = {
      key: readFileSync(join(__dirname, '../fixtures/tls/key.pem')),
      cert: readFileSync(join(__dirname, '../fixtures/tls/cert.pem')),
      secureProtocol: 'TLS_method',
    }
    const { port } = await listen(traced.thrift.createServer(traced.Calculator, handler, { ...options(FRAMED), tls }))
    const connection = traced.thrift.createSSLConnection('localhost', port, {
      ...options(FRAMED),
      rejectUnauthorized: false,
      secureProtocol: 'TLS_method',
    })
    onClose(() => connection.destroy())
    assert.equal(await traced.thrift.createClient(traced.Calculator, connection).add(1, 2), 3)
    const call = await joined('Calculator.add')
    assert.equal(call.annotations!.get('server.address'), 'localhost')
    const served = peer.spans.find(s => !isClient(s))!
    assert.match(served.annotations!.get('network.peer.address')!, /127\.0\.0\.1|::1/)
  })

  it('traces calls over a Unix domain socket', async () => {
    const path = join(folder, 'thrift.sock')
    const server = traced.thrift.createServer(traced.Calculator, handler, options(BINARY))
    server.listen(path)
    await once(server, 'listening')
    onClose(() => server.close())
    const connection = traced.thrift.createUDSConnection(path, options(BINARY))
    onClose(() => connection.destroy())
    assert.equal(await traced.thrift.createClient(traced.Calculator, connection).add(1, 2), 3)
    assert.equal((await joined('Calculator.add')).annotations!.get('server.address'), path)
  })

  it('traces calls over a child process’s standard streams, and ends them with the process', async () => {
    const connection = traced.thrift.createStdIOConnection(
      `${process.execPath} ${join(__dirname, '../fixtures/stdio-server.js')}`,
      options(BINARY),
    )
    onClose(() => connection.child.kill())
    const c = traced.thrift.createStdIOClient(traced.Calculator, connection)
    assert.equal(await c.add(1, 2), 3)
    const done = settled(c.ping('exit'))
    await closed(connection)
    assert.deepEqual(await unanswered('Base.ping'), { result: 'transport_error', error: 'connection closed' })
    assert.equal(done(), false)
    assert.ok((await spans()).some(s => s.name === 'Calculator.add'))
  })

  for (const protocol of ['TBinaryProtocol', 'TCompactProtocol', 'TJSONProtocol']) {
    it(`makes a call over HTTP the parent of its request, ${protocol}`, async () => {
      const server = await webServer(traced, protocol)
      const connection = traced.thrift.createHttpConnection('127.0.0.1', server.port, {
        transport: traced.thrift.TBufferedTransport,
        protocol: traced.thrift[protocol],
        path: '/calc',
        nodeOptions: { agent: false },
      })
      const c = traced.thrift.createHttpClient(traced.Calculator, connection)
      const store = new AsyncLocalStorage<string>()
      await span('root', () => store.run('mine', async () => assert.equal(await c.add(1, 2), 3)))
      // The http request's own spans end when its socket closes.
      await until('all have come', async () => (await spans()).length === 5)
      const call = await joined('Calculator.add')
      const requests = peer.spans.filter(s => s.name === 'POST /calc')
      const sent = requests.find(isClient)!
      const received = requests.find(s => !isClient(s))!
      assert.equal(sent.parentId, call.id)
      assert.equal(received.parentId, sent.id)
      assert.ok(peer.spans.every(s => s.traceId === call.traceId))
    })
  }

  it('traces calls by HTTP over a Unix domain socket', async () => {
    const path = join(folder, 'http.sock')
    const server = traced.thrift.createWebServer({
      services: {
        '/calc': {
          transport: traced.thrift.TBufferedTransport,
          protocol: traced.thrift.TJSONProtocol,
          processor: traced.Calculator,
          handler,
        },
      },
    })
    server.listen(path)
    await once(server, 'listening')
    onClose(() => server.close())
    const connection = traced.thrift.createHttpUDSConnection(path, {
      transport: traced.thrift.TBufferedTransport,
      protocol: traced.thrift.TJSONProtocol,
      path: '/calc',
      nodeOptions: { agent: false },
    })
    assert.equal(await traced.thrift.createHttpClient(traced.Calculator, connection).add(1, 2), 3)
    assert.equal((await joined('Calculator.add')).annotations!.get('server.address'), path)
  })

  it('traces calls by XMLHttpRequest, where there is one', async () => {
    const { port } = await webServer(traced, 'TJSONProtocol')
    ;(globalThis as any).XMLHttpRequest = require('xhr2')
    onClose(() => delete (globalThis as any).XMLHttpRequest)
    const connection = traced.thrift.createXHRConnection('127.0.0.1', port, {
      transport: traced.thrift.TBufferedTransport,
      protocol: traced.thrift.TJSONProtocol,
      path: '/calc',
    })
    const c = traced.thrift.createXHRClient(traced.Calculator, connection)
    assert.equal(await c.add(1, 2), 3)
    await joined('Calculator.add')
    connection.url = connection.url.replace('/calc', '/nowhere')
    const done = settled(c.ping('x'))
    await until('the span has ended', async () => (await spans()).some(s => s.name === 'Base.ping'))
    assert.deepEqual(await unanswered('Base.ping'), { result: 'transport_error', error: '403' })
    assert.equal(done(), false)
  })

  for (const protocol of ['TJSONProtocol', 'TBinaryProtocol']) {
    it(`traces calls over a WebSocket, before it is open too, and those that its end leaves unanswered, ${protocol}`, async () => {
      const { port } = await webServer(traced, protocol, { ...handler, ping: (_name: string) => new Promise(() => {}) })
      const connection = traced.thrift.createWSConnection('127.0.0.1', port, {
        transport: traced.thrift.TBufferedTransport,
        protocol: traced.thrift[protocol],
        path: '/calc',
      })
      connection.open()
      const c = traced.thrift.createWSClient(traced.Calculator, connection)
      assert.equal(await c.add(1, 2), 3)
      const call = await joined('Calculator.add')
      assert.ok(call.counters!.get('thrift.queue_us')! > 0n)
      const done = settled(c.ping('x'))
      // Thrift's server doesn't answer a closing handshake.
      connection.socket.terminate()
      await until('the span has ended', async () => (await spans()).some(s => s.name === 'Base.ping' && isClient(s)))
      assert.deepEqual(await unanswered('Base.ping'), { result: 'transport_error', error: 'connection closed' })
      assert.equal(done(), false)
    })
  }

  it('traces calls over a connection class of another author', async () => {
    const { port } = await serve(traced, traced.Calculator, handler, FRAMED)
    class TheirConnection extends EventEmitter {
      transport = traced.thrift.TFramedTransport
      protocol = traced.thrift.TBinaryProtocol
      client: any
      socket = connectSocket(port, '127.0.0.1')
      constructor() {
        super()
        this.socket.on('close', () => this.emit('close'))
        this.socket.on(
          'data',
          this.transport.receiver((input: any) => {
            const message = new this.protocol(input)
            const header = message.readMessageBegin()
            this.client[`recv_${header.fname}`](message, header.mtype, header.rseqid)
          }),
        )
      }
      write(bytes: Buffer) {
        this.socket.write(bytes)
      }
    }
    const connection = new TheirConnection()
    onClose(() => connection.socket.destroy())
    assert.equal(await traced.thrift.createClient(traced.Calculator, connection).add(1, 2), 3)
    await joined('Calculator.add')
  })

  it('traces calls of a client made by hand over a transport', async () => {
    const { port } = await serve(traced, traced.Calculator, handler, FRAMED)
    const socket = connectSocket(port, '127.0.0.1')
    onClose(() => socket.destroy())
    const transport = new traced.thrift.TFramedTransport(undefined, (bytes: Buffer) => socket.write(bytes))
    // Nothing in thrift makes this client; its class has not been seen by createClient.
    const fresh = freshCalculator()
    const c = new fresh.Client(transport, traced.thrift.TBinaryProtocol)
    socket.on(
      'data',
      traced.thrift.TFramedTransport.receiver((input: any) => {
        const message = new traced.thrift.TBinaryProtocol(input)
        const header = message.readMessageBegin()
        c[`recv_${header.fname}`](message, header.mtype, header.rseqid)
      }),
    )
    assert.equal(await c.add(1, 2), 3)
    await joined('Calculator.add')
    assert.equal(await c.ping('x'), 'hello x')
  })

  it('leaves THeader working as it does', async () => {
    for (const copy of [plain, traced]) {
      const { port } = await listen(
        copy.thrift.createServer(copy.Calculator, handler, {
          transport: copy.thrift.TBufferedTransport,
          protocol: copy.thrift.THeaderProtocol,
        }),
      )
      const connection = copy.thrift.createConnection('127.0.0.1', port, {
        transport: copy.thrift.TBufferedTransport,
        protocol: copy.thrift.TBinaryProtocol,
      })
      onClose(() => connection.destroy())
      connection.on('error', () => {})
      assert.equal(await copy.thrift.createClient(copy.Calculator, connection).add(1, 2), 3)
    }
  })
})

function options(wire: Wire) {
  return { transport: traced.thrift[wire.transport], protocol: traced.thrift[wire.protocol] }
}

async function webServer(copy: ThriftCopy, protocol: string, handlers: object = handler) {
  return listen(
    copy.thrift.createWebServer({
      services: {
        '/calc': {
          transport: copy.thrift.TBufferedTransport,
          protocol: copy.thrift[protocol],
          processor: copy.Calculator,
          handler: handlers,
        },
      },
    }),
  )
}

function freshCalculator(): any {
  const file = require.resolve('../gen/es6/Calculator')
  const base = require.resolve('../gen/es6/Base')
  const kept = [require.cache[file], require.cache[base]]
  delete require.cache[file]
  delete require.cache[base]
  const fresh = require('../gen/es6/Calculator')
  require.cache[file] = kept[0]
  require.cache[base] = kept[1]
  return fresh
}

describe('a Thrift call that thrift never settles', () => {
  beforeEach(async () => {
    peer = await ScribePeer.listen()
    start()
  })

  afterEach(async () => {
    closeAll()
    await shutdown(0)
    await peer.close()
  })

  /** A server that reads and does as it is told with the socket. */
  async function rude(act: (socket: Socket, data: Buffer) => void) {
    return listen(
      createServer(socket => {
        socket.on('error', () => {})
        socket.on('data', data => act(socket, data))
      }),
    )
  }

  it('ends its span when the peer closes, calls no callback, and keeps nothing', async () => {
    for (const how of ['end', 'destroy', 'resetAndDestroy'] as const) {
      peer.spans.length = 0
      const { port } = await rude(socket => socket[how]())
      const connection = connect(traced, port, FRAMED)
      connection.on('error', () => {})
      const c = traced.thrift.createClient(traced.Calculator, connection)
      const done = settled(c.add(1, 2))
      await closed(connection)
      const error = how === 'resetAndDestroy' ? 'ECONNRESET' : 'connection closed'
      assert.deepEqual(await unanswered('Calculator.add'), { result: 'transport_error', error })
      assert.equal(done(), false)
    }
  })

  for (const [over, create] of [
    ['TCP', 'createConnection'],
    ['TLS', 'createSSLConnection'],
    ['WebSocket', 'createWSConnection'],
  ] as const) {
    it(`says the system's code and message when nobody listens at the address, ${over}`, async () => {
      const { port, server } = await rude(() => {})
      server.close()
      await once(server, 'close')
      const connection = traced.thrift[create]('127.0.0.1', port, { ...options(FRAMED), secureProtocol: 'TLS_method' })
      connection.on('error', () => {})
      connection.open?.()
      const c = traced.thrift.createClient(traced.Calculator, connection)
      const done = settled(c.add(1, 2))
      await closed(connection)
      // And those that are called when it is over; a WebSocket waits to be opened again.
      if (over !== 'WebSocket') c.ping('late').catch(() => {})
      const refused = { result: 'transport_error', error: 'ECONNREFUSED' }
      for (const name of over === 'WebSocket' ? ['Calculator.add'] : ['Calculator.add', 'Base.ping'])
        assert.deepEqual(await unanswered(name), refused, name)
      for (const { annotations } of peer.spans)
        assert.equal(annotations!.get('error.message'), `Error: connect ECONNREFUSED 127.0.0.1:${port}`)
      assert.equal(done(), false)
    })
  }

  it('ends its span before an error that nobody listens to ends the process', async () => {
    const { port, server } = await rude(() => {})
    server.close()
    await once(server, 'close')
    const app = `require('./src/register').register()
      const thrift = require('thrift')
      const options = { transport: thrift.TFramedTransport, protocol: thrift.TBinaryProtocol }
      const connection = thrift.createConnection('127.0.0.1', ${port}, options)
      thrift.createClient(require('./test/gen/es6/Calculator'), connection).add(1, 2)
      process.on('exit', () => console.log(require('./src/index').stats().ended, 'ended'))`
    const env = { MILO_SCRIBE: peer.address, MILO_SAMPLER: 'always' }
    const { status, stdout, stderr } = await runNode(['-r', 'tsx/cjs', '-e', app], env)
    assert.deepEqual([status, stdout], [1, '1 ended\n'])
    assert.match(stderr, /Unhandled 'error' event/)
  })

  it('says why each address of a name refused it, also where only the socket’s errors are listened to', async () => {
    const { port, server } = await rude(() => {})
    server.close()
    await once(server, 'close')
    const connection = traced.thrift.createConnection('milo.test', port, options(FRAMED))
    connection.connection.on('error', () => {})
    // As a name with two addresses fails; which ones `localhost` has depends on the machine.
    connection.connection.destroy(
      Object.assign(new AggregateError([new Error('connect to ::1'), new Error('connect to 127.0.0.1')]), {
        code: 'ECONNREFUSED',
      }),
    )
    traced.thrift
      .createClient(traced.Calculator, connection)
      .add(1, 2)
      .catch(() => {})
    await closed(connection)
    assert.deepEqual(await unanswered('Calculator.add'), { result: 'transport_error', error: 'ECONNREFUSED' })
    assert.equal(
      peer.spans[0]!.annotations!.get('error.message'),
      'AggregateError: connect to ::1; connect to 127.0.0.1',
    )
  })

  it('ends by the answer or the connection’s end after a timeout, which thrift only reports', async () => {
    let answer: (() => void) | undefined
    const { port } = await serve(
      traced,
      traced.Calculator,
      { ...handler, ping: (name: string) => new Promise(resolve => (answer = () => resolve(name))) },
      FRAMED,
    )
    const connection = traced.thrift.createConnection('127.0.0.1', port, { ...options(FRAMED), timeout: 30 })
    onClose(() => connection.destroy())
    const c = traced.thrift.createClient(traced.Calculator, connection)
    const call = c.ping('late')
    await happens(connection, 'timeout')
    const late = await until('the call has come', () => answer)
    late()
    assert.equal(await call, 'late')
    assert.equal((await joined('Base.ping')).annotations!.get('error.type'), undefined)
    peer.spans.length = 0
    const done = settled(c.ping('never'))
    await happens(connection, 'timeout')
    assert.deepEqual(
      (await spans()).filter(isClient).map(s => s.name),
      [],
    )
    connection.end()
    await closed(connection)
    assert.deepEqual(await unanswered('Base.ping'), { result: 'transport_error', error: 'timeout' })
    assert.equal(done(), false)
  })

  it('waits on undisturbed while answers come twice, or to nobody', async () => {
    const { port } = await serve(
      traced,
      traced.CalculatorJs,
      {
        add(a: number, b: number, done: Function) {
          done(null, a + b)
          done(null, a + b)
          done(new Error('and once more'))
          if (a === 1) setImmediate(() => done(null, 'late'))
        },
        ping: (name: string, done: Function) => setTimeout(() => done(null, name), 20),
      },
      FRAMED,
    )
    const c = client(traced, traced.CalculatorJs, port, FRAMED)
    const answers: unknown[] = []
    await new Promise<void>(resolve => {
      const done = (_error: unknown, answer: unknown) => answers.push(answer) === 4 && resolve()
      c.ping('x', done)
      c.add(1, 2, done)
      c.add(3, 4, done)
      c.ping('y', done)
    })
    assert.deepEqual(answers, [3, 7, 'x', 'y'])
    const all = await spans()
    assert.equal(all.length, 8)
    for (const s of all) assert.equal(s.annotations!.get('thrift.result'), 'ok', s.name)
    assert.deepEqual(
      all.map(s => [...s.annotations!.keys()].filter(key => key === 'error.type')),
      all.map(() => []),
    )
  })

  it('has one result when its handler answers and then throws', async () => {
    const { port, server } = await serve(
      traced,
      traced.CalculatorJs,
      {
        add(a: number, b: number, done: Function) {
          done(null, a + b)
          throw new Error('after the answer')
        },
      },
      FRAMED,
    )
    server.on('error', () => {})
    const c = client(traced, traced.CalculatorJs, port, FRAMED)
    assert.equal(await new Promise(resolve => c.add(1, 2, (_error: unknown, sum: number) => resolve(sum))), 3)
    await joined('Calculator.add')
  })

  it('ends its span when the answer comes after its callback is gone', async () => {
    const { port } = await serve(
      traced,
      traced.CalculatorJs,
      { add: (_a: number, _b: number, done: Function) => done(null, 1), fire() {} },
      FRAMED,
    )
    const c = client(traced, traced.CalculatorJs, port, FRAMED)
    // As one does that gives a call up.
    c.add(1, 2, () => assert.fail('was called'))
    delete c._reqs[c.seqid()]
    c.new_seqid()
    c.send_fire('without a callback')
    await new Promise(resolve => c.add(3, 4, resolve))
    await until('all have ended', async () => (await spans()).length === 6)
    assert.ok(peer.spans.every(s => s.annotations!.get('thrift.result') === 'ok'))
  })

  it('fails by HTTP 500 with a body that isn’t a reply', async () => {
    const server = createHttpServer((_req, res) => {
      res.statusCode = 500
      res.end()
    })
    const { port } = await listen(server)
    const connection = traced.thrift.createHttpConnection('127.0.0.1', port, {
      ...options(BINARY),
      path: '/',
      nodeOptions: { agent: false },
    })
    const errors: Error[] = []
    connection.on('error', (e: Error) => errors.push(e))
    const c = traced.thrift.createHttpClient(traced.Calculator, connection)
    const done = settled(c.add(1, 2))
    await until('thrift has said so', () => errors.length === 1)
    assert.deepEqual(await unanswered('Calculator.add'), { result: 'transport_error', error: '500' })
    assert.equal(done(), false)
  })

  it('fails by HTTP 200 without a body, and by a refused connection', async () => {
    const { port, server } = await listen(createHttpServer((_req, res) => res.end()))
    const to = () => {
      const connection = traced.thrift.createHttpConnection('127.0.0.1', port, {
        ...options(BINARY),
        path: '/',
        nodeOptions: { agent: false },
      })
      connection.on('error', () => {})
      return traced.thrift.createHttpClient(traced.Calculator, connection)
    }
    const done = settled(to().add(1, 2))
    await until('the span has ended', async () => (await spans()).some(s => s.name === 'Calculator.add'))
    assert.deepEqual(await unanswered('Calculator.add'), { result: 'transport_error', error: 'no reply' })
    assert.equal(done(), false)
    server.close()
    await once(server, 'close')
    to()
      .ping('x')
      .catch(() => {})
    await until('the span has ended', async () => (await spans()).some(s => s.name === 'Base.ping'))
    assert.deepEqual(await unanswered('Base.ping'), { result: 'transport_error', error: 'ECONNREFUSED' })
  })

  it('ends its span when the reply has a wrong sequence id', async () => {
    const { port } = await rude((socket, data) => {
      const reply = Buffer.from('0000001780010002000000036164640000002a0800000000000500', 'hex')
      assert.ok(data.length > 10)
      socket.write(reply)
    })
    const c = client(traced, traced.Calculator, port, FRAMED)
    const done = settled(c.add(1, 2))
    await until('the span has ended', async () => (await spans()).length === 1)
    assert.deepEqual(await unanswered('Calculator.add'), { result: 'transport_error', error: 'wrong sequence id' })
    assert.equal(done(), false)
  })

  it('ends its span when the reply can’t be read', async () => {
    const { port } = await rude(socket =>
      socket.write(Buffer.from('000000178001000200000003616464000000010d00000c0c7fffff', 'hex')),
    )
    const connection = connect(traced, port, FRAMED)
    connection.on('error', () => {})
    const c = traced.thrift.createClient(traced.Calculator, connection)
    const done = settled(c.add(1, 2))
    connection.connection.once('data', () => setImmediate(() => connection.end()))
    await closed(connection)
    assert.equal((await unanswered('Calculator.add')).result, 'transport_error')
    assert.equal(done(), false)
  })

  it('ends its span when it is made after end()', async () => {
    const { port } = await serve(traced, traced.Calculator, handler, FRAMED)
    const connection = connect(traced, port, FRAMED)
    const c = traced.thrift.createClient(traced.Calculator, connection)
    await c.add(1, 2)
    connection.end()
    await closed(connection)
    const done = settled(c.ping('late'))
    assert.deepEqual(await unanswered('Base.ping'), { result: 'transport_error', error: 'connection ended' })
    assert.equal(done(), false)
  })

  it('ends the server’s half when its client goes, if the handler never answers', async () => {
    const { port, server } = await serve(
      traced,
      traced.Calculator,
      { ...handler, ping: (_name: string) => new Promise(() => {}) },
      FRAMED,
    )
    // Thrift hands a socket's errors on to the server.
    server.on('error', () => {})
    const connection = connect(traced, port, FRAMED)
    const c = traced.thrift.createClient(traced.Calculator, connection)
    c.ping('x').catch(() => {})
    await c.add(1, 2)
    connection.end()
    const reset = connect(traced, port, FRAMED)
    const other = traced.thrift.createClient(traced.Calculator, reset)
    other.ping('y').catch(() => {})
    await other.add(1, 2)
    reset.connection.resetAndDestroy()
    await until('all halves have ended', async () => (await spans()).filter(s => s.name === 'Base.ping').length === 4)
    const served = peer.spans.filter(s => s.name === 'Base.ping' && !isClient(s))
    assert.deepEqual(
      served
        .map(s => ['thrift.result', 'error.type', 'error.message'].map(key => s.annotations!.get(key)))
        .sort((a, b) => (a[1]! < b[1]! ? -1 : 1)),
      [
        ['abandoned', 'ECONNRESET', 'Error: read ECONNRESET'],
        ['abandoned', 'connection closed', undefined],
      ],
    )
  })

  it('keeps what waits for a reconnect, and says how long it waited', async () => {
    const { port, server } = await rude(() => {})
    server.close()
    await once(server, 'close')
    const connection = traced.thrift.createConnection('127.0.0.1', port, {
      ...options(FRAMED),
      max_attempts: 10,
      retry_max_delay: 30,
      connect_timeout: 5000,
    })
    onClose(() => connection.destroy())
    connection.on('error', () => {})
    const c = traced.thrift.createClient(traced.Calculator, connection)
    const call = c.add(20, 22)
    await happens(connection, 'reconnecting')
    assert.equal((await spans()).length, 0)
    const back = traced.thrift.createServer(traced.Calculator, handler, options(FRAMED))
    back.listen(port, '127.0.0.1')
    onClose(() => back.close())
    assert.equal(await call, 42)
    onClose(() => connection.end())
    const half = await joined('Calculator.add')
    assert.ok(half.counters!.get('thrift.queue_us')! > 0n)
    assert.equal(half.annotations!.get('error.message'), undefined)
    // What had been in the way of a call that waited isn't what ends it later.
    const done = settled(c.ping('never'))
    connection.connection.destroy()
    await until('the span has ended', async () => (await spans()).some(s => s.name === 'Base.ping' && isClient(s)))
    assert.deepEqual(await unanswered('Base.ping'), { result: 'transport_error', error: 'connection closed' })
    assert.equal(done(), false)
  })

  it('says the code of a reset on an HTTP connection that is used again', async () => {
    let requests = 0
    const { port } = await rude((socket, data) => {
      if (!String(data).startsWith('POST')) return
      if (++requests === 2) socket.resetAndDestroy()
      else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
    })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    onClose(() => agent.destroy())
    const connection = traced.thrift.createHttpConnection('127.0.0.1', port, {
      ...options(BINARY),
      path: '/',
      nodeOptions: { agent },
    })
    connection.on('error', () => {})
    const c = traced.thrift.createHttpClient(traced.Calculator, connection)
    c.add(1, 2).catch(() => {})
    await until('the first has ended', async () => (await spans()).some(s => s.name === 'Calculator.add'))
    c.ping('x').catch(() => {})
    await until('the second has ended', async () => (await spans()).some(s => s.name === 'Base.ping'))
    assert.deepEqual(await unanswered('Base.ping'), { result: 'transport_error', error: 'ECONNRESET' })
  })

  describe('a connection that is lost', () => {
    const RETRIES = { max_attempts: 10, retry_max_delay: 30, connect_timeout: 5000 }
    let server: any
    let port: number
    let sockets: Socket[]

    beforeEach(async () => {
      const answers = { ...handler, ping: (name: string) => (name === 'never' ? new Promise(() => {}) : name) }
      server = traced.thrift.createServer(traced.Calculator, answers, options(FRAMED))
      sockets = []
      server.on('connection', (socket: Socket) => sockets.push(socket))
      port = (await listen(server)).port
    })

    function open(more: object) {
      const connection = traced.thrift.createConnection('127.0.0.1', port, { ...options(FRAMED), ...more })
      onClose(() => connection.destroy())
      onClose(() => connection.end())
      connection.on('error', () => {})
      return { connection, client: traced.thrift.createClient(traced.Calculator, connection) }
    }

    /** Result and error of each client's half, in order of their ends; and how many calls wait. */
    async function results(connection: any): Promise<[unknown[][], number]> {
      const key = Object.getOwnPropertySymbols(connection).find(symbol => symbol.description === 'milo.open')!
      const ends = (await spans())
        .filter(isClient)
        .map(s => [s.name!.split('.')[1], s.annotations!.get('thrift.result'), s.annotations!.get('error.type')])
      return [ends, connection[key].size]
    }

    it('fails what was under way and answers what waited, each once, when it is made again', async () => {
      const { connection, client } = open(RETRIES)
      await client.add(1, 2)
      const calls: Promise<unknown>[] = []
      for (let round = 1; round <= 3; round++) {
        client.ping('never').catch(() => {})
        await client.ping('sent')
        connection.once('reconnecting', () => calls.push(client.add(3, 4), client.fire('in a queue')))
        const back = new Promise<void>(resolve =>
          connection.once('connect', () => {
            calls.push(client.add(5, 6), client.fire('at once'))
            resolve()
          }),
        )
        sockets.at(-1)!.destroy()
        await back
        await Promise.all(calls)
      }
      const lost = ['ping', 'transport_error', 'connection closed']
      const ok = (name: string) => [name, 'ok', undefined]
      // The queue is sent first.
      const round = [ok('ping'), lost, ok('fire'), ok('fire'), ok('add'), ok('add')]
      assert.deepEqual(await results(connection), [[ok('add'), ...round, ...round, ...round], 0])
      const queued = peer.spans.filter(
        s => isClient(s) && s.name!.endsWith('fire') && s.counters!.has('thrift.queue_us'),
      )
      assert.equal(queued.length, 3)
    })

    it('fails what waits for it and what is called later, oneway calls too, when it is given up', async () => {
      const { connection, client } = open({ max_attempts: 2, retry_max_delay: 30 })
      await client.add(1, 2)
      server.close()
      connection.once('reconnecting', () => {
        client.add(3, 4)
        client.fire('x')
      })
      connection.once('close', () => client.add(5, 6))
      sockets[0]!.destroy()
      await closed(connection)
      client.fire('y')
      const lost = (name: string) => [name, 'transport_error', 'ECONNREFUSED']
      assert.deepEqual(await results(connection), [
        [['add', 'ok', undefined], lost('add'), lost('fire'), lost('add'), lost('fire')],
        0,
      ])
    })

    it('fails a later call at once when it is not made again', async () => {
      const { connection, client } = open({})
      await client.add(1, 2)
      sockets[0]!.destroy()
      await closed(connection)
      client.add(3, 4)
      client.fire('x')
      const lost = (name: string) => [name, 'transport_error', 'connection closed']
      assert.deepEqual(await results(connection), [[['add', 'ok', undefined], lost('add'), lost('fire')], 0])
    })

    it('leaves calls the answers that they get when it is ended while thrift makes it again', async () => {
      const { connection, client } = open(RETRIES)
      await client.add(1, 2)
      const calls: Promise<number>[] = []
      connection.once('reconnecting', () => {
        calls.push(client.add(3, 4))
        connection.end()
        calls.push(client.add(5, 6))
      })
      sockets[0]!.destroy()
      await until('it is made', () => sockets.length === 2)
      assert.deepEqual(await Promise.all(calls), [7, 11])
      assert.deepEqual(await results(connection), [Array(3).fill(['add', 'ok', undefined]), 0])
    })
  })

  it('behaves as without Milo: the same errors and events in the same order', async () => {
    const story = async (copy: ThriftCopy, act: (socket: Socket) => void): Promise<string[]> => {
      const told: string[] = []
      const { port } = await rude(act)
      const connection = connect(copy, port, FRAMED)
      for (const event of ['connect', 'error', 'close', 'timeout', 'reconnecting']) {
        connection.on(event, (e: any) => told.push(`${event} ${e?.message ?? ''}`.trim()))
      }
      const c = copy.thrift.createClient(copy.Calculator, connection)
      c.add(1, 2).then(
        (v: unknown) => told.push(`resolved ${v}`),
        (e: any) => told.push(`rejected ${e?.name ?? typeof e} ${e?.message ?? e}`),
      )
      await closed(connection)
      return told
    }
    const frame = (hex: string) => Buffer.from((hex.length / 2).toString(16).padStart(8, '0') + hex, 'hex')
    const acts: ((socket: Socket) => void)[] = [
      socket => socket.destroy(),
      socket => socket.resetAndDestroy(),
      socket => socket.end('garbage that is no frame at all'),
      socket => socket.end(frame('80010002000000036164640000000100')),
      socket => socket.end(frame('8001000300000003616464000000010b00010000000362616408000200000006' + '00')),
      socket => socket.end(frame('80010002000000036e6f7000000001' + '00')),
      socket => socket.end(frame('8001000200000003616464000000010800000000000500')),
    ]
    for (const [i, act] of acts.entries())
      assert.deepEqual(await story(traced, act), await story(plain, act), `act ${i}`)
  })
})
