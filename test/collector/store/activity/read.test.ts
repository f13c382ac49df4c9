import assert from 'node:assert/strict'
import { Counter } from '../../../../collector/src/store/activity/counter'
import {
  type ActivityQuery,
  type ActivityRead,
  MINUTE_US,
  type Row,
} from '../../../../collector/src/store/activity/model'
import { PAGE_ROWS, planOf, portionOf, readActivity, sumActivity } from '../../../../collector/src/store/activity/read'
import { operationKey, writeDelta, writeRow } from '../../../../collector/src/store/activity/rows'
import { dice } from './dice'

const WHOLE = Number.POSITIVE_INFINITY
const DAY = 1440
const MIB = 1024 * 1024

function query(from: number, to: number, stepUs: number): ActivityQuery {
  return { fromUs: from * MINUTE_US, toUs: to * MINUTE_US, stepUs, kinds: ['operations'] }
}

/** Everything is rolled up to `now`, a number of minutes. */
function progressAt(now: number) {
  const rolled = [0, Math.floor(now / 10), Math.floor(now / 60), Math.floor(now / DAY)] as [
    number,
    number,
    number,
    number,
  ]
  return { folded: 0n, rolled }
}

function counterOf(calls: number): Counter {
  const counter = new Counter()
  counter.calls = calls
  return counter
}

const KEY = operationKey({ service: 'shop', name: 'Shop.buy', side: 'server' })

function deltaOf(minute: number, calls: number): Buffer {
  return writeDelta(new Map([[minute, { operations: new Map([[KEY, counterOf(calls)]]), edges: new Map() }]]))
}

describe('a plan of what to read', () => {
  const plan = (from: number, to: number, stepUs: number, now = 100 * DAY, kept = 0) =>
    planOf(query(from, to, stepUs), progressAt(now), kept * MINUTE_US).map(({ grain, from, to }) => [grain, from, to])

  it('takes days where it can, and finer rows at both ends', () => {
    assert.deepEqual(plan(DAY - 61, 3 * DAY + 75, WHOLE), [
      [1, DAY - 61, DAY - 60],
      [60, 23, 24],
      [1440, 1, 3],
      [60, 72, 73],
      [10, 438, 439],
      [1, 4390, 4395],
    ])
  })

  it('takes no rows that are in two steps', () => {
    assert.deepEqual(plan(0, 60, 15 * MINUTE_US), [[1, 0, 60]])
    assert.deepEqual(plan(0, 60, 30 * MINUTE_US), [[10, 0, 6]])
    assert.deepEqual(plan(0, 2 * DAY, 120 * MINUTE_US), [[60, 0, 48]])
  })

  it('takes finer rows where coarser ones are not complete', () => {
    assert.deepEqual(plan(0, 200, WHOLE, 137), [
      [60, 0, 2],
      [10, 12, 13],
      [1, 130, 200],
    ])
  })

  it('takes whole hours where minutes may be gone', () => {
    assert.deepEqual(plan(30, 250, MINUTE_US, 100 * DAY, 100), [
      [60, 0, 2],
      [1, 120, 250],
    ])
    assert.deepEqual(plan(30, 70, MINUTE_US, 100 * DAY, DAY), [[60, 0, 2]])
    assert.deepEqual(plan(30, 70, MINUTE_US, 90, DAY), [
      [60, 0, 1],
      [1, 60, 70],
    ])
  })

  it('has each minute once, in order, whatever is asked for', () => {
    const random = dice(7)
    for (let i = 0; i < 150; i++) {
      const pick = (n: number) => Math.floor(random() * n)
      const from = pick(3 * DAY)
      const to = from + 1 + pick(3 * DAY)
      const step = [1, 5, 10, 30, 60, 180, DAY, WHOLE][pick(8)]! * MINUTE_US
      const parts = planOf(query(from, to, step), progressAt(pick(7 * DAY)), 0)
      let at = from
      for (const part of parts) {
        assert.equal(part.grain * part.from, at)
        at = part.grain * part.to
        for (let time = part.from; time < part.to; time++) {
          const stepOf = (minute: number) => Math.floor((minute * MINUTE_US) / step)
          assert.equal(stepOf(time * part.grain), stepOf((time + 1) * part.grain - 1))
        }
      }
      assert.equal(at, to)
    }
  })
})

describe('reading what services did', () => {
  it('divides what is too much, and no stretch of time', () => {
    const body = Buffer.alloc(MIB / 8)
    const rows = Array.from({ length: 1_000 }, (_, i): Row => {
      return { grain: 1, time: Math.floor(i / 30), kind: 'operations', service: `${i % 30}`, body }
    })
    let seen = 0
    let most = 0
    for (let from = 0; from < 40; ) {
      const asked = query(from, 40, MINUTE_US)
      const portion = portionOf(asked, planOf(asked, progressAt(0), 0))
      let step = portion.next()
      while (!step.done) {
        const { part, after } = step.value
        const start = after === undefined ? rows.findIndex(({ time }) => time >= part.from) : rows.indexOf(after) + 1
        step = portion.next(start === -1 ? [] : rows.slice(start, start + PAGE_ROWS))
      }
      for (const row of step.value.rows) assert.equal(row, rows[seen++])
      most = Math.max(most, step.value.rows.length)
      assert.ok(step.value.rows.every(({ time }) => time >= from && time < step.value.to))
      from = step.value.to
    }
    assert.equal(seen, 1_000)
    assert.ok(most <= 64 + 2 * PAGE_ROWS, `${most} rows at once`)
  })

  it('adds to the rows what is not in them yet, in as many pages as there are', async () => {
    const asked: (bigint | undefined)[] = []
    const ask = async ({ deltasAfter }: ActivityQuery): Promise<ActivityRead> => {
      asked.push(deltasAfter)
      const body = writeRow(new Map([[KEY, counterOf(10)]]))
      const seq = (deltasAfter ?? 0n) + 1n
      return {
        rows: deltasAfter === undefined ? [{ grain: 1, time: 5, kind: 'operations', service: 'shop', body }] : [],
        // One in the range, one outside of it.
        deltas: [
          { seq, delta: deltaOf(6, 1) },
          { seq: seq + 1n, delta: deltaOf(90, 1_000) },
        ],
        moreDeltas: seq < 9n,
        from: 0,
        to: 60,
      }
    }
    const [sums] = (await sumActivity(ask, query(0, 60, WHOLE))).values()
    assert.equal(sums!.operations.get(KEY)!.calls, 15)
    assert.deepEqual(asked, [undefined, 2n, 4n, 6n, 8n])
  })

  it('says so when what it was to read next has gone', async () => {
    const ask = async ({ deltasAfter }: ActivityQuery): Promise<ActivityRead> => {
      const seq = deltasAfter === undefined ? 1n : deltasAfter + 5n
      return { rows: [], deltas: [{ seq, delta: deltaOf(6, 1) }], moreDeltas: true, from: 0, to: 60 }
    }
    await assert.rejects(
      readActivity(ask, query(0, 60, WHOLE), () => {}),
      { code: 'MILO_STORE_UNAVAILABLE' },
    )
  })

  it('leaves out sums that corrections have brought to nothing, and steps without any', async () => {
    const ask = async (): Promise<ActivityRead> => {
      const deltas = [3, -3].map((calls, i) => ({ seq: BigInt(i + 1), delta: deltaOf(6, calls) }))
      return { rows: [], deltas, moreDeltas: false, from: 0, to: 60 }
    }
    assert.equal((await sumActivity(ask, query(0, 60, MINUTE_US))).size, 0)
  })
})
