import type { IncomingMessage } from 'node:http'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'
import zlib from 'node:zlib'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Type } from 'protobufjs'
import { Writer } from '../../../src/codec/binary'
import { RECORD_HEADER, writeRecord, writeSpanStruct } from '../../../src/codec/span'
import type { RejectedSpans, UploadAnswer } from '../api/answers'
import { EXPECTED, readAny, readDocuments } from '../formats/detect'
import {
  BadInput,
  type Converted,
  hexOf,
  type LeftOut,
  MAX_SPAN_BYTES,
  MAX_SPAN_PARTS,
  Reading,
  type Spans,
  Unusable,
} from '../formats/fields'
import { parseDocuments } from '../formats/json'
import { readOtlpJson, readOtlpProtobuf } from '../formats/otlp/read'
import { OTLP_TYPES } from '../formats/otlp/schema'
import { readZipkinJson, readZipkinProtobuf, readZipkinV1Thrift } from '../formats/zipkin/read'
import { type Logger, limitWarnings } from '../log'
import { ByteBudget } from './byte-budget'

/**
 * Spans over HTTP: `POST /v1/traces` (OTLP), `POST /api/v2/spans` and `POST /api/v1/spans` (Zipkin) and `POST /api/traces`
 * (a file that somebody uploads, in any form that detect.ts knows).
 *
 *     body, within the budget ─ decompressed, bounded ─ spans, one by one ─ records, 1 MiB at a time ─ store
 *
 * Answered as good only when all of it is stored. When the store says no on the way, the sender is told to try later: it
 * sends everything again, and what was stored already is stored once.
 */

export type Source = 'otlp' | 'zipkin' | 'upload'

export interface FormatsOptions {
  /**
   * Makes records durable.
   * @param records as in a Scribe message: each with its delimiter and length
   * @param spans how many there are
   */
  store(records: Buffer, spans: number, source: Source): Promise<'ok' | 'try later'>
  /** Is told of spans that were left out. */
  rejected(source: Source, reason: string, spans: number): void
  /** Is told of fields that spans were stored without. */
  leftOut(source: Source, left: LeftOut): void
  /** Of one body, as it comes and decompressed. */
  maxBodyBytes: number
  /** Of all bodies that are being received and worked on. */
  maxInFlightBytes: number
  log: Logger
}

/** How much is stored at once. */
const CHUNK_BYTES = 1024 * 1024
/** What the resource says is repeated with each span. So many times the largest body may one become; real ones treble. */
const MAX_GROWTH = 8
/** So long others may wait for their turn, but for one large span. */
const STEP_MS = 10
/** A body that hasn't arrived by then won't. */
const BODY_DEADLINE_MS = 30_000
const RETRY_AFTER_SECONDS = 1

const JSON_TYPE = 'application/json'
const PROTOBUF_TYPE = 'application/x-protobuf'
const THRIFT_TYPE = 'application/x-thrift'
const UNSAID_TYPE = 'application/octet-stream'
/** Also what says nothing of the body: curl -d, a browser's blob, a proxy's default. */
const MAY_BE_JSON =
  /^(application\/json|.+\/(.+\+)?(json|ndjson|jsonl|jsonlines|x-ndjson|json-seq)|text\/plain|application\/octet-stream|application\/x-www-form-urlencoded)$/

type Decompress = (body: Buffer, options: object, done: (error: Error | null, result: Buffer) => void) => void

/** Google's codes, which OTLP's errors carry. */
const INVALID_ARGUMENT = 3
const RESOURCE_EXHAUSTED = 8
const INTERNAL = 13
const UNAVAILABLE = 14

/** An answer that isn't a good one. */
class Refusal extends Error {
  readonly status: number
  readonly code: string
  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

interface Readers {
  json(json: unknown, reading: Reading): Spans
  binary: { type: string; read(body: Buffer, reading: Reading): Spans }
}

const OTLP: Readers = { json: readOtlpJson, binary: { type: PROTOBUF_TYPE, read: readOtlpProtobuf } }
const ZIPKIN: Record<string, Readers> = {
  '/api/v1/spans': { json: readZipkinJson, binary: { type: THRIFT_TYPE, read: readZipkinV1Thrift } },
  '/api/v2/spans': { json: readZipkinJson, binary: { type: PROTOBUF_TYPE, read: readZipkinProtobuf } },
}

interface Taken {
  spans: number
  rejected: number
  reasons: RejectedSpans[]
  leftOut: LeftOut[]
  traceIds: Set<string>
  /** The body says that it has no span, rather than that it has something else. */
  isEmpty: boolean
}

/** To be registered: `app.register(takeSpans, options)`. */
export async function takeSpans(app: FastifyInstance, options: FormatsOptions): Promise<void> {
  const { maxBodyBytes, maxInFlightBytes, log } = options
  const warn = limitWarnings(log)
  const bodies = new ByteBudget(maxInFlightBytes)
  // What grows on the way does so one at a time: a body of 20 KB may have 16 MiB inside, and JSON takes ten times its room.
  const decompressing = oneAtATime()
  const parsing = oneAtATime()

  // The body is read below, once the request has been looked at.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
  // What isn't said is found out.
  app.addHook('onRequest', async ({ raw }) => {
    if (!raw.headers['content-type']) raw.headers['content-type'] = UNSAID_TYPE
  })

  app.post('/v1/traces', async (request, reply) => {
    const isProtobuf = mediaType(request) === PROTOBUF_TYPE
    const type = isProtobuf ? PROTOBUF_TYPE : JSON_TYPE
    try {
      const { spans, rejected, reasons, isEmpty } = await take(request, 'otlp', OTLP)
      // With nothing rejected, the message is a warning.
      const errorMessage =
        rejected > 0 ? explain(rejected, reasons) : spans === 0 && !isEmpty ? 'there is no span in this request' : ''
      const answer = errorMessage === '' ? {} : { partialSuccess: { rejectedSpans: rejected, errorMessage } }
      return reply.type(type).send(isProtobuf ? encode(OTLP_TYPES.ExportTraceServiceResponse, answer) : answer)
    } catch (error) {
      const { status, message } = refusal(error, request, reply)
      const code =
        status === 429 ? RESOURCE_EXHAUSTED : status === 503 ? UNAVAILABLE : status < 500 ? INVALID_ARGUMENT : INTERNAL
      const answer = isProtobuf ? encode(OTLP_TYPES.RpcStatus, { code, message }) : { code, message }
      return reply.code(status).type(type).send(answer)
    }
  })

  for (const [path, readers] of Object.entries(ZIPKIN)) {
    app.post(path, async (request, reply) => {
      try {
        refuseIfNothing(await take(request, 'zipkin', readers))
        return reply.code(202).send()
      } catch (error) {
        return answerRefusal(error, request, reply)
      }
    })
  }

  app.post('/api/traces', async (request, reply): Promise<UploadAnswer | FastifyReply> => {
    try {
      const { traceIds, spans, rejected, reasons, leftOut } = await take(request, 'upload')
      const lost = { ...(rejected > 0 && { reasons }), ...(leftOut.length > 0 && { leftOut }) }
      return { traceIds: [...traceIds], spans, rejected, ...lost }
    } catch (error) {
      return answerRefusal(error, request, reply)
    }
  })

  /**
   * The whole way of a body.
   * @param readers of the one format that the path takes; without them, any
   * @throws Refusal, BadInput
   */
  async function take(request: FastifyRequest, source: Source, readers?: Readers): Promise<Taken> {
    const type = mediaType(request)
    const isBinary = readers !== undefined && type === readers.binary.type
    if (readers !== undefined && !isBinary && !MAY_BE_JSON.test(type)) {
      const wanted = `${JSON_TYPE} or ${readers.binary.type}`
      throw new Refusal(415, 'MILO_BAD_CONTENT_TYPE', `content-type has to be ${wanted}, not ${type}`)
    }
    const decompress = decompressorOf(request)
    let held = 0
    const hold = (bytes: number) => {
      if (bytes > bodies.freeBytes) {
        throw new Refusal(429, 'MILO_TRY_LATER', 'too much is being received: try later')
      }
      bodies.take(bytes)
      held += bytes
    }
    const reading = new Reading()
    try {
      let body = await receive(request.raw, hold)
      if (isZipped(body) || decompress !== undefined) {
        body = await decompressing(async () => {
          const decompressed = await (isZipped(body) ? unzip(body) : decompress!(body))
          hold(decompressed.length)
          return decompressed
        })
      }
      const taken: Taken = {
        spans: 0,
        rejected: 0,
        reasons: [],
        leftOut: reading.leftOut,
        traceIds: new Set(),
        isEmpty: isEmpty(body),
      }
      const sink = createSink(source, taken)
      if (isBinary) await sink.putAll(readers.binary.read(body, reading))
      else {
        await parsing(() =>
          sink.putAll(
            readers === undefined
              ? readAny(body, reading)
              : readDocuments(parseDocuments(body), json => readers.json(json, reading)),
          ),
        )
      }
      await sink.flush()
      if (taken.spans + taken.rejected === 0) refuseOthers(source, taken, reading)
      return taken
    } finally {
      bodies.take(-held)
      for (const left of reading.leftOut) options.leftOut(source, left)
      if (reading.leftOut.length > 0) {
        warn(
          `left out ${source}`,
          { source, leftOut: reading.leftOut },
          'spans are stored without fields that can not be read',
        )
      }
    }
  }

  /** @throws Refusal */
  function receive(raw: IncomingMessage, hold: (bytes: number) => void): Promise<Buffer> {
    const tooLarge = () => new Refusal(413, 'MILO_BODY_TOO_LARGE', `the body is over ${maxBodyBytes} bytes`)
    if (Number(raw.headers['content-length']) > maxBodyBytes) throw tooLarge()
    const chunks: Buffer[] = []
    let length = 0
    return new Promise((resolve, reject) => {
      // Also when the answer is there: a sender who never ends would hold the connection.
      const deadline = setTimeout(() => raw.destroy(), BODY_DEADLINE_MS)
      raw.on('data', (chunk: Buffer) => {
        length += chunk.length
        try {
          if (length > maxBodyBytes) throw tooLarge()
          hold(chunk.length)
          chunks.push(chunk)
        } catch (error) {
          chunks.length = 0
          reject(error)
          raw.removeAllListeners('data').resume()
        }
      })
      raw.on('end', () => {
        clearTimeout(deadline)
        resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
      })
      raw.on('close', () => {
        clearTimeout(deadline)
        reject(new Refusal(400, 'MILO_BAD_BODY', 'the body ended early'))
      })
      raw.on('error', () => {})
    })
  }

  /** @returns undefined for a body that comes as it is, or is said to */
  function decompressorOf(request: FastifyRequest): ((body: Buffer) => Promise<Buffer>) | undefined {
    const encoding = request.headers['content-encoding']?.trim().toLowerCase() ?? ''
    if (encoding === '' || encoding === 'identity' || encoding === 'none') return undefined
    return async body => {
      try {
        return await decompressed(body, methodOf(encoding, body), encoding)
      } catch (error) {
        // A proxy may have unpacked it and left the header.
        if (error instanceof Refusal && error.status !== 413 && startsReadably(body)) return body
        throw error
      }
    }
  }

  /** @throws Refusal for an encoding that isn't taken */
  function methodOf(encoding: string, body: Buffer): Decompress {
    if (encoding === 'gzip' || encoding === 'x-gzip') return zlib.gunzip
    // Deflate should be in zlib's wrapper, whose first byte says 8 in its low half; some senders leave it out.
    if (encoding === 'deflate') return (body[0]! & 0xf) === 8 ? zlib.inflate : zlib.inflateRaw
    if (encoding === 'br') return zlib.brotliDecompress
    // Since Node 22.15.
    const { zstdDecompress } = zlib as unknown as { zstdDecompress?: Decompress }
    if (encoding === 'zstd' && zstdDecompress !== undefined) return zstdDecompress
    const known = `gzip, deflate, br,${zstdDecompress === undefined ? '' : ' zstd'} or identity`
    throw new Refusal(415, 'MILO_BAD_CONTENT_ENCODING', `content-encoding has to be ${known}, not ${encoding}`)
  }

  function unzip(body: Buffer): Promise<Buffer> {
    return decompressed(body, zlib.gunzip, 'gzip')
  }

  async function decompressed(body: Buffer, method: Decompress, encoding: string): Promise<Buffer> {
    if (body.length === 0) return body
    try {
      return await promisify<Buffer, object, Buffer>(method)(body, { maxOutputLength: maxBodyBytes })
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code === 'ERR_BUFFER_TOO_LARGE') {
        throw new Refusal(413, 'MILO_BODY_TOO_LARGE', `the body is over ${maxBodyBytes} bytes once decompressed`)
      }
      throw new Refusal(400, 'MILO_BAD_BODY', `the body is not ${encoding}: ${message}; nothing of it is stored`)
    }
  }

  /** Where the spans of one body go. */
  function createSink(source: Source, taken: Taken) {
    const w = new Writer(16 * 1024)
    let pending = 0
    /** Bytes of records, taken or not: what has been worked on. */
    let made = 0

    async function flush(): Promise<void> {
      if (pending === 0) return
      const spans = pending
      pending = 0
      if ((await options.store(w.take(), spans, source)) !== 'ok') {
        throw new Refusal(503, 'MILO_TRY_LATER', 'the spans can not be stored now: try later')
      }
      taken.spans += spans
    }

    function reject({ reason, message }: Unusable): void {
      taken.rejected++
      const known = taken.reasons.find(entry => entry.reason === reason)
      if (known !== undefined) known.spans++
      else taken.reasons.push({ reason, spans: 1, message })
    }

    /** @returns why it isn't taken */
    function put(convert: () => Converted): Unusable | undefined {
      if (made > MAX_GROWTH * maxBodyBytes) {
        return new Unusable('too_large', 'with what the resource says in each span, the body is too large')
      }
      const record = convert()
      if (record instanceof Unusable) return record
      const { events, annotations, counters } = record
      const parts = (events?.length ?? 0) + (annotations?.size ?? 0) + (counters?.size ?? 0)
      if (parts > MAX_SPAN_PARTS) {
        made += MAX_SPAN_BYTES
        return new Unusable('too_large', `a span has more than ${MAX_SPAN_PARTS} attributes and events`)
      }
      const start = w.pos
      writeRecord(w, () => writeSpanStruct(w, record))
      const length = w.pos - start
      made += length
      if (length - RECORD_HEADER > MAX_SPAN_BYTES) {
        w.pos = start
        return new Unusable('too_large', `with what the resource says, a span is over ${MAX_SPAN_BYTES} bytes`)
      }
      pending++
      if (source === 'upload') taken.traceIds.add(traceIdOf(record.traceId!, record.traceIdHigh))
      return undefined
    }

    async function putAll(spans: Spans): Promise<void> {
      let stepEnd = performance.now() + STEP_MS
      try {
        for (const convert of spans) {
          const unusable = put(convert)
          if (unusable !== undefined) reject(unusable)
          if (w.pos >= CHUNK_BYTES) await flush()
          else if (performance.now() > stepEnd) await nextTurn()
          else continue
          stepEnd = performance.now() + STEP_MS
        }
      } finally {
        const { reasons } = taken
        for (const { reason, spans } of reasons) options.rejected(source, reason, spans)
        if (reasons.length > 0) warn(`rejected ${source}`, { source, reasons }, 'unusable spans rejected')
      }
    }

    return { putAll, flush }
  }

  function refusal(error: unknown, request: FastifyRequest, reply: FastifyReply): Refusal {
    if (error instanceof BadInput) return new Refusal(400, 'MILO_BAD_BODY', error.message)
    if (error instanceof Refusal) {
      if (error.status === 429 || error.status === 503) reply.header('retry-after', RETRY_AFTER_SECONDS)
      return error
    }
    log.error({ err: error, url: request.url }, 'a request failed')
    return new Refusal(500, 'MILO_INTERNAL', 'the collector failed; its log says why')
  }

  function answerRefusal(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const { status, code, message } = refusal(error, request, reply)
    return reply.code(status).send({ error: message, code })
  }
}

function oneAtATime() {
  let last: Promise<unknown> = Promise.resolve()
  return <V>(work: () => Promise<V>): Promise<V> => {
    const mine = last.then(work)
    last = mine.catch(() => {})
    return mine
  }
}

function mediaType(request: FastifyRequest): string {
  const type = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase()
  return type === 'application/protobuf' ? PROTOBUF_TYPE : type
}

function traceIdOf(low: bigint, high: bigint | undefined): string {
  return (high ? hexOf(high, 16) : '') + hexOf(low, 16)
}

/** For those whose answer has no place for a number of rejected ones. */
function refuseIfNothing({ spans, rejected, reasons }: Taken): void {
  if (spans === 0 && rejected > 0) throw new Refusal(400, 'MILO_BAD_SPANS', explain(rejected, reasons))
}

/** Where there is no span: success would say that what the body has instead is stored. */
function refuseOthers(source: Source, { isEmpty }: Taken, { others }: Reading): void {
  const what = others.size === 0 ? '' : `; it has ${[...others].join(', ')}`
  if (source === 'upload') throw new BadInput(`there is no span in it${what}: there should be ${EXPECTED}`)
  // OTLP's answer has a place to say so.
  if (others.size > 0 || (source === 'zipkin' && !isEmpty)) throw new BadInput(`not spans: there is none in it${what}`)
}

/** What senders try a connection with: an empty list or message, in each of the encodings. */
function isEmpty(body: Buffer): boolean {
  if (body.length === 0) return true
  return body.length < 20 && /^\s*(\{\s*\}|\[\s*\]|\f\0{4})\s*$/.test(body.toString('latin1'))
}

function isZipped(body: Buffer): boolean {
  return body[0] === 0x1f && body[1] === 0x8b
}

/** As JSON does, or a row of protobuf messages. */
function startsReadably(body: Buffer): boolean {
  return body.length === 0 || [0x7b, 0x5b, 0x0a].includes(body[0]!)
}

function explain(rejected: number, reasons: Taken['reasons']): string {
  const what = reasons.map(({ reason, spans, message }) => `${reason} ×${spans} (${message})`).join(', ')
  return `${rejected} spans rejected: ${what}`
}

function encode(type: Type, message: object): Buffer {
  return Buffer.from(type.encode(message).finish())
}
