import { endWith, isNodePromise, type PluginHandle } from 'milo/plugin'
import { Call, endBefore, startStatement } from '../databases/call'

export function patchClient({ prototype }: any, plugin: PluginHandle): void {
  for (const name of ['execute', 'batch', 'eachRow']) {
    plugin.intercept(prototype, name, (original, self, args) => {
      const call = startCall(self, args[0])
      if (call === undefined) return original.apply(self, args.map(plugin.bind, plugin))
      const end = (result: unknown) => endWithHost(call, result)
      const given = name === 'eachRow' ? withCallback(args) : args
      const last = given.findLastIndex(one => typeof one === 'function')
      const bound = given.map((one, i) => plugin.bind(i === last ? endBefore(one, call, end) : one))
      const result = original.apply(self, bound)
      if (last !== -1 || !isNodePromise(result)) return result
      // Nobody has seen that promise, and the rejection of the one in its place is one that nobody has handled.
      return endWith({ end, fail: error => call.fail(error) }, result, true, true)
    })
  }
}

/** eachRow's arguments with a callback for the end, where it was given one for the rows alone. */
function withCallback(args: any[]): any[] {
  const functions = args.filter(one => typeof one === 'function')
  if (functions.length !== 1) return args
  const [query, params, options] = args.map(one => (typeof one === 'function' ? undefined : one))
  return [query, params, options, functions[0], () => {}]
}

function startCall(client: any, query: any): Call | undefined {
  const queries = Array.isArray(query) ? query.map(one => one?.query ?? one) : undefined
  const statement = queries === undefined ? query : `BATCH ${queries.join('; ')}`
  const span = startStatement(statement, 'cql', () => ({
    system: 'cassandra',
    namespace: client.keyspace,
    address: undefined,
    port: undefined,
  }))
  if (span === undefined) return undefined
  if (queries !== undefined) span.annotate('db.operation.batch.size', queries.length)
  return new Call(span, statement, 'cql')
}

function endWithHost(call: Call, result: any): void {
  const [, address, port] = /^(.*):(\d+)$/.exec(result?.info?.queriedHost ?? '') ?? []
  call.annotateServer(address, port)
  call.end()
}
