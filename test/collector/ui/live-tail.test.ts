import assert from 'node:assert/strict'
import type { TraceSummary } from '../../../collector/src/trace'
import { withNew } from '../../../collector/ui/find/live-tail'

const trace = (traceId: string, spanCount = 1) => ({ traceId, spanCount }) as TraceSummary
const ids = (traces: TraceSummary[]) => traces.map(({ traceId }) => traceId).join('')

describe('the live tail of a search', () => {
  it('puts new traces on top, each once', () => {
    let list = { traces: [trace('b'), trace('a')], held: [] as TraceSummary[] }
    list = withNew(list, [trace('c'), trace('b')], false)
    list = withNew(list, [trace('d'), trace('c'), trace('b')], false)
    assert.equal(ids(list.traces), 'dcba')
  })

  it('brings a trace up to date in its place when more of its spans have come', () => {
    const list = withNew({ traces: [trace('b'), trace('a')], held: [] }, [trace('c'), trace('a', 7)], false)
    assert.deepEqual(
      list.traces.map(({ traceId, spanCount }) => traceId + spanCount),
      ['c1', 'b1', 'a7'],
    )
  })

  it('lets new traces wait while somebody reads, and puts them on top in their order', () => {
    let list = { traces: [trace('a')], held: [] as TraceSummary[] }
    list = withNew(list, [trace('b'), trace('a')], true)
    list = withNew(list, [trace('c'), trace('b', 3)], true)
    assert.equal(ids(list.traces), 'a')
    assert.equal(ids(list.held), 'cb')
    assert.equal(list.held[1]!.spanCount, 3)
    list = withNew(list, [], false)
    assert.equal(ids(list.traces), 'cba')
    assert.equal(list.held.length, 0)
  })

  it('keeps a list that has an end', () => {
    const many = Array.from({ length: 500 }, (_, i) => trace(`${i};`))
    assert.equal(withNew({ traces: [trace('a')], held: [] }, many, false).traces.length, 200)
    assert.equal(withNew({ traces: [trace('a')], held: [] }, many, true).held.length, 200)
  })
})
