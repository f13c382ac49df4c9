'use strict'
// A service under OpenTelemetry's SDK that asks the service at the port that it is given, and says which baggage it has itself.
const { join } = require('node:path')
const sdk = require('./sdk.cjs')
const thrift = require('thrift')
const Calculator = require(join(process.env.GEN, 'es6/Calculator'))
const { context, propagation } = sdk.api

const options = { transport: thrift.TFramedTransport, protocol: thrift.TBinaryProtocol }

async function ping(port) {
  const all = propagation.getBaggage(context.active())?.getAllEntries() ?? []
  const connection = thrift.createConnection('127.0.0.1', Number(port), options)
  const mine = JSON.parse(await thrift.createClient(Calculator, connection).ping('x'))
  connection.end()
  return JSON.stringify({ theirs: Object.fromEntries(all.map(([key, { value }]) => [key, value])), mine })
}

const server = thrift.createServer(Calculator, { ping }, options)
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
