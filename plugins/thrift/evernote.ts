import { currentSettings, isActive, Kind, type PluginHandle, runInFrame, startSpan } from 'milo/plugin'
import { nameOf } from './client'
import { type Call, fail, frameOf, isOpen, keepOpen, settle } from './connection'
import { operation } from './names'
import { askApplication } from './on-request'
import { Pending } from './pending'
import { newCall, type OutgoingCall } from './protocol'
import { apply } from './replace'

/*
 * Evernote's SDK has a Thrift of its own: each method is an object, whose sendRequest writes the call, posts it and hands the
 * response to processResponse. Calls are traced, and the POST is theirs; nothing is put into messages, as Evernote's servers
 * aren't the application's own.
 */

interface Method {
  /** The method's name. */
  alias: string
  [SERVICE]?: string
}

const SERVICE = Symbol('milo.service')
/** On a callback: its call. */
const CALL = Symbol('milo.call')

const open = new Pending<Call>()

/** @param exports the file that is generated for a service: an object of methods has its name */
export function nameEvernoteService(exports: any, service: string): void {
  for (const method of Object.values<any>(exports[service])) {
    if (typeof method?.alias === 'string') Object.defineProperty(method, SERVICE, { value: service })
  }
}

export function patchEvernote(exports: any, plugin: PluginHandle): void {
  const { prototype } = exports.Method
  plugin.wrap(
    prototype,
    'sendRequest',
    original =>
      function (this: Method, output: any, seqid: unknown, struct: unknown, callback: unknown, ...rest: unknown[]) {
        const args = [output, seqid, struct, callback, ...rest]
        if (!plugin.enabled || !isActive()) return original.apply(this, args)
        let call: OutgoingCall | undefined
        try {
          call = begin(this, output, struct)
          if (typeof callback === 'function') args[3] = settling(call, plugin.bind(callback))
        } catch (error) {
          plugin.fail(error)
        }
        if (call === undefined) return original.apply(this, args)
        try {
          return runInFrame(frameOf(call), apply, original, this, args)
        } catch (error) {
          if (isOpen(call)) fail(call, 'not_sent', nameOf(error), error)
          throw error
        }
      },
  )
  plugin.wrap(
    prototype,
    'processResponse',
    original =>
      function (this: Method, response: unknown, callback: any, ...rest: unknown[]) {
        const call: OutgoingCall | undefined = callback?.[CALL]
        if (call !== undefined) call.answered = true
        return original.call(this, response, callback, ...rest)
      },
  )
}

function begin(method: Method, output: any, struct: unknown): OutgoingCall {
  const { name, annotations } = operation(method[SERVICE], method.alias, false)
  const { hostname, port } = output?.transport ?? {}
  if (typeof hostname === 'string') annotations.push('server.address', hostname)
  if (port) annotations.push('server.port', String(port))
  const span = startSpan(Kind.CLIENT, name, false, false, annotations)
  const call = newCall(span, 'off', output, method.alias)
  if (!span.recording) return call
  span.adopt(annotations)
  if (currentSettings()!.onRequest !== undefined) askApplication(span, Object.values(struct ?? {}))
  return keepOpen(call, output?.transport, open)
}

function settling(call: OutgoingCall, callback: Function): Function {
  const settles = function (this: unknown, ...args: unknown[]) {
    if (isOpen(call)) settleWith(call, args[0])
    return callback.apply(this, args)
  }
  return Object.defineProperty(settles, CALL, { value: call })
}

/** Ends a call with what its callback is first given: for a status other than 200, it is called twice. */
function settleWith(call: Call, error: any): void {
  if (!error) settle(call, 'ok')
  else if (!call.answered) fail(call, 'transport_error', nameOf(error), error)
  else {
    // Its exceptions are no Errors, and their classes have a name of their own.
    const { alias } = error.constructor ?? {}
    call.span.annotate('error.type', typeof alias === 'string' ? alias : nameOf(error))
    if (typeof error.message === 'string') call.span.annotate('error.message', error.message)
    settle(call, alias === 'TApplicationException' ? 'application_exception' : 'exception')
  }
}
