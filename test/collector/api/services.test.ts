import assert from 'node:assert/strict'
import fastify from 'fastify'
import { createReads } from '../../../collector/src/api/read-budget'
import { dependencies, serviceReport, serviceRoutes } from '../../../collector/src/api/services'
import type { ActivityMinute, Operation } from '../../../collector/src/store/activity/activity'

const MINUTE_US = 60_000_000

function operation(fields: Partial<Operation>): Operation {
  return { service: 'shop', name: 'Shop.buy', side: 'server', count: 1, errors: 0, roots: 0, durations: {}, ...fields }
}

function minute(n: number, ...operations: Operation[]): ActivityMinute {
  return { minute: n, operations, calls: [] }
}

const range = (minutes: number) => ({ from: 0, to: minutes * MINUTE_US })

describe('services', () => {
  it('lists each with its rate, errors and names, the busiest first, step by step', async () => {
    const { step, services } = await serviceReport(
      [
        minute(1, operation({ count: 10, errors: 2 }), operation({ name: 'Shop.look', count: 30 })),
        minute(2, operation({ count: 1 }), operation({ service: 'stock', count: 50 })),
      ],
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
    const report = await serviceReport([minute(1, ...many)], range(60))
    assert.equal(report.truncated, true)
    assert.deepEqual(
      [report.services.length, report.services[0]!.service, report.services[499]!.spans],
      [500, 's599', 101],
    )
    const names = Array.from({ length: 10_500 }, (_, i) => operation({ name: `n${i}`, count: i + 1 }))
    const one = await serviceReport([minute(1, ...names)], range(60))
    assert.deepEqual(
      [one.truncated, one.services[0]!.names.length, one.services[0]!.names[0]!.name],
      [true, 10_000, 'n10499'],
    )
    assert.equal((await serviceReport([minute(1, operation({}))], range(60))).truncated, undefined)
  })

  it('puts minutes together when there are many', async () => {
    const minutes = Array.from({ length: 1440 }, (_, i) => minute(i, operation({})))
    const { step, services } = await serviceReport(minutes, range(1440))
    assert.equal(step, 30 * MINUTE_US)
    assert.equal(services[0]!.series.length, 48)
    assert.ok(services[0]!.series.every(({ spans }) => spans === 30))
  })

  it('counts what a service was asked to do, not what it asked of others or did on the way', async () => {
    const { services } = await serviceReport(
      [
        minute(
          1,
          operation({ count: 5 }),
          operation({ side: 'client', name: 'Stock.reserve', count: 20 }),
          operation({ side: 'local', name: 'render', count: 7 }),
          operation({ side: 'local', name: 'nightly', count: 3, roots: 3 }),
        ),
      ],
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
    const calls = (count: number, errors: number) => [
      { caller: 'web', callee: 'shop', count, errors, durations: { 41: count } },
    ]
    const [edge, ...others] = await dependencies([
      { minute: 1, operations: [], calls: calls(2, 1) },
      { minute: 2, operations: [], calls: calls(3, 0) },
    ])
    assert.deepEqual(others, [])
    assert.deepEqual([edge!.from, edge!.to, edge!.calls, edge!.errors], ['web', 'shop', 5, 1])
    assert.ok(edge!.p50! > 900 && edge!.p50! < 1200, `${edge!.p50}`)
  })

  it('never read a whole day at once, and each minute once', async () => {
    const asked: [number, number][] = []
    const activity = async (fromUs: number, toUs: number) => {
      const [first, last] = [Math.floor(fromUs / MINUTE_US), Math.floor(toUs / MINUTE_US)]
      asked.push([first, last])
      return Array.from({ length: last - first + 1 }, (_, i) => ({
        ...minute(first + i, operation({})),
        calls: [{ caller: 'web', callee: 'shop', count: 1, errors: 0, durations: {} }],
      }))
    }
    const app = fastify()
    serviceRoutes(app, createReads(1024, 1024), question => question({ activity }))
    const query = { from: `${90.5 * MINUTE_US}`, to: `${(90.5 + 1440) * MINUTE_US}` }
    const [services, edges] = [
      await app.inject({ url: '/api/services', query }),
      await app.inject({ url: '/api/dependencies', query }),
    ]
    assert.equal(services.json().services[0].spans, 1441)
    assert.equal(edges.json().edges[0].calls, 1441)
    assert.ok(asked.every(([first, last]) => last - first < 60))
    await app.close()
  })
})
