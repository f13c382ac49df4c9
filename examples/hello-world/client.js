// Calls HelloWorld.ping once and prints the reply.
//   node client.js [name] [port]        (PORT is taken too; default 9090)
const thrift = require('thrift')
const HelloWorld = require('./gen-nodejs/HelloWorld')

const name = process.argv[2] ?? 'world'
const port = Number(process.argv[3] ?? process.env.PORT ?? 9090)

const connection = thrift.createConnection('127.0.0.1', port, {})
const client = thrift.createClient(HelloWorld, connection)

connection.on('error', error => {
  console.error(error.message)
  process.exitCode = 1
})

client
  .ping(name)
  .then(reply => console.log(reply))
  .catch(error => {
    console.error(error.message ?? error)
    process.exitCode = 1
  })
  .finally(() => connection.end())
