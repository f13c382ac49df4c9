// Takes orders. Blocking (buffered), binary protocol, callback handlers.
const thrift = require('thrift')
const { Backend } = require('./backend')
const { serve } = require('./serve')
const Orders = require('./gen-nodejs/Orders')
const Pricing = require('./gen-nodejs/Pricing')
const { Order } = require('./gen-nodejs/shop_types')

const regulars = new Set(['bob'])
let lastId = 0

const pricing = new Backend('Pricing', Pricing, process.env.PRICING_PORT ?? 9103, {
  transport: thrift.TFramedTransport,
  protocol: thrift.TBinaryProtocol,
})

/** Calls back with what the item costs this user: for regular customers a tenth less. */
function priceFor(user, item, done) {
  pricing
    .call(client => client.quote(item, 1))
    .then(
      cents => done(null, regulars.has(user) ? Math.round(cents * 0.9) : cents),
      error => done(error),
    )
}

const handler = {
  estimate(user, item, done) {
    priceFor(user, item, done)
  },

  place(user, item, done) {
    priceFor(user, item, (error, cents) => {
      if (error) return done(error)
      lastId++
      const order = new Order({ id: `order-${lastId}`, user, item, cents })
      setTimeout(done, 6, null, order)
    })
  },

  // Declared oneway: the caller doesn't wait, and nothing is answered.
  sendReceipt(orderId) {
    setTimeout(() => console.error(`receipt for ${orderId} is on its way`), 5)
  },
}

const server = thrift.createServer(Orders, handler, {
  transport: thrift.TBufferedTransport,
  protocol: thrift.TBinaryProtocol,
})
serve(server, 9101, [pricing])
