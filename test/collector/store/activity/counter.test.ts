import assert from 'node:assert/strict'
import { Counter, Weight } from '../../../../collector/src/store/activity/counter'
import { Bytes, Cursor } from '../../../../collector/src/store/bytes'
import { dice } from './dice'

function written(counter: Counter): Buffer {
  const bytes = new Bytes(1)
  counter.write(bytes)
  return bytes.taken()
}

function read(bytes: Buffer): Counter {
  const cursor = new Cursor(bytes)
  const counter = Counter.read(cursor)
  assert.equal(cursor.pos, bytes.length)
  return counter
}

const numbers = ({ records, calls, errors, roots, unknown, spread }: Counter) => [
  records,
  calls,
  errors,
  roots,
  unknown,
  spread,
]
const groups = ({ callGroups, errorGroups, durationGroups }: Counter) =>
  [callGroups, errorGroups, durationGroups].map(sums => Array.from(sums ?? new Float64Array(32)))

function assertNear(a: Counter, b: Counter): void {
  const all = (counter: Counter) => [...numbers(counter), ...groups(counter).flat(), counter.durations.total]
  const [as, bs] = [all(a), all(b)]
  for (const [i, x] of as.entries()) {
    const y = bs[i]!
    assert.ok(Math.abs(x - y) <= 1e-6 * Math.max(Math.abs(x), Math.abs(y)) + 1e-4, `${i}: ${x} ≠ ${y}`)
  }
  assert.equal(a.durations.quantile(0.5), b.durations.quantile(0.5))
}

describe('a weight', () => {
  it('is 1/p; 0 for a forced trace; 1 and unknown without a probability', () => {
    const of = (p: number) => {
      const { value, spread, unknown } = new Weight().set(p)
      return [value, spread, unknown]
    }
    assert.deepEqual(of(1), [1, 0, false])
    assert.deepEqual(of(0.5), [2, 2, false])
    assert.deepEqual(of(0), [0, 0, false])
    for (const p of [Number.NaN, -0.1, 1.1, Number.POSITIVE_INFINITY]) assert.deepEqual(of(p), [1, 0, true])
  })

  it('follows the probability, whichever came before', () => {
    const weight = new Weight()
    const values = [0.5, 0.5, Number.NaN, 0.25, 0, 1, Number.NaN, 1].map(p => {
      const { value, spread, unknown } = weight.set(p)
      return [value, spread > 0, unknown]
    })
    assert.deepEqual(values, [
      [2, true, false],
      [2, true, false],
      [1, false, true],
      [4, true, false],
      [0, false, false],
      [1, false, false],
      [1, false, true],
      [1, false, false],
    ])
  })
})

describe('a counter', () => {
  it('counts each call as often as it stands for', () => {
    const counter = new Counter()
    const weight = new Weight()
    counter.add(weight.set(0.25), 3, true, true, 100)
    counter.add(weight.set(0.25), 3, false, false, 100)
    counter.add(weight.set(1), 3, false, true, Number.NaN)
    counter.add(weight.set(Number.NaN), 31, false, false, 200)
    assert.deepEqual(numbers(counter), [4, 10, 5, 4, 1, 24])
    const sums = (at3: number, at31: number) => Array.from({ length: 32 }, (_, g) => ({ 3: at3, 31: at31 })[g] ?? 0)
    assert.deepEqual(groups(counter), [sums(9, 1), sums(5, 0), sums(800, 200)])
    assert.deepEqual([counter.durations.total, counter.durations.sum], [9, 1000])
  })

  it('adds up, is taken apart and written without a difference', () => {
    const roll = dice(4)
    const weight = new Weight()
    for (let round = 0; round < 200; round++) {
      const [all, first, second] = [new Counter(), new Counter(), new Counter()]
      const n = Math.floor(roll() * 60)
      for (let i = 0; i < n; i++) {
        const p = [1, 0.3, 0.01, Number.NaN][round % 5 === 4 ? i % 4 : round % 4]!
        const duration = roll() < 0.1 ? Number.NaN : Math.round(Math.exp(roll() * 20))
        const [group, isRoot, isError] = [Math.floor(roll() * 32), roll() < 0.3, roll() < 0.2]
        const part = roll() < 0.5 ? first : second
        for (const counter of [all, part]) counter.add(weight.set(p), group, isRoot, isError, duration)
        part.show(i, i, i, duration, isError)
      }
      const sum = new Counter()
      sum.merge(first)
      sum.merge(second)
      assertNear(sum, all)
      const copy = read(written(first))
      assertNear(copy, first)
      assert.deepEqual(numbers(copy), numbers(first))
      assert.deepEqual(copy.exemplars(), first.exemplars())
      assert.deepEqual(written(copy), written(first))
      sum.merge(first, -1)
      assertNear(sum, second)
      sum.mergeWritten(new Cursor(written(second)), -1)
      assert.ok(sum.isNothing())
    }
  })

  it('takes spans back one by one', () => {
    const counter = new Counter()
    const weight = new Weight().set(0.3)
    counter.add(weight, 5, true, true, 1234)
    counter.add(weight, 5, true, true, 1234, -1)
    assert.ok(counter.isNothing())
    assert.deepEqual(numbers(counter), [0, 0, 0, 0, 0, 0])
    assert.deepEqual(groups(counter).flat(), Array(96).fill(0))
  })

  it('shows a slow, a failed and a typical span', () => {
    const counter = new Counter()
    const weight = new Weight().set(1)
    const span = (trace: number, durationUs: number, isError = false) => {
      counter.add(weight, 0, false, isError, durationUs)
      counter.show(-1, trace, 1.7e15 + trace, durationUs, isError)
    }
    assert.deepEqual(counter.exemplars(), [])
    span(1, 100, true)
    span(2, 9000)
    for (let trace = 3; trace < 20; trace++) span(trace, 100 + 10 * trace)
    span(20, 400, true)
    span(21, 5000)
    span(22, Number.NaN)
    const exemplar = (kind: string, trace: number, durationUs: number) => ({
      kind,
      traceId: BigInt.asIntN(64, 0xffffffff_00000000n + BigInt(trace)),
      startUs: 1.7e15 + trace,
      durationUs,
    })
    const expected = [exemplar('slow', 2, 9000), exemplar('failed', 20, 400), exemplar('typical', 19, 290)]
    assert.deepEqual(counter.exemplars(), expected)
    assert.deepEqual(read(written(counter)).exemplars(), expected)
    const merged = new Counter()
    const later = new Counter()
    later.add(weight, 0, false, false, 20_000)
    later.show(7, 7, 1.8e15, 20_000, false)
    for (const part of [later, counter]) merged.mergeWritten(new Cursor(written(part)))
    const slowest = { kind: 'slow', traceId: (7n << 32n) + 7n, startUs: 1.8e15, durationUs: 20_000 }
    assert.deepEqual(merged.exemplars(), [slowest, ...expected.slice(1)])
  })

  it('shows a span without a duration if there is none with one, and none that was taken back', () => {
    const counter = new Counter()
    counter.show(0, 1, 5, Number.NaN, true)
    const kinds = counter.exemplars().map(({ kind, durationUs }) => [kind, durationUs])
    assert.deepEqual(kinds, [
      ['slow', null],
      ['failed', null],
      ['typical', null],
    ])
    assert.deepEqual(read(written(counter)).exemplars(), counter.exemplars())
    counter.show(0, 2, 6, 10, false)
    assert.equal(counter.exemplars()[0]!.durationUs, 10)
    const taken = new Counter()
    taken.merge(counter, -1)
    taken.mergeWritten(new Cursor(written(counter)), -1)
    assert.deepEqual(taken.exemplars(), [])
  })
})
