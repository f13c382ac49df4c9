import assert from 'node:assert/strict'
import fastify from 'fastify'
import { createReads } from '../../../collector/src/api/read-budget'
import { dependencies, serviceReport, serviceRoutes } from '../../../collector/src/api/services'
import { Counter } from '../../../collector/src/store/activity/counter'
import type { ActivityQuery, Row } from '../../../collector/src/store/activity/model'
import { readActivity } from '../../../collector/src/store/activity/read'
import { edgeKey, operationKey, writeRow } from '../../../collector/src/store/activity/rows'

const MINUTE_US = 60_000_000

interface Operation {
  service: string
  name: string
  side: 'client' | 'server' | 'local'
  count: number
  errors: number
  roots: number
}

function operation(fields: Partial<Operation>): Operation {
  return { service: 'shop', name: 'Shop.buy', side: 'server', count: 1, errors: 0, roots: 0, ...fields }
}

function counterOf({ count, errors, roots }: Pick<Operation, 'count' | 'errors' | 'roots'>, durationUs = NaN): Counter {
  const counter = new Counter()
  Object.assign(counter, { calls: count, errors, roots })
  if (!Number.isNaN(durationUs)) counter.durations.add(durationUs, count)
  return counter
}

/** A row of minute `n`. All in one: a store would have one for each service. */
function minute(n: number, ...operations: Operation[]): Row {
  const body = writeRow(new Map(operations.map(of => [operationKey(of), counterOf(of)])))
  return { grain: 1, time: n, kind: 'operations', service: '', body }
}

function calls(n: number, count: number, errors: number): Row {
  const key = edgeKey({ caller: 'web', callerName: `page ${n}`, callee: 'shop', calleeName: 'Shop.buy' })
  const body = writeRow(new Map([[key, counterOf({ count, errors, roots: 0 }, 1_000)]]))
  return { grain: 1, time: n, kind: 'calls', service: 'web', body }
}

/** Reads from rows of minutes. */
function reading(rows: Row[]): Parameters<typeof serviceReport>[0] {
  return (query, visit) => readActivity(async query => answer(rows, query), query, visit)
}

function answer(rows: Row[], { fromUs, toUs, kinds }: ActivityQuery) {
  const [from, to] = [Math.floor(fromUs / MINUTE_US), Math.ceil(toUs / MINUTE_US)]
  const found = rows.filter(({ time, kind }) => time >= from && time < to && kinds.includes(kind))
  return { rows: found, deltas: [], moreDeltas: false, from, to }
}

const range = (minutes: number) => ({ from: 0, to: minutes * MINUTE_US })

describe('services', () => {
  it('lists each with its rate, errors and names, the busiest first, step by step', async () => {
    const { step, services } = await serviceReport(
      reading([
        minute(1, operation({ count: 10, errors: 2 }), operation({ name: 'Shop.look', count: 30 })),
        minute(2, operation({ count: 1 }), operation({ service: 'stock', count: 50 })),
      ]),
      range(60),
    )
    assert.equal(step, MINUTE_US)
    assert.deepEqual(
      services.map(({ service, spans, errors, names, series }) => [
        service,
        spans,
        errors,
        names.map(({ name, spans }) => [name, spans]),
        series.map(({ time, spans }) => [time / MINUTE_US, spans]),
      ]),
      [
        ['stock', 50, 0, [['Shop.buy', 50]], [[2, 50]]],
        [
          'shop',
          41,
          2,
          [
            ['Shop.look', 30],
            ['Shop.buy', 11],
          ],
          [
            [1, 40],
            [2, 1],
          ],
        ],
      ],
    )
  })

  it('names the busiest when there are too many for an answer, and says that it is truncated', async () => {
    const many = Array.from({ length: 600 }, (_, i) => operation({ service: `s${i}`, count: i + 1 }))
    const report = await serviceReport(reading([minute(1, ...many)]), range(60))
    assert.equal(report.truncated, true)
    assert.deepEqual(
      [report.services.length, report.services[0]!.service, report.services[499]!.spans],
      [500, 's599', 101],
    )
    const names = Array.from({ length: 10_500 }, (_, i) => operation({ name: `n${i}`, count: i + 1 }))
    const one = await serviceReport(reading([minute(1, ...names)]), range(60))
    assert.deepEqual(
      [one.truncated, one.services[0]!.names.length, one.services[0]!.names[0]!.name],
      [true, 10_000, 'n10499'],
    )
    assert.equal((await serviceReport(reading([minute(1, operation({}))]), range(60))).truncated, undefined)
  })

  it('puts minutes together when there are many', async () => {
    const minutes = Array.from({ length: 1440 }, (_, i) => minute(i, operation({})))
    const { step, services } = await serviceReport(reading(minutes), range(1440))
    assert.equal(step, 30 * MINUTE_US)
    assert.equal(services[0]!.series.length, 48)
    assert.ok(services[0]!.series.every(({ spans }) => spans === 30))
  })

  it('counts what a service was asked to do, not what it asked of others or did on the way', async () => {
    const { services } = await serviceReport(
      reading([
        minute(
          1,
          operation({ count: 5 }),
          operation({ side: 'client', name: 'Stock.reserve', count: 20 }),
          operation({ side: 'local', name: 'render', count: 7 }),
          operation({ side: 'local', name: 'nightly', count: 3, roots: 3 }),
        ),
      ]),
      range(60),
    )
    assert.deepEqual(
      services[0]!.names.map(({ name, spans }) => [name, spans]),
      [
        ['Shop.buy', 5],
        ['nightly', 3],
      ],
    )
  })

  it('adds up who called whom', async () => {
    const [edge, ...others] = await dependencies(reading([calls(1, 2, 1), calls(2, 3, 0)]), range(60))
    assert.deepEqual(others, [])
    assert.deepEqual([edge!.from, edge!.to, edge!.calls, edge!.errors], ['web', 'shop', 5, 1])
    assert.ok(edge!.p50! > 980 && edge!.p50! < 1020, `${edge!.p50}`)
  })

  it('leaves out calls that corrections took back', async () => {
    const key = (callee: string) => edgeKey({ caller: 'web', callerName: '', callee, calleeName: '' })
    const back = new Counter()
    back.merge(counterOf({ count: 2, errors: 0, roots: 0 }), -1)
    const rows = [counterOf({ count: 2, errors: 0, roots: 0 }), back].map(
      (counter, i): Row => ({
        grain: 1,
        time: i,
        kind: 'calls',
        service: 'web',
        body: writeRow(new Map([[key('10.0.0.1'), counter]])),
      }),
    )
    assert.deepEqual(await dependencies(reading(rows), range(60)), [])
  })

  it('reads what the store divides, each minute once', async () => {
    const minutes = Array.from({ length: 1_600 }, (_, i) => [minute(i, operation({})), calls(i, 1, 0)]).flat()
    const asked: number[] = []
    const activity = async (query: ActivityQuery) => {
      const { from } = answer([], query)
      asked.push(from)
      // As much as it has room for.
      return answer(minutes, { ...query, toUs: Math.min(query.toUs, (from + 60) * MINUTE_US) })
    }
    const app = fastify()
    serviceRoutes(app, createReads(1024, 1024), question => question({ activity }))
    const query = { from: `${90.5 * MINUTE_US}`, to: `${(90.5 + 1440) * MINUTE_US}` }
    const [services, edges] = [
      await app.inject({ url: '/api/earlier/services', query }),
      await app.inject({ url: '/api/earlier/dependencies', query }),
    ]
    assert.equal(services.json().services[0].spans, 1441)
    assert.equal(edges.json().edges[0].calls, 1441)
    assert.equal(asked.length, 50)
    await app.close()
  })
})
