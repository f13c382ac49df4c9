import assert from 'node:assert/strict'
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import type { Worker } from 'node:worker_threads'
import Database from 'libsql'
import { sumActivity } from '../../collector/src/store/activity/read'
import { type Load, newLoad } from '../../collector/src/store/analysis/model'
import type { Bytes } from '../../collector/src/store/bytes'
import { EmbeddedBackend } from '../../collector/src/store/embedded/backend'
import { EmbeddedFile } from '../../collector/src/store/embedded/file'
import { Indexer } from '../../collector/src/store/embedded/index/indexer'
import { FtsIndex } from '../../collector/src/store/embedded/index/lookup'
import type { EmbeddedOptions } from '../../collector/src/store/embedded/protocol'
import { openEmbedded } from '../../collector/src/store/embedded/store'
import { type Keep, type Ring, TRACE } from '../../collector/src/store/keeps'
import { migrations } from '../../collector/src/store/migrations'
import { migrate, openStore, type StoreConfig } from '../../collector/src/store/open'
import { systemClock } from '../../collector/src/store/pipeline/clock'
import { readEntry } from '../../collector/src/store/pipeline/entry'
import { indexPolicy } from '../../collector/src/store/search/index-policy'
import { each, search } from '../../collector/src/store/search/search'
import type { Store } from '../../collector/src/store/store'
import { bundledProgram } from '../helpers/bundle'
import { until } from '../helpers/until'
import { append, found, messageOf, soon, span, storeContract, structs, tag } from './store-contract'

const execFileAsync = promisify(execFile)

function newFolder(): string {
  return mkdtempSync(join(tmpdir(), 'milo-embedded-'))
}

function open(path: string, options: Partial<EmbeddedOptions> = {}): Promise<Store> {
  return openEmbedded({ path, ...options }, () => {})
}

storeContract('embedded', async () => {
  const folder = newFolder()
  return {
    open: index => open(join(folder, 'milo.db'), { settleMs: 20, ...(index && { index }) }),
    remove: async () => rmSync(folder, { recursive: true }),
  }
})

describe('embedded store, its file', () => {
  let folder: string
  let path: string

  beforeEach(() => {
    folder = newFolder()
    path = join(folder, 'milo.db')
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const writer = (command = 'exec "$0" "$@"') =>
    spawn(
      'sh',
      ['-c', command, process.execPath, bundledProgram(join(__dirname, 'embedded-writer.ts'), 'embedded-writer'), path],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )

  async function stopped(child: ChildProcess): Promise<void> {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }

  function threadOf(store: Store): Worker {
    return (store as unknown as { worker: Worker }).worker
  }

  it('completes to every word, also when the records of one fill many blocks of the index', async () => {
    const store = await open(path)
    try {
      const ofTwo = Array.from({ length: 40_000 }, (_, i) =>
        span({ service: i % 2 === 0 ? 'cart' : 'front', startUs: 1_700_000_000_000_000n + BigInt(i) }),
      )
      await append(store, ...ofTwo, span({ service: 'shop' }))
      await soon(async () => {
        assert.deepEqual(await store.complete({ field: 'service', prefix: '', limit: 3 }), ['cart', 'front', 'shop'])
      })
    } finally {
      await store.close()
    }
  })

  /** What a writer acknowledged: names by trace id. */
  async function readsBack(acknowledged: Map<bigint, string>): Promise<void> {
    const store = await open(path)
    try {
      for (const [traceId, name] of acknowledged) {
        assert.deepEqual(
          (await store.readTrace(traceId)).records.map(({ name }) => name),
          [name],
        )
        await soon(async () => assert.deepEqual(await found(store, { name }), [traceId]))
      }
      await store.check()
    } finally {
      await store.close()
    }
  }

  it('is brought up to date when an older version wrote it, and keeps what it has', async () => {
    const [older] = migrations('embedded')
    const db = new Database(path)
    db.exec(older!.sql)
    db.exec(`PRAGMA application_id = ${0x4d696c6f}; PRAGMA user_version = 1;
             INSERT INTO saved_search VALUES ('id', 'Slow', 'name=a', 1)`)
    db.close()
    const said: string[] = []
    const store = await openEmbedded({ path }, message => said.push(message))
    try {
      assert.deepEqual(said, [
        `${path}: 0002-analyses.sql applied`,
        `${path}: 0003-keeps.sql applied`,
        `${path}: 0004-listening.sql applied`,
      ])
      assert.deepEqual(await store.analyses(), [])
      assert.deepEqual(await store.keepsAfter(0n, 0), [])
      assert.deepEqual(await store.savedSearches(), [{ id: 'id', name: 'Slow', query: 'name=a', createdUs: 1 }])
    } finally {
      await store.close()
    }
  })

  it('removes what was kept after the fact, and who asked, when it is too old', async () => {
    const nowUs = Date.now() * 1000
    const [old, young] = [nowUs - 3 * 86_400e6, nowUs]
    const keep = (atUs: number): Keep => ({
      ...{ kind: TRACE, id: 1n, n: 0, reason: 'error', service: 's', name: 'n', by: '', collector: 'c', origin: 1n },
      atUs,
    })
    const ring = (seenUs: number): Ring => ({
      ...{ service: 's', host: 'h', process: 1n, historyUs: 1, toldUs: 1, madeUs: 1, ended: false, address: '' },
      listening: [],
      seenUs,
    })
    const store = await open(path, { retentionDays: 2 })
    await store.addKeeps([keep(old), keep(young)])
    await store.saveRings([ring(old), ring(young)])
    await store.close()
    const again = await open(path, { retentionDays: 2 })
    try {
      await until('the old ones are gone', async () => (await again.keepsAfter(0n, 0)).length === 1)
      const rings = () => again.rings({ fromUs: 0, toUs: nowUs })
      await until('the old hour is gone', async () => (await rings()).length === 1)
      assert.equal((await again.keepsAfter(0n, 0))[0]!.atUs, young)
      assert.equal((await rings())[0]!.seenUs, young)
    } finally {
      await again.close()
    }
  })

  it('removes results of analyses after so many days, and pieces of loads that a crash ended', async () => {
    const nowUs = Date.now() * 1000
    const load = (hour: number, loadedUs: number): Load => ({
      ...{ fromUs: hour * 3.6e9, toUs: (hour + 1) * 3.6e9, load: newLoad(loadedUs), loadedUs, summary: '{}' },
      pieces: Array.from({ length: 40 }, (_, piece) => ({ kind: 'edge', root: 0n, piece, body: Buffer.alloc(1000) })),
    })
    const store = await open(path, { analysisDays: 2 })
    await store.saveAnalysis(load(1, nowUs - 3 * 86_400e6))
    await store.saveAnalysis(load(2, nowUs - 86_400e6))
    await store.close()
    const db = new Database(path)
    db.exec(
      `INSERT INTO analysis_piece SELECT 7, kind, root, piece, body FROM analysis_piece WHERE load > ${newLoad(nowUs - 2 * 86_400e6)}`,
    )
    db.close()
    const again = await open(path, { analysisDays: 2 })
    try {
      await soon(async () =>
        assert.deepEqual(
          (await again.analyses()).map(({ fromUs }) => fromUs),
          [2 * 3.6e9],
        ),
      )
      const pieces = () => {
        const reading = new Database(path, { readonly: true })
        try {
          return reading.prepare('SELECT DISTINCT load, count(*) OVER () AS pieces FROM analysis_piece').raw().all()
        } finally {
          reading.close()
        }
      }
      await soon(async () => assert.equal(pieces().length, 1))
      assert.equal(
        (await again.readAnalysis({ fromUs: 2 * 3.6e9, toUs: 3 * 3.6e9, kinds: ['edge'] }))!.bodies.length,
        40,
      )
    } finally {
      await again.close()
    }
  })

  it('is made with its folder, and is one file again after close', async () => {
    path = join(folder, 'a', 'b', 'milo.db')
    const store = await open(path)
    await append(store, span({}))
    await store.close()
    assert.deepEqual(readdirSync(join(folder, 'a', 'b')), ['milo.db'])
  })

  it('belongs to one store at a time, which a second one is told and the first one never notices', async () => {
    const store = await open(path)
    const record = span({})
    await append(store, record)
    const locked = { code: 'MILO_STORE_LOCKED', message: /milo\.db is in use by another process: .*embedded\.path/ }
    await assert.rejects(open(path), locked)
    await append(store, span({}))
    assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
    await store.close()
    await (await open(path)).close()
  })

  it('belongs to one process at a time', async () => {
    const child = writer()
    try {
      await once(child.stdout, 'data')
      await assert.rejects(open(path), { code: 'MILO_STORE_LOCKED' })
    } finally {
      await stopped(child)
    }
    await (await open(path)).close()
  })

  it('has everything that was acknowledged, whenever its process is killed', async () => {
    const acknowledged = new Map<bigint, string>()
    for (let round = 0; round < 5; round++) {
      const last = Math.ceil(Math.random() * 300)
      const child = writer()
      const exit = once(child, 'exit')
      let lines = 0
      for await (const line of createInterface(child.stdout)) {
        const [traceId, name] = line.split(' ')
        acknowledged.set(BigInt(traceId!), name!)
        if (++lines === last) child.kill('SIGKILL')
      }
      await exit
      assert.ok(lines >= last, `the writer ended by itself after ${lines} of ${last} spans`)
    }
    await readsBack(acknowledged)
  })

  it('refuses what it has no room for, keeps what it acknowledged, and takes more once there is room', async () => {
    const acknowledged = new Map<bigint, string>()
    // No file may grow beyond 4 MiB, as if the disk were full.
    const child = writer('ulimit -f 8192 && exec "$0" "$@"')
    let end = ''
    for await (const line of createInterface(child.stdout)) {
      const [traceId, name] = line.split(' ')
      if (traceId === 'end') end = line
      else acknowledged.set(BigInt(traceId!), name!)
    }
    const count = acknowledged.size
    assert.ok(count > 100, `only ${count} before it was full`)
    assert.equal(end, `end MILO_STORE_UNAVAILABLE ${count} ${count} MILO_STORE_UNAVAILABLE`)
    await readsBack(acknowledged)
  })

  it('is left as it is when it is no database, or not ours, or of another version', async () => {
    const unusable: [string, () => void, object][] = [
      [
        'no database',
        () => writeFileSync(path, 'x'.repeat(10_000)),
        { code: 'MILO_STORE_UNAVAILABLE', message: /not a database/ },
      ],
      [
        "another program's",
        () => {
          const db = new Database(path)
          db.exec('CREATE TABLE mine (a)')
          db.close()
        },
        { code: 'MILO_STORE_SCHEMA', message: /another program's database: give another embedded\.path/ },
      ],
      [
        'later version',
        () => {
          const db = new Database(path)
          db.exec(`CREATE TABLE message (a); PRAGMA application_id = ${0x4d696c6f}; PRAGMA user_version = 999`)
          db.close()
        },
        { code: 'MILO_STORE_SCHEMA', message: /newer milo-collector \(schema 999/ },
      ],
      [
        'development version',
        () => {
          const db = new Database(path)
          db.exec(`CREATE TABLE message (a); PRAGMA application_id = ${0x4d696c6f}; PRAGMA user_version = 1`)
          db.close()
        },
        {
          code: 'MILO_STORE_SCHEMA',
          message: /development version \(.*\), .*: remove it, or give another embedded\.path/,
        },
      ],
    ]
    for (const [what, make, error] of unusable) {
      rmSync(path, { force: true })
      make()
      await assert.rejects(open(path), error, what)
      if (what === 'no database') assert.equal(readFileSync(path, 'utf8'), 'x'.repeat(10_000))
      else {
        const db = new Database(path)
        assert.equal((db.prepare('SELECT count(*) AS tables FROM sqlite_schema').get() as any).tables, 1, what)
        db.close()
      }
    }
  })

  it('says which file it is that can not be opened', async () => {
    await assert.rejects(open(folder), { code: 'MILO_STORE_UNAVAILABLE', message: new RegExp(folder) })
    writeFileSync(path, '')
    await assert.rejects(open(join(path, 'below')), { code: 'MILO_STORE_UNAVAILABLE', message: /milo\.db/ })
  })

  it('is migrated by migrate as by opening, once', async () => {
    const config = { store: 'embedded', embedded: { path } } as StoreConfig
    const lines: string[] = []
    await migrate(config, line => lines.push(line))
    await migrate(config, line => lines.push(line))
    await (await openStore(config, line => lines.push(line))).close()
    const files = readdirSync(join(__dirname, '../../sql/embedded')).sort()
    assert.deepEqual(
      lines,
      files.map(file => `${path}: ${file} applied`),
    )
  })

  it('acknowledges nothing more once the file has been deleted or replaced under it, and is not healthy', async () => {
    for (const replace of [() => {}, () => writeFileSync(path, '')]) {
      const store = await open(path)
      await append(store, span({}))
      rmSync(path)
      replace()
      const gone = { code: 'MILO_STORE_UNAVAILABLE', message: /deleted or replaced under the running collector/ }
      await assert.rejects(append(store, span({})), gone)
      await assert.rejects(store.check(), gone)
      await store.close().catch(() => {})
      for (const file of readdirSync(folder)) rmSync(join(folder, file))
    }
  })

  it('refuses everything once its thread has ended, and is not healthy', async () => {
    const store = await open(path)
    const record = span({})
    await append(store, record)
    const underWay = Promise.allSettled(Array.from({ length: 20 }, () => append(store, span({}))))
    assert.equal(store.dead(), undefined)
    await threadOf(store).terminate()
    await underWay
    const ended = { code: 'MILO_STORE_UNAVAILABLE', message: /its thread has ended: start the collector again/ }
    assert.match(store.dead()!, ended.message)
    await assert.rejects(append(store, span({})), ended)
    await assert.rejects(store.readTrace(record.traceId), ended)
    await assert.rejects(store.check(), ended)
    await store.close()
  })

  it('is dead when its thread stays silent, and no longer once it answers again', async () => {
    const store = await open(path, { lookMs: 2 })
    const worker = threadOf(store)
    await until('it is not dead', () => store.dead() === undefined)
    const { postMessage } = worker
    const kept: unknown[] = []
    worker.postMessage = (message: unknown) => void kept.push(message)
    await until('it is dead', () => store.dead() !== undefined)
    assert.match(store.dead()!, /its thread hasn't answered for 60 s: start the collector again/)
    worker.postMessage = postMessage
    for (const message of kept) worker.postMessage(message)
    await until('it lives', () => store.dead() === undefined)
    await store.close()
    assert.equal(store.dead(), undefined)
  })

  it('writes once a second for its checks, however many there are', async () => {
    const file = new EmbeddedFile(path, () => {})
    const written = () => file.sql.selectHealth.get([]) as [bigint]
    file.check()
    const [first] = written()
    for (let i = 0; i < 100; i++) file.check()
    // On a machine that was busy for so long there is a second one.
    assert.ok(written()[0] === first || written()[0] - first > 900_000n)
    file.close()
  })

  it('searches a moving hour again and again without keeping more for each', async () => {
    const file = new EmbeddedFile(path, () => {})
    const policy = indexPolicy(undefined)
    const backend = new EmbeddedBackend(file, policy, {
      retentionDays: 7,
      settleMs: 1,
      clock: systemClock,
      activityDays: 400,
      analysisDays: 400,
      onActivityError: () => {},
      onTendError: () => {},
      onPutAside: () => {},
    })
    const body = messageOf(Array.from({ length: 100 }, () => span({ name: 'n', service: 's', tags: { a: 'b' } }))).body
    await backend.write([await readEntry(1n, 1n, body, assert.fail)])
    const index = new FtsIndex(file, policy)
    const query = { annotations: [{ key: 'a', value: 'b', match: 'exact' }], name: 'n', limit: 10 } as const
    for (let fromUs = 1; fromUs < 500; fromUs++) {
      const readTraces = each(async () => ({ bytes: Buffer.alloc(0), truncated: false }))
      await search({ index, readTraces }, { ...query, annotations: [...query.annotations], fromUs })
    }
    const { sieves } = index as unknown as { sieves: Map<string, unknown> }
    assert.equal(sieves.size, 1)
    await backend.close()
    file.close()
  })

  it('starts with a journal that is damaged, keeps what can be read, and puts the rest aside', async () => {
    const file = new EmbeddedFile(path, () => {})
    const good = Array.from({ length: 3 }, () => span({ name: 'good' }))
    const whole = messageOf([good[0]!]).body
    const cut = messageOf([good[1]!, span({})]).body.subarray(0, -1)
    const bodies = [Buffer.from('nonsense'), whole, cut, Buffer.alloc(0), messageOf([good[2]!]).body]
    for (const [i, body] of bodies.entries()) file.sql.insertMessage.run([BigInt(i + 1), body, 1n])
    file.close()
    for (const putAside of [2, 0]) {
      const lines: string[] = []
      const store = await openEmbedded({ path, settleMs: 1 }, line => lines.push(line))
      await soon(async () => assert.deepEqual((await found(store, { name: 'good' })).length, 3))
      for (const record of good) {
        assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
      }
      await until('all is settled', () => store.backlog().spans === 0)
      assert.equal(store.backlog().putAside, putAside)
      assert.equal(
        lines.some(line => line.includes('put aside in the table quarantine')),
        putAside > 0,
      )
      await append(store, span({}))
      await store.close()
    }
  })

  it('lets reads end when it is closed under them, well or with the reason', async () => {
    const store = await open(path)
    const record = span({ name: 'read' })
    for (let i = 0; i < 200; i++) await append(store, { ...record, id: BigInt(i) })
    const reads = Promise.allSettled([
      store.readTrace(record.traceId).then(({ records }) => records.length),
      store.search({ name: 'read', annotations: [], limit: 10 }).then(({ traces }) => Math.min(traces.length, 1) * 200),
    ])
    await store.close()
    for (const read of await reads) {
      if (read.status === 'fulfilled') assert.ok(read.value === 200 || read.value === 0)
      else assert.equal(read.reason.code, 'MILO_STORE_CLOSED')
    }
    await assert.rejects(store.readTrace(record.traceId), { code: 'MILO_STORE_CLOSED' })
  })

  it('opens without loading the drivers of the other store', () => {
    const script = `
      const { openStore } = require('./collector/src/store/open')
      openStore({ store: 'embedded', embedded: { path: process.argv[1] } }).then(store => store.close()).then(() => {
        console.log(Object.keys(require.cache).filter(file => /node_modules.(cassandra-driver|mysql2)/.test(file)).length)
      })`
    const root = join(__dirname, '../..')
    const output = execFileSync(process.execPath, ['--require', 'tsx/cjs', '-e', script, path], { cwd: root })
    assert.equal(output.toString(), '0\n')
  })

  it('takes a message larger than a transaction', async () => {
    const store = await open(path)
    const records = Array.from({ length: 2_000 }, (_, i) => span({ tags: { filler: String(i).repeat(200) } }))
    const message = messageOf(records)
    assert.ok(message.body.length > 1024 * 1024)
    await Promise.all([append(store, span({})), store.append([message]), append(store, span({}))])
    assert.equal((await store.readTrace(records[1_999]!.traceId)).records.length, 1)
    await store.close()
  })

  it('finds a span by each of thousands of annotations, chosen so that their words meet in one slot of the hash of FTS5', async () => {
    const store = await open(path)
    // FTS5's hash is (h << 3) ^ h ^ byte from the last byte on: these pairs of characters leave it the same.
    const word = (i: number) => Array.from({ length: 12 }, (_, bit) => ((i >> bit) & 1 ? 'hc' : 'ab')).join('')
    const tags = Object.fromEntries(Array.from({ length: 4_000 }, (_, i) => [word(i), word(i)]))
    const record = span({ tags })
    await append(store, span({ tags: { [word(1)]: word(1) } }), record)
    await soon(async () =>
      assert.deepEqual(await found(store, { annotations: [tag(word(3_999), word(3_999))] }), [record.traceId]),
    )
    const ends = [tag(word(0), word(0)), tag(word(2_000)), tag(word(3_998), 'hc', 'contains')]
    assert.deepEqual(await found(store, { annotations: ends }), [record.traceId])
    assert.equal((await found(store, { annotations: [tag(word(1), word(1))] })).length, 2)
    await store.close()
  })

  it('may be read, and copied by a backup, by other programs while the collector appends', async function () {
    this.slow(5_000)
    const store = await open(path)
    const records = Array.from({ length: 300 }, (_, i) =>
      span({ startUs: 1_700_000_000_000_000n + BigInt(i), service: 'shop' }),
    )
    await append(store, ...records)
    await soon(async () => assert.equal((await found(store, { service: 'shop' }, 400)).length, 300))
    let appended = 0
    let ended = false
    const appending = (async () => {
      for (; !ended; appended++) await append(store, span({ name: 'meanwhile' }))
    })()
    const copy = join(folder, 'copy.db')
    const script = `
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
one = lambda sql, *values: db.execute(sql, values).fetchone()
print(json.dumps({
  'trace': one('SELECT trace_id, start, records, longest_us FROM traces WHERE trace_id = ?', sys.argv[3]),
  'record': one('SELECT start_us, duration_us FROM record WHERE trace_id = ?', sys.argv[3]),
  'hours': one('SELECT sum(messages) > 0, sum(bytes) > 0 FROM messages_by_hour'),
}))
db.backup(sqlite3.connect(sys.argv[2]))
`
    const id = BigInt.asUintN(64, records[7]!.traceId).toString(16).padStart(16, '0')
    const output = execFileAsync('python3', ['-c', script, path, copy, id]).finally(() => {
      ended = true
    })
    const { stdout } = await output
    await appending
    assert.ok(appended > 0)
    const startUs = Number(records[7]!.events![0]!.timestamp)
    const durationUs = Number(records[7]!.events!.at(-1)!.timestamp) - startUs
    assert.deepEqual(JSON.parse(stdout), {
      trace: [id, '2023-11-14 22:13:20', 1, durationUs],
      record: [startUs, durationUs],
      hours: [1, 1],
    })
    const second = await open(copy)
    assert.deepEqual(structs(await second.readTrace(records[7]!.traceId)), structs([records[7]!]))
    await soon(async () => assert.equal((await found(second, { service: 'shop' }, 400)).length, 300))
    await Promise.all([store.close(), second.close()])
  })

  it('belongs to one store at a time, by whatever link it is opened', async () => {
    const link = join(folder, 'link.db')
    // To a file that isn't there yet.
    symlinkSync(path, link)
    const store = await open(link)
    await assert.rejects(open(path), { code: 'MILO_STORE_LOCKED' })
    await assert.rejects(open(link), { code: 'MILO_STORE_LOCKED' })
    await append(store, span({}))
    await store.close()
    assert.deepEqual(readdirSync(folder), ['link.db', 'milo.db'])
  })

  it('finds names, keys and values with each character of ASCII', async () => {
    const store = await open(path)
    const words = Array.from({ length: 128 }, (_, code) => `a${String.fromCharCode(code)}b`)
    const records = words.map(word => span({ name: word, tags: { [`k${word}`]: word } }))
    await append(store, ...records)
    await soon(async () => assert.equal(store.backlog().spans, 0))
    for (const [i, word] of words.entries()) {
      const is = [records[i]!.traceId]
      assert.deepEqual(await found(store, { name: word }), is, JSON.stringify(word))
      assert.deepEqual(await found(store, { annotations: [tag(`k${word}`, word)] }), is)
      assert.deepEqual(await found(store, { annotations: [tag(`k${word}`, word.slice(0, 2), 'prefix')] }), is)
      assert.deepEqual(await found(store, { annotations: [tag(`k${word}`, word.slice(1), 'contains')] }), is)
      assert.deepEqual(await store.complete({ field: 'value', key: `k${word}`, prefix: '', limit: 2 }), [word])
    }
    assert.deepEqual(await store.complete({ field: 'name', prefix: '', limit: 200 }), words)
    await store.close()
  })

  it('holds no snapshot of the file with what a search has not read to its end', () => {
    const owner = new EmbeddedFile(path, () => {})
    const part = 1n
    owner.background(() => {
      for (let i = 1n; i <= 300n; i++) {
        owner.sql.replaceChunk.run([i, 1n, i, i, 0n, Buffer.alloc(24)])
        owner.sql.insertValues.run([part, Buffer.from('k'), Buffer.from(`value ${i}\xff`, 'latin1')])
      }
    })
    const reader = new EmbeddedFile(path, () => {}, true)
    const last = () => reader.snapshot(() => [...reader.chunksBefore(250n)].at(-1))
    reader.snapshot(() => {
      assert.equal(reader.chunksBefore(250n).next().value![0], 250n)
      assert.equal(reader.valuesOf(part, Buffer.from('k')).next().value!.toString('latin1'), 'value 1\xff')
    })
    owner.background(() => owner.sql.updateSettled.run([1n]))
    const other = new Database(path)
    const [row] = other.prepare('PRAGMA wal_checkpoint(TRUNCATE)').raw().all([]) as [unknown[]]
    assert.deepEqual(row, [0, 0, 0])
    other.close()
    // Page by page they are all there.
    assert.equal(last()![0], 1n)
    assert.equal(reader.snapshot(() => [...reader.valuesOf(part, Buffer.from('k'))]).length, 300)
    reader.close()
    owner.close()
  })

  it('answers or says what is wrong when bits have flipped in the text of a row or at the end of a value', async () => {
    const store = await open(path)
    const nowUs = Date.now() * 1000
    await append(store, span({ service: 'shop', startUs: BigInt(nowUs), tags: { k: 'value' } }))
    await store.saveSearch({ id: 'a', name: 'b', query: 'c', createdUs: 1 })
    await soon(async () => assert.equal(store.backlog().spans, 0))
    await store.close()
    const db = new Database(path)
    db.exec(`UPDATE value SET data = substr(data, 1, length(data) - 1) || x'7f';
             UPDATE activity SET body = substr(body, 1, length(body) - 1) || x'ff';
             UPDATE saved_search SET id = CAST(x'ff' AS TEXT), name = CAST(x'ff' AS TEXT), query = CAST(x'ff' AS TEXT)`)
    db.close()
    const again = await open(path)
    assert.deepEqual(await found(again, { annotations: [tag('k', 'alu', 'contains')] }), [])
    const range = { fromUs: nowUs - 1e9, toUs: nowUs + 1e9, stepUs: Number.POSITIVE_INFINITY }
    const read = sumActivity(query => again.activity(query), { ...range, kinds: ['operations'] })
    await assert.rejects(read, { code: 'MILO_STORE_DAMAGED' })
    assert.deepEqual(await again.savedSearches(), [{ id: '\ufffd', name: '\ufffd', query: '\ufffd', createdUs: 1 }])
    await again.close()
  })

  it('keeps little for a key once its values are written, however many came at once', async () => {
    const file = new EmbeddedFile(path, () => {})
    const indexer = new Indexer(file)
    const policy = indexPolicy()
    file.background(() => file.createIndex(1n))
    for (let key = 0; key < 5; key++) {
      const tags = (i: number) => ({ [`key${key}`]: `${i}`.padEnd(250) })
      const { body } = messageOf(Array.from({ length: 500 }, (_, i) => span({ tags: tags(i) })))
      const entry = await readEntry(BigInt(key + 1), 1n, body, () => {})
      const work = () => {
        indexer.begin(1n, policy)
        indexer.add(entry, 0, 1_000)
      }
      if (key % 2 === 0) {
        work()
        indexer.reset()
      }
      file.background(() => {
        work()
        indexer.finish()
      })
    }
    const { keys } = indexer as unknown as { keys: { values: Bytes }[] }
    for (const { values } of Object.values(keys)) assert.ok(values.buf.length <= 8 * 1024)
    file.close()
  })

  it('finds a value of any of more keys than it asks one by one, and may be stopped between them', async () => {
    const store = await open(path)
    const keys = Array.from({ length: 20_100 }, (_, i) => `key-${i}`)
    const records: ReturnType<typeof span>[] = []
    for (let i = 0; i < keys.length; i += 100) {
      records.push(span({ tags: Object.fromEntries(keys.slice(i, i + 100).map(key => [key, `${i}-value`])) }))
    }
    await append(store, ...records.slice(0, 150))
    await soon(async () => assert.equal(store.backlog().spans, 0))
    const reader = new EmbeddedFile(path, () => {}, true)
    const index = new FtsIndex(reader, indexPolicy())
    let asked = 0
    const driver = { kind: 'value', key: undefined, value: '500-', match: 'prefix' } as const
    await index.places(
      { driver, others: [], ofTrace: [], fromUs: undefined, toUs: undefined },
      undefined,
      10,
      () => asked++,
    )
    assert.ok(asked > 15, `asked ${asked} times`)
    reader.close()
    await append(store, ...records.slice(150))
    await soon(async () => assert.equal(store.backlog().spans, 0))
    // A machine that has other work may take longer than a search may.
    const values = { annotations: [tag(undefined, '500-', 'prefix')] }
    await soon(async () => assert.deepEqual(await found(store, values), [records[5]!.traceId]))
    await store.close()
  })
})
