import assert from 'node:assert/strict'
import fastify, { type FastifyInstance } from 'fastify'
import { activityRoutes } from '../../../../collector/src/api/activity/routes'
import { ReadBudget } from '../../../../collector/src/api/read-budget'
import type {
  ChangesAnswer,
  DependenciesAnswer,
  ErrorAnswer,
  OperationsAnswer,
  SeriesAnswer,
  ServicesAnswer,
  UsualAnswer,
} from '../../../../collector/src/http/answers'
import { MemoryActivity } from '../../../helpers/memory-activity'

const MINUTE_US = 60_000_000
const HOUR_US = 60 * MINUTE_US
const DAY_US = 24 * HOUR_US
/** A Sunday in November, 10:00:30. */
const NOW_US = 1_795_946_430e6 - (1_795_946_430e6 % HOUR_US) + 30e6
const ago = (minutes: number) => NOW_US - minutes * MINUTE_US

describe('what services did', () => {
  let app: FastifyInstance
  let memory: MemoryActivity
  let nowUs: number

  beforeEach(() => {
    app = fastify()
    // 404 and 500 must not look like the API's errors.
    app.setErrorHandler((error: any, _request, reply) =>
      reply.code(error.status ?? 500).send({ error: error.message, code: error.code }),
    )
    memory = new MemoryActivity()
    nowUs = NOW_US
    activityRoutes(app, {
      read: memory.read,
      reads: new ReadBudget({ maxBytes: 1 }),
      retentionDays: 30,
      activityDays: 400,
      maxSeries: 10_000,
      now: () => nowUs / 1000,
    })
  })
  afterEach(() => app.close())

  async function ask<A>(path: string, query: Record<string, string> = {}): Promise<A> {
    const answer = await app.inject({ url: path, query })
    assert.equal(answer.statusCode, 200, answer.body)
    return answer.json()
  }

  async function problem(path: string, query: Record<string, string>): Promise<string> {
    const answer = await app.inject({ url: path, query })
    assert.equal(answer.statusCode, 400, answer.body)
    const { error, code } = answer.json() as ErrorAnswer
    assert.match(code, /^MILO_BAD_/)
    return error
  }

  it('is listed by service, the busiest first, step by step', async () => {
    memory
      .operation({}, { at: ago(10), times: 10 })
      .operation({}, { at: ago(10), times: 2, failed: true })
      .operation({ name: 'Shop.look' }, { at: ago(9), times: 30 })
      .operation({ service: 'stock' }, { at: ago(5), times: 50 })
    const { step, from, to, services, truncated } = await ask<ServicesAnswer>('/api/services')
    assert.deepEqual([step, from, to, truncated], [MINUTE_US, ago(60) - 30e6, NOW_US, undefined])
    assert.deepEqual(
      services.map(({ service, calls, errors, series }) => [
        service,
        calls.value,
        errors.value,
        series.map(({ time, calls }) => [(NOW_US - 30e6 - time) / MINUTE_US, calls.value]),
      ]),
      [
        ['stock', 50, 0, [[5, 50]]],
        ['shop', 42, 2, [[10, 12], [9, 30]]], // biome-ignore format: a row each
      ],
    )
  })

  it('is exact where all was sampled, and has an interval where it was not', async () => {
    memory.operation({}, { at: ago(5), times: 100 }).operation({ service: 'stock' }, { at: ago(5), times: 100, p: 0.1 })
    const { services } = await ask<ServicesAnswer>('/api/services')
    const [stock, shop] = services
    assert.deepEqual(shop!.calls, { value: 100, low: 100, high: 100 })
    assert.deepEqual(shop!.mean, { value: 1000, low: 1000, high: 1000 })
    assert.deepEqual([stock!.calls.value, stock!.records, stock!.unknown], [1000, 100, 0])
    assert.ok(stock!.calls.low! > 700 && stock!.calls.low! < 900, JSON.stringify(stock!.calls))
    assert.ok(stock!.calls.high! > 1100 && stock!.calls.high! < 1400, JSON.stringify(stock!.calls))
    assert.ok(stock!.errorShare!.high! > 0.01, 'no error of a hundred sampled calls is not none at all')
  })

  it('is what services were asked to do, not what they asked of others or did on the way', async () => {
    memory
      .operation({}, { at: ago(5), times: 5 })
      .operation({ side: 'client', name: 'Stock.reserve' }, { at: ago(5), times: 20 })
      .operation({ side: 'local', name: 'render' }, { at: ago(5), times: 7 })
      .operation({ side: 'local', name: 'nightly' }, { at: ago(5), times: 3, isRoot: true })
    const { services } = await ask<ServicesAnswer>('/api/services')
    assert.deepEqual(
      services.map(({ calls }) => calls.value),
      [8],
    )
    const { operations } = await ask<OperationsAnswer>('/api/operations', { service: 'shop' })
    assert.deepEqual(
      operations.map(({ name, side, calls, isWork, roots }) => [name, side, calls.value, isWork, roots]),
      [
        ['Stock.reserve', 'client', 20, false, 0],
        ['render', 'local', 7, false, 0],
        ['Shop.buy', 'server', 5, true, 0],
        ['nightly', 'local', 3, true, 3],
      ],
    )
  })

  it('decides what is work by the whole time, not minute by minute', async () => {
    memory
      .operation({ side: 'local', name: 'tick' }, { at: ago(5), times: 3, isRoot: true })
      .operation({ side: 'local', name: 'tick' }, { at: ago(4), times: 2 })
    const { services } = await ask<ServicesAnswer>('/api/services')
    assert.equal(services[0]!.calls.value, 5)
  })

  it('names the busiest services when there are too many for an answer, and says so', async () => {
    for (let i = 0; i < 600; i++) memory.operation({ service: `s${i}` }, { at: ago(5), times: i + 1 })
    const { truncated, services } = await ask<ServicesAnswer>('/api/services')
    assert.deepEqual(
      [truncated, services.length, services[0]!.service, services[499]!.calls.value],
      [true, 500, 's599', 101],
    )
  })

  it('names the busiest operations when there are too many, wherever in time they are', async () => {
    for (let i = 0; i < 2_500; i++) memory.operation({ name: `n${i}` }, { at: ago(50 - (i % 40)), times: 1 + (i % 3) })
    for (let i = 0; i < 40; i++) memory.operation({ name: 'late' }, { at: ago(i) })
    const { truncated, operations } = await ask<OperationsAnswer>('/api/operations')
    assert.deepEqual([truncated, operations.length], [true, 2_000])
    assert.deepEqual([operations[0]!.name, operations[0]!.calls.value], ['late', 40])
    assert.equal(
      operations.every(({ calls }) => calls.value >= 2 || calls.value === 1),
      true,
    )
    assert.equal(operations.filter(({ calls }) => calls.value === 3).length, 833)
  })

  it('adds up who called whom, by service or by operation, once each', async () => {
    memory
      .edge({}, { at: ago(5), times: 2 })
      .edge({}, { at: ago(4), times: 1, failed: true })
      .edge({ callerName: 'GET /' }, { at: ago(4), times: 4 })
      .edge({ caller: 'shop', callee: 'shop', calleeName: 'Shop.loop' }, { at: ago(4), times: 9 })
      .edge({ caller: 'shop', callee: 'stock' }, { at: ago(4), times: 1 })
    const pairs = (answer: DependenciesAnswer) =>
      answer.edges.map(({ from, fromName, to, calls, errors }) => [from, fromName, to, calls.value, errors.value])
    const all = [
      ['shop', undefined, 'shop', 9, 0],
      ['web', undefined, 'shop', 7, 1],
      ['shop', undefined, 'stock', 1, 0],
    ]
    assert.deepEqual(pairs(await ask('/api/dependencies')), all)
    assert.deepEqual(pairs(await ask('/api/dependencies', { service: 'shop' })), all)
    assert.deepEqual(pairs(await ask('/api/dependencies', { service: 'stock' })), [all[2]])
    assert.deepEqual(pairs(await ask('/api/dependencies', { service: 'web', operations: 'true' })), [
      ['web', 'GET /', 'shop', 4, 0],
      ['web', 'GET /buy', 'shop', 3, 1],
    ])
  })

  it('leaves out what corrections have taken back', async () => {
    memory.edge({ callee: 'shop:2100' }, { at: ago(5), times: 3 })
    const [counters] = [...memory.minutes.values()].map(({ edges }) => edges)
    const [, counter] = [...counters!][0]!
    counter.merge(structuredCloneOf(counter), -1)
    memory.edge({}, { at: ago(5), times: 3 })
    const { edges } = await ask<DependenciesAnswer>('/api/dependencies')
    assert.deepEqual(
      edges.map(({ to }) => to),
      ['shop'],
    )
  })

  it('has examples: a slow, a failed and a typical trace', async () => {
    memory
      .operation({}, { at: ago(5), times: 20, durationUs: 1000, trace: 1 })
      .operation({}, { at: ago(5), durationUs: 90_000, trace: 2 })
      .operation({}, { at: ago(5), durationUs: 2000, failed: true, trace: 0xabc })
      .operation({}, { at: ago(5), durationUs: 1000, trace: 3 })
    const { services } = await ask<ServicesAnswer>('/api/services')
    assert.deepEqual(
      services[0]!.exemplars.map(({ kind, traceId, duration }) => [kind, traceId, duration]),
      [
        ['slow', '0000000000000002', 90_000],
        ['failed', '0000000000000abc', 2000],
        ['typical', '0000000000000003', 1000],
      ],
    )
  })

  it('tells what is usual: quantiles of a week, of services as a whole and of the operations that are asked for', async () => {
    const day = 24 * 60
    memory
      .operation({}, { at: ago(3 * day), times: 900, durationUs: 50_000 })
      .operation({}, { at: ago(2 * day), times: 60, durationUs: 80_000 })
      .operation({}, { at: ago(5), times: 40, durationUs: 900_000 })
      .operation({}, { at: ago(9 * day), times: 5_000, durationUs: 1 })
      .operation({ side: 'client', name: 'Stock.reserve' }, { at: ago(day), times: 50, durationUs: 3_000 })
      .operation({ name: 'Shop.rare' }, { at: ago(day), times: 29 })
      .operation({ service: 'stock' }, { at: ago(day), times: 40, durationUs: 7_000 })
      .operation({ service: 'new' }, { at: ago(day), times: 3 })
    const near = (us: number, expected: number) => Math.abs(us - expected) <= 0.02 * expected
    const { from, to, operations, services } = await ask<UsualAnswer>('/api/usual', { service: 'shop' })
    assert.ok(Math.abs(to - from - 7 * DAY_US) <= HOUR_US, `${to - from}`)
    // What has been called less often than 30 times has no usual duration, and what is older than a week doesn't count.
    assert.deepEqual(operations.map(({ name, side }) => `${name} ${side}`).sort(), [
      'Shop.buy server',
      'Stock.reserve client',
    ])
    const buy = operations.find(({ name }) => name === 'Shop.buy')!
    assert.ok(near(buy.p50, 50_000) && near(buy.p95, 80_000) && near(buy.p99, 900_000), JSON.stringify(buy))
    assert.deepEqual(
      services.map(({ service }) => service),
      ['shop'],
    )
    const all = await ask<UsualAnswer>('/api/usual')
    assert.deepEqual([all.services.map(({ service }) => service).sort(), all.operations], [['shop', 'stock'], []])
    const url = '/api/usual?service=shop&service=stock&service=nobody'
    const both: UsualAnswer = (await app.inject({ url })).json()
    assert.deepEqual([...new Set(both.operations.map(({ service }) => service))].sort(), ['shop', 'stock'])
    assert.match(await problem('/api/usual', { servise: 'x' }), /unknown parameter "servise"/)
    const many = `/api/usual?${'service=a&'.repeat(51)}`
    assert.match((await app.inject({ url: many })).json().error, /more than 50 times/)
  })

  it('reads what is usual once for ten minutes, and anew where little is known yet', async () => {
    memory.operation({}, { at: ago(9), times: 6_000 }).operation({ service: 'new' }, { at: ago(9), times: 40 })
    await ask('/api/usual', { service: 'shop' })
    const { reads } = memory
    await ask('/api/usual', { service: 'shop' })
    assert.equal(memory.reads, reads)
    await ask('/api/usual', { service: 'new' })
    nowUs = NOW_US + 60e6
    await ask('/api/usual', { service: 'shop' })
    assert.equal(memory.reads, reads + 1)
    await ask('/api/usual', { service: 'new' })
    assert.equal(memory.reads, reads + 2)
    nowUs = NOW_US + 660e6
    await ask('/api/usual', { service: 'shop' })
    assert.equal(memory.reads, reads + 3)
  })

  describe('as a series', () => {
    it('has all figures of a service’s work, an operation or an edge', async () => {
      memory
        .operation({}, { at: ago(7), times: 98, durationUs: 1000 })
        .operation({}, { at: ago(7), times: 2, durationUs: 50_000, failed: true })
        .operation({ name: 'Shop.look' }, { at: ago(6), times: 5 })
        .operation({ side: 'client' }, { at: ago(6), times: 11 })
        .edge({}, { at: ago(6), times: 3 })
        .edge({ callerName: 'GET /' }, { at: ago(5), times: 4 })
      const of = async (query: Record<string, string>) => {
        const { points, total } = await ask<SeriesAnswer>('/api/series', query)
        return [total.calls.value, ...points.map(({ calls }) => calls.value)]
      }
      assert.deepEqual(await of({ service: 'shop' }), [105, 100, 5])
      assert.deepEqual(await of({ service: 'shop', name: 'Shop.buy' }), [100, 100])
      assert.deepEqual(await of({ service: 'shop', name: 'Shop.buy', side: 'client' }), [11, 11])
      assert.deepEqual(await of({ caller: 'web', callee: 'shop' }), [7, 3, 4])
      assert.deepEqual(await of({ caller: 'web', callee: 'shop', callerName: 'GET /' }), [4, 4])
      assert.deepEqual(await of({ service: 'nobody' }), [0])
      const { points, total } = await ask<SeriesAnswer>('/api/series', { service: 'shop', name: 'Shop.buy' })
      const [{ p50, p99, p999, mean, errorShare }] = points as [(typeof points)[0]]
      assert.ok(Math.abs(p50!.value - 1000) <= 20, `${p50!.value}`)
      assert.ok(Math.abs(p99!.value - 50_000) <= 1000 && Math.abs(p999!.value - 50_000) <= 1000)
      assert.deepEqual([mean!.value, errorShare!.value], [1980, 0.02])
      assert.equal(total.exemplars.length, 3)
    })

    it('is of what has no name, or an unknown caller, where a name is given empty', async () => {
      memory
        .operation({}, { at: ago(7), times: 2 })
        .operation({ name: '' }, { at: ago(7), times: 3 })
        .operation({ service: '' }, { at: ago(7), times: 4 })
        .edge({}, { at: ago(6), times: 5 })
        .edge({ callerName: '' }, { at: ago(6), times: 6 })
        .edge({ callerName: '', calleeName: '' }, { at: ago(6), times: 7 })
        .edge({ caller: '', callerName: '' }, { at: ago(6), times: 8 })
      const of = async (query: Record<string, string>) =>
        (await ask<SeriesAnswer>('/api/series', query)).total.calls.value
      assert.equal(await of({ service: 'shop', from: '', side: '' }), 5)
      assert.equal(await of({ service: 'shop', name: '' }), 3)
      assert.equal(await of({ service: '' }), 4)
      assert.equal(await of({ caller: 'web', callee: 'shop' }), 18)
      assert.equal(await of({ caller: 'web', callee: 'shop', callerName: '' }), 13)
      assert.equal(await of({ caller: 'web', callee: 'shop', callerName: '', calleeName: 'Shop.buy' }), 6)
      assert.equal(await of({ caller: 'web', callee: 'shop', callerName: '', calleeName: '' }), 7)
      assert.equal(await of({ caller: '', callee: 'shop' }), 8)
      const { operations } = await ask<OperationsAnswer>('/api/operations', { service: '' })
      assert.deepEqual(
        operations.map(({ service, calls }) => [service, calls.value]),
        [['', 4]],
      )
      const { edges } = await ask<DependenciesAnswer>('/api/dependencies', { service: '' })
      assert.deepEqual(
        edges.map(({ from, calls }) => [from, calls.value]),
        [['', 8]],
      )
    })

    it('adds up to its total, in any step', async () => {
      for (let i = 0; i < 600; i++) memory.operation({}, { at: ago(i), times: 1 + (i % 7) })
      for (const step of ['1m', '7m', '90s', '1h', '10h']) {
        const {
          points,
          total,
          step: answered,
        } = await ask<SeriesAnswer>('/api/series', {
          service: 'shop',
          from: '-600m',
          step,
        })
        assert.equal(answered % MINUTE_US, 0)
        assert.ok(points.every(({ time }) => time % answered === 0))
        assert.equal(
          points.reduce((sum, { calls }) => sum + calls.value, 0),
          total.calls.value,
        )
      }
    })

    it('says the step that it has: a longer one, if there were too many points or only hours are kept', async () => {
      const stepOf = async (query: Record<string, string>) =>
        (await ask<SeriesAnswer>('/api/series', { service: 'shop', ...query })).step / MINUTE_US
      assert.equal(await stepOf({}), 1)
      assert.equal(await stepOf({ step: '1s' }), 1)
      assert.equal(await stepOf({ step: '61s' }), 2)
      assert.equal(await stepOf({ from: '-20d', step: '1m' }), 20)
      assert.equal(await stepOf({ from: '-60d', step: '1m' }), 60)
      assert.equal(await stepOf({ from: '-400d', step: '2h' }), 7 * 60)
      assert.equal(await stepOf({ from: '-400d' }), 2880)
    })

    it('refuses what makes no sense', async () => {
      assert.match(await problem('/api/series', {}), /^give either service/)
      assert.match(await problem('/api/series', { caller: 'a' }), /^give either service/)
      assert.match(await problem('/api/series', { service: 'a', caller: 'a', callee: 'b' }), /^give either service/)
      assert.match(await problem('/api/series', { service: 'a', side: 'left' }), /side is "left"/)
      assert.match(await problem('/api/series', { service: 'a', step: 'x' }), /step is "x": give a time such as 5m/)
      assert.match(await problem('/api/series', { service: 'a', step: '0' }), /step is "0": give a time such as 5m/)
    })
  })

  describe('two times', () => {
    const of = async (query: Record<string, string>) => {
      const { before, after } = await ask<ChangesAnswer>('/api/changes', query)
      return [before.from, before.to, after.from, after.to].map(us => (us - NOW_US) / MINUTE_US)
    }

    it('may touch, also within a minute or an hour: that is counted once', async () => {
      assert.deepEqual(await of({ beforeFrom: '-2h', beforeTo: '-1h', from: '-1h' }), [-120.5, -60.5, -60.5, 0])
      assert.deepEqual(
        await of({ beforeFrom: '-1h', from: '-2h', to: '-1h', beforeTo: 'now' }),
        [-60.5, 0, -120.5, -60.5],
      )
      const [, before, after] = await of({ beforeFrom: '-80d', beforeTo: '-40d', from: '-40d' })
      assert.equal(before, after)
    })

    it('are refused where nothing can be compared', async () => {
      const refused = (query: Record<string, string>) => problem('/api/changes', query)
      const overlapping = { beforeFrom: '-2h', beforeTo: '-1h', from: '-90m' }
      assert.match(await refused(overlapping), /^the times to compare overlap/)
      const short = { beforeFrom: '-8s', beforeTo: '-5s', from: '-5s' }
      assert.match(await refused(short), /^the times to compare are in the same minute/)
      assert.match(await refused({ moment: '-1h', span: '0' }), /^span is "0"/)
      assert.match(await refused({ moment: '2090-01-01T00:00Z' }), /^moment is in the future/)
      assert.match(await refused({ moment: '1970-01-01T00:10Z', span: '1h' }), /^moment - span is before 1970/)
      assert.match(await refused({ moment: '-1h', from: '-2h' }), /^moment can't be combined/)
    })
  })

  describe('the time range', () => {
    it('is told as it was counted: whole minutes, of the past; whole hours where only these are kept', async () => {
      const of = async (from: number, to: number) => {
        const answer = await ask<ServicesAnswer>('/api/services', { from: `${from}`, to: `${to}` })
        return [answer.from, answer.to]
      }
      const minute = NOW_US - 30e6
      assert.deepEqual(await of(ago(20) + 1, ago(10)), [ago(20) - 30e6, ago(9) - 30e6])
      assert.deepEqual(await of(ago(20), NOW_US - 1e6), [ago(20) - 30e6, NOW_US])
      assert.deepEqual(await of(ago(20), NOW_US + 90e6), [ago(20) - 30e6, NOW_US])
      assert.deepEqual(await of(NOW_US + 90e6, NOW_US + HOUR_US), [NOW_US + 90e6, NOW_US + HOUR_US + 30e6])
      const old = minute - 40 * DAY_US
      assert.deepEqual(await of(old + 90e6, old + 100 * MINUTE_US), [old, old + 2 * HOUR_US])
    })

    it('is one of up to activity_days', async () => {
      await ask('/api/services', { from: '-400d' })
      assert.match(await problem('/api/services', { from: '-401d' }), /more than activity_days \(400\) apart/)
      assert.match(await problem('/api/operations', { from: 'now' }), /^from is not before to/)
      assert.match(await problem('/api/dependencies', { from: 'yesterday' }), /^from is "yesterday"/)
    })
  })
})

function structuredCloneOf<C extends object>(counter: C): C {
  const { Counter } = require('../../../../collector/src/store/activity/counter')
  const copy = new Counter()
  copy.merge(counter)
  return copy
}
