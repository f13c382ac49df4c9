import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TlsOptions, Server as TlsServer } from 'node:tls'
import fastifyCompress from '@fastify/compress'
import fastifyStatic from '@fastify/static'
import {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
  fastify,
} from 'fastify'
import { isLoopback } from '../auth/addresses'
import { type GuardOptions, guard, isApi } from '../auth/guard'
import { requireCertificates } from '../auth/tls'
import { BASE_PATH, OWN_PATHS } from '../config'
import { answerBadHttp, HttpError, quote, sendError, statusOf, tryLater } from '../http/errors'
import type { Keeping } from '../keep/keeping'
import { type Logger, limitWarnings } from '../log'
import { takeSpans } from '../receive/http'
import type { SpanIngest } from '../receive/ingest'
import { readActivity } from '../store/activity/read'
import type { ReadableStore } from '../store/store'
import { foundRoutes } from './activity/found'
import { type ActivityOptions, activityRoutes } from './activity/routes'
import { analysisRoutes } from './analysis/routes'
import { askStoreOf } from './ask-store'
import { compareRoutes } from './compare'
import { jaegerRoutes } from './compatible/jaeger'
import { zipkinRoutes } from './compatible/zipkin'
import { limitConnections } from './connections'
import { differenceRoutes } from './difference'
import { errorsRoutes } from './errors'
import { exportRoutes } from './export'
import { feedRoute } from './keeps/feed'
import { keepsRoutes } from './keeps/routes'
import { overviewRoutes } from './overview'
import type { Reads } from './read-budget'
import { searchRoutes } from './search'
import { type StatusOptions, statusRoutes } from './status'
import { stopWithLastAnswer } from './stopping'
import { traceRoutes } from './traces'

/**
 * The HTTP server: traces, search, posted spans, health, metrics and the web interface. docs/http-api.md describes it.
 */
interface ApiOptions extends GuardOptions, Omit<StatusOptions, 'explains'> {
  /** Undefined for a relay, which keeps nothing that could be read. */
  store: ReadableStore | undefined
  ingest: SpanIngest
  keeping: Keeping
  reads: Reads
  activity: Pick<ActivityOptions, 'retentionDays' | 'activityDays' | 'maxSeries'>
  /** Returns whether an address belongs to a trusted proxy, which says where its requests come from. */
  isTrustedProxy(address: string): boolean
  /** The path under which browsers find the collector; "" when it is at the root, or a proxy removes the path. */
  basePath(): string
  /** The folder of the built web interface. Without this folder, the collector serves only the API. */
  uiDir: string
  tls: TlsOptions | undefined
  maxConnections: number
  maxBodyBytes: number
  /** Memory for bodies that are being received and read. */
  maxInFlightBytes: number
  /** How long `close` waits for answers in progress. */
  stopDeadlineMs: number
  log: Logger
}

/** Deadlines of a request: from its first byte to its last; for its headers; until the next one on the same connection. */
const REQUEST_DEADLINE_MS = 120_000
const HEADERS_DEADLINE_MS = 20_000
const KEEP_ALIVE_MS = 72_000
/** How long a connection may be idle, also when the client doesn't read an answer. */
const STANDSTILL_MS = 120_000
/** How often Node checks the deadlines. */
const DEADLINE_CHECK_MS = 5_000
const HANDSHAKE_MS = 10_000

const HEADERS = {
  'content-security-policy':
    "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
}

const WITH_WEB_ASSEMBLY = `${HEADERS['content-security-policy']}; script-src 'self' 'wasm-unsafe-eval'`
const CACHED_FOREVER = 'public, max-age=31536000, immutable'

/** These paths are views of one page, which reads its own address (collector/ui/shell/route.ts). */
const PAGES = [
  ...['/', '/search', '/trace/:id', '/services', '/services/:name', '/graph', '/dependencies'],
  ...['/analysis', '/changes', '/errors', '/kept', '/difference', '/compare', '/upload'],
]

export async function createApi(options: ApiOptions): Promise<FastifyInstance> {
  const { ingest, reads, log, metrics } = options
  const warn = limitWarnings(log)
  const askStore = askStoreOf(options.store, warn)
  const server: FastifyServerOptions = {
    forceCloseConnections: 'idle',
    requestTimeout: REQUEST_DEADLINE_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionTimeout: STANDSTILL_MS,
    // A path parameter that is too long for an id gets the answer for a bad id. Node limits the whole request line.
    routerOptions: { maxParamLength: 16_384, ignoreTrailingSlash: true, ignoreDuplicateSlashes: true },
    frameworkErrors: (error, _request, reply) => void sendError(reply.headers(HEADERS), error),
    clientErrorHandler: answerBadHttp,
    trustProxy: address => options.isTrustedProxy(address),
    rewriteUrl: ({ url = '/' }) => withoutBase(url, options.basePath()),
  }
  const { tls } = options
  const deadlines = { headersTimeout: HEADERS_DEADLINE_MS, connectionsCheckingInterval: DEADLINE_CHECK_MS }
  const secure = tls && { https: { ...tls, ...deadlines, handshakeTimeout: HANDSHAKE_MS } }
  const app = fastify({ ...server, ...(secure ?? { http: deadlines }) } as object) as FastifyInstance
  limitConnections(app.server, {
    maxConnections: options.maxConnections,
    isTrusted: address => isLoopback(address) || options.isTrustedProxy(address),
    closed: reason => metrics.httpClosed.inc({ reason }),
    warn: where => warn('max_connections', where, 'the number of HTTP connections has reached max_connections'),
  })
  if (tls !== undefined) requireCertificates(app.server as unknown as TlsServer)
  stopWithLastAnswer(app, options.stopDeadlineMs)

  app.addHook('onRoute', ({ url }) => {
    const first = url.split('/')[1] ?? ''
    if (first !== '' && !first.includes('.') && !OWN_PATHS.includes(first)) throw new Error(`OWN_PATHS lacks ${first}`)
  })
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(HEADERS)
    const url = request.routeOptions.url ?? ''
    // Every file but the page itself is named by its content.
    const isAsset = url.startsWith('/assets/')
    reply.header('cache-control', isApi(url) ? 'no-store' : isAsset ? CACHED_FOREVER : 'no-cache')
    // A worker has the policy of its own answer: Graphviz's WebAssembly runs there, and nowhere else.
    if (/^\/assets\/graph-worker-[\w-]+\.js$/.test(url)) reply.header('content-security-policy', WITH_WEB_ASSEMBLY)
  })
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none'
    metrics.httpSeconds.observe({ route, status: String(reply.statusCode) }, reply.elapsedTime / 1000)
  })
  // An answer in pieces that fails before the first one has been sent: what says why isn't compressed.
  app.addHook('onError', async (_request, reply) => void reply.removeHeader('content-encoding'))
  app.setErrorHandler((error, request, reply) => {
    if (statusOf(error) === 500) log.error({ err: error, url: request.url }, 'a request failed')
    return sendError(reply, error)
  })
  const page = pageOf(options)
  app.setNotFoundHandler((request, reply) => {
    // Who typed or followed a wrong address reads a page, which helps on from there.
    if (page !== undefined && wantsPage(request)) return page(request, reply.code(404))
    const where = `${request.method} ${quote(request.url.split('?')[0]!)}`
    return sendError(reply, new HttpError(404, 'MILO_NO_SUCH_PATH', `nothing at ${where}`))
  })
  // Called rather than registered: in a scope of its own, the guard would not check the routes below.
  await guard(app, options)
  // gzip only: every client supports it, and newer encodings take longer for the same trace. Level 4
  // makes the 63 MB of 100,000 spans 4.3 in 186 ms of a thread's time; 6, zlib's own, 3.7 in 317; 1 5.5 in 124.
  await app.register(fastifyCompress, {
    encodings: ['gzip'],
    zlibOptions: { level: 4 },
    globalDecompression: false,
  } as object)

  traceRoutes(app, reads, askStore, options.keeping.rings)
  compareRoutes(app, reads, askStore)
  searchRoutes(app, reads, askStore)
  const activity: ActivityOptions = {
    ...options.activity,
    read: (query, visit) => readActivity(part => askStore(store => store.activity(part)), query, visit),
    reads: reads.activity,
  }
  activityRoutes(app, activity)
  foundRoutes(app, reads, askStore, () => ({ ...options.activity, nowUs: Date.now() * 1000 }))
  differenceRoutes(app, reads, askStore)
  overviewRoutes(app, reads, askStore, activity)
  errorsRoutes(app, reads, askStore)
  exportRoutes(app, reads, askStore)
  analysisRoutes(app, { askStore, reads: reads.analyses })
  feedRoute(app, options.keeping)
  keepsRoutes(app, { askStore, keeping: options.store && options.keeping })
  const compatible = { reads, askStore, activity }
  app.register(scope => jaegerRoutes(scope, compatible))
  for (const prefix of ['', '/zipkin']) app.register(scope => zipkinRoutes(scope, { ...compatible, prefix }))
  statusRoutes(app, { ...options, explains: () => !options.credentials().required })
  app.register(async scope => {
    scope.addHook('onRequest', async () => {
      if (!ingest.hasRoom()) throw tryLater(503, 'too much waits for the store')
    })
    await takeSpans(scope, {
      store: (records, _spans, source) => ingest.add(records, source),
      rejected: ingest.reject,
      leftOut: (_source, { format, field, reason, count }) =>
        metrics.detailsLeftOut.inc({ format, field, reason }, count),
      maxBodyBytes: options.maxBodyBytes,
      maxInFlightBytes: options.maxInFlightBytes,
      log,
    })
  })

  if (page !== undefined) {
    app.register(fastifyStatic, { root: options.uiDir, wildcard: false, cacheControl: false, index: false })
    for (const path of PAGES) app.get(path, page)
  } else {
    log.warn({ dir: options.uiDir }, 'the web interface is not built, so only the API is served: run npm run build')
  }
  return app
}

/** Returns what answers with the page; undefined if the web interface isn't built. */
function pageOf(options: ApiOptions) {
  const index = join(options.uiDir, 'index.html')
  if (!existsSync(index)) return undefined
  const html = readFileSync(index, 'utf8')
  // The page's own links are relative to its base.
  return (request: FastifyRequest, reply: FastifyReply) =>
    reply
      .type('text/html; charset=utf-8')
      .send(html.replace('<head>', `<head>\n    <base href="${baseOf(request, options)}" />`))
}

/** What programs ask for, also as other tracing systems have it. */
const DATA = /^\/((jaeger|zipkin)\/)?(api|v1|metrics)\b/

/** Whether a browser asks for a page by this address, rather than a program for data. */
function wantsPage({ method, url, headers: { accept = '' } }: FastifyRequest): boolean {
  return (method === 'GET' || method === 'HEAD') && accept.includes('text/html') && !DATA.test(url)
}

/** Removes the base path, if the proxy hasn't removed it. */
function withoutBase(url: string, base: string): string {
  if (base === '' || !url.startsWith(base)) return url
  const rest = url.slice(base.length)
  return rest === '' || rest[0] === '?' ? `/${rest}` : rest[0] === '/' ? rest : url
}

/**
 * Returns the base of a page's relative links, which is what comes before the page's own path. So a proxy can publish the
 * collector under any path without naming it. The path must be known only for requests without its final slash.
 */
function baseOf(request: FastifyRequest, { basePath, isTrustedProxy }: ApiOptions): string {
  const prefix = request.headers['x-forwarded-prefix']
  const isPrefix =
    typeof prefix === 'string' && BASE_PATH.test(prefix) && isTrustedProxy(request.socket.remoteAddress ?? '')
  const base = basePath() || (isPrefix ? prefix.replace(/\/$/, '') : '')
  if (base !== '') return `${base}/`
  const depth = request.url.split('?')[0]!.split('/').length - 2
  return '../'.repeat(depth) || './'
}
