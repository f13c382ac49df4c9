import type { ClientHttp2Session, ClientHttp2Stream, ServerHttp2Stream } from 'node:http2'
import { syncBuiltinESMExports } from 'node:module'
import { Duplex } from 'node:stream'
import {
  baggageOfHeaders,
  contextOfHeaders,
  currentFrame,
  type Emit,
  type Frame,
  frameWith,
  type HeaderTarget,
  isActive,
  isName,
  Kind,
  type PluginHandle,
  runInFrame,
  type Span,
  setImmediate,
  startServerSpan,
  startSpan,
  writeHeaders,
} from 'milo/plugin'
import { endUnread, noteError, noteStatus } from './answer'
import { Exchange, emitInFrame, isHeardElsewhere } from './exchange'
import { operation, pathOf } from './names'

export { Exchange }

/**
 * HTTP/2: each stream is a request. Its classes aren't exported, and so their prototypes are patched when the first object of each is
 * seen. What a server pushes belongs to the request that it is pushed for, and has no span of its own.
 */

type Headers = Record<string, unknown>

/** RFC 9113, section 7, by number. */
const RESET_CODES = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
]

/** Prototypes that have been patched. */
const patched = new WeakSet<object>()

function isNew(prototype: object): boolean {
  if (patched.has(prototype)) return false
  patched.add(prototype)
  return true
}

/**
 * Runs what listens to a server's 'stream' in the frame of the request. The server's own listener is among them, which emits 'request'.
 */
export function streamCame(server: unknown, event: string, args: unknown[], emit: Emit, plugin: PluginHandle): boolean {
  let frame: Frame | undefined
  try {
    const [stream, headers, , raw] = args as [ServerHttp2Stream, Headers, number, unknown]
    if (isRequest(stream, headers)) frame = startStreamSpan(stream, headers, raw, plugin)
  } catch (error) {
    plugin.fail(error)
  }
  if (frame === undefined) return emit(server, event, args)
  const result = runInFrame(frame, emit, server, event, args)
  // A tunnel is no longer the request's, once it has been granted.
  const [stream, headers] = args as [ServerHttp2Stream, Headers]
  if (headers[':method'] === 'CONNECT' && stream.headersSent) endServerStream(stream)
  return result
}

/** Servers of other protocols may have a 'stream' of their own. */
function isRequest(stream: any, headers: any): boolean {
  return typeof stream?.respond === 'function' && stream.session != null && typeof headers?.[':method'] === 'string'
}

/** @returns undefined if it has a span already, because one server handed it on to another */
function startStreamSpan(
  stream: ServerHttp2Stream,
  headers: Headers,
  raw: unknown,
  plugin: PluginHandle,
): Frame | undefined {
  if (Exchange.of(stream) !== undefined) return undefined
  const prototype = Object.getPrototypeOf(stream)
  if (isNew(prototype)) plugin.watchEmit(prototype, aroundServerStream, isWanted)
  const method = headers[':method'] as string
  const path = String(headers[':path'] ?? '/')
  const list = Array.isArray(raw) ? raw : Object.entries(headers).flat()
  // The session's socket is a Proxy that is made when it is first asked for.
  const caller = {
    get remoteAddress() {
      return stream.session?.socket.remoteAddress
    },
  }
  const span = startServerSpan(operation(method, path), contextOfHeaders(list, caller))
  const frame = frameWith(span)
  frame.baggage = baggageOfHeaders(list, caller)
  new Exchange(stream, span, frame)
  if (span.recording) {
    span
      .annotate('http.request.method', method)
      .annotate('url.path', pathOf(path))
      .annotate('network.protocol.version', '2')
  }
  return frame
}

/** Those of a request's end and answer, and what somebody listens to. */
function isWanted(stream: ServerHttp2Stream | ClientHttp2Stream, event: string | symbol): boolean {
  return event === 'close' || event === 'response' || event === 'error' || isHeardElsewhere(stream, event)
}

function aroundServerStream(stream: ServerHttp2Stream, event: string | symbol, args: unknown[], emit: Emit): boolean {
  if (event === 'close') endServerStream(stream)
  return isHeardElsewhere(stream, event) ? emitInFrame(stream, event, args, emit) : emit(stream, event, args)
}

function endServerStream(stream: ServerHttp2Stream): void {
  const exchange = Exchange.of(stream)
  if (!exchange?.span.recording) return
  try {
    const { span } = exchange
    exchange.nameByRoute()
    const status = Number(stream.sentHeaders?.[':status'])
    if (stream.headersSent) span.annotate('http.response.status_code', status)
    if (stream.aborted) span.annotate('error.type', 'aborted')
    else if (stream.rstCode) span.annotate('error.type', RESET_CODES[stream.rstCode] ?? String(stream.rstCode))
    else if (status >= 500) span.annotate('error.type', String(status))
    span.end()
  } catch {
    // A span that stays open is the worst that may come of it.
  }
}

/** Called within the first `connect` of a socket after http2 was loaded. */
export function patchClients(plugin: PluginHandle): void {
  const http2: typeof import('node:http2') = require('node:http2')
  const { connect } = http2
  plugin.wrap(
    http2,
    'connect',
    original =>
      function (this: unknown, ...args: unknown[]) {
        const session = original.apply(this, args)
        patchSession(session, plugin)
        return session
      },
  )
  syncBuiltinESMExports()
  // Usually it is http2's own connect that connects the socket: then a session is about to be made that the wrapper doesn't see.
  if (!isWithinHttp2()) return
  const silent = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  const session = runInFrame(undefined, () => connect('http://localhost', { createConnection: () => silent }))
  session.on('error', () => {}).destroy()
  patchSession(session, plugin)
}

function isWithinHttp2(): boolean {
  try {
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 100
    const stack: unknown = new Error().stack
    Error.stackTraceLimit = stackTraceLimit
    return typeof stack !== 'string' || stack.includes('node:internal/http2/')
  } catch {
    // An application may have made Error read-only.
    return true
  }
}

function patchSession(session: ClientHttp2Session, plugin: PluginHandle): void {
  const prototype = Object.getPrototypeOf(session)
  if (!isNew(prototype) || typeof prototype.request !== 'function') return
  plugin.wrap(
    prototype,
    'request',
    original =>
      function (this: ClientHttp2Session, headers: unknown, ...rest: unknown[]) {
        let call: Call | undefined
        try {
          if (plugin.enabled && isActive()) call = startCall(this, headers)
        } catch (error) {
          plugin.fail(error)
        }
        if (call === undefined) return original.call(this, headers, ...rest)
        let stream: ClientHttp2Stream
        try {
          stream = original.call(this, call.headers, ...rest)
        } catch (error) {
          // A session that is closed or has been told to go away.
          noteError(call.span, error)
          call.span.end()
          throw error
        }
        try {
          new Exchange(stream, call.span, currentFrame())
          const streams = Object.getPrototypeOf(stream)
          if (isNew(streams)) plugin.watchEmit(streams, aroundClientStream, isWanted)
        } catch (error) {
          plugin.fail(error)
        }
        return stream
      },
  )
}

interface Call {
  span: Span
  /** The application's, with those of the trace. */
  headers: unknown
}

/** @returns undefined for what isn't traced: undici's requests, whose spans are its plugin's, and what Node won't take */
function startCall(session: ClientHttp2Session, given: unknown): Call | undefined {
  if (given !== undefined && (typeof given !== 'object' || given === null)) return undefined
  const peer = peerOf(session)
  if (peer.isUndicis) return undefined
  const list: unknown[] | undefined = Array.isArray(given) ? [...given] : undefined
  const headers: Headers = list === undefined ? { ...(given as Headers) } : {}
  const target = { list, headers, peer }
  const method = String(headerOf(target, ':method') ?? 'GET')
  const path = String(headerOf(target, ':path') ?? '/')
  const span = startSpan(Kind.CLIENT, operation(method, path))
  if (span.recording) {
    const { host, port } = hostOf(target)
    span
      .annotate('http.request.method', method)
      .annotate('server.address', host)
      .annotate('server.port', port)
      .annotate('url.path', pathOf(path))
      .annotate('network.protocol.version', '2')
  }
  writeHeaders(target, HEADERS, span)
  return { span, headers: list ?? headers }
}

/** Headers are an object, or since Node 24 a list of names and values. */
interface Target {
  list: unknown[] | undefined
  headers: Headers
  peer: Peer
}

function headerOf({ list, headers }: Target, name: string): unknown {
  if (list !== undefined) return list.find((_, i) => i % 2 === 1 && isName(list[i - 1], name))
  for (const key in headers) if (isName(key, name)) return headers[key]
  return undefined
}

const HEADERS: HeaderTarget<Target> = {
  has: (target, name) => headerOf(target, name) !== undefined,
  add: ({ list, headers }, name, value) => {
    if (list === undefined) headers[name] = value
    else list.push(name, value)
  },
  host: target => hostOf(target).host,
  port: target => hostOf(target).port,
}

/** One connection may serve several hosts: then the request says which. */
function hostOf(target: Target): { host: string; port: string } {
  const { peer } = target
  const authority = headerOf(target, ':authority') ?? headerOf(target, 'host')
  const match = typeof authority === 'string' ? AUTHORITY.exec(authority) : null
  return match === null ? peer : { host: match[1] ?? match[2]!, port: match[3] ?? peer.port }
}

const AUTHORITY = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/

/** Whom a session is connected to. */
interface Peer {
  host: string
  port: string
  isUndicis: boolean
}

const peers = new WeakMap<ClientHttp2Session, Peer>()

function peerOf(session: ClientHttp2Session): Peer {
  let peer = peers.get(session)
  if (peer === undefined) {
    const symbols = Object.getOwnPropertySymbols(session)
    const bySymbol = (name: string): any => (session as any)[symbols.find(one => one.description === name)!]
    // Node's own: host and port, an IPv6 address without brackets.
    const authority = String(bySymbol('authority') ?? '')
    const colon = authority.lastIndexOf(':')
    // undici's: the Client that the session belongs to.
    const isUndicis = typeof bySymbol('client')?.dispatch === 'function'
    peer = { host: authority.slice(0, colon), port: authority.slice(colon + 1), isUndicis }
    peers.set(session, peer)
  }
  return peer
}

function aroundClientStream(stream: ClientHttp2Stream, event: string | symbol, args: unknown[], emit: Emit): boolean {
  const span = Exchange.of(stream)?.span
  if (span?.recording) {
    try {
      noteClientEvent(span, stream, event, args[0])
    } catch {
      // A span that stays open is the worst that may come of it.
    }
  }
  return isHeardElsewhere(stream, event) ? emitInFrame(stream, event, args, emit) : emit(stream, event, args)
}

function noteClientEvent(span: Span, stream: ClientHttp2Stream, event: string | symbol, argument: unknown): void {
  if (event === 'response') {
    noteStatus(span, Number((argument as Headers)[':status']))
    // A tunnel is no longer the request's.
    if (stream.sentHeaders?.[':method'] === 'CONNECT') span.end()
    else setImmediate(endUnread, span, stream)
  } else if (event === 'error') noteError(span, argument)
  else if (event === 'close') {
    if (stream.rstCode) span.annotate('error.type', RESET_CODES[stream.rstCode] ?? String(stream.rstCode))
    span.end()
  }
}
