import assert from 'node:assert/strict'
import fc from 'fast-check'
import { TraceLines } from '../../../collector/src/record/trace-lines'
import { encodeRecord } from '../../../src/codec/span'
import { recordsOf } from '../../offline/exported'

const MIB = 1024 * 1024

function lines(...messages: Buffer[]): string[] {
  const lines = new TraceLines()
  for (const message of messages) lines.add(message)
  return lines.take().toString().split('\n').slice(0, -1)
}

describe('lines of records', () => {
  it('have every record once, with its own trace, in order, whatever order traces come in', () => {
    const message = fc.array(fc.tuple(fc.bigInt(-3n, 3n), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })), {
      minLength: 1,
    })
    fc.assert(
      fc.property(fc.array(message), messages => {
        const bodies = messages.map(ids => Buffer.concat(ids.map(([traceId, id]) => encodeRecord({ traceId, id }))))
        const expected = messages.flatMap(ids =>
          [...new Set(ids.map(([traceId]) => traceId))].map(traceId => {
            const own = ids.filter(([other]) => other === traceId).map(([, id]) => encodeRecord({ traceId, id }))
            return `${BigInt.asUintN(64, traceId).toString(16).padStart(16, '0')}\t${Buffer.concat(own).toString('base64')}`
          }),
        )
        assert.deepEqual(lines(...bodies), expected)
      }),
    )
  })

  it('are cut below 1 MiB of records, at the end of a record, unless a single one is longer', () => {
    const record = (traceId: bigint, id: bigint, bytes: number) =>
      encodeRecord({ traceId, id, annotations: new Map([['x', 'x'.repeat(bytes)]]) })
    const [small, large] = [100_000, 3 * MIB]
    const message = Buffer.concat(
      Array.from({ length: 60 }, (_, i) => record(BigInt(i % 7 < 4 ? 1 : 2), BigInt(i), i === 30 ? large : small)),
    )
    const made = lines(message)
    const lengths = made.map(line => Buffer.from(line.slice(17), 'base64').length)
    assert.equal(lengths.filter(length => length > MIB).length, 1)
    assert.ok(made.length < 12, `${made.length} lines`)
    const all: string[] = []
    for (let i = 0; i < 60; i++)
      all.push(record(BigInt(i % 7 < 4 ? 1 : 2), BigInt(i), i === 30 ? large : small).toString('hex'))
    assert.deepEqual(recordsOf(`${made.join('\n')}\n`), all.sort())
  })

  it('have nothing of records that can’t be read, and the reason where they are to be named', () => {
    const good = encodeRecord({ traceId: 1n, id: 2n })
    for (const bad of [
      good.subarray(0, -1),
      Buffer.concat([good, Buffer.from('8badf00d7fffffff', 'hex')]),
      Buffer.concat([good, Buffer.from('8badf00d80000000', 'hex')]),
      Buffer.concat([good, Buffer.from([1, 2, 3])]),
      encodeRecord({ id: 2n }),
    ]) {
      const some = new TraceLines()
      const damaged: string[] = []
      some.addOrName(bad, 'message 7', damaged)
      some.addOrName(good, 'message 8', damaged)
      assert.equal(damaged.length, 1)
      assert.match(damaged[0]!, /^message 7 can't be read: /)
      assert.deepEqual([some.records, recordsOf(String(some.take())).length], [1, 1])
    }
  })
})
