// The HelloWorld service: buffered transport, binary protocol, which is what Thrift's libraries take when told nothing.
//   node server.js [port]        (or PORT; default 9090; 0 takes any free port)
const thrift = require('thrift')
const HelloWorld = require('./gen-nodejs/HelloWorld')

const handler = {
  async ping(name) {
    return `Hello, ${name}!`
  },
}

const sockets = new Set()
const server = thrift.createServer(HelloWorld, handler)
server.on('connection', socket => {
  sockets.add(socket)
  socket.on('close', () => sockets.delete(socket))
})
server.on('error', error => {
  console.error(error.message)
  // A broken connection is that client's matter; a port that can't be had is ours.
  if (!server.listening) process.exit(1)
})
server.listen(Number(process.argv[2] ?? process.env.PORT ?? 9090), '127.0.0.1', () => {
  console.log(`listening on ${server.address().port}`)
})

function stop() {
  server.close()
  for (const socket of sockets) socket.end()
}
process.once('SIGTERM', stop)
process.once('SIGINT', stop)
