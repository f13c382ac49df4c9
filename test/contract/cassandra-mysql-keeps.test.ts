import assert from 'node:assert/strict'
import { keepsFrame, kept, told } from '../collector/keeps'
import { collector, hex, Peer, undo } from '../collector/support'
import { until } from '../helpers/until'
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
    // What it has heard, it doesn't say again, nor does the other one; and once is enough.
    assert.equal(await new Peer(b.scribePorts[0]!).log(kept('slow', { traceId: first.traceId })), 0)
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
        ['slow', 1],
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
})
