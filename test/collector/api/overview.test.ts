import assert from 'node:assert/strict'
import type { OverviewAnswer } from '../../../collector/src/http/answers'
import { EventType, type SpanRecord } from '../../../src/codec/span'
import { dice } from '../store/activity/dice'
import { hex, undo } from '../support'
import { type PatientApp, patientApp } from './patient-app'

const MINUTE = 60e6
/** The edges of buckets are at the same distance from it whenever this runs, so that nothing depends on chance. */
const NOW_US = Math.floor(Date.now() / 7200e3) * 7200e6

/** One span, some time ago. */
function call(
  n: number,
  agoUs: number,
  fields: Omit<SpanRecord, 'annotations'> & { tags?: object; durationUs?: number },
) {
  const { tags = {}, durationUs = 1000, ...rest } = fields
  const at = BigInt(Math.round(NOW_US - agoUs))
  return {
    traceId: 0x0a00000000000000n + BigInt(n),
    id: 1n,
    events: [
      { timestamp: at, eventType: EventType.SERVER_RECV },
      { timestamp: at + BigInt(durationUs), eventType: EventType.SERVER_SEND },
    ],
    annotations: new Map(Object.entries(tags)),
    ...rest,
  } as SpanRecord
}

describe('the HTTP API of overviews', () => {
  let app: PatientApp
  const roll = dice(42)
  /** Few traces of one kind, and many of another: two of three failed calls are kept, and one of four others. */
  const few = Array.from({ length: 60 }, (_, i) =>
    call(i, MINUTE * i * 0.9 + 1e6, {
      ...{ name: 'Few.call', service: 'few', probability: 0.5, durationUs: 1000 * (i + 1) },
      tags: { city: 'Rome', ...(i % 6 === 0 && { error: 'x' }) },
    }),
  )
  const all = Array.from({ length: 8_000 }, (_, i) => ({
    agoUs: roll() * 58 * MINUTE,
    failed: i % 10 === 0,
    kept: roll() < (i % 10 === 0 ? 2 / 3 : 0.25),
  }))
  const many = all.flatMap(({ agoUs, failed, kept }, i) =>
    kept
      ? [
          call(1_000 + i, agoUs, {
            ...{ name: 'Many.call', service: 'many', probability: failed ? 2 / 3 : 0.25 },
            tags: { kind: 'many', ...(failed && { 'error.type': 'Bad' }) },
          }),
        ]
      : [],
  )
  const forced = call(20_000, 5 * MINUTE, { name: 'Forced.call', service: 'forced', probability: 0 })

  before(async () => {
    app = await patientApp()
    const web = call(20_001, 3 * MINUTE, { name: 'web', service: 'web', probability: 1 })
    many.sort((a, b) => Number(a.events![0]!.timestamp! - b.events![0]!.timestamp!))
    await app.store([...few, ...many, forced, web, { ...web, id: 2n, parentId: 1n, name: 'shop', service: 'shop' }])
  })
  after(undo)

  const overview = async (query: string): Promise<OverviewAnswer> => {
    const { status, body } = await app.get(`/api/overview?${query}`)
    assert.equal(status, 200, JSON.stringify(body))
    return body
  }
  const hour = `from=${NOW_US - 60 * MINUTE}&to=${NOW_US}`
  const sum = (answer: OverviewAnswer, of: 'calls' | 'errors' | 'traces') =>
    answer.buckets.reduce((sum, bucket) => sum + bucket[of].value, 0)

  it('is exact where all traces were read', async () => {
    const answer = await overview(`${hour}&annotation=city=Rome`)
    assert.deepEqual(
      [answer.source, answer.complete, answer.matching],
      ['sample', true, { value: 60, low: 60, high: 60 }],
    )
    assert.ok(answer.buckets.length >= 24 && answer.buckets.length <= 60, `${answer.buckets.length}`)
    assert.deepEqual([answer.from, answer.to], [NOW_US - 60 * MINUTE, NOW_US])
    assert.deepEqual([sum(answer, 'calls'), sum(answer, 'errors'), sum(answer, 'traces')], [120, 20, 60])
    assert.deepEqual(
      answer.sample.map(({ traceId }) => traceId),
      few.map(({ traceId }) => hex(traceId!)).reverse(),
    )
    for (const [i, { time, read, traces, complete, p50 }] of answer.buckets.entries()) {
      if (i > 0) assert.equal(time, answer.buckets[i - 1]!.time + answer.step)
      const own = few.filter(({ events }) => {
        const at = Number(events![0]!.timestamp)
        return at >= time && at < time + answer.step
      })
      assert.deepEqual(
        [traces, read, complete],
        [{ value: own.length, low: own.length, high: own.length }, own.length, true],
      )
      const durations = own.map(({ events }) => Number(events![1]!.timestamp! - events![0]!.timestamp!))
      durations.sort((a, b) => a - b)
      assert.equal(p50, durations[Math.ceil(durations.length / 2) - 1] ?? null)
    }
    // What the sampler hides is estimated all the same.
    const { calls } = answer.buckets.find(({ read }) => read > 0)!
    assert.ok(calls.low! < calls.value && calls.high! > calls.value, JSON.stringify(calls))
  })

  it('estimates from a sample of all of the range where there are many', async () => {
    const { source, complete, matching, buckets, sample } = await overview(`${hour}&annotation=kind=many`)
    assert.deepEqual([source, complete], ['sample', false])
    assert.ok(matching.low! <= many.length && many.length <= matching.high!, JSON.stringify(matching))
    assert.ok(matching.high! < 2 * matching.low!, JSON.stringify(matching))
    let [calls, errors] = [0, 0]
    const truth = (time: number, end: number, failedOnly: boolean) =>
      all.filter(({ agoUs, failed }) => {
        const at = Math.round(NOW_US - agoUs)
        return at >= time && at < end && (failed || !failedOnly)
      }).length
    const step = buckets[1]!.time - buckets[0]!.time
    for (const bucket of buckets) {
      const holds = ({ low, high }: typeof bucket.calls, n: number) => low! <= n && (high === null || n <= high)
      if (holds(bucket.calls, truth(bucket.time, bucket.time + step, false))) calls++
      if (holds(bucket.errors, truth(bucket.time, bucket.time + step, true))) errors++
      assert.ok(bucket.read > 0 || bucket.complete)
    }
    assert.ok(
      calls >= 0.9 * buckets.length && errors >= 0.9 * buckets.length,
      `${calls} and ${errors} of ${buckets.length}`,
    )
    assert.ok(sample.length > 100 && sample.length <= 300)
    const old = sample.filter(({ start }) => start! < NOW_US - 30 * MINUTE).length
    assert.ok(old > sample.length / 3 && old < (sample.length * 2) / 3, `${old} of ${sample.length}`)
  })

  it('has what was counted of every call, if the search is one of a service or an operation', async () => {
    for (const query of [
      'service=many',
      'name=Many.call',
      `q=service:many name:Many.call from:${NOW_US - 60 * MINUTE} to:${NOW_US}`,
    ]) {
      const answer = await overview(query.startsWith('q=') ? encodeURI(query) : `${hour}&${query}`)
      assert.equal(answer.source, 'counts', query)
      const weight = many.reduce((sum, { probability }) => sum + 1 / probability!, 0)
      assert.ok(Math.abs(sum(answer, 'calls') / weight - 1) < 1e-3, `${sum(answer, 'calls')} of ${weight}`)
      assert.ok(sum(answer, 'errors') > 700 && sum(answer, 'errors') < 900)
      assert.equal(answer.step, 2 * MINUTE)
      assert.ok(answer.buckets.some(({ p95 }) => p95 !== null))
      assert.ok(answer.matching.low! <= many.length && many.length <= answer.matching.high!)
    }
    for (const query of ['service=many&error=true', 'service=many&annotation=kind', `service=many&min_duration=1us`]) {
      assert.equal((await overview(`${hour}&${query}`)).source, 'sample', query)
    }
    const short = await overview(`service=many&from=${NOW_US - 30 * MINUTE}&to=${NOW_US - 28 * MINUTE}`)
    assert.deepEqual([short.source, short.step], ['sample', 5e6])
  })

  it('shows traces that were forced, which are no calls', async () => {
    const answer = await overview(`${hour}&service=forced`)
    assert.deepEqual([answer.source, answer.matching.value], ['sample', 1])
    assert.deepEqual([sum(answer, 'calls'), sum(answer, 'traces')], [0, 1])
  })

  it('begins with the oldest trace, if there is no from', async () => {
    const { from, complete, matching, buckets } = await overview('name=Few.call')
    const oldest = NOW_US - 59 * 0.9 * MINUTE - 1e6
    assert.ok(from <= oldest && from > oldest - 10 * MINUTE, `${(oldest - from) / MINUTE} min before`)
    assert.deepEqual([complete, matching.value], [true, 60])
    assert.ok(buckets.length >= 24)
    const none = await overview('name=Nobody.calls')
    assert.deepEqual([none.matching.value, none.sample.length, none.complete], [0, 0, true])
  })

  it('takes alternatives and structure as a search does', async () => {
    const range = `from:${NOW_US - 60 * MINUTE} to:${NOW_US}`
    const either = await overview(encodeURI(`q=(city=Rome error) OR name:Forced.call ${range}`))
    assert.deepEqual([either.source, either.complete, either.matching.value], ['sample', true, 11])
    const not = await overview(encodeURI(`q=service:few NOT city=Rome ${range}`))
    assert.deepEqual([not.source, not.matching.value], ['sample', 0])
    const below = await overview(encodeURI(`q=service:web > service:shop ${range}`))
    assert.deepEqual([below.complete, below.matching.value, sum(below, 'calls')], [true, 1, 1])
    const many = await overview(encodeURI(`q=kind=many OR city=Oslo ${range}`))
    assert.equal(many.complete, false)
    assert.ok(many.matching.low! <= all.length / 3 && many.matching.high! < all.length, JSON.stringify(many.matching))
    assert.ok(many.sample.length > 100)
  })

  it('shows as many traces as are asked for', async () => {
    const { sample, matching } = await overview(`${hour}&annotation=kind=many&sample=10`)
    assert.equal(sample.length, 10)
    assert.ok(matching.low! <= many.length && many.length <= matching.high!, JSON.stringify(matching))
  })

  const wrong: [string, string, RegExp][] = [
    ['from=-1h&to=-2h', 'MILO_BAD_PARAMETER', /from is not before to/],
    ['sample=0', 'MILO_BAD_LIMIT', /1 to 1000/],
    ['limit=5', 'MILO_BAD_PARAMETER', /unknown parameter "limit"/],
    ['q=duration>5', 'MILO_BAD_QUERY', /^q: "duration>5"/],
  ]
  for (const [query, code, message] of wrong) {
    it(`answers 400 ${code} to ${query}`, async () => {
      const { status, body } = await app.get(`/api/overview?${query}`)
      assert.deepEqual([status, body.code], [400, code])
      assert.match(body.error, message)
    })
  }
})
