import {
  type Carrier,
  carrierFor,
  currentSettings,
  errorName,
  isActive,
  isTold,
  Kind,
  noteError,
  type PluginHandle,
  runInFrame,
  startSpan,
} from 'milo/plugin'
import {
  addressOf,
  type Call,
  fail,
  frameOf,
  isOpen,
  isPersistent,
  keep,
  openCalls,
  replays,
  sent,
  settle,
} from './connection'
import { sayForeign } from './foreign'
import { type Operation, operation, remember, serviceOf } from './names'
import { askApplication } from './on-request'
import { BySeqid, Pending } from './pending'
import { inProgress, isPatched, newCall, type OutgoingCall } from './protocol'
import { apply, replace } from './replace'
import { APPLICATION_EXCEPTION, EXCEPTION } from './wire'

/*
 * A generated client's method takes a sequence id, keeps its callback (or the settling of its promise) in _reqs, and calls
 * send_X, which writes and flushes: all at once. So send_X is where a call begins, what it finds in _reqs is where it
 * ends, and recv_X is where its reply is read. All three are wrapped once a class.
 */

interface Client {
  _seqid: number
  _reqs: Record<number, ((...args: unknown[]) => unknown) | undefined>
  /** Its transport. */
  output: object
  /** The protocol's class: Apache's generated code calls it pClass, thrift-typescript's protocol. */
  pClass?: { prototype: unknown }
  protocol?: { prototype: unknown }
  [PEER]?: Peer
}

/** The other end of a client's transport. */
interface Peer {
  /** The client's transport. A client that has another one now needs another Peer. */
  output: object
  /** Undefined for a client that was made by hand. */
  connection: any
  /** Whether all calls go over one stream. Otherwise each is sent in its call's frame, so that a request made for it is its child. */
  persistent: boolean
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

const PEER = Symbol('milo.peer')
/** The connections that thrift has given to transports. */
const connections = new WeakMap<object, object>()
const wrapped = new WeakSet<object>()

export function traceClient(client: any, connection: any, service: unknown, plugin: PluginHandle): void {
  if (!plugin.enabled) return
  try {
    if (client.output) connections.set(client.output, connection)
    givePeer(client, service === undefined ? undefined : String(service), plugin)
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

/** Called for a new client, made by thrift or by other code, and for one that has another transport now. */
function givePeer(client: Client, service: string | undefined, plugin: PluginHandle): Peer {
  const { output } = client
  const connection = connections.get(output)
  const peer: Peer = {
    output,
    connection,
    persistent: isPersistent(connection),
    service,
    open: client[PEER]?.open ?? new BySeqid(),
    openOfConnection: connection ? openCalls(connection, plugin) : new Pending(),
    carrier: 'field',
    settings: undefined,
    operations: new Map(),
  }
  if (Object.isExtensible(client)) Object.defineProperty(client, PEER, { value: peer, configurable: true })
  return peer
}

function wrapSend(prototype: any, name: string, plugin: PluginHandle): void {
  const method = name.slice('send_'.length)
  // A class that is derived by hand overrides the method whose source says it.
  const declared = serviceOf(prototype[name], method) ?? serviceOf(Object.getPrototypeOf(prototype)?.[name], method)
  // Older generated code sends it as any other call, but can't read a reply to it.
  const oneway = /MessageType\.ONEWAY/.test(String(prototype[name])) || !(`recv_${method}` in prototype)
  // A method that takes no callback makes a promise, whose continuations keep their contexts by themselves.
  const args = prototype[method]?.length ?? Infinity
  const promises = args <= prototype[name].length
  const kind: Method = { method, declared, oneway, promises, args }
  replace(
    prototype,
    name,
    plugin,
    original =>
      // biome-ignore-start lint/complexity/noArguments: to be passed on as they are, they needn't be made an array
      function (this: Client) {
        if (!plugin.enabled || !isActive()) return original.apply(this, arguments)
        const outer = inProgress.outgoing
        // This is the call of a derived class's own send_X to the one that it overrides.
        if (outer !== undefined && outer.client === this && outer.method === method) {
          return original.apply(this, arguments)
        }
        let call: OutgoingCall | undefined
        let framed = false
        try {
          const protocol = (this.pClass ?? this.protocol)?.prototype
          if (isPatched(protocol)) {
            let peer = this[PEER]
            if (peer?.output !== this.output) peer = givePeer(this, peer?.service, plugin)
            framed = !peer.persistent
            call = begin(this, peer, kind, arguments, plugin)
          } else sayForeign(protocol)
        } catch (error) {
          plugin.fail(error)
        }
        if (call === undefined) return original.apply(this, arguments)
        inProgress.outgoing = call
        try {
          const result = framed
            ? runInFrame(frameOf(call), apply, original, this, arguments)
            : original.apply(this, arguments)
          if (isOpen(call)) sent(call)
          return result
        } catch (error) {
          if (isOpen(call)) fail(call, 'not_sent', nameOf(error), error)
          throw error
        } finally {
          inProgress.outgoing = outer
        }
      },
    // biome-ignore-end lint/complexity/noArguments: see above
  )
  remember(prototype[name], declared)
}

/** What a generated class says about a method. */
interface Method {
  method: string
  declared: string | undefined
  oneway: boolean
  promises: boolean
  /** The number of the method's arguments. thrift-typescript passes the sequence id to send_X after them. */
  args: number
}

function begin(client: Client, peer: Peer, kind: Method, args: ArrayLike<unknown>, plugin: PluginHandle): OutgoingCall {
  const settings = currentSettings()!
  if (peer.settings !== settings) {
    peer.settings = settings
    const { address, port } = addressOf(peer.connection)
    peer.carrier = carrierFor(settings.propagation, address, port)
  }
  const narrow = peer.carrier === 'calltrace-legacy16'
  const { method, oneway, promises } = kind
  const { name, annotations } = peer.operations.get(method) ?? describeOperation(peer, kind)
  const span = startSpan(Kind.CLIENT, name, narrow, false, annotations)
  const carrier = isTold(span) ? peer.carrier : 'off'
  const seqid = client._seqid
  // Thrift calls back in the context of the code that made the connection, where neither Milo's nor the application's own
  // AsyncLocalStorage has the right value.
  const callback = promises ? client._reqs[seqid] : plugin.bind(client._reqs[seqid])
  if (!span.recording) {
    if (typeof callback === 'function') client._reqs[seqid] = callback
    return newCall(span, carrier, client, method)
  }
  span.share(annotations)
  const call: Call = {
    span,
    carrier,
    client,
    method,
    requestBytes: 0,
    replyBytes: 0,
    answered: false,
    refused: false,
    seqid,
    behind: undefined,
    trouble: undefined,
    connection: peer.connection,
    ofClient: peer.open,
    ofConnection: peer.openOfConnection,
    oneway,
    queuedAtMs: 0,
    replayed: false,
    previous: undefined,
    next: undefined,
    list: undefined,
  }
  if (typeof callback === 'function') client._reqs[seqid] = settling(call, callback)
  keep(call)
  if (settings.onRequest !== undefined) askApplication(span, Array.from(args).slice(0, kind.args))
  return call
}

function describeOperation(peer: Peer, { method, declared, oneway }: Method): Operation {
  const service = peer.service ?? declared
  const known = operation(service, method, oneway)
  const { annotations } = known
  const { address, port } = addressOf(peer.connection)
  if (address !== undefined) annotations.push('server.address', address)
  if (port !== undefined) annotations.push('server.port', port)
  peer.operations.set(method, known)
  return known
}

/** Ends the span with the reply. */
function settling(call: Call, callback: (...args: unknown[]) => unknown): (...args: unknown[]) => unknown {
  // biome-ignore-start lint/complexity/noArguments: to be passed on as they are, they needn't be made an array
  return function (this: unknown) {
    if (isOpen(call)) settleWith(call, arguments[0])
    return callback.apply(this, arguments as unknown as unknown[])
  }
  // biome-ignore-end lint/complexity/noArguments: see above
}

/** Ends a call with the outcome that the first argument of its callback says. */
export function settleWith(call: Call, error: unknown): void {
  const { span } = call
  if (error === null || error === undefined) {
    // Generated code calls back for a oneway call at once, also while it is queued.
    if (call.oneway) sent(call)
    else settle(call, 'ok')
  } else if (!call.answered) {
    // Connections that aren't thrift's pass their requests' errors to the callback.
    fail(call, 'transport_error', nameOf(error), error)
  } else if (typeof error === 'string') {
    // Older generated code rejects with a string when a reply holds neither a result nor an exception.
    span.annotate('error.type', 'missing_result').annotate('error.message', error)
    settle(call, 'application_exception')
  } else {
    const name = call.refused ? APPLICATION_EXCEPTION : nameOf(error)
    span.fail(error)
    // thrift-typescript's exceptions are no Errors.
    if (call.refused || !(error instanceof Error)) span.annotate('error.type', name)
    settle(call, name === APPLICATION_EXCEPTION ? 'application_exception' : 'exception')
  }
}

export function nameOf(error: unknown): string {
  try {
    noteException(error)
    return errorName(error)
  } catch {
    // Its name throws when it is read.
    return typeof error
  }
}

/** Notes the name of thrift-typescript's exceptions, which have it in what they write, where a minifier leaves it. */
function noteException(error: any): void {
  if (error instanceof Error || typeof error?.write !== 'function' || Object.hasOwn(error, 'write')) return
  const name = /writeStructBegin\(["'](\w+)["']\)/.exec(Function.prototype.toString.call(error.write))?.[1]
  if (name !== undefined) noteError(error.constructor, name)
}

function wrapRecv(prototype: any, name: string, plugin: PluginHandle): void {
  const method = name.slice('recv_'.length)
  replace(
    prototype,
    name,
    plugin,
    original =>
      // biome-ignore-start lint/complexity/noArguments: to be passed on as they are, they needn't be made an array
      function (this: Client) {
        const peer = this[PEER]
        if (peer === undefined || peer.open.size === 0 || !plugin.enabled) return original.apply(this, arguments)
        // Thrift's connections give the sequence id's negative; callers of their own, the id itself.
        const seqid = Math.abs(arguments[2])
        const call = peer.open.get(seqid)
        const awaited = this._reqs[seqid] !== undefined
        const isUnknown = call === undefined && !awaited && (seqid === 0 || seqid > this._seqid)
        // Calls of another client may be under way on the same connection: the reply may be to one of them.
        if (isUnknown && peer.openOfConnection.size === peer.open.size && !replays(peer.connection)) {
          // No call has had this sequence id. Thrift drops such a reply, so the call that it was meant for will wait forever.
          const waiting = peer.openOfConnection.all().find(open => open.method === method)
          if (waiting !== undefined) fail(waiting, 'transport_error', 'wrong sequence id')
        }
        const outer = inProgress.replying
        inProgress.replying = call
        try {
          const result = original.apply(this, arguments)
          // There was no callback: the call had none, or the application has removed it.
          if (call !== undefined && !awaited && isOpen(call)) {
            settle(call, arguments[1] === EXCEPTION ? 'application_exception' : 'ok')
          }
          return result
        } catch (error) {
          // A reply that has arrived in part doesn't count: it will be read again.
          if (call !== undefined && isOpen(call) && nameOf(error) !== 'InputBufferUnderrunError') {
            fail(call, 'transport_error', nameOf(error), error)
          }
          throw error
        } finally {
          inProgress.replying = outer
        }
      },
    // biome-ignore-end lint/complexity/noArguments: see above
  )
}
