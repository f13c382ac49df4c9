import assert from 'node:assert/strict'
import { buildTrace, keptReasons, summarize } from '../../../collector/src/trace'
import { EventType, type SpanRecord } from '../../../src/codec/span'
import { client, custom, half, local, server } from './records'

const hex = (id: bigint) => BigInt.asUintN(64, id).toString(16).padStart(16, '0')
const only = (records: SpanRecord[]) => {
  const { spans } = buildTrace(records)
  assert.equal(spans.length, 1)
  return spans[0]!
}

describe('merging the halves of a span', () => {
  it('makes one span of a client and a server half, with the times and the services of both', () => {
    const span = only([
      half(client, 10n, { from: 1000, to: 1500, service: 'web', clientHost: 'a', parentId: 0n, probability: 0.5 }),
      half(server, 10n, { from: 1100, to: 1400, service: 'cart', serverHost: 'b', parentId: 0n, probability: 0.5 }),
    ])
    assert.deepEqual(span, {
      spanId: '000000000000000a',
      parentId: '0000000000000000',
      name: 'span 10',
      kind: 'rpc',
      service: 'cart',
      clientService: 'web',
      clientHost: 'a',
      serverHost: 'b',
      start: 1000,
      duration: 500,
      clientStart: 1000,
      clientDuration: 500,
      serverStart: 1100,
      serverDuration: 300,
      annotations: {},
      counters: {},
      events: [],
      probability: 0.5,
      error: false,
      depth: 0,
      orphan: false,
      cycle: false,
      conflicts: [],
      repeats: [],
      selfTime: 500,
      criticalTime: 500,
      networkTime: 200,
    })
  })

  it('counts for each service the spans of which it reported anything', () => {
    const trace = buildTrace([
      half(client, 1n, { service: 'web' }),
      half(server, 1n, { service: 'cart' }),
      half(server, 1n, { service: 'stock' }),
      half(client, 2n, { parentId: 1n, service: 'cart' }),
      half(client, 3n, { parentId: 1n }),
    ])
    const { services, serviceSpans } = summarize(trace)
    assert.deepEqual([services, serviceSpans], [['cart', 'stock', 'web'], [2, 1, 1]]) // biome-ignore format: short
  })

  it('names the halves that were reported: both, one, or neither', () => {
    assert.equal(only([half(client, 1n), half(server, 1n)]).kind, 'rpc')
    assert.equal(only([half(client, 1n)]).kind, 'client')
    assert.equal(only([half(server, 1n)]).kind, 'server')
    assert.equal(only([local(1n)]).kind, 'local')
  })

  it('takes the service of a local span from its reporter, and leaves that of a client-only span unknown', () => {
    assert.equal(only([local(1n, { service: 'batch' })]).service, 'batch')
    const span = only([half(client, 1n, { service: 'web' })])
    assert.deepEqual([span.service, span.clientService], [null, 'web'])
  })

  it("takes the server half's name, or the client half's when the server gave none", () => {
    const named = (name: string | undefined) => only([half(client, 1n, { name: 'c' }), half(server, 1n, { name })]).name
    assert.equal(named('s'), 's')
    assert.equal(named(''), 'c')
    assert.equal(named(undefined), 'c')
  })

  it('measures a half from its earliest event to its latest, whatever their labels', () => {
    const swapped = { id: 1n, events: [...half(client, 1n, { from: 9, to: 5 }).events!].reverse() }
    const span = only([swapped])
    assert.deepEqual([span.clientStart, span.clientDuration, span.start, span.duration], [5, 4, 5, 4])
  })

  it("doesn't mix two clocks: a span whose server is an hour off lasts as long as its client waited", () => {
    const hour = 3_600_000_000
    const span = only([half(client, 1n, { from: hour, to: hour + 500 }), half(server, 1n, { from: 100, to: 400 })])
    assert.deepEqual([span.start, span.duration, span.serverStart, span.serverDuration], [hour, 500, 100, 300])
  })

  it('lasts as long as the server worked when the client did not wait', () => {
    const span = only([half(client, 1n, { from: 100, to: 101 }), half(server, 1n, { from: 110, to: 900 })])
    assert.deepEqual([span.start, span.duration, span.clientDuration], [100, 790, 1])
  })

  it('measures a span without client and server events from its first event to its last, or not at all', () => {
    const span = only([{ id: 1n, events: [custom(7, 'b'), custom(3, 'a')] }])
    assert.deepEqual([span.start, span.duration], [3, 4])
    const silent = only([{ id: 1n }])
    assert.deepEqual([silent.start, silent.duration, silent.clientStart, silent.serverStart], [null, null, null, null])
  })

  it('counts the times of both sides when one record holds them, and lets the first event say whose half it is', () => {
    const events = [
      { timestamp: 10n, eventType: EventType.CLIENT_SEND },
      { timestamp: 12n, eventType: EventType.SERVER_RECV },
      { timestamp: 15n, eventType: EventType.SERVER_SEND },
      { timestamp: 20n, eventType: EventType.CLIENT_RECV },
    ]
    const span = only([{ id: 1n, service: 'web', events }])
    assert.deepEqual([span.clientService, span.service, span.kind], ['web', null, 'rpc'])
    assert.deepEqual([span.clientDuration, span.serverDuration], [10, 3])
  })

  it('orders custom events by time, and tells the markers of a local span from events with the same names', () => {
    const marked = only([local(1n, { from: 10, to: 90, events: [custom(50, 'milo.start'), custom(40, 'read')] })])
    assert.deepEqual(marked.events, [
      { time: 40, value: 'read', side: 'local' },
      { time: 50, value: 'milo.start', side: 'local' },
    ])
    const served = only([half(server, 1n, { from: 10, to: 90, events: [custom(20, 'milo.end')] })])
    assert.deepEqual(served.events, [{ time: 20, value: 'milo.end', side: 'server' }])
    assert.equal(served.serverDuration, 80)
  })

  it('merges annotations and counters, and keeps different values of the client as conflicts', () => {
    const span = only([
      half(client, 1n, {
        annotations: new Map([['error.type', 'Timeout'], ['only', 'c']]), // biome-ignore format: short
        counters: new Map([['n', 1n]]),
      }),
      half(server, 1n, {
        annotations: new Map([['error.type', 'Oops'], ['__proto__', 'kept']]), // biome-ignore format: short
        counters: new Map([['n', 9007199254740993n]]),
      }),
    ])
    assert.deepEqual(Object.entries(span.annotations).sort(), [
      ['__proto__', 'kept'],
      ['error.type', 'Oops'],
      ['only', 'c'],
    ])
    assert.deepEqual(span.counters, { n: '9007199254740993' })
    assert.deepEqual(span.conflicts, [
      { field: 'annotation', key: 'error.type', value: 'Timeout', side: 'client' },
      { field: 'counter', key: 'n', value: '1', side: 'client' },
    ])
    assert.equal(JSON.parse(JSON.stringify(span)).annotations.error, undefined)
    assert.deepEqual(Object.keys(JSON.parse(JSON.stringify(span)).annotations).includes('__proto__'), true)
  })

  it('takes the failure of a call from the half that knows it, with one result and one error', () => {
    const ended = (side: typeof client | typeof server, result: string, error?: string) => {
      const annotations = new Map([['thrift.result', result]])
      if (error !== undefined) annotations.set('error.type', error)
      return half(side, 1n, { from: side === client ? 0 : 10, to: 90, annotations })
    }
    const outcome = (...halves: SpanRecord[]) => {
      const { annotations, conflicts } = only(halves)
      assert.deepEqual(only(halves.toReversed()).annotations, annotations)
      return [
        annotations['thrift.result'],
        annotations['error.type'],
        ...conflicts.map(c => `${c.side}: ${c.key}=${c.value}`),
      ]
    }
    const answered = ended(server, 'ok')
    const abandoned = ended(server, 'abandoned', 'connection closed')
    const threw = ended(server, 'exception', 'Oops')
    const timedOut = ended(client, 'transport_error', 'timeout')
    const content = ended(client, 'ok')

    assert.deepEqual(outcome(timedOut, answered), ['transport_error', 'timeout', 'server: thrift.result=ok'])
    assert.deepEqual(outcome(content, threw), ['exception', 'Oops', 'client: thrift.result=ok'])
    assert.deepEqual(outcome(timedOut, abandoned), [
      'transport_error',
      'timeout',
      'server: thrift.result=abandoned',
      'server: error.type=connection closed',
    ])
    assert.deepEqual(outcome(content, abandoned), ['abandoned', 'connection closed', 'client: thrift.result=ok'])
    assert.deepEqual(outcome(timedOut, threw), [
      'exception',
      'Oops',
      'client: thrift.result=transport_error',
      'client: error.type=timeout',
    ])
    assert.deepEqual(outcome(content, answered), ['ok', undefined])
  })

  it('marks a span as failed by its annotation error.type or error, of either half', () => {
    const annotated = (key: string) => only([half(client, 1n, { annotations: new Map([[key, 'x']]) })]).error
    assert.deepEqual(['error.type', 'error', 'errors'].map(annotated), [true, true, false])
  })

  it('counts a half that was reported twice once, and two halves that differ in anything twice', () => {
    const said = half(server, 1n, { from: 10, to: 20, service: 'cart', annotations: new Map([['k', 'v']]) })
    const again = { ...said, events: [...said.events!], annotations: new Map(said.annotations) }
    assert.deepEqual(only([said, again, half(client, 1n, { from: 5, to: 25 }), again]).repeats, [])
    assert.equal(only([said, { ...again, counters: new Map([['n', 1n]]) }]).repeats.length, 2)
  })

  it('counts once what a process has sent again because it was asked again, and says why it was kept first', () => {
    const kept = (reason: string, history = '1') =>
      half(server, 1n, {
        from: 10,
        to: 20,
        service: 'cart',
        annotations: new Map([
          ['k', 'v'],
          ['milo.keep', reason],
          ['milo.history', history],
        ]),
      })
    for (const records of [
      [kept('error'), kept('asked', '2')],
      [kept('asked'), kept('error', '2'), kept('asked', '3')],
    ]) {
      const { annotations, repeats, conflicts } = only(records)
      assert.deepEqual([annotations['milo.keep'], repeats, conflicts], ['error', [], []])
    }
  })

  it('knows why a trace was kept after the fact, and that one wasn’t which was sampled', () => {
    const reasons = (probability: number | undefined, more: object = { 'milo.history': '1' }) => {
      const annotations = new Map(Object.entries({ 'milo.keep': 'big order', ...more }))
      return keptReasons([half(server, 1n, { service: 'cart', annotations, probability })])
    }
    for (const probability of [0, undefined]) {
      assert.deepEqual(reasons(probability), [
        { reason: 'big order', service: 'cart', name: 'span 1', spanId: hex(1n) },
      ])
    }
    assert.equal(reasons(0.5), undefined)
    // The application's word in a forced one, or in one of another format, which doesn't say how it was sampled.
    for (const probability of [0, undefined]) assert.equal(reasons(probability, {}), undefined)
    // Who was asked doesn't know why.
    const asked = new Map([['milo.keep', 'asked']])
    assert.deepEqual(keptReasons([half(server, 1n, { annotations: asked, probability: 0 })]), [])
  })

  it('knows for which span a trace was kept, also if it hasn’t come or was called otherwise at first', () => {
    const kept = (id: bigint, reason: string, cause?: string, service = 'cart') => {
      const annotations = new Map([['milo.keep', reason]])
      if (cause !== undefined) annotations.set('milo.keep_span', cause)
      return half(server, id, { service, annotations, probability: 0 })
    }
    const at = (id: bigint, reason: string, name: string, service = 'cart') => ({
      reason,
      service,
      name,
      spanId: hex(id),
    })
    const first = kept(1n, 'big order', `${hex(3n)} checkout, at first`)
    const cause = kept(3n, 'big order', `${hex(3n)} checkout, at first`)
    assert.deepEqual(keptReasons([first, kept(2n, 'big order')]), [at(3n, 'big order', 'checkout, at first')])
    for (const records of [
      [first, kept(2n, 'big order'), cause],
      [cause, first],
    ])
      assert.deepEqual(keptReasons(records), [at(3n, 'big order', 'span 3')])
    // Another process, with an older SDK, and a hostile one.
    assert.deepEqual(keptReasons([cause, kept(4n, 'big order', undefined, 'old'), kept(5n, 'slow', 'nonsense')]), [
      at(3n, 'big order', 'span 3'),
      at(4n, 'big order', 'span 4', 'old'),
      at(5n, 'slow', 'span 5'),
    ])
    const { conflicts } = only([half(client, 3n, { annotations: new Map([['milo.keep_span', 'x']]) }), cause])
    assert.deepEqual(conflicts, [])
  })

  it('keeps two different halves of the same side', () => {
    const span = only([
      half(server, 1n, { from: 300, to: 390, service: 'cart', serverHost: 'b' }),
      half(client, 1n, { from: 100, to: 400, service: 'web' }),
      half(server, 1n, { from: 120, to: 200, service: 'cart', serverHost: 'c' }),
    ])
    assert.deepEqual([span.serverStart, span.serverDuration, span.serverHost], [120, 270, 'c'])
    assert.deepEqual(span.repeats, [
      { side: 'server', service: 'cart', host: 'c', start: 120, duration: 80 },
      { side: 'server', service: 'cart', host: 'b', start: 300, duration: 90 },
    ])
  })

  it('never gives a number that JSON can’t express', () => {
    assert.equal(only([{ id: 1n, probability: Number.NaN }]).probability, null)
    assert.equal(only([{ id: 1n, probability: 0 }]).probability, 0)
  })
})

describe('building the tree', () => {
  it('lists spans depth-first, siblings by start', () => {
    const { spans } = buildTrace([
      half(client, 5n, { parentId: 2n, from: 50 }),
      half(client, 4n, { parentId: 2n, from: 60 }),
      half(client, 3n, { parentId: 1n, from: 20 }),
      half(client, 2n, { parentId: 1n, from: 40 }),
      half(client, 1n, { parentId: 0n, from: 10, to: 99 }),
    ])
    assert.deepEqual(
      spans.map(s => [Number(s.spanId), s.depth]),
      [
        [1, 0],
        [3, 1],
        [2, 1],
        [5, 2],
        [4, 2],
      ],
    )
  })

  it('nests a server span with an id of its own, as W3C contexts make it, under the client-only span', () => {
    const { spans } = buildTrace([
      half(server, 2n, { parentId: 1n, from: 20, to: 30, service: 'shop' }),
      half(client, 1n, { from: 10, to: 40, service: 'web' }),
    ])
    assert.deepEqual(
      spans.map(s => [s.kind, s.depth, s.service ?? s.clientService]),
      [
        ['client', 0, 'web'],
        ['server', 1, 'shop'],
      ],
    )
  })

  it('keeps spans whose parent is missing as flagged roots, after the real one', () => {
    const { spans } = buildTrace([
      half(client, 9n, { parentId: 77n, from: 1 }),
      half(client, 8n, { parentId: 9n, from: 2 }),
      half(client, 1n, { from: 50 }),
    ])
    assert.deepEqual(
      spans.map(s => [Number(s.spanId), s.depth, s.orphan]),
      [
        [1, 0, false],
        [9, 0, true],
        [8, 1, false],
      ],
    )
  })

  it('cuts a circle of parents at its earliest span, and keeps the spans below it', () => {
    const { spans } = buildTrace([
      half(client, 1n, { parentId: 3n, from: 30 }),
      half(client, 2n, { parentId: 1n, from: 20 }),
      half(client, 3n, { parentId: 2n, from: 25 }),
      half(client, 4n, { parentId: 3n, from: 5 }),
      half(client, 6n, { parentId: 6n, from: 99 }),
    ])
    assert.deepEqual(
      spans.map(s => [Number(s.spanId), s.depth, s.cycle, s.orphan]),
      [
        [2, 0, true, false],
        [3, 1, false, false],
        [4, 2, false, false],
        [1, 2, false, false],
        [6, 0, true, false],
      ],
    )
  })

  it('tells a span whose id is 0 from a missing parent', () => {
    const { spans } = buildTrace([{ id: 0n, parentId: 0n, name: 'zero' }, { id: 5n, parentId: 0n }, { name: 'no id' }])
    assert.deepEqual(
      spans.map(s => [s.spanId, s.name, s.depth]),
      [
        ['0000000000000000', 'zero', 0],
        ['0000000000000005', '', 0],
      ],
    )
  })

  it('prints ids as unsigned hex, and the trace id with 32 digits when its high half is not zero', () => {
    const { traceId, spans } = buildTrace([{ traceId: -1n, traceIdHigh: 5n, id: -(2n ** 63n), parentId: -42n }])
    assert.equal(traceId, '0000000000000005ffffffffffffffff')
    assert.deepEqual([spans[0]!.spanId, spans[0]!.parentId], ['8000000000000000', 'ffffffffffffffd6'])
    assert.equal(buildTrace([{ traceId: -1n, traceIdHigh: 0n, id: 1n }]).traceId, 'ffffffffffffffff')
  })

  it('finds the high half of the trace id in whichever record has it', () => {
    const records = [half(client, 1n, { traceIdHigh: 7n }), half(server, 1n)]
    assert.equal(buildTrace(records).traceId, '00000000000000070000000000000001')
    assert.equal(buildTrace(records.reverse()).traceId, '00000000000000070000000000000001')
  })

  it('measures the trace from its earliest time to its latest, servers included', () => {
    const { start, duration } = buildTrace([
      half(client, 1n, { from: 100, to: 101 }),
      half(server, 1n, { from: 110, to: 900 }),
      half(client, 2n, { parentId: 1n, from: 50, to: 60 }),
    ])
    assert.deepEqual([start, duration], [50, 850])
  })

  it('makes an empty trace of nothing', () => {
    const trace = buildTrace([])
    assert.deepEqual(trace, {
      traceId: '0000000000000000',
      start: null,
      duration: null,
      services: [],
      clocks: [],
      totals: { services: [], names: [] },
      spans: [],
    })
    assert.deepEqual(summarize(trace).name, '')
  })

  it('handles 100,000 spans in one chain', () => {
    const n = 100_000
    const records = Array.from({ length: n }, (_, i) => half(client, BigInt(n - i), { parentId: BigInt(n - i - 1) }))
    const { spans } = buildTrace(records)
    assert.equal(spans.length, n)
    assert.ok(spans.every((span, i) => span.depth === i && span.spanId === hex(BigInt(i + 1))))
  })

  it('handles 100,000 spans in one circle, and 100,000 children of one parent', () => {
    const n = 100_000
    const circle = Array.from({ length: n }, (_, i) =>
      half(client, BigInt(i + 1), { parentId: BigInt((i + 1) % n) + 1n }),
    )
    assert.equal(buildTrace(circle).spans.at(-1)!.depth, n - 1)
    const fan = Array.from({ length: n }, (_, i) =>
      half(client, BigInt(i + 1), { parentId: i === 0 ? 0n : 1n, from: i }),
    )
    assert.ok(buildTrace(fan).spans.every((span, i) => span.depth === (i === 0 ? 0 : 1)))
  })
})

describe('building extreme traces', () => {
  const n = 100_000
  const many = (record: (i: number) => SpanRecord) => buildTrace(Array.from({ length: n }, (_, i) => record(i)))

  it('handles 100,000 reports of one span, equal or different', () => {
    assert.deepEqual(many(() => half(server, 1n, { from: 1, to: 2 })).spans[0]!.repeats, [])
    const sides = [client, server]
    const one = many(i => half(sides[i % 2]!, 1n, { from: i, clientHost: `c${i % 9}`, serverHost: `s${i % 99}` }))
    assert.equal(one.spans[0]!.repeats.length, n)
  })

  it('handles 100,000 hosts, services and names, clocks that contradict each other, and times at the limits of i64', () => {
    const edge = 2n ** 63n - 1n
    const hosts = many(i => {
      const call = { parentId: BigInt(i >> 2), from: i * 7919, to: 8 * n, name: `n${i}`, service: `s${i}` }
      return half([client, server][i & 1]!, BigInt((i >> 1) + 1), { ...call, clientHost: `h${i}`, serverHost: `h${i}` })
    })
    assert.deepEqual([hosts.clocks.length, hosts.totals.services.length, hosts.spans.length], [n, n, n / 2])
    const torn = many(i =>
      half([client, server][i & 1]!, BigInt((i >> 1) + 1), {
        from: (i * 7919) % n,
        to: ((i * 7919) % n) + 50,
        clientHost: `h${i % 89}`,
        serverHost: `h${i % 97}`,
      }),
    )
    assert.ok(torn.clocks.every(({ skewUs }) => Number.isFinite(skewUs)))
    const far = many(i => ({
      ...half(client, BigInt(i + 1)),
      events: [{ timestamp: i % 2 ? edge : -edge, eventType: EventType.CLIENT_SEND }],
    }))
    assert.equal(far.duration, 2 ** 64)
  })
})

describe('summing up a trace', () => {
  it("gives the root's name, both sides' services without duplicates and sorted, and whether anything failed", () => {
    const trace = buildTrace([
      half(server, 2n, { parentId: 1n, from: 20, to: 30, service: 'cart', name: 'Cart.add' }),
      half(client, 2n, { parentId: 1n, from: 15, to: 35, service: 'web', annotations: new Map([['error', 'x']]) }),
      half(server, 1n, { from: 10, to: 40, service: 'web', name: 'GET /' }),
    ])
    assert.deepEqual(summarize(trace), {
      traceId: '0000000000000001',
      start: 10,
      duration: 30,
      name: 'GET /',
      service: 'web',
      services: ['cart', 'web'],
      serviceSpans: [1, 2],
      spanCount: 2,
      error: true,
      errorCount: 1,
      failure: { type: null, message: 'x', service: 'cart', name: 'Cart.add', spanId: '0000000000000002' },
      probability: null,
    })
  })
})
