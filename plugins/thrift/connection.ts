import { currentFrame, describe, Frame, type PluginHandle, runInFrame, type Span } from 'milo/plugin'
import { type BySeqid, type Entry, Pending } from './pending'
import { now, type OutgoingCall } from './protocol'

/*
 * What becomes of calls that thrift never settles: the peer goes away, a timeout, an HTTP 500, a reply with a wrong
 * sequence id, a call after end(). Thrift leaves their callbacks alone, and so does Milo; but their spans end, with the
 * reason, and are forgotten. Nothing of the application's gets a listener: `emit` is watched instead.
 */

/** A call between send_X and its end. Unsampled calls are not kept. */
export interface Call extends OutgoingCall, Entry {
  method: string
  seqid: number
  connection: any
  /** The calls of its client, and those of its connection, among which it is. */
  ofClient: BySeqid<Call>
  ofConnection: Pending<Call>
  /** In the connection's offline queue since, in milliseconds of performance.now(); 0 once it has been written. */
  queuedAtMs: number
  /** Sent anew when the connection is lost and made again. */
  replayed: boolean
}

/** At most so many calls wait on one connection before the oldest is given up: thrift keeps such for ever. */
const MAX_OPEN = 10_000
const OPEN = Symbol('milo.open')

/** The connection's open calls; from the first time on, it is watched. */
export function openCalls(connection: any, plugin: PluginHandle): Pending<Call> {
  const known: Pending<Call> | undefined = connection[OPEN]
  if (known !== undefined) return known
  const open = new Pending<Call>()
  Object.defineProperty(connection, OPEN, { value: open, configurable: true })
  if (typeof connection.emit === 'function') {
    watch(connection, plugin, (event, argument) => {
      if (event === 'close') failAll(open.all(), 'transport_error', 'connection closed', argument)
      else if (event === 'timeout') failAll(open.all(), 'transport_error', 'timeout', undefined)
      else if (event === 'connect' || event === 'open') written(connection, open)
      else if (event === 'error') failOfFrame(argument)
    })
  }
  if (typeof connection.responseCallback === 'function') watchResponses(connection, plugin)
  return open
}

/** Ends a call's span, once. */
export function settle(call: Call, result: string): void {
  call.ofConnection.delete(call)
  if (call.ofClient.get(call.seqid) === call) call.ofClient.delete(call.seqid)
  const { span } = call
  // Straight into the span's lists: the keys are Milo's own, and are written once.
  span.annotations?.push('thrift.result', result)
  const { requestBytes, replyBytes } = call
  if (span.counters === undefined && requestBytes > 0 && replyBytes > 0) {
    // The usual: a list of the right length, where pushing would reserve four times as much.
    span.counters = ['thrift.request_bytes', requestBytes, 'thrift.reply_bytes', replyBytes]
  } else {
    const counters = (span.counters ??= [])
    if (requestBytes > 0) counters.push('thrift.request_bytes', requestBytes)
    if (replyBytes > 0) counters.push('thrift.reply_bytes', replyBytes)
  }
  span.end()
}

export function keep(call: Call): void {
  call.ofClient.set(call.seqid, call)
  call.ofConnection.add(call)
  if (call.ofConnection.size > MAX_OPEN) {
    fail(call.ofConnection.oldest!, 'abandoned', 'too many calls wait on this connection')
  }
}

export function fail(call: Call, result: string, reason: string, error?: unknown): void {
  if (error instanceof Error) call.span.annotate('error.message', describe(error))
  call.span.annotate('error.type', codeOf(error) ?? reason)
  settle(call, result)
}

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}

function failAll(calls: Call[], result: string, reason: string, error: unknown): void {
  for (const call of calls) fail(call, result, reason, error)
}

/**
 * Whether a connection that is made sends its offline queue again when it is made anew: thrift 0.9.3 and 0.12 never empty
 * it. A call may be answered more than once then.
 */
export function replays(connection: any): boolean {
  return connection?.offline_queue?.length > 0
}

/** What waited for the connection has left. */
function written(connection: any, open: Pending<Call>): void {
  for (const call of open.all()) {
    if (call.queuedAtMs === 0) continue
    call.span.count('thrift.queue_us', Math.round((performance.now() - call.queuedAtMs) * 1000))
    call.queuedAtMs = 0
    call.replayed = replays(connection)
  }
}

/** Called with what send_X has written, or has had queued. */
export function sent(call: Call): void {
  const { connection } = call
  if (connection?.forceClose === true && connection.connected === false) {
    // After end(): thrift queues it for a connection that won't be made.
    fail(call, 'transport_error', 'connection ended')
  } else if (connection?.connected === false || (typeof connection?.isOpen === 'function' && !connection.isOpen())) {
    call.queuedAtMs = performance.now()
  }
}

export function patchConnection(exports: any, plugin: PluginHandle): void {
  plugin.wrap(
    exports.Connection.prototype,
    'connection_gone',
    original =>
      function (this: any) {
        // What is in the offline queue is sent when it reconnects; what was written won't be answered.
        if (this[OPEN] !== undefined) {
          failAll(
            (this[OPEN] as Pending<Call>).all().filter(call => call.queuedAtMs === 0 && !call.replayed),
            'transport_error',
            'connection closed',
            undefined,
          )
        }
        return original.call(this)
      } as any,
  )
}

/** The frame of a request that is a call's own: over HTTP. What fails in it is that call. */
class CallFrame extends Frame {
  readonly call: Call | undefined
  constructor(span: Span, call: Call | undefined) {
    super(span, currentFrame()?.cells)
    this.call = call
  }
}

/** For HttpConnection and XHRConnection, whose write makes a request for each call. */
export function patchRequests(prototype: any, plugin: PluginHandle): void {
  plugin.wrap(
    prototype,
    'write',
    original =>
      function (this: any, ...args: unknown[]) {
        const outgoing = now.outgoing
        if (outgoing === undefined || !plugin.enabled) return original.apply(this, args)
        const call = outgoing.span.sampled ? (outgoing as Call) : undefined
        // What the request makes is a child of the call, or unsampled with it.
        return runInFrame(new CallFrame(outgoing.span, call), () => {
          now.outgoing = undefined
          try {
            return original.apply(this, args)
          } finally {
            now.outgoing = outgoing
          }
        })
      } as any,
  )
}

function callOfFrame(): Call | undefined {
  const frame = currentFrame()
  return frame instanceof CallFrame ? frame.call : undefined
}

function failOfFrame(error: unknown): void {
  const call = callOfFrame()
  if (call === undefined || !call.ofConnection.has(call)) return
  const { name, statusCode } = (error ?? {}) as { name?: unknown; statusCode?: unknown }
  const reason = typeof statusCode === 'number' ? String(statusCode) : typeof name === 'string' ? name : 'error'
  fail(call, 'transport_error', reason, error)
}

/** A response that has ended without a reply in it settles nothing. */
function watchResponses(connection: any, plugin: PluginHandle): void {
  const original = connection.responseCallback
  connection.responseCallback = plugin.imitate(original, function (this: unknown, ...args: any[]) {
    const call = callOfFrame()
    if (call !== undefined) {
      watch(args[0], plugin, event => {
        if (event === 'close') endWithoutReply(call)
      })
    }
    return original.apply(this, args)
  })
}

export function patchXhr(prototype: any, plugin: PluginHandle): void {
  patchRequests(prototype, plugin)
  plugin.wrap(
    prototype,
    'getXmlHttpRequestObject',
    original =>
      function (this: unknown) {
        const request = original.call(this)
        const call = callOfFrame()
        // The request object is thrift's own: a listener of ours is seen by nobody.
        if (call !== undefined && typeof request?.addEventListener === 'function') {
          request.addEventListener('loadend', () => endWithoutReply(call, request.status))
        }
        return request
      } as any,
  )
}

function endWithoutReply(call: Call, status?: unknown): void {
  // The reply's own callback comes a tick after it has been read.
  setImmediate(() => {
    if (!call.ofConnection.has(call)) return
    fail(call, 'transport_error', typeof status === 'number' && status !== 200 ? String(status) : 'no reply')
  })
}

const SEEN = new Set<unknown>(['close', 'connect', 'error', 'open', 'timeout'])

/** Sees these events before their listeners do, without being a listener: counts and defaults stay as they are. */
export function watch(emitter: any, plugin: PluginHandle, see: (event: unknown, argument: unknown) => void): void {
  const emit = emitter.emit
  const value = function (this: unknown, event: unknown, ...args: unknown[]) {
    if (SEEN.has(event)) {
      try {
        see(event, args[0])
      } catch (error) {
        plugin.fail(error)
      }
    }
    return emit.call(this, event, ...args)
  }
  Object.defineProperty(emitter, 'emit', { value: plugin.imitate(emit, value), configurable: true, writable: true })
}
