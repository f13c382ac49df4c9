'use strict'

// One way of carrying context, in a process of its own: what an await costs under it, and what a long chain keeps.
const WAYS = {
  none: () => run => run(),
  asynclocalstorage() {
    const { AsyncLocalStorage } = require('node:async_hooks')
    const storage = new AsyncLocalStorage()
    return run => storage.run({}, run)
  },
  milo() {
    const milo = require('milo')
    milo.init({ sampler: 'always', scribe: '127.0.0.1:1', logLevel: 'silent', exitTimeoutMs: 0 })
    return run => milo.span('bench', run)
  },
  'milo-cls'() {
    const namespace = require('milo/cls').createNamespace('bench')
    return run => namespace.runPromise(run)
  },
  opentelemetry() {
    const { context, ROOT_CONTEXT } = require('@opentelemetry/api')
    const { AsyncLocalStorageContextManager } = require('@opentelemetry/context-async-hooks')
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
    return run => context.with(ROOT_CONTEXT.setValue(Symbol('x'), 1), run)
  },
  'cls-hooked'() {
    const namespace = require('cls-hooked').createNamespace('bench')
    return run => namespace.runPromise(run)
  },
}

const enter = WAYS[process.argv[2]]()

async function leaf() {
  await null
}

async function awaits(n) {
  for (let i = 0; i < n; i += 2) await leaf()
}

/** Each link is begun in the one before: whoever keeps its parent keeps them all. */
async function chain(n) {
  if (n > 0) setImmediate(() => {})
  for (let i = 0; i < n; i++) await new Promise(resolve => (i % 1000 === 0 ? setImmediate(resolve) : resolve()))
}

process.on('message', async ({ what, count }) => {
  if (what === 'awaits') {
    const from = process.cpuUsage()
    await enter(() => awaits(count))
    const { user, system } = process.cpuUsage(from)
    process.send({ ns: ((user + system) * 1000) / count })
  } else {
    global.gc()
    const before = process.memoryUsage().heapUsed
    let after
    await enter(async () => {
      await chain(count)
      global.gc()
      after = process.memoryUsage().heapUsed
    })
    process.send({ bytes: after - before })
  }
})
process.on('disconnect', () => process.exit())
process.send({})
