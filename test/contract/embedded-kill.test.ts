import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'libsql'
import { scanRecords } from '../../collector/src/record/records'
import { sumActivity } from '../../collector/src/store/activity/read'
import { openEmbedded } from '../../collector/src/store/embedded/store'
import { bundledProgram } from '../helpers/bundle'
import { seeded } from '../helpers/seeded'
import { append, idOf, randomId, searchAll, soon, span, tag } from './store-contract'

/** How often a process is killed; a longer run: MILO_TEST_KILLS=200. The same points again: MILO_TEST_SEED. */
const KILLS = Number(process.env.MILO_TEST_KILLS ?? 6)
const SEED = Number(process.env.MILO_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31))
const DAY_MS = 86_400_000

interface Acknowledged {
  sentMs: number
  traces: number
}

describe(`embedded store, killed at random moments (MILO_TEST_SEED=${SEED})`, function () {
  this.timeout(60_000 + KILLS * 60_000)
  let folder: string
  let path: string
  const random = seeded(SEED)

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-killed-'))
    path = join(folder, 'milo.db')
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  /** Lets a process work on the file, and kills it some time after its first answer, or before that. */
  async function killed(retentionMs: number, acknowledged: Map<string, Acknowledged>): Promise<void> {
    const program = bundledProgram(join(__dirname, 'embedded-killed.ts'), 'embedded-killed')
    const child = spawn(process.execPath, [program, path, String(retentionMs / DAY_MS)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const exit = once(child, 'exit')
    const early = random() < 0.2
    const afterMs = random() * 1_500
    const kill = () => setTimeout(() => child.kill('SIGKILL'), afterMs)
    if (early) kill()
    let answers = 0
    for await (const line of createInterface(child.stdout)) {
      const [sentMs, traces, name] = line.split(' ')
      // The last line may be cut off.
      if (name?.length === 'killed-'.length + 16) {
        acknowledged.set(name, { sentMs: Number(sentMs), traces: Number(traces) })
      }
      if (answers++ === 0 && !early) kill()
    }
    assert.deepEqual(await exit, [null, 'SIGKILL'])
  }

  /** @param mayBeGoneMs what was sent before this may have been retired, of one message all or nothing: it is forgotten here too */
  async function verify(acknowledged: Map<string, Acknowledged>, mayBeGoneMs: number): Promise<void> {
    const store = await openEmbedded({ path }, () => {})
    try {
      await soon(async () => assert.equal(store.backlog().spans, 0), 20_000)
      for (const [name, { sentMs, traces }] of acknowledged) {
        const found = await searchAll(store, { name, annotations: [tag('number', name.slice(-6))] })
        if (sentMs < mayBeGoneMs && found.length === 0) {
          acknowledged.delete(name)
          continue
        }
        assert.equal(new Set(found.map(idOf)).size, traces, name)
        assert.equal(found.length, traces, name)
        const read = await Promise.all(found.map(trace => store.readTrace(idOf(trace))))
        for (const { records } of read) assert.equal(records.length, 1, name)
      }
      await store.check()
    } finally {
      await store.close()
    }
    assert.deepEqual(readdirSync(folder), ['milo.db'])
  }

  it('has everything that was acknowledged, once, and finds it', async () => {
    const all = new Map<string, Acknowledged>()
    let fresh = new Map<string, Acknowledged>()
    for (let i = 0; i < KILLS; i++) {
      await killed(7 * DAY_MS, fresh)
      for (const [name, what] of fresh) all.set(name, what)
      // Not after each one, for a start may find what several kills have left.
      if (random() < 0.5) {
        await verify(fresh, 0)
        fresh = new Map()
      }
    }
    assert.ok(all.size > 0)
    await verify(all, 0)
    assertWhole(path)
    await assertCounted(path)
  })

  it('has everything that is younger than the retention, and forgets the rest for good', async () => {
    const retentionMs = 1_500
    const acknowledged = new Map<string, Acknowledged>()
    for (let i = 0; i < KILLS; i++) {
      await killed(retentionMs, acknowledged)
      await verify(acknowledged, Date.now() - retentionMs)
    }
    await sleepUntilGone(path, retentionMs)
  })

  it('forgets what is too old, while it takes more', async () => {
    const retentionMs = 1_000
    const store = await openEmbedded({ path, retentionDays: retentionMs / DAY_MS, settleMs: 10 }, () => {})
    const traceId = randomId()
    await append(store, span({ traceId }), span({ traceId }))
    let other = span({})
    let sentMs = 0
    await soon(async () => {
      other = span({})
      sentMs = Date.now()
      await append(store, other)
      assert.equal((await store.readTrace(traceId)).records.length, 0)
    }, 20_000)
    const { records } = await store.readTrace(other.traceId)
    // A machine that is busy may let it grow too old as well.
    assert.ok(records.length === 1 || Date.now() - sentMs >= retentionMs)
    await store.close()
  })
})

/** Every chunk belongs to a part, follows the one before it, and has all of its rows; every part has its tables. */
function assertWhole(path: string): void {
  const db = new Database(path)
  const all = (sql: string) => db.prepare(sql).all() as Record<string, any>[]
  const parts = all('SELECT id FROM part').map(({ id }) => id)
  const next = new Map<number, number>(parts.map(id => [id, 1]))
  for (const { part, first, rows, bytes } of all(`
    SELECT id >> 40 AS part, id & 0xffffffffff AS first, rows, length(data) AS bytes FROM chunk ORDER BY id`)) {
    assert.equal(first, next.get(part), `part ${part}`)
    assert.equal(bytes, rows * 24)
    next.set(part, first + rows)
  }
  const tables = all("SELECT name FROM sqlite_schema WHERE name GLOB 'index_[0-9]*' AND sql LIKE '%fts5%'")
  assert.deepEqual(tables.map(({ name }) => name).sort(), parts.map(id => `index_${id}`).sort())
  assert.deepEqual(all('PRAGMA integrity_check'), [{ integrity_check: 'ok' }])
  db.close()
}

/** Every record that is stored counts once, whatever was acknowledged, repeated or replayed. */
async function assertCounted(path: string): Promise<void> {
  const store = await openEmbedded({ path }, () => {})
  const nowUs = Date.now() * 1000
  const query = { fromUs: nowUs - 86_400e6, toUs: nowUs + 60e6, stepUs: Number.POSITIVE_INFINITY }
  const [sums] = (await sumActivity(part => store.activity(part), { ...query, kinds: ['operations'] })).values()
  await store.close()
  const records = new Set<string>()
  const db = new Database(path)
  for (const [body] of db.prepare('SELECT body FROM message').raw().all([]) as unknown as [Buffer][]) {
    scanRecords(body, (start, end) => records.add(body.toString('latin1', start, end)))
  }
  db.close()
  const counted = [...sums!.operations.values()].reduce((sum, { calls }) => sum + calls, 0)
  assert.equal(counted, records.size)
}

/** Opens the file with a retention that is over, until all of its rows are removed. */
async function sleepUntilGone(path: string, retentionMs: number): Promise<void> {
  await soon(async () => {
    const store = await openEmbedded({ path, retentionDays: retentionMs / DAY_MS }, () => {})
    await sleep(retentionMs)
    await store.close()
    const db = new Database(path)
    const counts = ['message', 'part', 'chunk', 'value'].map(
      table => (db.prepare(`SELECT count(*) AS n FROM ${table}`).get() as { n: number }).n,
    )
    db.close()
    assert.deepEqual(counts, [0, 0, 0, 0])
  }, 60_000)
}
