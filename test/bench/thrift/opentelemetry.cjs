'use strict'
const { context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } = require('@opentelemetry/api')
const { counts, drain } = require('../opentelemetry.cjs')

const tracer = trace.getTracer('bench')

function failed(span, error) {
  span.setAttribute('error.type', error.name)
  span.setStatus({ code: SpanStatusCode.ERROR, message: error.message })
  span.end()
}

/** @param peer what else a server's span begins with. @param succeeded sets what else is known at a span's end */
exports.byHand = (peer, succeeded) => ({
  service: require('./gen/CarryingEcho'),

  calling(client, port) {
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
          succeeded(span)
          span.end()
          return result
        },
        error => {
          failed(span, error)
          throw error
        },
      )
    }
  },

  handler: handlerOf({ 'rpc.system': 'thrift', 'rpc.service': 'Echo', 'rpc.method': 'echo', ...peer }, succeeded),
  drain,
  counts,
})

function handlerOf(attributes, succeeded) {
  const handle = require('./untraced.cjs').handler.echo
  return {
    echo(text, headers) {
      const parent = propagation.extract(ROOT_CONTEXT, headers ?? {})
      const span = tracer.startSpan('Echo.echo', { kind: SpanKind.SERVER, attributes }, parent)
      return context.with(trace.setSpan(parent, span), () => {
        try {
          const result = handle(text)
          succeeded(span)
          span.end()
          return result
        } catch (error) {
          failed(span, error)
          throw error
        }
      })
    },
  }
}

Object.assign(
  exports,
  exports.byHand({}, () => {}),
)
