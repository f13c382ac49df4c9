import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  type Counts,
  fisherExact,
  informationBits,
  rankSum,
  smallestP,
  smoothedLift,
} from '../../../collector/src/difference/statistics'
import { benjaminiHochberg } from '../../../collector/src/false-discovery'

const counts = (selected: number, selectedOf: number, others: number, othersOf: number): Counts => ({
  selected,
  selectedOf,
  others,
  othersOf,
})

function close(actual: number, expected: number, relative = 1e-9): void {
  assert.ok(Math.abs(actual - expected) <= relative * Math.abs(expected), `${actual} for ${expected}`)
}

/** Exact: with whole numbers, and the whole tail. */
function choose(n: number, k: number): bigint {
  let result = 1n
  for (let i = 0; i < k; i++) result = (result * BigInt(n - i)) / BigInt(i + 1)
  return result
}

function bruteForce({ selected, selectedOf, others, othersOf }: Counts): number {
  const having = selected + others
  const all = choose(selectedOf + othersOf, having)
  const tail = (from: number, to: number) => {
    let sum = 0n
    for (let x = Math.max(from, 0); x <= Math.min(to, having, selectedOf); x++) {
      if (having - x <= othersOf) sum += choose(selectedOf, x) * choose(othersOf, having - x)
    }
    return Number((sum * 10n ** 30n) / all) / 1e30
  }
  return Math.min(1, 2 * Math.min(tail(selected, having), tail(0, selected)))
}

describe('the statistics of a difference', () => {
  it('test by Fisher: the tea that a lady tasted, and 5 of 5 against 0 of 20', () => {
    // 3 of 4 cups right: (16 + 1) of 70 are as good. All of them right: 1 of 70.
    close(fisherExact(counts(3, 4, 1, 4)), (2 * 17) / 70)
    close(fisherExact(counts(4, 4, 0, 4)), 2 / 70)
    close(fisherExact(counts(5, 5, 0, 20)), 2 / 53_130)
    assert.equal(fisherExact(counts(2, 4, 2, 4)), 1)
    assert.equal(fisherExact(counts(0, 10, 0, 10)), 1)
    assert.equal(fisherExact(counts(10, 10, 7, 7)), 1)
  })

  it('equal the exact sums, for any counts', () => {
    fc.assert(
      fc.property(fc.nat(40), fc.nat(40), fc.nat(60), fc.nat(60), (a, restA, b, restB) => {
        const given = counts(a, a + restA, b, b + restB)
        const expected = bruteForce(given)
        const actual = fisherExact(given)
        assert.ok(Math.abs(actual - expected) <= 1e-9 * expected + 1e-25, `${actual} for ${expected}`)
        assert.ok(smallestP(given) <= actual * (1 + 1e-9))
      }),
      { seed: 15, numRuns: 500 },
    )
  })

  it('know the smallest p-value that any division could have', () => {
    close(smallestP(counts(1, 4, 3, 4)), 2 / 70)
    close(smallestP(counts(0, 400, 2, 400)), (2 * (400 * 399)) / (800 * 799))
  })

  it('keep thousands of traces finite: all of 2,000 against none of 2,000', () => {
    const p = fisherExact(counts(2000, 2000, 0, 2000))
    assert.ok(p >= 0 && p < 1e-300)
    assert.ok(fisherExact(counts(1000, 2000, 1000, 2000)) > 0.99)
  })

  it('correct for many tests as Benjamini and Hochberg do in their paper', () => {
    // The fifteen p-values of their example; four are significant at 0.05.
    const p = [
      0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719, 0.6528, 0.759, 1,
    ]
    const q = benjaminiHochberg(p, 15)
    assert.equal(q.filter(value => value <= 0.05).length, 4)
    close(q[0]!, 0.0015)
    close(q[3]!, 0.035625)
    // Those that could be listed are enough: the others don't change them.
    const some = benjaminiHochberg(p.slice(0, 9).reverse(), 15).reverse()
    assert.deepEqual(some.slice(0, 4), q.slice(0, 4))
  })

  it('give a finite lift also where the others have none, larger the more traces say so', () => {
    close(smoothedLift(counts(4, 4, 0, 4)), 9)
    close(smoothedLift(counts(400, 400, 0, 400)), 801)
    close(smoothedLift(counts(10, 100, 10, 100)), 1)
    assert.ok(smoothedLift(counts(0, 100, 50, 100)) < 0.01)
  })

  it('prefer what most selected traces have to what only a few have', () => {
    assert.equal(informationBits(1, 0), 1)
    assert.equal(informationBits(0, 1), 1)
    assert.equal(informationBits(0.3, 0.3), 0)
    assert.ok(informationBits(0.95, 0.1) > informationBits(0.1, 0))
    assert.ok(informationBits(0.3, 0) > informationBits(0.9, 0.7))
  })
})

describe('the rank-sum test', () => {
  /** The share of all ways to divide the numbers whose ranks' sums are at least as far from the middle. */
  function exact(a: number[], b: number[]): number {
    const all = [...a, ...b]
    const rank = (value: number) => {
      const below = all.filter(other => other < value).length
      const same = all.filter(other => other === value).length
      return below + (same + 1) / 2
    }
    const ranks = all.map(rank)
    const middle = (a.length * (all.length + 1)) / 2
    const far = Math.abs(ranks.slice(0, a.length).reduce((sum, r) => sum + r, 0) - middle)
    let ways = 0
    let asFar = 0
    const divide = (from: number, left: number, sum: number) => {
      if (left === 0) {
        ways++
        if (Math.abs(sum - middle) >= far - 1e-9) asFar++
        return
      }
      for (let i = from; i <= all.length - left; i++) divide(i + 1, left - 1, sum + ranks[i]!)
    }
    divide(0, a.length, 0)
    return asFar / ways
  }

  it('is near the exact test, also with ties', () => {
    const number = fc.integer({ min: 0, max: 12 })
    const group = fc.array(number, { minLength: 6, maxLength: 8 })
    fc.assert(
      fc.property(group, group, (a, b) => {
        // All equal but one: the normal curve is a poor likeness of so few steps.
        fc.pre(new Set([...a, ...b]).size >= 5)
        const p = rankSum(a, b)!
        assert.ok(Math.abs(p - exact(a, b)) < 0.06, `${p} for ${exact(a, b)}`)
      }),
      { numRuns: 40, seed: 16 },
    )
  })

  it('tells groups apart that have nothing in common, and none that are alike', () => {
    const numbers = (from: number) => Array.from({ length: 20 }, (_, i) => from + i)
    assert.ok(rankSum(numbers(0), numbers(100))! < 1e-6)
    assert.ok(rankSum(numbers(0), numbers(0))! > 0.9)
    assert.equal(rankSum([1, 1, 1, 1], [1, 1, 1, 1]), 1)
    // One wild value moves a mean, and hardly a rank.
    assert.ok(rankSum(numbers(0), [...numbers(0).slice(1), 1e9])! > 0.5)
  })

  it('is the same whichever group comes first, and says nothing of too few numbers', () => {
    assert.equal(rankSum([1, 2, 3, 9], [4, 5, 6, 7]), rankSum([4, 5, 6, 7], [1, 2, 3, 9]))
    assert.equal(rankSum([1, 2, 3], [4, 5, 6, 7]), null)
    assert.equal(rankSum([], []), null)
  })
})
