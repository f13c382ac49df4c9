import { endWith, isNodePromise, type PluginHandle } from 'milo/plugin'
import { Call, type Database, endBefore, notedBy, startStatement, watchWait } from '../databases/call'

/** The prototypes of clients that have spans: a pool may have others. */
const clients = new WeakSet<object>()

export function patchPool({ prototype }: any, plugin: PluginHandle): void {
  const asking = notedBy(plugin, prototype, ['query'], (query, pool) =>
    hasSpans(pool.Client) ? textOf(query) : undefined,
  )
  plugin.intercept(prototype, 'connect', (original, self, args) => {
    const statement = asking()
    if (statement === undefined) return original.apply(self, args.map(plugin.bind, plugin))
    const of = (error: unknown) => poolsDatabase(self.options, error)
    const watched = args.map(one => watchWait(one, statement, 'postgresql', of))
    return original.apply(self, watched.map(plugin.bind, plugin))
  })
}

function hasSpans(Client: any): boolean {
  for (let level = Client?.prototype; level; level = Object.getPrototypeOf(level)) if (clients.has(level)) return true
  return false
}

/** What a client would have made of it. */
function poolsDatabase({ connectionString, host, port, database }: any, error: any): Database {
  const { PGHOST, PGPORT, PGDATABASE } = process.env
  const url = URL.canParse(connectionString) ? new URL(connectionString) : undefined
  return databaseOf({
    database: (url && decodeURIComponent(url.pathname.slice(1))) || database || PGDATABASE,
    host: (url && decodeURIComponent(url.hostname)) || host || PGHOST || error.address,
    port: url?.port || port || PGPORT || error.port,
  })
}

export function patchClient({ prototype }: any, plugin: PluginHandle): void {
  clients.add(prototype)
  plugin.intercept(prototype, 'query', (original, self, args) => {
    const [query] = args
    if (query === null || query === undefined) return original.apply(self, args)
    const call = startCall(self, query)
    if (typeof query.submit === 'function') {
      watchSubmittable(query, call, plugin)
      return original.apply(self, args.map(plugin.bind, plugin))
    }
    let hasCallback = false
    const observed = (callback: any) => {
      if (typeof callback !== 'function') return callback
      hasCallback = true
      return plugin.bind(call === undefined ? callback : endBefore(callback, call))
    }
    const given = args.map(observed)
    // A query's description may have the callback itself.
    if (!hasCallback && typeof query.callback === 'function')
      given[0] = Object.create(query, {
        callback: { value: observed(query.callback), writable: true, enumerable: true },
      })
    try {
      const result = original.apply(self, given)
      // Nobody has seen the promise, and its rejection stays one that nobody has handled.
      return call === undefined || hasCallback ? result : endWith(call, result, true, isNodePromise(result))
    } catch (error) {
      call?.fail(error)
      throw error
    }
  })
}

function startCall(client: any, query: any): Call | undefined {
  const statement = textOf(query)
  const span = startStatement(statement, 'postgresql', () => databaseOf(client))
  return span && new Call(span, statement, 'postgresql')
}

function textOf(query: any): unknown {
  return typeof query === 'string' ? query : (query?.text ?? query?.cursor?.text ?? query?.name)
}

function databaseOf({ database, host, port }: any): Database {
  return { system: 'postgresql', namespace: database, address: host, port }
}

/** A query of the application's own making: its events belong where it was given, and the client tells it how it ends. */
function watchSubmittable(query: any, call: Call | undefined, plugin: PluginHandle): void {
  const replace = (name: string, value: unknown) =>
    Object.defineProperty(query, name, {
      value,
      configurable: true,
      writable: true,
      enumerable: Object.hasOwn(query, name),
    })
  if (typeof query.emit === 'function') replace('emit', plugin.bind(query.emit))
  if (typeof query.callback === 'function') query.callback = plugin.bind(query.callback)
  if (call === undefined) return
  const { handleError, handleReadyForQuery } = query
  if (typeof handleError === 'function') {
    replace(
      'handleError',
      plugin.imitate(handleError, function (this: unknown, error: unknown, ...rest: unknown[]) {
        call.fail(error)
        return handleError.call(this, error, ...rest)
      }),
    )
  }
  if (typeof handleReadyForQuery === 'function') {
    replace(
      'handleReadyForQuery',
      plugin.imitate(handleReadyForQuery, function (this: unknown, ...rest: unknown[]) {
        call.end()
        return handleReadyForQuery.apply(this, rest)
      }),
    )
  }
}
