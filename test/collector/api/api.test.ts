import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { loadConfig } from '../../../collector/src/config'
import { EventType, encodeRecord } from '../../../src/codec/span'
import { until } from '../../helpers/until'
import { collector, hex, Peer, randomId, span, type TestCollector, temporaryDirectory, undo } from '../support'

const HTTP = { ...loadConfig(undefined, {}).config.http, port: 0 }
const START_US = 1_700_000_000_000_000n

describe('the HTTP API', () => {
  let c: TestCollector
  let peer: Peer

  before(async () => {
    const uiDir = temporaryDirectory()
    mkdirSync(join(uiDir, 'assets'))
    writeFileSync(
      join(uiDir, 'index.html'),
      '<!doctype html><head><title>Milo</title><script src="app.js"></script></head>',
    )
    writeFileSync(join(uiDir, 'app.js'), 'document.title = "Milo"')
    c = await collector({}, uiDir)
    peer = new Peer(c.scribePorts[0]!)
  })
  after(undo)

  async function store(...records: (Parameters<Peer['log']>[0] | Buffer)[]): Promise<void> {
    assert.equal(await peer.log(...records), 0)
  }

  /** Both halves of a call, as client and server report them. */
  function halves(traceId = randomId(), fields: Parameters<typeof span>[0] = {}) {
    const id = randomId()
    const event = (offset: bigint, eventType: EventType) => ({ timestamp: START_US + offset, eventType })
    return [
      span({
        traceId,
        id,
        service: 'front',
        events: [event(0n, EventType.CLIENT_SEND), event(5000n, EventType.CLIENT_RECV)],
        ...fields,
      }),
      span({
        traceId,
        id,
        service: 'shop',
        events: [event(1000n, EventType.SERVER_RECV), event(4000n, EventType.SERVER_SEND)],
        ...fields,
      }),
    ] as const
  }

  describe('for one trace', () => {
    it('gives one entry a span, halves merged, with ids in hex and times in microseconds', async () => {
      const [client, server] = halves()
      await store(client, server)
      const { status, body } = await c.get(`/api/traces/${hex(client.traceId)}`)
      assert.equal(status, 200)
      assert.equal(body.traceId, hex(client.traceId))
      assert.equal(body.spans.length, 1)
      const { spanId, parentId, name, service, clientService, start, duration } = body.spans[0]
      assert.deepEqual(
        { spanId, parentId, name, service, clientService, start, duration },
        {
          spanId: hex(client.id),
          parentId: '0000000000000000',
          name: 'Shop.order',
          service: 'shop',
          clientService: 'front',
          start: Number(START_US),
          duration: 5000,
        },
      )
    })

    it('gives the records as they came with form=records, absent fields absent', async () => {
      const traceId = -randomId()
      const full = {
        traceId,
        name: 'Shop.order',
        id: -1n,
        parentId: 2n ** 62n + 1n,
        clientHost: 'a',
        serverHost: 'b',
        events: [
          { timestamp: 9007199254740993n, eventType: EventType.CUSTOM, value: 'x' },
          { eventType: 42 as EventType },
          {},
        ],
        annotations: new Map([
          ['__proto__', 'p'],
          ['k', 'é☃'],
        ]),
        counters: new Map([['big', -(2n ** 63n)]]),
        traceIdHigh: -5n,
        service: 's',
        probability: 0.25,
      }
      await store(full, { traceId, id: 7n })
      const { body } = await c.get(`/api/traces/${traceId}?form=records`)
      const find = (id: string) => body.records.find((record: any) => record.id === id)
      assert.equal(body.records.length, 2)
      assert.deepEqual(
        find('-1'),
        JSON.parse(`{
          "trace_id": "${traceId}", "name": "Shop.order", "id": "-1", "parent_id": "4611686018427387905",
          "client_host": "a", "server_host": "b",
          "events": [{ "timestamp": "9007199254740993", "event_type": "CUSTOM", "value": "x" }, { "event_type": 42 }, {}],
          "annotations": { "__proto__": "p", "k": "é☃" }, "counters": { "big": "-9223372036854775808" },
          "trace_id_high": "-5", "service": "s", "probability": 0.25 }`),
      )
      assert.deepEqual(find('7'), { trace_id: String(traceId), id: '7' })
    })

    it('gives byte-identical records once, however often they came', async () => {
      const once = span()
      await store(once, once)
      await store(once)
      const { body } = await c.get(`/api/traces/${hex(once.traceId)}?form=records`)
      assert.equal(body.records.length, 1)
    })

    it('shows strings that are not UTF-8 with U+FFFD, and counts them', async () => {
      const sent = span({ name: 'xyz' })
      const bytes = encodeRecord(sent)
      bytes[bytes.indexOf('xyz') + 1] = 0xff
      await store(bytes)
      const { body } = await c.get(`/api/traces/${hex(sent.traceId)}`)
      assert.equal(body.spans[0].name, 'x\ufffdz')
      // A sender's own U+FFFD is UTF-8.
      await store(encodeRecord(span({ name: 'x\ufffdz' })))
      await until('it is counted', async () => (await c.metric('spans_not_utf8_total')) === 1)
    })

    it('finds a trace by hex in either case, by signed and by unsigned decimal', async () => {
      const negative = span({ traceId: -1234567890123456789n })
      await store(negative)
      const forms = ['eeddef0b82167eeb', 'EEDDEF0B82167EEB', '-1234567890123456789', '17212176183586094827']
      for (const id of forms) {
        const { status, body } = await c.get(`/api/traces/${id}`)
        assert.deepEqual([status, body.traceId], [200, 'eeddef0b82167eeb'], id)
      }
      await store(span({ traceId: 42n }), span({ traceId: 0n }))
      assert.equal((await c.get('/api/traces/42')).body.traceId, '000000000000002a')
      assert.equal((await c.get('/api/traces/0')).body.traceId, '0000000000000000')
    })

    it('takes 16 digits for hex, and for decimal when nothing is found so', async () => {
      const digits = '1234567890123456'
      await store(span({ traceId: BigInt(digits) }))
      assert.equal((await c.get(`/api/traces/${digits}`)).body.traceId, hex(BigInt(digits)))
      await store(span({ traceId: BigInt(`0x${digits}`) }))
      assert.equal((await c.get(`/api/traces/${digits}`)).body.traceId, digits)
    })

    it('takes 32 digits for hex, and for decimal when nothing is found so', async () => {
      await store(span({ traceId: 77n }))
      const { status, body } = await c.get(`/api/traces/${'77'.padStart(32, '0')}`)
      assert.deepEqual([status, body.traceId], [200, hex(77n)])
    })

    it('finds a trace by every form of its id that people paste', async () => {
      const traceId = 0x00abc0ffee123456n
      const traceIdHigh = 0x0000000012345678n
      await store(span({ traceId, traceIdHigh }), span({ traceId: 0x4242n }))
      const whole = '000000001234567800abc0ffee123456'
      const uuid = '00000000-1234-5678-00ab-c0ffee123456'
      const traceparent = `00-${whole}-00f067aa0ba902b7-01`
      for (const id of [
        'abc0ffee123456',
        '0xABC0FFEE123456',
        '1234567800abc0ffee123456',
        uuid,
        traceparent,
        `%20${whole}`,
      ]) {
        const { status, body } = await c.get(`/api/traces/${id}`)
        assert.deepEqual([status, body.traceId], [200, whole], id)
      }
      assert.equal((await c.get('/api/traces/4242')).body.traceId, '0000000000004242')
    })

    it('compares the high half when it is given, and finds by the low half when it is not', async () => {
      const traceId = randomId()
      const high = randomId()
      await store(span({ traceId, traceIdHigh: high }), span({ traceId }))
      const whole = hex(high) + hex(traceId)
      for (const id of [whole, hex(traceId)]) {
        const { status, body } = await c.get(`/api/traces/${id}`)
        assert.deepEqual([status, body.traceId, body.spans.length], [200, whole, 2])
      }
      assert.equal((await c.get(`/api/traces/${hex(high + 1n)}${hex(traceId)}`)).status, 404)
    })

    it('gives of a trace that is too long as much as it may, and says so in each form, and so does a comparison', async () => {
      const own = await collector({ max_trace_bytes: 4096 })
      const from = new Peer(own.scribePorts[0]!)
      const traceId = randomId()
      const records = Array.from({ length: 100 }, () => span({ traceId, name: 'x'.repeat(100) }))
      assert.equal(await from.log(...records), 0)
      const short = span()
      assert.equal(await from.log(short), 0)
      const forms: Record<string, (body: any) => any[]> = {
        milo: ({ spans, truncated }) => [truncated && spans].flat(),
        records: ({ records, truncated }) => [truncated && records].flat(),
        otlp: ({ resourceSpans }) =>
          resourceSpans.flatMap(({ scopeSpans }: any) => scopeSpans.flatMap(({ spans }: any) => spans)),
        zipkin: spans => spans,
      }
      for (const [form, spansOf] of Object.entries(forms)) {
        const response = await fetch(`${own.url}/api/traces/${hex(traceId)}?form=${form}`)
        assert.equal(response.headers.get('milo-truncated'), 'true', form)
        const spans = spansOf(await response.json())
        assert.ok(spans.length > 10 && spans.length < 40, `${form}: ${spans.length} spans`)
      }
      const whole = await fetch(`${own.url}/api/traces/${hex(short.traceId!)}`)
      assert.equal(whole.headers.get('milo-truncated'), null)
      assert.equal('truncated' in ((await whole.json()) as object), false)
      const { a, b } = (await own.get(`/api/compare?a=${hex(traceId)}&b=${hex(short.traceId!)}`)).body
      assert.deepEqual([a.truncated, b.truncated], [true, undefined])
    })

    it('gives its part of the read budget back when the answer is sent or the client has gone', async () => {
      // As much as one trace may have, so that the next answer needs what the one before has held.
      const own = await collector({ max_trace_bytes: 1024 * 1024, max_read_bytes: 2 * 1024 * 1024 })
      const from = new Peer(own.scribePorts[0]!)
      const traceId = randomId()
      assert.equal(await from.log(...Array.from({ length: 2000 }, () => span({ traceId, name: 'x'.repeat(400) }))), 0)
      for (let i = 0; i < 5; i++) {
        const left = new AbortController()
        const response = await fetch(`${own.url}/api/traces/${hex(traceId)}`, { signal: left.signal })
        assert.equal(response.status, 200)
        left.abort()
        assert.equal((await own.get(`/api/traces/${hex(traceId)}`)).status, 200)
        assert.equal((await own.get(`/api/traces/${hex(randomId())}`)).status, 404)
      }
    })

    it('answers 404 to an id that is unknown', async () => {
      for (const id of [hex(randomId()), hex(randomId()) + hex(randomId()), '-7', '18446744073709551615']) {
        const { status, body } = await c.get(`/api/traces/${id}`)
        assert.deepEqual([status, body], [404, { error: `no trace "${id}" is stored`, code: 'MILO_NO_SUCH_TRACE' }])
      }
    })

    it('answers 400 to what is not an id', async () => {
      const ids = ['xyz', '-', '+5', '1.5', 'g'.repeat(16), '-9223372036854775809']
      for (const id of [
        ...ids,
        '9'.repeat(33),
        'a'.repeat(33),
        'a'.repeat(3000),
        '%00',
        '%F0%9F%98%80',
        "1' OR '1'='1",
      ]) {
        const { status, body } = await c.get(`/api/traces/${id}`)
        assert.equal(status, 400, id)
        assert.equal(body.code, 'MILO_BAD_TRACE_ID')
        assert.match(body.error, /is not a trace id: give up to 32 hex digits/)
        assert.ok(body.error.length < 300)
      }
    })

    it('answers 400 to a form, or a parameter, that does not exist', async () => {
      const id = hex(randomId())
      assert.equal((await c.get(`/api/traces/${id}?form=xml`)).body.code, 'MILO_BAD_FORM')
      assert.equal((await c.get(`/api/traces/${id}?from=records`)).body.code, 'MILO_BAD_PARAMETER')
      assert.equal((await c.get(`/api/traces/${id}?form=records&form=records`)).body.code, 'MILO_BAD_PARAMETER')
    })
  })

  describe('for search', () => {
    async function searched(query: string): Promise<any[]> {
      const { status, body } = await c.get(`/api/search?${query}`)
      assert.equal(status, 200, JSON.stringify(body))
      return body.traces
    }

    it('finds by name, key, and value on one and the same span, within a second', async () => {
      const tag = `t${randomId()}`
      const [client, server] = halves(randomId(), {
        name: `Shop.${tag}`,
        annotations: new Map([[`k${tag}`, `v${tag}`]]),
      })
      const other = span({ name: `Other.${tag}`, annotations: new Map([[`k${tag}`, 'another value']]) })
      await store(client, server, other)
      const found = await until('the trace is found', async () => {
        const traces = await searched(`name=Shop.${tag}`)
        return traces.length > 0 ? traces : undefined
      })
      assert.deepEqual(found, [
        {
          traceId: hex(client.traceId),
          start: Number(START_US),
          duration: 5000,
          name: `Shop.${tag}`,
          service: 'shop',
          services: ['front', 'shop'],
          serviceSpans: [1, 1],
          spanCount: 1,
          error: false,
          errorCount: 0,
          failure: null,
          probability: null,
        },
      ])
      const ids = async (query: string) => (await searched(query)).map(({ traceId }) => traceId)
      assert.deepEqual(await ids(`value=v${tag}`), [hex(client.traceId)])
      assert.deepEqual(await ids(`key=k${tag}&value=v${tag}&name=Shop.${tag}`), [hex(client.traceId)])
      assert.deepEqual(new Set(await ids(`key=k${tag}`)), new Set([hex(client.traceId), hex(other.traceId)]))
      assert.deepEqual(await ids(`name=Other.${tag}&value=v${tag}`), [])
      assert.deepEqual(await ids(`name=Shop.${tag.slice(0, -1)}`), [])
      assert.deepEqual(await ids(`name=Shop.${tag}&key=&value=&limit=&before=`), [hex(client.traceId)])
    })

    it('pages newest first, each trace once, and ends with a null next', async () => {
      const name = `Pages.${randomId()}`
      const spans = Array.from({ length: 7 }, (_, i) =>
        span({ name, events: [{ timestamp: START_US + BigInt(i % 4), eventType: EventType.SERVER_RECV }] }),
      )
      await store(...spans)
      await until('all are found', async () => (await searched(`name=${name}`)).length === 7)
      const seen: any[] = []
      let next: string | null = ''
      for (let page = 0; next !== null && page < 20; page++) {
        const { body }: any = await c.get(`/api/search?name=${name}&limit=2&before=${next}`)
        seen.push(...body.traces)
        assert.ok(body.traces.length <= 2)
        next = body.next
      }
      assert.equal(next, null)
      assert.deepEqual(new Set(seen.map(t => t.traceId)), new Set(spans.map(s => hex(s.traceId))))
      assert.equal(seen.length, 7)
      const starts = seen.map(t => t.start)
      assert.deepEqual(
        starts,
        [...starts].sort((a, b) => b - a),
      )
    })

    const bad: [string, string][] = [
      ['limit=0', 'MILO_BAD_LIMIT'],
      ['limit=1001', 'MILO_BAD_LIMIT'],
      ['limit=-1', 'MILO_BAD_LIMIT'],
      ['limit=abc', 'MILO_BAD_LIMIT'],
      ['limit=1.5', 'MILO_BAD_LIMIT'],
      ['limit=1e2', 'MILO_BAD_LIMIT'],
      ['before=x', 'MILO_BAD_CURSOR'],
      ['before=MS4y%3D', 'MILO_BAD_CURSOR'],
      [`before=${Buffer.from('9'.repeat(19) + '.1').toString('base64url')}`, 'MILO_BAD_CURSOR'],
      [`before=${Buffer.from('01.1').toString('base64url')}`, 'MILO_BAD_CURSOR'],
      ['names=x', 'MILO_BAD_PARAMETER'],
      ['name=a&name=b', 'MILO_BAD_PARAMETER'],
      ['__proto__=x', 'MILO_BAD_PARAMETER'],
    ]
    for (const [query, code] of bad) {
      it(`answers 400 ${code} to ${query}`, async () => {
        const { status, body } = await c.get(`/api/search?${query}`)
        assert.deepEqual([status, body.code], [400, code])
      })
    }

    it('takes limits from 1 to 1000, and any bytes for a name', async () => {
      for (const query of [
        'limit=1',
        'limit=1000',
        'name=%00',
        "name='%20OR%201=1--",
        'name=%F0%9F%98%80',
        'name=%ff',
      ]) {
        assert.equal((await c.get(`/api/search?${query}`)).status, 200, query)
      }
    })
  })

  describe('beside traces', () => {
    it('is healthy', async () => {
      assert.deepEqual(await c.get('/healthz'), { status: 200, body: { status: 'ok' } })
    })

    it('is healthy and ready as long as the store is, and alive even when it is not', async () => {
      const own = await collector()
      assert.deepEqual(await own.get('/readyz'), { status: 200, body: { status: 'ok' } })
      const { path } = own.config.embedded
      renameSync(path, `${path}.away`)
      const { status, body } = await own.get('/readyz')
      assert.deepEqual([status, body.code, body.problems.length], [503, 'MILO_NOT_READY', 1])
      assert.match(body.error, /milo\.db/)
      assert.deepEqual((await own.get('/healthz')).body, { ...body, code: 'MILO_UNHEALTHY' })
      assert.deepEqual(await own.get('/livez'), { status: 200, body: { status: 'ok' } })
      const peer = new Peer(own.scribePorts[0]!)
      assert.equal(await peer.log(span()), 1)
      renameSync(`${path}.away`, path)
      assert.equal((await own.get('/readyz')).status, 200)
      assert.equal(await peer.log(span()), 0)
    })

    it('is dead once the thread that has the store is, which only a restart mends', async () => {
      const made = once(process, 'worker') as Promise<[Worker]>
      const own = await collector()
      const [thread] = await made
      await thread.terminate()
      const { status, body } = await own.get('/livez')
      assert.deepEqual([status, body.code, body.problems.length], [503, 'MILO_DEAD', 1])
      assert.match(body.error, /milo\.db: its thread has ended: start the collector again/)
    })

    it('checks the store once for all requests for its health that come at the same time', async () => {
      const made = once(process, 'worker') as Promise<[Worker]>
      const own = await collector()
      const [thread] = await made
      let checks = 0
      const { postMessage } = thread
      thread.postMessage = function (this: Worker, message: { method: string }, ...others: any[]) {
        if (message.method === 'check') checks++
        // As if the disk took its time.
        setTimeout(() => postMessage.call(this, message, ...others), 50)
      } as typeof postMessage
      const asked = await Promise.all(Array.from({ length: 20 }, () => own.get('/healthz')))
      assert.ok(asked.every(({ status }) => status === 200))
      assert.ok(checks < 20, `${checks} checks`)
    })

    it('tells metrics that add up, for each source', async () => {
      await store(span(), encodeRecord({ name: 'no ids' }))
      const post = (path: string, body: unknown) =>
        fetch(c.url + path, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
        })
      const ids = { traceId: '0000000000000001'.repeat(2), id: '0000000000000002' }
      const otlp = { traceId: ids.traceId, spanId: ids.id, name: 'x' }
      await post('/api/v2/spans', [ids, { id: '1' }])
      await post('/v1/traces', { resourceSpans: [{ scopeSpans: [{ spans: [otlp, otlp, { name: 'no ids' }] }] }] })
      await post('/api/traces', { records: [{ trace_id: '1', id: '2' }, { id: '2' }] })
      for (const [source, least] of Object.entries({ scribe: 2, zipkin: 2, otlp: 3, upload: 2 })) {
        const of = (name: string) => c.metric(`${name}{source="${source}"}`)
        const [received, stored, rejected, deferred, inFlight] = await Promise.all([
          of('spans_received_total'),
          of('spans_stored_total'),
          of('spans_rejected_total'),
          of('spans_deferred_total'),
          of('spans_in_flight'),
        ])
        assert.ok(received >= least && stored >= 1 && rejected >= 1, source)
        assert.equal(received, stored + rejected + deferred + inFlight, source)
      }
      const results = await c.metric('log_calls_total')
      assert.equal(await c.metric('calls_total{method="Log"}'), results + (await c.metric('log_calls_in_flight')))
      await until('everything is indexed', async () => (await c.metric('backlog_spans')) === 0)
      const response = await fetch(`${c.url}/metrics`)
      assert.match(response.headers.get('content-type')!, /^text\/plain; version=/)
      const text = await response.text()
      assert.match(text, /^process_cpu_seconds_total /m)
      assert.match(text, /^milo_backlog_spans 0$/m)
      assert.match(text, /^milo_collector_http_request_seconds_count\{route="\/api\/search",status="400"\} \d+$/m)
    })

    it('tells the page to what its addresses are relative, wherever a proxy has put it', async () => {
      const baseAt = async (path: string, headers: Record<string, string> = {}) =>
        /<head>\s*<base href="([^"]*)" \/>/.exec(await (await fetch(c.url + path, { headers })).text())?.[1]
      for (const [path, base] of [
        ['/', './'],
        ['/search?q=a/b', './'],
        ['/services', './'],
        ['/services/a%2Fb', '../'],
        ['/graph', './'],
        ['/trace/1', '../'],
        ['/trace/1/', '../../'],
      ] as const) {
        assert.equal(await baseAt(path), base, path)
        assert.equal(await baseAt(path, { 'x-forwarded-prefix': '/evil' }), base, path)
      }
      const http = { ...c.config.http, trusted_proxies: ['127.0.0.1'] }
      c.reload({ ...c.config, http })
      assert.equal(await baseAt('/trace/1', { 'x-forwarded-prefix': '/a/b/' }), '/a/b/')
      for (const prefix of ['//evil.example', 'https://evil.example', '/a"><script>', '/../x', '']) {
        assert.equal(await baseAt('/trace/1', { 'x-forwarded-prefix': prefix }), '../', prefix)
      }
      c.reload({ ...c.config, http: { ...http, base_path: '/milo' } })
      for (const path of ['/milo', '/milo/', '/milo/trace/1', '/trace/1', '/milo?q=1']) {
        assert.equal(await baseAt(path), '/milo/', path)
      }
      assert.equal((await fetch(`${c.url}/milometer`)).status, 404)
      c.reload(c.config)
    })

    it('serves the page at its addresses and its files, and JSON errors elsewhere', async () => {
      for (const path of ['/', '/index.html', '/trace/eeddef0b82167eeb', '/trace/1/', '/search', '/search?name=x']) {
        const response = await fetch(c.url + path)
        assert.equal(response.status, 200, path)
        assert.match(response.headers.get('content-type')!, /^text\/html/)
        assert.match(await response.text(), /<title>Milo/)
      }
      assert.match((await fetch(`${c.url}/app.js`)).headers.get('content-type')!, /javascript/)
      for (const path of ['/nothing', '/api/nothing', '/..%2f..%2fetc%2fpasswd', '/app.js/x']) {
        const { status, body } = await c.get(path)
        assert.deepEqual([status, body.code], [404, 'MILO_NO_SUCH_PATH'], path)
      }
      for (const path of ['/services', '/graph', '/dependencies', '/changes', '/upload']) {
        assert.equal((await fetch(c.url + path)).status, 200, path)
      }
      const posted = await fetch(`${c.url}/api/search`, { method: 'POST', body: '{' })
      assert.ok(posted.status >= 400 && posted.status < 500)
      assert.equal(typeof ((await posted.json()) as any).code, 'string')
    })

    it('answers a wrong address with a page where a browser asks for one, and with JSON everywhere else', async () => {
      const accept = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'
      for (const [path, base] of [
        ['/nothing', './'],
        ['/zipkin/traces/1', '../../'],
        ['/services/a/b?from=-1h', '../../'],
      ] as const) {
        const response = await fetch(c.url + path, { headers: { accept } })
        assert.equal(response.status, 404, path)
        assert.match(response.headers.get('content-type')!, /^text\/html/)
        assert.match(await response.text(), new RegExp(`<base href="${base.replaceAll('.', '\\.')}" />`))
      }
      for (const [method, path, accepted] of [
        ['GET', '/nothing', '*/*'],
        ['GET', '/nothing', 'application/json'],
        ['POST', '/nothing', accept],
        ['GET', '/api/nothing', accept],
        ['GET', '/v1/nothing', accept],
        ['GET', '/metrics/nothing', accept],
      ] as const) {
        const response = await fetch(c.url + path, { method, headers: { accept: accepted } })
        assert.equal(response.status, 404, path)
        assert.equal(((await response.json()) as any).code, 'MILO_NO_SUCH_PATH', `${method} ${path} ${accepted}`)
      }
    })

    it('lets a page load nothing from elsewhere, run nothing inline, and stand in no frame', async () => {
      for (const path of ['/', '/app.js', '/api/search', '/nothing', '/api/traces/xyz', '/%']) {
        const { headers } = await fetch(c.url + path)
        const policy = headers.get('content-security-policy')!
        assert.match(policy, /default-src 'self';.*frame-ancestors 'none'/, path)
        assert.doesNotMatch(policy, /unsafe/)
        assert.equal(headers.get('x-content-type-options'), 'nosniff')
        assert.equal(headers.get('referrer-policy'), 'no-referrer')
        assert.equal(headers.get('access-control-allow-origin'), null)
      }
    })

    function statusFor(port: number, host: string, path = '/api/search'): Promise<{ status: number; body: any }> {
      return new Promise((resolve, reject) => {
        request({ port, host: '127.0.0.1', path, headers: { host } }, response => {
          let text = ''
          response.on('data', chunk => (text += chunk))
          response.on('end', () => resolve({ status: response.statusCode!, body: JSON.parse(text) }))
        })
          .on('error', reject)
          .end()
      })
    }

    it('answers under addresses and localhost only, so that no site can point its own name here', async () => {
      for (const host of [
        '127.0.0.1',
        `127.0.0.1:${c.httpPort}`,
        'localhost:1',
        'LOCALHOST',
        '[::1]:2180',
        '10.1.2.3',
      ]) {
        assert.equal((await statusFor(c.httpPort, host)).status, 200, host)
      }
      for (const host of ['evil.example', 'localhost.evil.example:2180', '127.0.0.1.evil.example']) {
        const { status, body } = await statusFor(c.httpPort, host)
        assert.deepEqual([status, body.code], [403, 'MILO_HOST_REFUSED'], host)
      }
    })

    it('answers under names that the configuration allows', async () => {
      const proxied = await collector({ http: { ...HTTP, allowed_hosts: ['milo.example'] } })
      assert.equal((await statusFor(proxied.httpPort, 'Milo.example:443')).status, 200)
      assert.equal((await statusFor(proxied.httpPort, 'evil.example')).status, 403)
    })

    it('answers what is not HTTP with a JSON error, and stays up', async () => {
      const answer = await new Promise<string>(resolve => {
        let text = ''
        const socket = connect(c.httpPort, '127.0.0.1')
        socket.write('\x80\x01\x00\x01 nonsense\r\n\r\n')
        socket.on('data', chunk => (text += chunk)).on('close', () => resolve(text))
      })
      assert.match(answer, /^HTTP\/1.1 400 Bad Request\r\n/)
      assert.match(answer, /\{"error":"not an HTTP request","code":"HPE_INVALID_METHOD"\}$/)
      assert.equal((await c.get('/healthz')).status, 200)
    })
  })
})
