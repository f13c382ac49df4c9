import assert from 'node:assert/strict'
import { Sketch } from '../../../../collector/src/store/activity/sketch'
import { Bytes, Cursor } from '../../../../collector/src/store/bytes'
import { dice } from './dice'

const QUANTILES = [0, 0.001, 0.5, 0.9, 0.95, 0.99, 0.999, 1]

function written(sketch: Sketch): Buffer {
  const bytes = new Bytes(1)
  sketch.write(bytes)
  return bytes.taken()
}

function assertSame(a: Sketch, b: Sketch): void {
  const near = (x = Number.NaN, y = Number.NaN) => Math.abs(x - y) <= 1e-6 * Math.abs(x) + 1e-5
  assert.ok(near(a.total, b.total), `${a.total} ≠ ${b.total}`)
  assert.ok(near(a.sum, b.sum), `${a.sum} ≠ ${b.sum}`)
  for (const q of QUANTILES) assert.equal(a.quantile(q), b.quantile(q))
}

/** @param sorted values and weights @returns the first value up to which there is this share of all weights. */
function exact(sorted: [number, number][], q: number): number {
  const total = sorted.reduce((sum, [, weight]) => sum + weight, 0)
  let below = 0
  for (const [value, weight] of sorted) if ((below += weight) >= q * total * (1 - 1e-12)) return value
  return sorted.at(-1)![0]
}

describe('a sketch', () => {
  it('has quantiles within 2% of those of the durations, from a microsecond to 60 hours', () => {
    const roll = dice(1)
    for (const scale of [1, 8, 26]) {
      const values = Array.from({ length: 20_000 }, (): [number, number] => [
        Math.round(Math.exp(roll() * scale)),
        roll() < 0.5 ? 1 : 1 / (0.001 + roll()),
      ])
      values.sort((a, b) => a[0] - b[0])
      const sketch = new Sketch()
      for (const [value, weight] of values) sketch.add(value, weight)
      for (const q of QUANTILES) {
        const [found, truth] = [sketch.quantile(q)!, exact(values, q)]
        assert.ok(Math.abs(found - truth) <= 0.0200001 * truth, `${q}: ${found} for ${truth}`)
      }
      const total = values.reduce((sum, [, weight]) => sum + weight, 0)
      const mean = values.reduce((sum, [value, weight]) => sum + value * weight, 0) / total
      assert.ok(Math.abs(sketch.mean()! / mean - 1) < 1e-9)
      const variance = values.reduce((sum, [value, weight]) => sum + weight * (value - mean) ** 2, 0) / total
      assert.ok(Math.abs(sketch.deviation()! / Math.sqrt(variance) - 1) < 0.04)
    }
  })

  it('counts what is shorter than a microsecond as nothing, and what is longer than 60 hours as that', () => {
    const sketch = new Sketch()
    sketch.add(0, 1)
    sketch.add(-5e6, 1)
    sketch.add(0.9, 2)
    assert.deepEqual([sketch.total, sketch.mean(), sketch.quantile(1), sketch.deviation()], [4, 0, 0, 0])
    sketch.add(1e300, 4)
    sketch.add(Number.POSITIVE_INFINITY, 1)
    assert.equal(sketch.quantile(0.4), 0)
    assert.ok(Math.abs(sketch.quantile(1)! / 2.16e11 - 1) < 0.02)
    assertSame(Sketch.read(new Cursor(written(sketch))), sketch)
  })

  it('knows nothing of no durations', () => {
    for (const sketch of [new Sketch(), Sketch.read(new Cursor(written(new Sketch())))]) {
      assert.deepEqual(
        [sketch.total, sketch.quantile(0.5), sketch.mean(), sketch.deviation()],
        [0, undefined, undefined, undefined],
      )
    }
  })

  it('adds up, is taken apart and written without a difference', () => {
    const roll = dice(2)
    for (let round = 0; round < 200; round++) {
      const [all, first, second] = [new Sketch(), new Sketch(), new Sketch()]
      const weights = round % 2 === 0 ? [1, 1, 100] : [1, 3.7, 1000 / 7]
      const n = Math.floor(roll() * 100)
      for (let i = 0; i < n; i++) {
        const duration = roll() < 0.1 ? 0 : Math.round(Math.exp(roll() * 26))
        const weight = weights[i % 3]!
        all.add(duration, weight)
        ;(roll() < 0.5 ? first : second).add(duration, weight)
      }
      const sum = new Sketch()
      sum.merge(first)
      sum.merge(second)
      assertSame(sum, all)
      const bytes = written(first)
      const cursor = new Cursor(bytes)
      const copy = Sketch.read(cursor)
      assert.equal(cursor.pos, bytes.length)
      assertSame(copy, first)
      assert.deepEqual(written(copy), bytes)
      sum.merge(first, -1)
      assertSame(sum, second)
      sum.mergeWritten(new Cursor(written(second)), -1)
      assert.equal(sum.quantile(0.5), undefined)
      assert.ok(written(sum).length <= 11)
    }
  })

  it('is written with weights that are negative, as a correction has them', () => {
    const [sum, correction] = [new Sketch(), new Sketch()]
    sum.add(1000, 2)
    sum.add(5000, 1.5)
    correction.add(5000, -1.5)
    correction.add(0, -3)
    sum.mergeWritten(new Cursor(written(correction)))
    assert.deepEqual([sum.total, sum.sum], [-1, 2000])
    assert.equal(Sketch.read(new Cursor(written(correction))).sum, -7500)
  })

  it('tells its bins from short to long', () => {
    const sketch = new Sketch()
    for (const [duration, weight] of [
      [500, 2],
      [0, 1],
      [8, 4],
      [500, 1],
    ] as const) {
      sketch.add(duration, weight)
    }
    const bins: [number, number][] = []
    sketch.forEach((upTo, weight) => {
      bins.push([upTo, weight])
    })
    assert.deepEqual(
      bins.map(([, weight]) => weight),
      [1, 4, 3],
    )
    assert.ok(bins[1]![0] >= 8 && bins[1]![0] < 8.4 && bins[2]![0] >= 500 && bins[2]![0] < 521)
  })
})
