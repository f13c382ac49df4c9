import assert from 'node:assert/strict'
import type { DifferenceAnswer, Feature } from '../../../collector/src/http/answers'
import { parse, print } from '../../../collector/src/query'
import type { TraceSummary } from '../../../collector/src/trace'
import {
  differenceApi,
  differenceOf,
  readDifference,
  searchWith,
} from '../../../collector/ui/find/difference/difference-address'
import { readAsked } from '../../../collector/ui/find/query-address'

const asked = (q: string) => readAsked(new URLSearchParams({ q }))
const paramsOf = (address: string) => Object.fromEntries(new URLSearchParams(address.split('?')[1] ?? ''))
const traces = [
  { start: 2_000_000, duration: 500 },
  { start: 1_000_000, duration: 3_000_000 },
  { start: null, duration: null },
] as TraceSummary[]
const feature = (fields: Partial<Feature>): Feature => ({
  kind: 'annotation',
  service: null,
  name: null,
  key: null,
  value: null,
  min: null,
  max: null,
  ...fields,
})
const answer = { from: 1_000_000, to: 9_000_000 } as DifferenceAnswer
const withFeature = (q: string, fields: Partial<Feature>) => {
  const query = searchWith(parse(q).query, feature(fields), answer)
  return query && print(query).replace(/ ?from:\S+ to:\S+$/, '')
}

describe('a comparison in the address', () => {
  it('selects by a search’s conditions among the same service, name and times', () => {
    assert.deepEqual(paramsOf(differenceOf(asked('service:a name:b user=1 duration>=5ms error'), traces)), {
      q: 'name:b service:a from:1970-01-01T00:00:01Z to:1970-01-01T00:00:04.000001Z',
      'select.q': 'user=1 duration>=5ms error',
    })
  })

  it('selects by all that is said of a span below another, and keeps alternatives', () => {
    assert.deepEqual(paramsOf(differenceOf(asked('service:a > service:b'), traces)), {
      q: 'from:1970-01-01T00:00:01Z to:1970-01-01T00:00:04.000001Z',
      'select.q': 'service:a > service:b',
    })
    assert.deepEqual(paramsOf(differenceOf(asked('service:a (user=1 OR n>5)'), traces)), {
      q: 'service:a from:1970-01-01T00:00:01Z to:1970-01-01T00:00:04.000001Z',
      'select.q': 'user=1 OR n>5',
    })
    assert.equal(
      withFeature('user=1 OR n>5', { service: 'cart', key: 'cache', value: 'miss' }),
      'service:cart cache=miss (user=1 OR n>5)',
    )
  })

  it('selects by a box among a search’s traces, with times that mean the same tomorrow', () => {
    const box = { times: [10, 20], durations: [1, 30] } as const
    const address = differenceOf(
      asked('user=1 last 1h'),
      traces,
      { times: [...box.times], durations: [...box.durations] },
      7200e6,
    )
    assert.deepEqual(paramsOf(address), {
      q: 'user=1 from:1970-01-01T01:00:00Z to:1970-01-01T02:00:00Z',
      'trace.max_duration': '30us',
      'trace.from': '1970-01-01T00:00:00.00001Z',
      'trace.to': '1970-01-01T00:00:00.00002Z',
    })
  })

  it('asks for the nearest times that can be asked for, whenever the traces were', () => {
    const odd = [
      { start: -9e18, duration: 5 },
      { start: 1.796e18, duration: 9e18 },
    ] as TraceSummary[]
    const { q } = paramsOf(differenceOf(asked('service:a'), odd))
    assert.equal(q, 'service:a from:1970-01-01T00:00:00Z to:2255-06-05T23:47:34.740991Z')
    const box = paramsOf(differenceOf(asked('service:a'), odd, { times: [-9e18, 1.8e18], durations: [1, 30] }))
    assert.deepEqual([box['trace.from'], box['trace.to']], ['1970-01-01T00:00:00Z', '2255-06-05T23:47:34.740991Z'])
  })

  it('is read back as it was written, and asks the API only when something is selected', () => {
    const address = differenceOf(asked('service:a'), traces, { times: [10, 20], durations: [5, 30] })
    const params = new URLSearchParams(address.split('?')[1])
    const { base, select, trace, order } = readDifference(params)
    assert.equal(base.query.service, 'a')
    assert.equal(select, '')
    assert.deepEqual(trace, { from: { atUs: 10 }, to: { atUs: 20 }, minDurationUs: 5, maxDurationUs: 30 })
    assert.equal(order, 'score')
    assert.equal(differenceApi(params), `api/difference?${params}`)
    assert.equal(differenceApi(new URLSearchParams('q=service:a&trace.from=')), undefined)
    const fields = readDifference(new URLSearchParams('service=a&select.key=k&select.value=v&trace.error=false'))
    assert.deepEqual([fields.base.text, fields.select, fields.trace], ['service:a', 'k=v', { error: false }])
  })

  it('adds a finding to the search, or leaves out what it contradicts', () => {
    assert.equal(
      withFeature('user=1', { service: 'cart', key: 'cache', value: 'miss' }),
      'service:cart user=1 cache=miss',
    )
    assert.equal(
      withFeature('service:web user=1', { service: 'cart', key: 'cache', value: 'miss' }),
      'service:cart cache=miss',
    )
    assert.equal(withFeature('service:web user=1', { key: 'cache', value: 'miss' }), 'service:web user=1 cache=miss')
    assert.equal(withFeature('', { kind: 'error', service: 'a', name: 'b' }), 'name:b service:a error')
    assert.equal(withFeature('', { kind: 'range', service: 'a', key: 'rows', min: 1, max: 2 }), 'service:a key:rows')
    assert.equal(withFeature('', { key: 'note', value: 'x'.repeat(200), cut: true }), `note^=${'x'.repeat(200)}`)
  })

  it('asks for no search that doesn’t find the feature', () => {
    assert.equal(withFeature('', { kind: 'name', name: 'x'.repeat(200), cut: true }), undefined)
    assert.equal(withFeature('', { key: 'x'.repeat(200), value: 'short', cut: true }), undefined)
    assert.equal(withFeature(Array(32).fill('a=b').join(' '), { key: 'k', value: 'v' }), undefined)
  })
})
