import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { Words } from '../../../collector/src/store/cassandra-mysql/mysql-terms'
import { termsContaining, valueBlocks } from '../../../collector/src/store/cassandra-mysql/mysql-value-blocks'

describe('mysql value blocks', () => {
  // Few characters, so that parts occur; a value's term and length may contain them too.
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '\0', '\u0001', 'é', '😀', '\u{10}'), maxLength: 12 })
  const values = fc.array(
    fc.tuple(
      fc.constantFrom('k', 'l', ''),
      fc.oneof(
        text,
        text.map(t => t.repeat(400)),
      ),
    ),
    { maxLength: 40 },
  )

  const wordsOf = (pairs: [string, string][]) => {
    const words = new Words()
    return [...new Set(pairs.map(([key, value]) => words.value(words.key(key), key, value)))]
  }
  const blocksOf = (pairs: [string, string][]) =>
    [...valueBlocks(wordsOf(pairs), 7)].map(row => {
      const [, scope, day, texts] = /^\(x'(\w{14})',(\d+),\d+,x'(\w*)'\)$/.exec(row)!
      assert.equal(day, '7')
      return { scope, texts: Buffer.from(texts!, 'hex') }
    })

  it('find the values that contain a part, and no others', () => {
    fc.assert(
      fc.property(values, text, (pairs, part) => {
        const found = blocksOf(pairs).flatMap(({ texts }) => [...termsContaining(texts, Buffer.from(part))])
        const wanted = wordsOf(pairs).filter(({ text }) => text.includes(part))
        assert.deepEqual(found.sort(), wanted.map(({ term }) => term).sort())
      }),
      { numRuns: 300 },
    )
  })

  it('have values of one key each, about 3 KB of them, or one that is longer', () => {
    const long = 'x'.repeat(10_000)
    const pairs = Array.from({ length: 1_000 }, (_, i): [string, string] => [i % 2 ? 'odd' : 'even', `value-${i}`])
    const blocks = blocksOf([...pairs, ['long', long], ['long', `${long}y`]])
    assert.deepEqual([new Set(blocks.map(({ scope }) => scope)).size, blocks.length], [3, 8])
    for (const { texts } of blocks) assert.ok(texts.length <= 3_000 || texts.length === 10_009, `${texts.length} bytes`)
  })
})
