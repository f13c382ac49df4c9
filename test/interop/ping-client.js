// Pings HelloWorld over one connection: one call after the other, then some at once. Prints the replies as JSON, on the
// next line what Milo counted.
//   node -r milo/register ping-client.js port buffered|framed binary|compact name …
const milo = require('milo')
const thrift = require('thrift')
const HelloWorld = require('../../examples/hello-world/gen-nodejs/HelloWorld')

const [port, transport, protocol, ...names] = process.argv.slice(2)
const connection = thrift.createConnection('127.0.0.1', Number(port), {
  transport: transport === 'framed' ? thrift.TFramedTransport : thrift.TBufferedTransport,
  protocol: protocol === 'compact' ? thrift.TCompactProtocol : thrift.TBinaryProtocol,
})
connection.on('error', error => {
  console.error(error)
  process.exit(1)
})
const client = thrift.createClient(HelloWorld, connection)

async function main() {
  const replies = []
  for (const name of names) replies.push(await client.ping(name))
  replies.push(...(await Promise.all(names.map(name => client.ping(name)))))
  console.log(JSON.stringify(replies))
  console.log(JSON.stringify(milo.stats()))
  connection.end()
}
main()
