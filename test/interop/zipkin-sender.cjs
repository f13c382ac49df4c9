'use strict'
/**
 * Two services under Zipkin's own library: node zipkin-sender.cjs <folder of packages> <how> <port>
 *
 * How: `v1` or `v2` (JSON by HTTP), or `scribe`. `front` is called, asks its database, and calls `shop`, which joins the
 * call's span, as is Zipkin's way.
 */
const { createRequire } = require('node:module')
const { join } = require('node:path')
const [folder, how, port] = process.argv.slice(2)
const load = createRequire(join(folder, 'package.json'))
const { Annotation, BatchRecorder, ExplicitContext, InetAddress, Tracer, TraceId, jsonEncoder, option } = load('zipkin')

function logger() {
  if (how === 'scribe') {
    const { ScribeLogger } = load('zipkin-transport-scribe')
    return new ScribeLogger({ scribeHost: '127.0.0.1', scribePort: Number(port), scribeInterval: 10 })
  }
  const { HttpLogger } = load('zipkin-transport-http')
  return new HttpLogger({
    endpoint: `http://127.0.0.1:${port}/api/${how}/spans`,
    jsonEncoder: how === 'v1' ? jsonEncoder.JSON_V1 : jsonEncoder.JSON_V2,
    httpInterval: 10,
  })
}

const ctxImpl = new ExplicitContext()
// Each with a recorder of its own, as in a process of its own: one recorder takes both sides of a call for one.
const [front, shop] = ['front', 'shop'].map(localServiceName => {
  const recorder = new BatchRecorder({ logger: logger() })
  return new Tracer({ ctxImpl, recorder, localServiceName, traceId128Bit: true })
})
const incoming = new TraceId({
  traceId: '463ac35c9f6413ad48485a3953bb6124',
  spanId: '48485a3953bb6124',
  sampled: new option.Some(true),
})

function within(tracer, id, name, address, [begin, end], work) {
  tracer.letId(id, () => {
    tracer.recordServiceName(tracer.localEndpoint.serviceName)
    tracer.recordRpc(name)
    tracer.recordAnnotation(new Annotation.LocalAddr({ host: new InetAddress(address), port: 8080 }))
    tracer.recordAnnotation(new Annotation[begin]())
    work()
    tracer.recordAnnotation(new Annotation[end]())
  })
}

const CLIENT = ['ClientSend', 'ClientRecv']
const SERVER = ['ServerRecv', 'ServerSend']
within(front, incoming, 'get', '10.0.0.1', SERVER, () => {
  within(front, front.createChildId(), 'select', '10.0.0.1', CLIENT, () => {
    const host = new InetAddress('10.0.0.7')
    front.recordAnnotation(new Annotation.ServerAddr({ serviceName: 'db', host, port: 43306 }))
    front.recordMessage('retried')
    front.recordBinary('sql.query', 'SELECT 1')
  })
  const call = front.createChildId()
  within(front, call, 'order', '10.0.0.1', CLIENT, () => {
    within(shop, shop.join(call), 'order', '10.0.0.2', SERVER, () => shop.recordBinary('error', 'sold out'))
  })
})
// Until it is told to go: not every transport says when it has sent.
setInterval(() => {}, 1000)
