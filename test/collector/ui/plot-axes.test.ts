import assert from 'node:assert/strict'
import fc from 'fast-check'
import { durationLabels, formatDuration, type TraceSummary } from '../../../collector/src/trace'
import { drawn, durationSplits } from '../../../collector/ui/find/plot-axes'
import { localTime, offset, shortLocalTime, utcTime } from '../../../collector/ui/parts/time'
import { timeLabels } from '../../../collector/ui/parts/time-labels'
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

  it('of time differ down to a millisecond, and are empty for what no calendar has', () => {
    for (const step of [0.001, 0.25, 1, 60, 3600, 86_400, 30 * 86_400, 400 * 86_400, 2000 * 365 * 86_400]) {
      const labels = timeLabels([0, 1, 2, 3].map(i => NOW_US / 1e6 + i * step))
      assert.equal(new Set(labels).size, 4, labels.join(' | '))
    }
    assert.deepEqual(timeLabels([9e12, 1e15, Number.NaN]), ['', '', ''])
    assert.deepEqual(timeLabels([]), [])
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
