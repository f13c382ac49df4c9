import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import type { Cassandra } from '../../../collector/src/store/cassandra-mysql/cassandra'
import { CassandraSpans } from '../../../collector/src/store/cassandra-mysql/cassandra-spans'
import { nodesOf } from '../../../collector/src/store/cassandra-mysql/span-rows'
import { systemClock } from '../../../collector/src/store/pipeline/clock'
import { messageOf } from '../../contract/store-contract'

const TRACE_ID = 5n

/** Reads a trace in 200 seconds, with a row of this size in each. @returns how many places were read at once, by round */
async function concurrentReads(rowBytes: number): Promise<number[]> {
  const records = messageOf([{ traceId: TRACE_ID, id: 1n, name: 'x'.repeat(rowBytes) }]).body
  const concurrent: number[] = []
  let underWay = 0
  const db = {
    table: (name: string) => name,
    async *pages() {
      underWay++
      await setImmediate()
      if (underWay > 0) concurrent.push(underWay)
      underWay = 0
      yield [{ records }]
    },
  } as unknown as Cassandra
  async function* places() {
    yield Array.from({ length: 200 }, (_, i) => ({ collector: 1, slot: BigInt(i), traceIds: [TRACE_ID] }))
  }
  let read = 0
  const add = () => ++read > 0
  await new CassandraSpans(db, 7, systemClock).read([{ traceId: TRACE_ID, add }], places)
  assert.equal(read, 200)
  return concurrent
}

describe('spans in Cassandra', () => {
  it('are read from ever more places at once while there is little in them', async () => {
    assert.deepEqual((await concurrentReads(100)).slice(0, 6), [2, 4, 8, 16, 32, 32])
  })

  it('are read from one place after the other when there is much in them', async () => {
    const [first, ...rest] = await concurrentReads(1024 * 1024)
    assert.equal(first, 2)
    assert.ok(
      rest.every(count => count === 1),
      String(rest),
    )
  })

  it('are read once for all traces that a place has, each until it wants no more', async () => {
    const records = messageOf([1n, 2n, 3n, 1n, 2n].map((traceId, i) => ({ traceId, id: BigInt(i + 1) }))).body
    const asked: unknown[][] = []
    const db = {
      table: (name: string) => name,
      async *pages(_query: string, params: unknown[]) {
        asked.push(params)
        yield [{ records }]
      },
    } as unknown as Cassandra
    async function* places() {
      yield [1n, 2n].map(slot => ({ collector: 7, slot, traceIds: [1n, 2n] }))
    }
    const got = new Map<bigint, number>()
    const read = (traceId: bigint, most: number) => {
      const add = () => {
        got.set(traceId, (got.get(traceId) ?? 0) + 1)
        return got.get(traceId)! < most
      }
      return { traceId, add }
    }
    await new CassandraSpans(db, 7, systemClock).read([read(1n, 1), read(2n, 10)], places)
    const nodes = [...new Set([1n, 2n].flatMap(nodesOf))]
    assert.deepEqual(asked, [
      [7, 1n, nodes],
      [7, 2n, nodes],
    ])
    assert.deepEqual(
      [...got],
      [
        [1n, 1],
        [2n, 4],
      ],
    )
  })
})
