import assert from 'node:assert/strict'
import fc from 'fast-check'
import { wordSearch } from '../../../collector/src/store/bytes'

describe('the search for a part of a value', () => {
  it('finds a word wherever it is, however frequent its bytes are', () => {
    // Few different bytes, so that much nearly fits.
    const bytes = (maxLength: number) => fc.array(fc.constantFrom(0, 1, 255), { maxLength }).map(a => Buffer.from(a))
    const property = fc.property(bytes(9), bytes(60), bytes(60), (word, sample, text) => {
      const isIn = wordSearch(word, sample)
      for (const asked of [text, Buffer.concat([text, word]), Buffer.concat([word, text]), word]) {
        assert.equal(isIn(asked), asked.includes(word))
      }
    })
    fc.assert(property, { numRuns: 2_000 })
  })
})
