'use strict'
// A service and its caller in one process; ARGS says how. Prints what the application has seen, and the spans.
const { once } = require('node:events')
const { join } = require('node:path')
const args = JSON.parse(process.env.ARGS ?? '{}')
if (args.milo === 'first') require('milo/register')
const sdk = require('./sdk.cjs')
if (args.milo === 'later') require('milo/register')
const { trace, context, propagation } = sdk.api
const thrift = require('thrift')
// It warns of a sequence id that is set twice when a compact output serves several requests, traced or not.
thrift.setLogFunc(() => {})
const load = name => ({
  ...require(join(process.env.GEN, name, 'Calculator')),
  types: require(join(process.env.GEN, name, 'calculator_types')),
})
const services = { promise: load('es6'), callback: load('js') }
if (args.late) sdk.start()
const tracer = trace.getTracer('app')

const seen = []
/** A span of the application's, where it is. */
const inner = name => tracer.startSpan(name).end()
const turn = () => new Promise(resolve => setImmediate(resolve))

const methods = types => ({
  ping: async name => {
    inner('before')
    await turn()
    inner('after')
    return `hello ${name}${propagation.getBaggage(context.active())?.getEntry('user')?.value ?? ''}`
  },
  add: (a, b) => a + b,
  divide: async (a, b) => {
    if (b === 0) throw new types.Oops({ why: 'zero', code: 7 })
    return a / b
  },
  touch: async () => {
    throw args.thrown ?? new Error('undeclared')
  },
  fire: async what => inner(what),
  move: async (origin, by) => new types.Point({ x: origin.x + by[0] }),
})

/** The same methods for callbacks. */
const calling = handler => ({
  ping: (name, done) => void handler.ping(name).then(value => done(null, value)),
  add: (a, b, done) => done(null, handler.add(a, b)),
  divide: (a, b, done) => void handler.divide(a, b).then(value => done(null, value), done),
  touch: done => void handler.touch().then(() => done(null), done),
  fire: (what, _done) => void handler.fire(what),
  move: (origin, by, done) => void handler.move(origin, by).then(value => done(null, value)),
})

async function work([transport, protocol, style = 'promise', how = 'plain']) {
  const options = { transport: thrift[transport], protocol: thrift[protocol] }
  const service = services[style]
  const handler = style === 'callback' ? calling(methods(service.types)) : methods(service.types)
  const server =
    how === 'multiplexed'
      ? multiplexed(new service.Processor(handler), options)
      : thrift.createServer(service, handler, options)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const connection = thrift.createConnection('127.0.0.1', server.address().port, options)
  await once(connection, 'connect')
  const client =
    how === 'multiplexed'
      ? new thrift.Multiplexer().createClient('Sums', service, connection)
      : thrift.createClient(service, connection)
  const call = (name, ...given) =>
    style === 'promise'
      ? client[name](...given)
      : new Promise((resolve, reject) =>
          client[name](...given, (error, value) => {
            // Thrift calls back in the connection's context.
            inner('called back')
            if (error) reject(error)
            else resolve(value)
          }),
        )
  await tracer.startActiveSpan([transport, protocol, style, how].join(' '), async root => {
    seen.push(await call('ping', 'a'))
    seen.push(await call('divide', 1, 0).catch(error => `${error.name} ${error.why} ${error.code}`))
    seen.push(await call('touch').catch(error => `${error.name} ${error.message}`))
    // Its promise is never settled by code that thrift generates.
    if (style === 'promise') client.fire('fired')
    else client.fire('fired', () => {})
    seen.push((await Promise.all([call('ping', 'b'), call('add', 3, 4)])).join())
    root.end()
  })
  if (args.unknown) await unknownMethod(client)
  if (args.refused) await refused(options, service)
  connection.end()
  server.close()
}

/** Calls where nobody listens. */
async function refused(options, service) {
  const connection = thrift.createConnection('127.0.0.1', 1, options).on('error', () => {})
  thrift
    .createClient(service, connection)
    .ping('nobody')
    .catch(() => {})
  await new Promise(resolve => connection.on('close', resolve))
}

function multiplexed(processor, options) {
  const all = new thrift.MultiplexedProcessor()
  all.registerProcessor('Sums', processor)
  return thrift.createMultiplexServer(all, options)
}

/** Calls a method that the service doesn't have. */
async function unknownMethod(client) {
  const answer = new Promise(resolve => {
    client.seqid = () => 77
    client._seqid = 77
    client._reqs[77] = resolve
  })
  client.recv_nothing = client.recv_touch
  const output = new client.pClass(client.output)
  output.writeMessageBegin('nothing', thrift.Thrift.MessageType.CALL, 77)
  output.writeStructBegin('nothing_args')
  output.writeFieldStop()
  output.writeStructEnd()
  output.writeMessageEnd()
  client.output.flush()
  seen.push((await answer)?.name)
}

async function main() {
  const wires = args.wires ?? [['TFramedTransport', 'TBinaryProtocol']]
  for (const wire of wires) await work(wire)
  if (args.suppress) {
    const { suppressTracing } = require('@opentelemetry/core')
    await context.with(suppressTracing(context.active()), () => work(wires[0]))
  }
  if (args.baggage) {
    const baggage = propagation.createBaggage({ user: { value: ' ann' } })
    await context.with(propagation.setBaggage(context.active(), baggage), () => work(wires[0]))
  }
  if (args.toggle) {
    sdk.instrumentation.disable()
    await work(wires[0])
    sdk.instrumentation.enable()
    await work(wires[0])
  }
  console.log(JSON.stringify({ seen, spans: await sdk.finish() }))
}

main().then(
  () => process.exit(),
  error => {
    console.error(error)
    process.exit(1)
  },
)
