import assert from 'node:assert/strict'
import { fraction, randomHigh, randomLow, toHex } from '../../../src/trace/id'
import { samplerFrom } from '../../../src/trace/sampler'

describe('sampler', () => {
  it('keeps the share of traces that probability says, by the trace id’s own low 56 bits', () => {
    const sampler = samplerFrom('probability:0.25')
    let kept = 0
    for (let i = 0; i < 100_000; i++) if (sampler.sample('x', fraction(randomHigh(), randomLow())) === 0.25) kept++
    // Six standard deviations: a correct sampler fails this once in 10^9 runs.
    assert.ok(Math.abs(kept - 25_000) < 6 * Math.sqrt(100_000 * 0.25 * 0.75), `kept ${kept}`)
  })

  it('decides alike for the same id in every process, and keeps with a higher p what it kept with a lower one', () => {
    const low = samplerFrom('probability:0.1')
    const high = samplerFrom('probability:0.5')
    for (let i = 0; i < 1000; i++) {
      const r = i / 1000
      assert.equal(low.sample('a', r), low.sample('b', r))
      if (low.sample('a', r) > 0) assert.ok(high.sample('a', r) > 0)
    }
  })

  it('rounds the probability to float32 before it draws, since that is what travels', () => {
    assert.equal(samplerFrom('probability:0.1').sample('x', 0.9999), Math.fround(0.1))
  })

  it('keeps nothing at 0 and everything at 1', () => {
    assert.equal(samplerFrom('probability:0').sample('x', 0.999999999), -1)
    assert.equal(samplerFrom('probability:1').sample('x', 0), 1)
  })
})

describe('id', () => {
  it('makes non-zero, positive 63-bit ids that don’t repeat', () => {
    const seen = new Set<string>()
    for (let i = 0; i < 50_000; i++) {
      const hex = toHex(randomHigh(), randomLow())
      assert.match(hex, /^[0-7][0-9a-f]{15}$/)
      assert.notEqual(hex, '0000000000000000')
      seen.add(hex)
    }
    assert.equal(seen.size, 50_000)
  })

  it('writes hex of any two halves, signed or not', () => {
    assert.equal(toHex(-1, -2147483648), 'ffffffff80000000')
    assert.equal(toHex(0x112210f4, 0x7de98115), '112210f47de98115')
  })
})
