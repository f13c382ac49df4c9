import { isIP } from 'node:net'
import fastifyRateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { HttpError, quote } from '../http/errors'
import type { Metrics } from '../metrics'
import { hostName } from '../trace'
import { forwardedFor, isLoopback } from './addresses'
import type { Credentials, Scope } from './credentials'

/**
 * Decides whether a request may be answered. It checks, in this order:
 *
 *     host → not another site's page → rate → credentials → scope
 */
export interface GuardOptions {
  /** The address on which the server listens. */
  host: string
  // Functions, because a reload of the configuration may change what they return.
  credentials(): Credentials
  /** Further Host names that a proxy on this machine may send. */
  allowedHosts(): string[]
  /** Requests per minute and address; 0 means no limit. */
  rateLimit(): number
  metrics: Metrics
}

const MINUTE_MS = 60_000
/** Password attempts per address. A valid user needs one attempt; tokens cost nothing. */
const PASSWORD_TRIES_A_MINUTE = 20
/** Probes for process managers. Without credentials they answer only whether the collector works. */
const OPEN = ['/livez', '/healthz', '/readyz']
declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether the route receives spans, or results made of them: ingest tokens may use it, and it has no rate limit. */
    takesSpans?: boolean
  }
}

export async function guard(app: FastifyInstance, options: GuardOptions): Promise<void> {
  app.addHook('onRequest', async request => {
    // From here on, request.ip is the client's: the last address that isn't a trusted proxy's.
    const { headers } = request.raw
    const forwarded = forwardedFor(headers)
    if (forwarded === undefined) delete headers['x-forwarded-for']
    else headers['x-forwarded-for'] = forwarded
    checkHost(request.headers.host, options)
    checkSite(request, options)
  })
  await app.register(fastifyRateLimit, {
    global: false,
    timeWindow: MINUTE_MS,
    // The number of addresses that are remembered.
    cache: 10_000,
  })
  const mayAsk = app.createRateLimit({ max: () => options.rateLimit() })
  const mayTry = app.createRateLimit({ max: PASSWORD_TRIES_A_MINUTE })

  app.addHook('onRequest', async (request, reply) => {
    // A process manager would restart the collector for a 429, and may share its address with all other clients.
    const isWatching = OPEN.includes(request.routeOptions.url ?? '')
    if (options.rateLimit() > 0 && !isWatching && !isIngest(request)) {
      const limit = await mayAsk(request)
      if (!limit.isAllowed && limit.isExceeded) throw tooMany(reply, limit.ttlInSeconds)
    }
    await checkCredentials(request, reply)
  })

  async function checkCredentials(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const credentials = options.credentials()
    if (!credentials.required || isOpen(request, credentials)) return
    const { authorization } = request.headers
    const scope =
      authorization === undefined
        ? undefined
        : await credentials.scopeOf(authorization, async () => {
            const limit = await mayTry(request)
            return limit.isAllowed || !limit.isExceeded
          })
    if (scope === 'later') throw tooMany(reply, 60)
    if (scope === undefined) {
      if (authorization !== undefined) options.metrics.authFailures.inc()
      for (const scheme of credentials.schemes) {
        const value = scheme === 'basic' ? 'Basic realm="Milo", charset="UTF-8"' : 'Bearer realm="Milo"'
        reply.header('www-authenticate', [reply.getHeader('www-authenticate') ?? [], value].flat() as never)
      }
      const what = authorization === undefined ? 'this needs credentials' : 'these credentials are not known'
      throw new HttpError(401, 'MILO_UNAUTHORIZED', `${what}: send ${credentials.schemes.join(' or ')} credentials`, {
        schemes: credentials.schemes,
      })
    }
    if (!allows(scope, request)) {
      throw new HttpError(
        403,
        'MILO_FORBIDDEN',
        `a token of scope ${scope} does not allow ${request.method} of this path: use another token`,
      )
    }
  }
}

/**
 * No browser can send a token for a page, and a page holds no data: with tokens alone, pages are open. It is the route that
 * counts, not the address, which may be written in many ways.
 */
function isOpen({ routeOptions: { url = '' } }: FastifyRequest, { schemes }: Credentials): boolean {
  if (OPEN.includes(url)) return true
  return !schemes.includes('basic') && !isApi(url) && !/^\/(v1|metrics)\b/.test(url)
}

/** Whether a route answers with what is stored: Milo's own API, or those of Jaeger and Zipkin. */
export function isApi(url: string): boolean {
  return /^(\/jaeger|\/zipkin)?\/api\b/.test(url)
}

function isIngest({ routeOptions }: FastifyRequest): boolean {
  return routeOptions.config?.takesSpans === true
}

function allows(scope: Scope, request: FastifyRequest): boolean {
  if (scope === 'full') return true
  return scope === 'ingest' ? isIngest(request) : isReading(request)
}

function isReading({ method }: FastifyRequest): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}

function tooMany(reply: FastifyReply, seconds: number): HttpError {
  reply.header('retry-after', Math.max(1, Math.ceil(seconds)))
  return new HttpError(429, 'MILO_TOO_MANY_REQUESTS', 'too many requests from this address: wait and try again')
}

/**
 * A page of any site may make a browser on this machine call 127.0.0.1, under a name that its owner points there (DNS
 * rebinding), and would then read every trace. It can't do so under an address or as localhost, so only these are taken,
 * and the names that the configuration allows. A collector that listens on another address than
 * loopback is open to a network in which names are in use, so nothing is checked there.
 */
function checkHost(header: string | undefined, { host, allowedHosts }: GuardOptions): void {
  if (!isLoopback(host) || header === undefined) return
  const name = hostName(header)
  if (isIP(name) !== 0 || name === 'localhost' || isAllowed(name, allowedHosts())) return
  throw new HttpError(
    403,
    'MILO_HOST_REFUSED',
    `requests for host ${quote(header)} are refused: if the name is yours, add it to http.allowed_hosts`,
  )
}

/**
 * Another site's page can't read an answer (CORS stays closed), but could send a request that changes something, with the
 * password that the browser knows. Browsers say where a request comes from; programs say nothing, and are let through.
 */
function checkSite(request: FastifyRequest, { allowedHosts }: GuardOptions): void {
  if (isReading(request)) return
  const { 'sec-fetch-site': site, origin } = request.headers
  if (site === 'same-origin' || site === 'none') return
  if (site === undefined) {
    if (origin === undefined) return
    const from = /^https?:\/\/([^/]+)$/.exec(origin)?.[1]
    // As the browser had it, if a trusted proxy says so.
    if (from !== undefined && (from === request.host || isAllowed(hostName(from), allowedHosts()))) return
  }
  throw new HttpError(403, 'MILO_CROSS_SITE', "a page of another site sent this request: open the collector's own page")
}

function isAllowed(name: string, allowedHosts: string[]): boolean {
  return allowedHosts.some(allowed => hostName(allowed) === name)
}
