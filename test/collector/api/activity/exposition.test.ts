import assert from 'node:assert/strict'
import { formatOf, SERIES_EACH, ServiceExposition } from '../../../../collector/src/api/activity/exposition'
import { parseExposition, type Scrape } from '../../../helpers/exposition'
import { MemoryActivity } from '../../../helpers/memory-activity'
import { dice } from '../../store/activity/dice'

const MINUTE_US = 60_000_000
const DAY_US = 1440 * MINUTE_US
const MIDNIGHT_US = 20_000 * DAY_US
const at = (minutes: number) => MIDNIGHT_US + minutes * MINUTE_US

async function scrape(
  memory: MemoryActivity | ServiceExposition,
  nowUs: number,
  format: 'prometheus' | 'openmetrics' = 'prometheus',
): Promise<Scrape> {
  const exposition = memory instanceof MemoryActivity ? new ServiceExposition(memory.read, 10_000) : memory
  const text = await exposition.expose(format, nowUs)
  return parseExposition(text, format)
}

function sumOf({ samples }: Scrape, name: string, labels: Record<string, string> = {}): number | undefined {
  const found = samples.filter(
    sample => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
  )
  return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0)
}

describe('/metrics/services', () => {
  it('counts calls, errors and durations of operations and between services since midnight', async () => {
    const memory = new MemoryActivity()
      .operation({}, { at: at(-1), times: 1000 })
      .operation({}, { at: at(0), times: 3, durationUs: 4_000 })
      .operation({}, { at: at(600), times: 2, durationUs: 70_000, failed: true })
      .operation({}, { at: at(601), times: 1, durationUs: 70_000, p: 0.01 })
      .operation({ name: 'other "name"\\\n', side: 'local' }, { at: at(600) })
      .edge({}, { at: at(600), times: 5, durationUs: 400 })
      .edge({ callerName: 'GET /' }, { at: at(600), times: 2, durationUs: 40_000_000 })
    for (const format of ['prometheus', 'openmetrics'] as const) {
      const answer = await scrape(memory, at(700), format)
      const buy = { service: 'shop', operation: 'Shop.buy', side: 'server' }
      const is = (name: string, labels: Record<string, string>, value: number | undefined) =>
        assert.equal(sumOf(answer, name, labels), value, `${name} ${JSON.stringify(labels)}`)
      is('milo_service_calls_total', buy, 105)
      is('milo_service_errors_total', buy, 2)
      const le = (bound: string) => ({ ...buy, le: bound })
      is('milo_service_duration_seconds_bucket', le('0.0025'), 0)
      is('milo_service_duration_seconds_bucket', le('0.005'), 3)
      is('milo_service_duration_seconds_bucket', le('0.05'), 3)
      is('milo_service_duration_seconds_bucket', le('0.1'), 105)
      is('milo_service_duration_seconds_count', buy, 105)
      assert.ok(Math.abs(sumOf(answer, 'milo_service_duration_seconds_sum', buy)! - 7.152) < 1e-9)
      is('milo_service_calls_total', { operation: 'other "name"\\\n', side: 'local' }, 1)
      const edge = { caller: 'web', callee: 'shop' }
      is('milo_dependency_calls_total', edge, 7)
      is('milo_dependency_duration_seconds_bucket', { ...edge, le: '0.001' }, 5)
      const last = format === 'openmetrics' ? '30.0' : '30'
      is('milo_dependency_duration_seconds_bucket', { ...edge, le: last }, 5)
      is('milo_dependency_duration_seconds_bucket', { ...edge, le: '+Inf' }, 7)
      is('milo_service_left_out', {}, 0)
      is('milo_service_since_seconds', {}, MIDNIGHT_US / 1e6)
    }
  })

  it('has examples in OpenMetrics: traces in their buckets, and a failed one', async () => {
    const memory = new MemoryActivity()
      .operation({}, { at: at(5), times: 20, durationUs: 4_000, trace: 1 })
      .operation({}, { at: at(5), durationUs: 1_500_000, trace: 2 })
      .operation({}, { at: at(5), durationUs: 3_000, failed: true, trace: 3 })
      .operation({}, { at: at(5), durationUs: 4_000, trace: 4 })
    const { samples } = await scrape(memory, at(700), 'openmetrics')
    assert.deepEqual(
      samples.flatMap(({ name, labels, exemplar }) =>
        exemplar === undefined ? [] : [[name, labels.le, exemplar.labels.trace_id, exemplar.value, exemplar.time]],
      ),
      [
        ['milo_service_errors_total', undefined, '0000000000000003', 0.003, at(5) / 1e6],
        ['milo_service_duration_seconds_bucket', '0.005', '0000000000000004', 0.004, at(5) / 1e6],
        ['milo_service_duration_seconds_bucket', '2.5', '0000000000000002', 1.5, at(5) / 1e6],
      ],
    )
  })

  it('is the same at every collector of a store, and after a restart', async () => {
    const memory = random(1, 500)
    const [a, b] = [new ServiceExposition(memory.read, 10_000), new ServiceExposition(memory.read, 10_000)]
    await a.expose('prometheus', at(300))
    random(2, 500, memory)
    assert.deepEqual(await a.expose('prometheus', at(900)), await b.expose('prometheus', at(900)))
  })

  it('never shrinks within a day, also when halves that came late correct who called whom, or names are too many', async () => {
    for (const cap of [10_000, 12 * SERIES_EACH]) {
      const memory = new MemoryActivity()
      const exposition = new ServiceExposition(memory.read, cap)
      let before = new Map<string, number>()
      for (let minute = 5; minute < 150; minute += 5) {
        random(minute, 30, memory, minute)
        if (minute > 50) takeBack(memory)
        const { samples } = await scrape(exposition, at(minute))
        const now = new Map<string, number>()
        for (const { name, labels, value } of samples) {
          if (/_(total|bucket|sum|count)$/.test(name)) now.set(`${name} ${JSON.stringify(labels)}`, value)
        }
        for (const [key, value] of before) {
          assert.ok(now.get(key)! >= value, `${key}: ${value} → ${now.get(key)} at cap ${cap}`)
        }
        before = now
      }
    }
  })

  it('begins again at midnight', async () => {
    const memory = new MemoryActivity().operation({}, { at: at(100), times: 7 })
    const exposition = new ServiceExposition(memory.read, 10_000)
    assert.equal(sumOf(await scrape(exposition, at(1439)), 'milo_service_calls_total'), 7)
    memory.operation({}, { at: at(1440), times: 2 })
    const next = await scrape(exposition, at(1441))
    assert.equal(sumOf(next, 'milo_service_calls_total'), 2)
    assert.equal(sumOf(next, 'milo_service_since_seconds'), at(1440) / 1e6)
  })

  it('has no more series than the cap: the busiest by name, and all others as (other)', async () => {
    const memory = new MemoryActivity()
    for (let i = 0; i < 100; i++) {
      memory.operation({ name: `n${i}` }, { at: at(5), times: i + 1 })
      memory.edge({ callee: `s${i}` }, { at: at(5), times: i + 1 })
    }
    for (const max of [20 * SERIES_EACH, 1000, 0]) {
      const answer = await scrape(new ServiceExposition(memory.read, max), at(700))
      // The gauges, and (other) even if nothing else has room.
      assert.ok(answer.samples.length <= Math.max(max, 4 * SERIES_EACH) + 2, `${answer.samples.length} of ${max}`)
      assert.equal(sumOf(answer, 'milo_service_calls_total'), 5050)
      assert.equal(sumOf(answer, 'milo_dependency_calls_total'), 5050)
      const names = answer.samples
        .filter(({ name }) => name === 'milo_service_calls_total')
        .map(({ labels }) => labels.operation!)
      const named = names.filter(name => name !== '(other)')
      assert.deepEqual(
        named.map(name => Number(name.slice(1))).sort((a, b) => b - a),
        Array.from(named, (_, i) => 99 - i),
      )
      const edges = answer.samples.filter(({ name }) => name === 'milo_dependency_calls_total').length - 1
      assert.equal(sumOf(answer, 'milo_service_left_out'), 200 - named.length - edges)
    }
  })

  it('leaves out calls between services until both halves have had time to come', async () => {
    const memory = new MemoryActivity().edge({}, { at: at(10) }).operation({}, { at: at(10) })
    const at11 = await scrape(memory, at(11))
    assert.equal(sumOf(at11, 'milo_dependency_calls_total'), undefined)
    assert.equal(sumOf(at11, 'milo_service_calls_total'), 1)
    assert.equal(sumOf(await scrape(memory, at(14)), 'milo_dependency_calls_total'), 1)
    // Just after midnight there is nothing that old yet.
    assert.equal(sumOf(await scrape(memory, at(1)), 'milo_dependency_calls_total'), undefined)
  })

  it('is OpenMetrics for those who prefer it', () => {
    const prometheus3 =
      'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1'
    assert.equal(formatOf(prometheus3), 'openmetrics')
    assert.equal(formatOf('application/openmetrics-text; version=1.0.0, text/plain;q=0.5'), 'openmetrics')
    assert.equal(formatOf('text/plain, application/openmetrics-text;q=0.1'), 'prometheus')
    for (const accept of [undefined, '', '*/*', 'text/html', ';;,q=']) assert.equal(formatOf(accept), 'prometheus')
  })
})

/** Adds random calls up to a minute of the day. */
function random(seed: number, calls: number, memory = new MemoryActivity(), untilMinute = 300): MemoryActivity {
  const roll = dice(seed)
  for (let i = 0; i < calls; i++) {
    const call = {
      at: at(Math.floor(roll() * untilMinute)),
      durationUs: Math.exp(roll() * 18),
      failed: roll() < 0.1,
      p: roll() < 0.5 ? 1 : 0.03,
    }
    const n = Math.floor(roll() * roll() * 40)
    memory.operation({ service: `s${n % 7}`, name: `n${n}` }, call)
    memory.edge({ caller: `s${n % 7}`, callee: `s${n % 5}`, calleeName: `n${n}` }, call)
  }
  return memory
}

/** Takes half of an edge back, as corrections do. */
function takeBack({ minutes }: MemoryActivity): void {
  for (const { edges } of minutes.values()) {
    for (const [key, counter] of edges) {
      if (counter.records < 2) continue
      edges.set(key.replace(/s(\d)\0n/, 's$1-late\0n'), counter)
      edges.delete(key)
      return
    }
  }
}
