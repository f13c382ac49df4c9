'use strict'
const { subscribe } = require('node:diagnostics_channel')
const { begin, counts, drain, end, storage } = require('../least.cjs')

// The least for a request that undici makes: one header goes with it, and it is over with its answer's last byte.
const SPAN = Symbol('span')

subscribe('undici:request:create', ({ request }) => {
  const span = begin(storage.getStore())
  request[SPAN] = span
  request.addHeader('traceparent', `00-0000000000000000${hex(span.traceId)}-${hex(span.id)}-01`)
})
subscribe('undici:request:trailers', ({ request }) => end(request[SPAN]))

function hex(id) {
  return BigInt.asUintN(64, id).toString(16).padStart(16, '0')
}

module.exports = { counts, drain }
