import assert from 'node:assert/strict'
import { type Counted, Meter } from '../../../../collector/src/store/activity/meter'
import { type Delta, edgeOf, operationOf, readDelta } from '../../../../collector/src/store/activity/rows'
import type { Entry } from '../../../../collector/src/store/pipeline/entry'
import { EventType, encodeRecord, type SpanRecord } from '../../../../src/codec/span'

const MINUTE_US = 60_000_000n
const START_US = 1_700_000_040_000_000n
const MINUTE = Number(START_US / MINUTE_US)

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

const at = (timestamp: bigint) => ({ events: [{ timestamp, eventType: EventType.SERVER_RECV }] })

function entryOf(records: SpanRecord[], receivedUs = START_US): Entry {
  const body = Buffer.concat(records.map(encodeRecord))
  return { id: 1n, receivedUs, body, start: 0, end: body.length, spans: records.length }
}

/** A meter as a collector has it, and all that it has counted. */
class Counting {
  readonly meter: Meter
  readonly total: Delta = new Map()
  last!: Counted

  constructor(maxWaiting?: number) {
    this.meter = new Meter({ retentionDays: 7, ...(maxWaiting !== undefined && { maxWaiting }) })
  }

  async take(...records: SpanRecord[]): Promise<Counted> {
    return this.settle([entryOf(records)])
  }

  async settle(entries: Entry[], nowUs = START_US): Promise<Counted> {
    this.last = await this.meter.count(entries, nowUs)
    await this.meter.learn(this.last.recent, nowUs)
    readDelta(this.last.delta, this.total)
    return this.last
  }

  operations(): string[] {
    return [...this.total].flatMap(([minute, { operations }]) =>
      [...operations].map(([key, counter]) => {
        const { service, name, side } = operationOf(key)
        return `${minute - MINUTE}: ${service} ${name} ${side} ×${counter.calls} ${counter.errors}/${counter.roots}`
      }),
    )
  }

  edges(): string[] {
    return [...this.total].flatMap(([, { edges }]) =>
      [...edges]
        .filter(([, counter]) => !counter.isNothing())
        .map(([key, { calls }]) => {
          const { caller, callerName, callee, calleeName } = edgeOf(key)
          return `${caller} ${callerName || '?'} → ${callee} ${calleeName} ×${calls}`
        })
        .sort(),
    )
  }
}

describe('the meter', () => {
  it('counts spans by minute, service, name and side, each as many times as its probability says', async () => {
    const c = new Counting()
    await c.take(
      half('server', { probability: 0.1 }),
      half('server', { probability: 0.5, annotations: new Map([['error', 'x']]) }),
      half('server', { name: 'Shop.look', parentId: 5n }),
      half('client', { probability: 0.25, ...at(START_US + MINUTE_US) }),
    )
    assert.deepEqual(c.operations(), [
      '0: shop Shop.buy server ×12 2/12',
      '0: shop Shop.look server ×1 0/0',
      '1: shop Shop.buy server ×4 0/4',
    ])
  })

  it('counts spans without a probability once, and says how many; spans of forced traces not at all, nor as edges', async () => {
    const c = new Counting()
    const client = half('client', { probability: 0, service: 'web' })
    const { stats } = await c.take(
      client,
      half('server', { id: client.id!, probability: 0 }),
      half('server', { probability: undefined }),
      half('server', { probability: Number.NaN }),
      half('server', { probability: 2 }),
      half('server', { probability: -1 }),
    )
    assert.deepEqual(c.operations(), ['0: shop Shop.buy server ×4 0/4'])
    assert.deepEqual(c.edges(), [])
    assert.deepEqual([stats.counted, stats.forced, stats.unknown], [4, 2, 4])
    assert.equal([...c.total.values()][0]!.operations.values().next().value!.unknown, 4)
  })

  it('counts what takes messages from a queue like the roots of traces: it is work of its service, and not on the way', async () => {
    const kind = (kind: string) => ({
      ...half('client', { name: kind, parentId: 5n }),
      events: [],
      annotations: new Map([['otel.kind', kind]]),
    })
    const c = new Counting()
    await c.take(kind('consumer'), kind('producer'), kind('internal'))
    assert.deepEqual(
      c.operations().map(line => line.replace(/^.*: shop /, '')),
      ['consumer local ×1 0/1', 'internal local ×1 0/0', 'producer local ×1 0/0'],
    )
  })

  it('counts spans without times in the minute in which they were received, and without a duration', async () => {
    const c = new Counting()
    await c.settle([entryOf([half('server', { events: [] })], START_US + 2n * MINUTE_US)])
    assert.deepEqual(c.operations(), ['2: shop Shop.buy local ×1 0/1'])
    assert.equal(
      c.total
        .get(MINUTE + 2)!
        .operations.values()
        .next().value!.durations.total,
      0,
    )
  })

  describe('which operation called which', () => {
    it('is found by the span that client and server share, in whichever order and settlings they come', async () => {
      const client = half('client', { service: 'web', probability: 0.5 })
      const server = half('server', { id: client.id!, name: 'buy', probability: 0.5 })
      for (const settlings of [
        [[client, server]],
        [[server, client]],
        [[client], [server]],
        [[server], [], [client]],
      ]) {
        const c = new Counting()
        for (const records of settlings) await c.take(...records)
        assert.deepEqual(c.edges(), ['web ? → shop buy ×2'])
      }
    })

    it("is found by the server's parent where ids aren't shared, and a grandchild is never taken for a callee", async () => {
      const c = new Counting()
      const webToShop = half('client', { service: 'web' })
      const shop = half('server', { id: webToShop.id! })
      // Of the shop's own call, whose parent is the span in which the web called the shop.
      const stock = half('server', { service: 'stock', parentId: webToShop.id! })
      await c.take(stock, webToShop)
      await c.take()
      await c.take(shop)
      const otelClient = half('client', { service: 'otel web' })
      await c.take(otelClient, half('server', { service: 'otel shop', parentId: otelClient.id! }))
      await c.take()
      assert.deepEqual(c.edges(), ['otel web ? → otel shop Shop.buy ×1', 'web ? → shop Shop.buy ×1'])
    })

    it("has the caller's operation: that of the server half above the client half, across local spans", async () => {
      const server = half('server', { name: 'POST /buy', service: 'web' })
      const local = half('client', { events: [], name: 'render', service: 'web', parentId: server.id! })
      const client = half('client', { service: 'web', parentId: local.id! })
      const callee = half('server', { id: client.id!, parentId: local.id! })
      const all = [server, local, client, callee]
      for (let n = 0; n < 24; n++) {
        const order = all.slice()
        const shuffled = [4, 3, 2, 1].map((left, i) => order.splice(Math.floor(n / [6, 2, 1, 1][i]!) % left, 1)[0]!)
        const c = new Counting()
        for (const record of shuffled) await c.take(record)
        assert.deepEqual(c.edges(), ['web POST /buy → shop Shop.buy ×1'])
      }
    })

    it("has the name of the local root of the caller's trace, or none if the way up isn't known or is a circle", async () => {
      const c = new Counting()
      const job = half('client', { events: [], name: 'nightly', service: 'job' })
      const a = half('client', { service: 'job', parentId: job.id! })
      const b = half('client', { service: 'lost', parentId: 999_999n })
      const d = half('client', { service: 'circle', name: 'd' })
      const e = half('client', { service: 'circle', name: 'e', events: [], id: 777n, parentId: 778n })
      const f = { ...e, id: 778n, parentId: 777n }
      const servers = [a, b, { ...d, parentId: 777n }].map(({ id }) => half('server', { id: id! }))
      await c.take(job, a, b, { ...d, parentId: 777n }, e, f, ...servers)
      assert.deepEqual(c.edges(), [
        'circle ? → shop Shop.buy ×1',
        'job nightly → shop Shop.buy ×1',
        'lost ? → shop Shop.buy ×1',
      ])
    })

    it('has the name that the caller gives where the callee reports nothing: a database, a broker, a caller outside', async () => {
      const named = (key: string, name: string, kind?: string) =>
        new Map([[key, name], ...(kind === undefined ? [] : [[kind, 'CONSUMER'] as const])])
      const local = (annotations: Map<string, string>) => ({ ...half('client'), events: [], annotations })
      const c = new Counting()
      await c.take(
        half('client', { name: 'select', annotations: named('zipkin.remote.service', 'mysql') }),
        half('client', {
          annotations: new Map([...named('db.system', 'postgresql'), ...named('peer.service', 'ledger')]),
        }),
        half('server', { annotations: named('zipkin.remote.service', 'mobile-app') }),
        half('server', { annotations: named('zipkin.remote.service', 'a parent’s'), parentId: 5n }),
        local(new Map([...named('messaging.system', 'kafka'), ['otel.kind', 'producer']])),
        local(named('zipkin.remote.service', 'rabbit', 'zipkin.kind')),
        local(named('peer.service', 'nobody')),
        half('client', { annotations: named('server.address', 'db1.internal') }),
        half('client', { annotations: new Map([...named('net.peer.name', 'x'), ...named('server.address', 'A9')]) }),
        half('client', { annotations: named('server.address', '10.0.3.7') }),
        half('client', { annotations: named('server.address', 'fe80::1') }),
        half('client', { annotations: named('server.address', 'localhost') }),
        half('server', { annotations: named('server.address', 'shop.internal') }),
        half('client', { annotations: named('peer.service', '') }),
      )
      assert.deepEqual(c.edges(), [
        'mobile-app ? → shop Shop.buy ×1',
        'rabbit ? → shop Shop.buy ×1',
        'shop ? → A9 Shop.buy ×1',
        'shop ? → db1.internal Shop.buy ×1',
        'shop ? → kafka Shop.buy ×1',
        'shop ? → ledger Shop.buy ×1',
        'shop ? → mysql select ×1',
      ])
    })

    it('has the callee’s own name where it is traced after all, in whichever order', async () => {
      const client = half('client', { annotations: new Map([['peer.service', 'the-ledger']]) })
      const server = half('server', { id: client.id!, parentId: 7n, service: 'ledger' })
      for (const order of [
        [client, server],
        [server, client],
        // OpenTelemetry's server halves have ids of their own.
        [client, { ...server, id: nextId++, parentId: client.id! }],
      ]) {
        const c = new Counting()
        for (const record of order) await c.take(record)
        await c.take()
        assert.deepEqual(c.edges(), ['shop ? → ledger Shop.buy ×1'])
      }
    })
  })

  describe('a record that comes again', () => {
    it('is counted once: in its message, in another one, and at a meter that only learnt of it', async () => {
      const c = new Counting()
      const [record, other] = [half('server'), half('server')]
      await c.take(record, record, other)
      const { stats } = await c.take(other, half('server', { id: record.id! }, 2_000n), record)
      assert.deepEqual([stats.counted, stats.repeated], [1, 2])
      assert.deepEqual(c.operations(), ['0: shop Shop.buy server ×3 0/3'])
      const restarted = new Meter({ retentionDays: 7 })
      await restarted.learn(c.last.recent, START_US)
      assert.equal((await restarted.count([entryOf([record])], START_US)).stats.counted, 1)
      assert.equal(
        (await restarted.count([entryOf([half('server', { id: record.id! }, 2_000n)])], START_US)).stats.counted,
        0,
      )
    })

    it('may be another half, or another report of the same half: these are all counted', async () => {
      const c = new Counting()
      const record = half('server')
      const [first] = record.events!
      await c.take(
        record,
        { ...record, service: 'other' },
        { ...record, name: 'other' },
        { ...record, events: [first!] },
        { ...record, annotations: new Map([['a', 'b']]) },
        { ...record, traceId: 2n },
        half('client', { id: record.id! }),
      )
      assert.equal(c.last.stats.counted, 7)
    })

    it('is known for ten minutes', async () => {
      const c = new Counting()
      const record = half('server')
      await c.take(record)
      for (let minute = 1n; minute <= 9n; minute++) {
        const nowUs = START_US + minute * MINUTE_US
        assert.equal((await c.settle([entryOf([record, half('server')])], nowUs)).stats.repeated, 1)
      }
      for (const minute of [20n, 30n, 40n]) await c.settle([], START_US + minute * MINUTE_US)
      assert.equal((await c.settle([entryOf([record])], START_US + 41n * MINUTE_US)).stats.repeated, 0)
    })
  })

  it('changes nothing by counting: a settling that failed is counted again in the same way', async () => {
    const c = new Counting()
    const client = half('client', { annotations: new Map([['peer.service', 'x']]) })
    await c.take(client)
    const entries = [entryOf([half('server', { id: client.id! }), half('server')])]
    const first = await c.meter.count(entries, START_US)
    assert.deepEqual(await c.meter.count(entries, START_US), first)
    await c.settle(entries)
    assert.deepEqual(c.edges(), ['shop ? → shop Shop.buy ×1'])
  })

  it('counts only the entry’s part of a message that is settled in parts', async () => {
    const entry = entryOf([half('server', { name: 'a' }), half('server', { name: 'b' })])
    const c = new Counting()
    await c.settle([{ ...entry, start: entry.body.length / 2, spans: 1 }])
    assert.deepEqual(c.operations(), ['0: shop b server ×1 0/1'])
  })

  it('counts records that aren’t UTF-8, once', async () => {
    const bad = (fields: Partial<SpanRecord>, find: string) => {
      const entry = entryOf([half('server', fields)])
      entry.body[entry.body.indexOf(find)] = 0xff
      return entry
    }
    const entries = [
      bad({ name: '#' }, '#'),
      bad({ service: 'ü#' }, '#'),
      bad({ annotations: new Map([['k', '~']]) }, '~'),
    ]
    const c = new Counting()
    assert.equal((await c.settle([...entries, entryOf([half('server', { name: 'grün' })])])).notUtf8, 3)
    assert.equal((await c.settle(entries)).notUtf8, 0)
  })

  describe('with times that are wrong', () => {
    it('counts nothing older than spans are kept, or of the future', async () => {
      const c = new Counting()
      const day = 1440n * MINUTE_US
      const times = [
        START_US - 7n * day - 1n,
        START_US + 11n * MINUTE_US,
        -START_US,
        START_US * 1000n,
        -(2n ** 63n),
        2n ** 63n - 1n,
      ]
      const { stats } = await c.take(
        ...times.map(time => half('server', at(time))),
        half('server', at(START_US - 6n * day)),
      )
      assert.deepEqual([stats.counted, stats.outOfTime], [1, 6])
      assert.equal(c.total.size, 1)
    })

    it('finds the other half of a call by a server whose clock is years off', async () => {
      const c = new Counting()
      const client = half('client', { service: 'web' })
      await c.take(client, half('server', { id: client.id!, ...at(5n) }))
      assert.deepEqual(c.edges(), ['web ? → shop Shop.buy ×1'])
    })

    it('counts a bounded number of minutes in a settling', async () => {
      const c = new Counting()
      const times = Array.from({ length: 8_000 }, (_, i) => START_US - BigInt(i) * MINUTE_US)
      const { stats } = await c.take(...times.map(timestamp => half('server', at(timestamp))))
      assert.ok(c.total.size <= 561, `${c.total.size}`)
      assert.equal(stats.counted + stats.overrun, 8_000)
      assert.equal(stats.counted, c.total.size)
    })

    it('takes durations of any length', async () => {
      const c = new Counting()
      await c.take(half('server', {}, 2n ** 62n), half('client', {}, 2n ** 62n))
      const [counter] = c.total.get(MINUTE)!.operations.values()
      assert.equal(counter!.durations.sum, 60 * 3600e6)
    })
  })

  describe('with senders that mean harm', () => {
    /** Many records that differ in their ids, made without encoding each. */
    function many(
      count: number,
      record: SpanRecord,
      ids: (i: number) => { trace?: bigint; id: bigint; parent?: bigint },
    ): Entry {
      const one = encodeRecord({
        ...record,
        traceId: -(2n ** 62n) + 1n,
        id: -(2n ** 62n) + 2n,
        parentId: -(2n ** 62n) + 3n,
      })
      const find = (value: bigint) => {
        const bytes = Buffer.alloc(8)
        bytes.writeBigInt64BE(value)
        return one.indexOf(bytes)
      }
      const [traceAt, idAt, parentAt] = [1n, 2n, 3n].map(n => find(-(2n ** 62n) + n)) as [number, number, number]
      const body = Buffer.alloc(count * one.length)
      for (let i = 0; i < count; i++) {
        const { trace = 1n, id, parent = 0n } = ids(i)
        one.copy(body, i * one.length)
        body.writeBigInt64BE(BigInt.asIntN(64, trace), i * one.length + traceAt)
        body.writeBigInt64BE(BigInt.asIntN(64, id), i * one.length + idAt)
        body.writeBigInt64BE(BigInt.asIntN(64, parent), i * one.length + parentAt)
      }
      return { id: 1n, receivedUs: START_US, body, start: 0, end: body.length, spans: count }
    }
    const insides = (c: Counting) =>
      (
        c.meter as unknown as {
          known: { waiting: { size: number }; words: { usedBytes: number; strings: string[] } }
        }
      ).known

    it('keeps a bounded number of halves that never meet, for 90 seconds', async () => {
      const c = new Counting(20_000)
      const { waiting } = insides(c)
      let next = 0
      let dropped = 0
      for (let i = 0; i < 11; i++) {
        const { stats } = await c.settle([
          many(2_000, half('client', { probability: 0 }), () => ({ trace: BigInt(++next) << 20n, id: 5n })),
        ])
        dropped += stats.waitingDropped
      }
      assert.equal(waiting.size, 20_000)
      assert.equal(dropped, 2_000)
      const client = half('client')
      await c.take(client)
      await c.take(half('server', { id: client.id! }))
      assert.deepEqual(c.edges(), ['shop ? → shop Shop.buy ×1'])
      await c.settle([], START_US + 91_000_000n)
      assert.equal(waiting.size, 0)
    })

    it('keeps a bounded number of words, and of bytes of words', async () => {
      const c = new Counting()
      const { waiting, words } = insides(c)
      for (let i = 0; i < 10; i++) {
        const word = (what: string, n: number) => `${what} ${i} ${n} `.padEnd(250, 'ü')
        const record = (n: number) => {
          const annotations = new Map([['peer.service', word('peer', n)]])
          // Forced, so that no counters are made for them.
          return half('client', { name: word('name', n), service: word('service', n), annotations, probability: 0 })
        }
        await c.take(...Array.from({ length: 3_000 }, (_, n) => ({ ...record(n), traceId: nextId })))
      }
      assert.ok(words.usedBytes <= 32 * 1024 * 1024 && waiting.size > 15_000, `${words.usedBytes}`)
      assert.ok(words.strings.length < 3 * waiting.size + 30_000, `${words.strings.length} words for ${waiting.size}`)
      await c.settle([], START_US + 91_000_000n)
      assert.equal(words.usedBytes, 0)
    })

    it('cuts words of a megabyte, and takes them for one if they begin alike', async () => {
      const c = new Counting()
      await c.take(
        half('server', { name: 'ü'.repeat(500_000) }),
        half('server', { name: 'ü'.repeat(499_000), service: 'a\0b' }),
      )
      await c.take(half('server', { name: 'ü'.repeat(256), service: 'a\ufffdb' }))
      const name = 'ü'.repeat(256)
      assert.deepEqual(c.operations().sort(), [`0: a\ufffdb ${name} server ×2 0/2`, `0: shop ${name} server ×1 0/1`])
      assert.ok(c.last.recent.length < 2_000)
    })

    it('looks at a bounded number of records of a trace', async () => {
      const c = new Counting()
      await c.settle([many(9_000, half('client'), i => ({ id: BigInt(i + 1), parent: BigInt(i + 2) }))])
      const { stats } = await c.settle([
        many(9_000, half('server'), i => ({ id: BigInt(i + 1), parent: BigInt(i + 2) })),
      ])
      assert.equal(stats.waitingDropped, 8_000)
      assert.equal(stats.counted, 9_000)
      assert.equal(insides(c).waiting.size, 10_000)
      assert.equal((await c.take(half('client', { traceId: 1n }))).stats.waitingDropped, 1)
    })

    it('walks long ways and circles of parents once', async () => {
      const c = new Counting()
      // Locals from 1 to 4,000, each the child of the next, and a client below each; the last is a child of the first.
      const name = 'round'
      await c.settle([
        many(4_000, half('client', { events: [], name }), i => ({
          id: BigInt(i + 1),
          parent: BigInt(((i + 1) % 4_000) + 1),
        })),
        many(4_000, half('client', { annotations: new Map([['peer.service', 'db']]) }), i => ({
          id: BigInt(5_000 + i),
          parent: BigInt(i + 1),
        })),
      ])
      assert.deepEqual(c.edges(), ['shop ? → db Shop.buy ×4000'])
    })

    it('finds the halves of 10,000 records that share an id, or a parent, without comparing each with each', async () => {
      const records = (count: number, side: 'client' | 'server', fields: (i: number) => Partial<SpanRecord>) =>
        entryOf(Array.from({ length: count }, (_, i) => half(side, fields(i), BigInt(i + 2))))
      const annotations = new Map([['peer.service', 'db']])
      const shapes: [Entry, Entry, string[]][] = [
        [
          records(9_999, 'client', i => ({ id: 7n, parentId: BigInt(i + 10) })),
          records(1, 'server', () => ({ id: 7n, parentId: 5n, service: 'stock' })),
          ['shop ? → stock Shop.buy ×9999'],
        ],
        [
          records(9_999, 'client', () => ({ id: 7n, parentId: 5n, annotations })),
          records(1, 'server', () => ({ id: 7n, parentId: 5n, service: 'stock' })),
          ['shop ? → stock Shop.buy ×9999'],
        ],
        [
          records(9_999, 'client', () => ({ id: 7n, parentId: 7n, annotations })),
          records(1, 'client', () => ({ id: 8n, parentId: 7n, annotations })),
          ['shop ? → db Shop.buy ×10000'],
        ],
        [
          records(5_000, 'client', () => ({ id: 7n })),
          records(5_000, 'server', i => ({ id: BigInt(i + 10), parentId: 7n, service: 'stock' })),
          ['shop ? → stock Shop.buy ×5000'],
        ],
      ]
      for (const [i, [first, second, edges]] of shapes.entries()) {
        const c = new Counting()
        await c.settle([first])
        await c.settle([second])
        assert.deepEqual(c.edges(), edges, `shape ${i}`)
      }
    })

    it('counts once what says that it stands for more calls than there are', async () => {
      const c = new Counting()
      for (const probability of [Number.MIN_VALUE, 1e-300, 1e-40, 2 ** -57])
        await c.take(half('server', { probability }))
      await c.take(half('server', { probability: 2 ** -56, name: 'rare' }))
      assert.deepEqual(c.operations(), [
        '0: shop Shop.buy server ×4 0/4',
        `0: shop rare server ×${2 ** 56} 0/${2 ** 56}`,
      ])
    })

    it('lets others have their turn, whatever is settled', async () => {
      const c = new Counting()
      const entries = [
        many(10_000, half('client'), i => ({ id: BigInt(i + 1), parent: BigInt(i + 2) })),
        many(10_000, half('client'), i => ({ trace: BigInt(i + 5), id: 6n })),
      ]
      let turns = 0
      const ticker = setInterval(() => turns++, 0)
      const { recent } = await c.meter.count(entries, START_US)
      assert.ok(turns > 1, `${turns}`)
      turns = 0
      await c.meter.learn(recent, START_US)
      clearInterval(ticker)
      assert.ok(turns > 0, `${turns}`)
    })

    it('refuses a damaged list of records, and neither hangs nor believes a length', async () => {
      const c = new Counting()
      const client = half('client', { annotations: new Map([['peer.service', 'db']]), parentId: 3n })
      await c.take(client)
      const { recent } = await c.meter.count([entryOf([half('server', { id: client.id! }), half('server')])], START_US)
      let refused = 0
      for (let i = 0; i < recent.length; i++) {
        for (const byte of [0, 0x7f, 0xff]) {
          const damaged = Buffer.from(recent)
          damaged[i] = byte
          try {
            await new Meter({ retentionDays: 7, maxWaiting: 100 }).learn(damaged, START_US)
          } catch (error) {
            refused++
            assert.equal((error as { code: string }).code, 'MILO_STORE_DAMAGED')
          }
        }
        await assert.rejects(new Meter({ retentionDays: 7, maxWaiting: 100 }).learn(recent.subarray(0, i), START_US), {
          code: 'MILO_STORE_DAMAGED',
        })
      }
      assert.ok(refused > 50, `${refused}`)
    })
  })
})
