import assert from 'node:assert/strict'
import { Keeping } from '../../../collector/src/keep/keeping'
import type { KeptRecord } from '../../../collector/src/keep/kept-records'
import { OrderedLimit } from '../../../collector/src/keep/ordered-limit'
import { Rings } from '../../../collector/src/keep/rings'
import { createMetrics } from '../../../collector/src/metrics'
import type { KeepLog, SeenRing, StoredKeep } from '../../../collector/src/store/keeps'
import { seeded } from '../../helpers/seeded'
import { until } from '../../helpers/until'
import { entriesOf } from '../keeps'

describe('the limit of traces that are announced', () => {
  it('lets all pass that are fewer, and of more those whose ids have the highest randomness, however long it lasts', () => {
    let nowMs = 0
    const limit = new OrderedLimit(100, 500, () => nowMs)
    const random = seeded(1)
    /** Random ids, so many a second, for so many seconds. @returns the randomness of those that passed */
    const offer = (aSecond: number, seconds: number): number[] => {
      const passed: number[] = []
      for (let i = 0; i < aSecond * seconds; i++) {
        nowMs += 1000 / aSecond
        const randomness = random()
        if (limit.take(BigInt(Math.floor(randomness * 2 ** 53)) * 8n - 2n ** 63n)) passed.push(randomness)
      }
      return passed
    }
    assert.equal(offer(50, 20).length, 1000)
    offer(1000, 20)
    const under = offer(1000, 20)
    assert.ok(under.length > 1_500 && under.length <= 2_000, `${under.length} of 2,000`)
    assert.ok(under.every(randomness => randomness > 0.85))
    // Once fewer come again, all pass.
    offer(10, 60)
    assert.equal(offer(50, 20).length, 1000)
  })
})

/** Two collectors, and what they have written. */
function pair() {
  // A stand-in for the store: what is written at one collector is read at the other.
  const rows: StoredKeep[] = []
  const store: KeepLog = {
    async addKeeps(keeps) {
      for (const keep of keeps) rows.push({ ...keep, seq: BigInt(rows.length + 1) })
    },
    async keepsAfter(seq) {
      return rows.filter(row => row.seq > seq)
    },
    async saveRings() {},
    nowUs: () => Date.now() * 1000,
  }
  const metrics = createMetrics()
  const keepings = ['one', 'other'].map(
    collector => new Keeping({ store, collector, metrics, warn: (_, { err }: any) => assert.fail(err) }),
  ) as [Keeping, Keeping]
  const dropped = async () => (await metrics.keepRowsDropped.get()).values[0]?.value
  return { rows, keepings, dropped }
}

/** What somebody hears who asks a collector until so many have come. */
function askAt({ feed }: Keeping, entries: number) {
  const heard: { kind: number; id: bigint; n: number }[] = []
  let since = 0n
  const ask = () =>
    feed.poll(since, since === 0n ? 0 : 30_000, ({ next, keeps }) => {
      since = BigInt(next)
      heard.push(...entriesOf(keeps))
      if (heard.length < entries) setImmediate(ask)
    })
  ask()
  return heard
}

describe('what traces were kept for, at two collectors on the same databases', () => {
  const record = (traceId: bigint, name: string, isItself: boolean, more: Partial<KeptRecord> = {}) => {
    return { traceId, reason: 'word', service: 'web', name, spanId: '5'.padStart(16, '0'), isItself, ...more }
  }
  const caught = (rows: StoredKeep[]) => rows.filter(({ reason }) => reason !== '').map(({ id, name }) => [id, name])

  it('is what the spans themselves say, and what others say of them only where they don’t come', async () => {
    const { rows, keepings } = pair()
    const [one, other] = keepings
    // The first span that is sent knows the name that the request had at first.
    one.kept([record(1n, 'GET /*', false)])
    one.kept([record(1n, 'GET /:id', true), record(1n, 'GET /*', false)])
    one.kept([record(2n, 'GET /*', false), record(2n, 'GET /:id', true)])
    one.kept([record(3n, 'GET /*', false)])
    one.kept([record(4n, 'GET /*', false)])
    // Somebody asks it, so it reads what the other one writes, in order.
    const heard = askAt(one, 5)
    other.kept([record(4n, 'GET /:id', true), record(5n, 'GET /:id', true)])
    await until('it has read and told that', () => heard.some(({ id }) => id === 5n))
    await Promise.all([one.close(), other.close()])
    assert.deepEqual(caught(rows).sort(), [
      [1n, 'GET /:id'],
      [2n, 'GET /:id'],
      [3n, 'GET /*'],
      [4n, 'GET /:id'],
      [5n, 'GET /:id'],
    ])
    assert.deepEqual(new Set(rows.map(({ id }) => id)), new Set([1n, 2n, 3n, 4n, 5n]))
  })

  it('is no more than 100 things of a trace, and what is left out is counted', async () => {
    const { rows, keepings, dropped } = pair()
    const [one, other] = keepings
    for (let i = 0; i < 300; i++) {
      one.kept([record(1n, `itself ${i}`, true, { spanId: `${i}` })])
      one.kept([record(2n, `awaited ${i}`, false, { spanId: `${i}` })])
    }
    await Promise.all([one.close(), other.close()])
    const of = (id: bigint) => rows.filter(row => row.id === id).length
    assert.deepEqual([of(1n), of(2n)], [100, 100])
    // The second trace's first row has no reason yet.
    assert.equal(await dropped(), 200 + 201)
  })
})

describe('what people ask for at two collectors on the same databases', () => {
  it('is told by both with the same number, and each request with its own', async () => {
    const [one, other] = pair().keepings
    const heard = [askAt(one, 4), askAt(other, 4)]
    one.keepOperation('shop', 'Shop.order', 3, 'ada')
    one.keepOperation('shop', 'Shop.order', 3, 'bob')
    await until('both have told both', () => heard.every(({ length }) => length === 4))
    await Promise.all([one.close(), other.close()])
    assert.deepEqual(heard[0], heard[1])
    const [first, plain, second, again] = heard[0]!
    assert.deepEqual([first!.kind, plain!.kind, second!.kind], [2, 1, 2])
    assert.deepEqual(plain, again)
    assert.equal(first!.id >> 16n, plain!.id >> 16n)
    assert.notEqual(first!.id, second!.id)
  })
})

describe('the processes that ask', () => {
  const ring = {
    service: 'shop',
    host: 'web1',
    process: 1n,
    historyUs: 5,
    madeUs: 4,
    address: '10.0.0.1',
    listening: ['[::]:80'],
  }

  it('are told once they have changed, as there while they ask, as gone once they have left, and then forgotten', () => {
    let nowUs = 1_000_000_000
    let news = 0
    const rings = new Rings(() => nowUs)
    rings.onNews = () => news++
    const answered = rings.asks(ring)
    assert.equal(news, 1)
    assert.deepEqual(rings.take(), [{ ...ring, seenUs: nowUs, toldUs: nowUs, ended: false, aheadUs: 0 }])
    nowUs += 7
    // It still waits.
    assert.deepEqual(rings.take(), [{ ...ring, seenUs: nowUs, toldUs: nowUs - 7, ended: false, aheadUs: 0 }])
    answered()
    rings.asks({ ...ring, historyUs: 6 })()
    const [asked] = rings.take()
    assert.deepEqual([asked!.historyUs, asked!.ended], [6, false])
    assert.deepEqual(rings.take(), [])
    rings.putBack([asked!])
    assert.equal(rings.take().length, 1)
    nowUs += 5
    rings.left(1n)
    assert.equal(news, 2)
    assert.deepEqual(rings.take(), [
      { ...ring, historyUs: 6, seenUs: nowUs, toldUs: nowUs - 5, ended: true, aheadUs: 0 },
    ])
    assert.equal(rings.size, 0)
    // Who falls silent is forgotten as well.
    rings.asks(ring)()
    rings.take()
    nowUs += 121_000_000
    rings.take()
    assert.equal(rings.size, 0)
  })

  it('are known from a relay whose clock is off, by when it has seen them', () => {
    const nowUs = 1_800_000_000_000_000
    const rings = new Rings(() => nowUs)
    for (const [i, ahead] of [3_600e6, -3_600e6].entries()) {
      const theirUs = nowUs + ahead
      rings.told({ ...ring, process: BigInt(i), toldUs: theirUs - 20, seenUs: theirUs - 10, ended: false }, theirUs)
    }
    assert.deepEqual(
      rings.take().map(({ seenUs, toldUs }) => [nowUs - seenUs, nowUs - toldUs]),
      [
        [10, 20],
        [10, 20],
      ],
    )
    assert.equal(rings.present().length, 2)
  })

  it('say what time it is for them, and their times are those of the collector', () => {
    const nowUs = 1_800_000_000_000_000
    const MINUTE = 60e6
    const [madeUs, historyUs] = [nowUs - 2 * MINUTE, nowUs - MINUTE]
    const seen = (rings: Rings) => rings.all().map(ring => [ring.aheadUs, ring.madeUs - nowUs, ring.historyUs - nowUs])
    for (const aheadUs of [3_600e6, -3_600e6, 0]) {
      const rings = new Rings(() => nowUs)
      rings.asks({ ...ring, madeUs: madeUs + aheadUs, historyUs: historyUs + aheadUs }, nowUs + aheadUs)
      assert.deepEqual(seen(rings), [[aheadUs, -2 * MINUTE, -MINUTE]])
      // A relay that is ahead by another hour tells it.
      const [told] = rings.take()
      const upstream = new Rings(() => nowUs - 3_600e6)
      upstream.told(told!, nowUs)
      const [{ aheadUs: theirs, madeUs: made }] = upstream.all() as [SeenRing]
      assert.deepEqual([theirs, made - nowUs], [aheadUs + 3_600e6, -2 * MINUTE - 3_600e6])
    }
    // What doesn't say it is ahead where its history is of the future, and a question may take a second.
    const rings = new Rings(() => nowUs)
    rings.asks({ ...ring, madeUs: nowUs + MINUTE, historyUs: nowUs + 2 * MINUTE })
    rings.asks({ ...ring, process: 2n, madeUs, historyUs }, nowUs - 1e6)
    assert.deepEqual(seen(rings), [
      [2 * MINUTE, -MINUTE, 0],
      [0, -2 * MINUTE, -MINUTE],
    ])
  })

  it('stay until their end is stored', () => {
    const rings = new Rings(() => 1_000_000_000)
    rings.asks(ring)()
    rings.left(1n)
    const ended = rings.take()
    rings.putBack(ended)
    assert.deepEqual(
      rings.take().map(({ ended }) => ended),
      [true],
    )
  })

  it('have numbers and names of some length, whatever they say, and are 20,000 at most', () => {
    const nowUs = 1_000_000_000
    const rings = new Rings(() => nowUs)
    rings.asks({ ...ring, service: 'x'.repeat(1e6), host: 'y'.repeat(1e6), historyUs: 2 ** 63 })
    rings.told({
      ...ring,
      process: 2n,
      historyUs: Number.NaN,
      toldUs: 0,
      seenUs: 2 ** 63,
      ended: false,
      service: 'told',
    })
    rings.told({ ...ring, process: 3n, toldUs: 0, seenUs: -1, ended: false })
    const [asks, told, ...none] = rings.take()
    assert.deepEqual([asks!.service.length, asks!.host.length, asks!.historyUs], [256, 256, nowUs])
    assert.deepEqual([told!.service, told!.seenUs, told!.historyUs], ['told', nowUs, 0])
    assert.deepEqual(none, [])
    for (let i = 0; i < 25_000; i++) rings.asks({ ...ring, process: BigInt(i + 10) })
    assert.equal(rings.size, 20_000)
  })
})
