'use strict'

// One tracer in a process of its own. Makes what its parent asks for, again and again, and says what one of it costs.
const KINDS = {
  /** What a look at the context costs, and the clock, whoever does it. */
  least() {
    const storage = new (require('node:async_hooks').AsyncLocalStorage)()
    return {
      prepare() {},
      context(n) {
        storage.run({}, () => {
          for (let i = 0; i < n; i++) if (storage.getStore() === undefined) throw new Error('the context was lost')
        })
      },
      clock(n) {
        for (let i = 0; i < n; i++) {
          const start = performance.now()
          if (performance.now() < start) throw new Error('the clock went back')
        }
      },
      flush: async () => {},
    }
  },
  milo() {
    const milo = require('milo')
    const at = probability =>
      milo.init({
        sampler: `probability:${probability}`,
        scribe: `127.0.0.1:${process.env.BENCH_SCRIBE_PORT}`,
        maxBufferedSpans: 1_000_000,
        logLevel: 'error',
      })
    const loop = (n, act) => {
      for (let i = 0; i < n; i++) act()
    }
    const root = () => milo.span('root').end()
    const child = () => milo.span('child').end()
    return {
      prepare: at,
      root: n => loop(n, root),
      child: n => milo.span('root', () => loop(n, child)),
      annotation: n => inSpan(n, s => s.annotate('key', 'value')),
      event: n => inSpan(n, s => s.record('event')),
      flush: () => milo.flush(20_000),
    }
    // At most 100 of each on one span: it holds no more than 128.
    function inSpan(n, act) {
      for (let done = 0; done < n; done += 100) {
        const s = milo.span('holder')
        for (let i = 0; i < 100; i++) act(s)
        s.end()
      }
    }
  },
  opentelemetry() {
    const { context, trace, ROOT_CONTEXT } = require('@opentelemetry/api')
    const { AsyncLocalStorageContextManager } = require('@opentelemetry/context-async-hooks')
    const sdk = require('@opentelemetry/sdk-trace-base')
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
    let tracer
    let processor
    return {
      prepare(probability) {
        processor = new sdk.BatchSpanProcessor(
          { export: (_spans, done) => done({ code: 0 }), shutdown: async () => {} },
          { maxQueueSize: 1_000_000, scheduledDelayMillis: 3_600_000, maxExportBatchSize: 1_000_000 },
        )
        const sampler = new sdk.ParentBasedSampler({
          root: probability === 1 ? new sdk.AlwaysOnSampler() : new sdk.AlwaysOffSampler(),
        })
        tracer = new sdk.BasicTracerProvider({ sampler, spanProcessors: [processor] }).getTracer('bench')
      },
      root(n) {
        for (let i = 0; i < n; i++) tracer.startSpan('root', {}, ROOT_CONTEXT).end()
      },
      child(n) {
        context.with(trace.setSpan(ROOT_CONTEXT, tracer.startSpan('root', {}, ROOT_CONTEXT)), () => {
          for (let i = 0; i < n; i++) tracer.startSpan('child').end()
        })
      },
      annotation: n => inSpan(n, s => s.setAttribute('key', 'value')),
      event: n => inSpan(n, s => s.addEvent('event')),
      flush: () => processor.forceFlush(),
    }
    function inSpan(n, act) {
      for (let done = 0; done < n; done += 100) {
        const s = tracer.startSpan('holder', {}, ROOT_CONTEXT)
        for (let i = 0; i < 100; i++) act(s)
        s.end()
      }
    }
  },
  ddtrace() {
    // No agent is here to take its spans: what it makes of that is not measured, as it comes later.
    const tracer = require('dd-trace').init({
      startupLogs: false,
      flushInterval: 3_600_000,
      plugins: false,
      telemetry: { enabled: false },
      remoteConfig: { enabled: false },
    })
    let priority
    const root = name => {
      const span = tracer.startSpan(name)
      if (priority !== undefined) span.setTag('sampling.priority', priority)
      return span
    }
    return {
      prepare(probability) {
        priority = probability === 1 ? 2 : -1
      },
      root(n) {
        for (let i = 0; i < n; i++) root('root').finish()
      },
      child(n) {
        const parent = root('root')
        for (let i = 0; i < n; i++) tracer.startSpan('child', { childOf: parent }).finish()
        parent.finish()
      },
      annotation: n => inSpan(n, s => s.setTag('key', 'value')),
      event: n => inSpan(n, s => s.addEvent('event')),
      flush: async () => {},
    }
    function inSpan(n, act) {
      for (let done = 0; done < n; done += 100) {
        const s = root('holder')
        for (let i = 0; i < 100; i++) act(s)
        s.finish()
      }
    }
  },
  zipkin() {
    const zipkin = require('zipkin')
    let tracer
    let batch
    return {
      prepare(probability) {
        batch = new zipkin.BatchRecorder({ logger: { logSpan() {} }, timeout: 3_600_000_000 })
        tracer = new zipkin.Tracer({
          ctxImpl: new zipkin.ExplicitContext(),
          recorder: batch,
          sampler: new zipkin.sampler.CountingSampler(probability),
          localServiceName: 'bench',
        })
      },
      root(n) {
        for (let i = 0; i < n; i++) span(tracer.createRootId(), 'root')
      },
      child(n) {
        tracer.letId(tracer.createRootId(), () => {
          for (let i = 0; i < n; i++) span(tracer.createChildId(), 'child')
        })
      },
      annotation: n => inSpan(n, () => tracer.recordBinary('key', 'value')),
      event: n => inSpan(n, () => tracer.recordMessage('event')),
      flush: async () => {},
    }
    function span(id, name) {
      tracer.letId(id, () => {
        tracer.recordServiceName('bench')
        tracer.recordRpc(name)
        tracer.recordAnnotation(new zipkin.Annotation.LocalOperationStart(name))
        tracer.recordAnnotation(new zipkin.Annotation.LocalOperationStop())
      })
    }
    function inSpan(n, act) {
      for (let done = 0; done < n; done += 100) {
        tracer.letId(tracer.createRootId(), () => {
          tracer.recordAnnotation(new zipkin.Annotation.LocalOperationStart('holder'))
          for (let i = 0; i < 100; i++) act()
          tracer.recordAnnotation(new zipkin.Annotation.LocalOperationStop())
        })
      }
    }
  },
}

const tracer = KINDS[process.argv[2]]()

process.on('message', async ({ what, probability, count }) => {
  tracer.prepare(probability)
  const from = process.cpuUsage()
  tracer[what](count)
  const { user, system } = process.cpuUsage(from)
  await tracer.flush()
  process.send({ ns: ((user + system) * 1000) / count })
})
process.on('disconnect', () => process.exit())
process.send({})
