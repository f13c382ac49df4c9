import assert from 'node:assert/strict'
import { arose, buildTrace, type Trace, type TraceSpan } from '../../../collector/src/trace'
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
import { errorsOf, originOf } from '../../../collector/ui/trace/errors'
import { firstOf, groupFigures, groupSiblings, listRows, NO_GROUPS } from '../../../collector/ui/trace/siblings'
import { SpanSplitter } from '../../../collector/ui/trace/span-splitter'
import { findText, textOf } from '../../../collector/ui/trace/span-text'
import { ancestorsOf, childrenOf, deriveTree, siblingsOf } from '../../../collector/ui/trace/tree'
import { EventType } from '../../../src/codec/span'
import { generateTrace } from '../../helpers/generated-trace'
import { local } from '../trace/records'

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

  it('names the service that answers a call in a span of its own', () => {
    const [sent, got] = [EventType.CLIENT_SEND, EventType.SERVER_RECV]
    const at = (timestamp: bigint, eventType: EventType) => ({ events: [{ timestamp, eventType }] })
    const call = { traceId: 1n, id: 2n, name: 'pay', service: 'shop', ...at(1n, sent) }
    const below = (service: string, eventType: EventType) =>
      columnsOf(buildTrace([call, { traceId: 1n, id: 3n, parentId: 2n, name: 'pay', service, ...at(2n, eventType) }]))
    assert.equal(serviceText(below('bank', got), 0), 'shop → bank')
    // A call that was made meanwhile tells nothing.
    assert.equal(serviceText(below('bank', sent), 0), 'shop → unknown')
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
    const { entries, levels, rowOf } = listRows(tree, NO_GROUPS, new Set([first!]), new Set())
    assert.deepEqual(
      [...entries],
      trace.spans.map((_, i) => i).filter(i => i <= first! || i >= tree.end[first!]!),
    )
    assert.deepEqual(
      [...levels],
      [...entries].map(i => trace.spans[i]!.depth),
    )
    assert.deepEqual(
      [...rowOf],
      trace.spans.map((_, i) => entries.indexOf(i)),
    )
    assert.deepEqual([...listRows(tree, NO_GROUPS, new Set([0]), new Set()).entries], [0])
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

describe('the failed spans of a trace', () => {
  it('are gone through from where errors arose, the earliest first, and then up, the deepest first', () => {
    const span = (id: bigint, parentId: bigint, from: number, failed = true) =>
      local(id, { parentId, from, to: 100, ...(failed && { annotations: new Map([['error', 'no']]) }) })
    // 1 ─ 2 ─ 3 ─ 4 and 1 ─ 5; the span between two failed ones may be well.
    const trace = buildTrace([
      span(1n, 0n, 0),
      span(2n, 1n, 10),
      span(3n, 2n, 20, false),
      span(4n, 3n, 90),
      span(5n, 1n, 60),
    ])
    const columns = columnsOf(trace)
    const errors = errorsOf(columns, deriveTree(columns))
    const ids = (indexes: Iterable<number>) => [...indexes].map(i => Number.parseInt(trace.spans[i]!.spanId, 16))
    assert.deepEqual(ids(errors.order), [5, 4, 2, 1])
    assert.deepEqual([...errors.arose], [0, 0, 0, 1, 1])
    const origin = (id: number) =>
      originOf(
        errors,
        deriveTree(columns),
        trace.spans.findIndex(s => s.spanId.endsWith(String(id))),
      )
    assert.deepEqual([ids([origin(2)]), origin(4)], [[4], -1])
  })

  it('arose where the collector says so', () => {
    for (const spans of [1, 300, 3000]) {
      const trace = traceOf(spans)
      const columns = columnsOf(trace)
      const errors = errorsOf(columns, deriveTree(columns))
      const expected = arose(trace).map(({ spanId }) => spanId)
      const found = [...errors.order].slice(0, expected.length).map(i => trace.spans[i]!.spanId)
      assert.deepEqual(found.sort(), [...expected].sort())
      assert.equal(errors.order.length, trace.spans.filter(({ error }) => error).length)
      assert.equal(
        errors.arose.reduce((sum, one) => sum + one, 0),
        expected.length,
      )
    }
  })
})

describe('siblings that are alike', () => {
  const called = (id: number, parentId: number, name: string, at: number) =>
    local(BigInt(id), { parentId: BigInt(parentId), name, service: 'shop', from: at, to: at + 5 })
  // A loop that calls `quote` and `log` by turns, eight times; the third quote has a child.
  const records = [
    local(1n, { name: 'root', service: 'shop', from: 0, to: 1000 }),
    ...Array.from({ length: 8 }, (_, i) => [
      called(10 + i, 1, 'quote', 20 * i + 1),
      called(30 + i, 1, 'log', 20 * i + 10),
    ]).flat(),
    called(50, 12, 'inner', 42),
    called(60, 1, 'last', 900),
  ]
  const trace = buildTrace(records)
  const columns = columnsOf(trace)
  const tree = deriveTree(columns)
  const groups = groupSiblings(columns, tree)
  const names = (opened: string[], folded: string[] = []) => {
    const indexOf = (name: string) => trace.spans.findIndex(span => span.name === name)
    const list = listRows(tree, groups, new Set(folded.map(indexOf)), new Set(opened.map(indexOf)))
    return [...list.entries].map((entry, row) => {
      const span = entry >= 0 ? entry : firstOf(entry)
      if (entry >= 0) assert.equal(list.rowOf[entry], row)
      const count = entry >= 0 ? '' : `${groups.members.get(span)!.length} × `
      return `${'  '.repeat(list.levels[row]!)}${count}${trace.spans[span]!.name}`
    })
  }

  it('are one row, wherever they stand among the others', () => {
    assert.deepEqual(names([]), ['root', '  8 × quote', '  8 × log', '  last'])
  })

  it('are below their row when it is opened, with what is below them', () => {
    const opened = names(['quote'])
    assert.deepEqual(opened.slice(0, 6), ['root', '  8 × quote', '    quote', '    quote', '    quote', '      inner'])
    assert.deepEqual(opened.slice(-2), ['  8 × log', '  last'])
    assert.equal(opened.length, 4 + 8 + 1)
    assert.deepEqual(names(['quote'], ['root']), ['root'])
  })

  it('are told together', () => {
    const [quotes] = groups.members.values()
    assert.deepEqual(groupFigures(columns, quotes!, 1), {
      count: 8,
      errors: 0,
      total: 40,
      shortest: 5,
      longest: 5,
      from: 1,
      to: 146,
    })
  })

  it('are left apart if they are few', () => {
    const few = buildTrace(records.filter(({ id }) => id! < 16n || id! >= 30n))
    const of = groupSiblings(columnsOf(few), deriveTree(columnsOf(few)))
    assert.deepEqual(
      [...of.members.values()].map(members => members.length),
      [8],
    )
  })

  it('may be roots, and a trace may be a chain of 100,000 spans', () => {
    const roots = buildTrace(Array.from({ length: 9 }, (_, i) => called(i + 1, 0, 'job', 10 * i)))
    const rootColumns = columnsOf(roots)
    const rootTree = deriveTree(rootColumns)
    const rootGroups = groupSiblings(rootColumns, rootTree)
    assert.equal(listRows(rootTree, rootGroups, new Set(), new Set()).entries.length, 1)
    assert.equal(listRows(rootTree, rootGroups, new Set(), new Set([0])).entries.length, 10)
    const n = 100_000
    const chain = deriveTree({ count: n, integers: { depth: Int32Array.from({ length: n }, (_, i) => i) } as never })
    assert.equal(listRows(chain, NO_GROUPS, new Set(), new Set()).levels.at(-1), n - 1)
  })
})
