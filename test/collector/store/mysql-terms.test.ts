import assert from 'node:assert/strict'
import { placeAt } from '../../../collector/src/store/cassandra-mysql/mysql-blocks'
import { ordered } from '../../../collector/src/store/cassandra-mysql/mysql-terms'
import { endOfWindow, WINDOW_BITS } from '../../../collector/src/store/search/window'

const I64_MIN = -(2n ** 63n)
const I64_MAX = 2n ** 63n - 1n
const SOME = [
  I64_MIN,
  I64_MIN + 1n,
  -(2n ** 53n) - 1n,
  -(2n ** 20n) - 1n,
  -(2n ** 20n),
  -1n,
  0n,
  1n,
  2n ** 20n,
  I64_MAX,
]

describe("places in MySQL's index", () => {
  it('sort as signed integers do, and can be read back', () => {
    const digits = SOME.map(ordered)
    assert.deepEqual([...digits].sort(), digits)
    for (const [i, n] of SOME.entries()) {
      const traceId = SOME.at(-1 - i)!
      assert.deepEqual(placeAt(Buffer.from(`${digits[i]}${ordered(traceId)}00`, 'hex')), { startUs: n, traceId })
    }
  })

  it('begin with their window, within which a time range ends last', () => {
    const windowOf = (n: bigint) => ordered(n).slice(0, 16 - WINDOW_BITS / 4)
    for (const n of SOME) {
      const end = endOfWindow(n)
      assert.ok(end >= n && end - n < 2n ** BigInt(WINDOW_BITS), `${n}`)
      assert.equal(windowOf(end), windowOf(n))
      if (end < I64_MAX) assert.notEqual(windowOf(end + 1n), windowOf(n))
    }
    assert.equal(endOfWindow(I64_MAX - 5n), I64_MAX)
  })
})
