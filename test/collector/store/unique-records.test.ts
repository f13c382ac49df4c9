import assert from 'node:assert/strict'
import { UniqueRecords } from '../../../collector/src/store/pipeline/unique-records'
import { encodeRecord } from '../../../src/codec/span'

describe("a trace's records, collected", () => {
  const some = Array.from({ length: 3_000 }, (_, i) =>
    encodeRecord({ traceId: 7n, id: BigInt(i + 1), name: 'x'.repeat(i % 5) }),
  )

  /** @returns the records in pieces of several, each record in one to three of them */
  function* pieces(): Generator<Buffer[]> {
    for (let i = 0; i < some.length; i += 20) {
      const fresh = some.slice(i, i + 20)
      yield fresh
      yield [...fresh.slice(5, 8), ...fresh.slice(5, 8), ...some.slice(i / 2, i / 2 + 3)]
      yield [some[0]!, ...some.slice(i + 20, i + 22), some[i]!, ...some.slice(i + 22, i + 24)]
    }
  }

  it('are kept once each and in order, wherever they are repeated', () => {
    const unique = new UniqueRecords()
    for (const records of pieces()) assert.ok(unique.add(Buffer.concat(records)))
    const taken = unique.taken()
    assert.ok(taken.equals(Buffer.concat(some)))
    assert.equal(unique.truncated, false)
  })

  it('are taken up to the limit, and say that there is more, but not because of a record that is repeated', () => {
    const fit = Buffer.concat(some.slice(0, 30))
    const unique = new UniqueRecords(fit.length)
    assert.ok(unique.add(fit))
    assert.ok(unique.add(Buffer.concat(some.slice(10, 20))))
    assert.equal(unique.truncated, false)
    assert.equal(unique.add(Buffer.concat([some[3]!, some[30]!, some[4]!])), false)
    assert.equal(unique.add(some[31]!), false)
    assert.equal(unique.truncated, true)
    assert.ok(unique.taken().equals(fit))
  })
})
