'use strict'

// One variant in a process of its own: makes calls when its parent says so, and says what they cost.
const { variant: name, transport, inFlight } = JSON.parse(process.argv[2])
const variant = require(`./${name}.cjs`)
const { start } = require('./echo.cjs')

start(variant, transport).then(echo => {
  process.on('message', async ({ calls }) => {
    const before = variant.counts()
    const bytesBefore = echo.connection.connection.bytesWritten
    const from = process.cpuUsage()
    await echo.run(calls, inFlight)
    // What waits to be sent is part of the price.
    await variant.drain()
    const { user, system } = process.cpuUsage(from)
    const { sent, lost } = variant.counts()
    const bytes = echo.connection.connection.bytesWritten - bytesBefore
    process.send({ cpuUs: user + system, bytes, sent: sent - before.sent, lost: lost - before.lost })
  })
  process.send({})
})

process.on('unhandledRejection', error => {
  throw error
})
process.on('disconnect', () => process.exit())
