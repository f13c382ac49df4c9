import assert from 'node:assert/strict'
import fc from 'fast-check'
import { summarizeRecords } from '../../../collector/src/store/search/summarize-records'
import { buildTrace, summarize } from '../../../collector/src/trace'
import type { SpanRecord } from '../../../src/codec/span'
import { client, half, local, server } from '../trace/records'

/** A tree of calls on one clock: each span but the first is a child of one before it, and lies within it. */
const records = fc
  .array(
    fc.record({
      parent: fc.nat(),
      from: fc.nat(),
      to: fc.nat(),
      service: fc.nat(3),
      kind: fc.nat(2),
      failed: fc.boolean(),
      probability: fc.constantFrom(undefined, 0, 0.01, 0.5, 1, Number.NaN),
    }),
    {
      minLength: 1,
      maxLength: 30,
    },
  )
  .map(spans => {
    const windows: { from: number; to: number }[] = []
    return spans.flatMap(({ parent, from, to, service, kind, failed, probability }, i): SpanRecord[] => {
      const above = i === 0 ? { from: 1_000_000, to: 2_000_000 } : windows[parent % i]!
      const start = above.from + (i === 0 ? 0 : from % (above.to - above.from + 1))
      const window = { from: start, to: start + (i === 0 ? 1_000_000 : to % (above.to - start + 1)) }
      windows.push(window)
      const fields = {
        parentId: i === 0 ? 0n : BigInt((parent % i) + 1),
        service: `service ${service}`,
        ...(failed && { annotations: new Map([['error', `no ${i}`]]) }),
        ...(probability !== undefined && { probability }),
        ...window,
      }
      const id = BigInt(i + 1)
      if (kind === 0) return [local(id, fields)]
      const answered = half(server, id, { ...fields, serverHost: 'one host' })
      return kind === 1
        ? [answered]
        : [half(client, id, { ...fields, service: 'caller', clientHost: 'one host' }), answered]
    })
  })

describe('a summary without a tree', () => {
  it('agrees with the summary of the built trace where clocks agree, whatever the order of records', () => {
    fc.assert(
      fc.property(records, fc.func(fc.integer()), (all, order) => {
        const shuffled = [...all].sort((a, b) => order(a.id, a.service) - order(b.id, b.service))
        assert.deepEqual(summarizeRecords(shuffled), summarize(buildTrace(shuffled)))
      }),
    )
  })

  it('names the earliest failure with none below it, also where parents make a circle', () => {
    const failed = (id: bigint, parentId: bigint, from: number) =>
      local(id, { parentId, from, annotations: new Map([['error.type', `E${id}`]]) })
    const typeOf = (...all: SpanRecord[]) => summarizeRecords(all).failure?.type
    assert.equal(typeOf(failed(1n, 0n, 1), local(2n, { parentId: 1n, from: 2 }), failed(3n, 2n, 3)), 'E3')
    assert.equal(typeOf(failed(1n, 0n, 1), failed(3n, 1n, 5), failed(2n, 1n, 4)), 'E2')
    assert.equal(typeOf(failed(1n, 2n, 7), failed(2n, 1n, 6)), 'E2')
    assert.equal(typeOf(local(1n)), undefined)
  })

  it('summarizes records without times, services and roots', () => {
    const { start, duration, service, spanCount } = summarizeRecords([{ traceId: 1n, id: 2n, parentId: 3n }])
    assert.deepEqual([start, duration, service, spanCount], [null, null, null, 1])
  })
})
