'use strict'
const { context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } = require('@opentelemetry/api')
const { counts, drain } = require('../opentelemetry.cjs')

const tracer = trace.getTracer('bench')

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

exports.drain = drain
exports.counts = counts
