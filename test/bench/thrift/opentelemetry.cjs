'use strict'
const { context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } = require('@opentelemetry/api')
const { AsyncLocalStorageContextManager } = require('@opentelemetry/context-async-hooks')
const { W3CTraceContextPropagator } = require('@opentelemetry/core')
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-proto')
const { resourceFromAttributes } = require('@opentelemetry/resources')
const {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BasicTracerProvider,
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
} = require('@opentelemetry/sdk-trace-base')

let flying = 0
let sent = 0
let lost = 0

/** Says what became of each batch; otherwise the exporter as it is. */
class CountedExporter extends OTLPTraceExporter {
  export(spans, done) {
    flying++
    super.export(spans, result => {
      flying--
      if (result.code === 0) sent += spans.length
      else lost += spans.length
      done(result)
    })
  }
}

const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ 'service.name': 'bench' }),
  sampler: new ParentBasedSampler({ root: sampler(Number(process.env.BENCH_PROBABILITY)) }),
  spanProcessors: [
    new BatchSpanProcessor(
      new CountedExporter({ url: `http://127.0.0.1:${process.env.BENCH_HTTP_PORT}/v1/traces` }),
      // By default 2048: it would drop most of what a busy process ends, and what is dropped costs nothing.
      { maxQueueSize: 100_000 },
    ),
  ],
})
trace.setGlobalTracerProvider(provider)
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
propagation.setGlobalPropagator(new W3CTraceContextPropagator())
const tracer = trace.getTracer('bench')

function sampler(probability) {
  if (probability === 0) return new AlwaysOffSampler()
  return probability === 1 ? new AlwaysOnSampler() : new TraceIdRatioBasedSampler(probability)
}

function failed(span, error) {
  span.setAttribute('error.type', error.name)
  span.setStatus({ code: SpanStatusCode.ERROR, message: error.message })
  span.end()
}

exports.service = require('./gen/CarryingEcho')

exports.calling = (client, port) => {
  const attributes = {
    'rpc.system': 'thrift',
    'rpc.service': 'Echo',
    'rpc.method': 'echo',
    'server.address': '127.0.0.1',
    'server.port': port,
  }
  return text => {
    const span = tracer.startSpan('Echo.echo', { kind: SpanKind.CLIENT, attributes })
    const headers = {}
    propagation.inject(trace.setSpan(context.active(), span), headers)
    return client.echo(text, headers).then(
      result => {
        span.end()
        return result
      },
      error => {
        failed(span, error)
        throw error
      },
    )
  }
}

const attributes = { 'rpc.system': 'thrift', 'rpc.service': 'Echo', 'rpc.method': 'echo' }
const handle = require('./untraced.cjs').handler.echo

exports.handler = {
  echo(text, headers) {
    const parent = propagation.extract(ROOT_CONTEXT, headers ?? {})
    const span = tracer.startSpan('Echo.echo', { kind: SpanKind.SERVER, attributes }, parent)
    return context.with(trace.setSpan(parent, span), () => {
      try {
        const result = handle(text)
        span.end()
        return result
      } catch (error) {
        failed(span, error)
        throw error
      }
    })
  },
}

exports.drain = async () => {
  await provider.forceFlush()
  while (flying > 0) await new Promise(resolve => setTimeout(resolve, 1))
}

exports.counts = () => ({ sent, lost })
