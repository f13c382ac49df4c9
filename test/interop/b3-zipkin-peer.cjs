'use strict'
/**
 * A service under Zipkin's own library: node b3-zipkin-peer.cjs <folder of packages>. It prints its port, and for each request its trace
 * ids as zipkin reads them from the headers; and it asks the URL in the query, with the headers that zipkin writes.
 */
const http = require('node:http')
const { createRequire } = require('node:module')
const { join } = require('node:path')
const { ExplicitContext, Instrumentation, Tracer, option } = createRequire(join(process.argv[2], 'package.json'))(
  'zipkin',
)

const tracer = new Tracer({ ctxImpl: new ExplicitContext(), recorder: { record() {} }, localServiceName: 'zipkin' })
const ids = ({ traceId, spanId, parentSpanId, sampled }) => ({
  traceId,
  spanId,
  parentId: parentSpanId.getOrElse(null),
  sampled: sampled.getOrElse(null),
})

const server = http.createServer((req, res) => {
  const callee = new URL(req.url, 'http://x').searchParams.get('callee')
  tracer.scoped(() => {
    const incoming = new Instrumentation.HttpServer({ tracer, port: 1 })
    const served = incoming.recordRequest(req.method, req.url, name => {
      const value = req.headers[name.toLowerCase()]
      return value === undefined ? option.None : new option.Some(value)
    })
    tracer.letId(served, () => {
      const { headers } = new Instrumentation.HttpClient({ tracer }).recordRequest({ headers: {} }, callee, 'GET')
      http.get(callee, { headers }, answer => {
        answer.resume().on('end', () => res.end(JSON.stringify({ served: ids(served), sent: headers })))
      })
    })
  })
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
