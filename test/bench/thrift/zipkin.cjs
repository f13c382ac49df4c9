'use strict'
const {
  Annotation,
  BatchRecorder,
  ExplicitContext,
  HttpHeaders,
  jsonEncoder,
  option: { None, Some },
  Request,
  sampler,
  TraceId,
  Tracer,
} = require('zipkin')
const { HttpLogger } = require('zipkin-transport-http')

let flying = 0
let sent = 0
let lost = 0

const logger = new HttpLogger({
  endpoint: `http://127.0.0.1:${process.env.BENCH_HTTP_PORT}/api/v2/spans`,
  jsonEncoder: jsonEncoder.JSON_V2,
  async fetchImplementation(url, options) {
    // The logger empties its queue when this function has returned its promise.
    const spans = logger.queue.length
    flying++
    try {
      const response = await fetch(url, options)
      await response.arrayBuffer()
      sent += spans
      return response
    } catch (error) {
      lost += spans
      throw error
    } finally {
      flying--
    }
  },
})

const tracer = new Tracer({
  // Its cheapest: what it sets is current until the handler returns, and no longer. The one that follows promises is
  // built on cls-hooked.
  ctxImpl: new ExplicitContext(),
  recorder: new BatchRecorder({ logger }),
  sampler: new sampler.CountingSampler(Number(process.env.BENCH_PROBABILITY)),
  localServiceName: 'bench',
})

exports.service = require('./gen/CarryingEcho')

exports.calling = (client, port) => {
  const address = new Annotation.ServerAddr({ serviceName: 'echo', port })
  return text =>
    tracer.scoped(() => {
      const id = tracer.createChildId()
      tracer.setId(id)
      record()
      tracer.recordAnnotation(new Annotation.ClientSend())
      tracer.recordAnnotation(address)
      const { headers } = Request.addZipkinHeaders({}, id)
      return client.echo(text, headers).then(
        result => {
          tracer.letId(id, () => tracer.recordAnnotation(new Annotation.ClientRecv()))
          return result
        },
        error => {
          tracer.letId(id, () => failed(error, new Annotation.ClientRecv()))
          throw error
        },
      )
    })
}

const handle = require('./untraced.cjs').handler.echo

exports.handler = {
  echo(text, headers) {
    return tracer.letId(tracer.join(idOf(headers)), () => {
      record()
      tracer.recordAnnotation(new Annotation.ServerRecv())
      try {
        const result = handle(text)
        tracer.recordAnnotation(new Annotation.ServerSend())
        return result
      } catch (error) {
        failed(error, new Annotation.ServerSend())
        throw error
      }
    })
  },
}

function record() {
  tracer.recordServiceName('bench')
  tracer.recordRpc('Echo.echo')
  tracer.recordBinary('rpc.system', 'thrift')
  tracer.recordBinary('rpc.service', 'Echo')
  tracer.recordBinary('rpc.method', 'echo')
}

function failed(error, end) {
  tracer.recordBinary('error', error.message)
  tracer.recordAnnotation(end)
}

function idOf(headers) {
  const header = name => (headers[name] === undefined ? None : new Some(headers[name]))
  return new TraceId({
    traceId: headers[HttpHeaders.TraceId],
    parentId: header(HttpHeaders.ParentSpanId),
    spanId: headers[HttpHeaders.SpanId],
    sampled: header(HttpHeaders.Sampled).map(value => value === '1'),
  })
}

exports.drain = async () => {
  logger.processQueue(logger.fetchImplementation)
  while (flying > 0) await new Promise(resolve => setTimeout(resolve, 1))
}

exports.counts = () => ({ sent, lost })
