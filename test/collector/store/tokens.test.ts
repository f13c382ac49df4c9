import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  NAME,
  TokenWriter,
  token,
  tokenOfKey,
  VALUE,
  valueToken,
  wordOf,
} from '../../../collector/src/store/embedded/index/tokens'

describe('tokens of the embedded index', () => {
  const word = fc.string({
    unit: fc.oneof(fc.string({ unit: 'binary', maxLength: 1 }), fc.constantFrom(...'\0\x1f !"#@AZaz[\\]\x7f')),
  })

  it('are words that FTS5 and JSON leave as they are, and that can be read back', () => {
    fc.assert(
      fc.property(word, word, (key, value) => {
        assert.match(token(NAME, key), /^n[^\0-\x20"A-Z\\]*$/u)
        assert.equal(wordOf(token(NAME, key), NAME), key)
        assert.equal(wordOf(valueToken(key, value), valueToken(key, '')), value)
      }),
    )
  })

  it('have the order of the words, and begin with each other as the words do', () => {
    const bytes = (text: string) => Buffer.from(text)
    fc.assert(
      fc.property(word, word, (a, b) => {
        const [ofA, ofB] = [token(NAME, a), token(NAME, b)]
        assert.equal(Math.sign(bytes(ofA).compare(bytes(ofB))), Math.sign(bytes(a).compare(bytes(b))))
        assert.equal(ofA.startsWith(ofB), a.startsWith(b))
        assert.equal(ofB.startsWith(ofA), b.startsWith(a))
      }),
    )
  })

  it('are written as JSON, the same as they are searched for', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(word, word), { minLength: 1 }), pairs => {
        const writer = new TokenWriter()
        for (const [i, [key, value]] of pairs.entries()) {
          writer.begin(i)
          const [keyBytes, valueBytes] = [Buffer.from(key), Buffer.from(value)]
          writer.add(NAME, keyBytes, 0, keyBytes.length)
          writer.addValue(tokenOfKey(key), valueBytes, 0, valueBytes.length)
          writer.end()
        }
        const rows = pairs.map(([key, value], i) => [
          String(i),
          `${[token(NAME, key), token('k', key), valueToken(key, value)].join(' ')} `,
        ])
        assert.deepEqual(Object.entries(JSON.parse(writer.json().toString())), rows)
      }),
    )
  })

  it('of a key and a value are told from those of a longer key', () => {
    assert.equal(valueToken('a!', 'b'), `${VALUE}a!x!!b`)
    assert.ok(!valueToken('ab', 'c').startsWith(valueToken('a', '')))
  })
})
