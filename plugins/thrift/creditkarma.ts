import {
  type Carrier,
  carrierFor,
  currentSettings,
  isActive,
  isTold,
  Kind,
  observe,
  type PluginHandle,
  runInFrame,
  startSpan,
} from 'milo/plugin'
import { nameOf, settleWith } from './client'
import { addressOf, type Call, fail, frameOf, isOpen, keepOpen, settle } from './connection'
import { patchBinaryProtocol } from './dialects/binary'
import { patchCompactProtocol } from './dialects/compact'
import { patchJsonProtocol } from './dialects/json'
import { type Operation, operation, remember } from './names'
import { askApplication } from './on-request'
import { Pending } from './pending'
import { inProgress, newCall, type OutgoingCall } from './protocol'
import { apply, replace } from './replace'
import { traceProcessing } from './server'
import { EXCEPTION, STOP } from './wire'

/*
 * @creditkarma/thrift-server-core, on which @creditkarma/thrift-client and the servers for hapi and express stand: Thrift in
 * TypeScript. Its protocols have the methods of npm thrift's, with other names in headers and for the transport, so they are
 * patched in the same way; its servers call process(input, output, context), so they are traced by server.ts.
 *
 * A generated client's method writes its call into bytes, and gives them to connection.send(), whose promise it reads the
 * reply from, all in one stack:
 *
 *   method ── writeMessageBegin ── args ── writeMessageEnd ── connection.send(bytes) ┄┄ .then(bytes => reads the reply)
 *             the span starts              the carrier        in the call's frame           the outcome
 *
 * The promise that the application gets is left alone: it must stay unhandled if the application doesn't handle it.
 */

interface Client {
  connection: Connection
  transport: { receiver(data: Buffer): unknown }
  protocol: new (
    transport: unknown,
  ) => {
    readMessageBegin(): { messageType: number }
    readStructBegin(): unknown
    readFieldBegin(): { fieldType: number; fieldId: number }
  }
  [PEER]?: Peer
}

interface Connection {
  send(data: Buffer, context?: unknown): Promise<Buffer>
  hostName?: unknown
  port?: unknown
}

/** The other end of a client's connection, and its open calls. */
interface Peer {
  connection: Connection
  address: string | undefined
  port: string | undefined
  carrier: Carrier
  /** The settings by which the carrier was chosen. */
  settings: unknown
  operations: Map<string, Operation>
  open: Pending<Call>
}

/** A method of a client that is being called. */
interface Calling {
  client: Client
  /** The service that declares it. */
  service: string | undefined
  args: ArrayLike<unknown>
  /** What `send` is to be given, once its message has begun. */
  call: OutgoingCall | undefined
}

const PEER = Symbol('milo.peer')
const TRACED = Symbol('milo.traced')
const wrapped = new WeakSet<object>()

/** The innermost method that is being called, until it calls `send`. */
let calling: Calling | undefined

/** The file of the classes that all generated clients and processors inherit from. */
export function patchCreditKarmaTypes(exports: any, plugin: PluginHandle): void {
  whenAssigned(exports.ThriftClient.prototype, 'connection', plugin, client => {
    traceClass(Object.getPrototypeOf(client), exports.ThriftClient.prototype, plugin)
  })
  whenAssigned(exports.ThriftProcessor.prototype, '_serviceName', plugin, processor => {
    nameProcessor(Object.getPrototypeOf(processor))
    traceProcessing(processor, plugin)
  })
}

export function patchCreditKarmaTransport(exports: any): void {
  const { prototype } = exports.BufferedTransport
  alias(prototype, 'inBuf', 'buffer')
  Object.defineProperty(prototype, 'borrow', {
    configurable: true,
    writable: true,
    value(this: { buffer: Buffer; readCursor: number; writeCursor: number }) {
      return { buf: this.buffer, readIndex: this.readCursor, writeIndex: this.writeCursor }
    },
  })
}

const HEADER = { name: 'fieldName', type: 'messageType', seqid: 'requestId' }

export function patchCreditKarmaProtocol(exports: any, plugin: PluginHandle): void {
  const { BinaryProtocol, CompactProtocol, JSONProtocol } = exports
  const { prototype } = BinaryProtocol ?? CompactProtocol ?? JSONProtocol
  alias(prototype, 'trans', 'transport')
  alias(prototype, 'lastFieldId_', '_lastFieldId')
  const patch = BinaryProtocol ? patchBinaryProtocol : CompactProtocol ? patchCompactProtocol : patchJsonProtocol
  patch(prototype, plugin, {
    header: HEADER,
    begin(method) {
      try {
        return beginCall(method)
      } catch (error) {
        plugin.fail(error)
        return undefined
      }
    },
  })
}

/** Gives a property the name that npm thrift has for it as well. */
function alias(prototype: object, name: string, own: string): void {
  Object.defineProperty(prototype, name, {
    configurable: true,
    get(this: Record<string, unknown>) {
      return this[own]
    },
  })
}

/** Shows each object of a class to `see` when its base class's constructor first sets this property, as if nothing had been. */
function whenAssigned(prototype: object, name: string, plugin: PluginHandle, see: (object: any) => void): void {
  Object.defineProperty(prototype, name, {
    configurable: true,
    get: () => undefined,
    set(this: object, value: unknown) {
      Object.defineProperty(this, name, { value, configurable: true, enumerable: true, writable: true })
      if (!plugin.enabled) return
      try {
        see(this)
      } catch (error) {
        plugin.fail(error)
      }
    },
  })
}

/** Wraps the methods of a client's class, and of those between it and the base class. */
function traceClass(prototype: object, base: object, plugin: PluginHandle): void {
  for (let level = prototype; level !== null && level !== base; level = Object.getPrototypeOf(level)) {
    if (wrapped.has(level)) continue
    wrapped.add(level)
    const service = serviceOf(level.constructor)
    for (const name of Object.getOwnPropertyNames(level)) {
      const method = Object.getOwnPropertyDescriptor(level, name)!.value
      if (name !== 'constructor' && typeof method === 'function') wrapMethod(level, name, service, plugin)
    }
  }
}

function serviceOf(generated: object): string | undefined {
  return nameIn(generated, 'serviceName')
}

function nameIn(object: object, key: string): string | undefined {
  const name = Object.getOwnPropertyDescriptor(object, key)?.value
  return typeof name === 'string' && name !== '' ? name.slice(0, 256) : undefined
}

function nameProcessor(prototype: object): void {
  for (let level = prototype; level && level !== Object.prototype; level = Object.getPrototypeOf(level)) {
    const service = serviceOf(level.constructor)
    if (service === undefined) continue
    for (const name of Object.getOwnPropertyNames(level)) {
      const method = Object.getOwnPropertyDescriptor(level, name)!.value
      if (name.startsWith('process_') && typeof method === 'function') remember(method, service)
    }
  }
}

function wrapMethod(prototype: object, name: string, service: string | undefined, plugin: PluginHandle): void {
  replace(
    prototype,
    name,
    plugin,
    original =>
      // biome-ignore-start lint/complexity/noArguments: to be passed on as they are, they needn't be made an array
      function (this: Client) {
        if (!plugin.enabled || !isActive()) return original.apply(this, arguments)
        const outer = calling
        const own: Calling = { client: this, service, args: arguments, call: undefined }
        try {
          traceSending(this.connection, plugin)
        } catch (error) {
          plugin.fail(error)
        }
        calling = own
        try {
          const result = original.apply(this, arguments)
          if (own.call !== undefined && isOpen(own.call)) fail(own.call, 'not_sent', 'not sent')
          return result
        } catch (error) {
          if (own.call !== undefined && isOpen(own.call)) fail(own.call, 'not_sent', nameOf(error), error)
          throw error
        } finally {
          calling = outer
        }
      },
    // biome-ignore-end lint/complexity/noArguments: see above
  )
}

/** Called when a message begins. @returns its call, if a client's method is what writes it */
function beginCall(method: string): OutgoingCall | undefined {
  const own = calling
  if (own === undefined || own.call !== undefined) return undefined
  const settings = currentSettings()!
  const { client } = own
  const peer = peerOf(client)
  if (peer.settings !== settings) {
    peer.settings = settings
    peer.carrier = carrierFor(settings.propagation, peer.address, peer.port)
  }
  const { name, annotations } = peer.operations.get(method) ?? describeOperation(own, peer, method)
  const span = startSpan(Kind.CLIENT, name, peer.carrier === 'calltrace-legacy16', false, annotations)
  const carrier = isTold(span) ? peer.carrier : 'off'
  const outgoing = newCall(span, carrier, client, method)
  own.call = outgoing
  if (!span.recording) return outgoing
  span.share(annotations)
  const call = keepOpen(outgoing, peer.connection, peer.open)
  if (settings.onRequest !== undefined) askApplication(span, Array.from(own.args))
  return call
}

function describeOperation({ client, service }: Calling, peer: Peer, method: string): Operation {
  const known = operation(service ?? nameIn(client, '_serviceName'), method, false)
  if (peer.address !== undefined) known.annotations.push('server.address', peer.address)
  if (peer.port !== undefined) known.annotations.push('server.port', peer.port)
  // A client of the application's own may make its methods' names.
  if (peer.operations.size < MAX_OPERATIONS) peer.operations.set(method, known)
  return known
}

const MAX_OPERATIONS = 1_000

function peerOf(client: Client): Peer {
  const { connection } = client
  const known = client[PEER]
  if (known?.connection === connection) return known
  const { hostName, port } = connection
  const { address, port: otherPort } =
    typeof hostName === 'string' ? { address: hostName, port } : addressOf(connection)
  const peer: Peer = {
    connection,
    address,
    port: otherPort === undefined ? undefined : String(otherPort),
    carrier: 'field',
    settings: undefined,
    operations: new Map(),
    open: new Pending(),
  }
  if (Object.isExtensible(client)) Object.defineProperty(client, PEER, { value: peer, configurable: true })
  return peer
}

/** Wraps `send` where it is defined, for all connections of that class. */
function traceSending(connection: any, plugin: PluginHandle): void {
  if (typeof connection?.send !== 'function' || connection.send[TRACED] === true) return
  let owner = connection
  while (!Object.hasOwn(owner, 'send')) owner = Object.getPrototypeOf(owner)
  replace(owner, 'send', plugin, original => {
    // biome-ignore-start lint/complexity/noArguments: to be passed on as they are, they needn't be made an array
    const traced = function (this: unknown) {
      const own = calling
      const call = own?.call
      if (call === undefined || own!.client.connection !== this) return original.apply(this, arguments)
      // What the connection's filters call is no part of this method.
      calling = undefined
      own!.call = undefined
      try {
        const sent = runInFrame(frameOf(call), apply, original, this, arguments)
        if (isOpen(call)) follow(call, own!.client, sent, plugin)
        return sent
      } catch (error) {
        if (isOpen(call)) fail(call, 'transport_error', reasonOf(error), error)
        throw error
      } finally {
        calling = own
      }
    }
    // biome-ignore-end lint/complexity/noArguments: see above
    return Object.defineProperty(traced, TRACED, { value: true }) as any
  })
}

/** Ends a call with what becomes of its bytes, and of its reply where the client reads it. */
function follow(call: Call, client: Client, sent: any, plugin: PluginHandle): void {
  let isRead = false
  const guard = (work: () => void) => {
    try {
      if (isOpen(call)) work()
    } catch (error) {
      plugin.fail(error)
    }
  }
  const isPromise = observe(
    sent,
    data => {
      // It is awaited: what is made of it isn't known.
      if (!isRead) guard(() => settleByBytes(call, client, data))
    },
    error => guard(() => fail(call, 'transport_error', reasonOf(error), error)),
  )
  if (!isPromise) {
    guard(() => settle(call, 'ok'))
    return
  }
  // Generated code calls `then` once, at once. Several may do so where a connection gives the same promise to them.
  if (Object.hasOwn(sent, 'then') || !Object.isExtensible(sent)) return
  const then = (onData: unknown, ...rest: unknown[]) => {
    delete sent.then
    if (typeof onData !== 'function') return sent.then(onData, ...rest)
    isRead = true
    return sent.then(
      (data: unknown) => {
        const outer = inProgress.replying
        inProgress.replying = call
        try {
          const reply = onData(data)
          guard(() => {
            const settles = observe(
              reply,
              () => guard(() => settleWith(call, undefined)),
              error => guard(() => refuse(call, error)),
            )
            if (!settles) settleByBytes(call, client, data)
          })
          return reply
        } catch (error) {
          guard(() => settleWith(call, error))
          throw error
        } finally {
          inProgress.replying = outer
        }
      },
      ...rest,
    )
  }
  Object.defineProperty(sent, 'then', { value: then, configurable: true, writable: true })
}

/** TcpConnection's errors tell what has happened in their messages alone. */
const REASONS = new Map<unknown, string>([
  ['Thrift connection timed out', 'timeout'],
  ['Thrift connection ended', 'connection closed'],
  ['Unable to acquire connection for thrift client', 'no connection'],
])

function reasonOf(error: unknown): string {
  return (error instanceof Error ? REASONS.get(error.message) : undefined) ?? nameOf(error)
}

/** Ends a call with what the client made of its reply. */
function refuse(call: Call, error: unknown): void {
  const isPlain = typeof error === 'object' && error !== null && Object.getPrototypeOf(error) === Object.prototype
  if (!isPlain || !call.answered) {
    settleWith(call, error)
    return
  }
  // Generated code makes plain objects of exceptions, which have their types' names only if it was told to add them.
  call.span.annotate('error.type', nameIn(error, '__name') ?? 'declared exception')
  settle(call, 'exception')
}

/** Ends a call with what its reply says, read as generated code reads it. */
function settleByBytes(call: Call, client: Client, data: unknown): void {
  let outcome = 'ok'
  try {
    if (Buffer.isBuffer(data)) {
      const input = new client.protocol(client.transport.receiver(data))
      const { messageType } = input.readMessageBegin()
      input.readStructBegin()
      const { fieldType, fieldId } = input.readFieldBegin()
      call.replyBytes = data.length
      if (messageType === EXCEPTION) outcome = 'application_exception'
      else if (fieldType !== STOP && fieldId !== 0) outcome = 'exception'
    }
  } catch (error) {
    fail(call, 'transport_error', nameOf(error), error)
    return
  }
  if (outcome === 'exception') call.span.annotate('error.type', 'declared exception')
  else if (outcome === 'application_exception') call.span.annotate('error.type', 'TApplicationException')
  settle(call, outcome)
}
