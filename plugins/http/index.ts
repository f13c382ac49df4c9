import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import {
  baggageOfHeaders,
  contextOfHeaders,
  currentFrame,
  type Frame,
  frameWith,
  type HeaderTarget,
  isActive,
  isName,
  Kind,
  type Plugin,
  type PluginHandle,
  runInFrame,
  type Span,
  setImmediate,
  startServerSpan,
  startSpan,
  type Wrapped,
  writeHeaders,
} from 'milo/plugin'
import { endUnread, noteError, noteStatus } from './answer'
import { Exchange, emitInFrame, isHeardElsewhere, type Route } from './exchange'
import { operation, pathOf } from './names'

/**
 * node:http, node:https and node:http2, both sides, with what their headers carry: a request's span is the root, or the child of the
 * caller's, of all that is done for it.
 *
 *   index.ts     HTTP/1
 *   code.ts      HTTP/2, loaded with the first stream that a server gets, or the first connection of a process that has loaded http2
 *   exchange.ts  a request's objects: their span, and the frame of their listeners
 *   answer.ts    what an answer says on its span
 *   names.ts     how requests are named
 *
 * Only prototypes are patched, those which both modules share: so https needn't be loaded for it (3 ms), and it doesn't
 * matter how an application came by `request` or `get`. No listener is added to anything: `emit` is watched instead.
 *
 * Most events of a request and its response come from their socket, which belongs to no request. So the `emit` of these
 * emitters runs the listeners in a frame: those of IncomingMessage and ServerResponse, and of a socket that was upgraded, in the
 * request's; those of ClientRequest and its response in that of the code that made the request.
 */
export const http: Plugin = {
  name: 'http',
  patches: [
    { module: 'http', patch: patchHttp },
    { module: 'net', patch: watchConnections },
  ],
}

const code = () => (loaded ??= require('./code') as typeof import('./code'))
/** Kept: it has state, and an application may empty Node's cache of modules. */
let loaded: typeof import('./code') | undefined

/** Whether the request of this response has a span that takes annotations. */
export function isRecording(res: any): boolean {
  return exchangeOf(res)?.span.recording === true
}

/**
 * Notes the route that a request takes, which names its span when it ends.
 * @param res the request's response
 */
export function takeRoute(res: any, route: Route): void {
  const exchange = exchangeOf(res)
  if (exchange !== undefined) exchange.route = route
}

function exchangeOf(res: any): Exchange | undefined {
  return Exchange.of(res) ?? (res.stream && loaded?.Exchange.of(res.stream))
}

function patchHttp(exports: any, plugin: PluginHandle): void {
  const { ClientRequest, IncomingMessage, Server, ServerResponse } = exports
  // net.Server's, from which the servers of all three modules inherit.
  plugin.watchEmit(
    Object.getPrototypeOf(Server.prototype),
    (server, event, args, emit) => {
      if (!isActive()) return emit(server, event, args)
      if (event === 'stream') return code().streamCame(server, event, args, emit, plugin)
      // Other objects were made by the code that emits them, which says in its own way when they are over.
      const [req, peer] = args as [IncomingMessage, ServerResponse | Duplex]
      const isUpgrade = event === 'upgrade' || event === 'connect'
      if (!(req instanceof IncomingMessage && (isUpgrade ? isSocket(peer) : peer instanceof ServerResponse)))
        return emit(server, event, args)
      let frame: Frame | undefined
      try {
        frame = startRequestSpan(req, peer, plugin)
      } catch (error) {
        plugin.fail(error)
      }
      return frame === undefined ? emit(server, event, args) : runInFrame(frame, emit, server, event, args)
    },
    (_server, event) => STARTS.has(event),
  )
  plugin.watchEmit(
    ServerResponse.prototype,
    (res, event, args, emit) => {
      // 'close' comes after 'finish', or alone when the peer went away first.
      if (event === 'close') endRequestSpan(res)
      return isHeardElsewhere(res, event) ? emitInFrame(res, event, args, emit) : emit(res, event, args)
    },
    (res, event) => (event === 'close' && Exchange.of(res)?.span.recording) || isHeardElsewhere(res, event),
  )
  plugin.watchEmit(IncomingMessage.prototype, emitInFrame, isHeardElsewhere)
  plugin.watchEmit(
    ClientRequest.prototype,
    (req, event, args, emit) => {
      seeClientEvent(req, event, args[0])
      return isHeardElsewhere(req, event) ? emitInFrame(req, event, args, emit) : emit(req, event, args)
    },
    (req, event) => CLIENT_EVENTS.has(event) || isHeardElsewhere(req, event),
  )
  // Node makes a request's headers here: at the first write or at the end, or at once for a request with an `Expect` header or
  // an array of headers. This is the last moment to add one.
  plugin.wrap(
    ClientRequest.prototype,
    '_storeHeader',
    original =>
      function (this: ClientRequest, firstLine: unknown, headers: unknown) {
        if (plugin.enabled && isActive()) {
          try {
            headers = traceRequest(this, headers)
          } catch (error) {
            plugin.fail(error)
          }
        }
        return original.call(this, firstLine, headers)
      },
  )
}

/** A request arrives by one of these events of a server. */
const STARTS = new Set<unknown>(['request', 'checkContinue', 'checkExpectation', 'upgrade', 'connect', 'stream'])

/**
 * Has HTTP/2's clients patched when a connection is made and http2 has been loaded. To load it for that would take 5 to 12 ms
 * of every start, and nothing says when it is loaded, least of all by an import.
 */
function watchConnections({ Socket }: typeof import('node:net'), plugin: PluginHandle): void {
  let isPatched = false
  plugin.wrap(
    Socket.prototype,
    'connect',
    original =>
      function (this: unknown, ...args: unknown[]) {
        if (!isPatched && plugin.enabled && isLoaded('http2')) {
          isPatched = true
          try {
            code().patchClients(plugin)
          } catch (error) {
            plugin.fail(error)
          }
        }
        return original.apply(this, args)
      },
  )
}

function isLoaded(module: string): boolean {
  const { moduleLoadList } = process as { moduleLoadList?: string[] }
  return moduleLoadList === undefined || moduleLoadList.includes(`NativeModule ${module}`)
}

function isSocket(value: unknown): value is Duplex {
  const { write, emit } = (value ?? {}) as Partial<Duplex>
  return typeof write === 'function' && typeof emit === 'function'
}

/**
 * Starts the span of a request that has arrived.
 * @returns the frame for all work on it; undefined if it has a span already, because one server handed it on to another
 */
function startRequestSpan(
  req: IncomingMessage,
  peer: ServerResponse | Duplex,
  plugin: PluginHandle,
): Frame | undefined {
  if (Exchange.of(req) !== undefined || Exchange.of(peer) !== undefined) return undefined
  const method = req.method ?? 'GET'
  const url = req.url ?? '/'
  const { rawHeaders, socket } = req
  // Adapters of serverless platforms fill in `headers` alone, which Node makes from the others when it is first read.
  const headers = rawHeaders.length > 0 ? rawHeaders : Object.entries(req.headers).flat()
  const span = startServerSpan(operation(method, url), contextOfHeaders(headers, socket))
  const frame = frameWith(span)
  frame.baggage = baggageOfHeaders(headers, socket)
  new Exchange(req, span, frame).share(peer)
  if (span.recording) {
    const path = pathOf(url)
    // Nobody has annotated the span yet.
    if (method.length + path.length <= ADOPTED_LENGTH) span.adopt(['http.request.method', method, 'url.path', path])
    else span.annotate('http.request.method', method).annotate('url.path', path)
  }
  if (!('statusCode' in peer)) watchUpgraded(peer, span, plugin)
  else if (peer.socket === null && span.recording && isSocket(req.socket)) watchQueued(req.socket, peer, plugin)
  return frame
}

/** Strings of this length need no look at a span's limits. What isn't a string has no length. */
const ADOPTED_LENGTH = 1024

/**
 * Responses that wait for others before them to be sent: those of pipelined requests. A list, not a Set: a Set makes a new table now
 * and then, and the old ones, once they have grown old, keep the new ones and all in them alive until the next full garbage collection.
 */
const queues = new WeakMap<Duplex, ServerResponse[]>()
/** On a socket that an application made itself, all of them may wait forever. */
const MAX_QUEUED = 1_000

/** Ends a response's span when its socket closes before the response's turn: Node emits nothing on the response then. */
function watchQueued(socket: Duplex, res: ServerResponse, plugin: PluginHandle): void {
  let queue = queues.get(socket)
  if (queue === undefined) {
    const waiting: ServerResponse[] = []
    queue = waiting
    queues.set(socket, waiting)
    plugin.watchEmit(socket, (self, event, args, emit) => {
      if (event === 'close') for (const one of waiting) endRequestSpan(one)
      return emit(self, event, args)
    })
  }
  while (queue[0]?.writableFinished) queue.shift()
  if (queue.length < MAX_QUEUED) queue.push(res)
}

function endRequestSpan(res: ServerResponse): void {
  const exchange = Exchange.of(res)
  if (!exchange?.span.recording) return
  try {
    const { span } = exchange
    exchange.nameByRoute()
    if (res.headersSent) span.annotate('http.response.status_code', res.statusCode)
    if (!res.writableFinished) span.annotate('error.type', 'aborted')
    else if (res.statusCode >= 500) span.annotate('error.type', String(res.statusCode))
    span.end()
  } catch {
    // A span that stays open is the worst that may come of it.
  }
}

/**
 * Watches a socket that 'upgrade' or 'connect' gave to the application, which answers on it: the span ends with the first
 * write, or when the socket closes before that.
 */
function watchUpgraded(socket: Duplex, span: Span, plugin: PluginHandle): void {
  plugin.watchEmit(socket, (self, event, args, emit) => {
    if (event === 'close' && span.recording) span.annotate('error.type', 'aborted').end()
    return isHeardElsewhere(self, event) ? emitInFrame(self, event, args, emit) : emit(self, event, args)
  })
  if (!span.recording) return
  for (const name of ['write', 'end'] as const) {
    const original: Wrapped = socket[name]
    const value = plugin.imitate(original, (...args: any[]) => {
      if (span.endUs === 0) answered(span, args[0])
      return original.apply(socket, args)
    })
    Object.defineProperty(socket, name, { value, configurable: true, writable: true })
  }
}

function answered(span: Span, chunk: unknown): void {
  const head = typeof chunk === 'string' ? chunk : Buffer.isBuffer(chunk) ? chunk.toString('latin1', 0, 16) : ''
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1]
  if (status !== undefined) span.annotate('http.response.status_code', status)
  if (status !== undefined && Number(status) >= 500) span.annotate('error.type', status)
  span.end()
}

/** @param headers as `_storeHeader` is given them */
function startClientSpan(req: ClientRequest, headers: unknown): Span {
  const span = startSpan(Kind.CLIENT, operation(req.method, req.path))
  new Exchange(req, span, currentFrame())
  if (span.recording) {
    span
      .annotate('http.request.method', req.method)
      .annotate('server.address', req.host)
      .annotate('url.path', pathOf(req.path))
    const port = calledPort(req, Array.isArray(headers) ? valueIn(headers, 'host') : req.getHeader('host'))
    if (port !== undefined) span.annotate('server.port', port)
  }
  return span
}

/** Undefined where nothing says it: for a socket of the file system, and where the application calls the host by another name. */
function calledPort(req: ClientRequest, hostHeader: unknown): string | undefined {
  const name = req.host.includes(':') ? `[${req.host}]` : req.host
  if (typeof hostHeader !== 'string' || !hostHeader.startsWith(name)) return undefined
  if ((req as { socketPath?: unknown }).socketPath) return undefined
  const rest = hostHeader.slice(name.length)
  return rest === '' || /^:\d+$/.test(rest) ? portOf(req, rest) : undefined
}

/** @returns the headers to be sent */
function traceRequest(req: ClientRequest, headers: unknown): unknown {
  // A class of the application's may have the headers made again.
  const span = Exchange.of(req)?.span ?? startClientSpan(req, headers)
  if (headers !== null && headers !== undefined && !Array.isArray(headers)) {
    writeHeaders(req, ON_REQUEST, span)
    return headers
  }
  // Headers may also be an array of names and values, or of pairs; or there are none.
  const list = headers ?? []
  // Node throws for these.
  if (!Array.isArray(list[0]) && list.length % 2 !== 0) return headers
  const more: string[][] = []
  writeHeaders({ req, list, more }, IN_ARRAY, span)
  if (more.length === 0) return headers
  return [...list, ...(Array.isArray(list[0]) ? more : more.flat())]
}

const ON_REQUEST: HeaderTarget<ClientRequest> = {
  has: (req, name) => req.hasHeader(name),
  add: (req, name, value) => req.setHeader(name, value),
  host: req => req.host,
  port: req => portOf(req, req.getHeader('host')),
}

const IN_ARRAY: HeaderTarget<{ req: ClientRequest; list: any[]; more: string[][] }> = {
  has: ({ list }, name) => valueIn(list, name) !== undefined,
  add: ({ more }, name, value) => more.push([name, value]),
  host: ({ req }) => req.host,
  port: ({ req, list }) => portOf(req, valueIn(list, 'host')),
}

function valueIn(list: any[], name: string): unknown {
  if (Array.isArray(list[0])) return list.find(pair => isName(pair?.[0], name))?.[1]
  return list.find((_, i) => i % 2 === 1 && isName(list[i - 1], name))
}

/** A request keeps no port, but the `Host` header that Node makes for it has the port, unless it is the protocol's own. */
function portOf(req: ClientRequest, host: unknown): string {
  const port = typeof host === 'string' ? /:(\d+)$/.exec(host)?.[1] : undefined
  return port ?? (req.protocol === 'https:' ? '443' : '80')
}

/** The events of a request that its span tells of. */
const CLIENT_EVENTS = new Set<unknown>(['close', 'response', 'upgrade', 'connect', 'error'])

/** Notes a request's event on its span, before the listeners run. */
function seeClientEvent(req: ClientRequest, event: string | symbol, argument: unknown): void {
  if (!CLIENT_EVENTS.has(event)) return
  const exchange = Exchange.of(req)
  if (exchange === undefined) return
  try {
    const { span } = exchange
    if (event === 'response') exchange.share(argument as object)
    if (span.recording) noteClientEvent(span, req, event, argument)
  } catch {
    // A span that stays open is the worst that may come of it.
  }
}

function noteClientEvent(span: Span, req: ClientRequest, event: string | symbol, argument: unknown): void {
  if (event === 'close') {
    const res = (req as { res?: IncomingMessage | null }).res
    if (res && !res.complete) span.annotate('error.type', 'aborted')
    span.end()
  } else if (event === 'error') noteError(span, argument)
  else {
    const res = argument as IncomingMessage
    noteStatus(span, res.statusCode ?? 0)
    // A socket that is handed over is no longer the request's.
    if (event !== 'response') span.end()
    else setImmediate(endUnread, span, res)
  }
}
