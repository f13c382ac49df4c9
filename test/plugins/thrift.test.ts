import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as connectSocket, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { FIELD_ID } from '../../plugins/thrift/carriers/field'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { current, flush, init, shutdown, span } from '../../src/index'
import { runNode } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'
import { client, closeAll, connect, listen, plain, serve, traced, WIRES, type Wire, wireName } from '../helpers/thrift'
import { until } from '../helpers/until'

const BINARY: Wire = { transport: 'TBufferedTransport', protocol: 'TBinaryProtocol' }
const FRAMED: Wire = { transport: 'TFramedTransport', protocol: 'TBinaryProtocol' }

let peer: ScribePeer

const start = (more: object = {}) =>
  init({ scribe: peer.address, service: 'test', host: 'here', sampler: 'always', logLevel: 'warn', ...more })

async function spans(): Promise<SpanRecord[]> {
  assert.equal(await flush(20_000), true)
  return peer.spans
}

const has = (type: number) => (s: SpanRecord) => s.events!.some(e => e.eventType === type)
const isClient = has(EventType.CLIENT_SEND)
const isServer = has(EventType.SERVER_RECV)

/** The one client half and the one server half of a name. */
function halves(all: SpanRecord[], name: string): { clientHalf: SpanRecord; serverHalf: SpanRecord } {
  const found = all.filter(s => s.name === name)
  assert.equal(found.length, 2, `${name}: ${found.length} records`)
  return { clientHalf: found.find(isClient)!, serverHalf: found.find(isServer)! }
}

function sameSpan({ clientHalf, serverHalf }: { clientHalf: SpanRecord; serverHalf: SpanRecord }): void {
  for (const key of ['traceId', 'id', 'parentId', 'probability'] as const)
    assert.equal(clientHalf[key], serverHalf[key], key)
  const [sent, received] = clientHalf.events!.map(e => e.timestamp!)
  const [arrived, answered] = serverHalf.events!.map(e => e.timestamp!)
  assert.ok(sent! <= arrived! && arrived! <= answered! && answered! <= received!)
}

const handler = (types: any) => ({
  ping(name: string, done: Function) {
    setImmediate(() => done(null, `hello ${name}`))
  },
  add(a: number, b: number, done: Function) {
    done(null, a + b)
  },
  divide(a: number, b: number, done: Function) {
    if (b === 0) done(new types.Oops({ why: 'zero', code: 7 }))
    else done(null, a / b)
  },
  touch(done: Function) {
    done(null)
  },
  fire() {},
  move(origin: any, by: number[], done: Function) {
    done(null, new types.Point({ x: origin.x + by[0]!, label: origin.label }))
  },
})

const promiseHandler = (types: any) => ({
  ping: async (name: string) => {
    await null
    return `hello ${name}`
  },
  add: async (a: number, b: number) => a + b,
  divide: async (a: number, b: number) => {
    if (b === 0) throw new types.Oops({ why: 'zero', code: 7 })
    return a / b
  },
  touch: async () => {},
  fire: async (_what: string) => {},
  move: async (origin: any, by: number[]) => new types.Point({ x: origin.x + by[0]!, label: origin.label }),
})

const promised = (call: (done: Function) => void): Promise<any> =>
  new Promise((resolve, reject) => call((error: unknown, result: unknown) => (error ? reject(error) : resolve(result))))

describe('the Thrift plugin', () => {
  beforeEach(async () => {
    peer = await ScribePeer.listen()
    start()
  })

  afterEach(async () => {
    closeAll()
    await shutdown(0)
    await peer.close()
  })

  for (const wire of WIRES) {
    describe(wireName(wire), () => {
      for (const [style, service, handlers] of [
        ['promises', 'Calculator', promiseHandler],
        ['promises towards callback handlers', 'Calculator', handler],
        ['callbacks', 'CalculatorJs', handler],
      ] as const) {
        it(`reports a call as one span with a client and a server half, with ${style}`, async () => {
          const types = service === 'Calculator' ? traced.types : traced.typesJs
          const { port } = await serve(traced, traced[service], handlers(types), wire)
          const c = client(traced, traced[service], port, wire)
          const call = (method: string, ...args: unknown[]) =>
            service === 'Calculator' ? c[method](...args) : promised(done => c[method](...args, done))
          await span('root', async root => {
            assert.equal(await call('ping', 'Ann'), 'hello Ann')
            assert.equal(await call('add', 2, 3), 5)
            assert.equal((await call('move', new types.Point({ x: 1, label: 'é' }), [41])).x, 42)
            await call('touch')
            await assert.rejects(
              call('divide', 1, 0),
              (e: any) => e instanceof types.Oops && e.why === 'zero' && e.code === 7,
            )
            root.annotate('done', 1)
          })
          const all = await spans()
          const root = all.find(s => s.name === 'root')!
          // The name is that of the service which declares the method.
          for (const name of [
            'Base.ping',
            'Calculator.add',
            'Calculator.move',
            'Calculator.touch',
            'Calculator.divide',
          ]) {
            const both = halves(all, name)
            sameSpan(both)
            assert.equal(both.clientHalf.parentId, root.id)
            assert.equal(both.clientHalf.traceId, root.traceId)
            assert.equal(both.clientHalf.clientHost, 'here')
            assert.equal(both.serverHalf.serverHost, 'here')
            assert.equal(both.clientHalf.annotations!.get('server.port'), String(port))
          }
          assert.equal(all.length, 11)
          const { clientHalf, serverHalf } = halves(all, 'Calculator.divide')
          assert.equal(clientHalf.annotations!.get('error.type'), 'Oops')
          assert.equal(serverHalf.annotations!.get('error.type'), 'Oops')
          assert.equal(halves(all, 'Calculator.touch').serverHalf.annotations!.get('thrift.result'), 'ok')
        })
      }

      it('nests what a handler does under the request, at any depth', async () => {
        const leaf = await serve(traced, traced.Calculator, promiseHandler(traced.types), wire)
        const toLeaf = client(traced, traced.Calculator, leaf.port, wire)
        const middle = await serve(
          traced,
          traced.Calculator,
          {
            ...promiseHandler(traced.types),
            add: async (a: number, b: number) => {
              await new Promise(resolve => setTimeout(resolve, 1))
              return span('thinking', async () => (await toLeaf.divide(a, 1)) + b)
            },
          },
          wire,
        )
        assert.equal(await client(traced, traced.Calculator, middle.port, wire).add(4, 5), 9)
        const all = await spans()
        const add = halves(all, 'Calculator.add')
        const thinking = all.find(s => s.name === 'thinking')!
        const divide = halves(all, 'Calculator.divide')
        sameSpan(add)
        sameSpan(divide)
        assert.equal(add.clientHalf.parentId, 0n)
        assert.equal(thinking.parentId, add.serverHalf.id)
        assert.equal(divide.clientHalf.parentId, thinking.id)
        assert.ok(all.every(s => s.traceId === thinking.traceId))
      })

      it('carries a oneway call, and ends both of its halves', async () => {
        let fired = ''
        const { port } = await serve(
          traced,
          traced.Calculator,
          {
            ...promiseHandler(traced.types),
            fire: (what: string) => {
              fired = what
            },
          },
          wire,
        )
        const c = client(traced, traced.Calculator, port, wire)
        await c.fire('now')
        await c.touch()
        assert.equal(fired, 'now')
        const { clientHalf, serverHalf } = halves(await spans(), 'Calculator.fire')
        assert.equal(clientHalf.id, serverHalf.id)
      })

      it('carries the decision not to sample, and records nothing on either side', async () => {
        start({ sampler: 'never' })
        const seen: boolean[] = []
        const { port } = await serve(
          traced,
          traced.Calculator,
          {
            ...promiseHandler(traced.types),
            add: async (a: number, b: number) => {
              seen.push(current().sampled)
              return a + b
            },
          },
          wire,
        )
        const c = client(traced, traced.Calculator, port, wire)
        start({ sampler: { sample: () => -1 } })
        assert.equal(await c.add(1, 1), 2)
        // The server would keep it: that it doesn't is the client's word.
        start({ sampler: { sample: (name: string) => (name === 'root' ? -1 : 1) } })
        await span('root', () => c.add(1, 1))
        assert.deepEqual(seen, [false, false])
        assert.deepEqual(await spans(), [])
      })

      it('is understood by a server that knows nothing of it, and by its next calls', async () => {
        const { port } = await serve(plain, plain.Calculator, promiseHandler(plain.types), wire)
        const c = client(traced, traced.Calculator, port, wire)
        assert.equal(await c.add(1, 2), 3)
        const calls = await Promise.all([
          c.ping('a'),
          c.divide(9, 3),
          c.move(new traced.types.Point({ x: 1, label: '' }), [1]),
          c.touch(),
          c.ping('b'),
        ])
        assert.deepEqual([calls[0], calls[1], calls[2].x, calls[4]], ['hello a', 3, 2, 'hello b'])
        assert.ok((await spans()).every(isClient))
      })

      it('serves a client that knows nothing of it: each request is a root', async () => {
        const { port } = await serve(traced, traced.Calculator, promiseHandler(traced.types), wire)
        const c = client(plain, plain.Calculator, port, wire)
        await span('unrelated', () => Promise.all([c.add(1, 2), c.add(3, 4)]))
        const served = (await spans()).filter(isServer)
        assert.equal(served.length, 2)
        assert.ok(served.every(s => s.parentId === 0n))
        assert.notEqual(served[0]!.traceId, served[1]!.traceId)
      })

      it('keeps 100 calls in flight apart, each in its caller’s context, replies out of order', async () => {
        const store = new AsyncLocalStorage<number>()
        const { port } = await serve(
          traced,
          traced.CalculatorJs,
          {
            ...handler(traced.types),
            add(a: number, b: number, done: Function) {
              setTimeout(() => done(null, a + b), (a * 7) % 20)
            },
          },
          wire,
        )
        const c = await store.run(-1, () => client(traced, traced.CalculatorJs, port, wire))
        const calls = Array.from({ length: 100 }, (_, i) =>
          store.run(i, () =>
            span(`root ${i}`, root =>
              promised(done =>
                c.add(i, 1000, (error: unknown, result: unknown) => {
                  // Thrift calls this from the connection's own context.
                  assert.equal(store.getStore(), i)
                  assert.equal(current(), root)
                  done(error, result)
                }),
              ),
            ),
          ),
        )
        assert.deepEqual(
          await Promise.all(calls),
          Array.from({ length: 100 }, (_, i) => i + 1000),
        )
        const all = await spans()
        for (const s of all.filter(s => s.name === 'Calculator.add')) {
          assert.ok(
            all.some(root => root.name!.startsWith('root') && root.id === s.parentId && root.traceId === s.traceId),
          )
        }
        assert.equal(all.length, 300)
      })

      it('sends the same bytes as without it when it is off', async () => {
        const captured = async (copy: typeof plain): Promise<Buffer> => {
          const chunks: Buffer[] = []
          const server = createServer(socket => socket.on('data', d => chunks.push(d)))
          const { port } = await listen(server)
          const c = client(copy, copy.Calculator, port, wire)
          for (const call of [
            c.ping('x'),
            c.add(1, 2),
            c.fire('y'),
            c.move(new copy.types.Point({ x: 1, label: 'z' }), [1, 2]),
          ])
            Promise.resolve(call).catch(() => {})
          await until('all is there', () => Buffer.concat(chunks).includes('move') && chunks.at(-1)!.at(-1) === 0)
          return Buffer.concat(chunks)
        }
        const expected = await captured(plain)
        start({ enabled: false })
        assert.deepEqual(await captured(traced), expected)
        start({ propagation: 'off' })
        assert.deepEqual(await captured(traced), expected)
      })
    })
  }

  it('adds its field, 37 bytes in binary and 34 in compact, at the end of the arguments', async () => {
    for (const [protocol, bytes] of [
      ['TBinaryProtocol', 37],
      ['TCompactProtocol', 34],
    ] as const) {
      const sizes: number[] = []
      for (const copy of [plain, traced]) {
        const server = createServer(socket => socket.on('data', d => sizes.push(d.length)))
        const { port } = await listen(server)
        client(copy, copy.Calculator, port, { transport: 'TFramedTransport', protocol })
          .add(1, 2)
          .catch(() => {})
        await until('it has come', () => sizes.length === (copy === plain ? 1 : 2))
      }
      assert.equal(sizes[1]! - sizes[0]!, bytes)
    }
  })

  it('understands requests split at every byte, runs each handler once, and reports each once', async () => {
    for (const wire of WIRES) {
      // What a traced client sends, recorded.
      const chunks: Buffer[] = []
      const recorder = await listen(createServer(socket => socket.on('data', d => chunks.push(d))))
      client(traced, traced.Calculator, recorder.port, wire)
        .add(20, 22)
        .catch(() => {})
      await until('it is recorded', () => chunks.length > 0)
      const request = Buffer.concat(chunks)
      let handled = 0
      const { port } = await serve(
        traced,
        traced.Calculator,
        {
          ...handler(traced.types),
          add(a: number, b: number, done: Function) {
            handled++
            done(null, a + b)
          },
        },
        wire,
      )
      const before = peer.spans.length
      for (let cut = 1; cut < request.length; cut++) {
        const socket = connectSocket(port, '127.0.0.1')
        socket.setNoDelay(true)
        await once(socket, 'connect')
        socket.write(request.subarray(0, cut))
        await new Promise(resolve => setImmediate(resolve))
        socket.write(request.subarray(cut))
        const [reply] = await once(socket, 'data')
        assert.ok(reply.length > 10)
        socket.destroy()
      }
      assert.equal(handled, request.length - 1)
      await flush(20_000)
      const served = peer.spans.slice(before).filter(isServer)
      assert.equal(served.length, request.length - 1)
      assert.equal(new Set(served.map(s => s.id)).size, 1)
    }
  })

  it('understands replies split at every byte, each of them once', async () => {
    for (const wire of WIRES) {
      const { port } = await serve(plain, plain.Calculator, handler(plain.types), wire)
      // Between the two, somebody hands every byte of the replies on by itself.
      const drip = await listen(
        createServer(downstream => {
          const upstream = connectSocket(port, '127.0.0.1')
          downstream.setNoDelay(true)
          downstream.pipe(upstream)
          downstream.on('error', () => upstream.destroy())
          let bytes = Promise.resolve()
          upstream.on('data', data => {
            for (const byte of data) {
              bytes = bytes.then(() => {
                downstream.write(Buffer.of(byte))
                return new Promise(resolve => setImmediate(resolve))
              })
            }
          })
          upstream.on('close', () => bytes.then(() => downstream.destroy()))
        }),
      )
      peer.spans.length = 0
      const c = client(traced, traced.Calculator, drip.port, wire)
      assert.deepEqual(
        await Promise.all([c.add(1, 2), c.ping('Zoë'), c.add(3, 4)]),
        [3, 'hello Zoë', 7],
        wireName(wire),
      )
      const all = await spans()
      assert.equal(all.length, 3)
      assert.ok(
        all.every(s => s.annotations!.get('thrift.result') === 'ok' && s.counters!.get('thrift.reply_bytes')! > 0n),
      )
    }
  })

  it('reports a method that the service doesn’t have, under the service’s name', async () => {
    const { port } = await serve(traced, traced.Calculator, handler(traced.types), FRAMED)
    const socket = connectSocket(port, '127.0.0.1')
    const vector = vectors('original-server-behaviour').find(v => v.name === 'py_server_unknown_method_traced')
    socket.write(Buffer.from(vector.sent[0], 'hex'))
    await once(socket, 'data')
    socket.destroy()
    const [s] = await spans()
    assert.match(s!.name!, /^(Calculator|Base)\.pung$/)
    assert.equal(s!.annotations!.get('error.type'), 'TApplicationException')
    assert.equal(String(s!.traceId), '1234567890123456789')
  })

  it('reports an undeclared exception, and a handler that throws at once, as thrift treats them', async () => {
    const broken = {
      ...handler(traced.types),
      add(_a: number, _b: number, done: Function) {
        done(new Error('undeclared'))
      },
      touch() {
        throw new Error('at once')
      },
    }
    const { port, server } = await serve(traced, traced.Calculator, broken, FRAMED)
    const errors: Error[] = []
    server.on('error', (e: Error) => errors.push(e))
    const connection = connect(traced, port, FRAMED)
    const c = traced.thrift.createClient(traced.Calculator, connection)
    await assert.rejects(c.add(1, 2), { message: 'undeclared' })
    c.touch().catch(() => {})
    await once(connection, 'close')
    assert.equal(errors[0]!.message, 'at once')
    const all = await spans()
    const add = halves(all, 'Calculator.add')
    assert.equal(add.serverHalf.annotations!.get('error.type'), 'TApplicationException')
    assert.equal(add.clientHalf.annotations!.get('error.type'), 'TApplicationException')
    const touch = all.find(s => s.name === 'Calculator.touch' && isServer(s))!
    assert.equal(touch.annotations!.get('error.message'), 'at once')
  })

  for (const asked of [false, true]) {
    it(`says on the server’s half what a handler threw: its message${asked ? ', and its type where onRequest is set' : ''}`, async () => {
      start(asked ? { onRequest: () => {} } : {})
      const text = `the price of “${'x'.repeat(200)}” is undefined`
      const failing = {
        callbacks: { touch: (done: (error: Error) => void) => setImmediate(done, new TypeError(text)) },
        promises: { touch: async () => Promise.reject(new TypeError(text)) },
      }
      for (const protocol of ['TBinaryProtocol', 'TCompactProtocol', 'TJSONProtocol'] as const) {
        for (const [style, handlers] of Object.entries(failing)) {
          peer.spans.length = 0
          const wire: Wire = { transport: 'TFramedTransport', protocol }
          const { port } = await serve(traced, traced.Calculator, handlers, wire)
          await assert.rejects(client(traced, traced.Calculator, port, wire).touch(), { message: text })
          const { annotations } = halves(await spans(), 'Calculator.touch').serverHalf
          assert.deepEqual(
            ['thrift.result', 'error.type', 'error.message'].map(key => annotations!.get(key)),
            ['application_exception', asked ? 'TypeError' : 'TApplicationException', text],
            `${protocol} ${style}`,
          )
        }
      }
    })
  }

  it('has what a handler threw that is no error as the message, and its kind as the type, on the server’s half', async () => {
    start({ onRequest: () => {} })
    const { port } = await serve(traced, traced.Calculator, { touch: () => Promise.reject('order 77 failed') }, FRAMED)
    await assert.rejects(client(traced, traced.Calculator, port, FRAMED).touch())
    const { serverHalf, clientHalf } = halves(await spans(), 'Calculator.touch')
    assert.deepEqual(
      [serverHalf, clientHalf].map(s => ['error.type', 'error.message'].map(key => s.annotations!.get(key))),
      [
        ['string', 'order 77 failed'],
        ['TApplicationException', undefined],
      ],
    )
  })

  it('leaves a rejection that nobody handles to the process where onRequest is set', async () => {
    start({ onRequest: () => {} })
    const before = process.listeners('unhandledRejection')
    process.removeAllListeners('unhandledRejection')
    const told: unknown[] = []
    process.on('unhandledRejection', (_reason, promise) => told.push(promise))
    try {
      const rejected: Promise<never>[] = []
      const reject = async () => {
        await null
        throw new Error('a bug in the handler')
      }
      const bug = () => {
        rejected.push(reject())
        return rejected.at(-1)
      }
      const handlers = {
        // Thrift ignores what these return: the first has a callback, the second is never answered.
        touch: (done: Function) => done && bug(),
        fire: (what: string) => what && bug(),
        // The promise is thrift's to handle, also twice the same.
        ping: (name: string) => name && rejected[0],
      }
      const { port } = await serve(traced, traced.Calculator, handlers, FRAMED)
      const c = client(traced, traced.Calculator, port, FRAMED)
      c.touch(() => {})
      c.fire('x')
      await until('they have been told', () => told.length >= 2)
      assert.deepEqual(told, rejected)
      await Promise.all([1, 2].map(() => assert.rejects(c.ping('x'), { message: 'a bug in the handler' })))
      assert.equal(told.length, 2)
    } finally {
      process.removeAllListeners('unhandledRejection')
      for (const listener of before) process.on('unhandledRejection', listener)
    }
    const pinged = (await spans()).filter(s => s.name === 'Base.ping' && isServer(s))
    assert.deepEqual(
      pinged.map(s => s.annotations!.get('error.type')),
      ['Error', 'Error'],
    )
  })

  it('lets a throwing callback be thrift’s matter, and an argument that can’t be written its caller’s', async () => {
    const { port } = await serve(traced, traced.CalculatorJs, handler(traced.typesJs), BINARY)
    const connection = connect(traced, port, BINARY)
    const c = traced.thrift.createClient(traced.CalculatorJs, connection)
    const error = new Error('of the callback')
    const emitted = once(connection, 'error')
    c.add(1, 2, () => {
      throw error
    })
    assert.equal((await emitted)[0], error)
    assert.throws(() => c.send_ping(42), /writeString called without a string/)
    const ping = (await spans()).find(s => s.name === 'Base.ping')!
    assert.equal(ping.annotations!.get('error.type'), 'Error')
  })

  it('names a multiplexed service as it is registered', async () => {
    const processor = new traced.thrift.MultiplexedProcessor()
    processor.registerProcessor('sums', new traced.Calculator.Processor(promiseHandler(traced.types)))
    processor.registerProcessor('others', new traced.Calculator.Processor(promiseHandler(traced.types)))
    for (const wire of WIRES) {
      const { port } = await listen(
        traced.thrift.createMultiplexServer(processor, {
          transport: traced.thrift[wire.transport],
          protocol: traced.thrift[wire.protocol],
        }),
      )
      const connection = connect(traced, port, wire)
      const multiplexer = new traced.thrift.Multiplexer()
      const sums = multiplexer.createClient('sums', traced.Calculator, connection)
      const others = multiplexer.createClient('others', traced.Calculator, connection)
      peer.spans.length = 0
      assert.deepEqual(await Promise.all([sums.add(1, 2), others.add(3, 4)]), [3, 7])
      const all = await spans()
      sameSpan(halves(all, 'sums.add'))
      sameSpan(halves(all, 'others.add'))
    }
  })

  it('traces three requests of one chunk in a context each', async () => {
    const seen: string[] = []
    const { port } = await serve(
      traced,
      traced.Calculator,
      {
        ...promiseHandler(traced.types),
        ping: async (name: string) => {
          await null
          seen.push(`${name} ${current().spanId}`)
          return name
        },
      },
      BINARY,
    )
    const c = client(plain, plain.Calculator, port, BINARY)
    await Promise.all([c.ping('a'), c.ping('b'), c.ping('c')])
    assert.equal(new Set(seen.map(s => s.split(' ')[1])).size, 3)
    const ids = (await spans()).map(s => s.id!.toString(16).padStart(16, '0'))
    for (const s of seen) assert.ok(ids.includes(s.split(' ')[1]!))
  })

  it('changes no length of a function and no count of listeners', async () => {
    for (const name of ['createClient', 'createServer', 'createMultiplexServer', 'createConnection']) {
      assert.equal(traced.thrift[name].length, plain.thrift[name].length, name)
      assert.equal(traced.thrift[name].name, plain.thrift[name].name, name)
    }
    for (const name of ['send_add', 'recv_add', 'add']) {
      assert.equal(
        traced.Calculator.Client.prototype[name].length,
        plain.Calculator.Client.prototype[name].length,
        name,
      )
    }
    const counts = async (copy: typeof plain) => {
      const { port, server } = await serve(copy, copy.Calculator, promiseHandler(copy.types), FRAMED)
      const sockets: Socket[] = []
      server.on('connection', (s: Socket) => sockets.push(s))
      const connection = connect(copy, port, FRAMED)
      await copy.thrift.createClient(copy.Calculator, connection).add(1, 2)
      const of = (e: any) => e.eventNames().map((n: string) => [n, e.listenerCount(n)])
      return [of(connection), of(connection.connection), of(sockets[0]), of(server)]
    }
    assert.deepEqual(await counts(traced), await counts(plain))
  })

  it('leaves an application’s own field with Milo’s id alone', async () => {
    // An unaware client whose IDL has a field 6456 that happens to be a list of bytes.
    const { port } = await serve(traced, traced.Calculator, handler(traced.types), FRAMED)
    for (const content of ['01', 'ff'.repeat(29), '00'.repeat(29), `01${'00'.repeat(28)}`, '11'.repeat(40)]) {
      const socket = connectSocket(port, '127.0.0.1')
      const args = `080001000000020800020000000${'3'}0f${FIELD_ID.toString(16).padStart(4, '0')}03${(content.length / 2).toString(16).padStart(8, '0')}${content}00`
      const message = Buffer.from(`80010001${'00000003'}${Buffer.from('add').toString('hex')}00000009${args}`, 'hex')
      const frame = Buffer.concat([Buffer.alloc(4), message])
      frame.writeInt32BE(message.length, 0)
      socket.write(frame)
      const [reply] = await once(socket, 'data')
      assert.equal(reply.readInt32BE(reply.length - 5), 5)
      socket.destroy()
    }
    assert.ok((await spans()).every(s => s.parentId === 0n && s.traceId! > 0n))
  })

  it('keeps no memory of calls that were answered', async () => {
    const { port } = await serve(traced, traced.Calculator, handler(traced.types), FRAMED)
    const c = client(traced, traced.Calculator, port, FRAMED)
    for (let i = 0; i < 200; i++) await c.add(i, 1)
    assert.deepEqual(Object.keys(c._reqs), [])
  })
})

const vectors = (name: string): any[] => JSON.parse(readFileSync(join(__dirname, `../vectors/${name}.json`), 'utf8'))

describe('the Thrift plugin: CALLTRACE', () => {
  beforeEach(async () => {
    peer = await ScribePeer.listen()
    start()
  })

  afterEach(async () => {
    closeAll()
    await shutdown(0)
    await peer.close()
  })

  const pinged = { ping: (name: string, done: Function) => done(null, name) }

  for (const vector of vectors('calltrace').filter(v => v.decoded?.trace)) {
    it(`is accepted: ${vector.name}`, async () => {
      const { strict, trace, body } = vector.decoded
      const { port } = await serve(traced, traced.Calculator, pinged, {
        transport: vector.framed ? 'TFramedTransport' : 'TBufferedTransport',
        protocol: 'TBinaryProtocol',
      })
      const socket = connectSocket(port, '127.0.0.1')
      // Twice on the same connection: the stream stays in step.
      for (let i = 0; i < 2; i++) {
        socket.write(Buffer.from(vector.hex, 'hex'))
        const [reply] = await once(socket, 'data')
        assert.ok(reply.includes(body.name), `${strict}`)
      }
      socket.destroy()
      const all = await spans()
      assert.equal(all.length, 2)
      for (const s of all) {
        assert.equal(s.name, 'Base.ping')
        assert.deepEqual(
          [String(s.traceId), String(s.id), String(s.parentId)],
          [trace.trace_id, trace.span_id, trace.parent_id],
        )
        assert.equal(s.probability, undefined)
        assert.ok(isServer(s))
      }
    })
  }

  it('is sent to a configured peer, byte for byte as the original’s, and to no other', async () => {
    const vector = vectors('calltrace').find(v => v.name === 'py_client_framed_traced_request')
    const chunks: Buffer[] = []
    const { port } = await listen(createServer(socket => socket.on('data', d => chunks.push(d))))
    start({ propagation: `127.0.0.1:${port}=calltrace` })
    client(traced, traced.Calculator, port, FRAMED)
      .ping('Chris Goffinet')
      .catch(() => {})
    const expected = Buffer.from(vector.hex, 'hex')
    await until('it has come', () => Buffer.concat(chunks).length >= expected.length)
    const sent = Buffer.concat(chunks)
    assert.equal(sent.length, expected.length)
    // All but the sequence id (1: npm thrift counts from there) and the ids.
    assert.deepEqual(sent.subarray(0, 16), expected.subarray(0, 16))
    assert.deepEqual(sent.subarray(44), expected.subarray(44))
    const root = BigInt.asIntN(64, sent.readBigInt64BE(20))
    assert.ok(root > 0n)
    assert.equal(sent.readBigInt64BE(36), 0n)
  })

  it('joins both halves between a configured client and a server, and is a plain call when unsampled', async () => {
    for (const wire of [BINARY, FRAMED]) {
      const { port } = await serve(traced, traced.Calculator, promiseHandler(traced.types), wire)
      start({ propagation: `127.0.0.1:${port}=calltrace` })
      const c = client(traced, traced.Calculator, port, wire)
      peer.spans.length = 0
      assert.equal(await c.add(1, 2), 3)
      const { clientHalf, serverHalf } = halves(await spans(), 'Calculator.add')
      assert.deepEqual(
        [clientHalf.traceId, clientHalf.id, clientHalf.parentId],
        [serverHalf.traceId, serverHalf.id, serverHalf.parentId],
      )
      assert.equal(serverHalf.probability, undefined)
      start({ propagation: `127.0.0.1:${port}=calltrace`, sampler: 'never' })
      assert.equal(await c.add(1, 2), 3)
    }
  })
})

describe('an unmodified Thrift application', () => {
  for (const [flag, file] of [
    ['-r', 'thrift-app.cjs'],
    ['--import', 'thrift-app.cjs'],
    ['-r', 'thrift-app.mjs'],
    ['--import', 'thrift-app.mjs'],
  ] as const) {
    it(`is traced by ${flag} milo/register: ${file}`, async () => {
      const scribe = await ScribePeer.listen()
      const run = await runNode([flag, 'milo/register', join(__dirname, '../fixtures', file)], {
        MILO_SCRIBE: scribe.address,
        MILO_SAMPLER: 'always',
      })
      assert.deepEqual(run, { status: 0, signal: null, stdout: '42\n', stderr: '' })
      sameSpan(halves(scribe.spans, 'Calculator.add'))
      await scribe.close()
    })
  }

  it('runs the same, and says nothing, with MILO_ENABLED=0', async () => {
    const run = await runNode(['-r', 'milo/register', join(__dirname, '../fixtures/thrift-app.cjs')], {
      MILO_ENABLED: '0',
      MILO_SCRIBE: '127.0.0.1:1',
    })
    assert.deepEqual(run, { status: 0, signal: null, stdout: '42\n', stderr: '' })
  })
})
