import type { PluginHandle, Wrapped } from 'milo/plugin'
import { Call, type Database, notedBy, startStatement, watchWait } from '../databases/call'

export function patchPool({ prototype }: any, plugin: PluginHandle): void {
  watchPool(prototype, plugin, pool => databaseOf(pool.config.connectionConfig))
}

/** A cluster's pools by a pattern have no class that the file offers. */
export function patchCluster({ prototype }: any, plugin: PluginHandle): void {
  const patched = new WeakSet<object>()
  plugin.intercept(prototype, 'of', (original, self, args) => {
    const namespace = original.apply(self, args)
    const own = Object.getPrototypeOf(namespace)
    if (!patched.has(own)) {
      patched.add(own)
      // Which of its pools was asked, the error knows.
      watchPool(own, plugin, (_, { address, port }) => databaseOf({ host: address, port }))
    }
    return namespace
  })
}

function watchPool(prototype: any, plugin: PluginHandle, of: (pool: any, error: any) => Database): void {
  if (!Object.hasOwn(prototype, 'getConnection')) return
  const asking = notedBy(plugin, prototype, ['query', 'execute'], textOf)
  plugin.intercept(prototype, 'getConnection', (original, self, [callback, ...rest]) => {
    const statement = asking()
    const watched =
      statement === undefined ? callback : watchWait(callback, statement, 'mysql', error => of(self, error))
    return original.call(self, plugin.bind(watched), ...rest)
  })
}

function textOf(query: any): unknown {
  return typeof query === 'string' ? query : query?.sql
}

export function patchConnection({ prototype }: any, plugin: PluginHandle): void {
  if (!Object.hasOwn(prototype, 'addCommand')) return
  /** What the call that is going on was given: mysql2 puts values into a query's text before it makes a command of it. */
  let given: { statement: unknown; call?: Call } | undefined
  const duringCall = (original: Wrapped, self: any, args: any[]) => {
    const before = given
    given = { statement: textOf(args[0]) }
    try {
      return original.apply(self, args)
    } finally {
      given = before
    }
  }
  for (const name of ['query', 'execute']) plugin.intercept(prototype, name, duringCall)

  /** Binds a command to where it is given. @returns its call, if it is a statement whose span is sampled */
  const take = (connection: any, command: any): Call | undefined => {
    const around = given
    const isPart = around !== undefined && typeof command.query === 'string'
    // The prepared statement of `execute` is a part of that call, and tells the application itself when it fails.
    const call = isPart ? undefined : startCall(connection, command, around?.statement)
    if (around !== undefined && call !== undefined) around.call = call
    const { onResult, emit } = command
    if (typeof onResult === 'function') {
      const observed = function (this: unknown, error: unknown, ...rest: unknown[]) {
        if (error) (call ?? around?.call)?.fail(error)
        return onResult.call(this, error, ...rest)
      }
      command.onResult = plugin.bind(call === undefined && !isPart ? onResult : observed)
    }
    const value = plugin.bind(
      call === undefined
        ? emit
        : function (this: unknown, event: unknown, ...rest: unknown[]) {
            if (event === 'error') call.fail(rest[0])
            else if (event === 'end') call.end()
            return emit.call(this, event, ...rest)
          },
    )
    Object.defineProperty(command, 'emit', { value, configurable: true, writable: true, enumerable: false })
    return call
  }
  plugin.intercept(prototype, 'addCommand', (original, self, args) => {
    take(self, args[0])
    return original.apply(self, args)
  })
  // What a connection that is closed does instead: it calls back with an error, or emits one itself.
  plugin.intercept(prototype, '_addCommandClosedState', (original, self, args) => {
    const call = take(self, args[0])
    const result = original.apply(self, args)
    call?.fail({ code: 'closed' })
    return result
  })
  // A connection that drops tells its callbacks, and emits one error for all that have none.
  plugin.intercept(prototype, '_notifyError', (original, self, args) => {
    failAll(self, args[0])
    return original.apply(self, args)
  })
  // One that is destroyed tells nobody. It waits for no more answers, though one may come.
  plugin.intercept(prototype, 'close', (original, self, args) => {
    failAll(self, { code: 'aborted' })
    return original.apply(self, args)
  })
}

/** The sampled calls of a connection that haven't been answered. */
const calls = new WeakMap<object, Set<Call>>()

function failAll(connection: object, error: unknown): void {
  for (const call of calls.get(connection) ?? []) call.fail(error)
}

function startCall(connection: any, command: any, given: unknown): Call | undefined {
  const statement = given ?? command?.sql ?? command?.query ?? command?.statement?.query
  if (typeof statement !== 'string') return undefined
  const span = startStatement(statement, 'mysql', () => databaseOf(connection.config))
  if (span === undefined) return undefined
  const open = calls.get(connection) ?? new Set<Call>()
  calls.set(connection, open)
  return new Call(span, statement, 'mysql', open)
}

function databaseOf({ database, host, port, socketPath }: any): Database {
  return { system: 'mysql', namespace: database, address: socketPath ?? host, port }
}
