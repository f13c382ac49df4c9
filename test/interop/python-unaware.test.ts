import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Server } from 'node:net'
import { Program, run } from '../helpers/programs'
import { pythonWithThrift } from '../servers'

const NAMES = ['ada', '', 'Grüße, 世界 🙂', 'x'.repeat(5000)]
const CALLS = NAMES.length * 2

/** Bytes of Milo's field in a call: header of the field and the list, then 29 bytes. */
const FIELD_BYTES = { binary: 37, compact: 34 }

describe('a traced client of a Python server that knows nothing of Milo', () => {
  let python: Program
  let ports: Map<string, number>

  before(async function () {
    this.timeout(120_000)
    const { python: interpreter, env } = await pythonWithThrift()
    python = new Program(interpreter, ['test/interop/unaware_server.py'], env)
    const all = await python.printed(/^(?:\w+ \w+ \w+ \d+\n){8}/)
    ports = new Map(all[0].match(/.+ \d+/g)!.map(line => [line.replace(/ \d+$/, ''), Number(/\d+$/.exec(line)![0])]))
  })

  after(async () => {
    await python?.stop()
  })

  for (const server of ['TSimpleServer', 'TThreadedServer']) {
    for (const transport of ['buffered', 'framed']) {
      for (const protocol of ['binary', 'compact'] as const) {
        it(`gets the right replies from ${server}, ${transport}, ${protocol}, call after call on one connection`, async () => {
          const relay = await countBytes(ports.get(`${server} ${transport} ${protocol}`)!)
          const ping = async (env: NodeJS.ProcessEnv) => {
            const sentBefore = relay.sent()
            const args = [
              '-r',
              'milo/register',
              'test/interop/ping-client.js',
              relay.port,
              transport,
              protocol,
              ...NAMES,
            ]
            // Nobody listens for the spans: that is no matter of the application's.
            const output = await run(process.execPath, args, {
              MILO_SCRIBE: '127.0.0.1:1',
              MILO_LOG_LEVEL: 'silent',
              ...env,
            })
            const [replies, stats] = output.split('\n').map(line => (line === '' ? undefined : JSON.parse(line)))
            return { replies, stats, sent: relay.sent() - sentBefore }
          }
          const greetings = NAMES.map(name => `Hello, ${name}!`)
          try {
            const off = await ping({ MILO_ENABLED: '0' })
            assert.deepEqual(off.replies, [...greetings, ...greetings])
            const on = await ping({ MILO_SAMPLER: 'always' })
            assert.deepEqual(on.replies, [...greetings, ...greetings])
            // It did trace, and the server did get the field.
            assert.equal(on.stats.ended, CALLS)
            assert.equal(on.sent - off.sent, CALLS * FIELD_BYTES[protocol])
          } finally {
            await relay.close()
          }
        })
      }
    }
  }
})

/** A relay to `port` that counts what clients send. */
async function countBytes(port: number) {
  let bytes = 0
  const relay: Server = createServer(client => {
    const upstream = connect(port, '127.0.0.1')
    client.on('data', data => {
      bytes += data.length
    })
    client.pipe(upstream).pipe(client)
    client.on('error', () => upstream.destroy())
    upstream.on('error', () => client.destroy())
  })
  await once(relay.listen(0, '127.0.0.1'), 'listening')
  return {
    port: String((relay.address() as { port: number }).port),
    sent: () => bytes,
    close: async () => once(relay.close(), 'close'),
  }
}
