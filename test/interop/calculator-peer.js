// Calculator on a version of npm thrift, without Milo: what the other languages' programs are.
//
//   node calculator-peer.js <folder> serve                            every transport and protocol; prints
//                                                                     `<transport> <protocol> <port>` for each when it
//                                                                     listens, and serves until stdin ends
//   node calculator-peer.js <folder> call <port> <transport> <protocol>
//                                                                     calls every method over one connection; prints what
//                                                                     came of each, as JSON
//
// The folder has node_modules/thrift, and the generated code in gen.
const { createRequire } = require('node:module')
const { join } = require('node:path')

const [folder, command, ...args] = process.argv.slice(2)
const load = createRequire(join(folder, 'app.js'))
const thrift = load('thrift')
const Calculator = load('./gen/es6/Calculator')
const { Oops, Point } = load('./gen/es6/calculator_types')

// What its own compiler generates for 0.9.3 doesn't copy lists, and so it doesn't have this.
thrift.Thrift.copyList ??= list => list
// It warns of a sequence id that is set twice when a compact output serves several requests.
thrift.setLogFunc?.(() => {})

const TRANSPORTS = { buffered: thrift.TBufferedTransport, framed: thrift.TFramedTransport }
const PROTOCOLS = { binary: thrift.TBinaryProtocol, compact: thrift.TCompactProtocol, json: thrift.TJSONProtocol }

function calculator() {
  let fired = []
  return {
    async ping(name) {
      if (name === 'nobody') throw new Error('nobody is there')
      if (name !== 'fired') return `hello ${name}`
      const all = fired.join(' ')
      fired = []
      return all
    },
    add: async (a, b) => a + b,
    async divide(a, b) {
      if (b === 0) throw new Oops({ why: 'zero', code: 7 })
      return a / b
    },
    touch: async () => {},
    fire: async what => {
      fired.push(what)
    },
    move: async (origin, by) => new Point({ x: origin.x + by[0], label: origin.label }),
  }
}

function serve() {
  for (const [transport, Transport] of Object.entries(TRANSPORTS)) {
    for (const [protocol, Protocol] of Object.entries(PROTOCOLS)) {
      const server = thrift.createServer(Calculator, calculator(), { transport: Transport, protocol: Protocol })
      server.on('error', error => console.error(transport, protocol, error))
      server.listen(0, '127.0.0.1', () => console.log(transport, protocol, server.address().port))
    }
  }
  process.stdin.on('end', () => process.exit()).resume()
}

async function call(port, transport, protocol) {
  const options = { transport: TRANSPORTS[transport], protocol: PROTOCOLS[protocol] }
  const connection = thrift.createConnection('127.0.0.1', Number(port), options)
  const client = thrift.createClient(Calculator, connection)
  const calls = [
    () => client.ping('Zoë 世界 🙂'),
    () => client.ping(''),
    () => client.ping('x'.repeat(5000)),
    () => client.add(-1, 43),
    () => client.divide(9, 3),
    () => client.divide(1, 0),
    () => client.touch(),
    () => client.fire('shot'),
    () => client.move(new Point({ x: 1, label: 'é' }), [41, 2]),
    () => client.ping('fired'),
    () => client.ping('nobody'),
    () => client.add(1, 1),
  ]
  const replies = []
  for (const call of calls) {
    try {
      const reply = await call()
      replies.push(reply instanceof Point ? { x: reply.x, label: reply.label } : reply)
    } catch (error) {
      if (error instanceof Oops) replies.push({ oops: error.why, code: error.code })
      else if (error.name === 'TApplicationException') replies.push('application exception')
      else throw error
    }
  }
  console.log(JSON.stringify(replies))
  connection.end()
}

if (command === 'serve') serve()
else call(...args)
