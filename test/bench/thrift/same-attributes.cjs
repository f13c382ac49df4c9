'use strict'
const { byHand } = require('./opentelemetry.cjs')

// All that ThriftInstrumentation sets. What an application's code isn't told is a constant here.
module.exports = byHand({ 'network.peer.address': '127.0.0.1', 'network.peer.port': 40_000 }, span => {
  if (!span.isRecording()) return
  span.setAttribute('thrift.result', 'ok')
  span.setAttribute('thrift.request_bytes', 150)
  span.setAttribute('thrift.reply_bytes', 70)
})
