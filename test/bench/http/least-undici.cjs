'use strict'
const { subscribe } = require('node:diagnostics_channel')
const { begin, counts, drain, end, storage } = require('../least.cjs')

// The least for a request that undici makes: one header goes with it, and it is over with its answer's last byte.
const SPAN = Symbol('span')
const HEX = Array.from({ length: 65_536 }, (_, i) => i.toString(16).padStart(4, '0'))

subscribe('undici:request:create', ({ request }) => {
  const span = begin(storage.getStore())
  request[SPAN] = span
  request.addHeader(
    'traceparent',
    `00-0000000000000000${hex(span.traceHi)}${hex(span.traceLo)}-${hex(span.hi)}${hex(span.lo)}-01`,
  )
})
subscribe('undici:request:trailers', ({ request }) => end(request[SPAN]))

function hex(half) {
  return HEX[half >>> 16] + HEX[half & 0xffff]
}

module.exports = { counts, drain }
