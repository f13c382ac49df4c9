import assert from 'node:assert/strict'
import {
  ActivityMeter,
  percentile,
  readActivity,
  readActivityInTurns,
} from '../../../collector/src/store/activity/activity'
import { EventType, encodeRecord, type SpanRecord } from '../../../src/codec/span'

const MINUTE_US = 60_000_000n
const START_US = 1_700_000_040_000_000n

let nextId = 1n

function half(side: 'client' | 'server', fields: Partial<SpanRecord> = {}, durationUs = 1_000n): SpanRecord {
  const [first, last] =
    side === 'client' ? [EventType.CLIENT_SEND, EventType.CLIENT_RECV] : [EventType.SERVER_RECV, EventType.SERVER_SEND]
  return {
    traceId: 1n,
    id: nextId++,
    parentId: 0n,
    name: 'Shop.buy',
    service: 'shop',
    events: [
      { timestamp: START_US, eventType: first },
      { timestamp: START_US + durationUs, eventType: last },
    ],
    probability: 1,
    ...fields,
  }
}

function meter(): ActivityMeter & { take(...records: SpanRecord[]): void; minutes(): ReturnType<typeof readActivity> } {
  let parts = 0
  const made = new ActivityMeter(() => `part ${parts++}`)
  const kept = new Map<string, { minute: number; body: string }>()
  const take = (...records: SpanRecord[]) => made.add(Buffer.concat(records.map(encodeRecord)), START_US)
  const minutes = () => {
    for (const row of made.rows()) kept.set(`${row.minute} ${row.part}`, row)
    return readActivity([...kept.values()])
  }
  return Object.assign(made, { take, minutes })
}

describe('activity', () => {
  it('counts spans by minute, service, name and side, scaled by the probability they were kept with', () => {
    const m = meter()
    m.take(
      half('server', { probability: 0.1 }),
      half('server', { probability: 0.5 }),
      half('server', { name: 'Shop.look' }),
    )
    const [minute, ...others] = m.minutes()
    assert.deepEqual(others, [])
    assert.equal(minute!.minute, Number(START_US / MINUTE_US))
    assert.deepEqual(
      minute!.operations.map(({ service, name, side, count, roots }) => [service, name, side, count, roots]),
      [
        ['shop', 'Shop.buy', 'server', 12, 12],
        ['shop', 'Shop.look', 'server', 1, 1],
      ],
    )
  })

  it('counts a forced trace, and one without a probability, once', () => {
    const m = meter()
    m.take(
      half('server', { probability: 0 }),
      half('server', { probability: undefined }),
      half('server', { probability: Number.NaN }),
    )
    assert.equal(m.minutes()[0]!.operations[0]!.count, 3)
  })

  describe('with services that report nothing themselves', () => {
    const named = (key: string, name: string, kind?: string) =>
      new Map([[key, name], ...(kind === undefined ? [] : [[kind, 'CONSUMER'] as const])])
    const local = (annotations: Map<string, string>) => ({ ...half('client'), events: [], annotations })
    const edges = (m: ReturnType<typeof meter>) =>
      m.minutes().flatMap(({ calls }) => calls.map(({ caller, callee, count }) => `${caller} → ${callee} ×${count}`))

    it('counts calls by the name that the caller gives: of a database, a broker, a caller outside', () => {
      const m = meter()
      m.take(
        half('client', { annotations: named('zipkin.remote.service', 'mysql') }),
        half('client', {
          annotations: new Map([...named('db.system', 'postgresql'), ...named('peer.service', 'ledger')]),
        }),
        half('server', { annotations: named('zipkin.remote.service', 'mobile-app') }),
        local(new Map([...named('messaging.system', 'kafka'), ['otel.kind', 'producer']])),
        local(named('zipkin.remote.service', 'rabbit', 'zipkin.kind')),
        local(named('peer.service', 'nobody')),
        half('client', { annotations: named('server.address', 'db1.internal') }),
      )
      assert.deepEqual(edges(m), [
        'shop → mysql ×1',
        'shop → ledger ×1',
        'mobile-app → shop ×1',
        'shop → kafka ×1',
        'rabbit → shop ×1',
      ])
    })

    it('counts a call once by the callee’s own name where the callee is traced after all, in whichever order', () => {
      const client = half('client', { annotations: named('peer.service', 'the-ledger') })
      const server = half('server', { id: client.id!, parentId: 7n, service: 'ledger' })
      for (const order of [
        [client, server],
        [server, client],
      ]) {
        const m = meter()
        for (const record of order) {
          m.take(record)
          m.minutes()
        }
        assert.deepEqual(edges(m), ['shop → ledger ×1'])
      }
      // OpenTelemetry's server halves have ids of their own.
      const m = meter()
      m.take(client)
      m.take({ ...server, id: nextId++, parentId: client.id! })
      for (let i = 0; i < 3; i++) m.minutes()
      assert.deepEqual(edges(m), ['shop → ledger ×1'])
    })
  })

  it('counts errors', () => {
    const m = meter()
    m.take(half('server', { annotations: new Map([['error', 'x']]), probability: 0.25 }), half('server'))
    const { count, errors } = m.minutes()[0]!.operations[0]!
    assert.deepEqual([count, errors], [5, 4])
  })

  it('gives percentiles within a tenth', () => {
    const m = meter()
    m.take(...Array.from({ length: 1000 }, (_, i) => half('server', {}, BigInt((i + 1) * 100))))
    const [operation] = m.minutes()[0]!.operations
    for (const share of [0.5, 0.95, 0.99]) {
      const found = percentile(operation!, share)!
      assert.ok(Math.abs(found / (share * 100_000) - 1) < 0.1, `p${share * 100} is ${found}`)
    }
    assert.equal(percentile({ durations: {} }, 0.5), undefined)
  })

  it('finds which service called which by the span that client and server share, whichever comes first', () => {
    const m = meter()
    const client = half('client', { service: 'web', probability: 0.5 })
    const server = half('server', { service: 'shop', id: client.id!, probability: 0.5 })
    const later = half('client', { service: 'web' })
    m.take(client, server, half('server', { service: 'shop', id: later.id! }), later)
    assert.deepEqual(
      m.minutes()[0]!.calls.map(({ caller, callee, count }) => [caller, callee, count]),
      [['web', 'shop', 3]],
    )
  })

  it("finds callers by the server's parent too, where ids aren't shared, and never takes a grandchild for a callee", () => {
    const m = meter()
    const webToShop = half('client', { service: 'web' })
    const shop = half('server', { service: 'shop', id: webToShop.id! })
    // Of the shop's own call, whose parent is the span in which the web called the shop.
    const stock = half('server', { service: 'stock', parentId: webToShop.id! })
    m.take(stock, webToShop)
    m.minutes()
    m.take(shop)
    const otelClient = half('client', { service: 'otel web' })
    m.take(otelClient, half('server', { service: 'otel shop', parentId: otelClient.id! }))
    m.minutes()
    assert.deepEqual(
      m
        .minutes()[0]!
        .calls.map(({ caller, callee }) => `${caller} → ${callee}`)
        .sort(),
      ['otel web → otel shop', 'web → shop'],
    )
  })

  it('counts a message that was sent again once', () => {
    const m = meter()
    const record = half('server')
    m.take(record)
    m.take(record)
    assert.equal(m.minutes()[0]!.operations[0]!.count, 1)
  })

  it('writes only rows that have changed, each as a whole', () => {
    const m = meter()
    m.take(half('server'))
    assert.equal(m.rows().length, 1)
    assert.deepEqual(m.rows(), [])
    m.take(half('server', { events: [{ timestamp: START_US + MINUTE_US, eventType: EventType.SERVER_RECV }] }))
    assert.deepEqual(
      m.rows().map(({ minute }) => minute),
      [Number(START_US / MINUTE_US) + 1],
    )
  })

  it('keeps a bounded number of counters whatever names and times arrive', () => {
    const m = meter()
    for (let i = 0; i < 5_000; i++) {
      m.take(half('server', { name: `name ${i}`, events: [{ timestamp: START_US + BigInt(i % 100) * MINUTE_US }] }))
      m.take(half('client', { service: `service ${i}` }))
      if (i % 100 === 99) m.rows()
    }
    m.take(...Array.from({ length: 5_000 }, (_, i) => half('server', { name: `other ${i}` })))
    for (const row of m.rows()) assert.ok(row.body.length < 1_000_000, `${row.body.length} bytes`)
    const total = m.minutes().reduce((sum, { operations }) => sum + operations.length, 0)
    assert.ok(total < 40_000)
  })

  it('keeps and writes a bounded number of minutes, however many a message contains', () => {
    const m = meter()
    const times = Array.from({ length: 8_000 }, (_, i) => START_US + BigInt(i) * MINUTE_US)
    m.take(...times.map(timestamp => half('server', { events: [{ timestamp, eventType: EventType.SERVER_RECV }] })))
    const { counters } = m as unknown as { counters: Map<number, unknown> }
    assert.equal(counters.size, 2_000)
    assert.equal(m.rows().length, 2_000)
    assert.equal(counters.size, 15)
    m.take(half('server'))
    assert.equal(m.rows().length, 1)
  })

  it('is read in turns, so that reading a day doesn’t block other work', async () => {
    const operations = Array.from({ length: 500 }, (_, i) => ({
      service: 's',
      name: `operation ${i}`,
      side: 'server',
      roots: 1,
      count: 1,
      errors: 0,
      durations: { 3: 1 },
    }))
    const body = JSON.stringify({ operations, calls: [] })
    const rows = Array.from({ length: 300 }, (_, minute) => ({ minute, body }))
    let turns = 0
    const ticker = setInterval(() => turns++, 0)
    const minutes = await readActivityInTurns(rows)
    clearInterval(ticker)
    assert.ok(turns > 0)
    assert.deepEqual(minutes, readActivity(rows))
  })
})
