import assert from 'node:assert/strict'
import { missingHalves } from '../../../collector/src/api/keeps/missing'
import { Rings } from '../../../collector/src/keep/rings'
import type { KeepReader, SeenRing } from '../../../collector/src/store/keeps'
import { buildTrace } from '../../../collector/src/trace'
import { EventType, type SpanRecord } from '../../../src/codec/span'

/** What a trace says is missing, by what processes have said of themselves. */

const START = 1_800_000_000_000_000
const SECOND = 1_000_000

function half(side: 'client' | 'server', id: bigint, parentId: bigint, service: string, tags: object, host = 'web1') {
  const [from, to] =
    side === 'client' ? [EventType.CLIENT_SEND, EventType.CLIENT_RECV] : [EventType.SERVER_RECV, EventType.SERVER_SEND]
  const [startUs, us] = side === 'client' ? [START, 1000] : [START + 100, 800]
  const record: SpanRecord = {
    ...{ traceId: 1n, id, parentId, service, name: `${service} ${id}`, probability: 0 },
    ...{ [side === 'client' ? 'clientHost' : 'serverHost']: host },
    annotations: new Map(Object.entries(tags)),
    events: [
      { timestamp: BigInt(startUs), eventType: from },
      { timestamp: BigInt(startUs + us), eventType: to },
    ],
  }
  return record
}

const to = (address: string, port = '9090') => ({ 'server.address': address, 'server.port': port })
const thrift = (method: string) => ({ 'rpc.system': 'thrift', 'rpc.method': method })
const http = (path: string) => ({ 'http.request.method': 'GET', 'url.path': path })
const LOCAL = to('127.0.0.1')

function ring(service: string, fields: Partial<SeenRing> = {}): SeenRing {
  return {
    ...{ service, host: 'web1', address: '10.0.0.1', process: BigInt(service.length), listening: ['[::]:9090'] },
    ...{ madeUs: START - 60 * SECOND, firstUs: START - 59 * SECOND, firstHistoryUs: START - 60 * SECOND },
    ...{ toldUs: START + 2 * SECOND, seenUs: START + 2 * SECOND, historyUs: START - 60 * SECOND, ended: false },
    ...fields,
  }
}

interface Times {
  keptUs?: number
  nowUs?: number
  /** Since when the collector has been there. */
  upUs?: number
  /** The processes that ask it. */
  here?: SeenRing[]
}

async function missing(records: SpanRecord[], rings: SeenRing[], times: Times = {}) {
  const {
    keptUs = START + SECOND,
    nowUs = START + 3600 * SECOND,
    upUs = START - 3600 * SECOND,
    here: asking = [],
  } = times
  const reader: KeepReader = { keepsOf: async () => [], rings: async () => rings }
  let clockUs = upUs
  const here = new Rings(() => clockUs)
  clockUs = nowUs
  here.all = () => asking
  const found = await missingHalves(question => question(reader), buildTrace(records), records, keptUs, here)
  for (const { detail } of found) assert.match(detail, /^.{20,250}$/)
  return found
}

const root = half('server', 1n, 0n, 'front', http('/'))
const calling = (tags: object) => [root, half('client', 2n, 1n, 'front', { ...LOCAL, ...tags })]
const whyOf = async (...args: Parameters<typeof missing>) =>
  (await missing(...args)).map(({ side, service, why }) => [side, service, why])

describe('what is missing in a trace, and why', () => {
  it('is known of a process that says where it takes calls, also where all machines have the address', async () => {
    const whole = calling(thrift('get'))
    assert.deepEqual(await whyOf(whole, [ring('stock')]), [['server', 'stock', 'unsent']])
    const [listens, other] = [ring('stock'), ring('other1', { listening: ['127.0.0.1:9091'], historyUs: START + 9 })]
    assert.deepEqual(await whyOf(whole, [other, listens]), [['server', 'stock', 'unsent']])
    // Another one there, or the same port on another machine.
    assert.deepEqual(await whyOf(whole, [other]), [['server', null, 'no_history']])
    assert.deepEqual(await whyOf(whole, [ring('stock', { host: 'web2' })]), [['server', null, 'no_history']])
    // Bound to another address.
    assert.deepEqual(await whyOf(whole, [ring('stock', { listening: ['10.0.0.1:9090'] })]), [
      ['server', null, 'no_history'],
    ])
    // Names that differ, of processes that ask a collector on their own machine.
    const local = { address: '127.0.0.1', listening: ['127.0.0.1:9090'] }
    const renamed = [ring('stock', { ...local, host: 'stock-1' }), ring('front1', { ...local, listening: [] })]
    assert.deepEqual(await whyOf(whole, renamed), [['server', 'stock', 'unsent']])
    for (const address of ['10.0.0.7', '::ffff:10.0.0.7']) {
      const called = calling({ ...thrift('get'), ...to(address) })
      const bound = ring('stock', { host: 'else', listening: ['10.0.0.7:9090'] })
      assert.deepEqual(await whyOf(called, [bound]), [['server', 'stock', 'unsent']])
      assert.deepEqual(await whyOf(called, [{ ...bound, listening: ['10.0.0.7:909'] }]), [
        ['server', null, 'no_history'],
      ])
    }
    const six = calling({ ...thrift('get'), ...to('fd00::7') })
    assert.deepEqual(await whyOf(six, [ring('stock', { listening: ['[fd00::7]:9090'] })]), [
      ['server', 'stock', 'unsent'],
    ])
    const named = calling({ ...thrift('get'), ...to('stock-1') })
    assert.deepEqual(await whyOf(named, [ring('stock', { host: 'stock-1' })]), [['server', 'stock', 'unsent']])
    // Of several at one port, one that was there.
    const both = [ring('stock', { ended: true, seenUs: START - SECOND }), ring('stocks')]
    assert.deepEqual(await whyOf(whole, both), [['server', 'stocks', 'unsent']])
  })

  it('is what was overwritten, of a process that was there; one that began later, or was gone before, has lost nothing', async () => {
    const whole = calling(thrift('get'))
    const later = { historyUs: START + SECOND, toldUs: START + SECOND }
    assert.deepEqual(await whyOf(whole, [ring('stock', later)]), [['server', 'stock', 'overwritten']])
    for (const afterUs of [10_000, 20 * SECOND]) {
      const began = { madeUs: START + afterUs, firstUs: START + afterUs, historyUs: START + afterUs }
      const of = ring('stock', { ...began, firstHistoryUs: START + afterUs })
      for (const one of [of, { ...of, madeUs: 0 }]) {
        const [said, ...none] = await missing(whole, [one])
        assert.deepEqual([said!.why, none], ['no_history', []])
        assert.match(said!.detail, /^stock on web1 began at .*, after this, and no other one is known$/)
      }
    }
    // It says so for the first time once its first trace has ended, which may be this one.
    const first = { firstUs: START + 5 * SECOND, madeUs: START - 10, firstHistoryUs: START - 10, historyUs: START - 10 }
    for (const madeUs of [START - 10, 0])
      assert.deepEqual(await whyOf(whole, [ring('stock', { ...first, madeUs })]), [['server', 'stock', 'unsent']])
    const [gone] = await missing(whole, [ring('stock', { ended: true, seenUs: START - 10 * SECOND })])
    assert.deepEqual(gone!.why, 'no_history')
    assert.match(gone!.detail, /^stock on web1 was last there at .*, before this/)
    const died = ring('stock', { ended: true, seenUs: START + SECOND + 10 })
    assert.deepEqual(await whyOf(whole, [died]), [['server', 'stock', 'ended']])
    // The rows of two hours are of one process: it came back, and was there before.
    const back = ring('stock', { ...later, madeUs: 0, firstUs: START + SECOND, firstHistoryUs: START + SECOND })
    assert.deepEqual(await whyOf(whole, [back, ring('stock', { madeUs: 0 })]), [['server', 'stock', 'overwritten']])
    // Only what it said last is known.
    const [stale] = await missing(whole, [ring('stock', { toldUs: START })], { keptUs: START + 5 * SECOND })
    assert.match(stale!.detail, /stock was asked \(its history was long enough at 2027-.*, the last that is known\)/)
  })

  it('is the half of a process that has passed the ids on, by which it looks as if another one had answered', async () => {
    const answer = (tags: object, fields: { id?: bigint; service?: string; host?: string } = {}) => {
      const { id = 2n, service = 'stock', host = 'web1' } = fields
      return half('server', id, id === 2n ? 1n : 2n, service, tags, host)
    }
    const whole = calling(thrift('get'))
    for (const direct of [
      [...whole, answer(thrift('get'))],
      [...whole, answer(thrift('get'), { id: 3n })],
      [...calling(http('/a')), answer(http('/a'), { id: 3n })],
      [...calling(http('http://stock:80/a')), answer(http('/a'), { id: 3n })],
      // Other tracers have their own words.
      [...whole, answer({ 'rpc.method': 'Stock/get' }, { id: 3n })],
      // A Thrift call over HTTP.
      [
        ...whole,
        half('client', 3n, 2n, 'front', { ...LOCAL, ...http('/') }),
        half('server', 4n, 3n, 'stock', http('/')),
      ],
    ]) {
      assert.deepEqual(await whyOf(direct, []), [])
      assert.deepEqual(await whyOf(direct, [ring('stock')]), [])
    }
    for (const passed of [
      [...whole, answer(thrift('list'))],
      [...whole, answer(thrift('list'), { id: 3n })],
      [...whole, answer(http('/a'), { id: 3n })],
      [...calling(http('/a')), answer(http('/b'), { id: 3n })],
      [...calling(http('/a')), answer(thrift('get'), { id: 3n })],
      // What the caller does meanwhile is no answer.
      [...whole, { ...answer({}, { id: 3n, service: 'front' }), events: [] }],
    ]) {
      const [said, ...none] = await missing(passed, [])
      assert.deepEqual(
        [said?.side, said?.service, said?.host, said?.why, none],
        ['server', null, '127.0.0.1', 'no_history', []],
      )
    }
    const [said] = await missing([...whole, answer(thrift('list'))], [])
    assert.match(said!.detail, /; the call was passed on: stock has answered stock 2$/)
    // Of the same operation, from a process that doesn't listen there.
    const forwarded = [...calling(http('/a')), answer(http('/a'), { id: 3n })]
    const elsewhere = ring('stock', { process: 99n, listening: ['[::]:9091'] })
    assert.deepEqual(await whyOf(forwarded, [elsewhere]), [['server', null, 'no_history']])
    assert.deepEqual(await whyOf(forwarded, [elsewhere, ring('stock')]), [], 'one of them does')
    assert.deepEqual(await whyOf(forwarded, [elsewhere, ring('proxy')]), [['server', 'proxy', 'unsent']])
    // A balancer's address isn't any process's, nor does a container know the port of its host.
    const balanced = [...calling({ ...http('/a'), ...to('10.0.0.9') }), answer(http('/a'), { id: 3n })]
    assert.deepEqual(await whyOf(balanced, [elsewhere]), [])
    const contained = [...calling(http('/a')), answer(http('/a'), { id: 3n, host: 'c0ffee' })]
    assert.deepEqual(await whyOf(contained, [{ ...elsewhere, host: 'c0ffee' }]), [])
  })

  it('is the caller of a span whose parent isn’t there: in its own process, if the span is no server’s', async () => {
    const server = half('server', 3n, 2n, 'stock', { 'network.peer.address': '::ffff:10.0.0.7' })
    const [caller, ...none] = await missing([server], [])
    assert.deepEqual(
      [caller!.side, caller!.service, caller!.host, caller!.why, none],
      ['client', null, '10.0.0.7', 'no_history', []],
    )
    const events = [{ timestamp: BigInt(START), eventType: EventType.CUSTOM }]
    const local = { ...half('client', 3n, 2n, 'stock', {}), events }
    assert.deepEqual(await whyOf([local], [ring('stock')]), [['client', 'stock', 'unsent']])
  })

  it('is one of several where nothing tells who has called, and once, as the span that knows it says', async () => {
    const local = { 'network.peer.address': '127.0.0.1' }
    const server = half('server', 3n, 2n, 'stock', local)
    const [stock, cart, shop] = [ring('stock'), ring('cart', { listening: [] }), ring('shop', { process: 9n })]
    const [one, ...none] = await missing([server], [stock, cart])
    assert.deepEqual([one!.why, one!.service, none], ['unsent', null, []])
    assert.match(one!.detail, /^if this was cart on web1: it was asked, but its limits/)
    const [some] = await missing(
      [server],
      [stock, cart, { ...shop, historyUs: START + SECOND, toldUs: START + SECOND }],
    )
    assert.equal(some!.why, 'unknown')
    assert.match(
      some!.detail,
      /: of cart on web1, or of shop on web1 \(overwritten\), or of a process without a history$/,
    )
    assert.deepEqual(await whyOf([server], []), [['client', null, 'no_history']])
    const [nowhere] = await missing([half('server', 3n, 2n, 'stock', {})], [stock, cart])
    assert.equal(nowhere!.why, 'unknown')
    // A span of the caller's own, which has sent some of its spans, is below the same parent.
    const events = [{ timestamp: BigInt(START), eventType: EventType.CUSTOM }]
    const inner = { ...half('client', 4n, 2n, 'cart', {}), events }
    for (const records of [
      [server, inner],
      [inner, server],
    ]) {
      const [caller, ...others] = await missing(records, [stock, cart, shop])
      assert.deepEqual([caller!.service, caller!.shownAt, caller!.why], ['cart', '0000000000000004', 'unsent'])
      assert.match(caller!.detail, /hadn't ended when the trace was kept/)
      assert.deepEqual(others, [])
      inner.annotations!.set('milo.left_out', '3')
      assert.match((await missing(records, [cart]))[0]!.detail, /but its limits were reached$/)
      inner.annotations!.clear()
    }
  })

  it('has ended once it could have come back: to a collector that was there meanwhile', async () => {
    const whole = calling(thrift('get'))
    const lostUs = START + 2 * SECOND
    const lost = [ring('stock', { ended: true, seenUs: lostUs })]
    const at = (seconds: number) => ({ nowUs: lostUs + seconds * SECOND })
    const [soon] = await missing(whole, lost, at(34))
    assert.equal(soon!.why, 'unknown')
    assert.match(soon!.detail, /^stock on web1 lost its connection at .*: it has ended, unless it comes back$/)
    assert.deepEqual(await whyOf(whole, lost, at(36)), [['server', 'stock', 'ended']])
    // The collector was away for 40 s: nobody knows who was there.
    const unseen = [ring('stock', { seenUs: lostUs })]
    const back = { keptUs: lostUs + 41 * SECOND, upUs: lostUs + 40 * SECOND }
    assert.deepEqual(await whyOf(whole, unseen, { ...back, ...at(60) }), [['server', 'stock', 'unknown']])
    assert.deepEqual(await whyOf(whole, unseen, { ...back, ...at(76) }), [['server', 'stock', 'ended']])
    // A call of that time as well.
    const meanwhile = [ring('stock', { seenUs: START - 38 * SECOND })]
    const since = (upUs: number) => ({ keptUs: START + 2 * SECOND, nowUs: START + 9 * SECOND, upUs })
    assert.deepEqual(await whyOf(whole, meanwhile, since(START + SECOND)), [['server', 'stock', 'unknown']])
    assert.deepEqual(await whyOf(whole, meanwhile, since(START - 40 * SECOND)), [['server', null, 'no_history']])
    // Of two at one port, nobody knows which one it was.
    const other = ring('stock', { process: 8n })
    const [said] = await missing(whole, [...lost, other])
    assert.deepEqual([said!.why, said!.service], ['unsent', 'stock'])
    assert.match(said!.detail, /^if this was stock on web1: it was asked/)
    const [both] = await missing(whole, [...lost, { ...other, ended: true, seenUs: lostUs + 9 }])
    assert.match(both!.detail, /^if this was stock on web1: it ended/)
  })

  it('is what a process had overwritten of its own, by its own clock', async () => {
    const history = (us: number) => ({ 'milo.history': String(START + us) })
    const server = (us: number, tags: object = {}, id = 2n) =>
      half('server', id, 1n, 'stock', { ...history(us), ...tags })
    assert.deepEqual(await missing([root, server(-1)], []), [])
    assert.deepEqual(await missing([root, server(100)], []), [], 'its part began then')
    assert.deepEqual(await missing([root, server(SECOND)], []), [], 'a clock was set')
    const [said, ...none] = await missing([root, server(700)], [])
    assert.deepEqual(none, [])
    assert.deepEqual(
      [said!.side, said!.spanId, said!.service, said!.why],
      ['inner', '0000000000000002', 'stock', 'overwritten'],
    )
    assert.match(said!.detail, /^what ended in stock before .*Z was overwritten; its part of this trace began at .*Z$/)
    // The first that was sent is below it.
    const later = [{ timestamp: BigInt(START + 300), eventType: EventType.CLIENT_SEND }]
    const inner = (id: bigint, parentId: bigint, us: number) => ({
      ...half('client', id, parentId, 'stock', history(us)),
      events: later,
    })
    const below = [root, half('server', 2n, 1n, 'stock', {}), inner(3n, 2n, 250)]
    const where = async (records: SpanRecord[]) =>
      (await missing(records, [])).filter(({ side }) => side === 'inner').map(({ spanId }) => Number(spanId))
    assert.deepEqual(await where(below), [2])
    // Of two processes on one host, one has forgotten.
    assert.deepEqual(await where([root, server(-9), server(700, {}, 5n)]), [5])
    // It has answered again.
    assert.deepEqual(await where([root, server(-9), inner(3n, 2n, 250)]), [])
  })

  it('is known of processes whose clocks are an hour off, by the collector’s', async () => {
    const hour = 3600 * SECOND
    const local = { 'server.address': '127.0.0.1', 'server.port': '9090', ...thrift('get') }
    for (const aheadUs of [hour, -hour]) {
      // The caller's clock is off, and its host's; the rings' times are by the collector's.
      const shift = (record: SpanRecord) => ({
        ...record,
        events: record.events!.map(event => ({ ...event, timestamp: event.timestamp! + BigInt(aheadUs) })),
      })
      const records = [root, half('client', 2n, 1n, 'front', local)].map(shift)
      const caller = ring('front', { process: 77n, listening: [], aheadUs })
      const whyNow = (...rings: SeenRing[]) => whyOf(records, rings, { here: [caller] })
      assert.deepEqual(await whyNow(ring('stock')), [['server', 'stock', 'unsent']])
      const forgot = ring('stock', { historyUs: START + SECOND, toldUs: START + SECOND })
      assert.deepEqual(await whyNow(forgot), [['server', 'stock', 'overwritten']])
      const later = { madeUs: START + SECOND, firstUs: START + SECOND, firstHistoryUs: START + SECOND }
      assert.deepEqual(await whyNow(ring('stock', { ...forgot, ...later })), [['server', null, 'no_history']])
    }
  })
})
