import { AsyncResource } from 'node:async_hooks'
import { type Carrier, currentSettings, isActive, Kind, type PluginHandle, type Span, startSpan } from 'milo/plugin'
import { operation, serviceOf } from './names'
import { now, type OutgoingCall } from './protocol'

/*
 * A generated client's method takes a sequence id, keeps its callback (or the settling of its promise) in _reqs, and calls
 * send_X, which writes and flushes: all at once. So send_X is where a call begins, and what it finds in _reqs is where
 * it ends. The wrapper of send_X is made once a class.
 */

interface Client {
  _seqid: number
  _reqs: Record<number, ((...args: unknown[]) => unknown) | undefined>
  [PEER]?: Peer
}

/** Whom a client talks to. */
interface Peer {
  connection: { host?: string; port?: number | string } | undefined
  /** The name under which a multiplexed service is registered. */
  service: string | undefined
  carrier: Carrier | undefined
  /** The settings by which the carrier was chosen. */
  settings: unknown
}

const PEER = Symbol('milo.peer')
const wrapped = new WeakSet<object>()

export function traceClient(client: any, connection: any, service: unknown, plugin: PluginHandle): void {
  if (!plugin.enabled) return
  try {
    const peer: Peer = {
      connection,
      service: service === undefined ? undefined : String(service),
      carrier: undefined,
      settings: undefined,
    }
    Object.defineProperty(client, PEER, { value: peer, configurable: true })
    for (
      let level = Object.getPrototypeOf(client);
      level && level !== Object.prototype;
      level = Object.getPrototypeOf(level)
    ) {
      if (wrapped.has(level)) continue
      wrapped.add(level)
      for (const name of Object.getOwnPropertyNames(level)) {
        if (name.startsWith('send_') && typeof level[name] === 'function') wrapSend(level, name, plugin)
      }
    }
  } catch (error) {
    plugin.fail(error)
  }
}

function wrapSend(prototype: any, name: string, plugin: PluginHandle): void {
  const method = name.slice('send_'.length)
  const declared = serviceOf(prototype[name], method)
  plugin.wrap(
    prototype,
    name,
    original =>
      function (this: Client, ...args: unknown[]) {
        if (!plugin.enabled || !isActive()) return original.apply(this, args)
        let call: OutgoingCall
        try {
          call = begin(this, operation(this[PEER]?.service ?? declared, method))
        } catch (error) {
          plugin.fail(error)
          return original.apply(this, args)
        }
        const outer = now.outgoing
        now.outgoing = call
        try {
          return original.apply(this, args)
        } catch (error) {
          call.span.fail(error).end()
          throw error
        } finally {
          now.outgoing = outer
        }
      } as any,
  )
}

function begin(client: Client, name: string): OutgoingCall {
  const peer = client[PEER]
  const span = startSpan(Kind.CLIENT, name)
  if (span.sampled) {
    const { host, port } = peer?.connection ?? {}
    if (host !== undefined) span.annotate('server.address', host)
    if (port !== undefined) span.annotate('server.port', Number(port))
  }
  const seqid = client._seqid
  const callback = client._reqs[seqid]
  if (typeof callback === 'function') client._reqs[seqid] = settling(span, callback)
  return { span, carrier: carrierFor(peer) }
}

/**
 * Ends the span with the reply. The callback runs in its caller's context: thrift calls it in that of whoever made the
 * connection, where neither Milo's nor the application's own AsyncLocalStorage has the right value.
 */
function settling(span: Span, callback: (...args: unknown[]) => unknown): (...args: unknown[]) => unknown {
  const caller = new AsyncResource('MiloThriftCall')
  return function (this: unknown, ...args: unknown[]) {
    if (span.sampled) {
      const error = args[0]
      if (error !== null && error !== undefined) span.fail(error)
      span.end()
    }
    return caller.runInAsyncScope(callback, this, ...args)
  }
}

function carrierFor(peer: Peer | undefined): Carrier {
  const settings = currentSettings()!
  if (peer === undefined) return settings.propagation.default
  if (peer.settings !== settings || peer.carrier === undefined) {
    const { host, port } = peer.connection ?? {}
    peer.settings = settings
    peer.carrier = settings.propagation.peers.get(`${host}:${port}`) ?? settings.propagation.default
  }
  return peer.carrier
}
