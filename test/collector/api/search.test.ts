import assert from 'node:assert/strict'
import { request } from 'node:http'
import { gunzipSync } from 'node:zlib'
import fc from 'fast-check'
import { EventType } from '../../../src/codec/span'
import { until } from '../../helpers/until'
import { collector, hex, Peer, randomId, span, type TestCollector, undo } from '../support'

const NOW_US = BigInt(Date.now()) * 1000n
const SECOND_US = 1_000_000n

describe('the HTTP API of searches', () => {
  let c: TestCollector
  const tag = `t${randomId()}`
  /** By what the tests below search. */
  const traces = {
    lisbon: times(10n, 80_000n, {
      name: 'Shop.buy',
      service: 'shop',
      annotations: { city: 'Lisbon', user: '42', note: 'a b' },
    }),
    london: times(20n, 20_000n, {
      name: 'Shop.buy',
      service: 'front',
      annotations: { city: 'London', user: '7', error: 'no' },
    }),
    paris: times(4000n, 2_000n, { name: 'Shop.look', service: 'shop', annotations: { city: 'Paris', user: '42' } }),
  }

  function times(
    secondsAgo: bigint,
    durationUs: bigint,
    fields: { name: string; service: string; annotations: object },
  ) {
    const timestamp = NOW_US - secondsAgo * SECOND_US
    return span({
      ...fields,
      annotations: new Map([...(Object.entries(fields.annotations) as [string, string][]), ['tag', tag]]),
      events: [
        { timestamp, eventType: EventType.SERVER_RECV },
        { timestamp: timestamp + durationUs, eventType: EventType.SERVER_SEND },
      ],
    })
  }

  before(async () => {
    c = await collector()
    assert.equal(await new Peer(c.scribePorts[0]!).log(...Object.values(traces)), 0)
    await until('all are found', async () => (await found(`key=tag&value=${tag}`)).length === 3)
  })
  after(undo)

  /** The names of those found, newest first. */
  async function found(query: string): Promise<string[]> {
    const { status, body } = await c.get(`/api/search?${query}`)
    assert.equal(status, 200, `${query}: ${JSON.stringify(body)}`)
    const names = Object.entries(traces).map(([name, { traceId }]) => [hex(traceId), name] as const)
    return body.traces.map(({ traceId }: { traceId: string }) => new Map(names).get(traceId))
  }

  const searches: [string, string[]][] = [
    ['', ['lisbon', 'london', 'paris']],
    ['name=Shop.buy', ['lisbon', 'london']],
    ['service=shop', ['lisbon', 'paris']],
    ['name=Shop.buy&service=shop', ['lisbon']],
    ['annotation=city=Paris', ['paris']],
    ['annotation=city^=L', ['lisbon', 'london']],
    ['annotation=city*=on', ['lisbon', 'london']],
    ['annotation=user=42&annotation=city^=L', ['lisbon']],
    ['annotation=note', ['lisbon']],
    ['annotation==42', ['lisbon', 'paris']],
    ['annotation=', ['lisbon', 'london', 'paris']],
    ['key=city&value=L&match=prefix', ['lisbon', 'london']],
    ['key=note&value=a b', ['lisbon']],
    ['value=aris&match=contains', ['paris']],
    ['error=true', ['london']],
    ['error=false', ['lisbon', 'paris']],
    ['min_duration=20ms', ['lisbon', 'london']],
    ['min_duration=20001', ['lisbon']],
    ['max_duration=0.02s', ['london', 'paris']],
    ['min_duration=20ms&max_duration=20000us', ['london']],
    ['from=-1h', ['lisbon', 'london']],
    ['to=-1h', ['paris']],
    [`from=${NOW_US - 15n * SECOND_US}&to=now`, ['lisbon']],
    [`to=${new Date(Number(NOW_US) / 1000 - 15_000).toISOString()}`, ['london', 'paris']],
    ['q=name:Shop.buy city^=Lon', ['london']],
    ['q=user=42 duration>50ms', ['lisbon']],
    ['q="a b"', ['lisbon']],
    ['q=!error last 1h', ['lisbon']],
    ['q=error service:front key:user', ['london']],
    ['q=city=Paris OR user<40', ['london', 'paris']],
    ['q=(city^=L OR city=Paris) NOT error service:shop', ['lisbon', 'paris']],
    ['q=user>=7.5 last 1h', ['lisbon']],
    ['q=root:Shop.buy NOT NOT user=7', ['london']],
    ['q=key:tag > key:tag', []],
  ]
  for (const [query, expected] of searches) {
    it(`finds ${expected.join(', ')} by ${query || 'nothing'}`, async () => {
      assert.deepEqual(await found(encodeURI(query)), expected)
    })
  }

  const wrong: [string, string, RegExp][] = [
    ['q=duration>5', 'MILO_BAD_QUERY', /^q: "duration>5": .*50ms/],
    ['q=(a OR b', 'MILO_BAD_QUERY', /^q: "\(": is not closed/],
    [`q=${'(a OR b) '.repeat(9)}`, 'MILO_BAD_QUERY', /^q: .* more than 32 alternatives/],
    ['q=a&name=b', 'MILO_BAD_PARAMETER', /name can't be combined with q/],
    ['q=a&annotation=b', 'MILO_BAD_PARAMETER', /annotation can't be combined with q/],
    ['min_duration=5parsec', 'MILO_BAD_DURATION', /^min_duration is "5parsec": give/],
    ['max_duration=-1', 'MILO_BAD_DURATION', /^max_duration/],
    ['from=yesterday', 'MILO_BAD_TIME', /^from is "yesterday": give/],
    ['to=9999999999999999999', 'MILO_BAD_TIME', /^to is/],
    ['error=1', 'MILO_BAD_PARAMETER', /give true or false/],
    ['match=exact', 'MILO_BAD_PARAMETER', /match needs a value/],
    ['value=a&match=regex', 'MILO_BAD_PARAMETER', /give exact, prefix or contains/],
    [Array(33).fill('annotation=a').join('&'), 'MILO_BAD_QUERY', /give at most 32/],
    ['service=a&service=b', 'MILO_BAD_PARAMETER', /given twice/],
  ]
  for (const [query, code, message] of wrong) {
    it(`answers 400 ${code} to ${query.slice(0, 40)}`, async () => {
      const { status, body } = await c.get(`/api/search?${encodeURI(query)}`)
      assert.deepEqual([status, body.code], [400, code])
      assert.match(body.error, message)
    })
  }

  const elsewhere: [string, string, string][] = [
    ['/api/complete', 'MILO_BAD_PARAMETER', 'field is missing: give name, service, key or value'],
    ['/api/complete?field=x', 'MILO_BAD_PARAMETER', 'field is "x": give name, service, key or value'],
    ['/api/complete?field=name&field=key', 'MILO_BAD_PARAMETER', 'field is given twice: give it once'],
    ['/api/complete?field=value', 'MILO_BAD_PARAMETER', 'key is missing: field=value completes the values of one key'],
    ['/api/complete?field=name&key=a', 'MILO_BAD_PARAMETER', 'key is for field=value: leave it out'],
    ['/api/complete?field=name&limit=101', 'MILO_BAD_LIMIT', 'limit is "101": give a whole number from 1 to 100'],
    ['/api/compare?a=1', 'MILO_BAD_PARAMETER', 'b is missing: give two traces, a and b'],
    ['/api/traces/1?form=x', 'MILO_BAD_FORM', 'form is "x": give one of milo, records, otlp, zipkin, jaeger'],
    ['/api/traces/1?x=', 'MILO_BAD_PARAMETER', 'unknown parameter "x": the parameters are form'],
    ['/api/saved-searches?x=y', 'MILO_BAD_PARAMETER', 'unknown parameter "x": the parameters are none'],
  ]
  for (const [path, code, error] of elsewhere) {
    it(`answers 400 ${code} to ${path}`, async () => {
      assert.deepEqual(await c.get(path), { status: 400, body: { error, code } })
    })
  }

  it('refuses a bad time in every route by the same code', async () => {
    for (const path of ['/api/search', '/api/services', '/api/dependencies']) {
      const { status, body } = await c.get(`${path}?from=yesterday`)
      assert.deepEqual([status, body.code], [400, 'MILO_BAD_TIME'], path)
      assert.match(body.error, /^from is "yesterday": give a time before now/)
    }
  })

  it('says how many traces it read, and what finding them cost', async () => {
    for (const [q, read, cost] of [
      ['user=42', 2, 'index'],
      ['user=42 OR user=7', 3, 'index'],
      ['user>=7.5', 2, 'index'],
      ['NOT city=London', 3, 'all'],
      ['user=42 NOT city=Paris', 2, 'index'],
      ['root:', 3, 'all'],
      ['', 3, 'index'],
    ]) {
      const { body } = await c.get(`/api/search?q=${encodeURIComponent(q!)}`)
      assert.deepEqual([body.read, body.cost], [read, cost], `${q}`)
    }
  })

  it('says where in q each problem is', async () => {
    const { body } = await c.get(`/api/search?q=${encodeURIComponent('a=b duration>x last')}`)
    assert.deepEqual(
      body.problems.map(({ at, length }: { at: number; length: number }) => [at, length]),
      [
        [4, 10],
        [15, 4],
      ],
    )
  })

  it('completes names, services, keys and values of a key', async () => {
    const values = async (query: string) => (await c.get(`/api/complete?${query}`)).body.values
    assert.deepEqual(await values('field=name'), ['Shop.buy', 'Shop.look'])
    assert.deepEqual(await values('field=name&prefix=Shop.l'), ['Shop.look'])
    assert.deepEqual(await values('field=service&limit=1'), ['front'])
    assert.deepEqual(await values('field=key&prefix=c'), ['city'])
    assert.deepEqual(await values('field=value&key=city&prefix=L'), ['Lisbon', 'London'])
    assert.deepEqual(await values('field=value&key=nothing'), [])
    for (const query of [
      '',
      'field=x',
      'field=value',
      'field=value&prefix=a',
      'field=name&key=a',
      'field=name&limit=101',
      'field=name&x=y',
    ]) {
      assert.equal((await c.get(`/api/complete?${query}`)).status, 400, query)
    }
  })

  it('keeps saved searches: creates, renames, runs and deletes them', async () => {
    const send = async (method: string, path: string, body?: unknown) => {
      const init: RequestInit = { method }
      if (body !== undefined) {
        init.headers = { 'content-type': 'application/json' }
        init.body = JSON.stringify(body)
      }
      const response = await fetch(c.url + path, init)
      const text = await response.text()
      return { status: response.status, body: text === '' ? undefined : JSON.parse(text), headers: response.headers }
    }
    const name = `<b>Bobby'); DROP TABLE saved_searches;--</b> ☃`
    const created = await send('POST', '/api/saved-searches', { name, query: '?q=user%3D42&limit=10' })
    assert.equal(created.status, 201)
    const { id } = created.body
    assert.match(id, /^[\w-]{8,16}$/)
    assert.equal(created.headers.get('location'), `/api/saved-searches/${id}`)
    assert.deepEqual({ ...created.body, created: 0 }, { id, name, query: 'q=user%3D42&limit=10', created: 0 })
    assert.ok(Math.abs(created.body.created / 1000 - Date.now()) < 60_000)
    assert.deepEqual((await send('GET', '/api/saved-searches')).body.searches, [created.body])
    assert.deepEqual(await found(created.body.query), ['lisbon', 'paris'])

    const renamed = await send('PUT', `/api/saved-searches/${id}`, { name: 'mine' })
    assert.deepEqual([renamed.status, renamed.body], [200, { ...created.body, name: 'mine' }])
    assert.deepEqual((await send('GET', `/api/saved-searches/${id}`)).body, renamed.body)
    const query = `q=${encodeURIComponent('(user=42 OR user>6) > root: NOT city^="a)"')}`
    const changed = await send('PUT', `/api/saved-searches/${id}`, { query })
    assert.deepEqual([changed.status, changed.body.query], [200, query])
    assert.deepEqual(await found(changed.body.query), [])
    assert.equal((await send('DELETE', `/api/saved-searches/${id}`)).status, 204)
    for (const method of ['GET', 'PUT', 'DELETE']) {
      const gone = await send(method, `/api/saved-searches/${id}`, method === 'PUT' ? { name: 'x' } : undefined)
      assert.deepEqual([gone.status, gone.body.code], [404, 'MILO_NO_SUCH_SEARCH'], method)
    }
    for (const body of [
      null,
      [],
      'x',
      {},
      { name: 'x' },
      { query: '' },
      { name: '', query: '' },
      { name: ' ', query: '' },
      { name: 'x'.repeat(201), query: '' },
      { name: 1, query: '' },
      { name: 'half a pair: \ud83d', query: '' },
      { name: 'x', query: 'name=\ude00' },
      { name: 'x', query: 1 },
      { name: 'x', query: 'limit=0' },
      { name: 'x', query: 'nonsense=1' },
      { name: 'x', query: 'q=duration' },
      { name: 'x', query: 'q=(a' },
      { name: 'x', query: '', id: 'mine' },
      { name: 'x', query: `name=${'x'.repeat(8000)}` },
    ]) {
      const { status, body: answer } = await send('POST', '/api/saved-searches', body)
      assert.equal(status, 400, JSON.stringify(body))
      assert.match(answer.code, /^MILO_/)
    }
    assert.deepEqual((await send('GET', '/api/saved-searches')).body, { searches: [] })
  })

  it('tells how it is set up', async () => {
    const { body } = await c.get('/api/status')
    assert.deepEqual(body, {
      version: body.version,
      store: 'embedded',
      backlogSpans: body.backlogSpans,
      spansPutAside: 0,
      collectorId: body.collectorId,
      scribe: [{ host: '127.0.0.1', port: c.scribePorts[0] }],
      auth: 'none',
      retentionDays: 7,
      activityDays: 400,
    })
    assert.match(body.version, /^\d+\.\d+\.\d+/)
    assert.ok(Number.isInteger(body.backlogSpans) && body.collectorId.length > 0)
  })

  describe('whatever is asked', () => {
    const nasty = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.constantFrom(
        "' OR '1'='1",
        '"; DROP TABLE spans; --',
        '<script>alert(1)</script>',
        '%',
        '_',
        '\\',
        '\0',
        '*',
        '%00',
        '\ud800',
        '9'.repeat(400),
        '-0',
        'NaN',
        '1e309',
        '__proto__',
        'constructor',
        '𝕏'.repeat(300),
        '('.repeat(1000),
        'NOT '.repeat(1000),
        'a OR '.repeat(1000),
        'a > '.repeat(1000),
        'NOT (a=1 OR key:b) > (n<5 OR root:x) error',
      ),
      // What is right for one parameter is asked of each, with others or without.
      fc.constantFrom(
        ...['name', 'service', 'key', 'value', 'exact', 'prefix', 'true', 'records', 'city', '5', '-1h', 'now'],
      ),
      fc.bigInt().map(String),
      fc.double().map(String),
    )
    const names = [
      ...[
        'name',
        'service',
        'key',
        'value',
        'match',
        'annotation',
        'min_duration',
        'max_duration',
        'error',
        'from',
        'to',
      ],
      ...['q', 'limit', 'before', 'field', 'prefix', 'form', 'a', 'b'],
    ]
    const parameter = fc.tuple(
      fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...names) }, { weight: 1, arbitrary: nasty }),
      nasty,
    )
    const path = fc.oneof(
      fc.constantFrom('/api/search', '/api/complete', '/api/compare', '/api/saved-searches', '/api/status'),
      nasty.map(id => `/api/traces/${encode(id)}`),
      nasty.map(id => `/api/saved-searches/${encode(id)}`),
      nasty.map(id => `/trace/${encode(id)}`),
      nasty.map(encode).map(text => `/${text}`),
    )

    /** Lone surrogates have no UTF-8. */
    function encode(text: string): string {
      return encodeURIComponent(Buffer.from(text).toString())
    }

    function ask(method: string, path: string, body = ''): Promise<{ status: number; text: string; type: string }> {
      return new Promise((resolve, reject) => {
        const headers =
          body === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
        const asked = request({ host: '127.0.0.1', port: c.httpPort, path, method, headers }, response => {
          let text = ''
          response.on('data', chunk => (text += chunk))
          response.on('end', () =>
            resolve({ status: response.statusCode!, text, type: response.headers['content-type'] ?? '' }),
          )
        })
        asked.on('error', reject).end(body)
      })
    }

    it('answers soon, with what was asked for or a JSON error, and never with a 500 or a page', async () => {
      await fc.assert(
        fc.asyncProperty(path, fc.array(parameter, { maxLength: 4 }), async (path, parameters) => {
          const query = parameters.map(([name, value]) => `${encode(name)}=${encode(value)}`).join('&')
          const { status, text, type } = await ask('GET', `${path}?${query}`)
          assert.ok([200, 400, 404, 414, 431].includes(status), `${status} ${text}`)
          if (status !== 200) {
            const { error, code } = JSON.parse(text)
            assert.match(type, /^application\/json/)
            assert.equal(typeof error, 'string')
            assert.match(code, /^(MILO|FST|HPE)_/)
            assert.ok(text.length < 2000)
          }
        }),
        { numRuns: 400 },
      )
      assert.equal((await c.get('/healthz')).status, 200)
    })

    it('answers so to any body that should make or change a saved search', async () => {
      const body = fc.oneof(
        fc.json({ maxDepth: 3 }),
        fc.string({ unit: 'binary' }),
        fc.record({ name: nasty, query: nasty }).map(value => JSON.stringify(value)),
        fc.constantFrom('{"__proto__":{}}', '[[[[', '{"name":"x","name":"y","query":""}', 'null', ' '),
        fc.constant('{"name":"a\\u0000b","query":""}'),
      )
      await fc.assert(
        fc.asyncProperty(fc.constantFrom('POST', 'PUT'), body, async (method, body) => {
          const to = method === 'POST' ? '/api/saved-searches' : '/api/saved-searches/x'
          const { status, text } = await ask(method, to, body)
          assert.ok([201, 400, 404].includes(status), `${status} ${text}`)
          if (status === 201) {
            const { id, name } = JSON.parse(text)
            assert.equal(JSON.parse((await ask('GET', `/api/saved-searches/${id}`)).text).name, name)
            assert.equal((await ask('DELETE', `/api/saved-searches/${id}`)).status, 204)
          }
        }),
        { numRuns: 200 },
      )
    })

    it('keeps any name of a span, service, key and value as it is', async () => {
      const peer = new Peer(c.scribePorts[0]!)
      await fc.assert(
        fc.asyncProperty(nasty, nasty, async (name, value) => {
          const text = (s: string) => Buffer.from(s).toString()
          const sent = span({
            name: text(name),
            service: text(value),
            annotations: new Map([[text(name), text(value)]]),
          })
          assert.equal(await peer.log(sent), 0)
          const { status, body } = await c.get(`/api/traces/${hex(sent.traceId)}`)
          assert.equal(status, 200)
          const [shown] = body.spans
          assert.deepEqual(
            [shown.name, shown.service, shown.annotations[text(name)]],
            [text(name), text(value) || null, text(value)],
          )
        }),
        { numRuns: 100 },
      )
    })
  })

  describe('for a trace', () => {
    it('gives it in the form that is asked for, each of which can be uploaded again', async () => {
      const sent = span({ annotations: new Map([['k', 'v']]) })
      const child = span({ traceId: sent.traceId, parentId: sent.id, name: 'child' })
      assert.equal(await new Peer(c.scribePorts[0]!).log(sent, child), 0)
      const id = hex(sent.traceId)
      const forms = { records: 'records', otlp: 'resourceSpans', zipkin: '0' }
      for (const [form, field] of Object.entries(forms)) {
        const { status, body } = await c.get(`/api/traces/${id}?form=${form}`)
        assert.equal(status, 200)
        assert.ok(field in body, form)
        const other = await collector()
        const uploaded = await fetch(`${other.url}/api/traces`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
        })
        assert.equal(uploaded.status, 200)
        assert.deepEqual(await uploaded.json(), { traceIds: [id], spans: 2, rejected: 0 })
        const again = (await other.get(`/api/traces/${id}`)).body
        assert.deepEqual(
          again.spans.map(({ name, depth }: { name: string; depth: number }) => [name, depth]),
          [
            ['Shop.order', 0],
            ['child', 1],
          ],
          form,
        )
        assert.equal(await other.metric('spans_stored_total{source="upload"}'), 2)
      }
    })

    it('sends a large one in pieces, compressed if the client accepts it, and answers other requests meanwhile', async () => {
      const traceId = randomId()
      const peer = new Peer(c.scribePorts[0]!)
      const spans = 20_000
      for (let i = 0; i < spans; i += 1000) {
        assert.equal(await peer.log(...Array.from({ length: 1000 }, () => span({ traceId }))), 0)
      }
      const ask = (headers: Record<string, string>) =>
        new Promise<{ body: Buffer; encoding: string | undefined; transfer: string | undefined }>((resolve, reject) => {
          request(`${c.url}/api/traces/${hex(traceId)}`, { headers }, response => {
            const chunks: Buffer[] = []
            response.on('data', chunk => chunks.push(chunk))
            response.on('end', () =>
              resolve({
                body: Buffer.concat(chunks),
                encoding: response.headers['content-encoding'],
                transfer: response.headers['transfer-encoding'],
              }),
            )
          })
            .on('error', reject)
            .end()
        })
      let done = false
      const asked = Promise.all([ask({}), ask({ 'accept-encoding': 'gzip' })]).finally(() => (done = true))
      let meanwhile = 0
      while (!done) {
        assert.equal((await c.get('/healthz')).status, 200)
        meanwhile++
      }
      const [plain, compressed] = await asked
      assert.ok(meanwhile > 3, `${meanwhile} answers meanwhile`)
      assert.equal(plain.transfer, 'chunked')
      assert.equal(JSON.parse(plain.body.toString()).spans.length, spans)
      assert.equal(compressed.encoding, 'gzip')
      assert.ok(compressed.body.length < plain.body.length / 4)
      assert.deepEqual(gunzipSync(compressed.body), plain.body)
    })

    it('answers 304 to a client that has the trace already, until another span has come', async () => {
      const sent = span()
      const peer = new Peer(c.scribePorts[0]!)
      assert.equal(await peer.log(sent), 0)
      const url = `${c.url}/api/traces/${hex(sent.traceId)}`
      const etag = (await fetch(url)).headers.get('etag')!
      const again = () => fetch(url, { headers: { 'if-none-match': etag } })
      assert.equal((await again()).status, 304)
      assert.equal((await fetch(`${url}?form=records`, { headers: { 'if-none-match': etag } })).status, 200)
      assert.equal(await peer.log(span({ traceId: sent.traceId })), 0)
      assert.equal((await again()).status, 200)
    })

    it('compares it with another', async () => {
      const [a, b] = [span(), span()]
      assert.equal(
        await new Peer(c.scribePorts[0]!).log(a, b, span({ traceId: b.traceId, parentId: b.id, name: 'more' })),
        0,
      )
      const { status, body } = await c.get(`/api/compare?a=${hex(a.traceId)}&b=${hex(b.traceId)}`)
      assert.equal(status, 200)
      assert.deepEqual([body.a.traceId, body.b.traceId, body.b.spanCount], [hex(a.traceId), hex(b.traceId), 2])
      assert.deepEqual(
        body.nodes.map(({ name, countChange }: { name: string; countChange: number }) => [name, countChange]),
        [
          ['Shop.order', 0],
          ['more', 1],
        ],
      )
      assert.equal((await c.get(`/api/compare?a=${hex(a.traceId)}`)).status, 400)
      assert.equal((await c.get(`/api/compare?a=${hex(a.traceId)}&b=${hex(randomId())}`)).status, 404)
    })
  })
})
