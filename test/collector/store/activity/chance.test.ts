import assert from 'node:assert/strict'
import {
  alikeBeyond,
  beyondChance,
  chanceOfHits,
  chanceOfT,
  incompleteBeta,
} from '../../../../collector/src/store/activity/chance'
import { dice, normal } from './dice'

const near = (found: number, truth: number) => assert.ok(Math.abs(found / truth - 1) < 1e-6, `${found} for ${truth}`)

describe('chance', () => {
  it('has Student’s t as the tables do', () => {
    for (const [t, degrees, chance] of [
      [12.7062047, 1, 0.05],
      [2.0395134, 31, 0.05],
      [2.7440419, 31, 0.01],
      [0, 31, 1],
    ] as const) {
      near(chanceOfT(t, degrees), chance)
      near(chanceOfT(-t, degrees), chance)
    }
    assert.equal(chanceOfT(Number.POSITIVE_INFINITY, 31), 0)
    assert.equal(chanceOfT(Number.NaN, 31), 1)
  })

  it('has the binomial distribution, as a sum of its terms', () => {
    const atLeast = (hits: number, tries: number, share: number) => {
      let [sum, term] = [0, (1 - share) ** tries]
      for (let k = 0; k <= tries; k++) {
        if (k >= hits) sum += term
        term *= ((tries - k) / (k + 1)) * (share / (1 - share))
      }
      return sum
    }
    for (const [hits, tries, share] of [
      [1, 1, 0.3],
      [9, 10, 0.5],
      [70, 100, 0.6],
      [3, 500, 0.001],
    ] as const) {
      near(incompleteBeta(share, hits, tries - hits + 1), atLeast(hits, tries, share))
      near(chanceOfHits(hits, tries, share), Math.min(1, 2 * atLeast(hits, tries, share)))
    }
    near(chanceOfHits(0, 10, 0.5), 2 * 0.5 ** 10)
    assert.equal(chanceOfHits(5, 10, 0.5), 1)
    const many = chanceOfHits(500_000_000 + 50_000, 1e9, 0.5)
    assert.ok(many > 0.001 && many < 0.002, `${many}`)
  })

  it('takes as beyond chance what is rare for how much was tried', () => {
    assert.deepEqual(beyondChance([0.04], 0.05), [true])
    assert.deepEqual(beyondChance([0.9, 0.04, 0.5], 0.05), [false, false, false])
    assert.deepEqual(beyondChance([0.01, 0.9, 0.03], 0.05), [true, false, true])
    assert.deepEqual(beyondChance([], 0.05), [])
  })

  it('has how much two numbers that are alike are above a quantile together', () => {
    // Of the median, it is known: Sheppard's 2/π · asin(r).
    for (const r of [0, 0.3, 0.8]) assert.ok(Math.abs(alikeBeyond(0.5, r) - (2 / Math.PI) * Math.asin(r)) < 1e-4)
    const roll = dice(4)
    const gauss = normal(roll)
    const [limit, r, tries] = [1.6449, 0.5, 200_000]
    let both = 0
    for (let i = 0; i < tries; i++) {
      const shared = Math.sqrt(r) * gauss()
      if (shared + Math.sqrt(1 - r) * gauss() > limit && shared + Math.sqrt(1 - r) * gauss() > limit) both++
    }
    const found = (both / tries - 0.05 ** 2) / (0.05 * 0.95)
    assert.ok(Math.abs(alikeBeyond(0.95, r) - found) < 0.01, `${alikeBeyond(0.95, r)} for ${found}`)
    assert.ok(alikeBeyond(0.99, 1) > 0.5 && alikeBeyond(0.99, 1) <= 1)
  })
})
