import { AsyncResource } from 'node:async_hooks'
import { type Carrier, carrierFor, currentSettings, isActive, Kind, type PluginHandle, startSpan } from 'milo/plugin'
import { type Call, fail, keep, openCalls, replays, sent, settle } from './connection'
import { operation, serviceOf } from './names'
import { askApplication } from './on-request'
import { BySeqid, Pending } from './pending'
import { now, type OutgoingCall } from './protocol'

/*
 * A generated client's method takes a sequence id, keeps its callback (or the settling of its promise) in _reqs, and calls
 * send_X, which writes and flushes: all at once. So send_X is where a call begins, what it finds in _reqs is where it
 * ends, and recv_X is where its reply is read. All three are wrapped once a class.
 */

interface Client {
  _seqid: number
  _reqs: Record<number, ((...args: unknown[]) => unknown) | undefined>
  [PEER]?: Peer
}

/** Whom a client talks to. */
interface Peer {
  /** Undefined for a client that was made by hand. */
  connection: any
  /** The name under which a multiplexed service is registered. */
  service: string | undefined
  /** Its open calls, by sequence id. */
  open: BySeqid<Call>
  openOfConnection: Pending<Call>
  carrier: Carrier
  /** The settings by which the carrier was chosen. */
  settings: unknown
  operations: Map<string, Operation>
}

/** What every call of a method says. */
interface Operation {
  name: string
  annotations: string[]
}

const PEER = Symbol('milo.peer')
const wrapped = new WeakSet<object>()

export function traceClient(client: any, connection: any, service: unknown, plugin: PluginHandle): void {
  if (!plugin.enabled) return
  try {
    Object.defineProperty(client, PEER, {
      value: peerOf(connection, service === undefined ? undefined : String(service), plugin),
      configurable: true,
    })
    traceClientClass(Object.getPrototypeOf(client), plugin)
  } catch (error) {
    plugin.fail(error)
  }
}

/** Wraps the generated class and those that it inherits from. */
export function traceClientClass(prototype: any, plugin: PluginHandle): void {
  for (let level = prototype; level && level !== Object.prototype; level = Object.getPrototypeOf(level)) {
    if (wrapped.has(level)) continue
    wrapped.add(level)
    for (const name of Object.getOwnPropertyNames(level)) {
      if (typeof Object.getOwnPropertyDescriptor(level, name)!.value !== 'function') continue
      if (name.startsWith('send_')) wrapSend(level, name, plugin)
      else if (name.startsWith('recv_')) wrapRecv(level, name, plugin)
    }
  }
}

function peerOf(connection: any, service: string | undefined, plugin: PluginHandle): Peer {
  return {
    connection,
    service,
    open: new BySeqid(),
    openOfConnection: connection ? openCalls(connection, plugin) : new Pending(),
    carrier: 'field',
    settings: undefined,
    operations: new Map(),
  }
}

function wrapSend(prototype: any, name: string, plugin: PluginHandle): void {
  const method = name.slice('send_'.length)
  const declared = serviceOf(prototype[name], method)
  const oneway = /MessageType\.ONEWAY/.test(String(prototype[name]))
  // A method that takes no callback makes a promise, whose continuations keep their contexts by themselves.
  const promises = prototype[method]?.length === prototype[name].length
  const kind: Method = { method, declared, oneway, promises }
  plugin.wrap(
    prototype,
    name,
    original =>
      // biome-ignore-start lint/complexity/noArguments: to be passed on as they are, they needn't be made an array
      function (this: Client) {
        if (!plugin.enabled || !isActive()) return original.apply(this, arguments)
        let call: OutgoingCall
        try {
          call = begin(this, kind, arguments, plugin)
        } catch (error) {
          plugin.fail(error)
          return original.apply(this, arguments)
        }
        const outer = now.outgoing
        now.outgoing = call
        try {
          const result = original.apply(this, arguments)
          if (call.span.sampled && call.span.endUs === 0) sent(call as Call)
          return result
        } catch (error) {
          if (call.span.sampled) fail(call as Call, 'not_sent', nameOf(error), error)
          throw error
        } finally {
          now.outgoing = outer
        }
      } as any,
    // biome-ignore-end lint/complexity/noArguments: see above
  )
}

/** What is known of a method once its class has been generated. */
interface Method {
  method: string
  declared: string | undefined
  oneway: boolean
  promises: boolean
}

function begin(client: Client, kind: Method, args: ArrayLike<unknown>, plugin: PluginHandle): OutgoingCall {
  const peer = client[PEER] ?? handMade(client, plugin)
  const settings = currentSettings()!
  if (peer.settings !== settings) {
    peer.settings = settings
    peer.carrier = carrierFor(settings.propagation, peer.connection?.host, peer.connection?.port)
  }
  const { carrier } = peer
  const { method, promises } = kind
  const { name, annotations } = peer.operations.get(method) ?? describeOperation(peer, kind)
  const span = startSpan(Kind.CLIENT, name, carrier === 'calltrace-legacy16')
  const seqid = client._seqid
  const callback = client._reqs[seqid]
  if (!span.sampled) {
    const call: OutgoingCall = { span, carrier, requestBytes: 0, replyBytes: 0 }
    if (!promises && typeof callback === 'function') client._reqs[seqid] = bound(callback)
    return call
  }
  span.annotations = annotations.slice()
  const call: Call = {
    span,
    carrier,
    requestBytes: 0,
    replyBytes: 0,
    method,
    seqid,
    connection: peer.connection,
    ofClient: peer.open,
    ofConnection: peer.openOfConnection,
    queuedAtMs: 0,
    replayed: false,
    previous: undefined,
    next: undefined,
    list: undefined,
  }
  if (typeof callback === 'function') client._reqs[seqid] = settling(call, promises ? callback : bound(callback))
  keep(call)
  if (settings.onRequest !== undefined) askApplication(span, Array.from(args))
  return call
}

function handMade(client: Client, plugin: PluginHandle): Peer {
  const peer = peerOf(undefined, undefined, plugin)
  Object.defineProperty(client, PEER, { value: peer, configurable: true })
  return peer
}

/** The keys are OpenTelemetry's semantic conventions; `thrift` is what its Java agent calls this system. */
function describeOperation(peer: Peer, { method, declared, oneway }: Method): Operation {
  const service = peer.service ?? declared
  const annotations = ['rpc.system', 'thrift', 'rpc.method', method]
  if (service !== undefined) annotations.push('rpc.service', service)
  const { host, port, path, socketPath } = peer.connection ?? {}
  const address = host ?? path ?? socketPath
  if (typeof address === 'string') annotations.push('server.address', address)
  if (port !== undefined && host !== undefined) annotations.push('server.port', String(port))
  if (oneway) annotations.push('thrift.oneway', 'true')
  const known = { name: operation(service, method).slice(0, 256), annotations }
  peer.operations.set(method, known)
  return known
}

/** Ends the span with the reply. */
function settling(call: Call, callback: (...args: unknown[]) => unknown): (...args: unknown[]) => unknown {
  return function (this: unknown, ...args: unknown[]) {
    if (call.ofConnection.has(call)) settle(call, resultOf(call, args[0]))
    return callback.apply(this, args)
  }
}

/**
 * A callback that runs in its caller's context: thrift calls it in that of whoever made the connection, where neither
 * Milo's nor the application's own AsyncLocalStorage has the right value.
 */
function bound(callback: (...args: unknown[]) => unknown): (...args: unknown[]) => unknown {
  const caller = new AsyncResource('MiloThriftCall')
  return function (this: unknown, ...args: unknown[]) {
    return caller.runInAsyncScope(callback, this, ...args)
  }
}

/** What became of a call, by the first argument of its callback. */
function resultOf({ span }: Call, error: unknown): string {
  if (error === null || error === undefined) return 'ok'
  // Older generated code rejects with a text when a reply holds neither a result nor an exception.
  if (typeof error === 'string') {
    span.annotate('error.type', 'missing_result').annotate('error.message', error)
    return 'application_exception'
  }
  span.fail(error)
  return nameOf(error) === 'TApplicationException' ? 'application_exception' : 'exception'
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name || error.constructor.name : typeof error
}

function wrapRecv(prototype: any, name: string, plugin: PluginHandle): void {
  const method = name.slice('recv_'.length)
  plugin.wrap(
    prototype,
    name,
    original =>
      // biome-ignore-start lint/complexity/noArguments: to be passed on as they are, they needn't be made an array
      function (this: Client) {
        const peer = this[PEER]
        if (peer === undefined || peer.open.size === 0 || !plugin.enabled) return original.apply(this, arguments)
        // Thrift's connections give the sequence id's negative; callers of their own, the id itself.
        const seqid = Math.abs(arguments[2])
        let call = peer.open.get(seqid)
        if (call === undefined && this._reqs[seqid] === undefined && !replays(peer.connection)) {
          // A reply that nobody waits for: thrift drops it, and the call that it was for will wait for ever.
          call = peer.open.find(open => open.method === method)
          if (call !== undefined) fail(call, 'transport_error', 'wrong sequence id')
          call = undefined
        }
        const outer = now.replying
        now.replying = call
        try {
          return original.apply(this, arguments)
        } catch (error) {
          // Not a reply that has arrived in part: that will be read again.
          if (call?.ofConnection.has(call) && nameOf(error) !== 'InputBufferUnderrunError')
            fail(call, 'transport_error', nameOf(error), error)
          throw error
        } finally {
          now.replying = outer
        }
      } as any,
    // biome-ignore-end lint/complexity/noArguments: see above
  )
}
