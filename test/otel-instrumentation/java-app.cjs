'use strict'
// A service under OpenTelemetry's SDK, whose peers are Java's: it calls the servers of ARGS, and has one of each kind to be called. It
// prints its ports, and its spans when its standard input ends.
const { once } = require('node:events')
const { join } = require('node:path')
const sdk = require('./sdk.cjs')
const { B3InjectEncoding, B3Propagator } = require('@opentelemetry/propagator-b3')
const thrift = require('thrift')
const Calculator = require(join(process.env.GEN, 'es6/Calculator'))
const types = require(join(process.env.GEN, 'es6/calculator_types'))
const { servers } = JSON.parse(process.env.ARGS)
const tracer = sdk.api.trace.getTracer('app')

const TRANSPORTS = { buffered: thrift.TBufferedTransport, framed: thrift.TFramedTransport }
const PROTOCOLS = { binary: thrift.TBinaryProtocol, compact: thrift.TCompactProtocol, json: thrift.TJSONProtocol }
const options = (transport, protocol) => ({ transport: TRANSPORTS[transport], protocol: PROTOCOLS[protocol] })

const handler = {
  ping: async name => `hello ${name}`,
  add: async (a, b) => a + b,
  divide: async (a, b) => {
    if (b === 0) throw new types.Oops({ why: 'zero', code: 7 })
    return a / b
  },
  touch: async () => {},
  fire: async _what => {},
  move: async (origin, by) => new types.Point({ x: origin.x + by[0], label: origin.label }),
}

async function main() {
  const ports = {}
  for (const transport of Object.keys(TRANSPORTS)) {
    for (const protocol of Object.keys(PROTOCOLS)) {
      const server = thrift.createServer(Calculator, handler, options(transport, protocol)).listen(0, '127.0.0.1')
      await once(server, 'listening')
      ports[`${transport} ${protocol}`] = server.address().port
    }
  }
  const { propagation } = sdk.api
  for (const [port, transport, protocol] of servers) {
    if (transport === 'framed') {
      propagation.disable()
      propagation.setGlobalPropagator(new B3Propagator({ injectEncoding: B3InjectEncoding.MULTI_HEADER }))
    }
    const connection = thrift.createConnection('127.0.0.1', port, options(transport, protocol))
    const client = thrift.createClient(Calculator, connection)
    await tracer.startActiveSpan([transport, protocol].join(' '), async root => {
      await client.ping('é')
      await client.add(20, 22)
      await client.divide(1, 0).catch(() => {})
      await client.touch()
      await client.move(new types.Point({ x: 1, label: 'é' }), [41, -1])
      root.end()
    })
    connection.end()
  }
  console.log(JSON.stringify({ ports }))
  process.stdin.resume()
  await once(process.stdin, 'end')
  console.log(JSON.stringify({ spans: await sdk.finish() }))
  process.exit()
}

main()
