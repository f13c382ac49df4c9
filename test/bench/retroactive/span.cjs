'use strict'
const milo = require('milo')

// What an unsampled span with two annotations costs: recorded into a history of the default size, or not at all.
milo.init({ sampler: 'never', scribe: '127.0.0.1:1', retroactive: process.argv[2] === 'on', logLevel: 'silent' })

const RECORD = {
  // Values that come again and again, as methods and states do.
  repeated(n) {
    for (let i = 0; i < n; i++) {
      const span = milo.span('Shop.order')
      span.annotate('http.request.method', 'POST')
      span.annotate('customer', CUSTOMERS[i & 63])
      span.end()
    }
  },
  // Values that nobody has seen before.
  unique(n) {
    for (let i = 0; i < n; i++) {
      const span = milo.span('Shop.order')
      span.annotate('order.id', texts[i])
      span.annotate('request.id', texts[n + i])
      span.end()
    }
  },
}

const CUSTOMERS = Array.from({ length: 64 }, (_, i) => `customer-${i}`)
let texts = []
let made = 0

process.on('message', ({ values, count }) => {
  // Whoever has values has made them: that isn't the span's price. Flat, as values are that come from a parser.
  texts = []
  if (values === 'unique') {
    for (let i = 0; i < 2 * count; i++) texts.push(Buffer.from(`${made++}-4f1c99e2a07b`).toString('latin1'))
  }
  const from = process.cpuUsage()
  RECORD[values](count)
  const { user, system } = process.cpuUsage(from)
  process.send({ ns: ((user + system) * 1000) / count, spans: milo.stats().retroactive?.spans ?? 0 })
})
process.on('disconnect', () => process.exit())
process.send({})
