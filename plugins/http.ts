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
  const { ClientRequest, IncomingMessage, Server } = exports
  // net.Server's, from which the servers of both modules inherit.
  plugin.wrap(
    Object.getPrototypeOf(Server.prototype),
    'emit',
    emit =>
      function (this: unknown, event: unknown, ...args: any[]) {
        if (event !== 'request' || !(args[0] instanceof IncomingMessage) || !plugin.enabled || !isActive()) {
          return emit.call(this, event, ...args)
        }
        let span: Span | undefined
        try {
          span = startRequestSpan(args[0], args[1])
        } catch (error) {
          plugin.fail(error)
        }
        if (span === undefined) return emit.call(this, event, ...args)
        return runInFrame(frameWith(span), () => emit.call(this, event, ...args))
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

type Emit = (this: any, event: string | symbol, ...args: any[]) => boolean

function startRequestSpan(req: IncomingMessage, res: ServerResponse): Span {
  const method = req.method ?? 'GET'
  const url = req.url ?? '/'
  const span = startServerSpan(
    operation(method, url),
    parseTraceparent(req.headers.traceparent, req.headers.tracestate),
  )
  if (!span.sampled) return span
  span.annotate('http.request.method', method).annotate('url.path', pathOf(url))
  watch(res, event => {
    // 'close' comes after 'finish', and alone when the peer went away first.
    if (event !== 'close') return
    span.annotate('http.response.status_code', res.statusCode)
    if (!res.writableFinished) span.annotate('error.type', 'aborted')
    else if (res.statusCode >= 500) span.annotate('error.type', String(res.statusCode))
    span.end()
  })
  return span
}

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

/** Sees each event of one emitter before its listeners do, without being a listener: counts and defaults stay as they are. */
function watch(
  emitter: ClientRequest | ServerResponse,
  see: (event: string | symbol, argument: unknown) => void,
): void {
  const emit: Emit = emitter.emit
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
  Object.defineProperty(emitter, 'emit', { value: watching, configurable: true, writable: true, enumerable: false })
}

function pathOf(url: string): string {
  const end = url.search(/[?#]/)
  return end === -1 ? url : url.slice(0, end)
}

/**
 * A name that few requests don't share: method and path, a segment that looks like a value replaced by `*` (one with a
 * digit in it, or longer than 32 characters), four segments at most.
 */
function operation(method: string, url: string): string {
  const segments = pathOf(url).split('/', 6).slice(1)
  const kept = segments.slice(0, 4).map(segment => (/\d/.test(segment) || segment.length > 32 ? '*' : segment))
  return `${method} /${kept.join('/')}${segments.length > 4 ? '/…' : ''}`
}
