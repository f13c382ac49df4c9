'use strict'
const { AsyncLocalStorage } = require('node:async_hooks')
const { randomFillSync } = require('node:crypto')
const { connect } = require('node:net')

/*
 * The least that any tracer does for a span which it sends or records: a context, two looks at the clock, two ids, and as many bytes as
 * Milo's span has, most of which are there from the start. What is sent goes 500 spans at a time; what is recorded goes into a ring of
 * 16 MiB. No name or annotation is made, nothing bounded, nothing that the application throws is heard. What a tracer adds beyond this
 * is its own doing.
 */

/** What becomes of spans: `off` makes none, and leaves only the context. */
const WAY = process.env.BENCH_LEAST ?? 'sent'
const RECORD_BYTES = WAY === 'recorded' ? 84 : 240
const RECORDS = WAY === 'recorded' ? Math.floor((16 * 1024 * 1024) / RECORD_BYTES) : 500
/** Length of the frame, and the head of a call of `Log`, as the sink knows it. */
const HEAD = Buffer.from('00000000' + '80010001' + '00000003' + '4c6f67' + '00000000', 'hex')

const socket = WAY === 'sent' ? connect(Number(process.env.BENCH_SCRIBE_PORT), '127.0.0.1').unref().resume() : undefined
/** Halves of ids. */
const ids = new Int32Array(2048)
let nextId = ids.length

/** Buffers that have been sent. */
const spare = []
let batch = newBatch()
let used = HEAD.length
let sent = 0

function newBatch() {
  if (spare.length > 0) return spare.pop()
  const bytes = Buffer.alloc(HEAD.length + RECORDS * RECORD_BYTES, 'a')
  HEAD.copy(bytes)
  return { bytes, view: new DataView(bytes.buffer) }
}

const NOTHING = {}

exports.storage = new AsyncLocalStorage()

/** @param parent the ids of a caller, if it told them */
exports.begin = parent => {
  if (WAY === 'off') return NOTHING
  if (nextId === ids.length) {
    randomFillSync(ids)
    nextId = 0
  }
  const span = {
    start: performance.now(),
    traceHi: ids[nextId++],
    traceLo: ids[nextId++],
    hi: ids[nextId++],
    lo: ids[nextId++],
  }
  if (parent !== undefined) {
    span.traceHi = parent.traceHi
    span.traceLo = parent.traceLo
  }
  return span
}

exports.end = span => {
  if (WAY === 'off') return
  const { view } = batch
  view.setFloat64(used, span.start)
  view.setFloat64(used + 8, performance.now())
  view.setInt32(used + 16, span.traceHi)
  view.setInt32(used + 20, span.traceLo)
  view.setInt32(used + 24, span.hi)
  view.setInt32(used + 28, span.lo)
  used += RECORD_BYTES
  if (used === view.byteLength) flush()
}

function flush() {
  if (WAY === 'sent') send()
  else used = HEAD.length
}

function send() {
  if (used === HEAD.length) return
  sent += (used - HEAD.length) / RECORD_BYTES
  const full = batch
  full.view.setInt32(0, used - 4)
  socket.write(full.bytes.subarray(0, used), () => spare.push(full))
  batch = newBatch()
  used = HEAD.length
}

exports.isOn = WAY !== 'off'
exports.drain = async () => {
  if (WAY === 'sent') send()
}
exports.counts = () => ({ sent, lost: 0 })
