import assert from 'node:assert/strict'
import { buildTrace } from '../../../collector/src/trace'
import { boxLabel, readLayout } from '../../../collector/ui/graph/graph-layout'
import { boxAt, layOut } from '../../../collector/ui/parts/flame-layout'
import { fitsWhole, neighborhood, nextNode, wholeGraph } from '../../../collector/ui/services/shown-graph'
import { ColumnWriter } from '../../../collector/ui/trace/columns'
import { callTree } from '../../../collector/ui/trace/tabs/call-tree'
import { graphOf } from '../../../collector/ui/trace/tabs/graph-model'
import { indentJson } from '../../../collector/ui/trace/tabs/indent-json'
import { statistics } from '../../../collector/ui/trace/tabs/statistics-groups'
import { deriveTree } from '../../../collector/ui/trace/tree'
import { fit, isWhole, pan, ticks, zoom } from '../../../collector/ui/trace/waterfall/view'
import { EventType, type SpanRecord } from '../../../src/codec/span'
import { generateTrace } from '../../helpers/generated-trace'

function loaded(records: SpanRecord[]) {
  const trace = buildTrace(records)
  const columns = new ColumnWriter(trace.start).write(trace.spans)
  return { trace, columns, tree: deriveTree(columns) }
}

const generated = (spans: number) => loaded(generateTrace({ traceId: 9n, spans, startUs: 1e15 }))

function served(id: bigint, parentId: bigint, name: string, fromMs: number, ms: number): SpanRecord {
  const time = (at: number) => BigInt(1e15 + at * 1000)
  return {
    traceId: 1n,
    id,
    parentId,
    name,
    service: 'shop',
    events: [
      { timestamp: time(fromMs), eventType: EventType.SERVER_RECV },
      { timestamp: time(fromMs + ms), eventType: EventType.SERVER_SEND },
    ],
  }
}

describe('the part of the time axis that is shown', () => {
  const extent = { from: 0, to: 1000 }

  it('stays where the pointer is when it is zoomed, and within the trace', () => {
    const view = zoom(extent, extent, 250, 0.5)
    assert.deepEqual(view, { from: 125, to: 625 })
    assert.deepEqual(zoom(view, extent, 250, 2), extent)
    assert.ok(isWhole(zoom(view, extent, 250, 100), extent))
    assert.deepEqual(pan(view, extent, 10), { from: 500, to: 1000 })
    assert.deepEqual(pan(view, extent, -10), { from: 0, to: 500 })
  })

  it('is never shorter than a few microseconds', () => {
    const view = zoom(extent, extent, 999, 1e-9)
    assert.ok(view.to - view.from >= 4)
    assert.ok(view.to <= 1000)
    assert.deepEqual(fit({ from: 5, to: 5 }, { from: 0, to: 2 }), { from: 0, to: 2 })
  })

  it('has round ticks within it', () => {
    assert.deepEqual(ticks({ from: 0, to: 73_600 }, 6), [0, 20_000, 40_000, 60_000])
    assert.deepEqual(ticks({ from: 30_000, to: 50_000 }, 5), [30_000, 35_000, 40_000, 45_000])
    assert.deepEqual(ticks({ from: -15, to: 10 }, 5), [-15, -10, -5, 0, 5])
  })
})

describe('the call graph', () => {
  it('has a box for each span, labelled by name and duration', () => {
    const { columns, tree } = loaded([
      served(1n, 0n, 'Shop.root', 0, 60),
      served(2n, 1n, 'Shop.half', 1, 21),
      served(3n, 1n, 'Shop.leaf', 30, 20),
    ])
    const graph = graphOf(columns, tree)
    assert.deepEqual(
      graph.nodes.map(({ label }) => label),
      ['Shop.root (60.0 ms)', 'Shop.half (21.0 ms)', 'Shop.leaf (20.0 ms)'],
    )
    assert.deepEqual(graph.edges, [
      { from: 0, to: 1, count: 1 },
      { from: 0, to: 2, count: 1 },
    ])
    assert.equal(graph.by, 'span')
  })

  it('merges the calls of large traces until they can be laid out', () => {
    for (const spans of [1000, 20_000]) {
      const { columns, tree } = generated(spans)
      const graph = graphOf(columns, tree)
      assert.notEqual(graph.by, 'span')
      assert.ok(graph.nodes.length <= 160 && graph.edges.length <= 240, `${graph.nodes.length} ${graph.edges.length}`)
      for (const { from, to } of graph.edges) assert.ok(graph.nodes[from] && graph.nodes[to])
    }
  })

  it('is read from what Graphviz gives, with y going down', () => {
    const sizes = {
      nodes: [
        { width: 72, height: 36 },
        { width: 72, height: 36 },
      ],
      edges: [{ from: 0, to: 1, label: { width: 20, height: 10 } }],
    }
    const layout = readLayout(
      {
        bb: '0,0,200,100',
        objects: [
          { name: '1', pos: '164,18' },
          { name: '0', pos: '36,82' },
        ],
        edges: [{ id: '0', lp: '100,50', pos: 'e,128,18 72,82 90,82 100,18 118,18' }],
      },
      sizes,
    )
    assert.deepEqual(layout, {
      width: 200,
      height: 100,
      nodes: [
        { x: 36, y: 18 },
        { x: 164, y: 82 },
      ],
      edges: [{ path: 'M72,18 C90,18 100,82 118,82', tip: [128, 82], angle: 0, label: [100, 50] }],
    })
  })
})

describe('the graph of services', () => {
  const exactly = (value: number) => ({ value, low: value, high: value })
  const edge = (from: string, to: string, calls = 1) => ({
    ...{ from, to, calls: exactly(calls), errors: exactly(0), errorShare: null, records: calls, unknown: 0 },
    ...{ mean: null, p50: null, p90: null, p95: null, p99: null, p999: null, exemplars: [] },
  })
  const pairs = (edges: { from: string; to: string }[]) => edges.map(({ from, to }) => from + to).sort()

  it('has the pairs with the most calls, as many as can be drawn', () => {
    const edges = Array.from({ length: 5000 }, (_, i) => edge(`s${i % 700}`, `t${i}`, i))
    const { services, edges: drawn, leftOut } = wholeGraph(edges)
    assert.ok(drawn.length <= 150 && services.length <= 100)
    assert.deepEqual(services, [...new Set(drawn.flatMap(({ from, to }) => [from, to]))])
    assert.equal(drawn.length + leftOut, 5000)
    assert.equal(drawn[0]!.calls.value, 4999)
    assert.ok(!fitsWhole(edges))
    const few = edges.slice(0, 50)
    assert.ok(fitsWhole(few))
    assert.equal(wholeGraph(few).leftOut, 0)
    assert.equal(wholeGraph(few).edges.length, 50)
  })

  it('has as the neighborhood of a service the paths that lead to it and from it', () => {
    const edges = [
      edge('a', 'b'),
      edge('b', 'c'),
      edge('c', 'd'),
      edge('x', 'c'),
      edge('b', 'e'),
      edge('c', 'c'),
      edge('d', 'b'),
    ]
    assert.deepEqual(pairs(neighborhood(edges, 'c', 1).edges), ['bc', 'cc', 'cd', 'xc'])
    // Not be: no path that begins at c or ends there has it within two calls.
    assert.deepEqual(pairs(neighborhood(edges, 'c', 2).edges), ['ab', 'bc', 'cc', 'cd', 'db', 'xc'])
    assert.deepEqual(neighborhood(edges, 'a', 1).services, ['a', 'b'])
    assert.deepEqual(neighborhood(edges, 'nobody', 2), { services: ['nobody'], edges: [], leftOut: 0 })
  })

  it('shows the nearest calls of a service that has too many neighbors, then the busiest', () => {
    const near = Array.from({ length: 120 }, (_, i) => edge('hub', `n${i}`, i))
    const far = Array.from({ length: 3000 }, (_, i) => edge(`n${i % 120}`, `f${i}`, 1000 + i))
    const { services, edges, leftOut } = neighborhood([...far, ...near], 'hub', 2)
    assert.deepEqual([services[0], edges[0]!.to, edges.length + leftOut], ['hub', 'n119', 3120])
    assert.ok(edges.every(({ from }) => from === 'hub'))
  })

  it('is walked by the arrow keys: along the calls, and up and down', () => {
    const nodes = [
      { x: 0, y: 50 },
      { x: 200, y: 10 },
      { x: 200, y: 60 },
      { x: 400, y: 30 },
    ]
    const calls = [
      { from: 0, to: 1 },
      { from: 0, to: 2 },
      { from: 1, to: 3 },
      { from: 3, to: 3 },
    ]
    const at = (start: number, ...keys: Parameters<typeof nextNode>[3][]) =>
      keys.reduce((at, key) => nextNode(nodes, calls, at, key), start)
    assert.equal(at(0, 'ArrowRight'), 2)
    assert.equal(at(0, 'ArrowRight', 'ArrowUp'), 1)
    assert.equal(at(0, 'ArrowRight', 'ArrowUp', 'ArrowRight'), 3)
    assert.equal(at(3, 'ArrowRight'), 3)
    assert.equal(at(3, 'ArrowLeft', 'ArrowLeft', 'ArrowLeft'), 0)
    assert.equal(at(1, 'ArrowDown'), 2)
    assert.equal(at(2, 'ArrowDown'), 2)
  })

  it('cuts a long name between letters', () => {
    const label = boxLabel('👩‍👩‍👧‍👦'.repeat(5000))
    assert.ok(label.length <= 100 && encodeURIComponent(label) !== '')
  })
})

describe('the flame graph', () => {
  const { trace, columns, tree } = generated(3000)
  const nodes = callTree(columns, tree)

  it('merges spans by the path of calls, and loses none of their time', () => {
    assert.equal(
      nodes.reduce((sum, node) => sum + node.count, 0),
      3000,
    )
    const self = trace.spans.reduce((sum, span) => sum + (span.selfTime ?? 0), 0)
    assert.equal(Math.round(nodes[0]!.weight), Math.round(self))
  })

  it('lays children side by side under their caller, and a chosen call over the whole width', () => {
    for (const root of [-1, nodes.findIndex(node => node.depth === 2)]) {
      const boxes = layOut(nodes, root)
      for (const box of boxes) {
        const parent = boxes.find(other => other.node === nodes[box.node]!.parent)
        if (parent === undefined) continue
        assert.equal(box.row, parent.row + 1)
        assert.ok(box.from >= parent.from - 1e-9 && box.to <= parent.to + 1e-9)
      }
      const rows = new Map<number, number>()
      for (const box of boxes) {
        assert.ok(box.from >= (rows.get(box.row) ?? 0) - 1e-9, 'none over another')
        rows.set(box.row, box.to)
      }
      const top = root === -1 ? 0 : root
      assert.deepEqual(
        boxes.find(box => box.node === top),
        { node: top, row: nodes[top]!.depth, from: 0, to: 1 },
      )
      assert.equal(boxAt(boxes, 0.5, nodes[top]!.depth), top)
    }
  })
})

describe('the statistics', () => {
  const { trace, columns } = generated(2000)

  it('add up to what the trace says of its services', () => {
    const groups = statistics(columns, false)
    for (const totals of trace.totals.services) {
      const group = groups.find(({ service }) => service === totals.service)!
      assert.equal(group.count, totals.count)
      assert.equal(group.errors, totals.errors)
      assert.equal(Math.round(group.self), Math.round(totals.self))
      assert.equal(Math.round(group.critical), Math.round(totals.critical))
      assert.equal(group.max, totals.max)
      assert.ok(group.p50 <= group.p95 && group.p95 <= group.max)
    }
    assert.equal(statistics(columns, true).length, trace.totals.names.length)
  })
})

describe('JSON with a line for each thing', () => {
  it('is what JSON.stringify makes of it', () => {
    const value = { a: [1, { b: 'x: {"[,' }, []], c: {}, d: null, 'e\\"': true }
    assert.equal(indentJson(JSON.stringify(value)), JSON.stringify(value, null, 2))
  })

  it('also takes the beginning of a longer text', () => {
    assert.equal(indentJson('{"a":[{"b":"c'), '{\n  "a": [\n    {\n      "b": "c')
  })
})
