import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import limitTo from 'p-limit'
import type { Type } from 'protobufjs/light'
import { EXPECTED, readAny, readDocuments } from '../formats/detect'
import { BadInput, type LeftOut, Reading, type Spans } from '../formats/fields'
import { parseDocuments } from '../formats/json'
import { readOtlpJson, readOtlpProtobuf } from '../formats/otlp/read'
import { OTLP_TYPES } from '../formats/otlp/schema'
import { readZipkinJson, readZipkinProtobuf, readZipkinV1Thrift } from '../formats/zipkin/read'
import type { RejectedSpans, UploadAnswer } from '../http/answers'
import { HttpError, sendError, tryLater } from '../http/errors'
import { type Logger, limitWarnings } from '../log'
import { decompressorOf, isZipped, receiveBody, unzip } from './body'
import { ByteBudget } from './byte-budget'
import { ChunkWriter } from './chunk-writer'

/**
 * Spans over HTTP: `POST /v1/traces` (OTLP), `POST /api/v2/spans` and `POST /api/v1/spans` (Zipkin) and `POST /api/traces`
 * (an uploaded file in any form that detect.ts knows).
 *
 *     body, within the budget ─ decompressed, bounded ─ spans, one by one ─ records, 1 MiB at a time ─ store
 *
 * The answer is a success only when the whole body is stored. When the store refuses a chunk, the sender is told to try later.
 * It sends everything again, and spans that were stored before are stored once.
 */

type Source = 'otlp' | 'zipkin' | 'upload'

export interface HttpSpansOptions {
  /**
   * Makes records durable.
   * @param records as in a Scribe message: each with its delimiter and length
   * @param spans how many there are
   */
  store(records: Buffer, spans: number, source: Source): Promise<'ok' | 'try later'>
  /** Called for spans that were rejected. */
  rejected(source: Source, reason: string, spans: number): void
  /** Called for fields that could not be read, of spans that are stored without them. */
  leftOut(source: Source, left: LeftOut): void
  /** The limit for one body, both as it arrives and decompressed. */
  maxBodyBytes: number
  /** The limit for all bodies that are being received and read. */
  maxInFlightBytes: number
  log: Logger
}

/**
 * The records of a body may take this many times maxBodyBytes, because each record repeats the resource's attributes. The records
 * of real bodies take three times the body.
 */
const MAX_GROWTH = 8

const JSON_TYPE = 'application/json'
const PROTOBUF_TYPE = 'application/x-protobuf'
const THRIFT_TYPE = 'application/x-thrift'
const NO_TYPE = 'application/octet-stream'
/** These include types that say nothing about the body: the defaults of curl -d, of a browser's blob and of proxies. */
const MAY_BE_JSON =
  /^(application\/json|.+\/(.+\+)?(json|ndjson|jsonl|jsonlines|x-ndjson|json-seq)|text\/plain|application\/octet-stream|application\/x-www-form-urlencoded)$/

/** What tells the guard (auth/guard.ts) that a route receives spans. */
const TAKES_SPANS = { config: { takesSpans: true } }

/** OTLP's errors carry Google's codes. */
const INVALID_ARGUMENT = 3
const RESOURCE_EXHAUSTED = 8
const INTERNAL = 13
const UNAVAILABLE = 14

interface Readers {
  json(json: unknown, reading: Reading): Spans
  binary: { type: string; read(body: Buffer, reading: Reading): Spans }
}

const OTLP: Readers = { json: readOtlpJson, binary: { type: PROTOBUF_TYPE, read: readOtlpProtobuf } }
const ZIPKIN: Record<string, Readers> = {
  '/api/v1/spans': { json: readZipkinJson, binary: { type: THRIFT_TYPE, read: readZipkinV1Thrift } },
  '/api/v2/spans': { json: readZipkinJson, binary: { type: PROTOBUF_TYPE, read: readZipkinProtobuf } },
}

/** The result of reading a body. */
interface BodyResult {
  writer: ChunkWriter
  leftOut: LeftOut[]
  /** True when the body is an empty list or message, and false when it has something else than spans. */
  isEmpty: boolean
}

/** A Fastify plugin: `app.register(takeSpans, options)`. */
export async function takeSpans(app: FastifyInstance, options: HttpSpansOptions): Promise<void> {
  const { maxBodyBytes, maxInFlightBytes, log } = options
  const warn = limitWarnings(log)
  const bodies = new ByteBudget(maxInFlightBytes)
  // One body at a time: 20 KB may decompress to 16 MiB, and parsed JSON takes ten times its length.
  const decompressing = limitTo(1)
  const parsing = limitTo(1)

  // `take` reads the body, once the request has been checked.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
  // A body without a type is recognized by its first bytes.
  app.addHook('onRequest', async ({ raw }) => {
    if (!raw.headers['content-type']) raw.headers['content-type'] = NO_TYPE
  })

  app.post('/v1/traces', TAKES_SPANS, async (request, reply) => {
    const isProtobuf = mediaType(request) === PROTOBUF_TYPE
    const type = isProtobuf ? PROTOBUF_TYPE : JSON_TYPE
    try {
      const { writer, isEmpty } = await take(request, 'otlp', OTLP)
      const { spans, rejected, reasons } = writer
      // With nothing rejected, the message is a warning.
      const errorMessage =
        rejected > 0 ? explain(rejected, reasons) : spans === 0 && !isEmpty ? 'there is no span in this request' : ''
      const answer = errorMessage === '' ? {} : { partialSuccess: { rejectedSpans: rejected, errorMessage } }
      return reply.type(type).send(isProtobuf ? encode(OTLP_TYPES.ExportTraceServiceResponse, answer) : answer)
    } catch (error) {
      const { status, message, retryAfterSeconds } = refusal(error, request)
      if (retryAfterSeconds !== undefined) reply.header('retry-after', retryAfterSeconds)
      const code =
        status === 429 ? RESOURCE_EXHAUSTED : status === 503 ? UNAVAILABLE : status < 500 ? INVALID_ARGUMENT : INTERNAL
      const answer = isProtobuf ? encode(OTLP_TYPES.RpcStatus, { code, message }) : { code, message }
      return reply.code(status).type(type).send(answer)
    }
  })

  for (const [path, readers] of Object.entries(ZIPKIN)) {
    app.post(path, TAKES_SPANS, async (request, reply) => {
      try {
        refuseIfNothing(await take(request, 'zipkin', readers))
        return reply.code(202).send()
      } catch (error) {
        return sendError(reply, refusal(error, request))
      }
    })
  }

  app.post('/api/traces', TAKES_SPANS, async (request, reply): Promise<UploadAnswer | FastifyReply> => {
    try {
      const { writer, leftOut } = await take(request, 'upload')
      const { traceIds, spans, rejected, reasons } = writer
      const lost = { ...(rejected > 0 && { reasons }), ...(leftOut.length > 0 && { leftOut }) }
      return { traceIds: [...traceIds], spans, rejected, ...lost }
    } catch (error) {
      return sendError(reply, refusal(error, request))
    }
  })

  /**
   * Receives a body and stores its spans.
   * @param readers the readers of the path's format; without them, any format is recognized
   * @throws HttpError, BadInput
   */
  async function take(request: FastifyRequest, source: Source, readers?: Readers): Promise<BodyResult> {
    const type = mediaType(request)
    const isBinary = readers !== undefined && type === readers.binary.type
    if (readers !== undefined && !isBinary && !MAY_BE_JSON.test(type)) {
      const wanted = `${JSON_TYPE} or ${readers.binary.type}`
      throw new HttpError(415, 'MILO_BAD_CONTENT_TYPE', `content-type must be ${wanted}, not ${type}`)
    }
    const decompress = decompressorOf(request.raw, maxBodyBytes)
    let reservedBytes = 0
    const reserve = (bytes: number) => {
      if (bytes > bodies.freeBytes) {
        throw tryLater(429, 'too much is being received')
      }
      bodies.take(bytes)
      reservedBytes += bytes
    }
    const reading = new Reading()
    const writer = new ChunkWriter({
      store: (records, spans) => options.store(records, spans, source),
      maxBytes: MAX_GROWTH * maxBodyBytes,
      keepTraceIds: source === 'upload',
    })
    try {
      let body = await receiveBody(request.raw, maxBodyBytes, reserve)
      if (isZipped(body) || decompress !== undefined) {
        body = await decompressing(async () => {
          const decompressed = await (isZipped(body) ? unzip(body, maxBodyBytes) : decompress!(body))
          reserve(decompressed.length)
          return decompressed
        })
      }
      if (isBinary) await writer.putAll(readers.binary.read(body, reading))
      else {
        await parsing(() =>
          writer.putAll(
            readers === undefined
              ? readAny(body, reading)
              : readDocuments(parseDocuments(body), json => readers.json(json, reading)),
          ),
        )
      }
      await writer.flush()
      const result = { writer, leftOut: reading.leftOut, isEmpty: isEmpty(body) }
      if (writer.spans + writer.rejected === 0) refuseOthers(source, result, reading)
      return result
    } finally {
      bodies.take(-reservedBytes)
      const { reasons } = writer
      for (const { reason, spans } of reasons) options.rejected(source, reason, spans)
      if (reasons.length > 0) warn(`rejected ${source}`, { source, reasons }, 'unusable spans were rejected')
      for (const left of reading.leftOut) options.leftOut(source, left)
      if (reading.leftOut.length > 0) {
        warn(
          `left out ${source}`,
          { source, leftOut: reading.leftOut },
          'some fields could not be read: their spans are stored without them',
        )
      }
    }
  }

  function refusal(error: unknown, request: FastifyRequest): HttpError {
    if (error instanceof BadInput) return new HttpError(400, 'MILO_BAD_BODY', error.message)
    if (error instanceof HttpError) return error
    log.error({ err: error, url: request.url }, 'a request failed')
    return new HttpError(500, 'MILO_INTERNAL', 'the collector failed; its log says why')
  }
}

function mediaType(request: FastifyRequest): string {
  const type = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase()
  return type === 'application/protobuf' ? PROTOBUF_TYPE : type
}

/** Refuses a body whose spans were all rejected, where the answer has no field for their number. */
function refuseIfNothing({ writer: { spans, rejected, reasons } }: BodyResult): void {
  if (spans === 0 && rejected > 0) throw new HttpError(400, 'MILO_BAD_SPANS', explain(rejected, reasons))
}

/** Refuses a body that has something else than spans: a success would say that it is stored. */
function refuseOthers(source: Source, { isEmpty }: BodyResult, { others }: Reading): void {
  const what = others.size === 0 ? '' : `; it has ${[...others].join(', ')}`
  if (source === 'upload') throw new BadInput(`there is no span in it${what}: there should be ${EXPECTED}`)
  // OTLP's answer has a field for it.
  if (others.size > 0 || (source === 'zipkin' && !isEmpty)) throw new BadInput(`not spans: there is none in it${what}`)
}

/** Returns whether a body is an empty list or message in one of the encodings, which senders use to try a connection. */
function isEmpty(body: Buffer): boolean {
  if (body.length === 0) return true
  return body.length < 20 && /^\s*(\{\s*\}|\[\s*\]|\f\0{4})\s*$/.test(body.toString('latin1'))
}

function explain(rejected: number, reasons: RejectedSpans[]): string {
  const what = reasons.map(({ reason, spans, message }) => `${reason} ×${spans} (${message})`).join(', ')
  return `${rejected} spans rejected: ${what}`
}

function encode(type: Type, message: object): Buffer {
  return Buffer.from(type.encode(message).finish())
}
