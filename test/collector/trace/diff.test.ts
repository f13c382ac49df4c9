import assert from 'node:assert/strict'
import fc from 'fast-check'
import { buildTrace, diffErrors, diffTraces, type TraceDiff } from '../../../collector/src/trace'
import type { SpanRecord } from '../../../src/codec/span'
import { local } from './records'

type Row = [depth: number, service: string | null, name: string, inA: number, inB: number, totalChange: number]
const rows = ({ nodes }: TraceDiff): Row[] =>
  nodes.map(n => [n.depth, n.service, n.name, n.a?.count ?? 0, n.b?.count ?? 0, n.totalChange])
const span = (id: number, parent: number, name: string, from: number, to: number, service = 's'): SpanRecord =>
  local(BigInt(id), { parentId: BigInt(parent), name, service, from, to })

describe('comparing two traces', () => {
  it('matches spans by the path of services and names, whatever their ids and times of day', () => {
    const a = buildTrace([span(1, 0, 'root', 0, 100), span(2, 1, 'load', 10, 30), span(3, 2, 'read', 12, 20)])
    const b = buildTrace([
      span(7, 0, 'root', 5000, 5250),
      span(5, 7, 'load', 5010, 5090),
      span(9, 5, 'read', 5015, 5020),
    ])
    const diff = diffTraces(a, b)
    assert.deepEqual(rows(diff), [
      [0, 's', 'root', 1, 1, 150],
      [1, 's', 'load', 1, 1, 60],
      [2, 's', 'read', 1, 1, -3],
    ])
    assert.deepEqual(diff.nodes[1]!.b, { count: 1, errors: 0, total: 80, max: 80, self: 75, critical: 75 })
    assert.deepEqual([diff.nodes[0]!.selfChange, diff.nodes[0]!.countChange], [90, 0])
    // On the critical path, the changes of all add up to the root's.
    assert.deepEqual(
      diff.nodes.map(({ criticalChange }) => criticalChange),
      [90, 63, -3],
    )
  })

  it('adds up calls in a loop, so that one more call counts as one more call', () => {
    const a = buildTrace([span(1, 0, 'root', 0, 100), span(2, 1, 'get', 10, 20), span(3, 1, 'get', 30, 40)])
    const b = buildTrace([
      span(1, 0, 'root', 0, 100),
      ...[2, 3, 4].map(id => span(id, 1, 'get', id * 10, id * 10 + 5)),
      span(8, 4, 'inner', 41, 42),
    ])
    assert.deepEqual(rows(diffTraces(a, b)), [
      [0, 's', 'root', 1, 1, 0],
      [1, 's', 'get', 2, 3, -5],
      [2, 's', 'inner', 0, 1, 1],
    ])
  })

  it('keeps calls apart that have another caller, or the same name in another service', () => {
    const a = buildTrace([span(1, 0, 'root', 0, 100), span(2, 1, 'get', 10, 20, 'x'), span(3, 2, 'deep', 12, 13)])
    const b = buildTrace([span(1, 0, 'root', 0, 100), span(2, 1, 'get', 5, 20, 'y'), span(3, 1, 'deep', 50, 60)])
    assert.deepEqual(rows(diffTraces(a, b)), [
      [0, 's', 'root', 1, 1, 0],
      [1, 'y', 'get', 0, 1, 15],
      [1, 'x', 'get', 1, 0, -10],
      [2, 's', 'deep', 1, 0, -1],
      [1, 's', 'deep', 0, 1, 10],
    ])
  })

  it('compares traces that share nothing, or are empty', () => {
    const a = buildTrace([span(1, 0, 'one', 0, 100)])
    const b = buildTrace([span(1, 0, 'other', 0, 100)])
    assert.deepEqual(rows(diffTraces(a, b)), [
      [0, 's', 'one', 1, 0, -100],
      [0, 's', 'other', 0, 1, 100],
    ])
    assert.deepEqual(diffTraces(buildTrace([]), buildTrace([])), { nodes: [] })
  })

  describe('errors', () => {
    const failed = (id: number, parent: number, name: string, at: number, type: string, message: string) => ({
      ...span(id, parent, name, at, at + 5),
      annotations: new Map([
        ['error.type', type],
        ['error.message', message],
      ]),
    })

    it('counts each where it arose, and puts first what only the second trace has, then what only the first has', () => {
      const a = buildTrace([
        span(1, 0, 'root', 0, 100),
        failed(2, 1, 'get', 10, 'Timeout', 'after 30 ms'),
        failed(3, 1, 'put', 20, 'Refused', 'no'),
      ])
      const b = buildTrace([
        failed(1, 0, 'root', 0, 'Timeout', 'after 7 ms'),
        failed(5, 1, 'get', 10, 'Timeout', 'after 7 ms'),
        failed(6, 1, 'get', 30, 'Timeout', 'after 1234 ms'),
        failed(7, 1, 'get', 40, 'Full', 'disk'),
      ])
      const rows = diffErrors(a, b).map(({ name, type, message, ...counts }) => [
        name,
        type,
        message,
        ...Object.values(counts),
      ])
      const id = (n: number) => n.toString(16).padStart(16, '0')
      assert.deepEqual(rows, [
        ['get', 'Full', 'disk', 's', 0, 1, null, id(7)],
        ['put', 'Refused', 'no', 's', 1, 0, id(3), null],
        ['get', 'Timeout', 'after 30 ms', 's', 1, 2, id(2), id(5)],
      ])
    })

    it('finds none in traces without any', () => {
      const trace = buildTrace([span(1, 0, 'root', 0, 100)])
      assert.deepEqual(diffErrors(trace, trace), [])
    })
  })

  const traces = fc
    .array(
      fc.record({ parent: fc.nat(), name: fc.constantFrom('a', 'b', 'c'), from: fc.nat(50), length: fc.nat(50) }),
      {
        maxLength: 30,
      },
    )
    .map(list =>
      buildTrace(
        list.map(({ parent, name, from, length }, i) => span(i + 1, parent % (i + 1), name, from, from + length)),
      ),
    )

  it('finds no difference between a trace and itself', () => {
    fc.assert(
      fc.property(traces, trace => {
        for (const { a, b, countChange, totalChange, selfChange } of diffTraces(trace, trace).nodes) {
          assert.deepEqual(a, b)
          assert.deepEqual([countChange, totalChange, selfChange], [0, 0, 0])
        }
      }),
    )
  })

  it('counts every span of both once, in a list that is a tree, and changes only its signs when the traces are swapped', () => {
    fc.assert(
      fc.property(traces, traces, (a, b) => {
        const { nodes } = diffTraces(a, b)
        assert.equal(
          nodes.reduce((sum, node) => sum + (node.a?.count ?? 0), 0),
          a.spans.length,
        )
        assert.equal(
          nodes.reduce((sum, node) => sum + (node.b?.count ?? 0), 0),
          b.spans.length,
        )
        for (const [i, { depth }] of nodes.entries()) assert.ok(depth <= (i === 0 ? 0 : nodes[i - 1]!.depth + 1))
        const turned = diffTraces(b, a).nodes
        const sum = (list: typeof nodes) => list.reduce((n, { totalChange }) => n + totalChange, 0)
        assert.equal(sum(turned) + sum(nodes), 0)
        const critical = nodes.reduce((n, { criticalChange }) => n + criticalChange, 0)
        assert.ok(Math.abs(critical - ((b.spans[0]?.duration ?? 0) - (a.spans[0]?.duration ?? 0))) < 1e-6)
        assert.equal(turned.length, nodes.length)
      }),
    )
  })

  it('handles chains of 100,000 spans', () => {
    const n = 100_000
    const chain = buildTrace(Array.from({ length: n }, (_, i) => span(i + 1, i, `${i}`, i, n + i)))
    assert.equal(diffTraces(chain, chain).nodes.at(-1)!.depth, n - 1)
  })
})
