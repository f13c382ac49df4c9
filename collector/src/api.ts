import { existsSync } from 'node:fs'
import { isIP, type Socket } from 'node:net'
import { join } from 'node:path'
import fastifyStatic from '@fastify/static'
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { type Logger, limitWarnings } from './log'
import type { Metrics } from './metrics'
import { type Cursor, type SearchQuery, type Store, type StoredRecord, StoreError } from './store/store'
import { buildTrace, summarize, type TraceSummary } from './trace'

/**
 * What people and programs ask of the collector over HTTP: traces, search, health, metrics and the web interface. Errors
 * are JSON, `{ error, code }`, with a code that stays the same and a sentence that needn't.
 */
export interface ApiOptions {
  store: Pick<Store, 'readTrace' | 'search'>
  metrics: Metrics
  /** What keeps the collector from working, in sentences; empty when nothing does. */
  problems(): Promise<string[]>
  /** The built web interface; when it isn't there, the API goes without. */
  uiDir: string
  /** The address listened on. */
  host: string
  /** Further names by which a proxy on this machine may call. */
  allowedHosts: string[]
  log: Logger
}

const DEFAULT_LIMIT = 25
const MAX_LIMIT = 1000
/** Traces of a search result that are read at once. */
const READS_AT_ONCE = 8

const HEADERS = {
  'content-security-policy':
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
}

class ApiError extends Error {
  readonly status: number
  readonly code: string
  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

export function createApi(options: ApiOptions): FastifyInstance {
  const { store, metrics, log } = options
  const warn = limitWarnings(log)
  const app = fastify({
    forceCloseConnections: 'idle',
    // An id that is far too long is answered as one that isn't an id. Node bounds the whole request line.
    routerOptions: { maxParamLength: 16_384, ignoreTrailingSlash: true },
    frameworkErrors: (error, _request, reply) => void sendError(reply.headers(HEADERS), error),
    clientErrorHandler: answerBadHttp,
  })

  app.addHook('onRequest', async (request, reply) => {
    reply.headers(HEADERS)
    if (request.url.startsWith('/api/')) reply.header('cache-control', 'no-store')
    checkHost(request.headers.host, options)
  })
  app.setErrorHandler((error, request, reply) => {
    if (statusOf(error) === 500) log.error({ err: error, url: request.url }, 'a request failed')
    return sendError(reply, error)
  })
  app.setNotFoundHandler((request, reply) =>
    sendError(
      reply,
      new ApiError(404, 'MILO_NO_SUCH_PATH', `nothing at ${request.method} ${request.url.split('?')[0]}`),
    ),
  )

  app.get<{ Params: { id: string } }>('/api/traces/:id', async request => {
    const { form } = readQuery(request, ['form'])
    if (form !== undefined && form !== 'records') {
      throw new ApiError(400, 'MILO_BAD_FORM', `no such form: ${quote(form)}; give records, or leave it out`)
    }
    const records = await findTrace(request.params.id)
    if (form === 'records') return { records: records.map(({ record }) => recordToJson(record)) }
    return buildTrace(records.map(({ record }) => record))
  })

  app.get('/api/search', async request => {
    const { name, key, value, limit, before } = readQuery(request, ['name', 'key', 'value', 'limit', 'before'])
    const query: SearchQuery = { limit: readLimit(limit) }
    if (name !== undefined) query.name = name
    if (key !== undefined) query.key = key
    if (value !== undefined) query.value = value
    if (before !== undefined) query.before = decodeCursor(before)
    const page = await fromStore(store.search(query))
    const traces: TraceSummary[] = []
    for (let i = 0; i < page.traces.length; i += READS_AT_ONCE) {
      const ids = page.traces.slice(i, i + READS_AT_ONCE).map(({ traceId }) => traceId)
      for (const records of await fromStore(Promise.all(ids.map(id => store.readTrace(id))))) {
        // It may have expired since it was found.
        if (records.length > 0) traces.push(summarize(buildTrace(records.map(({ record }) => record))))
      }
    }
    return { traces, next: page.next === undefined ? null : encodeCursor(page.next) }
  })

  app.get('/healthz', async (_request, reply) => {
    const problems = await options.problems()
    reply.header('cache-control', 'no-store')
    if (problems.length === 0) return { status: 'ok' }
    return reply.code(503).send({ error: problems.join('; '), code: 'MILO_UNHEALTHY', problems })
  })

  app.get('/metrics', async (_request, reply) => {
    reply.type(metrics.registry.contentType)
    return metrics.registry.metrics()
  })

  if (existsSync(join(options.uiDir, 'index.html'))) {
    app.register(fastifyStatic, { root: options.uiDir, wildcard: false })
    // Places within the one page, which reads its own address.
    const page = (_request: FastifyRequest, reply: FastifyReply) => reply.sendFile('index.html')
    app.get('/trace/:id', page)
    app.get('/search', page)
  } else {
    log.warn({ dir: options.uiDir }, 'the web interface is not built: the API goes without; npm run build makes it')
  }
  return app

  async function findTrace(id: string): Promise<StoredRecord[]> {
    for (const { low, high } of readTraceId(id)) {
      const records = withHigh(await fromStore(store.readTrace(low)), high)
      if (records.length > 0) return records
    }
    throw new ApiError(404, 'MILO_NO_SUCH_TRACE', `no trace ${quote(id)} is stored`)
  }

  async function fromStore<V>(result: Promise<V>): Promise<V> {
    try {
      return await result
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      warn(error.code, { code: error.code }, error.message)
      throw new ApiError(503, error.code, error.message)
    }
  }
}

/**
 * A page of any site may make a browser on this machine call 127.0.0.1, under a name that its owner points there (DNS
 * rebinding), and would then read every trace. It can't do so under an address or as localhost, so only these are taken,
 * and the names that the configuration allows. Who listens on another address than loopback has opened the API to a
 * network in which names are in use: nothing is checked there.
 */
function checkHost(header: string | undefined, { host, allowedHosts }: ApiOptions): void {
  if (!/^(127\.|::1$|localhost$)/.test(host) || header === undefined) return
  const name = header
    .replace(/:\d*$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase()
  if (isIP(name) !== 0 || name === 'localhost' || allowedHosts.some(allowed => allowed.toLowerCase() === name)) return
  throw new ApiError(
    403,
    'MILO_HOST_REFUSED',
    `not for host ${quote(name)}: add it to http.allowed_hosts if it is yours`,
  )
}

/**
 * The query's parameters, each given once at most. An empty one is as if it weren't there, as forms send them.
 * @throws ApiError for one that isn't in `known`
 */
function readQuery<K extends string>(request: FastifyRequest, known: K[]): Partial<Record<K, string>> {
  const out: Partial<Record<K, string>> = {}
  for (const [name, value] of Object.entries(request.query as Record<string, unknown>)) {
    if (!known.includes(name as K)) {
      throw new ApiError(400, 'MILO_BAD_PARAMETER', `no such parameter: ${quote(name)}; there is ${known.join(', ')}`)
    }
    if (typeof value !== 'string') throw new ApiError(400, 'MILO_BAD_PARAMETER', `${name} is given twice: give it once`)
    if (value !== '') out[name as K] = value
  }
  return out
}

function readLimit(limit: string | undefined): number {
  if (limit === undefined) return DEFAULT_LIMIT
  const n = /^\d{1,4}$/.test(limit) ? Number(limit) : 0
  if (n < 1 || n > MAX_LIMIT) {
    throw new ApiError(400, 'MILO_BAD_LIMIT', `limit is ${quote(limit)}: give a whole number from 1 to ${MAX_LIMIT}`)
  }
  return n
}

function encodeCursor({ startUs, traceId }: Cursor): string {
  return Buffer.from(`${startUs}.${traceId}`).toString('base64url')
}

function decodeCursor(text: string): Cursor {
  const parts = /^(-?\d{1,19})\.(-?\d{1,19})$/.exec(Buffer.from(text, 'base64url').toString('latin1'))
  const cursor = parts && { startUs: BigInt(parts[1]!), traceId: BigInt(parts[2]!) }
  if (!cursor || !isI64(cursor.startUs) || !isI64(cursor.traceId) || encodeCursor(cursor) !== text) {
    throw new ApiError(400, 'MILO_BAD_CURSOR', `before is ${quote(text)}: give the next of the page before, unchanged`)
  }
  return cursor
}

interface TraceId {
  low: bigint
  /** As an i64; undefined when the id doesn't say. */
  high?: bigint
}

/**
 * What an id in an address may mean, the likelier first: 16 or 32 hex digits, or a signed decimal, as the original printed
 * ids. 16 digits may be either. An unsigned decimal over 2^63 is the same 64 bits.
 */
function readTraceId(id: string): TraceId[] {
  const meanings: TraceId[] = []
  if (/^[0-9a-f]{16}$/i.test(id)) meanings.push({ low: i64FromHex(id) })
  if (/^[0-9a-f]{32}$/i.test(id)) meanings.push({ low: i64FromHex(id.slice(16)), high: i64FromHex(id.slice(0, 16)) })
  const decimal = /^-?\d{1,32}$/.test(id) ? BigInt(id) : undefined
  if (decimal !== undefined && decimal >= -(2n ** 63n) && decimal < 2n ** 64n) {
    meanings.push({ low: BigInt.asIntN(64, decimal) })
  }
  if (meanings.length > 0) return meanings
  throw new ApiError(
    400,
    'MILO_BAD_TRACE_ID',
    `${quote(id)} is not a trace id: give 16 or 32 hex digits, or a decimal from -2^63 to 2^64-1`,
  )
}

function i64FromHex(hex: string): bigint {
  return BigInt.asIntN(64, BigInt(`0x${hex}`))
}

function isI64(n: bigint): boolean {
  return BigInt.asIntN(64, n) === n
}

/**
 * The records that belong to a trace id whose high half is `high`: those that say so. Records without a high half (a peer
 * that only passes 64 bits on) go with them, but alone they are the trace whose high half is 0.
 */
function withHigh(records: StoredRecord[], high: bigint | undefined): StoredRecord[] {
  if (high === undefined) return records
  const halves = records.map(({ record }) => record.traceIdHigh ?? 0n)
  if (!halves.includes(high)) return []
  return records.filter((_, i) => halves[i] === high || halves[i] === 0n)
}

/** A record in the words of the IDL: 64-bit numbers as decimal strings, event types by name, absent fields absent. */
function recordToJson(r: SpanRecord) {
  return {
    trace_id: r.traceId?.toString(),
    name: r.name,
    id: r.id?.toString(),
    parent_id: r.parentId?.toString(),
    client_host: r.clientHost,
    server_host: r.serverHost,
    events: r.events?.map(event => ({
      timestamp: event.timestamp?.toString(),
      event_type: event.eventType === undefined ? undefined : (EVENT_NAMES.get(event.eventType) ?? event.eventType),
      value: event.value,
    })),
    annotations: r.annotations && Object.fromEntries(r.annotations),
    counters: r.counters && Object.fromEntries([...r.counters].map(([key, value]) => [key, value.toString()])),
    trace_id_high: r.traceIdHigh?.toString(),
    service: r.service,
    // JSON has no NaN and no infinities; the wire does.
    probability: Number.isFinite(r.probability) ? r.probability : r.probability?.toString(),
  }
}

const EVENT_NAMES = new Map<number, string>(Object.entries(EventType).map(([name, value]) => [value, name]))

function statusOf(error: unknown): number {
  if (error instanceof ApiError) return error.status
  return (error as { statusCode?: number }).statusCode ?? 500
}

function sendError(reply: FastifyReply, error: unknown): FastifyReply {
  const status = statusOf(error)
  const { message, code } = error as ApiError
  // A bug's message is for the log.
  const known = error instanceof ApiError || status < 500
  return reply
    .code(status)
    .type('application/json; charset=utf-8')
    .send(known ? { error: message, code } : { error: 'the collector failed; its log says why', code: 'MILO_INTERNAL' })
}

/** What isn't even HTTP. */
function answerBadHttp(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return
  const tooLarge = error.code === 'HPE_HEADER_OVERFLOW'
  const body = JSON.stringify({ error: tooLarge ? 'the request is too long' : 'not an HTTP request', code: error.code })
  const status = tooLarge ? '431 Request Header Fields Too Large' : '400 Bad Request'
  if (socket.writable) {
    socket.write(
      `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
    )
  }
  socket.destroy()
}

/** What came in, as an error repeats it. */
function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}
