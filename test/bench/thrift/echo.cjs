'use strict'
const { once } = require('node:events')
const thrift = require('thrift')

const TEXT = 'the quick brown fox jumps over a dog'

/**
 * Starts the echo's server and a client of it, in this process.
 * @param variant one of the files beside this one
 * @returns `run(calls, inFlight)` makes so many calls, so many of them at a time
 */
exports.start = async (variant, transport) => {
  const options = { transport: thrift[transport], protocol: thrift.TBinaryProtocol }
  const server = thrift.createServer(variant.service, variant.handler, options)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  const connection = thrift.createConnection('127.0.0.1', port, options)
  const client = thrift.createClient(variant.service, connection)
  await once(connection, 'connect')
  const call = variant.calling(client, port)
  return {
    client,
    connection,
    async run(calls, inFlight) {
      let left = calls
      const lane = async () => {
        while (left-- > 0) {
          if ((await call(TEXT)) !== TEXT) throw new Error('not the text that was sent')
        }
      }
      await Promise.all(Array.from({ length: inFlight }, lane))
    },
  }
}
