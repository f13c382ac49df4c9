import assert from 'node:assert/strict'
import type { ErrorGroup, ErrorsAnswer } from '../../../collector/src/http/answers'
import { EventType, type SpanRecord } from '../../../src/codec/span'
import { dice } from '../store/activity/dice'
import { hex, undo } from '../support'
import { type PatientApp, patientApp } from './patient-app'

const MINUTE = 60e6
/** The edges of buckets are at the same distance from it whenever this runs, so that nothing depends on chance. */
const NOW_US = Math.floor(Date.now() / 7200e3) * 7200e6

interface Span {
  traceId: bigint
  id: number
  parent?: number
  name: string
  service: string
  agoUs: number
  probability?: number
  tags?: Record<string, string>
}

function span({ traceId, id, parent = 0, name, service, agoUs, probability = 1, tags = {} }: Span): SpanRecord {
  const at = BigInt(Math.round(NOW_US - agoUs))
  return {
    ...{ traceId, id: BigInt(id), parentId: BigInt(parent), name, service, probability },
    annotations: new Map(Object.entries(tags)),
    events: [
      { timestamp: at, eventType: EventType.SERVER_RECV },
      { timestamp: at + 1000n, eventType: EventType.SERVER_SEND },
    ],
  }
}

/** A failure that rises through five services. */
function risen(n: number, agoUs: number, probability: number): SpanRecord[] {
  const traceId = 0x0b00000000000000n + BigInt(n)
  const services = ['gateway', 'web', 'shop', 'cart', 'stock']
  return services.map((service, i) => {
    const tags: Record<string, string> =
      service === 'stock'
        ? { 'error.type': 'OutOfStock', 'error.message': `no stock of item ${n} for user-${n}@example.com` }
        : { 'error.type': '500' }
    const name = `${service}.call`
    return span({ traceId, id: i + 1, parent: i, name, service, agoUs: agoUs - i, probability, tags })
  })
}

describe('the HTTP API of errors', () => {
  let app: PatientApp
  const roll = dice(99)
  let next = 0x0c00000000000000n
  const one = (fields: Omit<Span, 'traceId' | 'id'>) => span({ traceId: next++, id: 1, ...fields })

  const rare = Array.from({ length: 12 }, (_, n) => risen(n, (n + 1) * 4 * MINUTE, 0.5))
  const fine = Array.from({ length: 30 }, () => one({ name: 'Fine.call', service: 'web', agoUs: 60 * MINUTE * roll() }))
  // A busy time, three hours ago: one of five calls is kept.
  const busy = Array.from({ length: 10_000 }, (_, i) => ({
    i,
    agoUs: (180 + 30 * roll()) * MINUTE,
    kept: roll() < 0.2,
  }))
  const kept = busy.flatMap(({ i, agoUs, kept }) => {
    const tags: Record<string, string> =
      i % 4 === 0 ? { error: `timeout after ${i} ms`, 'error.type': 'Timeout' } : { error: 'refused' }
    return kept ? [one({ name: 'Busy.call', service: 'busy', agoUs, probability: 0.2, tags })] : []
  })
  // Nobody's time: a day ago.
  const day = 24 * 60 * MINUTE
  const hostile = [
    one({ name: 'Hostile.long', service: 'hostile', agoUs: day, tags: { error: `x${'y'.repeat(1024 * 1024)}` } }),
    one({
      name: 'Hostile.control',
      service: 'hostile',
      agoUs: day,
      tags: { error: 'a\u0000b\u001b[31m\nc\ud83d\ude00' },
    }),
    one({ name: 'Hostile.empty', service: 'hostile', agoUs: day, tags: { error: '' } }),
  ]
  const words = () =>
    Array.from({ length: 3 }, () =>
      Math.floor(roll() * 1e9)
        .toString(36)
        .replace(/\d/g, 'q'),
    ).join(' ')
  const distinct = Array.from({ length: 10 }, () => next++).flatMap(traceId =>
    Array.from({ length: 1000 }, (_, i) =>
      span({
        traceId,
        id: i + 1,
        name: 'Distinct.call',
        service: 'distinct',
        agoUs: 2 * day,
        tags: { error: words() },
      }),
    ),
  )

  before(async () => {
    app = await patientApp()
    await app.store([...rare.flat(), ...fine, ...kept, ...hostile, ...distinct])
  })
  after(undo)

  const errors = async (query: string): Promise<ErrorsAnswer> => {
    const { status, body } = await app.get(`/api/errors?${query}`)
    assert.equal(status, 200, JSON.stringify(body))
    return body
  }
  const ago = (from: number, to: number) => `from=${Math.round(NOW_US - from)}&to=${Math.round(NOW_US - to)}`

  it('counts a failure that rose through five spans once, where it arose, whatever its numbers and ids', async () => {
    const answer = await errors(ago(60 * MINUTE, 0))
    assert.deepEqual([answer.read, answer.complete, answer.matching.value], [12, true, 12])
    assert.equal(answer.truncated, undefined)
    assert.equal(answer.groups.length, 1)
    const { id, trend, traces, count, ...group } = answer.groups[0]!
    assert.match(id, /^[\w-]{16}$/)
    assert.deepEqual(group, {
      service: 'stock',
      operation: 'stock.call',
      type: 'OutOfStock',
      message: 'no stock of item … for …',
      example: `no stock of item 11 for user-11@example.com`,
      first: Number(rare[11]![4]!.events![0]!.timestamp),
      last: Number(rare[0]![4]!.events![0]!.timestamp),
      read: 12,
      through: ['cart', 'shop', 'web', 'gateway'],
    })
    // One of two was kept.
    assert.equal(count.value, 24)
    assert.ok(count.low! >= 12 && count.low! < 24 && count.high! > 24 && count.high! < 50, JSON.stringify(count))
    assert.equal(
      trend.reduce((sum, { count }) => sum + count, 0),
      24,
    )
    for (const { time } of trend) assert.equal(time % answer.step, 0)
    assert.deepEqual(
      traces,
      rare.slice(0, 5).map(([root, , , , stock]) => ({
        traceId: hex(root!.traceId!),
        start: Number(stock!.events![0]!.timestamp),
        spanId: '0000000000000005',
      })),
    )
    assert.deepEqual((await errors(ago(60 * MINUTE, 0))).groups[0]!.id, id)
  })

  it('estimates how many there are of many, from a sample', async () => {
    const answer = await errors(`${ago(215 * MINUTE, 175 * MINUTE)}&sample=400`)
    assert.equal(answer.complete, false)
    assert.ok(answer.read >= 300 && answer.read < kept.length / 2, `${answer.read} read`)
    assert.ok(answer.matching.low! <= kept.length && kept.length <= answer.matching.high!)
    const [refused, timeout] = answer.groups as [ErrorGroup, ErrorGroup]
    assert.equal(answer.groups.length, 2)
    assert.deepEqual([refused.type, refused.message], [null, 'refused'])
    assert.deepEqual([timeout.type, timeout.message], ['Timeout', 'timeout after … ms'])
    for (const [{ count }, truth] of [
      [refused, 7_500],
      [timeout, 2_500],
    ] as const) {
      assert.ok(count.low! <= truth && truth <= count.high!, `${JSON.stringify(count)} for ${truth}`)
      assert.ok(count.high! < 2 * count.low!, JSON.stringify(count))
    }
  })

  it('has those of a service, an operation or a type alone', async () => {
    const hour = ago(60 * MINUTE, 0)
    for (const query of ['service=stock', 'operation=stock.call', 'type=OutOfStock', 'service=stock&type=OutOfStock']) {
      assert.equal((await errors(`${hour}&${query}`)).groups[0]!.read, 12, query)
    }
    // These failed as well, but because of another.
    for (const query of ['service=web', 'operation=web.call', 'type=500']) {
      assert.deepEqual((await errors(`${hour}&${query}`)).groups, [], query)
    }
  })

  it('finds the errors of a service that only its callers know', async () => {
    const traceId = next++
    const tags = { 'peer.service': 'mysql', error: 'gone away' }
    const { events, ...fields } = span({ traceId, id: 1, name: 'query', service: 'cart', agoUs: 70 * MINUTE, tags })
    const client = events!.map((event, i) => ({
      ...event,
      eventType: i ? EventType.CLIENT_RECV : EventType.CLIENT_SEND,
    }))
    await app.store([{ ...fields, events: client }])
    const { groups } = await errors(`${ago(80 * MINUTE, 65 * MINUTE)}&service=mysql`)
    assert.deepEqual([groups[0]!.service, groups[0]!.message], ['mysql', 'gone away'])
  })

  it('shows hostile messages short and whole', async () => {
    const { groups, complete } = await errors(ago(day + MINUTE, day - MINUTE))
    assert.equal(complete, true)
    const by = new Map(groups.map(group => [group.operation, group]))
    const long = by.get('Hostile.long')!
    assert.ok(long.message!.length <= 200 && long.example.length <= 300)
    assert.equal(by.get('Hostile.control')!.message, 'a b [31m c😀'.replace('31m', '…'))
    assert.equal(by.get('Hostile.control')!.example, 'a\u0000b\u001b[31m\nc😀')
    assert.deepEqual([by.get('Hostile.empty')!.message, by.get('Hostile.empty')!.example], [null, ''])
  })

  it('is bounded by the most frequent of ten thousand messages, and says that there are more', async () => {
    const { groups, truncated, read } = await errors(ago(2 * day + MINUTE, 2 * day - MINUTE))
    assert.deepEqual([groups.length, truncated, read], [200, true, 10])
  })

  it('answers with nothing where nothing failed', async () => {
    const { groups, read, complete, matching } = await errors(ago(4 * day, 3 * day))
    assert.deepEqual([groups, read, complete, matching], [[], 0, true, { value: 0, low: 0, high: 0 }])
  })

  const wrong: [string, string][] = [
    ['from=-1h&to=-2h', 'MILO_BAD_PARAMETER'],
    ['sample=2001', 'MILO_BAD_LIMIT'],
    ['name=a', 'MILO_BAD_PARAMETER'],
    ['from=yesterday', 'MILO_BAD_TIME'],
  ]
  for (const [query, code] of wrong) {
    it(`answers 400 ${code} to ${query}`, async () => {
      const { status, body } = await app.get(`/api/errors?${query}`)
      assert.deepEqual([status, body.code], [400, code])
    })
  }
})
