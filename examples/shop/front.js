// The shop's web front: GET /checkout?user=ada&item=teapot
const http = require('node:http')
const thrift = require('thrift')
const { Backend, BackendDown } = require('./backend')
const { serve } = require('./serve')
const Inventory = require('./gen-nodejs/Inventory')
const Orders = require('./gen-nodejs/Orders')
const { OutOfStock } = require('./gen-nodejs/shop_types')

const orders = new Backend('Orders', Orders, process.env.ORDERS_PORT ?? 9101, {
  transport: thrift.TBufferedTransport,
  protocol: thrift.TBinaryProtocol,
})
const inventory = new Backend('Inventory', Inventory, process.env.INVENTORY_PORT ?? 9102, {
  transport: thrift.TFramedTransport,
  protocol: thrift.TCompactProtocol,
})

async function checkout(user, item) {
  const [stock, cents] = await Promise.all([
    inventory.call(client => client.check(item)),
    orders.call(client => client.estimate(user, item)),
  ])
  await inventory.call(client => client.reserve(item))
  const order = await orders.call(client => client.place(user, item))
  await orders.call(client => client.sendReceipt(order.id))
  return { order: order.id, item: order.item, cents: order.cents, saved: stock.cents - cents }
}

async function answer(target) {
  if (!URL.canParse(target, 'http://localhost')) return [400, { error: 'not a URL' }]
  const url = new URL(target, 'http://localhost')
  if (url.pathname !== '/checkout') return [404, { error: 'there is only /checkout?user=…&item=…' }]
  const user = url.searchParams.get('user')
  const item = url.searchParams.get('item')
  if (!user || !item) return [400, { error: 'user and item are needed' }]
  try {
    return [200, await checkout(user, item)]
  } catch (error) {
    if (error instanceof OutOfStock) return [409, { error: error.message }]
    if (!(error instanceof BackendDown || error instanceof thrift.Thrift.TApplicationException)) throw error
    return [502, { error: error.message }]
  }
}

const server = http.createServer((request, response) => {
  answer(request.url)
    .catch(error => {
      console.error(error)
      return [500, { error: 'internal error' }]
    })
    .then(([status, body]) => {
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(JSON.stringify(body) + '\n')
    })
})
serve(server, 8080, [orders, inventory])
