import { type Carrier, type PluginHandle, type RemoteContext, readCallTrace, type Span } from 'milo/plugin'
import { binaryField, compactField, type Input, idBlock, readBinaryField, readCompactField } from './carriers'

/*
 * What the plugin does to a protocol's prototype. Nothing is done per field: a call is changed when its message ends,
 * and the only reading that is watched is that of fields nobody knows.
 *
 *   client   writeMessageBegin ── args.write ── writeMessageEnd        CALLTRACE │ Milo's field in place of the STOP
 *   server   readMessageBegin ── args.read (skip) ── readMessageEnd    CALLTRACE │ Milo's field │ the handler runs next
 *            writeMessageBegin ── result.write ── writeMessageEnd      the reply's outcome
 */

const CALL = 1
const REPLY = 2
const EXCEPTION = 3
const CALLTRACE = 5
const STOP = 0
const LIST = 15

export interface OutgoingCall {
  span: Span
  carrier: Carrier
}

/** A request on its way in, as the server side (server.ts) wants to hear of it. */
export interface IncomingRequest {
  /** Whether its header has been read. */
  begun: boolean
  remote: RemoteContext | undefined
  /** Milo's field has been found: it takes precedence. */
  hasField: boolean
  begin(name: string, type: number, seqid: number): void
  /** The arguments are complete; what runs next is the handler. */
  argumentsRead(): void
}

export const Outcome = { OK: 0, DECLARED: 1, APPLICATION: 2 } as const
export type Outcome = (typeof Outcome)[keyof typeof Outcome]

/** A request whose reply is still to be written. */
export interface PendingReply {
  name: string
  seqid: number
  span: Span
  replied(outcome: Outcome): void
}

/**
 * The call that is being written and the request that is being read at this very moment. Both are synchronous from end
 * to end, so there is one of each, whatever the number of connections, and copies of thrift, in the process.
 */
export const now: { outgoing: OutgoingCall | undefined; incoming: IncomingRequest | undefined } = {
  outgoing: undefined,
  incoming: undefined,
}

/** On an output protocol: requests whose replies will be written to it. One chunk's requests share their output. */
const PENDING = Symbol('milo.pending')
/** On an output protocol: the reply that is being written. */
const REPLYING = Symbol('milo.replying')

interface Protocol {
  trans: {
    outBuffers?: Buffer[]
    outCount: number
    borrow(): Input
    read(length: number): Buffer
    write(bytes: Buffer): void
  }
  lastFieldId_: number
  [PENDING]?: PendingReply[]
  [REPLYING]?: { pending: PendingReply; type: number; at: number }
}

export function awaitReply(output: unknown, pending: PendingReply): void {
  const protocol = output as Protocol
  const list = protocol[PENDING]
  if (list === undefined) protocol[PENDING] = [pending]
  else list.push(pending)
}

/** What differs between the protocols. */
interface Dialect {
  callTrace: boolean
  field(span: Span): Buffer
  readField(protocol: Protocol): RemoteContext | undefined
  /** Whether the first field of a result, at outBuffers[at], is the return value's: id 0. Any other is an exception's. */
  isSuccess(outBuffers: Buffer[], at: number): boolean
}

export function patchBinaryProtocol(prototype: any, plugin: PluginHandle): void {
  patchProtocol(prototype, plugin, {
    callTrace: true,
    field: binaryField,
    readField: protocol => readBinaryField(protocol.trans.borrow()),
    isSuccess: (out, at) => {
      const id = out[at + 1]
      return id === undefined || (id[0] === 0 && id[1] === 0)
    },
  })
}

export function patchCompactProtocol(prototype: any, plugin: PluginHandle): void {
  patchProtocol(prototype, plugin, {
    callTrace: false,
    field: compactField,
    readField: protocol => readCompactField(protocol.trans.borrow(), protocol.lastFieldId_),
    // A short header's delta is an id of 1 to 15; the id 0 needs the long form.
    isSuccess: (out, at) => out[at]![0]! >> 4 === 0,
  })
}

function patchProtocol(prototype: any, plugin: PluginHandle, dialect: Dialect): void {
  plugin.wrap(
    prototype,
    'writeMessageBegin',
    original =>
      function (this: Protocol, name: string, type: number, seqid: number) {
        const call = now.outgoing
        if (call !== undefined) {
          if (
            type === CALL &&
            call.carrier === 'calltrace' &&
            dialect.callTrace &&
            call.span.sampled &&
            plugin.enabled
          ) {
            original.call(this, name, CALLTRACE, seqid)
            this.trans.write(idBlock(call.span))
            return
          }
          return original.call(this, name, type, seqid)
        }
        const result = original.call(this, name, type, seqid)
        if (this[PENDING] !== undefined && (type === REPLY || type === EXCEPTION)) beginReply(this, name, type, seqid)
        return result
      } as any,
  )
  plugin.wrap(
    prototype,
    'writeMessageEnd',
    original =>
      function (this: Protocol) {
        const call = now.outgoing
        if (call !== undefined) {
          if (call.carrier === 'field' && plugin.enabled) guarded(plugin, () => addField(this, call.span, dialect))
        } else if (this[REPLYING] !== undefined) guarded(plugin, () => endReply(this, dialect))
        return original.call(this)
      } as any,
  )
  plugin.wrap(
    prototype,
    'readMessageBegin',
    original =>
      function (this: Protocol) {
        const header = original.call(this)
        const request = now.incoming
        if (request === undefined || request.begun || !plugin.enabled) return header
        if (header.mtype === CALLTRACE && dialect.callTrace) {
          // Outside of any guard: too few bytes means here what it means to thrift, wait for the rest.
          request.remote = readCallTrace(this.trans.read(24))
          header.mtype = CALL
        }
        // A header without a version leaves the name as bytes.
        guarded(plugin, () => request.begin(String(header.fname), header.mtype, header.rseqid))
        return header
      } as any,
  )
  plugin.wrap(
    prototype,
    'skip',
    original =>
      function (this: Protocol, type: number, depth?: number) {
        const request = now.incoming
        if (request !== undefined && type === LIST && !request.hasField && plugin.enabled) {
          guarded(plugin, () => {
            const remote = dialect.readField(this)
            if (remote === undefined) return
            request.remote = remote
            request.hasField = true
          })
        }
        return original.call(this, type, depth)
      } as any,
  )
  plugin.wrap(
    prototype,
    'readMessageEnd',
    original =>
      function (this: Protocol) {
        const result = original.call(this)
        const request = now.incoming
        if (request?.begun) {
          // Whatever the handler calls or reads is no part of this request.
          now.incoming = undefined
          if (plugin.enabled) guarded(plugin, () => request.argumentsRead())
        }
        return result
      } as any,
  )
}

function guarded(plugin: PluginHandle, act: () => void): void {
  try {
    act()
  } catch (error) {
    plugin.fail(error)
  }
}

/** Puts Milo's field where the STOP of the arguments is; a transport that doesn't keep its output so stays without. */
function addField(protocol: Protocol, span: Span, dialect: Dialect): void {
  const out = protocol.trans.outBuffers
  const last = out?.[out.length - 1]
  if (out === undefined || last === undefined || last.length !== 1 || last[0] !== STOP) return
  const field = dialect.field(span)
  out[out.length - 1] = field
  protocol.trans.outCount += field.length - 1
}

function beginReply(protocol: Protocol, name: string, type: number, seqid: number): void {
  // Python's clients always send sequence id 0: then any of those that wait will do, and one is as good as another.
  const pending = protocol[PENDING]!.find(pending => pending.seqid === seqid && pending.name === String(name))
  if (pending !== undefined) protocol[REPLYING] = { pending, type, at: protocol.trans.outBuffers?.length ?? 0 }
}

/** A reply whose encoding threw never comes here; the exception that follows it does. */
function endReply(protocol: Protocol, dialect: Dialect): void {
  const { pending, type, at } = protocol[REPLYING]!
  protocol[REPLYING] = undefined
  const list = protocol[PENDING]!
  list.splice(list.indexOf(pending), 1)
  const out = protocol.trans.outBuffers
  const first = out?.[at]
  if (type === EXCEPTION) pending.replied(Outcome.APPLICATION)
  else if (out === undefined || first === undefined || first[0] === STOP || dialect.isSuccess(out, at))
    pending.replied(Outcome.OK)
  else pending.replied(Outcome.DECLARED)
}
