'use strict'
const { once } = require('node:events')
const { connect, createServer } = require('node:net')

// One way of carrying context, in a process of its own: what an await and a TCP echo cost under it, and what a long chain keeps.
const WAYS = {
  none: () => run => run(),
  asynclocalstorage() {
    const { AsyncLocalStorage } = require('node:async_hooks')
    const storage = new AsyncLocalStorage()
    return run => storage.run({}, run)
  },
  milo() {
    const milo = require('milo')
    const { frameWith, runInFrame } = require('milo/plugin')
    milo.init({ sampler: 'always', scribe: '127.0.0.1:1', logLevel: 'silent', exitTimeoutMs: 0 })
    // As a server's plugin does; what the span itself costs is another bench's.
    const span = milo.span('bench')
    return run => runInFrame(frameWith(span), run)
  },
  'milo-cls'() {
    const namespace = require('milo/cls').createNamespace('bench')
    return run => namespace.runAndReturn(run)
  },
  opentelemetry() {
    const { context, ROOT_CONTEXT } = require('@opentelemetry/api')
    const { AsyncLocalStorageContextManager } = require('@opentelemetry/context-async-hooks')
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
    return run => context.with(ROOT_CONTEXT.setValue(Symbol('x'), 1), run)
  },
  'cls-hooked'() {
    const namespace = require('cls-hooked').createNamespace('bench')
    return run => namespace.runAndReturn(run)
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

const CONNECTIONS = 10

/** An echo's server and its clients, all in this process; each request is served in a context, each client runs in one. */
const echo = (async () => {
  const server = createServer(socket => socket.on('data', data => enter(() => serve(socket, data))))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const sockets = Array.from({ length: CONNECTIONS }, () => connect(server.address().port, '127.0.0.1'))
  await Promise.all(sockets.map(socket => once(socket, 'connect')))
  return sockets
})()

async function serve(socket, data) {
  await null
  socket.write(data)
}

async function call(socket, n) {
  for (let i = 0; i < n; i++) {
    await new Promise(resolve => {
      socket.once('data', resolve)
      socket.write('the quick brown fox jumps over a dog')
    })
  }
}

async function echoes(n) {
  const sockets = await echo
  await Promise.all(sockets.map(socket => enter(() => call(socket, n / CONNECTIONS))))
}

async function cost(act, count) {
  const from = process.cpuUsage()
  await act()
  const { user, system } = process.cpuUsage(from)
  return { ns: ((user + system) * 1000) / count }
}

process.on('message', async ({ what, count }) => {
  if (what === 'awaits') {
    process.send(await cost(() => enter(() => awaits(count)), count))
  } else if (what === 'echoes') {
    process.send(await cost(() => echoes(count), count))
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
