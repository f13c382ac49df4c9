import {
  clock,
  currentFrame,
  describe,
  errorName,
  type Frame,
  frameWith,
  type PluginHandle,
  setImmediate,
} from 'milo/plugin'
import { type BySeqid, type Entry, type Numbered, Pending } from './pending'
import type { OutgoingCall } from './protocol'

/*
 * What becomes of calls that thrift never settles: the peer goes away, an HTTP 500, a reply with a wrong sequence id, a
 * call after end(). Thrift leaves their callbacks alone, and so does Milo; but their spans end, with the reason, and are
 * forgotten. Nothing of the application's gets a listener: `emit` is watched instead.
 */

/** A call between send_X and its end. Unsampled calls are not kept. */
export interface Call extends OutgoingCall, Entry, Numbered {
  /** What has been noticed, and may turn out to be why it was never answered: a word or an error. */
  trouble: unknown
  connection: any
  /** The calls of its client, where they are found by their ids, and those of its connection, among which it is. */
  ofClient: BySeqid<Call> | undefined
  ofConnection: Pending<Call>
  /** Over once it has been written. */
  oneway: boolean
  /** When the call came into the connection's offline queue, in milliseconds of the clock; 0 once it has been written. */
  queuedAtMs: number
  /** Whether it is sent anew when the connection is lost and made again. */
  replayed: boolean
}

/** How many calls may wait on one connection before the oldest is given up: thrift keeps them forever. */
const MAX_OPEN = 10_000
const OPEN = Symbol('milo.open')
/** Connections of thrift's own that are over, with the error that ended them: they queue calls that they won't send. */
const over = new WeakMap<object, unknown>()

/** The connection's open calls; from the first time on, it is watched. */
export function openCalls(connection: any, plugin: PluginHandle): Pending<Call> {
  const known: Pending<Call> | undefined = connection[OPEN]
  if (known !== undefined) return known
  const open = new Pending<Call>()
  if (!Object.isExtensible(connection)) return open
  Object.defineProperty(connection, OPEN, { value: open, configurable: true })
  if (typeof connection.emit === 'function') {
    watch(connection, plugin, (event, argument) => {
      if (event === 'close') {
        const error = argument instanceof Error ? argument : errorOf(connection)
        if ('forceClose' in connection) over.set(connection, error)
        closed(open.all(), error)
      } else if (event === 'timeout') note(open, 'timeout')
      else if (event === 'connect' || event === 'open') written(connection, open)
      else if (event === 'error' && !failOfFrame(argument)) {
        // Nobody listens, so the process ends by it before the connection closes. If it doesn't, what waits may still be sent.
        const ends = connection.listenerCount?.('error') === 0 && !connection.max_attempts
        if (ends && argument !== undefined && argument === errorOf(connection)) closed(open.all(), argument)
        else note(open, argument)
      }
    })
  }
  if (typeof connection.responseCallback === 'function') watchResponses(connection, plugin)
  return open
}

/** Whether a call is sampled, and its span hasn't ended. */
export function isOpen(call: OutgoingCall): call is Call {
  return (call as Call).ofConnection?.has(call as Call) === true
}

/** Ends the span of an open call. */
export function settle(call: Call, result: string): void {
  if (!call.ofConnection.has(call)) return
  call.ofConnection.delete(call)
  call.ofClient?.delete(call)
  const { span, requestBytes, replyBytes } = call
  span.adopt(['thrift.result', result], sizes(requestBytes, replyBytes))
  span.end()
}

/** A list of the right length: pushing reserves four times as much. */
export function sizes(request: number, reply: number): (string | number)[] | undefined {
  if (request === 0) return reply === 0 ? undefined : ['thrift.reply_bytes', reply]
  return reply === 0
    ? ['thrift.request_bytes', request]
    : ['thrift.request_bytes', request, 'thrift.reply_bytes', reply]
}

/** Keeps the call of a library whose connections settle every call by themselves. */
export function keepOpen(call: OutgoingCall, connection: unknown, ofConnection: Pending<Call>): Call {
  const kept: Call = Object.assign(call, {
    seqid: 0,
    behind: undefined,
    trouble: undefined,
    connection,
    ofClient: undefined,
    ofConnection,
    oneway: false,
    queuedAtMs: 0,
    replayed: false,
    previous: undefined,
    next: undefined,
    list: undefined,
  })
  keep(kept)
  return kept
}

export function keep(call: Call): void {
  call.ofClient?.add(call)
  call.ofConnection.add(call)
  if (call.ofConnection.size > MAX_OPEN) {
    fail(call.ofConnection.oldest!, 'abandoned', 'too many calls wait on this connection')
  }
}

export function fail(call: Call, result: string, reason: string, error?: unknown): void {
  if (error instanceof Error) call.span.fail(error).annotate('error.message', describe(error))
  call.span.annotate('error.type', codeOf(error) ?? reason)
  settle(call, result)
}

/** An HTTP status, or a system's code such as ECONNREFUSED. got's errors have the response; request gives it in an error's place. */
export function codeOf(error: unknown): string | undefined {
  const { code, statusCode, response } = (error ?? {}) as NodeJS.ErrnoException & {
    statusCode?: unknown
    response?: any
  }
  const status = typeof statusCode === 'number' ? statusCode : response?.statusCode
  if (typeof status === 'number') return String(status)
  if (!(error instanceof Error)) return undefined
  return typeof code === 'string' ? code : undefined
}

function closed(calls: Call[], error?: unknown): void {
  for (const call of calls) failBy(call, error ?? call.trouble ?? 'connection closed')
}

/** @param trouble a word or an error */
function failBy(call: Call, trouble: unknown): void {
  if (typeof trouble === 'string') fail(call, 'transport_error', trouble)
  else {
    const { name } = (trouble ?? {}) as { name?: unknown }
    const reason = trouble instanceof Error ? errorName(trouble) : typeof name === 'string' ? name : 'error'
    fail(call, 'transport_error', reason, trouble)
  }
}

/** Notes what may be why calls are never answered: thrift does nothing about a timeout, and says of an error only that there is one. */
function note(open: Pending<Call>, trouble: unknown): void {
  // ws's errors are events, which hold the error.
  const cause = trouble instanceof Error ? trouble : ((trouble as { error?: unknown } | undefined)?.error ?? trouble)
  for (const call of open.all()) call.trouble = cause
}

/** What destroyed a connection's stream, whether or not somebody listens to the connection's errors. */
function errorOf(connection: any): unknown {
  const error = connection.connection?.errored
  return error instanceof Error ? error : undefined
}

/**
 * Whether a connection that is made sends its offline queue again when it is made anew: thrift 0.9.3 and 0.12 never empty
 * it. A call may be answered more than once then.
 */
export function replays(connection: any): boolean {
  return connection?.offline_queue?.length > 0
}

/** Notes how long each call has waited for the connection, which has just sent them. */
function written(connection: any, open: Pending<Call>): void {
  for (const call of open.all()) {
    call.trouble = undefined
    if (call.queuedAtMs === 0) continue
    call.span.count('thrift.queue_us', Math.round((clock.now() - call.queuedAtMs) * 1000))
    call.queuedAtMs = 0
    call.replayed = replays(connection)
    if (call.oneway) settle(call, 'ok')
  }
}

/** Called with what send_X has written, or has had queued. */
export function sent(call: Call): void {
  const { connection } = call
  if (connection?.connected === false || (typeof connection?.isOpen === 'function' && !connection.isOpen())) {
    if (!over.has(connection)) call.queuedAtMs = clock.now()
    else failBy(call, over.get(connection) ?? (connection.forceClose ? 'connection ended' : 'connection closed'))
  } else if (call.oneway) settle(call, 'ok')
}

const PERSISTENT = Symbol('milo.persistent')

/** Marks a class of thrift's whose connections are one stream each. */
export function markPersistent(connection: any): void {
  Object.defineProperty(connection.prototype, PERSISTENT, { value: true })
}

export function isPersistent(connection: any): boolean {
  return connection?.[PERSISTENT] === true
}

export function patchConnection(exports: any, plugin: PluginHandle): void {
  markPersistent(exports.Connection)
  if (exports.StdIOConnection !== undefined) markPersistent(exports.StdIOConnection)
  plugin.wrap(
    exports.Connection.prototype,
    'connection_gone',
    original =>
      function (this: any) {
        // What is in the offline queue is sent when it reconnects; what was written won't be answered.
        const open: Pending<Call> | undefined = this[OPEN]
        if (open !== undefined) {
          const lost = open.all().filter(call => call.queuedAtMs === 0 && !call.replayed)
          closed(lost, errorOf(this))
        }
        return original.call(this)
      },
  )
}

/** Where a connection leads to, as far as it says so: in properties like thrift's, or in a URL. */
export function addressOf(connection: any): { address: string | undefined; port: string | undefined } {
  try {
    const { host, port, path, socketPath, url } = connection
    const address = host ?? path ?? socketPath
    if (typeof address === 'string') return { address, port: host && port !== undefined ? String(port) : undefined }
    const { protocol, hostname, port: explicit } = new URL(url)
    return { address: hostname, port: explicit !== '' ? explicit : protocol === 'https:' ? '443' : '80' }
  } catch {
    // There is no connection, or it doesn't say.
    return { address: undefined, port: undefined }
  }
}

/** The frame in which a call is sent that may make a request of its own. What fails in it is that call. */
export function frameOf(call: OutgoingCall): Frame {
  const frame = frameWith(call.span)
  frame.slot = call
  return frame
}

function callOfFrame(): Call | undefined {
  const call = currentFrame()?.slot as OutgoingCall | null | undefined
  return call && isOpen(call) ? call : undefined
}

/** @returns whether an error is of one call */
function failOfFrame(error: unknown): boolean {
  const call = callOfFrame()
  if (call !== undefined) failBy(call, error)
  return call !== undefined
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
      },
  )
}

function endWithoutReply(call: Call, status?: unknown): void {
  // The reply's own callback comes a tick after it has been read.
  setImmediate(() => {
    if (!isOpen(call)) return
    fail(call, 'transport_error', typeof status === 'number' && status !== 200 ? String(status) : 'no reply')
  })
}

const SEEN = new Set<unknown>(['close', 'connect', 'error', 'open', 'timeout'])

/** Sees these events before their listeners do. */
function watch(emitter: any, plugin: PluginHandle, see: (event: unknown, argument: unknown) => void): void {
  plugin.watchEmit(emitter, (self, event, args, emit) => {
    if (SEEN.has(event)) {
      try {
        see(event, args[0])
      } catch (error) {
        plugin.fail(error)
      }
    }
    return emit(self, event, args)
  })
}
