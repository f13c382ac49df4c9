const http = require('node:http')

/** How long open connections may go on after the process was told to stop. */
const GRACE_MS = 1000

/**
 * What the shop's four processes have in common: they take their port from PORT (0: any free one), say on stdout which
 * it is, and end by themselves when told to stop: what is being answered is answered, then the backends are let go.
 */
function serve(server, defaultPort, backends = []) {
  const sockets = new Set()
  server.on('connection', socket => {
    // Thrift's servers leave Nagle's algorithm on: now and then a reply would wait 40 ms for the ACK of the one before.
    socket.setNoDelay()
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('error', error => {
    console.error(error.message)
    // A broken connection is that client's matter; a port that can't be had is ours.
    if (!server.listening) process.exit(1)
  })
  server.listen(Number(process.env.PORT ?? defaultPort), '127.0.0.1', () => {
    console.log(`listening on ${server.address().port}`)
  })

  let stopping = false
  function stop() {
    if (stopping) return
    stopping = true
    server.close(() => {
      for (const backend of backends) backend.close()
    })
    // An HTTP server closes its idle connections by itself; a Thrift client keeps its connection until we end it.
    if (!(server instanceof http.Server)) for (const socket of sockets) socket.end()
    setTimeout(() => {
      for (const socket of sockets) socket.destroy()
    }, GRACE_MS).unref()
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}

module.exports = { serve }
