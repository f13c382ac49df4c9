import assert from 'node:assert/strict'
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT, runNode } from '../helpers/child'
import { Program, startCollector } from '../helpers/programs'
import { until } from '../helpers/until'
import { goOtlp } from '../servers/go'
import { nodeOfVersion } from '../servers/node-versions'
import { freePort } from '../servers/process'
import { application, NEWEST, OLDEST, runApp, SDK, trees } from './support'

const STYLES = ['promise', 'callback'] as const
const PROTOCOLS = ['TBinaryProtocol', 'TCompactProtocol', 'TJSONProtocol']
const WIRES = [
  ...['TBufferedTransport', 'TFramedTransport'].flatMap(transport =>
    PROTOCOLS.flatMap(protocol => STYLES.map(style => [transport, protocol, style, 'plain'])),
  ),
  ...STYLES.map(style => ['TFramedTransport', 'TBinaryProtocol', style, 'multiplexed']),
]

const SEEN = ['hello a', 'Oops zero 7', 'TApplicationException undeclared', 'hello b,7']

/** What work() of app.cjs looks like in trees(). */
function all([transport, protocol, style, how]: readonly string[]): string {
  const [own, base] = how === 'multiplexed' ? ['Sums', 'Sums'] : ['Calculator', 'Base']
  const back = style === 'callback' ? '  called back\n' : ''
  const ping = `  ${base}/ping >\n    ${base}/ping <\n      before\n      after\n${back}`
  return `${transport} ${protocol} ${style} ${how}
${ping}  ${own}/divide > !Oops
    ${own}/divide < !Oops
${back}  ${own}/touch > !TApplicationException
    ${own}/touch < !TApplicationException
${back}  ${own}/fire >
    ${own}/fire <
      fired
  ${own}/add >
    ${own}/add <
${back}${ping}`
}
/** The spans of OTLP's JSON, a request a line. */
function received(lines: string): string[] {
  const requests = lines
    .split('\n')
    .slice(0, -1)
    .filter(line => line.startsWith('{'))
  const scopes = requests.flatMap(line => JSON.parse(line).resourceSpans.flatMap((r: any) => r.scopeSpans))
  return scopes
    .flatMap(({ spans }: any) => spans)
    .map((s: any) => [s.spanId, s.parentSpanId ?? '', s.name, ['', 'internal', 'server', 'client'][s.kind]].join())
}

/** Two of the calls are made at once, and end in either order. */
const sorted = (text: string) => text.trim().split('\n').sort().join('\n')
const PLAIN = ['TFramedTransport', 'TBinaryProtocol', 'promise', 'plain'] as const

describe('milo/otel-instrumentation', function () {
  this.timeout(300_000)
  let home: string
  before(async () => {
    home = await application(SDK)
  })
  after(() => rmSync(home, { recursive: true, force: true }))

  it('traces every transport, protocol and style; OpenTelemetry’s Collector and Milo’s get the same trees by OTLP', async () => {
    const [program, grpcPort, port] = [await goOtlp(), await freePort(), await freePort()]
    const receiver = new Program(program, [`127.0.0.1:${grpcPort}`, `127.0.0.1:${port}`])
    const collector = await startCollector()
    try {
      await receiver.printed(/^ready$/m)
      const otlp = [collector.web, `http://127.0.0.1:${port}`]
      const { seen, spans, stderr } = await runApp(home, { wires: WIRES, otlp })
      const theirs = await until('OpenTelemetry’s Collector has all', () => {
        const found = received(receiver.stdout)
        return found.length >= spans.length ? found : undefined
      })
      assert.deepEqual(theirs.sort(), spans.map(s => [s.spanId, s.parentId ?? '', s.name, s.kind].join()).sort())
      assert.equal(stderr, '')
      assert.deepEqual(
        seen,
        WIRES.flatMap(() => SEEN),
      )
      assert.equal(sorted(trees(spans)), sorted(WIRES.map(all).join('')))
      for (const { traceId, name } of spans.filter(({ parentId }) => parentId === undefined)) {
        const mine = spans.filter(span => span.traceId === traceId)
        const found = await until(`the collector has ${name}`, async () => {
          const answer = await fetch(`${collector.web}/api/traces/${traceId}`)
          const body: any = answer.ok ? await answer.json() : undefined
          return body?.spans.length === mine.length ? body.spans : undefined
        })
        const pairs = (list: any[]) => list.map(s => [s.spanId, s.parentId ?? '0'.repeat(16), s.name].join()).sort()
        assert.deepEqual(pairs(found), pairs(mine))
      }
    } finally {
      await collector.stop()
      await receiver.stop()
    }
  })

  describe('by OpenTelemetry’s conventions', () => {
    const rpc = (attributes: Record<string, unknown>) =>
      Object.fromEntries(Object.entries(attributes).filter(([key]) => /^(rpc|error)\./.test(key)))

    it('has the keys that its instrumentations have, and types: numbers are numbers', async () => {
      const { spans } = await runApp(home, { config: { requestHook: true } })
      const [server, client] = spans.filter(({ name }) => name === 'Calculator/add')
      const { 'server.port': port, 'network.peer.port': peerPort } = { ...client!.attributes, ...server!.attributes }
      assert.ok(Number.isInteger(port) && Number.isInteger(peerPort))
      const calling = {
        'rpc.system': 'apache_thrift',
        'rpc.service': 'Calculator',
        'rpc.method': 'add',
        'thrift.result': 'ok',
        'thrift.request_bytes': 113,
        'thrift.reply_bytes': 23,
      }
      assert.deepEqual(client!.attributes, {
        ...calling,
        'server.address': '127.0.0.1',
        'server.port': port,
        asked: 'client Calculator add [3,4]',
      })
      assert.deepEqual(server!.attributes, {
        ...calling,
        'network.peer.address': '127.0.0.1',
        'network.peer.port': peerPort,
        asked: 'server Calculator add [3,4]',
      })
      const fired = spans.filter(({ name }) => name === 'Calculator/fire')
      assert.deepEqual(
        fired.map(({ attributes }) => attributes['thrift.oneway']),
        [true, true],
      )
    })

    it('has the exception that a handler threw, with its stack, on the server’s span where requestHook is set', async () => {
      const { spans } = await runApp(home, { config: { requestHook: true } })
      for (const [name, type] of [
        ['touch', 'Error'],
        ['divide', 'Oops'],
      ]) {
        const served = spans.find(span => span.name === `Calculator/${name}` && span.kind === 'server')!
        assert.deepEqual([served.status.code, served.attributes['error.type']], [2, type])
        const { attributes } = served.events[0]!
        assert.equal(attributes['exception.type'], type)
        assert.match(String(attributes['exception.stacktrace']), /app\.cjs/)
      }
    })

    it('has what a handler threw that is no error as the message, and its kind as the type', async () => {
      const { spans } = await runApp(home, { config: { requestHook: true }, thrown: 'order 77 failed' })
      const served = spans.find(({ name, kind }) => name === 'Calculator/touch' && kind === 'server')!
      assert.deepEqual(
        [served.status, served.attributes['error.type'], served.events[0]!.attributes['exception.message']],
        [{ code: 2, message: 'order 77 failed' }, 'string', 'order 77 failed'],
      )
    })

    it('says what failed: the status, error.type, and the exception as the caller got it', async () => {
      const { spans } = await runApp(home, { refused: true })
      const [served, called] = spans.filter(({ name }) => name === 'Calculator/touch')
      assert.deepEqual(called!.status, { code: 2, message: 'undeclared' })
      const [exception] = called!.events
      assert.equal(exception!.name, 'exception')
      assert.equal(exception!.attributes['exception.type'], 'TApplicationException')
      assert.equal(exception!.attributes['exception.message'], 'undeclared')
      assert.deepEqual(served!.status, { code: 2, message: 'undeclared' })
      assert.deepEqual([served!.attributes['error.type'], served!.events], ['TApplicationException', []])
      // Its field `code` isn't a type.
      const oops = spans.find(({ name, kind }) => name === 'Calculator/divide' && kind === 'client')!
      assert.equal(oops.events[0]!.attributes['exception.type'], 'Oops')
      assert.deepEqual(spans.find(({ name }) => name === 'Base/ping')!.status, { code: 0 })
      const lost = spans.findLast(({ name }) => name === 'Base/ping')!
      assert.deepEqual(lost.status, { code: 2, message: 'Error: connect ECONNREFUSED 127.0.0.1:1' })
      assert.equal(lost.attributes['error.type'], 'ECONNREFUSED')
      assert.deepEqual(
        lost.events.map(({ attributes }) => attributes['exception.message']),
        ['connect ECONNREFUSED 127.0.0.1:1'],
      )
    })

    for (const [optIn, keys] of [
      ['http,rpc', { 'rpc.system.name': 'apache_thrift', 'rpc.method': 'Calculator/add' }],
      [
        'rpc, rpc/dup',
        {
          'rpc.system.name': 'apache_thrift',
          'rpc.method': 'Calculator/add',
          'rpc.system': 'apache_thrift',
          'rpc.service': 'Calculator',
        },
      ],
    ] as const) {
      it(`has the stable ones by OTEL_SEMCONV_STABILITY_OPT_IN=${optIn}`, async () => {
        const env = { OTEL_SEMCONV_STABILITY_OPT_IN: optIn }
        const { spans } = await runApp(home, { unknown: true }, { env })
        for (const span of spans.filter(({ name }) => name === 'Calculator/add'))
          assert.deepEqual(rpc(span.attributes), keys)
        // A method that the service doesn't have makes no name of its own.
        const unknown = spans.find(({ name }) => name === 'apache_thrift')!
        assert.equal(unknown.attributes['rpc.method'], '_OTHER')
        assert.equal(unknown.attributes['rpc.method_original'], 'Calculator/nothing')
        assert.equal(unknown.attributes['error.type'], 'TApplicationException')
      })
    }
  })

  it('takes a provider that comes when everything has been loaded', async () => {
    assert.equal(sorted(trees((await runApp(home, { late: true })).spans)), sorted(all(PLAIN)))
  })

  it('carries baggage, sends nothing where tracing is suppressed, and is off between disable and enable', async () => {
    const { seen, spans } = await runApp(home, { baggage: true, suppress: true, toggle: true })
    const withBaggage = SEEN.map(text => text.replace('hello a', 'hello a ann').replace('hello b', 'hello b ann'))
    assert.deepEqual(seen, [...SEEN, ...SEEN, ...withBaggage, ...SEEN, ...SEEN])
    const inner = 'before\nafter\nbefore\nafter\nfired\n'
    // As HTTP's servers, Thrift's don't know that their callers are suppressed.
    const suppressed = all(PLAIN)
      .split('\n')
      .filter(line => /</.test(line) || line.startsWith('      '))
      .map(line => line.slice(4))
      .join('\n')
    const disabled = `${PLAIN.join(' ')}\n${inner}`
    const three = all(PLAIN).repeat(3)
    assert.equal(sorted(trees(spans)), sorted(`${three}${suppressed}\n${disabled}`))
  })

  for (const [propagation, joined] of [
    ['field', true],
    ['off,127.0.0.1=field', true],
    ['off', false],
  ] as const) {
    it(`${joined ? 'joins' : 'starts'} traces by propagation ${propagation}`, async () => {
      const { spans } = await runApp(home, { config: { propagation } })
      const add = spans.filter(({ name }) => name === 'Calculator/add')
      const [server, client] = add
      assert.deepEqual([server!.kind, client!.kind], ['server', 'client'])
      assert.equal(server!.parentId, joined ? client!.spanId : undefined)
      assert.equal(server!.traceId === client!.traceId, joined)
    })
  }

  it('joins by CALLTRACE what has room in it: the low half of the trace’s id', async () => {
    const { spans } = await runApp(home, { config: { propagation: 'calltrace' } })
    const [server, client] = spans.filter(({ name }) => name === 'Calculator/add')
    assert.equal(server!.parentId, client!.spanId)
    assert.equal(server!.traceId, client!.traceId.slice(16).padStart(32, '0'))
  })

  for (const propagation of ['compat', 'field']) {
    it(`records nothing on either side of a call that isn’t sampled, by propagation ${propagation}`, async () => {
      const { seen, spans } = await runApp(home, { sampler: 'never', config: { propagation } })
      assert.deepEqual([seen, spans], [SEEN, []])
    })
  }

  it('refuses options that it doesn’t know, and says what there are', async () => {
    const app = `const { ThriftInstrumentation } = require('milo/otel-instrumentation')
      for (const config of [{ propagation: 'calltrace-legacy16' }, { propagation: 'x' }, { hook() {} }, { requestHook: 1 }])
        try { new ThriftInstrumentation(config) } catch (error) { console.log(error.code) }`
    const { stdout } = await runNode(['-e', app], {}, home)
    assert.deepEqual(stdout.trim().split('\n'), [
      'MILO_BAD_PROPAGATION',
      'MILO_BAD_PROPAGATION',
      'MILO_BAD_OPTION',
      'MILO_BAD_OPTION',
    ])
  })

  for (const [variable, value] of [
    ['MILO_PROPAGATION', 'compactt'],
    ['MILO_LOG_LEVEL', 'warning'],
  ] as const) {
    it(`runs the application with Thrift untraced when ${variable} can’t be used, and says so`, async () => {
      const { seen, spans, stderr } = await runApp(home, {}, { env: { [variable]: value } })
      assert.deepEqual(seen, SEEN)
      assert.deepEqual(
        spans.filter(({ kind }) => kind !== 'internal'),
        [],
      )
      assert.match(stderr, new RegExp(`^milo error: .* got '${value}', in ${variable} — Thrift isn't traced\n$`))
    })
  }

  for (const [fails, says, lost] of [
    ['sampler', 'a sampler or span processor threw, and this call isn’t traced: Error: of the sampler', 1],
    ['processor', 'a sampler or span processor threw, and this call isn’t traced: Error: of the processor', 1],
    ['inject', 'a propagator threw, and this call doesn’t tell its trace: Error: of the inject', 0],
    ['extract', 'a propagator threw, and the trace of this call isn’t known: Error: of the extract', 0],
    ['hook', 'requestHook threw: Error: of the hook', 0],
    ['asyncHook', 'requestHook rejected: Error: of the asyncHook', 0],
  ] as const) {
    it(`goes on tracing when a ${fails} of the application’s throws`, async () => {
      const { seen, spans, stderr } = await runApp(home, { fails, wires: [PLAIN, WIRES[1]] })
      assert.deepEqual(seen, [...SEEN, ...SEEN])
      assert.equal(stderr.replaceAll("'", '’'), `milo error: ${says}\n`)
      const whole = all(PLAIN) + all(WIRES[1]!)
      assert.equal(spans.length, whole.trim().split('\n').length - lost)
      const second = trees(spans).slice(trees(spans).indexOf(WIRES[1]!.join(' ')))
      // Where a hook is set, what a handler threw is known.
      const known = /hook/i.test(fails) ? second.replaceAll('touch < !Error', 'touch < !TApplicationException') : second
      assert.equal(sorted(known), sorted(all(WIRES[1]!)))
    })
  }

  describe('beside others', () => {
    it('leaves Thrift to Milo where that was first, and says so', async () => {
      const { seen, spans, stderr } = await runApp(home, { milo: 'first' }, { env: { MILO_SCRIBE: '127.0.0.1:1' } })
      assert.deepEqual(seen, SEEN)
      assert.match(stderr, /milo warn: ThriftInstrumentation in \S+ leaves thrift alone, because Milo traces it/)
      assert.deepEqual(
        spans.filter(({ kind }) => kind !== 'internal'),
        [],
      )
    })

    it('keeps Thrift from Milo where that comes later', async () => {
      const { spans, stderr } = await runApp(home, { milo: 'later' }, { env: { MILO_SCRIBE: '127.0.0.1:1' } })
      assert.match(stderr, /milo warn: Milo leaves thrift alone, because ThriftInstrumentation in \S+ traces it/)
      assert.equal(sorted(trees(spans)), sorted(all(PLAIN)))
    })

    it('is one, however many there are: a second one says that it is off', async () => {
      const flags = ['-r', 'milo/otel-instrumentation/register']
      const { spans, stderr } = await runApp(home, {}, { flags })
      assert.match(stderr, /^milo warn: a second ThriftInstrumentation is off, because the first one traces Thrift/)
      assert.equal(sorted(trees(spans)), sorted(all(PLAIN)))
    })

    it('says, once, that it came after thrift', async () => {
      const { stderr } = await runApp(home, {}, { flags: ['-r', 'thrift'] })
      assert.match(
        stderr,
        /^milo warn: thrift was loaded before ThriftInstrumentation and isn't traced: set OpenTelemetry up.*\n$/,
      )
    })
  })

  it('says, once, that it doesn’t hear a provider that an older @opentelemetry/api was given than its own', async () => {
    const other = await application(SDK)
    try {
      const scope = join(other, 'node_modules/milo/node_modules/@opentelemetry')
      mkdirSync(scope, { recursive: true })
      symlinkSync(join(ROOT, 'node_modules/@opentelemetry/api'), join(scope, 'api'))
      for (const late of [false, true]) {
        const { seen, stderr } = await runApp(other, { late, wires: [PLAIN] })
        assert.deepEqual(seen, SEEN)
        const said =
          /^milo warn: ThriftInstrumentation doesn't hear what .* @opentelemetry\/api 1\.9\.1, .*: install one.*\n$/
        assert.match(stderr, said)
      }
    } finally {
      rmSync(other, { recursive: true, force: true })
    }
  })

  it('is loaded by --import, and traces what an ES module imports', async () => {
    writeFileSync(
      join(home, 'instrumentation.mjs'),
      `import { ThriftInstrumentation } from 'milo/otel-instrumentation'
       import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
       import { registerInstrumentations } from '@opentelemetry/instrumentation'
       export const memory = new InMemorySpanExporter()
       const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(memory)] })
       registerInstrumentations({ tracerProvider, instrumentations: [new ThriftInstrumentation()] })`,
    )
    writeFileSync(
      join(home, 'service.mjs'),
      `import { memory } from './instrumentation.mjs'
       import { createServer, createConnection, createClient } from 'thrift'
       import { createRequire } from 'node:module'
       const Calculator = createRequire(import.meta.url)(process.env.GEN + '/es6/Calculator')
       const server = createServer(Calculator, { add: async (a, b) => a + b }).listen(0, '127.0.0.1', async () => {
         const sum = await createClient(Calculator, createConnection('127.0.0.1', server.address().port, {})).add(1, 2)
         setImmediate(() => {
           console.log(sum, memory.getFinishedSpans().map(({ name, kind }) => name + kind).join())
           process.exit()
         })
       })`,
    )
    const env = { GEN: join(__dirname, '../gen') }
    const run = await runNode(['--import', './instrumentation.mjs', 'service.mjs'], env, home)
    assert.deepEqual([run.stdout, run.stderr], ['3 Calculator/add1,Calculator/add2\n', ''])
  })

  for (const [which, packages, sdk] of [
    ['newest', NEWEST, '@opentelemetry/sdk-trace'],
    ['oldest', OLDEST, '@opentelemetry/sdk-trace-base'],
  ] as const) {
    it(`works with the ${which} SDK of OpenTelemetry’s that it takes`, async () => {
      const other = await application(packages)
      try {
        const node = which === 'newest' ? await nodeOfVersion('24') : process.execPath
        const { seen, spans } = await runApp(other, { sdk, wires: [PLAIN, WIRES[1]] }, { node })
        assert.deepEqual(seen, [...SEEN, ...SEEN])
        assert.equal(sorted(trees(spans)), sorted(all(PLAIN) + all(WIRES[1]!)))
      } finally {
        rmSync(other, { recursive: true, force: true })
      }
    })
  }
})
