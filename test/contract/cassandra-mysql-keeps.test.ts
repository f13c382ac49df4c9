import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EventType } from '../../src/codec/span'
import { entriesOf, keepsFrame, kept, told } from '../collector/keeps'
import { cleanUp, collector, hex, Peer, temporaryDirectory, undo } from '../collector/support'
import { Program } from '../helpers/programs'
import { until } from '../helpers/until'
import { freePorts } from '../servers/process'
import { type Databases, newDatabases } from './databases'

describe('several collectors on the same databases', function () {
  this.timeout(120_000)
  let databases: Databases

  before(async function () {
    this.timeout(300_000)
    databases = await newDatabases()
  })
  after(() => databases?.drop())
  afterEach(undo)

  it('tell what is kept to the processes of all, and know the processes of all', async () => {
    const start = (id: string) => collector(databases.collector(id) as object)
    const [a, b] = [await start('a'), await start('b')]
    const ofA = new Peer(a.scribePorts[0]!)
    const ofB = new Peer(b.scribePorts[0]!)
    const [first, second] = [kept('error'), kept('slow')]
    const asked = ofB.call(keepsFrame(0n, 30_000, {}, 2n))
    await until('a process asks', async () => (await b.metric('keep_polls')) === 1)
    assert.equal(await ofA.log(first), 0)
    const { entries, next } = told(await asked)
    assert.deepEqual(entries, [{ kind: 0, id: first.traceId, n: 0 }])
    // What it has heard, it doesn't say again, nor does the other one; and once is enough. It came there as well, and was kept for more.
    assert.equal(await new Peer(b.scribePorts[0]!).log(first, kept('slow', { traceId: first.traceId })), 0)
    const again = ofB.call(keepsFrame(next, 30_000, {}, 2n))
    assert.equal(await new Peer(a.scribePorts[0]!).log(second), 0)
    const answer = told(await again)
    assert.deepEqual(
      answer.entries.map(({ id }) => id),
      [second.traceId],
    )

    // Its collector ends. The process turns to the other one, with the number that it has.
    const third = kept('error')
    assert.equal(await new Peer(b.scribePorts[0]!).log(third), 0)
    await b.close()
    const turned = new Peer(a.scribePorts[0]!)
    const found: bigint[] = []
    let since = answer.next
    await until('it has heard all', async () => {
      const { entries, next } = told(await turned.call(keepsFrame(since, 500, {}, 2n)))
      since = next
      found.push(...entries.map(({ id }) => id))
      return found.includes(third.traceId)
    })
    // A collector that starts again tells what its last life has told a moment ago.
    const restarted = await start('b')
    const back = new Peer(restarted.scribePorts[0]!)
    const late = told(await back.call(keepsFrame(0n, 30_000, {}, 2n)))
    assert.ok(late.entries.some(({ id }) => id === third.traceId))
    const { caught, services } = (await a.get('/api/keeps')).body
    assert.deepEqual(
      caught.map(({ reason, traces }: any) => [reason, traces]),
      [
        ['error', 2],
        ['slow', 2],
      ],
    )
    assert.deepEqual(
      caught[0].latest.map(({ traceId }: any) => traceId),
      [hex(third.traceId), hex(first.traceId)],
    )
    assert.deepEqual(
      services.map(({ service, processes }: any) => [service, processes]),
      [['shop', 1]],
    )
  })

  it('agree on the time, though one’s clock is an hour ahead or behind', async () => {
    const a = await collector(databases.collector('right') as object)
    await Promise.all(
      [3_600_000, -3_600_000].map(async offMs => {
        const id = `off${offMs}`
        const off = await startProgram(id, offMs)
        // A process of the other one, and a trace in which it was called.
        const place = `10.0.0.7:${offMs > 0 ? 81 : 82}`
        const poll = async (since: string, wait: number) => {
          const query = `since=${since}&wait=${wait}&service=${id}&host=h&process=${offMs}&made=1&history=1&listening=${place}`
          const response = await fetch(`${off.web}/api/keeps/feed?${query}`)
          const entries = entriesOf(Buffer.from(await response.arrayBuffer()))
          return { entries, next: response.headers.get('milo-next')! }
        }
        const { next } = await poll('0', 0)
        assert.ok(Math.abs(Number(next) / 1000 - Date.now()) < 600_000, 'it tells the time of the databases')
        const call = kept('error', {
          annotations: new Map([
            ['milo.keep', 'error'],
            ['milo.history', '1'],
            ['server.address', '10.0.0.7'],
            ['server.port', place.split(':')[1]],
          ]),
          events: [EventType.CLIENT_SEND, EventType.CLIENT_RECV].map(eventType => ({
            ...{ timestamp: BigInt(Date.now()) * 1000n, eventType },
          })),
        })
        assert.equal(await new Peer(a.scribePorts[0]!).log(call), 0)
        let since = next
        await until(
          'it hears what the right one tells, beside what is told in the other half of this test',
          async () => {
            const { entries, next } = await poll(since, 5_000)
            since = next
            return entries.some(({ id }) => id === call.traceId)
          },
        )
        await until('the right one knows its process', async () => {
          const { services } = (await a.get('/api/keeps')).body
          return services.some(
            ({ service, asOf }: any) => service === id && Math.abs(asOf / 1000 - Date.now()) < 600_000,
          )
        })
        for (const web of [a.url, off.web]) {
          const { missing } = await until('the trace is there', async () => {
            const response = await fetch(`${web}/api/traces/${hex(call.traceId)}`)
            return response.ok && ((await response.json()) as any).kept
          })
          assert.deepEqual(
            missing.map(({ service, why }: any) => [service, why]),
            [[id, 'unsent']],
          )
        }
      }),
    )
  })

  /** A collector in a process of its own, whose clock is off. */
  async function startProgram(id: string, offMs: number): Promise<{ web: string }> {
    const [port, httpPort] = await freePorts(2)
    const { embedded, ...of } = databases.collector(id)
    const path = join(temporaryDirectory(), 'collector.yaml')
    writeFileSync(path, JSON.stringify({ ...of, collector_port: port, http: { port: httpPort } }))
    const preloads = ['-r', './test/fixtures/clock-off.cjs', '-r', 'tsx/cjs']
    const program = new Program(process.execPath, [...preloads, 'collector/src/main.ts', '--config', path], {
      MILO_TEST_CLOCK_OFF_MS: String(offMs),
    })
    cleanUp.push(() => program.stop('SIGKILL'))
    const web = `http://127.0.0.1:${httpPort}`
    await until('the collector is healthy', async () => {
      program.mustRun()
      return (await fetch(`${web}/healthz`).catch(() => undefined))?.ok
    })
    return { web }
  }
})
