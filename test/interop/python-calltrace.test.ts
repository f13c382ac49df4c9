import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type Collector, Program, run, startCollector } from '../helpers/programs'
import { until } from '../helpers/until'
import { pythonWithThrift } from '../servers'

/** The original's users: a Python client that starts the trace by itself and sends it as CALLTRACE. */
describe('a Python client that sends CALLTRACE to an application under milo/register', () => {
  let collector: Collector
  let server: Program
  let port: string
  let python: Awaited<ReturnType<typeof pythonWithThrift>>

  before(async function () {
    this.timeout(120_000)
    python = await pythonWithThrift()
    collector = await startCollector()
    server = new Program(process.execPath, ['-r', 'milo/register', 'examples/hello-world/server.js', '0'], {
      MILO_SERVICE: 'hello',
      MILO_SCRIBE: collector.scribe,
      MILO_SAMPLER: 'always',
    })
    port = (await server.printed(/listening on (\d+)/))[1]!
  })

  after(async () => {
    await server?.stop()
    await collector?.stop()
  })

  const call = (...args: string[]) =>
    run(python.python, ['examples/hello-world/milo_client.py', '--port', port, ...args], python.env)

  const records = (traceId: string, count: number): Promise<Record<string, any>[]> =>
    until(`${count} records of trace ${traceId} are there`, async () => {
      const response = await fetch(`${collector.web}/api/traces/${traceId}?form=records`)
      if (response.status === 404) return undefined
      assert.equal(response.status, 200)
      const { records } = (await response.json()) as { records: Record<string, any>[] }
      return records.length >= count ? records : undefined
    })

  const randomId = () => (randomBytes(8).readBigInt64BE() | 1n).toString()

  it('finds its own ids on the server half, digit for digit, negative ones too', async () => {
    for (const [trace, span, parent] of [
      [randomId(), randomId(), randomId()],
      ['-9223372036854775807', '-2', '9007199254740993'],
    ] as const) {
      const output = await call(`--trace-id=${trace}`, `--span-id=${span}`, `--parent-id=${parent}`, 'ada')
      assert.match(output, /^Hello, ada!$/m)
      assert.match(output, new RegExp(`^trace id: ${trace}$`, 'm'))
      const [half, ...others] = await records(trace, 1)
      assert.deepEqual(others, [])
      assert.equal(half!.trace_id, trace)
      assert.equal(half!.id, span)
      assert.equal(half!.parent_id, parent)
      assert.equal(half!.name, 'HelloWorld.ping')
      assert.equal(half!.service, 'hello')
      assert.deepEqual(
        half!.events.map((event: { event_type: string }) => event.event_type),
        ['SERVER_RECV', 'SERVER_SEND'],
      )
    }
  })

  it('makes one span of both halves when the client reports its own', async () => {
    const output = await call('--scribe', collector.scribe, 'grace')
    const trace = /^trace id: (\d+)$/m.exec(output)![1]!
    const halves = await records(trace, 2)
    assert.equal(new Set(halves.map(half => half.id)).size, 1)
    const hex = BigInt(trace).toString(16).padStart(16, '0')
    const merged = (await (await fetch(`${collector.web}/api/traces/${hex}`)).json()) as any
    assert.equal(merged.traceId, hex)
    assert.equal(merged.spans.length, 1)
    const [span] = merged.spans
    assert.equal(span.kind, 'rpc')
    assert.equal(span.name, 'HelloWorld.ping')
    assert.equal(span.parentId, '0000000000000000')
    assert.equal(span.service, 'hello')
  })

  it('is answered by the same server as clients that send no trace', async () => {
    assert.equal(await run(process.execPath, ['examples/hello-world/client.js', 'plain', port]), 'Hello, plain!\n')
    assert.match(await call('traced'), /^Hello, traced!$/m)
    assert.equal(await run(process.execPath, ['examples/hello-world/client.js', 'again', port]), 'Hello, again!\n')
  })
})
