import {
  currentFrame,
  describe,
  type Frame,
  type HeaderTarget,
  isActive,
  isName,
  Kind,
  type PluginHandle,
  runInFrame,
  type Span,
  setImmediate,
  startSpan,
  type Wrapped,
  writeHeaders,
} from 'milo/plugin'
import { type Body, endUnread, noteStatus } from '../http/answer'
import { FieldsOn } from '../http/fields'
import { operation, pathOf } from '../http/names'

/** undici's Request, as its diagnostics channels show it. Applications don't see it otherwise. */
interface Request {
  method: string
  /** Of a proxy's requests, the whole URL. */
  path: string
  origin: unknown
  /** name, value, name, value …; before undici 6 the text that is sent. */
  headers: unknown[] | string
  addHeader(name: string, value: string): unknown
}

/** The span of a request, and the frame in which it was made, as private fields of it. */
class Made extends FieldsOn {
  readonly #span: Span
  readonly #frame: Place

  /** @param frame NOWHERE if nothing need be called in it */
  constructor(request: object, span: Span, frame: Place) {
    super(request)
    this.#span = span
    this.#frame = frame
  }

  static spanOf(request: object): Span | undefined {
    return #span in request ? (request as Made).#span : undefined
  }

  static frameOf(request: object): Place {
    return #span in request ? (request as Made).#frame : NOWHERE
  }
}

const NOWHERE = Symbol('no frame')
type Place = Frame | undefined | typeof NOWHERE

/** The frame in which a request was given to a pool, as a private field of its handler, until the request is made. */
class Waiting extends FieldsOn {
  #frame: Place

  constructor(handler: object, frame: Frame | undefined) {
    super(handler)
    this.#frame = frame
  }

  static put(handler: object, frame: Frame | undefined): void {
    if (#frame in handler) (handler as Waiting).#frame = frame
    else new Waiting(handler, frame)
  }

  /** @returns the current one for a handler that hasn't waited */
  static take(handler: object): Frame | undefined {
    if (!(#frame in handler)) return currentFrame()
    const frame = (handler as Waiting).#frame
    ;(handler as Waiting).#frame = NOWHERE
    return frame === NOWHERE ? currentFrame() : frame
  }
}

/** Whether any pool has been patched. Node's own undici has pools without a limit. */
let poolsArePatched = false

export function patchPool(prototype: any, plugin: PluginHandle): void {
  const dispatch = symbolOf(prototype, 'dispatch')
  if (dispatch === undefined) return
  poolsArePatched = true
  plugin.wrap(
    prototype,
    dispatch as unknown as string,
    original =>
      function (this: unknown, options: unknown, handler: unknown) {
        if (plugin.enabled && isActive() && typeof handler === 'object' && handler !== null)
          Waiting.put(handler, currentFrame())
        return original.call(this, options, handler)
      },
  )
}

export function requestMade(request: Request, plugin: PluginHandle): void {
  if (!isActive()) return
  const way = wayOf(request, plugin)
  const handler = handlerOf(request, way)
  const here = currentFrame()
  const frame = poolsArePatched && handler !== undefined ? Waiting.take(handler) : here
  const name = operation(request.method, pathWithin(request.path))
  const span = frame === here ? startSpan(Kind.CLIENT, name) : runInFrame(frame, startSpan, Kind.CLIENT, name)
  new Made(request, span, handler !== undefined && isOfFetch(handler) ? NOWHERE : frame)
  if (span.recording) {
    const { host, port } = peerOf(request)
    span
      .annotate('http.request.method', request.method)
      .annotate('server.address', host)
      .annotate('server.port', port)
      .annotate('url.path', pathOf(pathWithin(request.path)))
  }
  // Baggage is that of the frame.
  if (frame === here) writeHeaders(request, HEADERS, span)
  else runInFrame(frame, writeHeaders<Request>, request, HEADERS, span)
}

export function headersCame(request: Request, status: number): void {
  const span = Made.spanOf(request)
  if (!span?.recording) return
  noteStatus(span, status)
  // Those of 100 to 199 come before the response's.
  if (status >= 200) setImmediate(endIfUnread, span, request)
}

export function requestOver(request: object): void {
  Made.spanOf(request)?.end()
}

export function requestFailed(request: object, error: any): void {
  const span = Made.spanOf(request)
  if (!span?.recording) return
  // A RetryHandler gives up an answer by this error, but the answer has said itself what is wrong.
  if (error?.code === 'UND_ERR_REQ_RETRY') {
    span.end()
    return
  }
  // An aborted fetch has a DOMException, whose code is a number.
  const type = typeof error?.code === 'string' ? error.code : error?.name
  span
    .annotate('error.type', typeof type === 'string' && type !== '' ? type : 'error')
    .annotate('error.message', describe(error))
    .end()
}

const HEADERS: HeaderTarget<Request> = {
  has: ({ headers }, name) => {
    if (typeof headers === 'string') return `\r\n${headers}`.toLowerCase().includes(`\r\n${name}:`)
    for (let i = 0; i < headers.length; i += 2) if (isName(headers[i], name)) return true
    return false
  },
  add: (request, name, value) => request.addHeader(name, value),
  host: request => peerOf(request).host,
  port: request => peerOf(request).port,
}

const URL_PARTS = /^(https?:)\/\/(?:[^/?#@]*@)?(?:\[([^\]]+)\]|([^/?#:]*))(?::(\d+))?/

interface Peer {
  host: string
  port: string
}

/** Whom a request is for: also where it goes by a proxy, which has the whole URL as its path. */
function peerOf({ origin, path }: Request): Peer {
  if (path.charCodeAt(0) !== SLASH) {
    const peer = peerIn(path)
    if (peer !== undefined) return peer
  }
  const url = String(origin)
  if (url !== lastOrigin) {
    lastPeer = peerIn(url) ?? { host: url, port: '' }
    lastOrigin = url
  }
  return lastPeer
}

/** The peer that is asked for is mostly the one that was asked for last. */
let lastOrigin = ''
let lastPeer: Peer = { host: '', port: '' }

function peerIn(url: string): Peer | undefined {
  const parts = URL_PARTS.exec(url)
  if (parts === null) return undefined
  const [, protocol, address, name, port] = parts
  return { host: address ?? name!, port: port ?? (protocol === 'https:' ? '443' : '80') }
}

function pathWithin(path: string): string {
  return path.charCodeAt(0) === SLASH ? path : path.slice(URL_PARTS.exec(path)?.[0].length ?? 0)
}

const SLASH = 47

/** What is known of one undici's Request: a process may have several, as Node's own and npm's. */
interface Way {
  prototype: object
  handler: symbol | undefined
}

const ways = new WeakMap<object, Way>()
let lastWay: Way = { prototype: {}, handler: undefined }

function wayOf(request: Request, plugin: PluginHandle): Way {
  const prototype = Object.getPrototypeOf(request)
  if (lastWay.prototype === prototype) return lastWay
  let way = ways.get(prototype)
  if (way === undefined) {
    way = { prototype, handler: symbolOf(request, 'handler') }
    ways.set(prototype, way)
    patchRequest(prototype, plugin)
  }
  lastWay = way
  return way
}

function symbolOf(object: object, description: string): symbol | undefined {
  return Object.getOwnPropertySymbols(object).find(symbol => symbol.description === description)
}

function handlerOf(request: Request, { handler }: Way): object | undefined {
  const value = handler === undefined ? undefined : (request as any)[handler]
  return typeof value === 'object' && value !== null ? value : undefined
}

/**
 * What undici calls when something has come, and passes on to the handler: to listeners of the body, to RetryHandlers and
 * RedirectHandlers, which make further requests, and to handlers of the application's own. The second of each is undici 8's.
 */
const CALLS = ['onHeaders', 'onResponseStart', 'onData', 'onResponseData', 'onComplete', 'onResponseEnd']
const FAILURES = ['onError', 'onResponseError']
const UPGRADES = ['onUpgrade', 'onRequestUpgrade']

function patchRequest(prototype: any, plugin: PluginHandle): void {
  const there = (name: string) => typeof prototype[name] === 'function'
  for (const name of [...CALLS, ...FAILURES].filter(there)) {
    plugin.wrap(
      prototype,
      name,
      original =>
        function (this: Request, a: unknown, b: unknown, c: unknown, d: unknown) {
          return callInFrame(this, original, a, b, c, d)
        },
    )
  }
  for (const name of UPGRADES.filter(there)) {
    plugin.wrap(
      prototype,
      name,
      original =>
        function (this: Request, status: number, b: unknown, c: unknown, d: unknown) {
          // The socket is no longer the request's. Most versions publish nothing about it.
          const span = Made.spanOf(this)
          if (span?.recording) {
            noteStatus(span, status)
            span.end()
          }
          return callInFrame(this, original, status, b, c, d)
        },
    )
  }
}

function callInFrame(request: Request, original: Wrapped, a: unknown, b: unknown, c: unknown, d: unknown): unknown {
  const frame = Made.frameOf(request)
  const here = currentFrame()
  if (here === frame || frame === NOWHERE) return original.call(request, a, b, c, d)
  return runInFrame(frame, call, original, request, a, b, c, d)
}

function call(original: Wrapped, self: unknown, a: unknown, b: unknown, c: unknown, d: unknown): unknown {
  return original.call(self, a, b, c, d)
}

function endIfUnread(span: Span, request: Request): void {
  const way = ways.get(Object.getPrototypeOf(request))
  const body = way && bodyOf(handlerOf(request, way))
  if (body !== undefined) endUnread(span, body)
}

/** How many handlers around another are looked into. */
const MAX_DEPTH = 4

/** The stream of a response. The `body` of undici's other handlers is the request's. */
function bodyOf(handler: any): Body | undefined {
  for (let depth = 0; depth < MAX_DEPTH && handler; depth++) {
    const body = handler.res === undefined && 'abort' in handler ? handler.body : handler.res
    if (typeof body?.readableDidRead === 'boolean' && typeof body.listenerCount === 'function') return body
    handler = handler.handler
  }
  return undefined
}

/** fetch's handler settles promises and pushes into streams that others read, whose contexts are their own. */
function isOfFetch(handler: any): boolean {
  return Object.getPrototypeOf(handler) === Object.prototype && handler.body === null && handler.abort === null
}
