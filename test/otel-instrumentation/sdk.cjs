'use strict'
// OpenTelemetry as an application sets it up, whichever version of its SDK is installed beside this file.
const args = JSON.parse(process.env.ARGS ?? '{}')
const { context, propagation, trace, ...api } = require('@opentelemetry/api')
// Its name until version 3, and since.
const base = require(args.sdk ?? '@opentelemetry/sdk-trace-base')
const { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } = require('@opentelemetry/core')
const { AsyncLocalStorageContextManager } = require('@opentelemetry/context-async-hooks')
const { registerInstrumentations } = require('@opentelemetry/instrumentation')
const { ThriftInstrumentation } = require('milo/otel-instrumentation')

const memory = new base.InMemorySpanExporter()
const isVersion3 = base.BasicTracerProvider === undefined
const spanProcessors = [new base.SimpleSpanProcessor(isVersion3 ? { exporter: memory } : memory)]
/** Spans in the order in which they began: their times are too coarse for it. */
const begun = []
spanProcessors.push({
  onStart: span => void begun.push(span),
  onEnd() {},
  forceFlush: async () => {},
  shutdown: async () => {},
})
for (const backend of args.otlp ?? []) {
  const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-proto')
  spanProcessors.push(new base.BatchSpanProcessor(new OTLPTraceExporter({ url: `${backend}/v1/traces` })))
}
/** What ARGS names throws at its first call of Thrift. */
let { fails } = args
const mayFail = (what, name = '/') => {
  if (what !== fails || !name.includes('/')) return
  fails = undefined
  throw new Error(`of the ${what}`)
}
spanProcessors.push({ ...spanProcessors[1], onStart: ({ name }) => mayFail('processor', name) })
const samplers = { always: base.AlwaysOnSampler, never: base.AlwaysOffSampler }
const sampler = args.sampler && new base.ParentBasedSampler({ root: new samplers[args.sampler]() })
const failing = {
  shouldSample(_context, _traceId, name) {
    mayFail('sampler', name)
    return { decision: 2 }
  },
}
const w3c = new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] })
/** Composite ones catch what the others throw. */
const careless = {
  inject(given, carrier, setter) {
    mayFail('inject')
    setter.set(carrier, 'shard', 7)
    setter.set(carrier, 'nothing', undefined)
    w3c.inject(given, carrier, setter)
  },
  extract(given, carrier, getter) {
    mayFail('extract')
    return w3c.extract(given, carrier, getter)
  },
  fields: () => ['shard', ...w3c.fields()],
}

const { requestHook, ...config } = args.config ?? {}
if (fails === 'hook') config.requestHook = () => mayFail('hook')
if (fails === 'asyncHook') config.requestHook = async () => mayFail('asyncHook')
if (requestHook)
  config.requestHook = (span, { side, service, method, args }) =>
    span.setAttribute('asked', [side, service, method, JSON.stringify(args)].join(' '))

// Before the SDK, as far as a test doesn't want it otherwise.
const instrumentation = new ThriftInstrumentation(config)
const provider = new (isVersion3 ? base.TracerProvider : base.BasicTracerProvider)({
  spanProcessors,
  sampler: fails === 'sampler' ? failing : sampler,
})
for (const processor of provider.addSpanProcessor === undefined ? [] : spanProcessors)
  provider.addSpanProcessor(processor)

exports.instrumentation = instrumentation
exports.start = () => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  propagation.setGlobalPropagator(['inject', 'extract'].includes(args.fails) ? careless : w3c)
  if (args.late) trace.setGlobalTracerProvider(provider)
  else registerInstrumentations({ instrumentations: [instrumentation], tracerProvider: provider })
  if (!args.late) trace.setGlobalTracerProvider(provider)
}
if (!args.late) exports.start()

const plain = span => ({
  name: span.name,
  kind: ['internal', 'server', 'client'][span.kind],
  ...span.spanContext(),
  parentId: span.parentSpanContext?.spanId ?? span.parentSpanId,
  attributes: span.attributes,
  status: span.status,
  events: span.events.map(({ name, attributes }) => ({ name, attributes })),
})

/** The spans that have ended. */
exports.spans = () => begun.filter(span => span.ended).map(plain)

/** The same, once they have been sent. */
exports.finish = async () => {
  await provider.forceFlush()
  return memory.getFinishedSpans().map(plain)
}
exports.api = { context, propagation, trace, ...api }
