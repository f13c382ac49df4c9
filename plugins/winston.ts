import { ids, type Plugin } from 'milo/plugin'

/**
 * trace_id and span_id in the records of winston, where a span is current. All records pass `write`, in the context of
 * the code that logs; what follows may wait for a slow transport and run in another.
 */
export const winston: Plugin = {
  name: 'winston',
  patches: [
    {
      module: 'winston',
      versions: '>=3 <4',
      file: 'lib/winston/logger.js',
      sign: /\[winston\] [A]ttempt to write logs with no transports/,
      patch(Logger, plugin) {
        plugin.intercept(Logger.prototype, 'write', (write, self, [info, ...rest]) =>
          write.call(self, withIds(info), ...rest),
        )
      },
    },
  ],
}

/** A copy with the ids: the record may be an object of the application's, which winston hands on. */
function withIds(info: unknown): unknown {
  const current = ids()
  if (current === undefined || info === null || typeof info !== 'object' || 'trace_id' in info) return info
  const added = { trace_id: current.traceId, span_id: current.spanId }
  const prototype = Object.getPrototypeOf(info)
  if (prototype === Object.prototype) return { ...info, ...added }
  // The record may be an error: its stack is not enumerable, and formats look at its class.
  return Object.assign(Object.create(prototype, Object.getOwnPropertyDescriptors(info)), added)
}
