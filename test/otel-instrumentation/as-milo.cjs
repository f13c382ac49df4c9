'use strict'
// OpenTelemetry's SDK and ThriftInstrumentation in the place of Milo: loaded before a program of test/fixtures that shows what Milo
// traces, it gives it as much of milo and milo/testing as it uses.
const sdk = require('./sdk.cjs')
const { trace } = sdk.api
const tracer = trace.getTracer('app')

const spans = () => sdk.spans()
const quote = text => (/["=[\]\s]/.test(text) ? JSON.stringify(text) : text)

globalThis.insteadOfMilo = {
  context: sdk.api.context,
  milo: {
    span(name, work) {
      return tracer.startActiveSpan(name, span => {
        const result = work()
        if (typeof result?.then !== 'function') span.end()
        else result.then(() => span.end())
        return result
      })
    },
    current: () => trace.getActiveSpan(),
  },
  testing: {
    start() {},
    async ended(count, limitMs) {
      const giveUp = Date.now() + limitMs
      while (spans().length < count && Date.now() < giveUp) await new Promise(resolve => setTimeout(resolve, 5))
    },
    tree({ annotations: keys }) {
      const all = spans()
      const lines = (parents, depth) =>
        parents.flatMap(({ name, kind, spanId, attributes }) => [
          '  '.repeat(depth) +
            [
              quote(name),
              ...(kind === 'internal' ? [] : [`(${kind})`]),
              ...Object.entries(attributes).flatMap(([key, value]) =>
                keys.includes(key) ? `${key}=${quote(String(value))}` : [],
              ),
            ].join(' '),
          ...lines(
            all.filter(({ parentId }) => parentId === spanId),
            depth + 1,
          ),
        ])
      return lines(
        all.filter(({ parentId }) => !all.some(({ spanId }) => spanId === parentId)),
        0,
      ).join('\n')
    },
  },
}
