import assert from 'node:assert/strict'
import { request } from 'node:http'
import { gzipSync } from 'node:zlib'
import { createToken } from '../../../collector/src/auth/credentials'
import { loadConfig } from '../../../collector/src/config'
import { analysedShop, edgeLine, lines, whole, windowLine } from '../../helpers/results'
import { collector, type TestCollector, undo } from '../support'

const BEFORE = '2026-11-29T10..2026-11-29T11'
const AFTER = '2026-11-30T10..2026-11-30T11'

describe('results of analyses, over HTTP', () => {
  let c: TestCollector

  before(async () => {
    c = await collector()
  })
  after(undo)

  const post = async (body: string | Buffer, headers: Record<string, string> = {}) => {
    const response = await fetch(`${c.url}/api/analysis`, { method: 'POST', body: body as BodyInit, headers })
    return { status: response.status, body: (await response.json()) as any }
  }
  const get = (path: string, parameters: Record<string, string> = {}) =>
    c.get(`/api/analysis${path}?${new URLSearchParams(parameters)}`)
  const refused = async (body: string | Buffer) => {
    const answer = await post(body)
    assert.equal(answer.status, 400, JSON.stringify(answer.body))
    assert.equal(answer.body.code, 'MILO_BAD_RESULTS')
    return answer.body.error as string
  }

  it('says so while there is none, with the commands that make some', async () => {
    assert.deepEqual((await get('')).body, { windows: [] })
    const { status, body } = await get('/roots')
    assert.deepEqual([status, body.code], [404, 'MILO_NO_ANALYSIS'])
    assert.match(body.error, /export, map, reduce and load/)
    assert.equal((await get('/edges', { window: AFTER })).body.code, 'MILO_NO_SUCH_ANALYSIS')
  })

  it('takes them as they are written, gzipped or not, and lists their windows, the latest first', async () => {
    const { status, body } = await post(whole(analysedShop('2026-11-29T10:00Z', 20_000)))
    assert.equal(status, 200, JSON.stringify(body))
    assert.deepEqual(
      { ...body, results: body.results > 5 },
      {
        window: BEFORE,
        from: Date.parse('2026-11-29T10:00Z') * 1000,
        to: Date.parse('2026-11-29T11:00Z') * 1000,
        results: true,
      },
    )
    // Without a newline at the end.
    const later = gzipSync(whole(analysedShop('2026-11-30T10:00Z', 50_000)).trimEnd())
    assert.equal((await post(later, { 'content-type': 'application/gzip' })).body.window, AFTER)
    const { windows } = (await get('')).body
    assert.deepEqual(
      windows.map(({ id }: any) => id),
      [AFTER, BEFORE],
    )
    const [{ from, to, loaded, counts }] = windows
    assert.equal(to - from, 3600e6)
    assert.ok(Math.abs(loaded - Date.now() * 1000) < 60e6)
    assert.deepEqual(counts, { traces: 100, spans: 300, records: 400 })
  })

  it('answers what is there of root operations, their paths, traces and calls', async () => {
    const { roots, window } = (await get('/roots')).body
    assert.equal(window.id, AFTER)
    assert.deepEqual(
      roots.map(({ service, name }: any) => [service, name]),
      [
        ['web', 'GET /checkout'],
        [null, 'job'],
      ],
    )
    assert.deepEqual(
      roots[0].bands.map(({ band }: any) => band),
      ['p50', 'p50-p95', 'p95-p99', 'p99'],
    )
    const root = { rootService: 'web', rootName: 'GET /checkout' }
    const { paths, root: figures } = (await get('/paths', { ...root, window: BEFORE })).body
    assert.equal(figures.mean, 30_000)
    // The paths' own times are the latencies' sum, band by band.
    for (const [i, { us }] of figures.bands.entries()) {
      assert.equal(
        paths.reduce((sum: number, path: any) => sum + path.us[i], 0),
        us,
      )
    }
    assert.deepEqual((await get('/paths', { rootName: 'job' })).body.paths, [
      { path: [[null, 'job']], us: [1000, 0, 0, 0], traces: [1, 0, 0, 0], exemplars: [] },
    ])
    assert.equal((await get('/paths', { rootService: 'web', rootName: 'nothing' })).body.code, 'MILO_NO_SUCH_ROOT')
    assert.match((await get('/paths', {})).body.error, /rootName is missing/)
    const { slow, strange } = (await get('/strange', root)).body
    assert.deepEqual([slow[0].duration, strange[0].share, strange[0].traces], [900_000, 0.01, 1])
    assert.equal((await get('/strange', { rootName: 'job' })).body.slow.length, 0)
    const { edges } = (await get('/edges')).body
    assert.deepEqual(
      edges.map(({ from, to, calls }: any) => [from, to, calls.value]),
      [
        ['cart', 'db', 300],
        ['web', 'cart', 200],
      ],
    )
    assert.equal((await get('/edges', { service: 'web' })).body.edges.length, 1)
    assert.deepEqual((await get('/edges', { limit: '1' })).body.truncated, true)
    const { services } = (await get('/instrumentation')).body
    assert.deepEqual(
      [services[0].service, services[0].orphans.spans, services[0].missingClients.by[0].service],
      ['cart', 20, 'web'],
    )
  })

  it('compares two windows: which operations made a root operation slower', async () => {
    const list = (await get('/regression', { before: BEFORE })).body
    assert.deepEqual([list.before.id, list.after.id], [BEFORE, AFTER])
    const [checkout, job] = list.regressions
    assert.deepEqual(
      [checkout.name, checkout.bands[0].change.value, checkout.bands[0].beyondChance],
      ['GET /checkout', 30_000, true],
    )
    assert.deepEqual([job.name, job.bands[0].change.value], ['job', 0])
    assert.deepEqual(checkout.bands[0].contributions, [])
    const root = { rootService: 'web', rootName: 'GET /checkout' }
    const { regressions } = (await get('/regression', { before: BEFORE, after: AFTER, ...root })).body
    assert.equal(regressions.length, 1)
    const { change, contributions } = regressions[0].bands[0]
    assert.deepEqual(
      [contributions[0].service, contributions[0].name, contributions[0].change.value],
      ['db', 'SELECT', 30_000],
    )
    assert.equal(
      contributions.reduce((sum: number, { change }: any) => sum + change.value, 0),
      change.value,
    )
    assert.match((await get('/regression', { before: AFTER })).body.error, /the same window/)
    assert.match((await get('/regression')).body.error, /before is missing/)
  })

  it('refuses wrong parameters, and says what would be right', async () => {
    for (const [path, parameters, error] of [
      ['/roots', { window: 'yesterday' }, /window is "yesterday": give the id of a window/],
      ['/roots', { window: '2026-11-30T11..2026-11-30T10x' }, /id of a window/],
      ['/edges', { limit: '0' }, /limit/],
      ['/strange', { root: 'x' }, /unknown parameter "root"/],
      ['', { window: AFTER }, /unknown parameter/],
    ] as const) {
      const { status, body } = await get(path, parameters)
      assert.equal(status, 400)
      assert.match(body.error, error)
    }
  })

  it('refuses what isn’t results by its first wrong line, and keeps what was there', async () => {
    const good = windowLine('2026-11-30T10:00Z')
    assert.match(await refused(''), /the body: it has no results: give a file that milo-collector reduce --merge wrote/)
    assert.match(await refused('\n\n'), /it has no results/)
    assert.match(await refused('hello'), /line 1: it isn't JSON/)
    assert.match(await refused('{"a":1}\n'), /line 1: it is not an object with a kind/)
    assert.match(await refused('null\n'), /line 1: it is not an object with a kind/)
    assert.match(
      await refused(lines([edgeLine('a', 'b', 1)])),
      /line 1: the first line must be of kind "window", not "edge"/,
    )
    assert.match(
      await refused(lines(analysedShop('2026-11-30T10:00Z', 1))),
      /not whole: its last line is not of kind "end"/,
    )
    assert.match(await refused(lines([good, { kind: 'end', results: 1 }])), /not whole: it has 0 results of 1/)
    assert.match(await refused(lines([{ kind: 'end', results: 0 }])), /line 1: the first line must be of kind "window"/)
    assert.match(await refused(lines([good, { kind: 'end' }])), /line 2: of kind "end": results: /)
    assert.match(await refused(whole([good]) + lines([edgeLine('a', 'b', 1)])), /line 3: it comes after the end/)
    assert.match(await refused(lines([good, good])), /line 2: it begins the results of another window/)
    assert.match(
      await refused(lines([{ kind: 'window', from: null, to: null }])),
      /line 1: its from and to are not whole hours/,
    )
    assert.match(
      await refused(lines([{ ...good, to: '2026-11-30T10:30Z' }])),
      /line 1: its from and to are not whole hours/,
    )
    assert.match(
      await refused(lines([{ ...good, from: good.to, to: good.from }])),
      /not whole hours, the first before the second/,
    )
    assert.match(
      await refused(lines([good, { kind: '__proto__' }])),
      /line 2: unknown kind "__proto__": this milo-collector knows window, edge, /,
    )
    assert.match(
      await refused(lines([good, { ...edgeLine('a', 'b', 1), calls: 7 }])),
      /line 2: of kind "edge": calls: /,
    )
    assert.match(
      await refused(lines([good, { ...edgeLine('a', 'b', 1), traces: [{ traceId: '../x' }] }])),
      /line 2: .*traces\.0\.traceId: is not a trace id/,
    )
    assert.match(await refused(`${lines([good])}${'x'.repeat(65_537)}`), /line 2: it is longer than 65536 bytes/)
    assert.equal((await post(gzipSync(lines([good])).subarray(0, 40))).body.code, 'MILO_BAD_BODY')
    assert.equal((await get('/edges')).body.edges.length, 2)
  })

  it('refuses more than 64 MiB, whatever the body says, and hears no more of it', async () => {
    const line = `${JSON.stringify(edgeLine('a', 'x'.repeat(20_000), 1))}\n`
    // A bomb: it has 70 MiB, in a few hundred kilobytes.
    const bomb = gzipSync(
      lines([windowLine('2026-11-30T10:00Z')]) + line.repeat(Math.ceil((70 * 1024 ** 2) / line.length)),
    )
    assert.match(await refused(bomb), /more than 64 MiB of results for one window: analyse fewer hours at a time/)
  })

  it('takes one load at a time', async () => {
    const first = request(`${c.url}/api/analysis`, { method: 'POST' })
    first.write(lines([windowLine('2026-11-30T10:00Z')]))
    first.on('error', () => {})
    let answer = await post('')
    for (let i = 0; i < 200 && answer.status !== 429; i++) answer = await post('')
    assert.deepEqual([answer.status, answer.body.code], [429, 'MILO_TRY_LATER'])
    // A client that goes away in the middle changes nothing, and makes room.
    first.destroy()
    for (let i = 0; i < 1000 && answer.status === 429; i++) answer = await post('')
    assert.equal(answer.status, 400)
    assert.equal((await get('/edges')).body.edges.length, 2)
  })

  it('deletes those of a window', async () => {
    const remove = (window: string) => fetch(`${c.url}/api/analysis/${window}`, { method: 'DELETE' })
    assert.equal((await remove(BEFORE)).status, 204)
    assert.equal((await remove(BEFORE)).status, 404)
    assert.equal((await remove('all')).status, 400)
    assert.deepEqual(
      (await get('')).body.windows.map(({ id }: any) => id),
      [AFTER],
    )
  })

  it('are taken with a token of scope ingest or full, and deleted with full alone', async () => {
    const tokens = await Promise.all((['read', 'ingest', 'full'] as const).map(scope => createToken(scope, scope)))
    const http = { ...loadConfig(undefined, {}).config.http, port: 0, tokens: tokens.map(({ line }) => line) }
    const guarded = await collector({ http })
    const ask = (method: string, path: string, token: string | undefined, body?: string) =>
      fetch(`${guarded.url}/api/analysis${path}`, {
        method,
        ...(body !== undefined && { body }),
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      })
    const body = whole([windowLine('2026-11-30T10:00Z')])
    const [read, ingest, full] = tokens.map(({ token }) => token)
    assert.equal((await ask('POST', '', undefined, body)).status, 401)
    assert.equal((await ask('POST', '', read, body)).status, 403)
    assert.equal((await ask('POST', '', ingest, body)).status, 200)
    assert.equal((await ask('POST', '', full, body)).status, 200)
    assert.equal((await ask('GET', '', ingest)).status, 403)
    assert.equal((await ask('GET', '', read)).status, 200)
    assert.equal((await ask('DELETE', `/${AFTER}`, ingest)).status, 403)
    assert.equal((await ask('DELETE', `/${AFTER}`, full)).status, 204)
  })
})
