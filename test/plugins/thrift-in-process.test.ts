import assert from 'node:assert/strict'
import { current, span } from '../../src/index'
import { start, stop, type TestSpan, tree } from '../../src/testing'
import { client, closeAll, plain, serve, type ThriftCopy, traced } from '../helpers/thrift'
import { until } from '../helpers/until'

/*
 * A transport that hands its bytes on in the same call stack, as tests, functions-as-a-service and message buses have
 * them: a reply is written while its call is still being sent, and a callback runs while its request is being processed.
 */

interface InProcess {
  client: any
  /** What the server's side answered, in hex. */
  replies: string[]
}

/** @param protocol made for each message, as generated code does, unless `shared` */
function inProcess(
  copy: ThriftCopy,
  processor: { process(input: unknown, output: unknown): unknown },
  service: any,
  { transport = 'TBufferedTransport', protocol = 'TBinaryProtocol', makeProtocol = undefined as any } = {},
): InProcess {
  const Transport = copy.thrift[transport]
  const Protocol = makeProtocol ?? copy.thrift[protocol]
  const replies: string[] = []
  const receive = Transport.receiver((input: any) => {
    const message = new Protocol(input)
    const { fname, mtype, rseqid } = message.readMessageBegin()
    made[`recv_${fname}`](message, mtype, rseqid)
  })
  const serve = Transport.receiver((input: any) => {
    const reply = (bytes: Buffer) => {
      replies.push(bytes.toString('hex'))
      receive(bytes)
    }
    processor.process(new Protocol(input), new Protocol(new Transport(undefined, reply)))
  })
  const made = new service.Client(new Transport(undefined, serve), Protocol)
  return { client: made, replies }
}

const promised = (call: (done: Function) => void): Promise<any> =>
  new Promise((resolve, reject) => call((error: unknown, result: unknown) => (error ? reject(error) : resolve(result))))

/** The tree with results and errors alone. */
function assertTree(expected: string): void {
  const lines = expected.split('\n').slice(1, -1)
  const shared = Math.min(...lines.map(line => line.search(/\S/)))
  assert.equal(
    tree({ annotations: ['thrift.result', 'error.type'] }).replace(/ [\w.]+\+=\d+/g, ''),
    lines.map(line => line.slice(shared)).join('\n'),
  )
}

describe('the Thrift plugin: transports within the process', () => {
  let spans: TestSpan[]

  beforeEach(() => {
    spans = start()
  })

  afterEach(() => {
    stop()
    closeAll()
  })

  for (const transport of ['TBufferedTransport', 'TFramedTransport'])
    for (const protocol of ['TBinaryProtocol', 'TCompactProtocol', 'TJSONProtocol']) {
      const wire = { transport, protocol }

      it(`reports both halves of a handler that calls on and answers at once, with thrift’s own replies, ${transport} ${protocol}`, async () => {
        const run = async (copy: ThriftCopy) => {
          const inner = inProcess(
            copy,
            new copy.CalculatorJs.Processor({
              ping: (name: string, done: Function) => span('inside', () => done(null, `pong ${name}`)),
            }),
            copy.CalculatorJs,
            wire,
          )
          const outer = inProcess(
            copy,
            new copy.CalculatorJs.Processor({
              add: (a: number, b: number, done: Function) => inner.client.ping('x', () => done(null, a + b)),
              divide: (_a: number, _b: number, done: Function) => done(new copy.typesJs.Oops({ why: 'no', code: 1 })),
              fire: () => inner.client.ping('fired', () => {}),
            }),
            copy.CalculatorJs,
            wire,
          )
          await span('caller', async () => {
            assert.equal(await promised(done => outer.client.add(1, 2, done)), 3)
            await assert.rejects(promised(done => outer.client.divide(1, 0, done)))
            outer.client.fire('now', () => {})
          })
          return [outer.replies, inner.replies]
        }
        const oracle = await run(plain)
        spans.length = 0
        assert.deepEqual(await run(traced), oracle)
        assertTree(`
          caller
            Calculator.add (client) thrift.result=ok
              Calculator.add (server) thrift.result=ok
                Base.ping (client) thrift.result=ok
                  Base.ping (server) thrift.result=ok
                    inside
            Calculator.divide (client) error.type=Oops thrift.result=exception
              Calculator.divide (server) thrift.result=exception error.type=Oops
            Calculator.fire (client) thrift.result=ok
              Calculator.fire (server) thrift.result=ok
                Base.ping (client) thrift.result=ok
                  Base.ping (server) thrift.result=ok
                    inside
          `)
      })
    }

  it('sends the same requests and replies as without Milo where the trace isn’t sampled, or travels nowhere', async () => {
    const run = async (copy: ThriftCopy) => {
      const { client: c, replies } = inProcess(
        copy,
        new copy.Calculator.Processor({ add: (a: number, b: number, done: Function) => done(null, a + b) }),
        copy.Calculator,
      )
      assert.equal(await c.add(1, 2), 3)
      return replies
    }
    const oracle = await run(plain)
    for (const options of [{ propagation: 'off' }, { sampler: 'never' as const }, { enabled: false }]) {
      spans = start(options)
      assert.deepEqual(await run(traced), oracle)
    }
  })

  it('keeps the caller’s context in a callback that comes before the call has returned', () => {
    const { client: c } = inProcess(
      traced,
      new traced.CalculatorJs.Processor({
        add: (a: number, b: number, done: Function) => span('handling', () => done(null, a + b)),
      }),
      traced.CalculatorJs,
    )
    span('caller', own => {
      let seen: unknown
      c.add(1, 2, () => {
        seen = current().spanId
      })
      assert.equal(seen, own.spanId)
      assert.equal(current(), own)
    })
  })

  it('ends both halves once when the handler throws, and is none the worse for it', async () => {
    const run = async (copy: ThriftCopy) => {
      const { client: c, replies } = inProcess(
        copy,
        new copy.Calculator.Processor({
          add: (a: number, b: number, done: Function) => {
            if (a === 0) throw new Error('at once')
            done(null, a + b)
            if (b === 0) throw new Error('after the answer')
          },
        }),
        copy.Calculator,
      )
      const told: unknown[] = []
      for (const [a, b] of [
        [0, 1],
        [1, 0],
        [1, 2],
      ]) {
        // What was written before is written again: thrift empties an output when it has been handed on.
        c.output.outBuffers = []
        c.output.outCount = 0
        await c.add(a, b).then(
          (v: unknown) => told.push(v),
          (e: Error) => told.push(e.message),
        )
      }
      return [told, replies]
    }
    const oracle = await run(plain)
    spans.length = 0
    assert.deepEqual(await run(traced), oracle)
    assertTree(`
      Calculator.add (client) error.type=Error thrift.result=not_sent
        Calculator.add (server) error.type=Error thrift.result=exception
      Calculator.add (client) thrift.result=ok
        Calculator.add (server) thrift.result=ok
      Calculator.add (client) thrift.result=ok
        Calculator.add (server) thrift.result=ok
      `)
  })

  it('takes nothing over from a message that an exception has cut off, on a protocol that is used again', async () => {
    const run = async (copy: ThriftCopy) => {
      const protocols = new Map<unknown, any>()
      class OneForEachTransport extends copy.thrift.TBinaryProtocol {
        constructor(trans: unknown) {
          super(trans)
          // biome-ignore lint/correctness/noConstructorReturn: as a class of somebody else's may
          if (protocols.has(trans)) return protocols.get(trans)
          protocols.set(trans, this)
        }
      }
      const { client: c, replies } = inProcess(
        copy,
        new copy.Calculator.Processor({ ping: (name: string, done: Function) => done(null, name) }),
        copy.Calculator,
        { makeProtocol: OneForEachTransport },
      )
      await assert.rejects(c.ping(42), /writeString called without a string/)
      c.output.outBuffers = []
      c.output.outCount = 0
      const protocol = protocols.get(c.output)
      protocol._seqid = null
      // Not a call of the client's: it is no call of Milo's.
      protocol.writeMessageBegin('ping', 1, 7)
      protocol.writeFieldStop()
      protocol.writeMessageEnd()
      const written = Buffer.concat(c.output.outBuffers).toString('hex')
      return [written, replies]
    }
    assert.deepEqual(await run(traced), await run(plain))
  })

  it('traces multiplexed services that call one another', async () => {
    const processor = new traced.thrift.MultiplexedProcessor()
    const multiplexed = (service: string, protocol: any) =>
      class extends protocol {
        writeMessageBegin(name: string, type: number, seqid: number) {
          super.writeMessageBegin(type === 1 || type === 4 ? `${service}:${name}` : name, type, seqid)
        }
      }
    const to = (service: string) =>
      inProcess(traced, processor, traced.Calculator, {
        makeProtocol: multiplexed(service, traced.thrift.TCompactProtocol),
      }).client
    const second = to('second')
    processor.registerProcessor(
      'first',
      new traced.Calculator.Processor({
        add: (a: number, b: number, done: Function) => second.ping('x').then(() => done(null, a + b)),
      }),
    )
    processor.registerProcessor(
      'second',
      new traced.Calculator.Processor({ ping: (name: string, done: Function) => done(null, name) }),
    )
    assert.equal(await to('first').add(1, 2), 3)
    assertTree(`
      Calculator.add (client) thrift.result=ok
        first.add (server) thrift.result=ok
          Base.ping (client) thrift.result=ok
            second.ping (server) thrift.result=ok
      `)
  })

  it('traces a processor that calls another service before it reads its own request', async () => {
    const audit = inProcess(
      traced,
      new traced.Calculator.Processor({ ping: (name: string, done: Function) => done(null, name) }),
      traced.Calculator,
    ).client
    class Audited extends traced.Calculator.Processor {
      process(input: unknown, output: unknown) {
        audit.ping('a request')
        return super.process(input, output)
      }
    }
    const c = client(
      traced,
      traced.Calculator,
      (await serve(traced, { Processor: Audited }, { add: async (a: number, b: number) => a + b }, WIRE)).port,
      WIRE,
    )
    assert.equal(await c.add(1, 2), 3)
    assertTree(`
      Calculator.add (client) thrift.result=ok
        Calculator.add (server) thrift.result=ok
      Base.ping (client) thrift.result=ok
        Base.ping (server) thrift.result=ok
      Base.ping (client) thrift.result=ok
        Base.ping (server) thrift.result=ok
      `)
  })

  it('doesn’t take the peer of a server’s connection for that of what its handler processes', async () => {
    const local = inProcess(
      traced,
      new traced.Calculator.Processor({ ping: (name: string, done: Function) => done(null, name) }),
      traced.Calculator,
    ).client
    const { port } = await serve(
      traced,
      traced.Calculator,
      { add: (a: number, b: number, done: Function) => local.ping('x').then(() => done(null, a + b)) },
      WIRE,
    )
    const c = client(traced, traced.Calculator, port, WIRE)
    assert.deepEqual(await Promise.all([c.add(1, 2), c.add(3, 4)]), [3, 7])
    const peers = (name: string) =>
      spans.filter(s => s.kind === 'server' && s.name === name).map(s => s.annotations['network.peer.address'])
    assert.deepEqual(peers('Calculator.add'), ['127.0.0.1', '127.0.0.1'])
    assert.deepEqual(peers('Base.ping'), [undefined, undefined])
  })

  it('makes what is processed the call’s child also over a transport without buffers to put a field in', async () => {
    class Own {
      bytes: Buffer[] = []
      setCurrSeqId() {}
      write(bytes: Buffer) {
        this.bytes.push(bytes)
      }
      flush() {
        const message = Buffer.concat(this.bytes.splice(0))
        traced.thrift.TBufferedTransport.receiver((input: any) =>
          processor.process(
            new traced.thrift.TBinaryProtocol(input),
            new traced.thrift.TBinaryProtocol(new traced.thrift.TBufferedTransport(undefined, () => {})),
          ),
        )(message)
      }
    }
    const processor = new traced.Calculator.Processor({
      add: (_a: number, _b: number, done: Function) => done(null, 3),
    })
    const c = new traced.CalculatorJs.Client(new Own(), traced.thrift.TBinaryProtocol)
    span('caller', caller => {
      c.add(1, 2, () => {})
      const [served] = spans
      assert.deepEqual([served!.kind, served!.traceId], ['server', caller.traceId])
      // Not the caller's own: the call's, which is never answered.
      assert.notEqual(served!.parentId, caller.spanId)
    })
  })

  it('reports one span for a client whose class overrides what was generated, and calls it', async () => {
    class Mine extends traced.Calculator.Client {
      send_add(a: number, b: number) {
        return super.send_add(a, b)
      }
      recv_add(input: unknown, type: number, seqid: number) {
        return super.recv_add(input, type, seqid)
      }
    }
    const { port } = await serve(traced, traced.Calculator, { add: async (a: number, b: number) => a + b }, WIRE)
    assert.equal(await client(traced, { Client: Mine }, port, WIRE).add(1, 2), 3)
    assertTree(`
      Calculator.add (client) thrift.result=ok
        Calculator.add (server) thrift.result=ok
      `)
  })

  it('keeps two clients apart that share an output, one of them made by hand', async () => {
    const { port } = await serve(
      traced,
      traced.Calculator,
      { add: async (a: number, b: number) => a + b, ping: (_name: string) => new Promise(() => {}) },
      WIRE,
    )
    const first = client(traced, traced.Calculator, port, WIRE)
    const second = new traced.Calculator.Client(first.output, first.pClass)
    assert.equal(await first.add(1, 2), 3)
    second.ping('never answered').catch(() => {})
    const { connection } = { connection: connectionOf(first) }
    await first.add(1, 2)
    const closed = new Promise<void>(resolve => connection.once('close', () => resolve()))
    connection.end()
    await closed
    const ping = spans.find(s => s.name === 'Base.ping' && s.kind === 'client')!
    assert.equal(ping.annotations['server.port'], String(port))
    assert.equal(ping.annotations['error.type'], 'connection closed')
  })

  it('counts calls to the other connection when a client is given its transport', async () => {
    const answers: (() => void)[] = []
    const handler = {
      add: (a: number, b: number, done: Function) => answers.push(() => done(null, a + b)),
      ping: (name: string, done: Function) => done(null, name),
    }
    const [first, second] = [
      await serve(traced, traced.Calculator, handler, WIRE),
      await serve(traced, traced.Calculator, handler, WIRE),
    ]
    const c = client(traced, traced.Calculator, first.port, WIRE)
    await c.ping('x')
    const other = client(traced, traced.Calculator, second.port, WIRE)
    const old = connectionOf(c)
    connectionOf(other).client = c
    c.output = other.output
    const sum = c.add(1, 2)
    await until('it has arrived', () => answers.length === 1)
    const closed = new Promise<void>(resolve => old.once('close', () => resolve()))
    old.destroy()
    await closed
    answers[0]!()
    assert.equal(await sum, 3)
    const add = spans.find(s => s.name === 'Calculator.add' && s.kind === 'client')!
    assert.equal(add.annotations['server.port'], String(second.port))
    assert.equal(add.annotations['thrift.result'], 'ok')
  })

  it('tells a second client of a connection nothing of replies that are meant for the first', async () => {
    const answers: (() => void)[] = []
    const handler = {
      add: (a: number, b: number, done: Function) => answers.push(() => done(null, a + b)),
      ping: (name: string, done: Function) => done(null, name),
    }
    const { port } = await serve(traced, traced.Calculator, handler, WIRE)
    const first = client(traced, traced.Calculator, port, WIRE)
    await first.ping('x')
    first.add(1, 2)
    const second = traced.thrift.createClient(traced.Calculator, connectionOf(first))
    const sum = second.add(3, 4)
    await until('both have arrived', () => answers.length === 2)
    for (const answer of answers) answer()
    assert.equal(await sum, 7)
    assert.deepEqual(
      spans.filter(s => s.name === 'Calculator.add' && s.kind === 'client').map(s => s.annotations['thrift.result']),
      ['ok'],
    )
  })

  it('answers as without Milo over a server’s transport that can’t be extended, and switches nothing off', async () => {
    const { thrift, Calculator } = traced
    const processor = new Calculator.Processor({ ping: (name: string, done: Function) => done(null, name) })
    const request = Buffer.from('800100010000000470696e67000000010b0001000000017800', 'hex')
    const answer = (seal: (transport: object) => any) => {
      let reply: Buffer | undefined
      thrift.TBufferedTransport.receiver((input: any) => {
        const transport = seal(new thrift.TBufferedTransport(undefined, (bytes: Buffer) => (reply = bytes)))
        processor.process(new thrift.TBinaryProtocol(input), new thrift.TBinaryProtocol(transport))
      })(request)
      return reply!.toString('hex')
    }
    assert.equal(
      answer(Object.seal),
      answer(transport => transport),
    )
    assertTree(`
      Base.ping (server) thrift.result=ok
      `)
  })
})

const WIRE = { transport: 'TFramedTransport', protocol: 'TBinaryProtocol' } as const

function connectionOf(made: any): any {
  const peer = Object.getOwnPropertySymbols(made).find(symbol => symbol.description === 'milo.peer')!
  return made[peer].connection
}
