// What is on the shelves. Nonblocking (framed), compact protocol, async handlers.
const { setTimeout: pause } = require('node:timers/promises')
const thrift = require('thrift')
const { Backend } = require('./backend')
const { serve } = require('./serve')
const Inventory = require('./gen-nodejs/Inventory')
const Pricing = require('./gen-nodejs/Pricing')
const { OutOfStock, Stock } = require('./gen-nodejs/shop_types')

const leftOf = new Map([
  ['teapot', 1000],
  ['lamp', 1000],
  ['umbrella', 0],
])

const pricing = new Backend('Pricing', Pricing, process.env.PRICING_PORT ?? 9103, {
  transport: thrift.TFramedTransport,
  protocol: thrift.TBinaryProtocol,
})

const handler = {
  async check(item) {
    await pause(3)
    const cents = await pricing.call(client => client.quote(item, 1))
    return new Stock({ item, left: leftOf.get(item) ?? 0, cents })
  },

  async reserve(item) {
    await pause(4)
    const left = (leftOf.get(item) ?? 0) - 1
    if (left < 0) throw new OutOfStock({ item, message: `${item} is out of stock` })
    leftOf.set(item, left)
    return left
  },
}

const server = thrift.createServer(Inventory, handler, {
  transport: thrift.TFramedTransport,
  protocol: thrift.TCompactProtocol,
})
serve(server, 9102, [pricing])
