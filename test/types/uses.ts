/**
 * Uses of the package, right and wrong ones, which TypeScript checks against what is packed: test/src/entries.test.ts compiles this
 * file as a CommonJS and as an ES module. It never runs.
 */
import milo, {
  annotate,
  baggage,
  count,
  current,
  type ExportCounts,
  type ExportTo,
  flush,
  ids,
  init,
  MiloError,
  type MiloErrorCode,
  type OperationSampling,
  type Options,
  record,
  type Sampler,
  type SamplingRates,
  type Span,
  type SpanOptions,
  type Stats,
  shutdown,
  span,
  stats,
  withBaggage,
  wrap,
} from 'milo'
import { type BundlerOptions, esbuildPlugin, rollupPlugin, WebpackPlugin } from 'milo/bundler'
import { createNamespace, destroyNamespace, getNamespace, type Namespace, reset } from 'milo/cls'
import { register, unregister } from 'milo/otel'
import { ThriftInstrumentation, type ThriftInstrumentationConfig, type ThriftRequest } from 'milo/otel-instrumentation'
import { currentSpan, endWith, Kind, type Patch, type Plugin, type PluginHandle, startSpan } from 'milo/plugin'
import { http } from 'milo/plugins/http'
import { pino } from 'milo/plugins/pino'
import { thrift } from 'milo/plugins/thrift'
import { assertTree, ended, start, stop, type TestSpan, type TreeOptions, tree } from 'milo/testing'
import 'milo/register'
import 'milo/register/doctor'
import 'milo/otel/register'
import 'milo/otel-instrumentation/register'

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
/** Its type argument must be `true`. */
declare function same<_T extends true>(): void
declare const error: unknown

// milo: init
const sampler: Sampler = { sample: (_operation, randomness) => (randomness >= 0.5 ? 0.5 : -1) }
const operations: Record<string, OperationSampling> = { 'GET /': { probability: 0.1 }, login: { tracesPerSecond: 5 } }
const exporter: ExportTo = { to: 'otlp:https://traces', headers: { authorization: 'x' }, tls: { ca: Buffer.from('') } }
const options: Options = {
  sampler,
  operations,
  export: ['scribe', exporter],
  plugins: [thrift, http, pino],
  onRequest: (s, args) => s.annotate('arguments', args.length),
  spool: { directory: '/var/spool/milo' },
}
init(options)
init()
// @ts-expect-error a sampler is a string or an object
init({ sampler: 1 })
// @ts-expect-error there is no such option
init({ samplr: 'always' })
// @ts-expect-error an operation has a probability or a target of its own, not both
init({ operations: { login: { probability: 1, tracesPerSecond: 5 } } })
// @ts-expect-error there is no such level
init({ logLevel: 'loud' })

// milo: spans
const started = span('x')
same<Same<typeof started, Span>>()
started.annotate('a', 1).annotate('b', true).record('c').count('d', 2).fail(error).end()
const spanOptions: SpanOptions = { force: true }
const text = span('x', spanOptions, s => s.traceId)
same<Same<typeof text, string>>()
const promise = span('x', async () => 1)
same<Same<typeof promise, Promise<number>>>()
const withDone = span(
  'x',
  (_s, done) => {
    setTimeout(done, 1)
    return 1
  },
  (problem: Error | null) => problem?.message,
)
same<Same<typeof withDone, number>>()
const wrapped = wrap(async (a: number, b?: string) => a + String(b), 'f')
same<Same<typeof wrapped, (a: number, b?: string) => Promise<string>>>()
// @ts-expect-error a span has a name
span(() => 1)
// @ts-expect-error the arguments of what is wrapped stay
wrapped('1')
// @ts-expect-error a function is wrapped, not its result
wrap(1)
annotate('a', 1n)
// @ts-expect-error objects have no string that could be searched
annotate('a', { b: 1 })
record('a')
count('a')
// @ts-expect-error counts are numbers
count('a', '1')
current().end()
// @ts-expect-error where nothing is current, or the trace isn't sampled, there are no ids
ids().traceId
same<Same<typeof milo.span, typeof span>>()
const bag: Record<string, string> = baggage()
const inside: number = withBaggage({ tenant: 'acme', user: undefined }, () => Object.keys(bag).length)
const figures: Stats = stats()
const scribe: ExportCounts | undefined = figures.exports.scribe
const rates: SamplingRates | undefined = figures.sampling
const stopped: Promise<unknown>[] = [flush(100), shutdown()]
if (error instanceof MiloError) {
  const code: MiloErrorCode = error.code
  // @ts-expect-error there is no such code
  const wrong = code === 'MILO_BAD'
  void wrong
}

// milo/cls
const namespace = createNamespace<{ user: string }>('session')
same<Same<typeof namespace, Namespace<{ user: string }>>>()
const answer: string = namespace.runAndReturn(() => namespace.set('user', 'anna'))
// @ts-expect-error the namespace's values have types
namespace.set('user', 1)
// @ts-expect-error the namespace has no such value
namespace.get('usr')
// @ts-expect-error there may be none of that name
getNamespace('session').get('user')
destroyNamespace('session')
reset()

// milo/testing
const spans: TestSpan[] = start({ plugins: [thrift] })
const shown: TreeOptions = { annotations: ['http.route'] }
assertTree(`GET / (server)`, shown)
const drawn: string = tree()
const all: Promise<TestSpan[]> = ended(2, 1000)
// @ts-expect-error the expected tree is a string
assertTree(['GET /'])
stop()

// milo/plugin
const patch: Patch = {
  module: 'redis',
  versions: '>=1',
  patch(exports, plugin: PluginHandle) {
    plugin.wrap(
      exports.Client.prototype,
      'send',
      original =>
        function (this: unknown, ...args) {
          const call = startSpan(Kind.CLIENT, 'send')
          return endWith(call, original.apply(this, args))
        },
    )
  },
}
const plugin: Plugin = { name: 'redis', patches: [patch] }
currentSpan()?.annotate('a', 'b')
// @ts-expect-error a plugin has patches
const unfinished: Plugin = { name: 'redis' }

// milo/bundler
const bundlerOptions: BundlerOptions = { plugins: [plugin] }
new WebpackPlugin(bundlerOptions)
// @ts-expect-error plugins are values, not names
rollupPlugin({ plugins: ['redis'] })

// milo/otel, milo/otel-instrumentation
const isRegistered: boolean = register()
unregister()
const config: ThriftInstrumentationConfig = {
  propagation: 'compat,legacy.internal:9090=calltrace',
  requestHook: (otelSpan, request: ThriftRequest) => {
    otelSpan.setAttribute('thrift.method', request.method)
    // @ts-expect-error it is a span of OpenTelemetry's
    otelSpan.annotate('a', 'b')
  },
}
new ThriftInstrumentation(config).setConfig({ enabled: false })
// @ts-expect-error there is no such option
new ThriftInstrumentation({ carrier: 'field' })

export const used = [
  withDone,
  inside,
  scribe,
  rates,
  stopped,
  answer,
  spans,
  drawn,
  all,
  unfinished,
  esbuildPlugin,
  isRegistered,
]
