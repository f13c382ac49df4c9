import assert from 'node:assert/strict'
import fc from 'fast-check'
import { buildTrace, renderWaterfall, summarize, type Trace } from '../../../collector/src/trace'
import type { SpanRecord } from '../../../src/codec/span'
import { records } from './arbitrary-records'

/** The parent that each span's place in the list gives it. */
function parentsByPlace({ spans }: Trace): Map<string, string | undefined> {
  const path: string[] = []
  const parents = new Map<string, string | undefined>()
  for (const { spanId, depth } of spans) {
    assert.ok(depth <= path.length, 'a span is at most one deeper than the one before it')
    path.length = depth
    parents.set(spanId, path.at(-1))
    path.push(spanId)
  }
  return parents
}

describe('any records', () => {
  it('give every span id exactly once', () => {
    fc.assert(
      fc.property(records, list => {
        const ids = buildTrace(list).spans.map(s => BigInt.asIntN(64, BigInt(`0x${s.spanId}`)))
        assert.deepEqual(new Set(ids), new Set(list.map(r => r.id)))
        assert.equal(ids.length, new Set(ids).size)
      }),
    )
  })

  it('give a list whose order and depths are the tree of the parent ids', () => {
    fc.assert(
      fc.property(records, list => {
        const trace = buildTrace(list)
        const parents = parentsByPlace(trace)
        for (const span of trace.spans) {
          const place = parents.get(span.spanId)
          if (place !== undefined) assert.equal(place, span.parentId)
          else if (span.orphan) assert.ok(!parents.has(span.parentId))
          else if (span.cycle) assert.ok(parents.has(span.parentId))
          else assert.equal(span.parentId, '0000000000000000')
        }
      }),
    )
  })

  it('give siblings in order of start, and those without a start last', () => {
    fc.assert(
      fc.property(records, list => {
        const trace = buildTrace(list)
        const parents = parentsByPlace(trace)
        const before = new Map<string | undefined, number>()
        for (const span of trace.spans.filter(s => s.depth > 0)) {
          const parent = parents.get(span.spanId)
          const start = span.start ?? Infinity
          assert.ok(start >= (before.get(parent) ?? -Infinity))
          before.set(parent, start)
        }
      }),
    )
  })

  it('give the same tree in whatever order they arrive', () => {
    fc.assert(
      fc.property(records, list => {
        const ids = (rs: SpanRecord[]) =>
          buildTrace(rs).spans.map(s => [s.spanId, s.parentId, s.depth, s.start, s.duration, s.service])
        assert.deepEqual(ids(list), ids([...list].reverse()))
      }),
      { numRuns: 1000 },
    )
  })

  it('lose no annotation and no counter: each is in its span or among the conflicts', () => {
    fc.assert(
      fc.property(records, list => {
        const spans = new Map(buildTrace(list).spans.map(s => [BigInt.asIntN(64, BigInt(`0x${s.spanId}`)), s]))
        const reachable = (id: bigint, field: string, key: string, value: string) => {
          const span = spans.get(id)!
          const map = field === 'annotation' ? span.annotations : span.counters
          return (
            Object.entries(map).some(([k, v]) => k === key && v === value) ||
            span.conflicts.some(c => c.field === field && c.key === key && c.value === value)
          )
        }
        for (const r of list) {
          for (const [key, value] of r.annotations ?? []) assert.ok(reachable(r.id!, 'annotation', key, value))
          for (const [key, value] of r.counters ?? []) assert.ok(reachable(r.id!, 'counter', key, String(value)))
        }
      }),
    )
  })

  it('give JSON that parses back to the same trace', () => {
    fc.assert(
      fc.property(records, list => {
        const trace = buildTrace(list)
        assert.deepEqual(JSON.parse(JSON.stringify(trace)), JSON.parse(JSON.stringify(trace)))
        assert.equal(JSON.stringify(JSON.parse(JSON.stringify(trace))), JSON.stringify(trace))
        assert.ok(!JSON.stringify(summarize(trace)).includes('undefined'))
      }),
    )
  })

  it('never steer the terminal that the waterfall is printed on', () => {
    fc.assert(
      fc.property(records, fc.integer({ min: -5, max: 300 }), (list, width) => {
        const trace = buildTrace(list)
        const lines = renderWaterfall(trace, { width, color: false }).split('\n')
        assert.equal(lines.length, trace.spans.length + 2)
        for (const line of lines) assert.doesNotMatch(line, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
      }),
    )
  })
})
