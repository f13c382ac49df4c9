import {
  currentFrame,
  currentSpan,
  frameWith,
  isActive,
  Kind,
  type PluginHandle,
  runInFrame,
  type Span,
  startSpan,
} from 'milo/plugin'
import { annotateDatabase, annotateServer, plainMessage } from '../databases/call'
import { FieldsOn } from '../http/fields'

export function patchRedis(Redis: any, plugin: PluginHandle): void {
  const { Cluster, Pipeline } = Redis
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
  // The connection's reader emits them, in the context of whatever opened the connection.
  plugin.watchEmit(Redis.prototype, (redis, event, args, emit) =>
    MESSAGES.has(event) && currentFrame()?.span !== undefined
      ? runInFrame(frameWith(undefined), emit, redis, event, args)
      : emit(redis, event, args),
  )
}

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
    if (span !== undefined) endWhenSettled(command, span)
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
  endWhenSettled(pipeline, span)
}

/** The promise is the application's alone: to listen to it would make its rejection one that somebody handles. */
function endWhenSettled(settled: any, span: Span): void {
  const { resolve, reject } = settled
  settled.resolve = function (this: unknown, value: unknown) {
    // A pipeline's results are pairs of an error and a value.
    const failed = settled._queue !== undefined && Array.isArray(value) ? value.find(one => one?.[0])?.[0] : undefined
    end(span, failed)
    return resolve.call(this, value)
  }
  settled.reject = function (this: unknown, error: unknown) {
    end(span, error)
    return reject.call(this, error)
  }
}

function end(span: Span, error: any): void {
  try {
    if (error) {
      const message = String(error.message)
      // Redis's errors begin with their kind, and may repeat arguments.
      const kind = error.name === 'ReplyError' ? /^[A-Z]+/.exec(message)?.[0] : undefined
      span.annotate('error.type', kind ?? String(error.name))
      // What a script answers is the application's own text, values and all.
      if (error.name !== 'ReplyError' || !/^(?:eval|fcall)/i.test(error.command?.name))
        span.annotate('error.message', plainMessage(message, '', 'cql'))
      if (kind !== undefined) span.annotate('db.response.status_code', kind)
    }
  } catch {
    // A getter of the application's that throws.
  }
  span.end()
}
