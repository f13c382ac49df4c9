import assert from 'node:assert/strict'
import { Counter, Weight } from '../../../../collector/src/store/activity/counter'
import {
  type Compared,
  callsOf,
  compareAll,
  compareCounters,
  errorShareOf,
  errorsOf,
  meanOf,
  quantileOf,
} from '../../../../collector/src/store/activity/estimates'
import { dice, normal } from './dice'
import {
  type Behavior,
  coverage,
  everything,
  MIXES,
  type Mix,
  QUANTILES,
  sample,
  TYPICAL,
  tracesOf,
  truthOf,
} from './mixes'

/** Calls of so many traces, one in each. */
function counterOf(calls: number, p: number, failed = 0, durationUs = 1000): Counter {
  const counter = new Counter()
  const weight = new Weight().set(p)
  for (let i = 0; i < calls; i++) counter.add(weight, (i * 7) % 32, true, i < failed, durationUs + i)
  return counter
}

const isExact = (of?: { value: number; low: number; high: number }) => of!.low === of!.value && of!.high === of!.value

describe('estimates', () => {
  it('are exact where everything was sampled', () => {
    for (const failed of [0, 10, 100]) {
      const counter = counterOf(100, 1, failed)
      const found = [callsOf, errorsOf, errorShareOf, meanOf, (of: Counter) => quantileOf(of, 0.99)].map(
        of => of(counter)!,
      )
      assert.ok(found.every(isExact))
      assert.deepEqual(
        found.slice(0, 4).map(({ value }) => value),
        [100, failed, failed / 100, 1049.5],
      )
    }
  })

  it('of nothing are nothing', () => {
    const counter = new Counter()
    assert.deepEqual(
      [callsOf(counter), errorsOf(counter)],
      [
        { value: 0, low: 0, high: 0 },
        { value: 0, low: 0, high: 0 },
      ],
    )
    assert.deepEqual(
      [errorShareOf(counter), meanOf(counter), quantileOf(counter, 0.5)],
      [undefined, undefined, undefined],
    )
  })

  it('say of 12 sampled calls without an error that a quarter may fail, and of 12 with errors alone that a quarter may not', () => {
    const none = counterOf(12, 0.01)
    assert.deepEqual([errorShareOf(none)!.value, errorShareOf(none)!.low], [0, 0])
    assert.ok(errorShareOf(none)!.high > 0.2 && errorShareOf(none)!.high < 0.4)
    assert.ok(errorsOf(none).high > 200 && errorsOf(none).high < 500)
    const all = counterOf(12, 0.01, 12)
    assert.deepEqual([errorShareOf(all)!.value, errorShareOf(all)!.high], [1, 1])
    assert.ok(errorShareOf(all)!.low > 0.6 && errorShareOf(all)!.low < 0.8)
  })

  it('of one sampled call stay possible: at least that call, and no limit for its duration', () => {
    const counter = counterOf(1, 0.01)
    const calls = callsOf(counter)
    assert.ok(calls.low >= 1 && calls.low < 20 && calls.high > 500 && calls.high < 1500)
    assert.deepEqual(meanOf(counter), { value: 1000, low: 0, high: Number.POSITIVE_INFINITY })
    const { low, high } = quantileOf(counter, 0.5)!
    assert.deepEqual([low, high], [0, Number.POSITIVE_INFINITY])
  })

  it('of a quantile have no upper limit if too few calls were sampled to see longer ones', () => {
    const counter = counterOf(100, 0.01)
    assert.equal(quantileOf(counter, 0.99)!.high, Number.POSITIVE_INFINITY)
    assert.ok(quantileOf(counter, 0.5)!.high < 1100)
  })

  it('of a quantile have all durations of a bin that has most of them', () => {
    const counter = new Counter()
    const weight = new Weight().set(0.01)
    for (let i = 0; i < 10_000; i++) counter.add(weight, i % 32, true, false, 1029)
    const { low, high } = quantileOf(counter, 0.5)!
    assert.ok(low <= 1029 && high >= 1029 && high < 1.05 * low)
  })

  it('have quantiles within 2% where everything was sampled', () => {
    const roll = dice(5)
    for (const mix of MIXES) {
      const traces = tracesOf(mix, TYPICAL, roll)
      const truth = truthOf(traces)
      const counter = everything(traces, roll)
      for (const q of QUANTILES) {
        const { value } = quantileOf(counter, q)!
        assert.ok(Math.abs(value / truth[`p${q * 100}`]! - 1) <= 0.0200001)
      }
    }
  })

  for (const mix of MIXES) {
    it(`have the truth in their intervals in 93% to 97% of cases: ${mix.title}`, () => {
      const { covered } = coverage(mix, TYPICAL, 4, 400, 11)
      const within = (name: string, least: number, most: number) =>
        assert.ok(covered[name]! >= least && covered[name]! <= most, `${name}: ${covered[name]}`)
      within('calls', 0.93, 0.97)
      // As few as 30 failing traces are sampled.
      within('errors', 0.93, 0.975)
      for (const name of ['error share', 'mean', 'p50', 'p95']) within(name, 0.925, 0.985)
      // Of few calls above it, only whole ones can be beyond.
      within('p99', 0.93, 0.995)
    })
  }

  for (const failing of [3, 5, 10]) {
    for (const isWhole of [true, false]) {
      it(`have the truth of errors in 93% of cases or more: about ${failing} failing traces were sampled, ${isWhole ? 'failing as a whole' : 'with an error each'}`, () => {
        for (const mix of MIXES) {
          const traces = { ...mix, traces: Math.floor(mix.traces / 4) }
          const behavior = behaviorOf(traces, failing, isWhole)
          const { covered } = coverage(traces, behavior, 10, 40, 21, ['errors', 'error share'])
          for (const name of ['errors', 'error share'])
            assert.ok(covered[name]! >= 0.93, `${mix.title}, ${name}: ${covered[name]}`)
        }
      })
    }
  }
})

/** Lets so many of the traces fail that are sampled of a mix. */
function behaviorOf(mix: Mix, failing: number, isWhole: boolean): Behavior {
  const roll = dice(20)
  let [traces, calls] = [0, 0]
  for (let i = 0; i < mix.traces; i++) {
    const n = mix.calls(roll)
    if (n > 0) traces += mix.p(i)
    calls += n * mix.p(i)
  }
  return { ...TYPICAL, failedTraces: isWhole ? failing / traces : 0, failedCalls: isWhole ? 0 : failing / calls }
}

describe('a comparison', () => {
  const hour = 3600e6
  const compared = (before: Counter, after: Counter): Compared => ({ before, beforeUs: hour, after, afterUs: hour })

  /** Half an hour or so of one operation, that came about by chance. */
  const mixes: Mix[] = MIXES.map(mix => ({ ...mix, traces: Math.floor(mix.traces / 4) }))
  function some(mix: Mix, roll: () => number, slowness = 1, p?: number): Counter {
    // Poisson's distribution, which is nearly normal here.
    const traces = Math.round(mix.traces + Math.sqrt(mix.traces) * normal(roll)())
    const made = tracesOf({ ...mix, traces, p: p === undefined ? mix.p : () => p }, { ...TYPICAL, slowness }, roll)
    return sample(made, roll)
  }

  it('finds nothing beyond chance in 95% of cases where nothing has changed, sampled or not', () => {
    const roll = dice(12)
    let alarms = 0
    let tries = 0
    for (const mix of mixes) {
      for (const p of [undefined, 1]) {
        for (let i = 0; i < 20; i++) {
          const { rate, errorShare, mean, p95 } = compareCounters(
            some(mix, roll, 1, p),
            hour,
            some(mix, roll, 1, p),
            hour,
          )
          if ([rate, errorShare, mean, p95].some(change => change!.beyondChance)) alarms++
          tries++
        }
      }
    }
    assert.ok(alarms / tries <= 0.05, `${alarms} of ${tries}`)
  })

  it('finds what became 10% slower, and what that costs, among operations that did not change', () => {
    const roll = dice(13)
    const pairs = Array.from({ length: 12 }, (_, i): Compared => {
      const mix = { ...MIXES[i % 2]!, traces: 12_000, p: () => 0.5 }
      return compared(some(mix, roll), some(mix, roll, i < 4 ? 1.1 : 1))
    })
    const found = compareAll(pairs)
    for (const [i, { mean, p95, extraUsPerSecond, rate, errorShare }] of found.entries()) {
      assert.equal(mean!.beyondChance, i < 4, `${i}`)
      if (i >= 4) continue
      const { before, after } = pairs[i]!
      assert.ok(mean!.change.low > 0 && mean!.change.low < 0.1 * before.durations.mean()!)
      assert.ok(p95!.change.value > 0)
      const extra = (mean!.change.value * after.calls) / 3600
      assert.ok(Math.abs(extraUsPerSecond.value / extra - 1) < 1e-9)
      assert.ok(!rate.beyondChance && !errorShare!.beyondChance)
    }
  })

  it('finds twice as many calls, errors where there were none, and tells what they are a second', () => {
    const [before, after] = [counterOf(300, 0.1), counterOf(600, 0.1, 60)]
    const { rate, errorShare, extraErrorsPerSecond } = compareCounters(before, 2 * hour, after, hour)
    assert.ok(rate.beyondChance && errorShare!.beyondChance)
    assert.ok(Math.abs(rate.change.value - (6000 / 3600 - 3000 / 7200)) < 1e-9)
    assert.ok(rate.change.low > 0.5 && rate.change.high > rate.change.value)
    assert.ok(Math.abs(errorShare!.change.value - 0.1) < 1e-9 && errorShare!.change.low > 0.03)
    assert.ok(Math.abs(extraErrorsPerSecond.value - 600 / 3600) < 1e-9)
  })

  it('knows what is new and what is gone, and that a few calls more or less say nothing', () => {
    const [none, few, many] = [new Counter(), counterOf(3, 0.1), counterOf(100, 0.1)]
    assert.ok(compareCounters(none, hour, many, hour).rate.beyondChance)
    assert.ok(compareCounters(many, hour, none, hour).rate.beyondChance)
    assert.equal(compareCounters(none, hour, few, hour).rate.beyondChance, false)
    const one = compareCounters(none, 24 * hour, counterOf(1, 1), hour)
    assert.equal(one.rate.beyondChance, false)
    assert.deepEqual([one.errorShare, one.mean, one.p95], [undefined, undefined, undefined])
    const nothing = compareCounters(none, hour, none, hour)
    assert.deepEqual([nothing.rate.change.value, nothing.rate.chance], [0, 1])
  })
})
