'use strict'
const { queryObjects } = require('node:v8')
const milo = require('milo')
const variant = require('./milo.cjs')
const { start } = require('./echo.cjs')

// Many calls, all sampled, and what is left of them: run with --expose-gc.
const { transport, inFlight, checkpoints } = JSON.parse(process.argv[2])
const Span = milo.current().constructor

start(variant, transport).then(async ({ client, connection, run }) => {
  let calls = 0
  for (const checkpoint of checkpoints) {
    await run(checkpoint - calls, inFlight)
    calls = checkpoint
    await milo.flush(30_000)
    // Weak references, and what finalizers hold, need a turn of the loop and a second collection.
    for (let i = 0; i < 3; i++) {
      await new Promise(resolve => setImmediate(resolve))
      global.gc()
    }
    const { heapUsed, external, arrayBuffers } = process.memoryUsage()
    const { ended, sent, dropped } = milo.stats()
    process.send({
      calls,
      heapBytes: heapUsed,
      externalBytes: external + arrayBuffers,
      ended,
      sent,
      dropped,
      reqs: Object.keys(client._reqs).length,
      openOfClient: hidden(client, 'milo.peer').open.size,
      openOfConnection: hidden(connection, 'milo.open').size,
      // The servers' tables can't be reached from here, but all that is pending holds its span.
      spans: queryObjects(Span, { format: 'count' }),
    })
  }
  process.disconnect()
  process.exit()
})

/** What the plugin keeps on an object of thrift's. */
function hidden(object, description) {
  const key = Object.getOwnPropertySymbols(object).find(symbol => symbol.description === description)
  if (key === undefined) throw new Error(`the plugin keeps no ${description} here: this check needs to be mended`)
  return object[key]
}

process.on('unhandledRejection', error => {
  throw error
})
