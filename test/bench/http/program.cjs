'use strict'

// One variant in a process of its own: an HTTP server, whose clients are elsewhere. Says what it cost between two questions.
const WAYS = {
  untraced: './untraced.cjs',
  asynclocalstorage: './asynclocalstorage.cjs',
  least: './least.cjs',
  milo: '../milo.cjs',
  opentelemetry: './opentelemetry.cjs',
  ddtrace: './ddtrace.cjs',
}
const { counts, drain } = require(WAYS[process.argv[2]])
// Whoever patches it has been loaded.
const http = require('node:http')

let before
let from

const server = http.createServer((_request, response) => {
  response.end('ok')
})
server.keepAliveTimeout = 0
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }))

process.on('message', async what => {
  if (what === 'begin') {
    before = counts()
    from = process.cpuUsage()
    process.send({})
    return
  }
  // What waits to be sent is part of the price, where there is somebody who takes it.
  if (what === 'end') await drain()
  const { user, system } = process.cpuUsage(from)
  const { sent, lost } = counts()
  process.send({
    cpuUs: user + system,
    sent: sent - before.sent,
    lost: lost - before.lost,
    mostBytes: process.resourceUsage().maxRSS * 1024,
  })
})
process.on('disconnect', () => process.exit())
