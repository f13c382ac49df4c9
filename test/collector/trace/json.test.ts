import assert from 'node:assert/strict'
import fc from 'fast-check'
import { buildTrace, traceJson } from '../../../collector/src/trace'
import { client, half } from './records'

describe('a trace as JSON in pieces', () => {
  const text = fc.string({ unit: 'binary', maxLength: 40 })
  const record = fc.record({
    id: fc.bigInt(1n, 30n),
    parentId: fc.bigInt(0n, 30n),
    name: text,
    service: text,
    annotations: fc.array(fc.tuple(text, text), { maxLength: 3 }).map(entries => new Map(entries)),
  })

  it('adds up to what JSON.stringify returns', () => {
    fc.assert(
      fc.property(fc.array(record), records => {
        const trace = buildTrace(records)
        assert.equal([...traceJson(trace)].join(''), JSON.stringify(trace))
      }),
    )
  })

  it('comes in pieces of at most 64 KiB, each of which is valid on its own as UTF-8', () => {
    const spans = Array.from({ length: 2000 }, (_, i) => half(client, BigInt(i + 1), { name: `名前 ${i}` }))
    // Longer than many pieces, and of characters that are two UTF-16 units, at every alignment.
    const long = (id: bigint, before: string) => half(client, id, { name: before + '😀'.repeat(100_000) })
    const trace = buildTrace([
      ...spans,
      long(9001n, ''),
      long(9002n, 'x'),
      half(client, 9003n, { name: 'ж'.repeat(70_000) }),
    ])
    const pieces = [...traceJson(trace)].map(piece => Buffer.from(piece, 'utf8'))
    assert.ok(pieces.length > 20)
    for (const piece of pieces) assert.ok(piece.length > 0 && piece.length <= 65_536, `${piece.length} bytes`)
    assert.equal(Buffer.concat(pieces).toString('utf8'), JSON.stringify(trace))
  })
})
