import assert from 'node:assert/strict'
import { scanRecords } from '../../../collector/src/record/records'
import { NO_STATS } from '../../../collector/src/store/activity/model'
import { systemClock } from '../../../collector/src/store/pipeline/clock'
import { type Entry, readEntry } from '../../../collector/src/store/pipeline/entry'
import { type Backend, type Finished, Pipeline, paceMs } from '../../../collector/src/store/pipeline/pipeline'
import { StoreError } from '../../../collector/src/store/store'
import { encodeRecord } from '../../../src/codec/span'
import { until } from '../../helpers/until'

const traceOf = (record: Buffer) => {
  let traceId = 0n
  scanRecords(record, (_, __, { traceIdAt }) => {
    traceId = record.readBigInt64BE(traceIdAt)
  })
  return traceId
}
const message = (...traceIds: bigint[]) => ({
  body: Buffer.concat(traceIds.map(traceId => encodeRecord({ traceId, id: 1n }))),
  spans: traceIds.length,
})

const traceIdsOf = (entries: Entry[]) =>
  entries.flatMap(({ body, start, end }) => {
    const found: bigint[] = []
    scanRecords(body.subarray(start, end), (from, to) => found.push(traceOf(body.subarray(start + from, start + to))))
    return found
  })

/** Keeps what it settles in memory. */
class MemoryBackend implements Backend {
  readonly clock = systemClock
  readonly groupBytes = 1024 * 1024
  readonly groups = 1
  settleSpans = 10
  readonly settleMs = 5
  aside = 0
  readonly unfolded = 0
  checkpoint = 0n
  attempts = 0
  readonly settled = new Set<bigint>()
  /** What each finish that wasn't refused counted. */
  readonly counted: bigint[][] = []
  readonly quarantine = new Map<bigint, string>()
  refuse: (traceIds: bigint[]) => Error | undefined = () => undefined
  refuseToCount: (traceIds: bigint[]) => Error | undefined = () => undefined

  constructor(readonly journal: Entry[] = []) {}

  lastId(): bigint {
    return this.checkpoint
  }
  accept(messages: Entry[]): void {
    this.journal.push(...messages)
  }
  async *replay(): AsyncIterable<Entry> {
    for (const entry of this.journal) if (entry.id > this.checkpoint) yield entry
  }
  async write(entries: Entry[]): Promise<void> {
    this.attempts++
    const traceIds = traceIdsOf(entries)
    const error = this.refuse(traceIds)
    if (error !== undefined) throw error
    for (const traceId of traceIds) this.settled.add(traceId)
  }
  async finish(entries: Entry[], checkpoint: bigint): Promise<Finished> {
    const traceIds = traceIdsOf(entries)
    const error = this.refuseToCount(traceIds)
    if (error !== undefined) throw error
    this.counted.push(traceIds)
    if (checkpoint > this.checkpoint) this.checkpoint = checkpoint
    return { notUtf8: traceIds.length, stats: { ...NO_STATS, counted: traceIds.length } }
  }
  putAside({ body, start, end }: Entry, { message }: Error): void {
    this.quarantine.set(traceOf(body.subarray(start, end)), message)
    this.aside++
  }
  async readSettled(): Promise<void> {}
}

describe('a pipeline', () => {
  const errors: string[] = []
  const open = (backend: Backend) =>
    Pipeline.open(backend, {
      maxBacklogSpans: 1e6,
      maxBacklogBytes: 1e9,
      onSettleError: error => errors.push((error as Error).message),
    })
  const refused = (what: string) => new StoreError('MILO_STORE_REFUSED', what)

  it('accepts more slowly the more waits to be settled, but goes on while nothing can be settled', async () => {
    const paces = [0, 1, 2, 3, 5, 6, 1000].map(paceMs)
    assert.deepEqual(
      [...paces].sort((a, b) => a - b),
      paces,
    )
    assert.deepEqual([paces[2], paces[3]! > 0, paces[5], paces.at(-1)], [0, true, 100, 100])
    const backend = new MemoryBackend()
    backend.refuse = () => new StoreError('MILO_STORE_UNAVAILABLE', 'away')
    const pipeline = await open(backend)
    for (let i = 0n; i < 10n; i++)
      await pipeline.append([message(...Array.from({ length: 10 }, (_, n) => i * 10n + BigInt(n)))])
    assert.equal(pipeline.backlog().spans, 100)
    backend.refuse = () => undefined
    await until('all is settled', () => pipeline.backlog().spans === 0)
    await pipeline.close()
  })

  for (const [kind, error] of [
    ['a database refuses for good', refused('Data too long')],
    ['we stumble over', new RangeError('out of range')],
  ] as const) {
    it(`puts the records aside that ${kind}, and goes on with the rest`, async () => {
      const backend = new MemoryBackend()
      backend.refuse = traceIds => (traceIds.some(id => id === 5n || id === 13n) ? error : undefined)
      const pipeline = await open(backend)
      await pipeline.append([message(1n, 2n, 3n), message(4n, 5n, 6n, 7n, 8n), message(9n)])
      await pipeline.append([message(10n), message(11n, 12n, 13n), message(14n)])
      await until('all is settled', () => pipeline.backlog().spans === 0)
      assert.deepEqual(
        [...backend.quarantine],
        [
          [5n, error.message],
          [13n, error.message],
        ],
      )
      assert.equal(backend.settled.size, 12)
      assert.equal(pipeline.backlog().putAside, 2)
      // What is put aside is kept, and counts.
      assert.equal(backend.counted.flat().length, 14)
      assert.equal(pipeline.backlog().notUtf8, 14)
      assert.equal(backend.checkpoint, backend.journal.at(-1)!.id)
      await pipeline.close()
    })
  }

  it('opens with a refused record in its journal', async () => {
    const bodies = Array.from({ length: 30 }, (_, i) => message(BigInt(i)).body)
    const entries = bodies.map((body, i) => readEntry(BigInt(i + 1), 1n, body, assert.fail))
    const backend = new MemoryBackend(await Promise.all(entries))
    backend.refuse = traceIds => (traceIds.includes(7n) ? refused('no') : undefined)
    const pipeline = await open(backend)
    await until('all is settled', () => pipeline.backlog().spans === 0)
    assert.deepEqual([...backend.quarantine.keys()], [7n])
    assert.equal(backend.settled.size, 29)
    await pipeline.close()
  })

  it('settles without the activity if the activity is refused', async () => {
    const backend = new MemoryBackend()
    backend.refuseToCount = traceIds => (traceIds.length > 0 ? refused('activity') : undefined)
    const pipeline = await open(backend)
    await pipeline.append([message(1n)])
    await until('all is settled', () => pipeline.backlog().spans === 0)
    assert.deepEqual([backend.quarantine.size, [...backend.settled]], [0, [1n]])
    assert.equal(backend.checkpoint, backend.journal.at(-1)!.id)
    await pipeline.close()
  })

  it('writes and counts the same spans again while the database is away for the counting', async () => {
    const backend = new MemoryBackend()
    let failures = 2
    const finish = backend.finish.bind(backend)
    const given = new Set<Entry[]>()
    backend.finish = async (entries, checkpoint) => {
      given.add(entries)
      if (failures-- > 0) throw new StoreError('MILO_STORE_UNAVAILABLE', 'away')
      return finish(entries, checkpoint)
    }
    const pipeline = await open(backend)
    await pipeline.append([message(1n), message(2n)])
    await until('all is settled', () => pipeline.backlog().spans === 0)
    assert.deepEqual([backend.counted, given.size, backend.attempts], [[[1n, 2n]], 1, 3])
    assert.deepEqual([pipeline.backlog().notUtf8, pipeline.backlog().activity.counted], [2, 2])
    await pipeline.close()
  })

  it('puts nothing aside while a database is away, and waits between attempts however much is appended', async () => {
    const backend = new MemoryBackend()
    backend.refuse = () => new StoreError('MILO_STORE_UNAVAILABLE', 'away')
    // Fewer than two batches, for which no append waits.
    backend.settleSpans = 500
    const pipeline = await open(backend)
    await pipeline.append([message(...Array.from({ length: 500 }, (_, i) => BigInt(i)))])
    for (let i = 500; i < 900; i++) await pipeline.append([message(BigInt(i))])
    // At each append there was enough to settle.
    assert.ok(backend.attempts < 40, `${backend.attempts} attempts`)
    backend.refuse = () => undefined
    await until('all is settled', () => pipeline.backlog().spans === 0)
    assert.equal(backend.quarantine.size, 0)
    await pipeline.close()
  })

  it('reports how long the current attempt to settle has taken', async () => {
    const backend = new MemoryBackend()
    const pipeline = await open(backend)
    assert.equal(pipeline.backlog().settlingMs, 0)
    let end = () => {}
    backend.write = () => new Promise(resolve => (end = resolve))
    await pipeline.append([message(1n)])
    await until('it is under way', () => pipeline.backlog().settlingMs > 20)
    end()
    await until('all is settled', () => pipeline.backlog().spans === 0)
    await until('none is under way', () => pipeline.backlog().settlingMs === 0)
    await pipeline.close()
  })

  it('never assigns a number twice, nor one that the checkpoint has passed', async () => {
    const backend = new MemoryBackend()
    const ahead = BigInt(Date.now() + 86_400_000) * 1000n
    backend.checkpoint = ahead
    const pipeline = await open(backend)
    for (let i = 0; i < 20; i++) await pipeline.append([message(1n), message(2n)])
    const ids = backend.journal.map(({ id }) => id)
    assert.ok(ids.every((id, i) => id > (ids[i - 1] ?? ahead)))
    await pipeline.close()
  })
})
