import assert from 'node:assert/strict'
import { AsyncResource, executionAsyncResource } from 'node:async_hooks'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { patchQ } from '../../plugins/thrift/q'
import { current, span } from '../../src/index'
import { Handle } from '../../src/patch/handle'
import { start, stop, type TestSpan, tree } from '../../src/testing'
import { ROOT } from '../helpers/child'
import { ended } from '../helpers/ended'
import { client, closeAll, plain, serve, traced } from '../helpers/thrift'
import { until } from '../helpers/until'

const WIRE = { transport: 'TFramedTransport', protocol: 'TBinaryProtocol' } as const

/** What a call over a transport within the process is answered, and the errors of its processor. */
function answersOf(processor: any, thrift: any, request: Buffer): string[] {
  const replies: string[] = []
  thrift.TBufferedTransport.receiver((input: any) => {
    const transport = new thrift.TBufferedTransport(undefined, (reply: Buffer) => replies.push(reply.toString('hex')))
    try {
      processor.process(new thrift.TBinaryProtocol(input), new thrift.TBinaryProtocol(transport))
    } catch (error) {
      replies.push((error as Error).message)
    }
  })(request)
  return replies
}

const addRequest = Buffer.from('800100010000000361646400000007080001000000020800020000000300', 'hex')

describe('the Thrift plugin: generated code, and what looks like it', () => {
  let spans: TestSpan[]

  beforeEach(() => {
    spans = start({ logLevel: 'error' })
  })

  afterEach(() => {
    stop()
    closeAll()
  })

  describe('a module that exports a Client and a Processor', () => {
    let folder: string
    let load: NodeJS.Require

    before(() => {
      folder = mkdtempSync(join(tmpdir(), 'milo-test-generated-'))
      load = createRequire(join(folder, 'app.js'))
    })

    after(() => rmSync(folder, { recursive: true }))

    const jobs = 'class { process(job) { return job() }'
    const modules: Record<string, string> = {
      'and process()': `exports.Client = class {}; exports.Processor = ${jobs} }`,
      'and process(), process_all() and send_mail()': `exports.Client = class { send_mail() {} }; exports.Processor = ${jobs} process_all() {} }`,
      'and send_a() and recv_a(), but no process_a()': `exports.Client = class { send_a() {} recv_a() {} }; exports.Processor = ${jobs} }`,
      'and all the names, but no Thrift': `exports.Client = class { send_a(job) { return job() } recv_a(job) { return job() } }; exports.Processor = ${jobs} process_a() {} }`,
    }
    for (const [i, [name, code]] of Object.entries(modules).entries()) {
      it(`${name}: keeps the current span`, async () => {
        writeFileSync(join(folder, `m${i}.js`), `${code}`)
        const { Client, Processor } = load(`./m${i}.js`)
        await span('caller', async own => {
          assert.equal(new Processor().process(current), own)
          if (Client.prototype.send_a?.length === 1) {
            assert.equal(new Client().send_a(current), own)
            assert.equal(new Client().recv_a(current), own)
          }
        })
        assert.deepEqual(
          spans.map(s => s.name),
          ['caller'],
        )
      })
    }

    it('fails once when it throws, and switches nothing off', () => {
      writeFileSync(join(folder, 'throws.js'), `${modules['and all the names, but no Thrift']}`)
      const { Client } = load('./throws.js')
      let calls = 0
      const job = () => {
        calls++
        throw new RangeError('mine')
      }
      assert.throws(() => new Client().send_a(job), RangeError)
      assert.equal(calls, 1)
    })
  })

  it('is traced on neither side where its protocol is of a thrift that Milo hasn’t patched, and keeps nothing', async () => {
    // The code was loaded under Milo, the thrift that it is given wasn't.
    const { Calculator } = traced
    const seen: unknown[] = []
    const { port } = await serve(
      plain,
      Calculator,
      {
        add: async (a: number, b: number) => {
          seen.push(current())
          return a + b
        },
        fire() {},
      },
      WIRE,
    )
    const c = client(plain, Calculator, port, WIRE)
    const outside = current()
    await span('caller', async () => {
      assert.deepEqual(await Promise.all([c.add(1, 2), c.add(3, 4), c.fire('x')]), [3, 7, undefined])
    })
    assert.deepEqual(seen, [outside, outside])
    assert.equal(tree(), 'caller')
    assert.deepEqual(Object.getOwnPropertySymbols(c), [])
  })

  it('recognizes a oneway call where older code sends it as any other, and where a minifier has renamed its arguments', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'milo-test-oneway-'))
    try {
      symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
      for (const name of ['Calculator.js', 'Base.js', 'calculator_types.js']) {
        const code = readFileSync(join(ROOT, 'test/gen/js', name), 'utf8')
        const old = code.replace('MessageType.ONEWAY', 'MessageType.CALL').replaceAll('Calculator_fire_args', 'b')
        writeFileSync(join(folder, name), old)
      }
      const Calculator = createRequire(join(folder, 'app.js'))('./Calculator.js')
      const fired: string[] = []
      const { port } = await serve(traced, Calculator, { fire: (what: string) => fired.push(what) }, WIRE)
      const c = client(traced, Calculator, port, WIRE)
      const before = Object.keys(c._reqs).length
      // Without a callback too, as code older still doesn't call it.
      c.fire('x', () => {})
      c.new_seqid()
      c.send_fire('y')
      await until('both have come', () => fired.length === 2)
      closeAll()
      await ended(4)
      assert.deepEqual(
        spans.map(s => [s.name, s.annotations['thrift.result'], s.annotations['thrift.oneway']]),
        Array(4).fill(['Calculator.fire', 'ok', 'true']),
      )
      assert.equal(Object.keys(c._reqs).length, before)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('traces a service that only inherits', async () => {
    class Client extends traced.Calculator.Client {}
    class Processor extends traced.Calculator.Processor {}
    const { port } = await serve(traced, { Processor }, { add: async (a: number, b: number) => a + b }, WIRE)
    assert.equal(await client(traced, { Client }, port, WIRE).add(1, 2), 3)
    await ended(2)
    assert.deepEqual(
      spans.map(s => s.name),
      ['Calculator.add', 'Calculator.add'],
    )
  })

  it('takes the first result for the request’s when a handler answers, and then throws, rejects or answers again', async () => {
    const processors = (copy: typeof traced): Record<string, any> => ({
      throws: new copy.CalculatorJs.Processor({
        add(a: number, b: number, done: Function) {
          done(null, a + b)
          throw new Error('after the answer')
        },
      }),
      'answers again': new copy.CalculatorJs.Processor({
        add(a: number, b: number, done: Function) {
          done(null, a + b)
          done(new Error('again'))
        },
      }),
      'throws before its answer': new copy.CalculatorJs.Processor({
        add(a: number, b: number, done: Function) {
          setImmediate(() => done(null, a + b))
          throw new Error('before the answer')
        },
      }),
    })
    for (const name of Object.keys(processors(plain))) {
      const oracle = answersOf(processors(plain)[name], plain.thrift, addRequest)
      spans.length = 0
      assert.deepEqual(answersOf(processors(traced)[name], traced.thrift, addRequest), oracle, name)
      await new Promise(setImmediate)
      assert.equal(spans.length, 1, name)
      const { annotations } = spans[0]!
      const failed = name === 'throws before its answer'
      assert.equal(annotations['thrift.result'], failed ? 'exception' : 'ok', name)
      assert.equal(annotations['error.message'], failed ? 'before the answer' : undefined, name)
    }
  })

  it('keeps nothing of servers and clients that are gone', async () => {
    setFlagsFromString('--expose-gc')
    const gc: () => void = runInNewContext('gc')
    const made: WeakRef<object>[] = []
    for (let i = 0; i < 200; i++) {
      class Processor extends traced.Calculator.Processor {}
      const processors = [
        new traced.Calculator.Processor({}),
        new (Processor as any)({}),
        { process() {} },
        new traced.thrift.MultiplexedProcessor(),
      ]
      for (const processor of processors) {
        made.push(new WeakRef(processor))
        traced.thrift.createMultiplexServer(processor)
      }
      traced.thrift.createServer(traced.Calculator, {})
      const connection = new traced.thrift.HttpConnection({ host: '127.0.0.1', port: 1 })
      made.push(new WeakRef(traced.thrift.createHttpClient(traced.Calculator, connection)), new WeakRef(connection))
    }
    // The engine itself may hold on to the last ones for a while.
    await until('they are gone', async () => {
      await new Promise(setImmediate)
      gc()
      return made.filter(ref => ref.deref() !== undefined).length < 20
    })
  })

  it('leaves frozen handlers, processors, clients and connections as they are, and switches nothing off', async () => {
    const shown: unknown[][] = []
    spans = start({ logLevel: 'error', onRequest: (_span, args) => void shown.push(args) })
    const handler = Object.freeze({ add: (a: number, b: number, done: Function) => done(null, a + b) })
    const processor = new traced.CalculatorJs.Processor(handler)
    const frozen = Object.freeze(new traced.CalculatorJs.Processor(handler))
    const reply = answersOf(new plain.CalculatorJs.Processor(handler), plain.thrift, addRequest)
    assert.deepEqual(answersOf(processor, traced.thrift, addRequest), reply)
    assert.deepEqual(answersOf(processor, traced.thrift, addRequest), reply)
    assert.deepEqual(answersOf(frozen, traced.thrift, addRequest), reply)
    assert.deepEqual(shown, [
      [2, 3],
      [2, 3],
    ])
    assert.deepEqual([Object.keys(processor._handler), 'add' in processor._handler], [['add'], true])
    traced.thrift.createMultiplexServer(Object.freeze({ process() {} }))
    const written: Buffer[] = []
    const connection = Object.freeze({
      transport: traced.thrift.TBufferedTransport,
      protocol: traced.thrift.TBinaryProtocol,
      write: (bytes: Buffer) => written.push(bytes),
    })
    const { Client } = traced.CalculatorJs
    const sealed = Object.preventExtensions(
      new Client(new connection.transport(undefined, connection.write), connection.protocol),
    )
    sealed.add(1, 2, () => {})
    assert.equal(written.length, 1)
    // The plugin is still on.
    assert.equal(spans.filter(s => s.kind === 'server').length, 3)
  })

  it('gives up the oldest of the requests that are never answered on one output without a connection', () => {
    const { thrift } = traced
    const processor = new traced.CalculatorJs.Processor({ add() {} })
    const output = new thrift.TBinaryProtocol(new thrift.TBufferedTransport(undefined, () => {}))
    const frame = new thrift.TFramedTransport(addRequest)
    for (let i = 0; i < 10_005; i++) {
      frame.readPos = 0
      processor.process(new thrift.TBinaryProtocol(frame), output)
    }
    assert.deepEqual(
      spans.map(s => s.annotations['thrift.result']),
      Array(5).fill('abandoned'),
    )
  })

  it('binds Q’s callbacks while Milo is on, and only then', () => {
    const given: unknown[] = []
    class Promised {
      // biome-ignore lint/suspicious/noThenProperty: as Q's
      then(...callbacks: unknown[]) {
        given.push(...callbacks)
      }
    }
    const Q = { fcall: (callback: unknown) => given.push(callback), makePromise: Promised }
    const plugin = new Handle('q')
    patchQ(Q, plugin)
    const isBound = () => executionAsyncResource() instanceof AsyncResource
    const run = () => {
      given.length = 0
      Q.fcall(isBound)
      new Promised().then(isBound)
      return given.map((callback: any) => callback())
    }
    assert.deepEqual(run(), [true, true])
    plugin.enabled = false
    run()
    assert.deepEqual(given, [isBound, isBound])
    plugin.enabled = true
    stop()
    run()
    assert.deepEqual(given, [isBound, isBound])
  })
})
