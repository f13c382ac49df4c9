import { once } from 'node:events'
import type { Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { http as httpPlugin } from '../../plugins/http'
import { span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { assertTree, start, stop } from '../../src/testing'
import { ended } from '../helpers/ended'
import { traced } from '../helpers/thrift'

install([httpPlugin])

describe('Thrift over HTTP', () => {
  it('hangs under its HTTP request, for a client that knows nothing of Milo and sends in pieces', async () => {
    start()
    const { thrift, CalculatorJs } = traced
    const server: Server = thrift.createWebServer({
      services: {
        '/calc': {
          processor: CalculatorJs,
          handler: { add: (a: number, b: number, done: Function) => span('work', () => done(null, a + b)) },
          transport: thrift.TBufferedTransport,
          protocol: thrift.TBinaryProtocol,
        },
      },
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    // add(1, 2) in the binary protocol.
    const call = Buffer.from('800100010000000361646400000001080001000000010800020000000200', 'hex')
    const arrived = once(server, 'request')
    socket.write(`POST /calc HTTP/1.1\r\nHost: x\r\nContent-Length: ${call.length}\r\n\r\n`)
    await arrived
    socket.write(call.subarray(0, 10))
    socket.write(call.subarray(10))
    await ended(3)
    socket.destroy()
    server.close()
    assertTree(
      '"POST /calc" (server)\n  Calculator.add (server) thrift.request_bytes+=30 thrift.reply_bytes+=23\n    work',
      {
        annotations: [],
      },
    )
    stop()
  })
})
