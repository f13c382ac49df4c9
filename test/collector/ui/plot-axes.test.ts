import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { OverviewAnswer } from '../../../collector/src/http/answers'
import { durationLabels, formatDuration, type TraceSummary } from '../../../collector/src/trace'
import {
  closerLook,
  countLabels,
  drawn,
  durationSplits,
  snapped,
  tallest,
  timesOf,
} from '../../../collector/ui/find/plot-axes'
import { localTime, offset, shortLocalTime, utcTime } from '../../../collector/ui/parts/time'
import { timeTicks } from '../../../collector/ui/parts/time-labels'
import { ticks } from '../../../collector/ui/trace/waterfall/view'

const NOW_US = 1_750_000_000_000_000
const YEAR_58881_US = 1_796_000_000_000_000_000

const trace = (start: number | null, duration: number | null = 5000) => ({ start, duration }) as TraceSummary

describe('the plot of traces', () => {
  it('leaves out what is so far from the others that these would be one dot, and says how many that are', () => {
    const near = [0, 1, 2, 3, 4].map(i => trace(NOW_US + i * 1e6))
    const odd = [trace(YEAR_58881_US), trace(0), trace(NOW_US, YEAR_58881_US)]
    for (const one of odd) {
      assert.deepEqual(drawn([one, ...near], false), { points: near, far: 1 })
      const { points, far } = drawn([one, ...near], true)
      assert.deepEqual([points.length, far], [6, 1])
    }
    assert.deepEqual(drawn([...odd, ...near], false), { points: near, far: 3 })
    assert.deepEqual(drawn([trace(null), trace(NOW_US, null), ...near], false), { points: near, far: 0 })
  })

  it('draws everything of a search over weeks, of durations from microseconds to minutes, and of two', () => {
    const weeks = Array.from({ length: 20 }, (_, i) => trace(NOW_US + (i > 14 ? i * 86_400e6 : i), 10 ** (i % 8)))
    assert.equal(drawn(weeks, false).far, 0)
    assert.equal(drawn([trace(NOW_US), trace(YEAR_58881_US)], false).points.length, 2)
    assert.deepEqual(drawn([], false), { points: [], far: 0 })
  })
})

describe('the labels of an axis', () => {
  it('differ, however far it is zoomed in and wherever', () => {
    const numbers = fc.double({ min: -1e19, max: 1e19, noNaN: true })
    const lengths = fc.double({ min: -3, max: 19, noNaN: true }).map(power => 10 ** power)
    fc.assert(
      fc.property(
        fc.oneof(numbers, fc.double({ min: -1e7, max: 1e10, noNaN: true }), fc.constant(0)),
        lengths,
        (from, length) => {
          const shown = ticks({ from, to: from + length }, 6)
          assert.ok(shown.length <= 8, `${shown.length} ticks`)
          const labels = durationLabels(shown)
          assert.equal(new Set(labels).size, shown.length, labels.join(', '))
        },
      ),
      {
        examples: [
          [0, 2.5],
          [0, 0.1],
          [3.6e9, 4],
          [YEAR_58881_US, 4],
          [-1e19, 1],
        ],
      },
    )
    assert.deepEqual(durationLabels(ticks({ from: 0, to: 2.5 }, 6)), ['0', '1 µs', '2 µs'])
    assert.deepEqual(durationLabels(ticks({ from: 3.6e9, to: 3.6e9 + 3 }, 6)), [
      '3600.000000 s',
      '3600.000001 s',
      '3600.000002 s',
    ])
    assert.deepEqual(durationLabels([0, 20_000, 40_000]), ['0', '20 ms', '40 ms'])
    assert.deepEqual(durationLabels([-0.5, 0, 0.5]), ['−0.5 µs', '0', '0.5 µs'])
  })

  it('are no more than fit where durations go from a microsecond to the age of the universe', () => {
    const powers = fc.double({ min: 0, max: 19, noNaN: true })
    fc.assert(
      fc.property(powers, powers, (a, b) => {
        const [min, max] = [10 ** Math.min(a, b) / 1.6, 10 ** Math.max(a, b) * 1.6]
        const shown = durationSplits(min, max)
        assert.ok(shown.length <= 9 && shown.length >= 1, `${shown.length} from ${min} to ${max}`)
        assert.equal(new Set(durationLabels(shown)).size, shown.length)
      }),
    )
  })

  it('of time neither repeat nor overlap, whatever the range, its width and the zone', () => {
    const before = process.env.TZ
    try {
      for (const TZ of ['UTC', 'America/New_York', 'Asia/Kathmandu', 'Australia/Lord_Howe']) {
        process.env.TZ = TZ
        fc.assert(
          fc.property(
            fc.double({ min: -1e9, max: 4e9, noNaN: true }),
            fc.double({ min: -3, max: 10.5, noNaN: true }).map(power => 10 ** power),
            fc.integer({ min: 200, max: 1600 }),
            (from, length, px) => {
              const ticks = timeTicks(from, from + length, px)
              const said = `${from} + ${length} in ${px} px of ${TZ}: ${ticks.map(({ label }) => label).join(' | ')}`
              assert.ok(ticks.length >= 1, said)
              assert.equal(new Set(ticks.map(({ label }) => label)).size, ticks.length, said)
              ticks.forEach(({ seconds, label }, i) => {
                assert.ok(seconds >= from - 1e-6 && seconds <= from + length, said)
                const last = ticks[i - 1]
                if (last === undefined) return
                const apart = ((seconds - last.seconds) / length) * px
                assert.ok(apart > ((label.length + last.label.length) / 2) * 6.6, said)
              })
            },
          ),
          // The night in which an hour comes twice; a range within one second; weeks; a sender's clock.
          {
            seed: 16,
            examples: [
              [1_793_509_200, 7200, 900],
              [1_750_000_000.1, 0.4, 1100],
              [1_750_000_000, 40 * 86_400, 300],
              [YEAR_58881_US / 1e6, 5, 600],
            ],
          },
        )
      }
    } finally {
      if (before === undefined) delete process.env.TZ
      else process.env.TZ = before
    }
  })

  it('of time fill the axis: a range of a second has milliseconds, and one of a day has hours', () => {
    const labels = (from: number, length: number, px = 1000) => timeTicks(from, from + length, px).map(t => t.label)
    assert.equal(labels(1_750_000_000, 1).length, 10)
    assert.match(labels(1_750_000_000, 1)[1]!, /:\d\d\.1$/)
    assert.match(labels(1_750_000_000, 0.01)[1]!, /\.\d{3}$/)
    assert.ok(labels(1_750_000_000, 86_400).length >= 3)
    assert.ok(labels(1_750_000_000, 3600, 280).length >= 3)
  })

  it('of time are none where no calendar has the time', () => {
    assert.deepEqual(timeTicks(9e12, 1e15, 800), [])
    assert.deepEqual(timeTicks(Number.NaN, 1, 800), [])
    assert.deepEqual(timeTicks(5, 5, 800), [])
  })
})

describe('the overview of a search', () => {
  const exact = (value: number) => ({ value, low: value, high: value })
  const answer = (counts: number[], step = 10) =>
    ({
      ...{ from: 0, to: step * counts.length, step },
      buckets: counts.map((n, i) => ({ time: step * i, calls: exact(n), traces: exact(n) })),
    }) as OverviewAnswer

  it('shows the time that was asked for, and otherwise the time in which there is something', () => {
    assert.deepEqual(timesOf(answer([0, 0, 3, 0, 1, 0]), true), { from: 0, to: 60 })
    assert.deepEqual(timesOf(answer([0, 0, 3, 0, 1, 0]), false), { from: 19.7, to: 50.3 })
    assert.deepEqual(timesOf(answer([0, 0]), false), { from: 0, to: 20 })
  })

  it('looks more closely where all traces but a few odd ones began, and only there', () => {
    const at = (full: Record<number, number>) =>
      closerLook({
        ...answer(
          Array.from({ length: 58 }, (_, i) => full[i] ?? 0),
          1000,
        ),
        complete: false,
      })
    assert.deepEqual(at({ 57: 40 }), { from: 57_000, to: 58_000, outside: 0 })
    assert.deepEqual(at({ 0: 1, 56: 30, 57: 40 }), { from: 56_000, to: 58_000, outside: 1 })
    assert.equal(at({ 0: 1, 57: 1 }), undefined)
    assert.equal(at({ 0: 30, 57: 40 }), undefined)
    assert.equal(at(Object.fromEntries(Array.from({ length: 58 }, (_, i) => [i, 5]))), undefined)
    assert.equal(at({}), undefined)
    assert.equal(closerLook({ ...answer([0, 0, 0, 0, 0, 0, 0, 0, 0, 7], 100), complete: false }), undefined)
  })

  it('looks at once as closely as it can where all traces are known', () => {
    const starts = [3, ...Array.from({ length: 30 }, (_, i) => 500_000 + 10 * i)]
    const whole = {
      ...answer([...Array.from({ length: 57 }, () => 0), 31], 10_000),
      sample: starts.map(start => trace(start, 50)),
      complete: true,
      matching: exact(31),
    }
    assert.deepEqual(closerLook(whole), { from: 500_000, to: 500_341, outside: 1 })
    assert.equal(closerLook({ ...whole, from: 499_900, to: 500_400 }), undefined)
  })

  it('cuts a bar that would make all others flat, and no others', () => {
    const usual = [8, 9, 10, 10, 11, 12, 9, 8, 10, 11, 12]
    assert.equal(tallest(usual), 12)
    assert.equal(tallest([...usual, 40]), 40)
    assert.equal(tallest([...usual, 5000]), 24)
    // Of few bars nobody knows what is usual.
    assert.equal(tallest([1, 500]), 500)
    assert.equal(tallest([0, 0]), 0)
  })

  it('narrows to whole bars, within the range', () => {
    const limits = { from: 3, to: 97 }
    assert.deepEqual(snapped({ from: 41, to: 59 }, { time: 0 }, 10, limits), { from: 40, to: 60 })
    assert.deepEqual(snapped({ from: 1, to: 99 }, { time: 0 }, 10, limits), limits)
  })

  it('leaves out of the plot what began outside of the time', () => {
    const inside = [0, 1, 2].map(i => trace(NOW_US + i * 1e6))
    const within = { from: NOW_US, to: NOW_US + 2e6 }
    assert.deepEqual(drawn([trace(NOW_US - 1e6), ...inside], false, within), { points: inside, far: 1 })
    assert.equal(drawn([trace(NOW_US - 1e6), ...inside], true, within).points.length, 4)
  })

  it('has short labels, and none for half a trace', () => {
    assert.deepEqual(countLabels([0, 0.5, 1, 500, 1500, 2e6]), ['0', '', '1', '500', '1.5K', '2M'])
  })
})

describe('times and durations that no clock should give', () => {
  it('have words, and throw nothing', () => {
    for (const us of [Number.NaN, Infinity, -Infinity, 8.64e18 + 1e6, -8.64e18 - 1e6, 1e300]) {
      assert.equal(localTime(us), 'invalid time')
      assert.equal(shortLocalTime(us), 'invalid time')
      assert.equal(utcTime(us), undefined)
    }
    assert.match(localTime(YEAR_58881_US), /58\D?88\d|58883/)
    for (const us of [Number.NaN, Infinity, -Infinity]) assert.equal(formatDuration(us), '–')
    assert.equal(formatDuration(-1500), '−1.50 ms')
    assert.equal(formatDuration(-0), '0 µs')
    assert.equal(offset(Number.NaN, 0), '+–')
    assert.equal(offset(500, 2000), '−1.50 ms')
  })
})
