import { clock, currentSpan, endWith, isNodePromise, type Plugin, type PluginHandle, type Span } from 'milo/plugin'

/**
 * generic-pool: how long a request waited for something of a pool is an event on its span. In version 2 a pool calls back from where
 * another request gives something back: callbacks are bound to where they were given.
 */
export const genericPool: Plugin = {
  name: 'generic-pool',
  patches: [
    {
      module: 'generic-pool',
      versions: '>=2 <3',
      file: 'lib/generic-pool.js',
      patch: (exports, plugin) => patch(exports.Pool, plugin),
    },
    { module: 'generic-pool', versions: '>=3 <4', file: 'lib/Pool.js', patch },
  ],
}

function patch({ prototype }: any, plugin: PluginHandle): void {
  plugin.intercept(prototype, 'acquire', (original, self, args) => {
    const span = currentSpan()
    const wait = span?.recording === true ? new Wait(span) : undefined
    const [callback, ...rest] = args
    if (typeof callback === 'function') {
      const noted = (...given: unknown[]) => {
        wait?.end()
        return callback(...given)
      }
      return original.call(self, plugin.bind(wait === undefined ? callback : noted), ...rest)
    }
    const result = original.apply(self, args)
    if (wait === undefined) return result
    // Nobody has seen the promise, and its rejection stays one that nobody has handled.
    return endWith(wait, result, true, isNodePromise(result))
  })
}

class Wait {
  private readonly span: Span
  private readonly startMs = clock.now()

  constructor(span: Span) {
    this.span = span
  }

  /** The pool's error is the application's matter. */
  fail(): void {}

  end(): void {
    const waitedMs = Math.round(clock.now() - this.startMs)
    if (waitedMs >= 1) this.span.record(`generic-pool: waited ${waitedMs} ms`)
  }
}
