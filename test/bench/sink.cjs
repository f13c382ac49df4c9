'use strict'
const { createServer: createHttpServer } = require('node:http')
const { createServer } = require('node:net')

// Where spans go: a Scribe and an HTTP server in a process of their own, which say yes to everything and keep nothing.
const scribe = createServer(socket => {
  let bytes = Buffer.alloc(0)
  socket.on('error', () => {})
  socket.on('data', data => {
    bytes = bytes.length === 0 ? data : Buffer.concat([bytes, data])
    while (bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)) {
      const end = 4 + bytes.readInt32BE(0)
      // Strict header: version and type, the name's length and the name, sequence id.
      const nameLength = bytes.readInt32BE(8)
      // A question what to keep (`keeps`) waits until there is something.
      if (bytes.toString('latin1', 12, 12 + nameLength) === 'Log')
        socket.write(okReply(bytes.readInt32BE(12 + nameLength)))
      bytes = bytes.subarray(end)
    }
  })
})

/** REPLY to Log: field 0, i32, OK. */
function okReply(seqid) {
  const reply = Buffer.from(
    '0000001a' + '80010002' + '00000003' + '4c6f67' + '00000000' + '080000' + '00000000' + '00',
    'hex',
  )
  reply.writeInt32BE(reply.length - 4, 0)
  reply.writeInt32BE(seqid, 15)
  return reply
}

/** Of dd-trace, which doesn't say itself what it has sent. */
let traces = 0

const http = createHttpServer((request, response) => {
  traces += Number(request.headers['x-datadog-trace-count'] ?? 0)
  request.resume()
  request.on('end', () => response.end())
})

scribe.listen(0, '127.0.0.1', () => {
  http.listen(0, '127.0.0.1', () => {
    process.send({ scribePort: scribe.address().port, httpPort: http.address().port })
  })
})
process.on('message', () => process.send({ traces }))
process.on('disconnect', () => process.exit())
