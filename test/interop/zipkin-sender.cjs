'use strict'
// A service under Zipkin's own library: node zipkin-sender.cjs <folder of packages> <url>
const { createRequire } = require('node:module')
const { join } = require('node:path')
const [folder, url] = process.argv.slice(2)
const load = createRequire(join(folder, 'package.json'))
const { Annotation, BatchRecorder, ExplicitContext, InetAddress, Tracer, jsonEncoder } = load('zipkin')
const { HttpLogger } = load('zipkin-transport-http')

const logger = new HttpLogger({ endpoint: `${url}/api/v2/spans`, jsonEncoder: jsonEncoder.JSON_V2, httpInterval: 10 })
const tracer = new Tracer({
  ctxImpl: new ExplicitContext(),
  recorder: new BatchRecorder({ logger }),
  localServiceName: 'zipkin-js',
  traceId128Bit: true,
})
tracer.scoped(() => {
  const root = tracer.createRootId()
  tracer.letId(root, () => {
    tracer.recordServiceName('front')
    tracer.recordRpc('get')
    tracer.recordAnnotation(new Annotation.ServerRecv())
    const child = tracer.createChildId()
    tracer.letId(child, () => {
      tracer.recordServiceName('front')
      tracer.recordRpc('select')
      tracer.recordAnnotation(new Annotation.ClientSend())
      tracer.recordAnnotation(
        new Annotation.ServerAddr({ serviceName: 'db', host: new InetAddress('10.0.0.7'), port: 3306 }),
      )
      tracer.recordMessage('retried')
      tracer.recordBinary('sql.query', 'SELECT 1')
      tracer.recordAnnotation(new Annotation.ClientRecv())
    })
    tracer.recordAnnotation(new Annotation.ServerSend())
  })
})
// Its timer doesn't keep the process alive.
setInterval(() => {}, 1000)
logger.on('success', () => process.exit(0))
logger.on('error', error => {
  console.error(error)
  process.exit(1)
})
