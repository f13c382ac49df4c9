'use strict'
const { AsyncLocalStorage } = require('node:async_hooks')
const { randomFillSync } = require('node:crypto')
const { connect } = require('node:net')

/*
 * The least that any tracer does for a span which it sends or records: a context, two looks at the clock, two ids, and as many bytes as
 * Milo's span has. What is sent goes 500 spans at a time; what is recorded goes into a ring of 16 MiB. No name or annotation is made,
 * nothing bounded, nothing that the application throws is heard. What a tracer adds beyond this is its own doing.
 */

/** What becomes of spans: `off` makes none, and leaves only the context. */
const WAY = process.env.BENCH_LEAST ?? 'sent'
const RECORD = Buffer.alloc(WAY === 'recorded' ? 84 : 240, 'a')
const BATCH_RECORDS = 500
const RING_RECORDS = Math.floor((16 * 1024 * 1024) / RECORD.length)
/** Length of the frame, and the head of a call of `Log`, as the sink knows it. */
const HEAD = Buffer.from('00000000' + '80010001' + '00000003' + '4c6f67' + '00000000', 'hex')

const socket = WAY === 'sent' ? connect(Number(process.env.BENCH_SCRIBE_PORT), '127.0.0.1').unref().resume() : undefined
const ids = new BigInt64Array(1024)
let nextId = ids.length

/** Buffers that have been sent. */
const spare = []
let batch = newBatch()
let used = HEAD.length
let sent = 0

function newBatch() {
  if (spare.length > 0) return spare.pop()
  const bytes = Buffer.allocUnsafeSlow(HEAD.length + (WAY === 'sent' ? BATCH_RECORDS : RING_RECORDS) * RECORD.length)
  HEAD.copy(bytes)
  return bytes
}

function id() {
  if (nextId === ids.length) {
    randomFillSync(ids)
    nextId = 0
  }
  return ids[nextId++]
}

exports.storage = new AsyncLocalStorage()

/** @param parent the ids of a caller, if it told them */
exports.begin = parent => {
  if (WAY === 'off') return {}
  return { start: performance.now(), traceId: parent === undefined ? id() : parent.traceId, id: id() }
}

exports.end = span => {
  if (WAY === 'off') return
  RECORD.copy(batch, used)
  batch.writeDoubleBE(span.start, used)
  batch.writeDoubleBE(performance.now(), used + 8)
  batch.writeBigInt64BE(span.traceId, used + 16)
  batch.writeBigInt64BE(span.id, used + 24)
  used += RECORD.length
  if (used === batch.length) flush()
}

function flush() {
  if (WAY === 'sent') send()
  else used = HEAD.length
}

function send() {
  if (used === HEAD.length) return
  sent += (used - HEAD.length) / RECORD.length
  const full = batch
  full.writeInt32BE(used - 4, 0)
  socket.write(full.subarray(0, used), () => spare.push(full))
  batch = newBatch()
  used = HEAD.length
}

exports.isOn = WAY !== 'off'
exports.drain = async () => {
  if (WAY === 'sent') send()
}
exports.counts = () => ({ sent, lost: 0 })
