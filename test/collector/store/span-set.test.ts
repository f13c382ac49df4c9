import assert from 'node:assert/strict'
import fc from 'fast-check'
import { SpanSet } from '../../../collector/src/store/embedded/index/span-set'

describe('a set of spans', () => {
  it('has what was added and nothing else, also after it has grown, and also where halves are 0 or the same', () => {
    const half = fc.oneof(fc.constantFrom(0, 1, -1), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }))
    fc.assert(
      fc.property(
        fc.array(fc.tuple(half, half), { maxLength: 3_000 }),
        fc.array(fc.tuple(half, half)),
        (added, asked) => {
          const set = new SpanSet()
          for (const [high, low] of added) set.add(high, low)
          const expected = new Set(added.map(String))
          assert.equal(set.size, expected.size)
          for (const span of [...added, ...asked]) assert.equal(set.has(...span), expected.has(String(span)))
        },
      ),
      { numRuns: 20 },
    )
  })
})
