import { ids, type Plugin, type PluginHandle } from 'milo/plugin'

/**
 * trace_id and span_id in the records of pino, where a span is current. A record's line is put together by one function
 * from pieces of JSON: the pieces of ours follow the time. What the application calls so itself stays, alone.
 */
export const pino: Plugin = {
  name: 'pino',
  patches: [
    {
      ...patch('lib/symbols.js', symbols => {
        chindings = symbols.chindingsSym
      }),
      sign: /pino\.[c]hindings/,
    },
    patch('lib/tools.js', (tools, plugin) => {
      // Each copy of pino has a symbol of its own, and has loaded it before its tools.
      const bindings = chindings
      plugin.wrap(
        tools,
        'asJson',
        asJson =>
          function (this: any, obj: any, msg: unknown, num: unknown, time: string) {
            return asJson.call(this, obj, msg, num, plugin.enabled ? time + fields(obj, this[bindings], plugin) : time)
          },
      )
    }),
  ],
}

function patch(file: string, apply: (exports: any, plugin: PluginHandle) => void) {
  return { module: 'pino', versions: '>=5 <11', file, patch: apply }
}

/** The symbol under which a logger of the copy that is being loaded keeps its bindings, as JSON. */
let chindings: symbol

function fields(obj: unknown, bindings: unknown, plugin: PluginHandle): string {
  try {
    const current = ids()
    if (current === undefined) return ''
    if (typeof bindings === 'string' && bindings.includes('"trace_id":')) return ''
    if (obj !== null && typeof obj === 'object' && Object.hasOwn(obj, 'trace_id')) return ''
    return `,"trace_id":"${current.traceId}","span_id":"${current.spanId}"`
  } catch (error) {
    plugin.fail(error)
    return ''
  }
}
