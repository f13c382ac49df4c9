import assert from 'node:assert/strict'
import { dependencies, serviceReport } from '../../../collector/src/api/services'
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
  it('lists each with its rate, errors and names, the busiest first, step by step', () => {
    const { step, services } = serviceReport(
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

  it('tells of the busiest when there are more than anybody looks at, and says so', () => {
    const many = Array.from({ length: 600 }, (_, i) => operation({ service: `s${i}`, count: i + 1 }))
    const report = serviceReport([minute(1, ...many)], range(60))
    assert.equal(report.truncated, true)
    assert.deepEqual(
      [report.services.length, report.services[0]!.service, report.services[499]!.spans],
      [500, 's599', 101],
    )
    const names = Array.from({ length: 10_500 }, (_, i) => operation({ name: `n${i}`, count: i + 1 }))
    const one = serviceReport([minute(1, ...names)], range(60))
    assert.deepEqual(
      [one.truncated, one.services[0]!.names.length, one.services[0]!.names[0]!.name],
      [true, 10_000, 'n10499'],
    )
    assert.equal(serviceReport([minute(1, operation({}))], range(60)).truncated, undefined)
  })

  it('puts minutes together when there are many', () => {
    const minutes = Array.from({ length: 1440 }, (_, i) => minute(i, operation({})))
    const { step, services } = serviceReport(minutes, range(1440))
    assert.equal(step, 30 * MINUTE_US)
    assert.equal(services[0]!.series.length, 48)
    assert.ok(services[0]!.series.every(({ spans }) => spans === 30))
  })

  it('counts what a service was asked to do, not what it asked of others or did on the way', () => {
    const { services } = serviceReport(
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

  it('adds up who called whom', () => {
    const calls = (count: number, errors: number) => [
      { caller: 'web', callee: 'shop', count, errors, durations: { 41: count } },
    ]
    const [edge, ...others] = dependencies([
      { minute: 1, operations: [], calls: calls(2, 1) },
      { minute: 2, operations: [], calls: calls(3, 0) },
    ])
    assert.deepEqual(others, [])
    assert.deepEqual([edge!.from, edge!.to, edge!.calls, edge!.errors], ['web', 'shop', 5, 1])
    assert.ok(edge!.p50! > 900 && edge!.p50! < 1200, `${edge!.p50}`)
  })
})
