import assert from 'node:assert/strict'
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { createToken } from '../../../collector/src/auth/credentials'
import { loadConfig } from '../../../collector/src/config'
import { Folder } from '../../../collector/src/offline/folder'
import { exportHours } from '../../../collector/src/offline/hour-files'
import { HOUR_US } from '../../../collector/src/offline/hours'
import { RemoteHours } from '../../../collector/src/offline/remote-hours'
import { openEmbeddedHours } from '../../../collector/src/store/embedded/hours'
import { until } from '../../helpers/until'
import { accept, encoded, filesIn, options, recordsOf, TEN_US } from '../../offline/exported'
import { collector, Peer, span, type TestCollector, temporaryDirectory, undo } from '../support'

const HTTP = { ...loadConfig(undefined, {}).config.http, port: 0 }
const READ = createToken('hadoop', 'read')
const INGEST = createToken('agent', 'ingest')

describe('GET /api/export', () => {
  const small = Array.from({ length: 50 }, (_, i) => ({ at: i * 1_000_000, records: [span(), span()] }))
  // More than sockets hold.
  const large = Array.from({ length: 300 }, (_, i) => ({
    at: HOUR_US + i * 1_000_000,
    records: [span({ annotations: new Map([['x', 'x'.repeat(100_000)]]) })],
  }))
  let c: TestCollector
  let path: string

  before(async () => {
    path = join(temporaryDirectory(), 'milo.db')
    accept(path, [...small, ...large])
    c = await collector({
      embedded: { path },
      collector_id: 'shop:2100',
      http: { ...HTTP, tokens: [READ.line, INGEST.line] },
    })
  })
  after(undo)

  const ask = (query: string, token = READ.token) =>
    fetch(`${c.url}/api/export${query}`, { headers: { authorization: `Bearer ${token}` } })

  /** An answer of which nothing is read yet. */
  async function open(query: string): Promise<IncomingMessage> {
    const request = get(`${c.url}/api/export${query}`, {
      headers: { authorization: `Bearer ${READ.token}` },
      agent: false,
    })
    const [answer] = await once(request, 'response')
    return answer
  }

  it('streams what was accepted in some hours as lines, also in the one that isn’t over', async () => {
    const answer = await ask('?hours=2026-03-01T10..2026-03-01T11')
    assert.equal(answer.status, 200)
    assert.equal(answer.headers.get('content-type'), 'text/tab-separated-values; charset=utf-8')
    assert.deepEqual(recordsOf(await answer.text()), encoded(small.flatMap(({ records }) => records)))
    const now = span()
    assert.equal(await new Peer(c.scribePorts[0]!).log(now), 0)
    const hour = Math.floor((Date.now() * 1000) / HOUR_US) * HOUR_US
    const [from, to] = [hour - HOUR_US, hour + 2 * HOUR_US].map(us => new Date(us / 1000).toISOString())
    await until('it is there', async () => {
      const answer = await ask(`?hours=${from}..${to}&collector=shop:2100&end=false`)
      return recordsOf(await answer.text())[0] === encoded([now])[0]
    })
  })

  it('says with end=true that it is whole, behind the last line', async () => {
    const text = await (await ask('?hours=2026-03-01T10..2026-03-01T11&end=true')).text()
    const end = text.lastIndexOf('\n') + 1
    assert.equal(recordsOf(text.slice(0, end)).length, 100)
    assert.deepEqual(JSON.parse(text.slice(end)), { records: 100, damaged: [], damagedRows: 0 })
  })

  it('is for those who may read, and refuses what makes no sense', async () => {
    const hours = '?hours=2026-03-01T10..2026-03-01T11'
    const refused: [string, number, string, string?][] = [
      [hours, 401, 'MILO_UNAUTHORIZED', 'wrong'],
      ['/collectors', 401, 'MILO_UNAUTHORIZED', 'wrong'],
      [hours, 403, 'MILO_FORBIDDEN', INGEST.token],
      ['', 400, 'MILO_BAD_PARAMETER'],
      ['?hours=yesterday', 400, 'MILO_BAD_TIME'],
      ['?hours=2020-01-01..2026-01-01', 400, 'MILO_BAD_TIME'],
      [`${hours}&end=1`, 400, 'MILO_BAD_PARAMETER'],
      [`${hours}&limit=1`, 400, 'MILO_BAD_PARAMETER'],
      ['/collectors?x=1', 400, 'MILO_BAD_PARAMETER'],
    ]
    for (const [query, status, code, token] of refused) {
      const answer = await ask(query, token)
      assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [status, code], query)
    }
    const head = await fetch(`${c.url}/api/export${hours}`, {
      method: 'HEAD',
      headers: { authorization: `Bearer ${READ.token}` },
    })
    assert.equal(head.status, 404)
  })

  it('answers one at a time, stops when a client goes, and reads no farther than its client', async () => {
    const first = await open('?hours=2026-03-01T11..2026-03-01T12')
    const second = open('?hours=2026-03-01T11..2026-03-01T12&end=true')
    let hasBegun = false
    second.then(() => (hasBegun = true))
    // Another request isn't held up.
    assert.equal((await ask('/collectors')).status, 200)
    assert.equal(hasBegun, false)
    first.destroy()
    let text = ''
    for await (const piece of (await second).setEncoding('utf8')) text += piece
    assert.match(text, /\n\{"records":300,"damaged":\[\],"damagedRows":0\}$/)
  })

  it('gives a command the same files as the store itself', async () => {
    const [remote, direct] = [temporaryDirectory(), temporaryDirectory()]
    const hours = { fromUs: TEN_US, toUs: TEN_US + 3 * HOUR_US }
    const exported = await exportHours(
      new RemoteHours({ url: new URL(`${c.url}/`), token: READ.token }),
      new Folder(remote),
      hours,
      options({ partBytes: 5_000_000 }),
    )
    await c.close()
    const file = openEmbeddedHours(path, 'shop:2100')
    const expected = await exportHours(file, new Folder(direct), hours, options({ partBytes: 5_000_000 }))
    await file.close()
    assert.deepEqual(exported, expected)
    assert.ok(exported.parts > 5)
    assert.deepEqual(filesIn(remote), filesIn(direct))
  })
})
