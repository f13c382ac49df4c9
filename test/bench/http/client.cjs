'use strict'

// One variant in a process of its own: a client by undici, whose server is elsewhere. Says what it cost between two questions.
const WAYS = {
  untraced: './untraced.cjs',
  asynclocalstorage: './untraced.cjs',
  least: './least-undici.cjs',
  milo: '../milo.cjs',
  opentelemetry: './opentelemetry-undici.cjs',
}
const [name, port] = process.argv.slice(2)
const { counts, drain } = require(WAYS[name])
// Whoever patches it has been loaded.
const { Pool } = require('undici')
const { AsyncLocalStorage } = require('node:async_hooks')

const CONNECTIONS = 10
const pool = new Pool(`http://127.0.0.1:${port}`, { connections: CONNECTIONS })

// The first `run` of a process makes every promise and tick dearer, before Node 24.
const storage = new AsyncLocalStorage()
const within = name === 'asynclocalstorage' ? work => storage.run({}, work) : work => work()

async function requests(n) {
  for (let i = 0; i < n; i++) {
    const { statusCode, body } = await pool.request({ path: '/users/42/orders?page=2', method: 'GET' })
    if ((await body.text()) !== 'ok' || statusCode !== 200) throw new Error(`not an answer: ${statusCode}`)
  }
}

let before
let from

process.on('message', async what => {
  if (what === 'begin') {
    before = counts()
    from = process.cpuUsage()
    process.send({})
    return
  }
  if (what !== 'end') {
    await Promise.all(Array.from({ length: CONNECTIONS }, () => within(() => requests(what.calls / CONNECTIONS))))
    process.send({})
    return
  }
  // What waits to be sent is part of the price, where there is somebody who takes it.
  await drain()
  const { user, system } = process.cpuUsage(from)
  const { sent, lost } = counts()
  process.send({ cpuUs: user + system, sent: sent - before.sent, lost: lost - before.lost })
})
process.on('disconnect', () => process.exit())
process.send({ port: Number(port) })
