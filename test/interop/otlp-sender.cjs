'use strict'
// A service under OpenTelemetry's SDK: node otlp-sender.cjs <folder of packages> <proto|http> <url>
const { createRequire } = require('node:module')
const { join } = require('node:path')
const [folder, encoding, url] = process.argv.slice(2)
const load = createRequire(join(folder, 'package.json'))
const { SpanKind, SpanStatusCode, trace, context, TraceFlags } = load('@opentelemetry/api')
const { BasicTracerProvider, BatchSpanProcessor } = load('@opentelemetry/sdk-trace-base')
const { resourceFromAttributes } = load('@opentelemetry/resources')
const { OTLPTraceExporter } = load(`@opentelemetry/exporter-trace-otlp-${encoding}`)

async function main() {
  const exporter = new OTLPTraceExporter({ url: `${url}/v1/traces`, compression: 'gzip' })
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ 'service.name': 'otel-js', 'host.name': 'web1', pid: 7 }),
    spanProcessors: [new BatchSpanProcessor(exporter)],
  })
  const tracer = provider.getTracer('sender', '1.2.3')
  // A call that came from a service under Milo.
  const caller = {
    traceId: '5b8efff798038103d269b633813fc60c',
    spanId: '000000000000abcd',
    traceFlags: TraceFlags.SAMPLED,
  }
  const incoming = trace.setSpanContext(context.active(), { ...caller, isRemote: true })
  const server = tracer.startSpan(
    'GET /orders',
    { kind: SpanKind.SERVER, attributes: { 'url.path': '/orders' } },
    incoming,
  )
  const client = tracer.startSpan(
    'SELECT',
    {
      kind: SpanKind.CLIENT,
      attributes: { 'server.address': 'db', rows: 3, ratio: 0.5, hit: false, ids: ['a', 'b'] },
      links: [{ context: caller }],
    },
    trace.setSpan(context.active(), server),
  )
  client.addEvent('retry', { attempt: 2 })
  const error = new TypeError('boom')
  error.stack = 'TypeError: boom\n    at order (shop.js:1:7)'
  client.recordException(error)
  client.setStatus({ code: SpanStatusCode.ERROR, message: 'boom' })
  client.end()
  server.end()
  await provider.forceFlush()
  await provider.shutdown()
}

main()
