import assert from 'node:assert/strict'
import fc from 'fast-check'
import { parse, type TimedQuery, withTimes } from '../../../collector/src/query'
import { linksOf, matchTrace } from '../../../collector/src/store/search/match'
import type { SearchQuery } from '../../../collector/src/store/store'
import { takeAtOnce } from '../../../collector/src/turns'
import type { SpanRecord } from '../../../src/codec/span'
import { drawnQueries, drawnQuery, drawnRecord, drawnSpans } from '../../contract/drawn-searches'
import { bruteForce } from '../../contract/search-by-hand'

function matchesTrace(records: SpanRecord[], query: SearchQuery): boolean {
  return takeAtOnce(matchTrace(records, linksOf(query), query)) !== undefined
}

/** A trace of spans that are drawn as `id<parent`, with annotations. */
function trace(...spans: [string, { [key: string]: string }?][]): SpanRecord[] {
  return spans.map(([drawn, tags = {}]) => {
    const [id, parentId] = drawn.split('<').map(BigInt)
    return {
      traceId: 1n,
      id: id!,
      ...(parentId !== undefined && { parentId }),
      name: `span${id}`,
      service: `s${id}`,
      annotations: new Map(Object.entries(tags)),
      events: [{ timestamp: 1_000_000n, eventType: 3 }],
    }
  })
}

function matches(records: SpanRecord[], q: string): boolean {
  const { query, problems } = parse(q)
  assert.deepEqual(problems, [], q)
  const timed = withTimes(query, 0)
  const found = matchesTrace(records, { ...timed, limit: 1 })
  assert.equal(bruteForce(records, timed).size > 0, found, q)
  return found
}

describe('a search decides on a trace’s records', () => {
  it('whether one span meets alternatives and what is not so', () => {
    const records = trace(['1', { user: '1' }], ['2<1', { user: '2', status: '500' }])
    for (const q of ['user=1 OR user=3', '(user=3 OR status>=500) user=2', 'service:s1 NOT user=2', 'NOT service:s1']) {
      assert.ok(matches(records, q), q)
    }
    for (const q of [
      'user=3 OR status>500',
      'user=1 status>1',
      'NOT (user=1 OR user=2)',
      'service:s1 NOT name:span1',
    ]) {
      assert.ok(!matches(records, q), q)
    }
  })

  it('that names, services and durations are of one half, within parentheses too, and that what is negated is of none', () => {
    const [client] = trace(['1', {}])
    const halves = [client!, { ...client!, service: 'b', name: 'other' }]
    assert.ok(!matches(halves, 'service:b name:span1'))
    assert.ok(!matches(halves, '(service:b OR service:c) name:span1'))
    assert.ok(matches(halves, 'NOT (service:b name:span1)'))
    assert.ok(!matches(halves, 'NOT service:b'))
    assert.ok(matches(halves, 'service:b NOT (service:s1 name:other)'))
  })

  it('which span is the parent of another, or anywhere above it, or the root', () => {
    const records = trace(['1', { a: '1' }], ['2<1', { b: '1' }], ['3<2', { c: '1' }])
    for (const q of ['a=1 > b=1', 'a=1 >> c=1', 'a=1 > b=1 > c=1', 'root: >> c=1', 'root:span1 > b=1', 'a=1 root:']) {
      assert.ok(matches(records, q), q)
    }
    for (const q of [
      'a=1 > c=1',
      'b=1 > a=1',
      'b=1 >> a=1',
      'a=1 > a=1',
      'b=1 root:',
      'root:span2',
      'c=1 >> NOT c=1',
    ]) {
      assert.ok(!matches(records, q), q)
    }
  })

  it('also where parents are missing, name themselves, differ between halves, or form a circle', () => {
    assert.ok(!matches(trace(['2<1', { b: '1' }], ['3<3', { c: '1' }]), 'key:b > key:c'))
    assert.ok(!matches(trace(['3<3', { c: '1' }]), 'key:c > key:c'))
    const circle = trace(['1<3', { a: '1' }], ['2<1', { b: '1' }], ['3<2', { c: '1' }])
    assert.ok(matches(circle, 'a=1 >> c=1'))
    assert.ok(matches(circle, 'c=1 >> b=1'))
    assert.ok(matches(circle, 'a=1 >> a=1'))
    assert.ok(!matches(circle, 'root:'))
    const twoParents = [...trace(['1', { a: '1' }], ['2', { b: '1' }]), ...trace(['3<1', { c: '1' }], ['3<2'])]
    assert.ok(matches(twoParents, 'a=1 > c=1'))
    assert.ok(matches(twoParents, 'b=1 > c=1'))
  })

  it('by numbers, of what is a decimal number alone', () => {
    const records = trace(['1', { n: '1e2', text: '100ms', hex: '0x64', none: '' }])
    for (const q of ['n>99.5', 'n>=100', 'n<=100', 'n<101', 'n>=+1E2', 'NOT n>100']) assert.ok(matches(records, q), q)
    for (const q of ['n>100', 'n<100', 'text>1', 'hex>1', 'none<1', 'none>=0', 'missing<1']) {
      assert.ok(!matches(records, q), q)
    }
    // A value with very many digits takes no longer than its length.
    assert.ok(!matches(trace(['1', { n: `${'1'.repeat(1_000_000)}x` }]), 'n>1'))
  })

  it('like a search by hand', () => {
    fc.assert(
      fc.property(drawnSpans, drawnQueries, (spans, queries) => {
        const records = spans.map(span => drawnRecord({ ...span, traceId: 0 }, 'x', [1n], 5_000_000n))
        for (const drawn of queries) {
          const query = drawnQuery(drawn, 'x', 5_000_000)
          const expected = bruteForce(records, query).size > 0
          assert.equal(matchesTrace(records, { annotations: [], ...query, limit: 1 }), expected, JSON.stringify(query))
        }
      }),
      { numRuns: 400 },
    )
  })
})

describe('the match of a large trace', () => {
  const chain = (length: number): SpanRecord[] =>
    Array.from({ length }, (_, i) => ({ traceId: 1n, id: BigInt(i + 1), parentId: BigInt(i), service: 'shop' }))

  it('is divided into small steps, whatever is asked', () => {
    const longest = 31
    for (const [q, matches] of [
      [Array(longest).fill('service:shop').join(' >> '), true],
      [Array(longest).fill('service:shop').join(' > '), true],
      [`${Array(longest).fill('service:shop').join(' >> ')} error`, false],
    ] as const) {
      const stepsOf = (spans: number) => {
        const steps = matchTrace(chain(spans), linksOf(parse(q).query as TimedQuery), {})
        let count = 0
        for (;;) {
          const { done, value } = steps.next()
          if (done) {
            assert.equal(value !== undefined, matches, q)
            return count
          }
          count++
        }
      }
      const few = stepsOf(1_000)
      assert.ok(few > (longest * 1_000) / 100, `${few} steps: ${q}`)
      assert.ok(stepsOf(4_000) > 3 * few, q)
    }
  })

  it('looks at each condition once, however many alternatives have it', () => {
    let looks = 0
    const annotations = new Map([['k', '0']])
    const get = annotations.get.bind(annotations)
    annotations.get = key => {
      if (key === 'k') looks++
      return get(key)
    }
    const q = `(k>1 OR k>2) (k>3 OR k>4) (k>5 OR k>6) (k>7 OR k>8) (k>9 OR k>10)`
    const records: SpanRecord[] = [{ traceId: 1n, id: 1n, annotations }]
    assert.equal(matchesTrace(records, { ...(parse(q).query as TimedQuery), limit: 1 }), false)
    assert.ok(looks <= 10, `${looks} looks`)
  })
})
