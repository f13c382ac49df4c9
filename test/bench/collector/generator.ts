import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { MessageType, T, Writer, writeMessageBegin } from '../../../src/codec/binary'
import { ResultCode, readLogReply } from '../../../src/codec/scribe'
import { EventType, encodeRecord, type SpanRecord, writeRecord, writeSpanStruct } from '../../../src/codec/span'

/**
 * Senders: connections with one call of Log each on the way, a frame of 100 spans. What a frame holds follows from its
 * number alone, so that it can be told afterwards what must be there.
 */

export const FRAME_SPANS = 100
const SPANS_PER_TRACE = 4
const FRAME_TRACES = FRAME_SPANS / SPANS_PER_TRACE

export interface LoadResult {
  /** Frames answered OK, by number. */
  acknowledged: number[]
  tryLater: number
  seconds: number
  /** Of an answer, in ms. */
  p50: number
  p99: number
}

export type Dialect = 'milo' | 'zipkin'

export interface Load {
  port: number
  dialect: Dialect
  connections: number
  /** Ends after so many frames are acknowledged, or so many seconds. */
  frames: number
  seconds: number
  /** Of the first frame. */
  first: number
}

export async function send(load: Load): Promise<LoadResult> {
  const acknowledged: number[] = []
  const latencies: number[] = []
  let tryLater = 0
  let next = load.first
  const from = performance.now()
  const end = from + load.seconds * 1000
  const lane = async () => {
    const socket = connect(load.port, '127.0.0.1').setNoDelay(true)
    await once(socket, 'connect')
    const writer = new Writer(64 * 1024)
    while (next < load.first + load.frames && performance.now() < end) {
      const number = next++
      for (;;) {
        const sent = performance.now()
        const code = await call(socket, frameOf(writer, number, load.dialect))
        latencies.push(performance.now() - sent)
        if (code === ResultCode.OK) {
          acknowledged.push(number)
          break
        }
        if (code !== ResultCode.TRY_LATER) throw new Error(`an exception in place of an answer to frame ${number}`)
        tryLater++
        if (performance.now() > end) break
        await new Promise(resolve => setTimeout(resolve, 20))
      }
    }
    socket.destroy()
  }
  await Promise.all(Array.from({ length: load.connections }, lane))
  latencies.sort((a, b) => a - b)
  const quantile = (q: number) => latencies[Math.floor(q * (latencies.length - 1))]!
  return { acknowledged, tryLater, seconds: (performance.now() - from) / 1000, p50: quantile(0.5), p99: quantile(0.99) }
}

async function call(socket: Socket, frame: Buffer): Promise<number | undefined> {
  socket.write(frame)
  let received: Buffer = Buffer.alloc(0)
  while (received.length < 4 || received.length < 4 + received.readInt32BE(0)) {
    const [data] = (await once(socket, 'data')) as [Buffer]
    received = Buffer.concat([received, data])
  }
  return readLogReply(received.subarray(4)).code
}

/** What differs between frames of one template, and where it stands. */
interface Template {
  bytes: Buffer
  ids: { at: number; trace: number; within: bigint }[]
  times: { at: number; i: number; plus: bigint }[]
  values: { at: number; i: number }[]
}

const templates = new Map<number, Template>()

/** Making spans costs more than collecting them: so most of a frame is made once for many. */
export function frameOf(w: Writer, number: number, dialect: Dialect): Buffer {
  if (dialect === 'zipkin') return encodeFrame(w, number, dialect)
  const kind = number % KINDS
  const template = templates.get(kind) ?? makeTemplate(w, kind)
  templates.set(kind, template)
  const { bytes, ids, times, values } = template
  for (const { at, trace, within } of ids) bytes.writeBigInt64BE(traceIdOf(number, trace) ^ within, at)
  for (const { at, i, plus } of times) bytes.writeBigInt64BE(startOf(number, i) + plus, at)
  for (const { at, i } of values) bytes.write(uniqueValue(number, i)!, at, 'latin1')
  return bytes
}

function makeTemplate(w: Writer, kind: number): Template {
  const bytes = Buffer.from(encodeFrame(w, kind, 'milo'))
  const template: Template = { bytes, ids: [], times: [], values: [] }
  let from = 0
  for (let i = 0; i < FRAME_SPANS; i++) {
    const span = spanOf(kind, i)
    const record = encodeRecord(span)
    const start = bytes.indexOf(record, from)
    from = start + record.length
    const find = (what: bigint | string, after: number) => {
      const needle = typeof what === 'string' ? Buffer.from(what) : Buffer.alloc(8)
      if (typeof what === 'bigint') needle.writeBigInt64BE(what)
      return bytes.indexOf(needle, after)
    }
    const trace = Math.floor(i / SPANS_PER_TRACE)
    const traceAt = find(span.traceId, start)
    const idAt = find(span.id, traceAt + 8)
    template.ids.push({ at: traceAt, trace, within: 0n }, { at: idAt, trace, within: BigInt(i % SPANS_PER_TRACE) })
    if (span.parentId !== 0n) template.ids.push({ at: find(span.traceId, idAt + 8), trace, within: 0n })
    let at = idAt + 8
    for (const { timestamp } of span.events!) {
      at = find(timestamp!, at)
      template.times.push({ at, i, plus: timestamp! - startOf(kind, i) })
      at += 8
    }
    const value = uniqueValue(kind, i)
    if (value !== undefined) template.values.push({ at: find(value, at), i })
  }
  return template
}

function encodeFrame(w: Writer, number: number, dialect: Dialect): Buffer {
  w.pos = 0
  w.i32(0)
  writeMessageBegin(w, { strict: true, type: MessageType.CALL, name: 'Log', seqid: number })
  w.field(T.LIST, 1)
  w.byte(T.STRUCT)
  if (dialect === 'milo') {
    w.i32(1)
    w.field(T.STRING, 1)
    w.string('Milo-Trace')
    w.field(T.STRING, 2)
    const length = w.pos
    w.i32(0)
    for (let i = 0; i < FRAME_SPANS; i++) writeRecord(w, writer => writeSpanStruct(writer, spanOf(number, i)))
    w.buf.writeInt32BE(w.pos - length - 4, length)
    w.byte(T.STOP)
  } else {
    w.i32(FRAME_SPANS)
    for (let i = 0; i < FRAME_SPANS; i++) {
      w.field(T.STRING, 1)
      w.string('zipkin')
      w.field(T.STRING, 2)
      w.string(zipkinSpan(spanOf(number, i)).toString('base64'))
      w.byte(T.STOP)
    }
  }
  w.byte(T.STOP)
  w.buf.writeInt32BE(w.pos - 4, 0)
  return w.buf.subarray(0, w.pos)
}

/** Of the frame's, in the order of its spans. */
export function traceIds(frame: number): bigint[] {
  return Array.from({ length: FRAME_TRACES }, (_, i) => traceIdOf(frame, i))
}

/** Spread over all 64 bits, as real ids are, and never 0. */
function traceIdOf(frame: number, trace: number): bigint {
  return BigInt.asIntN(64, BigInt(frame * FRAME_TRACES + trace + 1) * 0x9e3779b97f4a7c15n)
}

function startOf(frame: number, i: number): bigint {
  return START_US + BigInt((frame * FRAME_SPANS + i) * 10 + (i % SPANS_PER_TRACE) * 100)
}

/** Frames that differ in more than ids, times and values of their own. */
const KINDS = 20
const START_US = BigInt(Date.now()) * 1000n
const NAMES = Array.from({ length: 50 }, (_, i) => `Shop${i % 10}.operation${i}`)

/** The value of the annotation that only this span has, when it has it. */
export function uniqueValue(frame: number, i: number): string | undefined {
  return i % 2 === 0 ? `r-${(frame * FRAME_SPANS + i).toString(16).padStart(12, '0')}` : undefined
}

/** About 300 bytes and 1.9 annotations, of which every fourth has a value of its own. */
export function spanOf(frame: number, i: number): SpanRecord & { traceId: bigint; id: bigint } {
  const trace = Math.floor(i / SPANS_PER_TRACE)
  const traceId = traceIdOf(frame, trace)
  const within = i % SPANS_PER_TRACE
  const n = (frame % KINDS) * FRAME_SPANS + i
  const startUs = startOf(frame, i)
  const annotations = new Map([['http.path', `/path/${n % 200}/of/some/length`]])
  const unique = uniqueValue(frame, i)
  if (unique !== undefined) annotations.set('request.id', unique)
  if (n % 5 < 2) annotations.set('user', `user-${(n * 7919) % 50_000}`)
  return {
    traceId,
    id: traceId ^ BigInt(within),
    parentId: within === 0 ? 0n : traceId,
    name: NAMES[n % 50]!,
    service: `service-${n % 10}`,
    clientHost: '10.1.2.3',
    serverHost: 'shop-7.example.net',
    events: [
      { timestamp: startUs, eventType: EventType.SERVER_RECV },
      { timestamp: startUs + BigInt(500 + (n % 997) * 100), eventType: EventType.SERVER_SEND },
    ],
    annotations,
    counters: new Map([['bytes', BigInt(n % 10_000)]]),
    probability: 0.1,
  }
}

/** The same in Zipkin's own Thrift form (v1), which is what its Scribe collector takes. */
function zipkinSpan(span: ReturnType<typeof spanOf>): Buffer {
  const w = new Writer(512)
  const i64 = (id: number, value: bigint) => {
    w.field(T.I64, id)
    w.i64(Number(BigInt.asIntN(32, value >> 32n)), Number(BigInt.asIntN(32, value)))
  }
  const endpoint = (id: number) => {
    w.field(T.STRUCT, id)
    w.field(T.I32, 1)
    w.i32(0x0a010203)
    w.field(T.STRING, 3)
    w.string(span.service!)
    w.byte(T.STOP)
  }
  const [first, last] = span.events!.map(({ timestamp }) => timestamp!) as [bigint, bigint]
  i64(1, span.traceId)
  w.field(T.STRING, 3)
  w.string(span.name!)
  i64(4, span.id)
  if (span.parentId !== 0n) i64(5, span.parentId!)
  w.field(T.LIST, 6)
  w.byte(T.STRUCT)
  w.i32(2)
  for (const [timestamp, value] of [
    [first, 'sr'],
    [last, 'ss'],
  ] as const) {
    i64(1, timestamp)
    w.field(T.STRING, 2)
    w.string(value)
    endpoint(3)
    w.byte(T.STOP)
  }
  w.field(T.LIST, 8)
  w.byte(T.STRUCT)
  w.i32(span.annotations!.size)
  for (const [key, value] of span.annotations!) {
    w.field(T.STRING, 1)
    w.string(key)
    w.field(T.STRING, 2)
    w.string(value)
    w.field(T.I32, 3)
    w.i32(6)
    endpoint(4)
    w.byte(T.STOP)
  }
  i64(10, first)
  i64(11, last - first)
  w.byte(T.STOP)
  return w.take()
}
