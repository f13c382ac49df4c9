import { type Carrier, currentSpan, type PluginHandle, type RemoteContext, type Span, type Wrapped } from 'milo/plugin'
import { idBlock, idBlock16, readCallTrace, readCallTrace16 } from './carriers/calltrace'
import { type Found, type Input, RANK_CALLTRACE } from './carriers/found'
import { CALL, CALLTRACE, EXCEPTION, LIST, MAP, ONEWAY, REPLY, STOP } from './wire'

/*
 * What the plugin does to a protocol's prototype. Nothing is done per field: a call is changed when its message ends,
 * and the only reading that is watched is that of fields that no generated code knows.
 *
 *   client   writeMessageBegin ── args.write ── writeMessageEnd        CALLTRACE │ a field in place of the STOP
 *            readMessageBegin ── result.read ── readMessageEnd         the reply's length
 *   server   readMessageBegin ── args.read (skip) ── readMessageEnd    CALLTRACE │ the carriers │ the handler runs next
 *            writeMessageBegin ── result.write ── writeMessageEnd      the reply's outcome and length
 */

/** A call on its way out, as the client side (client.ts) keeps it. */
export interface OutgoingCall {
  span: Span
  carrier: Carrier
  client: object
  method: string
  requestBytes: number
  replyBytes: number
  /** Whether a reply has been read: an error without one is the transport's. */
  answered: boolean
  /** Whether that reply is a TApplicationException. */
  refused: boolean
}

export function newCall(span: Span, carrier: Carrier, client: object, method: string): OutgoingCall {
  return { span, carrier, client, method, requestBytes: 0, replyBytes: 0, answered: false, refused: false }
}

/** A request on its way in, as the server side (server.ts) is told of it. */
export interface IncomingRequest {
  /** The transport that it is read from. What is read from another one meanwhile is no part of it. */
  readonly trans: unknown
  /** Whether its header has been read. */
  begun: boolean
  remote: RemoteContext | undefined
  /** The rank of the carrier that `remote` came from: a higher one takes precedence. */
  rank: number
  /** W3C's header, as it came. */
  baggage: string | undefined
  /** Whether this peer's CALLTRACE has 16 bytes. */
  legacy: boolean
  /** Where it begins in its transport's input. */
  startsAt: number
  begin(name: string, type: number, seqid: number): void
  /** The arguments are complete; what runs next is the handler. */
  argumentsRead(bytes: number): void
}

export const Outcome = { OK: 0, DECLARED: 1, APPLICATION: 2 } as const
export type Outcome = (typeof Outcome)[keyof typeof Outcome]

/** A request whose reply is still to be written. It calls `forgetReply` when it is over. */
export interface PendingReply {
  name: string
  seqid: number
  span: Span
  /** Whether the name of a declared exception is wanted that its code doesn't tell otherwise. */
  readonly wantsException: boolean
  /**
   * @param message of a TApplicationException, as far as it could be read
   * @param exception the declared exception's name, where it is wanted
   */
  replied(outcome: Outcome, bytes: number, message: string | undefined, exception: string | undefined): void
  abandoned(reason: string): void
}

/**
 * Hands a message over from generated code to the protocol that writes or reads it. A transport within the process runs the
 * other side, and everything that it calls, in the same stack. So the first message that one of these can be meant for takes
 * it, and from then on it belongs to that message's protocol or transport.
 */
export const inProgress: {
  /** The call whose send_X has begun; its message hasn't. */
  outgoing: OutgoingCall | undefined
  /** The call whose reply recv_X reads, until it has been read. */
  replying: OutgoingCall | undefined
  /** The request that process() reads, until its arguments have been read. */
  incoming: IncomingRequest | undefined
  /** Where the reply that is being read begins in its transport's input. */
  replyStartsAt: number
  /** Whether that reply is a TApplicationException. */
  replyRefuses: boolean
} = { outgoing: undefined, replying: undefined, incoming: undefined, replyStartsAt: 0, replyRefuses: false }

/** Marks prototypes of protocols that Milo has patched, and one function of each, because some protocols copy functions. */
const PATCHED = Symbol('milo.patched')
/** On a protocol: the call that is being written. */
const CALLING = Symbol('milo.calling')
/** On a protocol: the reply that is being written. */
const REPLYING = Symbol('milo.replying')
/** On an output's transport: requests whose replies will be written to it. One chunk's requests share their output. */
const PENDING = Symbol('milo.pending')
/** How many requests may wait for their replies on one output before the oldest is given up. */
const MAX_PENDING = 10_000

/** Whether Milo sees what is written to and read from a protocol. @param protocol one, or its class's prototype */
export function isPatched(protocol: any): boolean {
  return protocol?.[PATCHED] === true || protocol?.skip?.[PATCHED] === true
}

/** Whether Milo sees what is written to a protocol, and can note requests on its transport. */
export function isPatchedOutput(protocol: any): boolean {
  return isPatched(protocol) && Object.isExtensible(protocol.trans)
}

/** Marks a protocol that hands everything on to patched ones. */
export function markPatched(prototype: any): void {
  Object.defineProperty(prototype, PATCHED, { value: true })
}

interface Transport {
  [PENDING]?: PendingReply[]
  outBuffers?: Buffer[]
  outCount: number
  inBuf?: Buffer
  /** TBufferedTransport's and TFramedTransport's names for how far they have been read. */
  readCursor?: number
  readPos?: number
  /** Absent in transports of an application's own, and in those of old copies of thrift. */
  borrow?(): Input
  consume(length: number): void
  read(length: number): Buffer
  write(bytes: Buffer): void
}

interface Protocol {
  trans: Transport
  /** The compact protocol has it: the field that is being read. */
  lastFieldId_: number
  /** The JSON protocol has them: what is being written, and what has been read. */
  tstack: unknown[]
  rstack: unknown[]
  [CALLING]?: OutgoingCall
  writeStructBegin(name: string): unknown
  [REPLYING]?: Replying
}

interface Replying {
  pending: PendingReply
  type: number
  at: number
  bytesBefore: number
  /** Whether the name of the next struct is waited for. */
  isNaming: boolean
  /** The struct in the result: the exception, if it is one. */
  inner: string | undefined
}

export function awaitReply(output: unknown, pending: PendingReply): void {
  const { trans } = output as Protocol
  const list = trans[PENDING]
  if (list === undefined) trans[PENDING] = [pending]
  else if (list.push(pending) > MAX_PENDING) list[0]!.abandoned('too many requests wait on this output')
}

export function forgetReply(output: unknown, pending: PendingReply): void {
  const list = (output as Protocol).trans[PENDING]
  const at = list?.indexOf(pending) ?? -1
  if (at === -1) return
  if (at === list!.length - 1) list!.pop()
  else list!.splice(at, 1)
}

export function position(trans: Transport): number {
  return trans.readCursor ?? trans.readPos ?? 0
}

/** How a library names what a message's header holds. */
export interface Header {
  name: string
  type: string
  seqid: string
}

const APACHE: Header = { name: 'fname', type: 'mtype', seqid: 'rseqid' }

/** What differs between libraries that have the same protocols. */
export interface Library {
  header: Header
  /** A call that begins with its message, where nothing before that has told of it. */
  begin?(name: string): OutgoingCall | undefined
}

/** What differs between the protocols. */
export interface Dialect {
  callTrace: boolean
  /** Puts the call's carrier at the end of the arguments; they have just been written. */
  addCarrier(protocol: Protocol, call: OutgoingCall): void
  /** A carrier in the arguments of a request whose header has just been read, for a protocol that reads it all at once. */
  findCarrier?(protocol: Protocol): Found | undefined
  /** A carrier in the field of this type that is about to be skipped. */
  readCarrier?(protocol: Protocol, type: number): Found | undefined
  /** A carrier in arguments that nobody has read: thrift-typescript's code doesn't, of a method that takes none. */
  findUnread?(protocol: Protocol): Found | undefined
  /** Whether thrift can't skip a field that it doesn't know: a carrier then has to be skipped for it. */
  cannotSkip?: boolean
  /** Whether the result that has just been written, from outBuffers[at] on, is a return value or void. */
  isSuccess(protocol: Protocol, at: number): boolean
  /** The message in the TApplicationException that has just been written, from outBuffers[at] on. */
  messageOf(protocol: Protocol, at: number): string | undefined
  /** The bytes of the message that has just been written. */
  written(protocol: Protocol): number
}

/** For the binary and the compact protocol: the arguments are a list of buffers, of which the last is a STOP alone. */
export function addInPlaceOfStop(protocol: Protocol, make: (span: Span) => Buffer, span: Span): void {
  const out = protocol.trans.outBuffers
  const last = out?.[out.length - 1]
  // This transport keeps its output in another way: the call gets no carrier.
  if (out === undefined || last === undefined || last.length !== 1 || last[0] !== STOP) return
  const field = make(span)
  out[out.length - 1] = field
  protocol.trans.outCount += field.length - 1
}

export function patchProtocol(
  prototype: any,
  plugin: PluginHandle,
  dialect: Dialect,
  { header, begin }: Library = { header: APACHE },
): void {
  const wrap = (name: string, make: (original: Wrapped, plugin: PluginHandle, dialect: Dialect) => Wrapped) =>
    plugin.wrap(prototype, name, original => make(original, plugin, dialect))
  wrap('writeMessageBegin', (original, plugin, dialect) => writingBegins(original, plugin, dialect, begin))
  wrap('writeMessageEnd', writingEnds)
  wrap('readMessageBegin', (original, plugin, dialect) => readingBegins(original, plugin, dialect, header))
  wrap('skip', skipping)
  wrap('readMessageEnd', readingEnds)
  markPatched(prototype)
  markPatched(prototype.skip)
}

const BLOCKS: Partial<Record<Carrier, (span: Span) => Buffer>> = {
  calltrace: idBlock,
  'calltrace-legacy16': idBlock16,
}

function writingBegins(original: Wrapped, plugin: PluginHandle, { callTrace }: Dialect, begin: Library['begin']) {
  return function (this: Protocol, name: string, type: number, seqid: number) {
    // An exception in the middle of an earlier message has left these on a protocol that is used again.
    if (this[CALLING] !== undefined) this[CALLING] = undefined
    if (this[REPLYING] !== undefined) this[REPLYING] = undefined
    if (type === CALL || type === ONEWAY) {
      const call = inProgress.outgoing ?? begin?.(name)
      if (call === undefined) return original.call(this, name, type, seqid)
      inProgress.outgoing = undefined
      this[CALLING] = call
      const block = type === CALL && callTrace ? BLOCKS[call.carrier] : undefined
      if (block === undefined || !call.span.trace.sampled || !plugin.enabled) {
        return original.call(this, name, type, seqid)
      }
      original.call(this, name, CALLTRACE, seqid)
      this.trans.write(block(call.span))
      return
    }
    if (this.trans?.[PENDING] === undefined || (type !== REPLY && type !== EXCEPTION)) {
      return original.call(this, name, type, seqid)
    }
    const bytesBefore = this.trans.outCount
    const result = original.call(this, name, type, seqid)
    beginReply(this, name, type, seqid, bytesBefore)
    return result
  }
}

function writingEnds(original: Wrapped, plugin: PluginHandle, dialect: Dialect) {
  return function (this: Protocol) {
    const call = this[CALLING]
    try {
      if (call !== undefined) {
        this[CALLING] = undefined
        if (plugin.enabled) {
          dialect.addCarrier(this, call)
          call.requestBytes = dialect.written(this)
        }
      } else if (this[REPLYING] !== undefined) endReply(this, dialect)
    } catch (error) {
      plugin.fail(error)
    }
    return original.call(this)
  }
}

function readingBegins(original: Wrapped, plugin: PluginHandle, { callTrace, findCarrier }: Dialect, names: Header) {
  return function (this: Protocol) {
    const request = requestOf(this)
    const startsAt = position(this.trans)
    const header = original.call(this)
    const type = header[names.type]
    if (type === REPLY || type === EXCEPTION) {
      inProgress.replyStartsAt = startsAt
      inProgress.replyRefuses = type === EXCEPTION
    }
    if (request === undefined || request.begun || !plugin.enabled) return header
    request.startsAt = startsAt
    if (type === CALLTRACE && callTrace) {
      // No guard is around this: too few bytes mean the same here as to thrift, wait for the rest.
      request.remote = request.legacy ? readCallTrace16(this.trans.read(16)) : readCallTrace(this.trans.read(24))
      request.rank = RANK_CALLTRACE
      header[names.type] = CALL
    }
    try {
      // A header without a version leaves the name as bytes.
      request.begin(String(header[names.name]), header[names.type], header[names.seqid])
      if (findCarrier !== undefined) take(request, findCarrier(this))
    } catch (error) {
      plugin.fail(error)
    }
    return header
  }
}

function skipping(original: Wrapped, plugin: PluginHandle, { readCarrier, cannotSkip }: Dialect) {
  return function (this: Protocol, type: number, depth?: number) {
    const request = type === LIST || type === MAP ? requestOf(this) : undefined
    if (request === undefined) return original.call(this, type, depth)
    if (readCarrier !== undefined && plugin.enabled) {
      try {
        const found = readCarrier(this, type)
        take(request, found)
        if (found !== undefined && found.bytes > 0) {
          // Thrift would read it byte by byte, each of which costs a call or two.
          this.trans.consume(found.bytes)
          return
        }
      } catch (error) {
        plugin.fail(error)
      }
    }
    // What the field holds leaves the protocol's stack when the field ends.
    if (cannotSkip && request.remote !== undefined) return
    return original.call(this, type, depth)
  }
}

function readingEnds(original: Wrapped, plugin: PluginHandle, { findUnread }: Dialect) {
  return function (this: Protocol) {
    const result = original.call(this)
    const call = inProgress.replying
    if (call !== undefined) {
      // Whatever its callback calls or reads is no part of this reply.
      inProgress.replying = undefined
      call.replyBytes = position(this.trans) - inProgress.replyStartsAt
      call.answered = true
      call.refused = inProgress.replyRefuses
    }
    const request = requestOf(this)
    if (request?.begun) {
      // Whatever the handler calls or reads is no part of this request.
      inProgress.incoming = undefined
      try {
        if (request.remote === undefined && findUnread !== undefined) take(request, findUnread(this))
        if (plugin.enabled) request.argumentsRead(position(this.trans) - request.startsAt)
      } catch (error) {
        plugin.fail(error)
      }
    }
    return result
  }
}

/** The request that a protocol reads, if process() has been called for what this one reads from. */
function requestOf({ trans }: Protocol): IncomingRequest | undefined {
  const request = inProgress.incoming
  return request?.trans === trans ? request : undefined
}

function take(request: IncomingRequest, found: Found | undefined): void {
  if (found === undefined) return
  request.baggage ??= found.baggage
  if (found.remote === undefined || found.rank <= request.rank) return
  request.remote = found.remote
  request.rank = found.rank
}

function beginReply(protocol: Protocol, name: string, type: number, seqid: number, bytesBefore: number): void {
  let pending: PendingReply | undefined
  let current: Span['trace'] | undefined
  for (const candidate of protocol.trans[PENDING]!) {
    if (candidate.seqid !== seqid || candidate.name !== String(name)) continue
    if (pending === undefined) {
      pending = candidate
      continue
    }
    // Python's clients always send sequence id 0: then it is the one in whose context this reply is written.
    current ??= currentSpan()?.trace
    if (pending.span.trace === current) break
    if (candidate.span.trace === current) {
      pending = candidate
      break
    }
  }
  if (pending === undefined) return
  const at = protocol.trans.outBuffers?.length ?? 0
  const replying: Replying = { pending, type, at, bytesBefore, isNaming: false, inner: undefined }
  protocol[REPLYING] = replying
  if (pending.wantsException && type === REPLY) nameInner(protocol, replying)
}

/** Notes the name that generated code writes for the second struct, which is in the first one, the result. */
function nameInner(protocol: Protocol, replying: Replying): void {
  if (Object.hasOwn(protocol, 'writeStructBegin') || !Object.isExtensible(protocol)) return
  let structs = 0
  const value = function (this: Protocol, name: string) {
    if (++structs === 2) {
      replying.inner = String(name)
      stopNaming(protocol, replying)
    }
    return Object.getPrototypeOf(protocol).writeStructBegin.call(this, name)
  }
  Object.defineProperty(protocol, 'writeStructBegin', { value, configurable: true, writable: true })
  replying.isNaming = true
}

function stopNaming(protocol: Protocol, replying: Replying): void {
  if (!replying.isNaming) return
  replying.isNaming = false
  Reflect.deleteProperty(protocol, 'writeStructBegin')
}

/** A reply whose encoding threw never comes here; the exception that follows it does. */
function endReply(protocol: Protocol, dialect: Dialect): void {
  const replying = protocol[REPLYING]!
  const { pending, type, at, bytesBefore, inner } = replying
  protocol[REPLYING] = undefined
  stopNaming(protocol, replying)
  const outcome =
    type === EXCEPTION ? Outcome.APPLICATION : dialect.isSuccess(protocol, at) ? Outcome.OK : Outcome.DECLARED
  const message = outcome === Outcome.APPLICATION ? dialect.messageOf(protocol, at) : undefined
  pending.replied(outcome, dialect.written(protocol) - bytesBefore, message, inner)
}

/** How many bytes of an exception's message are read: as many as a value may have. */
const MAX_MESSAGE_BYTES = 4_096

/** For the binary and the compact protocol: the text whose length has just been read from what has been written. */
export function textWritten(b: Buffer, start: number, length: number): string | undefined {
  const end = start + Math.min(length, MAX_MESSAGE_BYTES)
  return length < 0 || end > b.length ? undefined : b.toString('utf8', start, end)
}

/** What has been written from outBuffers[at] on: a few buffers, enough for a header and a text. */
export function writtenFrom({ trans: { outBuffers } }: Protocol, at: number): Buffer {
  return Buffer.concat(outBuffers?.slice(at, at + 8) ?? [])
}
