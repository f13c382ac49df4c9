import assert from 'node:assert/strict'
import { buildTrace, type Trace, type TraceSpan } from '../../../collector/src/trace'
import {
  append,
  ColumnWriter,
  emptyColumns,
  nameAt,
  serviceText,
  spanById,
  spanIdAt,
} from '../../../collector/ui/trace/columns'
import { criticalPath } from '../../../collector/ui/trace/critical-path'
import { SpanSplitter } from '../../../collector/ui/trace/span-splitter'
import { findText, textOf } from '../../../collector/ui/trace/span-text'
import { ancestorsOf, childrenOf, deriveTree, siblingsOf, visibleSpans } from '../../../collector/ui/trace/tree'
import { EventType } from '../../../src/codec/span'
import { generateTrace } from '../../helpers/generated-trace'

const START_US = 1_750_000_000_000_000

function traceOf(spans: number, skewUs = 0): Trace {
  return buildTrace(generateTrace({ traceId: 7n, spans, startUs: START_US, skewUs }))
}

function columnsOf(trace: Trace) {
  const columns = emptyColumns(16)
  const writer = new ColumnWriter(trace.start)
  for (let i = 0; i < trace.spans.length; i += 37) append(columns, writer.write(trace.spans.slice(i, i + 37)))
  return columns
}

describe('the splitter of a trace that is arriving', () => {
  const trace = traceOf(60)
  trace.spans[3]!.name = 'quote " brace } bracket ] backslash \\ and ü€😀'
  trace.spans[4]!.annotations = { spans: '[{', '\\"': '\\' }
  const { spans, ...head } = trace

  for (const [where, json] of [
    ['first', JSON.stringify({ spans, ...head })],
    ['last', JSON.stringify({ ...head, spans })],
    ['with white space in between', JSON.stringify({ ...head, spans }, null, 2)],
  ] as const) {
    for (const size of [1, 7, 4096]) {
      it(`finds the same spans as JSON.parse when they come ${where}, ${size} bytes at a time`, () => {
        const splitter = new SpanSplitter(16)
        const bytes = new TextEncoder().encode(json)
        for (let i = 0; i < bytes.length; i += size) splitter.push(bytes.subarray(i, i + size))
        assert.equal(splitter.count, spans.length)
        assert.deepEqual(splitter.spans(0, splitter.count), JSON.parse(JSON.stringify(spans)))
        assert.deepEqual(splitter.spans(3, 5), JSON.parse(JSON.stringify(spans.slice(3, 5))))
        assert.deepEqual(splitter.whole(), JSON.parse(JSON.stringify({ ...head, spans: [] })))
      })
    }
  }

  it('knows the head before the first span has arrived, and says when the end is missing', () => {
    const splitter = new SpanSplitter()
    const json = JSON.stringify({ ...head, spans })
    splitter.push(new TextEncoder().encode(json.slice(0, json.indexOf('"spans":[') + 5)))
    assert.equal(splitter.head(), undefined)
    splitter.push(new TextEncoder().encode('s":[{"spanId":"1"'))
    assert.deepEqual(splitter.head(), JSON.parse(JSON.stringify({ ...head, spans: [] })))
    assert.equal(splitter.count, 0)
    assert.throws(() => splitter.whole(), SyntaxError)
  })

  it('takes a trace without spans', () => {
    const splitter = new SpanSplitter()
    splitter.push(new TextEncoder().encode('{"traceId":"00","spans":[],"start":null}'))
    assert.equal(splitter.count, 0)
    assert.deepEqual(splitter.whole(), { traceId: '00', spans: [], start: null })
  })
})

describe('a trace in columns', () => {
  it('names the host that a caller knows of where no service is known', () => {
    const start = { events: [{ timestamp: 1n, eventType: EventType.CLIENT_SEND }] }
    const call = (serverHost?: string) =>
      columnsOf(buildTrace([{ traceId: 1n, id: 2n, service: 'shop', ...start, ...(serverHost && { serverHost }) }]))
    assert.equal(serviceText(call('pay.internal'), 0), 'shop → pay.internal')
    assert.equal(serviceText(call(), 0), 'shop → unknown')
  })

  const trace = traceOf(500, 20_000)
  const columns = columnsOf(trace)
  const tree = deriveTree(columns)

  it('holds what the spans hold, batch by batch', () => {
    assert.equal(columns.count, 500)
    const known = (us: number) => (Number.isNaN(us) ? null : us)
    trace.spans.forEach((span, i) => {
      const { numbers } = columns
      assert.equal(spanIdAt(columns, i), span.spanId)
      assert.equal(nameAt(columns, i), span.name)
      assert.equal(known(numbers.duration[i]!), span.duration)
      assert.equal(known(numbers.start[i]! + trace.start!), span.start)
      assert.equal(known(numbers.serverStart[i]! + trace.start!), span.serverStart)
      assert.equal(known(numbers.rawStart[i]! + trace.start!), span.rawStart === undefined ? span.start : span.rawStart)
      assert.equal(spanById(columns, span.spanId), i)
    })
    assert.ok(trace.spans.some(span => span.rawStart !== undefined || span.rawServerStart !== undefined))
    assert.equal(spanById(columns, 'ffffffffffffffff'), -1)
    assert.equal(spanById(columns, 'no id'), -1)
  })

  it('knows parents, children, siblings and descendants from the depths', () => {
    const index = new Map(trace.spans.map((span, i) => [span.spanId, i]))
    trace.spans.forEach((span, i) => {
      assert.equal(tree.parent[i], index.get(span.parentId) ?? -1)
      const children = trace.spans.flatMap((child, at) => (child.parentId === span.spanId ? [at] : []))
      assert.deepEqual(childrenOf(tree, i), children)
      assert.equal(tree.childCount[i], children.length)
      children.forEach((child, place) => {
        assert.equal(tree.position[child], place + 1)
        assert.equal(siblingsOf(tree, child), children.length)
      })
      assert.equal(ancestorsOf(tree, i).length, span.depth)
    })
    assert.equal(tree.end[0], 500)
  })

  it('leaves the descendants of what is folded out of the rows', () => {
    const [first] = childrenOf(tree, 0)
    const rows = [...visibleSpans(tree, new Set([first!]))]
    assert.deepEqual(
      rows,
      trace.spans.map((_, i) => i).filter(i => i <= first! || i >= tree.end[first!]!),
    )
    assert.deepEqual([...visibleSpans(tree, new Set([0]))], [0])
  })

  for (const [what, spans] of [
    ['a generated trace', trace],
    ['one with clocks that agree', traceOf(2000)],
    ['a single span', traceOf(1)],
  ] as const) {
    it(`draws the critical path where the sums have it: ${what}`, () => {
      const columns = columnsOf(spans)
      const path = criticalPath(columns, deriveTree(columns))
      spans.spans.forEach((span: TraceSpan, i) => {
        const segments = path.get(i) ?? []
        let sum = 0
        for (let s = 0; s < segments.length; s += 2) sum += segments[s + 1]! - segments[s]!
        assert.equal(Math.round(sum), Math.round(span.criticalTime), span.spanId)
      })
    })
  }
})

describe('the search within a trace', () => {
  const { spans } = traceOf(300)
  const texts = spans.map(textOf)

  it('finds names, services, key=value, events, ids and errors, whatever the capitals', () => {
    const found = (text: string) => [...findText(texts, text)].map(i => spans[i]!)
    assert.deepEqual(
      found('user=42'),
      spans.filter(span => span.annotations.user === '42'),
    )
    assert.deepEqual(
      found('CACHE miss'),
      spans.filter(span => span.events.length > 0),
    )
    assert.deepEqual(found(spans[7]!.spanId), [spans[7]])
    assert.ok(found('error').length > 0)
    assert.ok(found('error').every(span => span.error))
    assert.deepEqual(found('  '), [])
    assert.deepEqual(found('nowhere'), [])
  })
})
