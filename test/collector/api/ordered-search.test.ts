import assert from 'node:assert/strict'
import type { SearchAnswer } from '../../../collector/src/http/answers'
import { EventType, type SpanRecord } from '../../../src/codec/span'
import { dice } from '../store/activity/dice'
import { hex, undo } from '../support'
import { type PatientApp, patientApp } from './patient-app'

const NOW_US = Date.now() * 1000

describe('a search in another order', () => {
  let app: PatientApp
  const roll = dice(16)
  /** Traces of a root and some children, of which some fail. */
  const traces = Array.from({ length: 3_300 }, (_, n) => {
    const isFew = n < 300
    const start = NOW_US - Math.floor(roll() * 3000e6) - 60e6
    // The longest are anywhere, and so are those with the most errors.
    const durationUs = Math.floor(1000 + 50_000 * roll() ** 8 + (n === 1_500 ? 9e6 : n === 2_500 ? 8e6 : 0))
    const errors = n === 2_000 ? 5 : roll() < 0.02 ? 1 + Math.floor(roll() * 3) : 0
    const name = isFew ? 'Few.call' : 'Many.call'
    const record = (id: bigint, us: number, failed: boolean): SpanRecord => ({
      ...{ traceId: BigInt(n + 1), id, parentId: id === 1n ? 0n : 1n, name: id === 1n ? name : 'child' },
      service: id === 1n ? 'front' : 'back',
      events: [
        { timestamp: BigInt(start), eventType: EventType.SERVER_RECV },
        { timestamp: BigInt(start + us), eventType: EventType.SERVER_SEND },
      ],
      annotations: new Map(failed ? [['error', 'x']] : []),
    })
    const records = [record(1n, durationUs, false)]
    for (let i = 0; i < errors; i++) records.push(record(BigInt(i + 2), 10, true))
    return { id: hex(BigInt(n + 1)), name, start, durationUs, errors, records }
  })

  before(async () => {
    app = await patientApp()
    await app.store(traces.flatMap(({ records }) => records))
  })
  after(undo)

  const search = async (query: string): Promise<SearchAnswer> => {
    const { status, body } = await app.get(`/api/search?${query}`)
    assert.equal(status, 200, JSON.stringify(body))
    return body
  }
  const best = (of: 'durationUs' | 'errors', some = traces, limit = 25) =>
    some
      .toSorted((a, b) => b[of] - a[of] || b.start - a.start)
      .slice(0, limit)
      .map(trace => trace.id)
  const ids = ({ traces }: SearchAnswer) => traces.map(({ traceId }) => traceId)
  const few = traces.filter(({ name }) => name === 'Few.call')

  for (const range of ['', '&from=-2h', `&from=${NOW_US - 1800e6}&to=${NOW_US - 600e6}`]) {
    it(`has the longest, and those with the most errors, where all are read${range && ' of a time range'}`, async () => {
      const within = range.includes('to')
        ? few.filter(({ start }) => start >= NOW_US - 1800e6 && start <= NOW_US - 600e6)
        : few
      for (const [order, of] of [
        ['longest', 'durationUs'],
        ['errors', 'errors'],
      ] as const) {
        for (const limit of [1, 25, 1000]) {
          const answer = await search(`name=Few.call&order=${order}&limit=${limit}${range}`)
          assert.deepEqual(answer.ordered, { read: within.length, complete: true })
          assert.deepEqual([ids(answer), answer.next], [best(of, within, limit), null])
        }
      }
    })
  }

  it('finds the longest and those with errors among more than it reads', async () => {
    const longest = await search('order=longest&limit=2&from=-2h')
    assert.ok(!longest.ordered!.complete && longest.ordered!.read <= 2_100, JSON.stringify(longest.ordered))
    assert.deepEqual(ids(longest), best('durationUs', traces, 2))
    const failing = traces.filter(({ errors }) => errors > 0)
    const errors = await search(`order=errors&limit=10&from=-2h`)
    assert.ok(!errors.ordered!.complete && errors.ordered!.read > failing.length)
    assert.deepEqual(
      errors.traces.map(({ errorCount }) => errorCount),
      failing
        .map(({ errors }) => errors)
        .sort((a, b) => b - a)
        .slice(0, 10),
    )
    assert.equal(errors.traces[0]!.errorCount, 5)
  })

  it('takes alternatives and structure as a search does', async () => {
    const answer = await search(encodeURI('order=longest&q=name:Few.call OR name:Nobody.calls'))
    assert.deepEqual([ids(answer), answer.ordered], [best('durationUs', few), { read: 300, complete: true }])
    const failing = await search(encodeURI('order=errors&q=service:front > (service:back error)&limit=5'))
    const withErrors = traces.filter(({ errors }) => errors > 0)
    assert.deepEqual([ids(failing), failing.ordered!.read], [best('errors', traces, 5), withErrors.length])
  })

  it('is the newest first, if not asked for another', async () => {
    const plain = await search('name=Few.call&limit=300')
    assert.equal(plain.ordered, undefined)
    assert.deepEqual(await search('name=Few.call&limit=300&order=newest'), plain)
    assert.deepEqual(
      ids(plain),
      few.toSorted((a, b) => b.start - a.start).map(({ id }) => id),
    )
  })

  it('has the traces that did not fail, if asked for these', async () => {
    const { traces, ordered } = await search('name=Few.call&order=errors&error=false&limit=1000')
    assert.deepEqual([traces.length, ordered], [300, { read: 300, complete: true }])
  })

  it('refuses an unknown order, and one with before', async () => {
    for (const query of ['order=oldest', 'order=longest&before=x']) {
      const { status, body } = await app.get(`/api/search?${query}`)
      assert.deepEqual([status, body.code], [400, 'MILO_BAD_PARAMETER'])
    }
  })
})
