// The leaf: what things cost. Nonblocking (framed), binary protocol, async handlers.
const { setTimeout: pause } = require('node:timers/promises')
const thrift = require('thrift')
const { serve } = require('./serve')
const Pricing = require('./gen-nodejs/Pricing')

const centsOf = new Map([
  ['teapot', 2499],
  ['lamp', 4950],
  ['umbrella', 1890],
])

const handler = {
  async quote(item, quantity) {
    await pause(2)
    const cents = centsOf.get(item)
    if (cents === undefined) throw new Error(`no price for ${item}`)
    return cents * quantity
  },
}

const server = thrift.createServer(Pricing, handler, {
  transport: thrift.TFramedTransport,
  protocol: thrift.TBinaryProtocol,
})
serve(server, 9103)
