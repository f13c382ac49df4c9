import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { connectMySql, MySql } from '../../../collector/src/store/cassandra-mysql/mysql'
import { chunksBySize } from '../../../collector/src/store/chunks'

/** What a server does with the first statement of a connection, which is ours and not a user's. */
const MISBEHAVIORS: [string, (socket: Socket) => void][] = [
  ['refuses', socket => socket.write(REFUSAL)],
  ['closes at', socket => socket.end()],
  ['resets at', socket => socket.resetAndDestroy()],
  ['answers nonsense to', socket => socket.end(packet(1, Buffer.alloc(200, 0xfc)))],
  ['refuses and closes at', socket => socket.end(REFUSAL)],
]

function packet(sequence: number, payload: Buffer): Buffer {
  const head = Buffer.from([0, 0, 0, sequence])
  head.writeUIntLE(payload.length, 0, 3)
  return Buffer.concat([head, payload])
}

const REFUSAL = packet(1, Buffer.from('\xff\xa9\x04#HY000Unknown system variable', 'latin1'))
const OK = Buffer.from([0, 0, 0, 2, 0, 0, 0])
/** Protocol 10 of a server 8.0.0 that lets anybody in. */
const GREETING = Buffer.concat([
  Buffer.from('\x0a8.0.0\0\x01\0\0\x00abcdefgh\0', 'latin1'),
  Buffer.from([0xff, 0xf7, 45, 2, 0, 0x08, 0, 21]),
  Buffer.alloc(10),
  Buffer.from('abcdefghijkl\0mysql_native_password\0', 'latin1'),
])

describe('a MySQL connection', () => {
  let server: Server
  const raised: unknown[] = []
  const note = (error: unknown) => raised.push(error)
  let others: NodeJS.UncaughtExceptionListener[]

  beforeEach(() => {
    raised.length = 0
    others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', note).on('unhandledRejection', note)
  })
  afterEach(() => {
    process.off('uncaughtException', note).off('unhandledRejection', note)
    for (const other of others) process.on('uncaughtException', other)
    server.close()
  })

  async function listen(misbehave: (socket: Socket) => void) {
    server = createServer(socket => {
      let letIn = false
      socket.on('error', () => {})
      socket.on('data', () => {
        if (letIn) misbehave(socket)
        else socket.write(packet(2, OK))
        letIn = true
      })
      socket.write(packet(0, GREETING))
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const { port } = server.address() as AddressInfo
    return { hostname: '127.0.0.1', port, database: 'milo', username: 'u', password: 'p' }
  }

  for (const [what, misbehave] of MISBEHAVIORS) {
    it(`fails only the call that uses it when the server ${what} its first statement`, async () => {
      const config = await listen(misbehave)
      const db = new MySql(config)
      const refused = { code: 'MILO_STORE_UNAVAILABLE' }
      await assert.rejects(db.read('SELECT 1'), refused)
      await assert.rejects(db.write('DO 1'), refused)
      await assert.rejects(connectMySql(config), refused)
      await db.close()
      // What comes late comes in these turns.
      for (let i = 0; i < 20; i++) await new Promise(setImmediate)
      assert.deepEqual(raised, [])
    })
  }
})

describe('chunks of rows', () => {
  it('are as large as a statement may be, and never empty', () => {
    const of = (sizes: number[]) => [...chunksBySize(sizes, 10, size => size)]
    assert.deepEqual(of([4, 4, 4, 20, 1, 9, 1]), [[4, 4], [4], [20], [1, 9], [1]])
    assert.deepEqual(of([]), [])
  })
})
