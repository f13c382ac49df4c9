import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import {
  describe,
  formatTraceparent,
  frameWith,
  isActive,
  Kind,
  type Plugin,
  type PluginHandle,
  parseTraceparent,
  type RemoteContext,
  runInFrame,
  type Span,
  startServerSpan,
  startSpan,
} from 'milo/plugin'

/**
 * node:http and node:https, both sides, with W3C trace context: a request's span is the root, or the child of the
 * caller's, of all that is done for it.
 *
 * Only prototypes are patched, those which both modules share: so https needn't be loaded for it (3 ms), and it doesn't
 * matter how an application came by `request` or `get`. No listener is added to anything: `emit` is watched instead.
 */
export const http: Plugin = {
  name: 'http',
  patches: [{ module: 'http', patch: patchHttp }],
}

function patchHttp(exports: any, plugin: PluginHandle): void {
  const { ClientRequest, IncomingMessage, Server, ServerResponse } = exports
  // net.Server's, from which the servers of both modules inherit.
  plugin.wrap(
    Object.getPrototypeOf(Server.prototype),
    'emit',
    emit =>
      function (this: unknown, event: unknown, ...args: any[]) {
        if (event !== 'request' || !plugin.enabled || !isActive()) return emit.call(this, event, ...args)
        // Whoever emits others makes them himself, and says when they are over in his own way.
        const [req, res] = args
        if (!(req instanceof IncomingMessage && res instanceof ServerResponse)) return emit.call(this, event, ...args)
        let span: Span | undefined
        try {
          span = startRequestSpan(req, res)
        } catch (error) {
          plugin.fail(error)
        }
        if (span === undefined) return emit.call(this, event, ...args)
        return runInFrame(frameWith(span), () => emit.call(this, event, ...args))
      } as any,
  )
  plugin.wrap(
    ServerResponse.prototype,
    'emit',
    emit =>
      function (this: ServerResponse, event: unknown, ...args: unknown[]) {
        // It comes after 'finish', and alone when the peer went away first.
        if (event === 'close') endRequestSpan(this)
        return emit.call(this, event, ...args)
      } as any,
  )
  // Where a request's headers are made, at its first write or its end: the last moment to add one.
  plugin.wrap(
    ClientRequest.prototype,
    '_implicitHeader',
    original =>
      function (this: ClientRequest) {
        if (plugin.enabled && isActive() && !this.headersSent) {
          try {
            traceRequest(this)
          } catch (error) {
            plugin.fail(error)
          }
        }
        return original.call(this)
      } as any,
  )
}

/** Undefined for a request that one server has handed on to another: it has its span. */
function startRequestSpan(req: IncomingMessage, res: ServerResponse): Span | undefined {
  if (Traced.spanOf(res) !== undefined) return undefined
  const method = req.method ?? 'GET'
  const url = req.url ?? '/'
  const span = startServerSpan(operation(method, url), callersContext(req))
  new Traced(res, span)
  if (span.sampled) span.annotate('http.request.method', method).annotate('url.path', pathOf(url))
  return span
}

function endRequestSpan(res: ServerResponse): void {
  const span = Traced.spanOf(res)
  if (!span?.sampled) return
  try {
    span.annotate('http.response.status_code', res.statusCode)
    if (!res.writableFinished) span.annotate('error.type', 'aborted')
    else if (res.statusCode >= 500) span.annotate('error.type', String(res.statusCode))
    span.end()
  } catch {
    // A span that stays open is the worst that may come of it.
  }
}

/** As a constructor, what it returns is what a derived class's fields are put onto. */
function given(res: object): object {
  return res
}

/** A response's span, as a private field of the response: nobody sees it there, and a WeakMap takes 700 ns. */
class Traced extends (given as unknown as new (res: object) => object) {
  readonly #span: Span

  constructor(res: ServerResponse, span: Span) {
    super(res)
    this.#span = span
  }

  static spanOf(res: object): Span | undefined {
    return #span in res ? (res as Traced).#span : undefined
  }
}

/** `headers` is made where it is first asked for, which costs more than all this: it isn't if there is nothing in it for us. */
function callersContext(req: IncomingMessage): RemoteContext | undefined {
  const { rawHeaders } = req
  let isThere = rawHeaders.length === 0
  for (let i = 0; i < rawHeaders.length && !isThere; i += 2) {
    const name = rawHeaders[i]!
    isThere = name.length === TRACEPARENT.length && name.toLowerCase() === TRACEPARENT
  }
  return isThere ? parseTraceparent(req.headers.traceparent, req.headers.tracestate) : undefined
}

const TRACEPARENT = 'traceparent'

function traceRequest(req: ClientRequest): void {
  const span = startSpan(Kind.CLIENT, operation(req.method, req.path))
  // The application's own header stays.
  if (req.getHeader('traceparent') === undefined) {
    req.setHeader('traceparent', formatTraceparent(span))
    if (span.trace.state !== undefined) req.setHeader('tracestate', span.trace.state)
  }
  if (!span.sampled) return
  span
    .annotate('http.request.method', req.method)
    .annotate('server.address', req.host)
    .annotate('url.path', pathOf(req.path))
  watch(req, (event, argument) => {
    if (event === 'response') {
      const status = (argument as IncomingMessage).statusCode ?? 0
      span.annotate('http.response.status_code', status)
      if (status >= 400) span.annotate('error.type', String(status))
    } else if (event === 'error') {
      const code = (argument as NodeJS.ErrnoException | undefined)?.code
      span
        .annotate('error.type', typeof code === 'string' ? code : 'error')
        .annotate('error.message', describe(argument))
    } else if (event === 'close') {
      span.end()
    }
  })
}

type Emit = (this: any, event: string | symbol, ...args: any[]) => boolean

/** Sees each event of a request before its listeners do, without being a listener: counts and defaults stay as they are. */
function watch(req: ClientRequest, see: (event: string | symbol, argument: unknown) => void): void {
  const emit: Emit = req.emit
  const watching: Emit = function (this: unknown, event, ...args) {
    if (event === 'close' || event === 'response' || event === 'error') {
      try {
        see(event, args[0])
      } catch {
        // A span that stays open is the worst that may come of it.
      }
    }
    return emit.call(this, event, ...args)
  }
  Object.defineProperty(req, 'emit', { value: watching, configurable: true, writable: true, enumerable: false })
}

function pathOf(url: string): string {
  for (let i = 0; i < url.length; i++) {
    const c = url.charCodeAt(i)
    if (c === QUESTION_MARK || c === HASH) return url.slice(0, i)
  }
  return url
}

const SLASH = 47
const HASH = 35
const QUESTION_MARK = 63

/**
 * A name that few requests don't share: method and path, a segment that looks like a value replaced by `*` (one with a
 * digit in it, or longer than 32 characters), four segments at most. One pass: every request pays for it, sampled or not.
 */
function operation(method: string, url: string): string {
  let name = `${method} `
  let segments = 0
  /** Where the segment begins; what has been taken over into the name ends at `taken`. */
  let start = -1
  let taken = 0
  let isValue = false
  for (let i = 0; ; i++) {
    const c = i < url.length ? url.charCodeAt(i) : QUESTION_MARK
    if (c !== SLASH && c !== QUESTION_MARK && c !== HASH) {
      if (c >= 48 && c <= 57) isValue = true
      continue
    }
    if (segments > 0 && (isValue || i - start > 32)) {
      name += `${url.slice(taken, start)}*`
      taken = i
    }
    if (c !== SLASH) return segments === 0 ? `${name}/` : name + url.slice(taken, i)
    if (segments === 0) taken = i
    if (++segments > 4) return `${name}${url.slice(taken, i)}/…`
    start = i + 1
    isValue = false
  }
}
