import assert from 'node:assert/strict'
import { decodeRecords } from '../../../collector/src/record/records'
import { EventType, encodeRecord, type SpanRecord } from '../../../src/codec/span'
import { until } from '../../helpers/until'
import { keepsFrame, kept, told } from '../keeps'
import { lineOf, resultsOf } from '../offline/programs'
import { collector, hex, Peer, randomId, span, type TestCollector, undo } from '../support'

const MINUTE_US = 60_000_000

describe('the API of what is kept after the fact', () => {
  afterEach(undo)

  async function post(c: TestCollector, body: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(`${c.url}/api/keep`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
    return { status: response.status, body: (await response.json()) as any }
  }

  it('asks processes for a trace, or for the next ones of an operation, and lists who asked and what was caught', async () => {
    const c = await collector()
    const peer = new Peer(c.scribePorts[0]!)
    const since = told(await peer.call(keepsFrame(0n, 0, {}, 7n))).next
    const sender = new Peer(c.scribePorts[0]!)
    const spans = [kept('error'), kept('error'), kept('slow'), kept('error', { name: 'Shop.list', service: 'list' })]
    assert.equal(await sender.log(...spans), 0)
    const traceId = hex(randomId())
    assert.deepEqual(await post(c, { traceId }), { status: 202, body: { traceId, processes: 1 } })
    await until('its name is stored', async () => (await c.get('/api/search?name=Shop.order')).body.traces.length > 0)
    const operation = { service: 'shop', name: 'Shop.order', n: 3 }
    assert.deepEqual(await post(c, operation), { status: 202, body: { ...operation, processes: 1, ofService: 1 } })
    const hint = 'no process of nobody asks now what to keep'
    const nobody = { service: 'nobody', name: 'x', n: 1 }
    assert.deepEqual((await post(c, nobody)).body, { ...nobody, processes: 1, ofService: 0, hint })
    const misspelled = { ...operation, name: 'Shop.orde' }
    assert.match((await post(c, misspelled)).body.hint, /^no stored span is called Shop\.orde: it may/)
    assert.equal(await sender.log(kept('requested')), 0)
    const { entries } = told(await peer.call(keepsFrame(since, 0)))
    assert.deepEqual(
      entries.map(({ kind, n }) => [kind, n]),
      [
        [0, 0],
        [0, 0],
        [0, 0],
        [0, 0],
        [0, 0],
        [2, 3],
        [1, 3],
        [2, 1],
        [1, 1],
        [2, 3],
        [1, 3],
        [0, 0],
      ],
    )
    assert.equal(entries[4]!.id, BigInt(`0x${traceId}`))
    const list = async (query = '') => (await c.get(`/api/keeps${query}`)).body
    const groups = ({ caught }: any) => caught.map(({ reason, name, traces }: any) => [reason, name, traces])
    await until('all are stored', async () => groups(await list()).length === 4)
    const all = await list()
    assert.deepEqual(groups(all)[0], ['error', 'Shop.order', 2])
    assert.deepEqual(groups(all).slice(1).sort(), [
      ['error', 'Shop.list', 1],
      ['requested', 'Shop.order', 1],
      ['slow', 'Shop.order', 1],
    ])
    const of = all.caught[0]
    assert.deepEqual(
      of.latest.map((one: any) => one.traceId),
      [hex(spans[1]!.traceId), hex(spans[0]!.traceId)],
    )
    assert.ok(of.first <= of.last && of.latest[0].time === of.last)
    const requests = all.requests.map(({ time, ...rest }: any) => rest)
    assert.deepEqual(requests, [
      { ...misspelled, by: null },
      { ...nobody, by: null },
      { ...operation, by: null },
      { traceId, by: null },
    ])
    // A trace that was kept for one of them has come since.
    assert.deepEqual((await list('?limit=1')).requests, all.requests.slice(0, 1))
    assert.deepEqual((await list('?limit=3')).requests, all.requests.slice(0, 3))
    assert.deepEqual((await list('?service=nobody')).requests, all.requests.slice(1, 2))
    assert.deepEqual(groups(await list('?reason=slow')), [['slow', 'Shop.order', 1]])
    assert.deepEqual(groups(await list('?service=list')), [['error', 'Shop.list', 1]])
    assert.deepEqual(groups(await list('?from=-2h&to=-1h')), [])
    assert.equal((await c.get('/api/keeps?from=now&to=-1h')).status, 400)
    const found = await until('it is found', async () => {
      const { traces } = (await c.get('/api/search?annotation=milo.keep%3Dslow')).body
      return traces.length > 0 && traces
    })
    assert.deepEqual(
      found.map((trace: any) => [trace.traceId, trace.kept]),
      [[hex(spans[2]!.traceId), ['slow']]],
    )
    for (const bad of [
      {},
      { traceId, name: 'x' },
      { name: '' },
      { name: 'x', n: 0 },
      { name: 'x', n: 256 },
      { traceId: 'é' },
      { id: 1 },
      [],
    ]) {
      assert.equal((await post(c, bad)).status, 400, JSON.stringify(bad))
    }
  })

  it('takes names as long as those of spans', async () => {
    const c = await collector()
    const name = `Shop.${'x'.repeat(251)}`
    const cause = {
      ...{ id: 5n, name },
      annotations: new Map([
        ['milo.keep', 'error'],
        ['milo.keep_span', `${'5'.padStart(16, '0')} ${name}`],
      ]),
    }
    assert.equal(await new Peer(c.scribePorts[0]!).log(kept('error', { name }), kept('error', cause)), 0)
    const asked = { service: 's'.repeat(256), name, n: 2 }
    assert.equal((await post(c, asked)).status, 202)
    assert.equal((await post(c, { ...asked, name: `${name}x` })).status, 400)
    const { caught } = await until('both are listed', async () => {
      const { body } = await c.get(`/api/keeps?name=${name}&service=shop`)
      return body.caught[0]?.traces === 2 && body
    })
    assert.equal(caught[0].name, name)
    const { requests } = (await c.get(`/api/keeps?name=${name}`)).body
    assert.deepEqual([requests[0].service, requests[0].name], [asked.service, name])
    await until('the search finds both', async () => {
      return (await c.get(`/api/search?name=${name}&annotation=milo.keep%3Derror`)).body.traces?.length === 2
    })
  })

  it('names the operation that kept a trace as it is called at its end, whichever of its spans comes first', async () => {
    const c = await collector()
    const [traceId, id] = [randomId(), randomId()]
    const peer = new Peer(c.scribePorts[0]!)
    const named = (name: string) => {
      const annotations = new Map([
        ['milo.keep', 'big order'],
        ['milo.keep_span', `${hex(id)} ${name}`],
      ])
      return { traceId, annotations, service: 'web' }
    }
    const asks = told(await peer.call(keepsFrame(0n, 0))).next
    assert.equal(await peer.log(kept('', { ...named('checkout, at first'), name: 'SELECT cart' })), 0)
    assert.equal(told(await peer.call(keepsFrame(asks, 0))).entries.length, 1, 'others are asked for it at once')
    assert.equal(await peer.log(kept('', { ...named('checkout'), id, name: 'checkout' })), 0)
    const caught = async (query: string) => (await c.get(`/api/keeps?service=web&${query}`)).body.caught
    const [of] = await until('it is listed', async () => (await caught('')).length > 0 && caught('name=checkout'))
    assert.deepEqual([of.reason, of.name, of.latest[0].traceId], ['big order', 'checkout', hex(traceId)])
    assert.equal((await caught('')).length, 1)
    const reasons = async () => (await c.get(`/api/traces/${hex(traceId)}`)).body.kept.reasons
    assert.deepEqual(await reasons(), [{ reason: 'big order', service: 'web', name: 'checkout', spanId: hex(id) }])
  })

  it('counts a trace once for each service, operation and reason that its processes kept it for, in whatever order they come', async () => {
    const c = await collector()
    const peer = new Peer(c.scribePorts[0]!)
    const of = (traceId: bigint, service: string, reason = 'error', name = 'GET /') =>
      kept(reason, { traceId, service, name })
    const one = randomId()
    // In calls of their own, some of them twice: their sender got no answer.
    for (const service of ['c', 'b', 'a', 'b', 'c']) assert.equal(await peer.log(of(one, service)), 0)
    // What else its process sends of it says the reason alone.
    const other = new Map([['milo.keep', 'error']])
    assert.equal(await peer.log(kept('', { traceId: one, service: 'c', name: 'other', annotations: other })), 0)
    const two = randomId()
    assert.equal(
      await peer.log(of(two, 'a'), of(two, 'c'), of(two, 'b'), of(two, 'b', 'error', 'SELECT'), of(two, 'a', 'slow')),
      0,
    )
    assert.equal(await c.metric('keeps_announced_total'), 2)
    const groups = async (query: string) =>
      (await c.get(`/api/keeps?${query}`)).body.caught
        .map(({ reason, service, name, traces, latest }: any) => [reason, service, name, traces, latest.length])
        .sort()
    const all = await until('all are listed', async () => {
      const found = await groups('')
      return found.length === 5 && found
    })
    assert.deepEqual(all, [
      ['error', 'a', 'GET /', 2, 2],
      ['error', 'b', 'GET /', 2, 2],
      ['error', 'b', 'SELECT', 1, 1],
      ['error', 'c', 'GET /', 2, 2],
      ['slow', 'a', 'GET /', 1, 1],
    ])
    assert.deepEqual(await groups('service=a&reason=error'), [['error', 'a', 'GET /', 2, 2]])
    // Somebody asked for it before its process kept it.
    const asked = randomId()
    await post(c, { traceId: hex(asked) })
    assert.equal(await peer.log(of(asked, 'late')), 0)
    await until('it is listed', async () => (await groups('service=late')).length === 1)
  })

  it('asks nobody for another site’s page, or without a token of scope full', async () => {
    const { createToken } = require('../../../collector/src/auth/credentials')
    const [ingest, read, full] = ['ingest', 'read', 'full'].map(scope => createToken(scope, scope))
    const base = await collector()
    const tokens = [ingest, read, full].map(({ line }) => line)
    const c = await collector({ http: { ...base.config.http, tokens } })
    const name = { name: 'Shop.order' }
    const as = ({ token }: { token: string }) => ({ authorization: `Bearer ${token}` })
    assert.equal((await post(c, name)).status, 401)
    assert.equal((await post(c, name, as(ingest))).status, 403)
    assert.equal((await post(c, name, as(read))).status, 403)
    assert.equal((await post(c, name, { ...as(full), 'sec-fetch-site': 'cross-site' })).body.code, 'MILO_CROSS_SITE')
    assert.equal((await post(c, name, as(full))).status, 202)
    const feed = async (headers: Record<string, string>) => (await fetch(`${c.url}/api/keeps/feed`, { headers })).status
    assert.deepEqual([await feed({}), await feed(as(ingest)), await feed(as(full))], [401, 200, 200])
  })

  it('says in a trace why it was kept, what is missing in it, and why', async () => {
    const c = await collector()
    const nowUs = Math.floor(Date.now() * 1000)
    const traceId = randomId()
    const call = (id: bigint, peer: string, beganUs: number, tags: object = {}) =>
      span({
        ...{ traceId, id, parentId: 1n, service: 'shop', name: `${peer}.get`, probability: 0 },
        annotations: new Map(Object.entries({ 'peer.service': peer, 'milo.keep': 'error', ...tags })),
        events: [
          { timestamp: BigInt(beganUs), eventType: EventType.CLIENT_SEND },
          { timestamp: BigInt(beganUs + 1000), eventType: EventType.CLIENT_RECV },
        ],
      })
    // Processes: one that has been there for long, one that began a moment ago, one that ends.
    const ask = async (service: string, process: bigint, madeUs: number, historyUs = madeUs) => {
      const response = await fetch(
        `${c.url}/api/keeps/feed?service=${service}&host=h-${service}&process=${process}&made=${madeUs}&history=${historyUs}`,
      )
      assert.equal(response.status, 200)
    }
    await ask('stays', 1n, nowUs - MINUTE_US)
    await ask('forgets', 2n, nowUs - MINUTE_US, nowUs)
    await ask('begins', 4n, nowUs)
    const ends = new Peer(c.scribePorts[0]!)
    told(await ends.call(keepsFrame(0n, 0, {}, 3n)))
    const rings = async () => (await c.get('/api/keeps')).body.services.map(({ service }: any) => service)
    await until('they are known', async () => (await rings()).length === 4)
    ends.socket.destroy()
    await until('one has ended', async () => (await rings()).length === 3)

    const root = span({ traceId, id: 1n, parentId: 9n, service: 'shop', name: 'Shop.order', probability: 0 })
    root.annotations = new Map([
      ['milo.keep', 'error'],
      ['milo.history', String(nowUs - MINUTE_US)],
    ])
    root.events = root.events!.map(event => ({ ...event, timestamp: BigInt(nowUs - 2000) }))
    const beganUs = nowUs - 1500
    const records = [
      root,
      call(2n, 'stays', beganUs),
      call(3n, 'forgets', beganUs),
      call(4n, 'shop', beganUs),
      call(5n, 'unknown', beganUs),
      call(6n, 'mysql', beganUs, { 'db.system': 'mysql' }),
      call(11n, 'begins', beganUs),
      // Its server has answered.
      call(7n, 'answers', beganUs),
      span({
        traceId,
        id: 7n,
        parentId: 1n,
        service: 'answers',
        probability: 0,
        annotations: new Map(Object.entries({ 'milo.keep': 'asked', 'milo.left_out': '120' })),
      }),
      // So has this one's, as a span of its own.
      call(8n, 'answers', beganUs),
      span({ traceId, id: 10n, parentId: 8n, service: 'answers', probability: 0 }),
    ]
    assert.equal(await new Peer(c.scribePorts[0]!).log(...records), 0)
    // It has been asked, and asks for more.
    await ask('stays', 1n, nowUs - MINUTE_US)
    const { body, headers } = await until('it is there', async () => {
      const response = await fetch(`${c.url}/api/traces/${hex(traceId)}`)
      if (response.status !== 200) return undefined
      return { body: (await response.json()) as any, headers: response.headers }
    })
    const { reasons, missing, leftOut } = body.kept
    assert.deepEqual(leftOut, [{ service: 'answers', spans: 120 }])
    assert.deepEqual(reasons[0], { reason: 'error', service: 'shop', name: 'Shop.order', spanId: hex(1n) })
    const why = Object.fromEntries(missing.map((half: any) => [half.spanId, [half.side, half.why]]))
    assert.deepEqual(why, {
      [hex(9n)]: ['client', 'unknown'],
      [hex(2n)]: ['server', 'unsent'],
      [hex(3n)]: ['server', 'overwritten'],
      // A process of shop's has left a moment ago, and may come back.
      [hex(4n)]: ['server', 'unknown'],
      [hex(5n)]: ['server', 'no_history'],
      [hex(11n)]: ['server', 'no_history'],
    })
    const { detail: began } = missing.find((half: any) => half.spanId === hex(11n))
    assert.match(began, /^begins on h-begins began at .*, after this/)
    assert.ok(missing.every(({ detail }: any) => /^.{20,200}$/.test(detail)))
    assert.equal(headers.get('etag'), null, 'what is missing may come, and why it is may become known')
    // Of a trace that was sampled, or forced, nothing is said.
    const annotations = new Map([['milo.keep', 'my word']])
    for (const sampled of [kept('my word', { probability: 1 }), span({ annotations, probability: 0 })]) {
      assert.equal(await new Peer(c.scribePorts[0]!).log(sampled), 0)
      const plain = await fetch(`${c.url}/api/traces/${hex(sampled.traceId)}`)
      assert.equal(((await plain.json()) as any).kept, undefined)
      assert.ok(plain.headers.get('etag'))
    }
    assert.ok((await c.get('/api/keeps')).body.caught.every(({ reason }: any) => reason === 'error'))
    assert.equal(await c.metric('keeps_announced_total'), 1)
  })
})

describe('what was kept after the fact', () => {
  afterEach(undo)

  it('changes no figure of services, calls or changes, and no offline analysis: equal to the last digit', async () => {
    const beganUs = (Math.floor(Date.now() / 60_000) - 10) * MINUTE_US
    const sampled: Buffer[] = []
    const keptAlso: Buffer[] = []
    let id = 1n
    const half = (
      traceId: bigint,
      spanId: bigint,
      parentId: bigint,
      fields: object,
      startUs: number,
      us: number,
      side: 'CLIENT' | 'SERVER',
    ) => ({
      ...{ traceId, id: spanId, parentId },
      events: [
        { timestamp: BigInt(startUs), eventType: EventType[`${side}_SEND`] },
        { timestamp: BigInt(startUs + us), eventType: EventType[`${side}_RECV`] },
      ].map((event, i) => ({
        ...event,
        eventType: side === 'SERVER' ? [EventType.SERVER_RECV, EventType.SERVER_SEND][i]! : event.eventType,
      })),
      ...fields,
    })
    for (let i = 0; i < 60; i++) {
      const isKept = i % 3 === 0
      const traceId = BigInt(i + 1) * 0x9e3779b97f4a7n
      const at = beganUs + i * 7_000_000
      const us = 1000 + ((i * 7919) % 5000) * (isKept ? 50 : 1)
      const [root, child] = [id++, id++]
      const error = isKept ? { 'error.type': 'Bad' } : {}
      const keeps = isKept ? { 'milo.keep': 'error', 'milo.history': '1' } : {}
      const annotations = new Map(Object.entries({ ...error, ...keeps }))
      const fields = { probability: isKept ? 0 : [0.1, 0.3, 1][i % 3], ...(annotations.size > 0 && { annotations }) }
      const records = [
        half(traceId, root, 0n, { ...fields, service: 'web', name: 'Web.get' }, at, us, 'SERVER'),
        half(traceId, child, root, { ...fields, service: 'web', name: 'Shop.order' }, at + 10, us - 20, 'CLIENT'),
        half(traceId, child, root, { ...fields, service: 'shop', name: 'Shop.order' }, at + 20, us - 40, 'SERVER'),
      ]
      for (const record of records) (isKept ? keptAlso : sampled).push(encodeRecord(record))
    }
    const range = `from=${beganUs - MINUTE_US}&to=${beganUs + 9 * MINUTE_US}`
    const half_ = beganUs + 4 * MINUTE_US
    const paths = [
      `/api/services?${range}`,
      `/api/operations?${range}&service=shop`,
      `/api/dependencies?${range}&operations=true`,
      `/api/series?${range}&service=shop`,
      `/api/changes?from=${half_}&to=${half_ + 4 * MINUTE_US}&beforeFrom=${beganUs}&beforeTo=${half_}`,
    ]
    const read = async (messages: Buffer[]) => {
      const c = await collector()
      const peer = new Peer(c.scribePorts[0]!)
      for (const message of messages) assert.equal(await peer.log(message), 0)
      await until('all are counted', async () => (await c.metric('backlog_spans')) === 0)
      const answers: string[] = []
      for (const path of paths) {
        const { status, body } = await c.get(path)
        assert.ok([200, 400].includes(status))
        if (status === 400) throw new Error(`${path}: ${JSON.stringify(body)}`)
        answers.push(JSON.stringify(body))
      }
      return { answers, forced: await c.metric('activity_records_total{result="forced"}') }
    }
    const without = await read([Buffer.concat(sampled)])
    const mixed = await read([
      Buffer.concat(keptAlso.slice(0, 30)),
      Buffer.concat(sampled),
      Buffer.concat(keptAlso.slice(30)),
    ])
    assert.deepEqual(mixed.answers, without.answers)
    assert.equal(mixed.forced - without.forced, keptAlso.length)
    assert.ok(without.answers[0]!.includes('shop'))
    const lines = (messages: Buffer[]) => {
      const traces = new Map<bigint, SpanRecord[]>()
      for (const record of decodeRecords(Buffer.concat(messages))) {
        traces.set(record.traceId, [...(traces.get(record.traceId) ?? []), record])
      }
      return [...traces.values()].map(records => lineOf(records))
    }
    const [offline, offlineMixed] = [sampled, [...keptAlso, ...sampled]].map(messages => resultsOf(lines(messages)))
    assert.deepEqual(offlineMixed!.edge, offline!.edge)
    const means = ({ root }: Record<string, any[]>) =>
      root!.map(({ root, weight, meanUs, p50Us, p95Us, p99Us }: any) => [root, weight, meanUs, p50Us, p95Us, p99Us])
    assert.deepEqual(means(offlineMixed as any), means(offline as any))
  })
})
