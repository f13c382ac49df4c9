import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { Cassandra } from '../../../collector/src/store/cassandra-mysql/cassandra'

describe("a connection to something that isn't Cassandra", () => {
  let server: Server
  const raised: unknown[] = []
  const onRaised = (error: unknown) => void raised.push(error)
  let listeners: NodeJS.UncaughtExceptionListener[]

  before(() => {
    // Mocha's own would fail the test: here it is counted.
    listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException').on('uncaughtException', onRaised)
  })
  after(() => {
    process.removeAllListeners('uncaughtException')
    for (const listener of listeners) process.on('uncaughtException', listener)
  })
  afterEach(() => server.close())

  const ANSWERS: [string, Buffer][] = [
    ['zero bytes', Buffer.alloc(64)],
    ['many zero bytes', Buffer.alloc(4096)],
    ['a result without a body', Buffer.from('8400000008000000040000000200000000', 'hex')],
    ['an error without a body', Buffer.from('840000000000000000', 'hex')],
  ]
  for (const [what, answer] of ANSWERS) {
    it(`fails, and the process lives on, when what answers is ${what}`, async () => {
      server = createServer((socket: Socket) => {
        socket.on('error', () => {})
        socket.on('data', () => socket.end(answer))
      })
      await once(server.listen(0, '127.0.0.1'), 'listening')
      const { port } = server.address() as AddressInfo
      const config = { hostname: '127.0.0.1', port, local_dc: 'datacenter1', keyspace: 'milo' }
      await assert.rejects(Cassandra.open(config), { code: 'MILO_STORE_UNAVAILABLE' })
      assert.deepEqual(raised, [])
    })
  }
})
