'use strict'

// One codec in a process of its own, on one span of about 300 bytes.
const WAYS = {
  milo() {
    const { Kind, LiveSpan, readRecord, SpanScan, scanSpanStruct, Trace, Writer, writeSpan } = require(
      process.env.BENCH_CODEC,
    )
    const span = new LiveSpan(
      { add() {}, truncated() {} },
      new Trace(0x11223344, 5, 0, 0, true, false, 1, 0),
      3,
      4,
      5,
      6,
      Kind.CLIENT,
      'Orders.place',
      1.7e15,
    )
    for (const [key, value] of [
      ['rpc.system', 'thrift'],
      ['rpc.method', 'place'],
      ['rpc.service', 'Orders'],
      ['server.address', '10.20.30.40'],
      ['server.port', '9090'],
      ['thrift.result', 'ok'],
    ])
      span.annotate(key, value)
    span.endUs = 1.7e15 + 1500
    const w = new Writer(1 << 20)
    writeSpan(w, span, 'front', 'web-1')
    const bytes = w.take()
    const found = new SpanScan()
    return {
      sample: bytes.toString('base64'),
      encode() {
        if (w.pos > 500_000) w.pos = 0
        writeSpan(w, span, 'front', 'web-1')
      },
      decode: () => readRecord(bytes, 0),
      scan() {
        if (scanSpanStruct(bytes, 8, bytes.length, found) !== bytes.length) throw new Error('the span is refused')
      },
    }
  },
  thrift() {
    const thrift = require('thrift')
    const types = require('../../gen/idl/milo_types.js')
    const struct = Buffer.from(process.argv[3], 'base64').subarray(8)
    const read = () => {
      const span = new types.Span()
      span.read(new thrift.TBinaryProtocol(new thrift.TFramedTransport(struct)))
      return span
    }
    const span = read()
    const transport = new thrift.TBufferedTransport(undefined, () => {})
    return {
      encode() {
        span.write(new thrift.TBinaryProtocol(transport))
        transport.flush()
      },
      decode: read,
    }
  },
  otlp() {
    const { ProtobufTraceSerializer } = require('@opentelemetry/otlp-transformer')
    const sdk = require('@opentelemetry/sdk-trace-base')
    const { resourceFromAttributes } = require('@opentelemetry/resources')
    const spans = []
    const tracer = new sdk.BasicTracerProvider({
      resource: resourceFromAttributes({ 'service.name': 'front' }),
      spanProcessors: [
        { onStart() {}, onEnd: s => spans.push(s), forceFlush: async () => {}, shutdown: async () => {} },
      ],
    }).getTracer('bench')
    for (let i = 0; i < 100; i++)
      tracer
        .startSpan('Orders.place', {
          attributes: {
            'rpc.system': 'thrift',
            'rpc.method': 'place',
            'rpc.service': 'Orders',
            'server.address': '10.20.30.40',
            'server.port': 9090,
            'thrift.result': 'ok',
          },
        })
        .end()
    return { per: 100, encode: () => ProtobufTraceSerializer.serializeRequest(spans) }
  },
}

const way = WAYS[process.argv[2]]()

process.on('message', ({ what, count }) => {
  const act = way[what]
  if (act === undefined) return process.send({})
  const from = process.cpuUsage()
  for (let i = 0; i < count; i += way.per ?? 1) act()
  const { user, system } = process.cpuUsage(from)
  process.send({ perSecond: count / ((user + system) / 1e6) })
})
process.on('disconnect', () => process.exit())
process.send({ sample: way.sample })
