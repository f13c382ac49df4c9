import assert from 'node:assert/strict'
import type { OverviewAnswer } from '../../../collector/src/http/answers'
import { parse } from '../../../collector/src/query'
import { lookAt } from '../../../collector/ui/find/look'

const HOUR_US = 3600e6
const YEAR_US = 365 * 24 * HOUR_US
/** Traces of an hour, one each minute, and one of a clock that is a year behind. */
const STARTS = [1.75e15 - YEAR_US, ...Array.from({ length: 60 }, (_, i) => 1.75e15 + i * 60e6)]

/** Counts them as the collector does, in 60 buckets. */
function overview(from: number, to: number): OverviewAnswer {
  const step = Math.ceil((to - from) / 60)
  const buckets = Array.from({ length: 60 }, (_, i) => {
    const time = from + i * step
    const value = STARTS.filter(start => start >= time && start < time + step).length
    return { time, calls: exact(value), errors: exact(0), traces: exact(value), read: value, complete: false }
  })
  const value = STARTS.filter(start => start >= from && start <= to).length
  return { from, to, step, source: 'sample', buckets, matching: exact(value), sample: [], complete: false } as never
}
const exact = (value: number) => ({ value, low: value, high: value })

describe('the look at a search without a time range', () => {
  const { fetch } = globalThis
  let asked: URLSearchParams[]
  beforeEach(() => {
    asked = []
    globalThis.fetch = async url => {
      const params = new URLSearchParams(String(url).split('?')[1])
      asked.push(params)
      const { from, to } = parse(params.get('q') ?? '').query
      const at = (time: typeof from, otherwise: number) => (time && 'atUs' in time ? time.atUs : otherwise)
      return Response.json(overview(at(from, STARTS[0]!), at(to, 1.75e15 + HOUR_US)))
    }
  })
  afterEach(() => {
    globalThis.fetch = fetch
  })
  const signal = new AbortController().signal

  it('comes closer until the traces fill it, says how many are far from them, and counts these as matching', async () => {
    const look = await lookAt('q=error', parse('error').query, signal)
    const full = look.buckets.filter(({ traces }) => traces.value > 0)
    assert.ok(full.length >= 20, `${full.length} of 60 buckets`)
    assert.ok(look.to - look.from < 3 * HOUR_US, `${(look.to - look.from) / HOUR_US} hours`)
    assert.equal(look.far, 1)
    assert.deepEqual(look.matching, exact(61))
    assert.ok(asked.length > 2)
    // The search stays the same.
    for (const params of asked) assert.match(params.get('q')!, /^error/)
  })

  it('is one alone where the search has a range', async () => {
    const look = await lookAt('q=error+last+1h', undefined, signal)
    assert.equal(asked.length, 1)
    assert.equal(look.far, 0)
  })
})
