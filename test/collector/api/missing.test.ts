import assert from 'node:assert/strict'
import { missingHalves } from '../../../collector/src/api/keeps/missing'
import { Rings } from '../../../collector/src/keep/rings'
import { type KeepReader, MAX_RINGS_READ, type SeenRing } from '../../../collector/src/store/keeps'
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

async function missing(...args: Parameters<typeof found>) {
  const { missing, missingCount } = await found(...args)
  assert.equal(missingCount, missing.length)
  return missing
}

async function found(records: SpanRecord[], rings: SeenRing[], times: Times = {}) {
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
  for (const { detail } of found.missing) assert.match(detail, /^.{20,250}$/)
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
    for (const [madeUs, why] of [
      [START - 10, 'unsent'],
      // It may have lost something before.
      [0, 'unknown'],
    ] as const)
      assert.deepEqual(await whyOf(whole, [ring('stock', { ...first, madeUs })]), [['server', 'stock', why]])
    const [gone] = await missing(whole, [ring('stock', { ended: true, seenUs: START - 10 * SECOND })])
    assert.deepEqual(gone!.why, 'no_history')
    assert.match(gone!.detail, /^stock on web1 was last there at .*, before this/)
    const died = ring('stock', { ended: true, seenUs: START + SECOND + 10 })
    assert.deepEqual(await whyOf(whole, [died]), [['server', 'stock', 'ended']])
    // The rows of two hours are of one process: it came back, and was there before.
    const back = ring('stock', { ...later, madeUs: 0, firstUs: START + SECOND, firstHistoryUs: START + SECOND })
    assert.deepEqual(await whyOf(whole, [back, ring('stock', { madeUs: 0 })]), [['server', 'stock', 'overwritten']])
    // Only what it said last is known.
    const stalled = ring('stock', { toldUs: START, seenUs: START + 6 * SECOND })
    const [stale] = await missing(whole, [stalled], { keptUs: START + 5 * SECOND })
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

  it('is the half of who listens exactly where the caller called, by the machine’s address or name, and has died', async () => {
    const called = (address: string) => [
      ...calling({ ...thrift('get'), ...to(address) }),
      half('server', 3n, 2n, 'stock', thrift('get')),
    ]
    const died = { ended: true, seenUs: START + 500 }
    const lost = ring('cart', { ...died, host: 'web2', listening: ['[::]:9090', '10.0.0.7:9090'] })
    // The one that has answered is on that machine, or on another one.
    for (const listening of [['[::]:9091', '10.0.0.7:9091'], ['[::]:9090', '10.0.0.8:9090'], ['10.0.0.8:9091']]) {
      const answers = ring('stock', { listening })
      for (const address of ['10.0.0.7', 'web2', '::ffff:10.0.0.7'])
        assert.deepEqual(await whyOf(called(address), [lost, answers]), [['server', 'cart', 'ended']], address)
      assert.deepEqual(await whyOf(called('10.0.0.9'), [lost, answers]), [], 'a balancer')
      // A container’s port may be that of another one, on the outside.
      assert.deepEqual(await whyOf(called('10.0.0.1'), [lost, answers]), [])
      // It had gone before: another one has its place.
      const before = { ...lost, seenUs: START - SECOND }
      const isThere = listening[0] === '[::]:9091'
      assert.deepEqual(
        await whyOf(called('10.0.0.7'), [before, answers]),
        isThere ? [['server', null, 'no_history']] : [],
      )
    }
    assert.deepEqual(
      await whyOf(called('10.0.0.7'), [lost, ring('stock', { listening: [] })]),
      [],
      'it may listen there',
    )
    // Without a history: the one that has answered says itself that the address is its machine’s.
    const own = ring('stock', { listening: ['[::]:9091', '10.0.0.7:9091'] })
    assert.deepEqual(await whyOf(called('10.0.0.7'), [own]), [['server', null, 'no_history']])
  })

  it('is the half of a process that has called another one of its service, where ids are joined', async () => {
    const answer = half('server', 5n, 2n, 'stock', thrift('get'))
    const lost = [...calling(thrift('get')), answer]
    assert.deepEqual(await whyOf(lost, [ring('stock')]), [], 'it may have answered with an id of its own')
    const joined = (caller: string, callee: string, tags: object) => [
      half('client', 7n, 1n, caller, { ...LOCAL, ...tags }),
      half('server', 7n, 1n, callee, tags),
    ]
    const [front, stock] = [joined('front', 'stock', thrift('list')), joined('front', 'other', thrift('list'))]
    assert.deepEqual(await whyOf([...lost, ...front], [ring('stock')]), [['server', 'stock', 'unsent']])
    // Which of both doesn’t, nobody knows; and of other protocols, nothing says it.
    assert.deepEqual(await whyOf([...lost, ...stock], [ring('stock')]), [])
    assert.deepEqual(await whyOf([...lost, ...joined('front', 'stock', http('/'))], [ring('stock')]), [])
    const others = joined('cart', 'stock', thrift('list')).map(record => ({ ...record, id: 8n }))
    assert.deepEqual(await whyOf([...lost, ...others], [ring('stock')]), [])
    assert.deepEqual(await whyOf([...lost, ...others, ...stock], [ring('stock')]), [['server', 'stock', 'unsent']])
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
    const [soon] = await missing(whole, lost, at(9))
    assert.equal(soon!.why, 'unknown')
    assert.match(soon!.detail, /^stock on web1 lost its connection at .*: it has ended, unless it comes back$/)
    assert.deepEqual(await whyOf(whole, lost, at(11)), [['server', 'stock', 'ended']])
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
    assert.deepEqual([said!.why, said!.service], ['unknown', 'stock'])
    assert.match(said!.detail, /^it isn't known whose this is: of stock on web1 \(ended\), or of stock on web1, or of /)
    const [both] = await missing(whole, [...lost, { ...other, ended: true, seenUs: lostUs + 9 }])
    assert.match(both!.detail, /^if this was stock on web1: it ended/)
  })

  it('isn’t with a process that nobody has seen since it was asked, however lately it was there before', async () => {
    const whole = calling(thrift('get'))
    const seenUs = START + 2 * SECOND
    const silent = [ring('stock', { seenUs })]
    const at = (seconds: number, upUs?: number) => {
      return { keptUs: START + 5 * SECOND, nowUs: seenUs + seconds * SECOND, ...(upUs !== undefined && { upUs }) }
    }
    assert.deepEqual(await whyOf(whole, silent, at(34)), [['server', 'stock', 'unknown']])
    assert.deepEqual(await whyOf(whole, silent, at(36)), [['server', 'stock', 'ended']])
    // The collector was away in between.
    assert.deepEqual(await whyOf(whole, silent, at(36, START + 4 * SECOND)), [['server', 'stock', 'unknown']])
    assert.deepEqual(await whyOf(whole, silent, at(38, START + 4 * SECOND)), [['server', 'stock', 'ended']])
  })

  it('is what a process had overwritten of its own, by its own clock', async () => {
    const history = (us: number) => ({ 'milo.history': String(START + us) })
    const server = (us: number, tags: object = {}, id = 2n) =>
      half('server', id, 1n, 'stock', { ...history(us), ...tags })
    assert.deepEqual(await missing([root, server(-1)], []), [])
    assert.deepEqual(await missing([root, server(100)], []), [], 'its part began then')
    assert.deepEqual(await missing([root, server(60 * SECOND)], []), [], 'a clock was set')
    const [said, ...none] = await missing([root, server(700)], [])
    assert.deepEqual(none, [])
    const [held] = await missing([root, server(SECOND)], [])
    assert.equal(held!.why, 'overwritten', 'all that is left had been held until the history was searched')
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

  it('is by what a process has said with its spans, however unevenly its history has moved on', async () => {
    const answered = (historyUs: number, fields = {}) => [
      ...calling(thrift('get')),
      half('client', 4n, 1n, 'front', { ...LOCAL, ...thrift('get') }),
      {
        ...half('server', 4n, 1n, 'stock', { ...thrift('get'), 'milo.history': String(START + historyUs) }),
        ...fields,
      },
    ]
    const ofHalf = async (...args: Parameters<typeof missing>) =>
      (await missing(...args)).filter(({ side }) => side === 'server')
    // At once at the time of the trace, and then little; little, and then at once.
    const [soon, late] = [50, -10 * SECOND]
    const quiet = ring('stock', { toldUs: START + 600 * SECOND, historyUs: START - 30 * SECOND })
    const busy = ring('stock', { toldUs: START + 60 * SECOND, historyUs: START + 59 * SECOND })
    for (const told of [quiet, busy]) {
      const [lost, ...none] = await ofHalf(answered(soon), [told])
      assert.deepEqual([lost!.spanId, lost!.why, none], ['0000000000000002', 'overwritten', []])
      assert.match(lost!.detail, /^the history of stock began at 2027-01-15T08:00:00\.000Z, after this$/)
      const [had] = await ofHalf(answered(late), [told])
      assert.equal(had!.why, 'unsent')
      assert.match(had!.detail, /^stock was asked, but this hadn't ended/)
      // It has asked no collector on these databases.
      assert.equal((await ofHalf(answered(soon).map(asked), []))[0]!.why, 'overwritten')
      assert.equal((await ofHalf(answered(late).map(asked), []))[0]!.why, 'unsent')
    }
    function asked(record: SpanRecord): SpanRecord {
      if (record.id !== 2n) return record
      return { ...record, annotations: new Map([...record.annotations!, ['peer.service', 'stock']]) }
    }
    // It has said so, and ended then.
    const gone = ring('stock', { ended: true, seenUs: START + 2 * SECOND })
    assert.equal((await ofHalf(answered(soon), [gone]))[0]!.why, 'overwritten')
    assert.equal((await ofHalf(answered(late), [gone]))[0]!.why, 'ended')
    // Who hasn't waited for the answer doesn't know whether it goes on.
    const left = answered(soon)
    left[1]!.annotations!.set('error.type', 'timeout')
    const [open] = await ofHalf(left, [quiet])
    assert.equal(open!.why, 'unknown')
    assert.match(
      open!.detail,
      /^stock was asked when its history began at .*: this was overwritten, or it hasn't ended/,
    )
    left[1]!.annotations!.set('thrift.result', 'exception')
    assert.equal((await ofHalf(left, [quiet]))[0]!.why, 'overwritten')
    // What was there before it at its place has lost nothing: it had ended before anybody asked.
    const before = ring('stock', { ended: true, seenUs: START + SECOND / 2 })
    const began = { madeUs: START + 600_000, firstUs: START + 600_000, firstHistoryUs: START + 600_000 }
    const next = { ...quiet, ...began, process: 99n }
    assert.equal((await ofHalf(answered(600_000), [before, next]))[0]!.why, 'ended')
    // Which one of two on the host has said it, nobody knows.
    assert.equal((await ofHalf(answered(soon), [busy, { ...quiet, process: 99n }]))[0]!.why, 'unknown')
    assert.equal((await ofHalf(answered(late), [busy, { ...busy, process: 99n }]))[0]!.why, 'unknown')
  })

  it('is unknown where a process that has sent nothing may have had it or not, by what it told before and after', async () => {
    const whole = calling(thrift('get'))
    const later = { toldUs: START + 60 * SECOND, historyUs: START + 59 * SECOND }
    const [said, ...none] = await missing(whole, [ring('stock', later)])
    assert.deepEqual([said!.why, said!.service, none], ['unknown', 'stock', []])
    assert.match(
      said!.detail,
      /^stock was asked when its history began between 2027-01-15T07:59:00\.000Z and 2027-01-15T08:00:59\.000Z: this was overwritten, or /,
    )
    const [one] = await missing(whole, [ring('stock', { ...later, process: 9n }), ring('stocks', later)])
    assert.match(one!.detail, /^127\.0\.0\.1 was asked when its history began between/)
    const [either] = await missing(whole, [ring('stock', later), ring('stocks')])
    assert.match(
      either!.detail,
      /whose this is: of stock on web1 \(perhaps overwritten\), or of stocks on web1, or of /,
    )
    // What it told when it was asked says it, also from another hour's row.
    const at = (us: number, historyUs: number) => ({ firstUs: START + us, firstHistoryUs: START + historyUs })
    const [lost] = await missing(whole, [ring('stock', { ...later, ...at(SECOND, 2000) }), ring('stock')])
    assert.match(lost!.detail, /^the history of stock began at 2027-01-15T08:00:00\.002Z, after this$/)
    const before = [{ us: START + 900, historyUs: START + 2000 }]
    assert.deepEqual(await whyOf(whole, [ring('stock', { ...later, tellings: before })]), [
      ['server', 'stock', 'overwritten'],
    ])
  })

  it('is unknown until a process has told how far its history goes back after it was searched', async () => {
    const whole = calling(thrift('get'))
    const stock = (...told: [us: number, historyUs: number][]) => {
      const tellings = told.map(([us, historyUs]) => ({ us: START + us, historyUs: START + historyUs }))
      const { us, historyUs } = tellings.at(-1)!
      return [ring('stock', { tellings, toldUs: us, seenUs: us, historyUs })]
    }
    const waits: [number, number] = [-5 * SECOND, -30 * SECOND]
    const asked: [number, number] = [SECOND + 1000, -1]
    // The question that tells of it, the one that comes before the search, and the one after it.
    const [soon, ...none] = await missing(whole, stock(waits, asked))
    assert.deepEqual([soon!.why, none], ['unknown', []])
    assert.match(
      soon!.detail,
      /^stock was asked when its history began at 2027-01-15T07:59:59\.999Z or later: this was/,
    )
    assert.equal((await missing(whole, stock(waits, asked, [SECOND + 60_000, -1])))[0]!.why, 'unknown')
    const third = (historyUs: number) => stock(waits, asked, [SECOND + 60_000, -1], [SECOND + 110_000, historyUs])
    assert.equal((await missing(whole, third(-1)))[0]!.why, 'unsent')
    assert.match((await missing(whole, third(5000)))[0]!.detail, /between .*07:59:59\.999Z and .*08:00:00\.005Z/)
    // Or so late that it has asked again meanwhile.
    assert.equal((await missing(whole, stock(waits, asked, [40 * SECOND, -1])))[0]!.why, 'unsent')
    // Before it was searched it had lost this, unless the question that told of it came a moment before.
    assert.equal((await missing(whole, stock(waits, [SECOND + 1000, 2000])))[0]!.why, 'overwritten')
    const busy = stock([SECOND - 10_000, -1], [SECOND + 40_000, 2000])
    assert.equal((await missing(whole, busy))[0]!.why, 'unknown')
  })

  it('isn’t said to be of nobody where not all processes were looked for', async () => {
    const early = half('client', 9n, 1n, 'front', LOCAL)
    early.events = early.events!.map(event => ({ ...event, timestamp: event.timestamp! - BigInt(48 * 3600 * SECOND) }))
    const [said] = await missing([...calling(thrift('get')), early], [])
    assert.equal(said!.why, 'unknown')
    assert.match(
      said!.detail,
      /^no process of 127\.0\.0\.1:9090 that has a history is known, but not all were looked for/,
    )
    const many = Array.from({ length: MAX_RINGS_READ }, (_, i) => ring('other', { process: BigInt(i), host: 'web2' }))
    assert.deepEqual(await whyOf(calling(thrift('get')), many), [['server', null, 'unknown']])
  })

  it('is counted where there is more than is listed, and what concerns all of a process isn’t left out', async () => {
    const inner = half('server', 2n, 1n, 'stock', { 'milo.history': String(START + 700) })
    const calls = (n: number) =>
      Array.from({ length: n }, (_, i) => half('client', 10_000n + BigInt(i), 1n, 'front', LOCAL))
    const orphans = (n: number) =>
      Array.from({ length: n }, (_, i) => half('server', 30_000n + BigInt(i), 20_000n + BigInt(i), 'cart', {}))
    for (const [servers, clients, listed] of [
      [1500, 0, { inner: 1, server: 999 }],
      [0, 1500, { inner: 1, client: 999 }],
      [1500, 1200, { inner: 1, server: 500, client: 499 }],
      [1500, 3, { inner: 1, server: 996, client: 3 }],
      [3, 1500, { inner: 1, server: 3, client: 996 }],
    ] as const) {
      const { missing, missingCount } = await found([root, inner, ...calls(servers), ...orphans(clients)], [])
      assert.equal(missingCount, 1 + servers + clients)
      const sides: Record<string, number> = {}
      for (const { side } of missing) sides[side] = (sides[side] ?? 0) + 1
      assert.deepEqual(sides, listed)
    }
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
