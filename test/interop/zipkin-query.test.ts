import assert from 'node:assert/strict'
import { collector, type TestCollector, undo } from '../collector/support'
import { until } from '../helpers/until'
import { startZipkin, type ZipkinServer } from '../servers/zipkin'

/** Zipkin's server and the collector get the same spans, and the same questions. Zipkin writes all names in lower case; so do these spans. */

const NOW_US = Date.now() * 1000
const TRACE = '000000000000000a00000000000000b1'
const OTHER = '00000000000000c2'

const front = { serviceName: 'front', ipv4: '10.0.0.1' }
const orders = { serviceName: 'orders', ipv4: '10.0.0.2', port: 9090 }
const spans = [
  {
    ...{ traceId: TRACE, id: '0000000000000001', kind: 'SERVER', name: 'get /buy', timestamp: NOW_US - 5e6 },
    ...{ duration: 90_000, localEndpoint: front, tags: { user: '42', 'http.path': '/buy' } },
  },
  {
    ...{ traceId: TRACE, parentId: '0000000000000001', id: '0000000000000002', kind: 'CLIENT', name: 'place' },
    ...{ timestamp: NOW_US - 4.99e6, duration: 60_000, localEndpoint: front, remoteEndpoint: orders },
    // Either half says it, as instrumentations do. Milo finds a call by what one of them says, whichever service is asked for.
    tags: { error: 'sold out' },
  },
  {
    ...{ traceId: TRACE, parentId: '0000000000000001', id: '0000000000000002', kind: 'SERVER', name: 'place' },
    ...{ timestamp: NOW_US - 4.98e6, duration: 40_000, localEndpoint: orders, shared: true },
    ...{ tags: { error: 'sold out' }, annotations: [{ timestamp: NOW_US - 4.97e6, value: 'cache miss' }] },
  },
  {
    ...{ traceId: OTHER, id: OTHER, name: 'job', timestamp: NOW_US - 9e6, duration: 1_000 },
    ...{ localEndpoint: { serviceName: 'batch' } },
  },
]

describe('the query API of Zipkin', function () {
  this.timeout(600_000)
  let zipkin: ZipkinServer | undefined
  let milo: TestCollector

  before(async () => {
    ;[zipkin, milo] = await Promise.all([startZipkin(), collector()])
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(spans) }
    for (const url of [zipkin!.web, milo.url]) assert.equal((await fetch(`${url}/api/v2/spans`, init)).status, 202)
    for (const url of [zipkin!.web, milo.url]) {
      const found = async () => ((await (await fetch(`${url}/api/v2/traces`)).json()) as unknown[]).length === 2
      await until(`${url} finds both traces`, found, 30_000)
    }
  })
  after(async () => {
    await undo()
    await zipkin?.stop()
  })

  async function ask(url: string, path: string) {
    const response = await fetch(url + path)
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.startsWith('application/json')
    return { status: response.status, type: isJson ? 'json' : 'text', body: isJson ? JSON.parse(text) : text }
  }

  /** The order of spans and of links says nothing, nor does that of fields. */
  function sorted(value: any): any {
    if (Array.isArray(value)) return value.map(sorted).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(
      Object.entries(value)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, field]) => [key, sorted(field)]),
    )
  }

  const range = `endTs=${Date.now() + 60_000}&lookback=86400000`
  const questions: [string, boolean][] = [
    ['/api/v2/services', true],
    ['/api/v2/spans?serviceName=front', true],
    ['/api/v2/spans?serviceName=orders', true],
    ['/api/v2/spans?serviceName=nobody', false],
    ['/api/v2/remoteServices?serviceName=front', true],
    ['/api/v2/remoteServices?serviceName=batch', false],
    [`/api/v2/trace/${TRACE}`, true],
    [`/api/v2/trace/${OTHER}`, true],
    [`/api/v2/traceMany?traceIds=${TRACE},${OTHER}`, true],
    [`/api/v2/traces?${range}`, true],
    [`/api/v2/traces?${range}&limit=1`, true],
    [`/api/v2/traces?${range}&serviceName=orders`, true],
    [`/api/v2/traces?${range}&serviceName=front&spanName=place`, true],
    [`/api/v2/traces?${range}&serviceName=batch&spanName=place`, false],
    [`/api/v2/traces?${range}&serviceName=front&remoteServiceName=orders`, true],
    [`/api/v2/traces?${range}&annotationQuery=user%3D42`, true],
    [`/api/v2/traces?${range}&annotationQuery=user%3D42%20and%20http.path`, true],
    [`/api/v2/traces?${range}&annotationQuery=user%3D43`, false],
    [`/api/v2/traces?${range}&annotationQuery=error`, true],
    [`/api/v2/traces?${range}&serviceName=front&annotationQuery=error`, true],
    [`/api/v2/traces?${range}&serviceName=batch&annotationQuery=error`, false],
    [`/api/v2/traces?${range}&minDuration=70000`, true],
    [`/api/v2/traces?${range}&minDuration=500&maxDuration=2000`, true],
    [`/api/v2/traces?${range}&minDuration=100000`, false],
    [`/api/v2/traces?endTs=${Math.round(NOW_US / 1000) - 3600e3}&lookback=60000`, false],
    [`/api/v2/dependencies?${range}`, true],
    ['/api/v2/autocompleteKeys', false],
  ]
  for (const [path, full] of questions) {
    it(`answers ${path.replace(range, '…')} as Zipkin does`, async () => {
      const [theirs, ours] = [await ask(zipkin!.web, path), await ask(milo.url, path)]
      assert.deepEqual([theirs.status, theirs.type], [200, 'json'])
      assert.equal(theirs.body.length > 0, full)
      assert.deepEqual(sorted(ours), sorted(theirs))
      assert.deepEqual(await ask(milo.url, `/zipkin${path}`), ours)
    })
  }

  it('refuses more conditions than a search may have', async () => {
    const path = `/api/v2/traces?annotationQuery=${Array(33).fill('a=b').join(' and ')}`
    const { status, body } = await ask(milo.url, encodeURI(path))
    assert.deepEqual([status, body], [400, '33 annotations: give at most 32'])
  })

  const refused: [string, number][] = [
    ['/api/v2/trace/00000000000000ff', 404],
    ['/api/v2/traces?limit=none', 400],
    ['/api/v2/traces?endTs=today', 400],
    ['/api/v2/spans', 400],
  ]
  for (const [path, status] of refused) {
    it(`refuses ${path} as Zipkin does`, async () => {
      const [theirs, ours] = [await ask(zipkin!.web, path), await ask(milo.url, path)]
      assert.equal(theirs.status, status)
      assert.deepEqual([ours.status, ours.type], [status, 'text'])
    })
  }
})
