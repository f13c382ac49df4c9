import {
  currentFrame,
  currentSpan,
  errorName,
  frameWith,
  isActive,
  Kind,
  noteError,
  type PluginHandle,
  runInFrame,
  type Span,
  startSpan,
} from 'milo/plugin'
import { annotateDatabase, annotateServer, SYSTEM_CALLS, TLS_ERROR, textOf } from '../databases/call'
import { FieldsOn } from '../http/fields'

export function patchRedis(Redis: any, plugin: PluginHandle): void {
  const { Cluster, Pipeline, ReplyError } = Redis
  noteError(ReplyError, 'ReplyError')
  for (const [Class, hasAddress] of [
    [Redis, true],
    [Cluster, false],
  ]) {
    plugin.wrap(
      Class.prototype,
      'sendCommand',
      original =>
        function (this: any, command, ...rest) {
          // Commands of a pipeline come with its stream.
          if (plugin.enabled && isActive() && !rest[0]) {
            try {
              seeCommand(this, command, hasAddress)
            } catch (error) {
              plugin.fail(error)
            }
          }
          return original.call(this, command, ...rest)
        },
    )
  }
  plugin.wrap(
    Pipeline.prototype,
    'exec',
    original =>
      function (this: any, ...args) {
        // While a transaction is open, this only puts EXEC into the queue.
        if (plugin.enabled && isActive() && !(this._transactions > 0) && !Sent.has(this)) {
          try {
            startBatch(this)
          } catch (error) {
            plugin.fail(error)
          }
        }
        return original.apply(this, args)
      },
  )
  plugin.wrap(
    Pipeline.prototype,
    'sendCommand',
    original =>
      function (this: any, command, ...rest) {
        if (plugin.enabled && isActive()) {
          try {
            if (isAutomatic(this)) {
              // It has commands of many requests, and so no span of its own.
              if (!Sent.has(this)) new Sent(this, undefined)
              seeCommand(this.redis, command, !this.isCluster)
            }
          } catch (error) {
            plugin.fail(error)
          }
        }
        return original.call(this, command, ...rest)
      },
  )
  if (typeof Redis.prototype.silentEmit === 'function') {
    plugin.wrap(
      Redis.prototype,
      'silentEmit',
      original =>
        function (this: any, ...args) {
          const [event, error] = args
          if (
            event === 'error' &&
            plugin.enabled &&
            isActive() &&
            (SYSTEM_CALLS.has(error?.syscall) || TLS_ERROR.test(error?.code))
          )
            troubles.set(this, String(error.message))
          return original.apply(this, args)
        },
    )
  }
  // The connection's reader emits them, in the context of whatever opened the connection.
  plugin.watchEmit(Redis.prototype, (redis, event, args, emit) => {
    if (event === 'connect') troubles.delete(redis)
    return MESSAGES.has(event) && currentFrame()?.span !== undefined
      ? runInFrame(frameWith(undefined), emit, redis, event, args)
      : emit(redis, event, args)
  })
}

/** What a client's connection has failed with last, since there was one: its commands are told only that it was tried often. */
const troubles = new WeakMap<object, string>()

const MESSAGES = new Set<unknown>(['message', 'pmessage', 'smessage'].flatMap(name => [name, `${name}Buffer`]))

/** What a client sends by itself as well, from timers and when it has connected: such a command is no trace of its own. */
const HOUSEKEEPING = new Set(['auth', 'hello', 'client', 'select', 'info', 'readonly', 'cluster', 'asking', 'ping'])

/**
 * A command or pipeline that has been seen, and its span if that is sampled: it comes again when the connection is ready, or another one is.
 * A WeakMap would take longer than the rest of it where a trace isn't sampled.
 */
class Sent extends FieldsOn {
  readonly #span: Span | undefined

  constructor(object: object, span: Span | undefined) {
    super(object)
    this.#span = span
  }

  static has(object: object): boolean {
    return #span in object
  }

  static spanOf(object: object): Span | undefined {
    return (object as Sent).#span
  }
}

/** Whether it is one of those that a client with `enableAutoPipelining` makes of what is asked for at the same time. */
function isAutomatic(pipeline: any): boolean {
  for (const one of pipeline.redis?._autoPipelines?.values() ?? []) if (one === pipeline) return true
  return false
}

function seeCommand(redis: any, command: any, hasAddress: boolean): void {
  if (!Sent.has(command)) {
    const name = String(command.name)
    const mayBegin = currentSpan() !== undefined || !HOUSEKEEPING.has(name)
    const span = mayBegin ? start(name.toUpperCase(), redis) : undefined
    new Sent(command, span)
    if (span !== undefined) endWhenSettled(command, span, redis)
  }
  // A cluster gives it to a node, or to one after another.
  const span = Sent.spanOf(command)
  if (span !== undefined && hasAddress) annotateNode(span, redis)
}

function annotateNode(span: Span, { options }: any): void {
  annotateServer(span, options?.path ?? options?.host, options?.port)
}

function start(operation: string, redis: any): Span | undefined {
  const span = startSpan(Kind.CLIENT, operation)
  if (!span.recording) return undefined
  const namespace = redis.condition?.select ?? redis.options?.db
  annotateDatabase(span, {
    system: 'redis',
    namespace: namespace === undefined ? '' : String(namespace),
    address: '',
    port: 0,
  })
  return span.annotate('db.operation.name', operation)
}

function startBatch(pipeline: any): void {
  const { redis, length } = pipeline
  const isTransaction = pipeline._queue?.[0]?.name === 'multi'
  const span = start(isTransaction ? 'MULTI' : 'PIPELINE', redis)
  new Sent(pipeline, span)
  if (span === undefined) return
  span.annotate('db.operation.batch.size', isTransaction ? Math.max(length - 2, 0) : length)
  annotateNode(span, redis)
  endWhenSettled(pipeline, span, redis)
}

/** The promise is the application's alone: to listen to it would make its rejection one that somebody handles. */
function endWhenSettled(settled: any, span: Span, redis: object): void {
  const { resolve, reject, _queue: queue } = settled
  settled.resolve = function (this: unknown, value: unknown) {
    end(span, queue !== undefined && Array.isArray(value) ? failedOf(value) : undefined, redis, queue)
    return resolve.call(this, value)
  }
  settled.reject = function (this: unknown, error: unknown) {
    end(span, error, redis, queue)
    return reject.call(this, error)
  }
}

/** @param results a pipeline's: pairs of an error and a value, which is a list of results where it is EXEC's */
function failedOf(results: any[]): unknown {
  const failed = results.find(one => one?.[0])?.[0]
  const executed = results.at(-1)?.[1]
  return failed ?? (Array.isArray(executed) ? executed.find(one => one instanceof Error) : undefined)
}

function end(span: Span, error: any, redis: object, queue: any): void {
  try {
    if (error) annotateError(span, error, redis, queue)
  } catch {
    // A getter of the application's that throws.
  }
  span.end()
}

function annotateError(span: Span, error: any, redis: object, queue: any): void {
  const message = String(error.message)
  const name = error instanceof Error ? errorName(error) : String(error.name)
  if (name !== 'ReplyError') {
    span.annotate('error.type', name)
    const trouble = name === 'MaxRetriesPerRequestError' ? troubles.get(redis) : undefined
    const text = textOf(error, '', 'cql')
    // In place of the advice to read of the option.
    span.annotate('error.message', trouble === undefined ? text : `${text.replace(/\. .*/s, '')}: ${trouble}`)
    return
  }
  // Redis's errors begin with their kind, and may repeat arguments. What a script answers is the application's own text, values and all.
  const command = String(error.command?.name ?? '')
  const kind = /^[A-Z]+/.exec(message)?.[0]
  // A transaction's errors don't say whose they are.
  const isScripts = command === '' ? queue?.some(isScript) : isScript(error.command)
  const mayBeScripts = isScripts || command === ''
  if (kind === undefined || (mayBeScripts && !KINDS.has(kind))) {
    span.annotate('error.type', name)
  } else {
    span.annotate('error.type', kind).annotate('db.response.status_code', kind)
  }
  if (!isScripts) span.annotate('error.message', textOf(error, command, 'cql'))
}

function isScript(command: any): boolean {
  return /^(?:eval|fcall)/i.test(String(command?.name))
}

/** Those that Redis itself gives to scripts. */
const KINDS = new Set(
  'ERR WRONGTYPE NOSCRIPT BUSY OOM READONLY NOAUTH NOPERM LOADING MISCONF MASTERDOWN NOREPLICAS CLUSTERDOWN CROSSSLOT MOVED TRYAGAIN'.split(
    ' ',
  ),
)
