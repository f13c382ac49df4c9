'use strict'
const { once } = require('node:events')
const { createServer } = require('node:net')

// Scribes that take nothing, each in its own way, in a process of their own.
const WAYS = {
  'is dead': undefined,
  'accepts and hangs': socket => socket.resume(),
  'resets each connection': socket => socket.once('data', () => socket.resetAndDestroy()),
  'says TRY_LATER': socket => answering(socket, () => reply(1)),
  'answers nonsense': socket => answering(socket, () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')),
  'takes a second for each call': socket =>
    answering(socket, () => new Promise(resolve => setTimeout(resolve, 1000, reply(0)))),
  'talks without end': socket => {
    socket.resume()
    const talk = () => {
      if (!socket.destroyed) socket.write(Buffer.alloc(64 * 1024), () => setImmediate(talk))
    }
    talk()
  },
}

function answering(socket, answer) {
  let bytes = Buffer.alloc(0)
  socket.on('data', async data => {
    bytes = Buffer.concat([bytes, data])
    while (bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)) {
      // Strict header: version and type, the name's length and the name, sequence id.
      const seqid = bytes.readInt32BE(12 + bytes.readInt32BE(8))
      bytes = bytes.subarray(4 + bytes.readInt32BE(0))
      const frame = Buffer.from(await answer())
      if (frame[4] === 0x80) frame.writeInt32BE(seqid, 15)
      if (!socket.destroyed) socket.write(frame)
    }
  })
}

/** REPLY to Log: field 0, i32. */
function reply(code) {
  const frame = Buffer.from(
    '0000001a' + '80010002' + '00000003' + '4c6f67' + '00000000' + '080000' + '00000000' + '00',
    'hex',
  )
  frame.writeInt32BE(frame.length - 4, 0)
  frame.writeInt32BE(code, 22)
  return frame
}

async function listen(way) {
  const server = createServer(socket => {
    socket.on('error', () => {})
    way?.(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  // Nobody else has taken the port in the meantime, most likely; whoever did would be found out by the bench.
  if (way === undefined) server.close()
  return port
}

Promise.all(Object.entries(WAYS).map(async ([name, way]) => [name, await listen(way)])).then(ports =>
  process.send({ ports }),
)
process.on('disconnect', () => process.exit())
