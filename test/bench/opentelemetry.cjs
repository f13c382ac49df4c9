'use strict'
const { context, propagation, trace } = require('@opentelemetry/api')
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

// OpenTelemetry's SDK as its users set it up, beneath whatever makes the spans.
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

function sampler(probability) {
  if (probability === 0) return new AlwaysOffSampler()
  return probability === 1 ? new AlwaysOnSampler() : new TraceIdRatioBasedSampler(probability)
}

exports.drain = async () => {
  await provider.forceFlush()
  while (flying > 0) await new Promise(resolve => setTimeout(resolve, 1))
}

exports.counts = () => ({ sent, lost })
