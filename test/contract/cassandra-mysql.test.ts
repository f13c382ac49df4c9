import assert from 'node:assert/strict'
import { createConnection } from 'mysql2/promise'
import { scanRecords } from '../../collector/src/record/records'
import { newLoad } from '../../collector/src/store/analysis/model'
import { CollectorLock } from '../../collector/src/store/cassandra-mysql/collector-lock'
import { lockName, MySql } from '../../collector/src/store/cassandra-mysql/mysql'
import { collectorNumber } from '../../collector/src/store/cassandra-mysql/span-rows'
import { verifyCassandraMySql } from '../../collector/src/store/cassandra-mysql/store'
import { openStore, replayCollector } from '../../collector/src/store/open'
import { type Clock, systemClock } from '../../collector/src/store/pipeline/clock'
import type { Store } from '../../collector/src/store/store'
import { collectorId } from '../../collector/src/store/store-config'
import type { Finding } from '../../collector/src/store/verify'
import { analysedShop, loadOf } from '../helpers/results'
import { bareTrace, type Databases, hastened, newDatabases, settled } from './databases'
import {
  append,
  found,
  idOf,
  messageOf,
  randomId,
  sameIds,
  soon,
  span,
  storeContract,
  structs,
  tag,
  unique,
} from './store-contract'

storeContract('cassandra-mysql', async () => {
  const databases = await newDatabases()
  return {
    open: async index => hastened(await openStore({ ...databases.config, index })),
    remove: () => databases.drop(),
  }
})

describe('cassandra-mysql store, in the databases', function () {
  this.timeout(120_000)
  let databases: Databases
  let store: Store

  before(async function () {
    this.timeout(300_000)
    databases = await newDatabases()
    store = await openStore(databases.config)
  })
  after(async () => {
    await store?.close()
    await databases?.drop()
  })

  /** Those that are there in the databases' keyspace and have some of the trace. */
  async function rowsOf(...traceIds: bigint[]) {
    const wanted = new Set(traceIds)
    const { keyspace } = databases.config.cassandra
    const rows = await databases.cql(`SELECT slot, node, records FROM ${keyspace}.spans`)
    return rows.filter(({ records }) => {
      let has = false
      scanRecords(records, (_start, _end, { traceIdAt }) => {
        if (wanted.has(records.readBigInt64BE(traceIdAt))) has = true
      })
      return has
    })
  }

  /** How many rows say what these traces are found by. */
  async function placesOf(...traceIds: bigint[]): Promise<number> {
    const [{ count }] = await databases.own('SELECT COUNT(*) AS count FROM places WHERE trace_id IN (?)', [traceIds])
    return count
  }

  it('puts many traces into few rows, and what is settled twice into the same ones', async () => {
    const records = Array.from({ length: 3_000 }, () => span({ traceId: randomId() }))
    const { backend } = store as any
    const write = backend.write
    // As a crash between the databases has it.
    backend.write = async (...args: unknown[]) => {
      await write.apply(backend, args)
      await write.apply(backend, args)
    }
    try {
      await append(store, ...records)
      await settled(store)
    } finally {
      backend.write = write
    }
    const rows = await rowsOf(...records.map(({ traceId }) => traceId))
    let inRows = 0
    for (const { records: row } of rows) scanRecords(row, () => inRows++)
    assert.equal(inRows, 3_000)
    assert.ok(rows.length < 150, String(rows.length))
    for (const record of [records[0]!, records[2_999]!]) {
      assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
    }
  })

  it('divides what is larger than 256 KiB, and lets a larger record alone have more', async () => {
    const traceId = randomId()
    const records = [90, 90, 90, 600, 1, 255].map(kib => span({ traceId, tags: { large: 'x'.repeat(kib * 1000) } }))
    await append(store, ...records)
    await settled(store)
    const sizes = (await rowsOf(traceId)).map(row => row.records.length).sort((a, b) => b - a)
    assert.equal(sizes.length, 4)
    assert.ok(sizes[0] > 600_000 && sizes[0] < 601_000, String(sizes))
    for (const size of sizes.slice(1)) assert.ok(size <= 256 * 1024, String(sizes))
    assert.deepEqual(structs(await store.readTrace(traceId)), structs(records))
  })

  it('takes a message that is larger than anything Cassandra takes at once', async () => {
    const traceId = randomId()
    const records = Array.from({ length: 40 }, (_, i) => span({ traceId, tags: { large: `${i} `.repeat(200_000) } }))
    const message = messageOf(records)
    assert.ok(message.body.length > 18_000_000)
    await store.append([message])
    assert.equal((await store.readTrace(traceId)).records.length, 40)
    await settled(store)
    assert.deepEqual(structs(await store.readTrace(traceId)), structs(records))
  })

  it('takes a message of nothing but long words, more than MySQL takes at once', async () => {
    // Every quote is two in SQL.
    const word = () => unique('word') + "'".repeat(9_900)
    const records = Array.from({ length: 450 }, () => span({ name: word(), service: word(), tags: { [word()]: 'x' } }))
    await append(store, ...records)
    await settled(store)
    const { traceId, name } = records[300]!
    assert.deepEqual(await found(store, { name: name! }), [traceId])
    assert.deepEqual(structs(await store.readTrace(traceId)), structs([records[300]!]))
  })

  it('reads a trace of 280,000 spans that two collectors have written in turns', async () => {
    const records = bareTrace(280_000)
    const { traceId } = records[0]!
    const other = await openStore(databases.collector('another'))
    try {
      for (let i = 0; i < records.length; ) {
        for (const [by, count] of [
          [store, 120_000],
          [other, 30_000],
          [store, 700],
          [other, 9_300],
        ] as const) {
          await append(by, ...records.slice(i, i + count))
          await settled(by)
          i += count
        }
      }
      for (const by of [store, other]) assert.equal((await by.readTrace(traceId)).records.length, 280_000)
    } finally {
      await other.close()
    }
  })

  it('writes the same index rows, whoever writes at the same time', async () => {
    const traceIds = Array.from({ length: 300 }, randomId)
    const records = traceIds.map((traceId, i) => span({ traceId, name: 'same', tags: { i: String(i % 7) } }))
    const other = await openStore(databases.collector('another'))
    try {
      await Promise.all(
        Array.from({ length: 40 }, (_, i) => {
          const own = i % 3 === 0 ? [...records].reverse() : records
          return append(i % 2 ? store : other, ...own)
        }),
      )
      await Promise.all([settled(store), settled(other)])
      // Any record, the name, the key and its value.
      assert.equal(await placesOf(...records.map(({ traceId }) => traceId)), 4 * 300)
    } finally {
      await other.close()
    }
  })

  it('writes what the records of a trace have in common once for a second, in however many messages they came', async () => {
    const traceId = randomId()
    const same = {
      traceId,
      name: unique('same'),
      service: unique('same'),
      tags: { [unique('key')]: 'value', error: '' },
    }
    const { backend } = store as any
    const entries = Array.from({ length: 20 }, (_, i) => {
      const { body, spans } = messageOf([span({ ...same, startUs: 2n ** 50n + BigInt(i) })])
      const id = 1_790_000_000_000_000n + BigInt(i)
      return { id, receivedUs: backend.clock.wallUs(), body, start: 0, end: body.length, spans }
    })
    await backend.write(entries)
    // Any record, an error, the name, the service, two keys and their values.
    assert.equal(await placesOf(traceId), 8)
    const places = await databases.own('SELECT DISTINCT start_us FROM places WHERE trace_id = ?', [traceId])
    assert.deepEqual(places, [{ start_us: 2 ** 50 + 19 }])
    // A second later they can't be shown at the same place.
    await append(store, span({ ...same, startUs: 2n ** 50n }), span({ ...same, startUs: 2n ** 50n + 2n ** 20n }))
    await settled(store)
    assert.equal(await placesOf(traceId), 8 + 2 * 8)
  })

  it('acknowledges what it has journalled and shows its traces while MySQL makes the index wait, then finds them', async () => {
    const { hostname: host, port, database, username: user, password } = databases.config.mysql
    const connection = await createConnection({ host, port, user, password, database })
    const record = span({ name: unique('waits') })
    try {
      await connection.query('LOCK TABLES post WRITE')
      await append(store, record)
      await soon(async () => assert.ok(store.backlog().settlingMs > 0))
      assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
      assert.equal(store.backlog().spans, 1)
    } finally {
      await connection.end()
    }
    await settled(store)
    assert.deepEqual(await found(store, { name: record.name! }), [record.traceId])
  })

  it('shows what another collector has accepted within seconds, and to a search as well', async () => {
    const other = await openStore(databases.collector('another'))
    try {
      const record = span({ name: unique('others') })
      await append(other, record)
      await soon(async () => assert.deepEqual(await found(store, { name: record.name }), [record.traceId]))
    } finally {
      await other.close()
    }
  })

  it('finds a key with thousands of values, and the parts of values that many have, rare or common', async () => {
    const [key, name] = [unique('key'), unique('name')]
    const records = Array.from({ length: 6_000 }, (_, i) =>
      span({
        name,
        startUs: 1_600_000_000_000_000n + BigInt(i),
        tags: { [key]: `${i % 2 ? 'odd' : 'even'}-${i}`, ...(i % 1_500 === 0 ? { [`${key}x`]: `rare-${i}` } : {}) },
      }),
    )
    for (let i = 0; i < records.length; i += 1_000) await append(store, ...records.slice(i, i + 1_000))
    await settled(store)
    const ids = (matches: (i: number) => boolean) => records.filter((_, i) => matches(i)).map(({ traceId }) => traceId)
    const newest = async (annotations: ReturnType<typeof tag>[]) =>
      (await store.search({ annotations, limit: 20 })).traces.map(({ traceId }) =>
        BigInt.asIntN(64, BigInt(`0x${traceId}`)),
      )
    assert.deepEqual(
      await newest([tag(key)]),
      ids(() => true)
        .reverse()
        .slice(0, 20),
    )
    assert.deepEqual(
      await newest([tag(key, 'odd', 'prefix')]),
      ids(i => i % 2 === 1)
        .reverse()
        .slice(0, 20),
    )
    assert.deepEqual(
      await newest([tag(key, '-', 'contains')]),
      ids(() => true)
        .reverse()
        .slice(0, 20),
    )
    sameIds(
      await found(store, { annotations: [tag(key, '-59', 'contains')] }),
      ids(i => /^59/.test(String(i))),
    )
    sameIds(
      await found(store, { name, annotations: [tag(`${key}x`), tag(key, 'even', 'prefix')] }),
      ids(i => i % 1_500 === 0),
    )
    sameIds(await found(store, { annotations: [tag(`${key}x`), tag(key, 'odd', 'prefix')] }), [])
  })

  it('finds a part of a value that many have in a trace whose terms take several rows', async () => {
    const key = unique('key')
    const records = Array.from({ length: 4_200 }, (_, i) => span({ tags: { [key]: `part-${i}` } }))
    for (let i = 0; i < records.length; i += 700) await append(store, ...records.slice(i, i + 700))
    // After the name the key is the 500th term, and its value begins the second row.
    const others = Array.from({ length: 400 }, (_, i): [string, string] => [`${key}${i}`, `other-${i}`])
    const tags = Object.fromEntries([...others.slice(0, 249), [key, 'part-last'], ...others.slice(249)])
    const last = span({ name: unique('last'), startUs: 1_700_000_001_000_000n, tags })
    await append(store, last)
    await settled(store)
    const [row] = await databases.own(
      'SELECT LENGTH(terms) AS bytes FROM trace_terms WHERE trace_id = ? ORDER BY bytes',
      [last.traceId],
    )
    assert.ok(row.bytes < 7 * 400, 'one row alone')
    for (const of of [key, undefined]) {
      const { traces } = await store.search({ annotations: [tag(of, 'part-', 'contains')], limit: 1 })
      assert.deepEqual(traces.map(idOf), [last.traceId], String(of))
    }
    assert.deepEqual(await found(store, { name: last.name!, annotations: [tag(`${key}7`, 'part-', 'contains')] }), [])
  })

  it('reads a few MB of the terms of traces at once, and lists no thousands of keys, however many there are', async () => {
    const [name, key] = [unique('many'), unique('key')]
    const records = Array.from({ length: 300 }, (_, i) =>
      span({ name, service: i % 2 ? name : 'other', ...(i === 7 && { tags: { [key]: name } }) }),
    )
    await append(store, ...records)
    await settled(store)
    const day = Math.floor(Date.now() / 86_400_000)
    for (let at = 0; at < 6_000; at += 500) {
      const numbers = Array.from({ length: 500 }, (_, i) => at + i)
      const rows = numbers.map(
        n => `(${records[n % 300]!.traceId}, ${n}, 1, 0, ${day}, 1, REPEAT(x'1234567890abcd', 500))`,
      )
      await databases.own(`INSERT INTO trace_terms VALUES ${rows}`)
    }
    for (let at = 0; at < 12_000; at += 3_000) {
      const keys = Array.from(
        { length: 3_000 },
        (_, i) => `(x'03${String(at + i).padStart(12, '0')}', 0, x'03000000000000', '')`,
      )
      await databases.own(`INSERT INTO dict VALUES ${keys}`)
    }
    const { mysql } = (store as any).backend
    let [sqlLength, bytes] = [0, 0]
    mysql.read = async (...args: [string]) => {
      const rows: unknown[][] = await MySql.prototype.read.apply(mysql, args)
      sqlLength = Math.max(sqlLength, args[0].length)
      bytes = Math.max(
        bytes,
        rows.flat().reduce<number>((sum, value) => sum + String(value).length, 0),
      )
      return rows
    }
    try {
      const odd = records.filter((_, i) => i % 2).map(({ traceId }) => traceId)
      sameIds(await found(store, { name, service: name }), odd)
      assert.deepEqual(await found(store, { annotations: [tag(undefined, name)] }), [records[7]!.traceId])
      assert.ok(bytes > 10_000_000 && bytes < 60_000_000, `${bytes} bytes`)
      assert.ok(sqlLength < 100_000, `${sqlLength} bytes of SQL`)
    } finally {
      delete mysql.read
      await databases.own("DELETE FROM dict WHERE day = 0 AND text = ''")
    }
  })

  it('is no place for two collectors of the same id', async () => {
    const id = collectorId(databases.config)
    await assert.rejects(openStore(databases.config), (error: any) => {
      assert.equal(error.code, 'MILO_STORE_LOCKED')
      assert.ok(error.message.includes(id) && /another collector_id/.test(error.message), error.message)
      return true
    })
    await assert.rejects(
      replayCollector(databases.config, id, () => {}),
      { code: 'MILO_STORE_LOCKED' },
    )
    // Which has done no harm to the first one.
    await append(store, span({}))
  })

  it('has let go of its id once it is closed, however busy MySQL is, so that it can be opened again', async () => {
    const { mysql } = databases.config
    const ids = Array.from({ length: 50 }, (_, i) => `brief ${i}`)
    const locks = await Promise.all(ids.map(id => CollectorLock.take(mysql, id)))
    const free = ids.map(() => 'IS_FREE_LOCK(?)').join(' + ')
    const names = ids.map(id => lockName(mysql, `collector ${id}`))
    const { host, port, username, password } = databases.mariaDb
    const asking = await createConnection({ host, port, user: username, password, rowsAsArray: true })
    const count = async () => ((await asking.query(`SELECT ${free}`, names))[0] as number[][])[0]![0]
    try {
      assert.equal(await count(), 0)
      await Promise.all(locks.map(lock => lock.close()))
      assert.equal(await count(), 50)
    } finally {
      await asking.end()
    }
  })

  it('waits until MySQL has noticed that a process of the same id was killed', async () => {
    const { host, port, username, password } = databases.mariaDb
    const killed = await createConnection({ host, port, user: username, password })
    const name = lockName(databases.config.mysql, 'collector killed')
    await killed.query('SELECT GET_LOCK(?, 0)', [name])
    const [lock] = await Promise.all([
      CollectorLock.take(databases.config.mysql, 'killed'),
      killed.query('DO SLEEP(0.5), RELEASE_LOCK(?)', [name]),
    ])
    await Promise.all([lock.close(), killed.end()])
  })

  it('is verified: what MySQL lacks is indexed anew, and what Cassandra has lost or has damaged is named', async () => {
    const own = await newDatabases()
    const { keyspace } = own.config.cassandra
    const inAnHour: Clock = { ...systemClock, wallUs: () => systemClock.wallUs() + 3_600_000_000n }
    const verified = async (repair: boolean) => {
      const findings: string[] = []
      const onFinding = ({ where, what, repaired }: Finding) => findings.push(`${repaired} ${where}: ${what}`)
      const options = { repair, onFinding, progress: () => {}, log: () => {} }
      const result = await verifyCassandraMySql(own.config, options, inAnHour)
      return { ...result, findings }
    }
    const records = Array.from({ length: 200 }, () => span({ name: unique('verified'), tags: { own: unique('v') } }))
    const store = await openStore(own.config)
    await append(store, ...records)
    const loads = await Promise.all(['10', '11'].map(hour => loadOf(analysedShop(`2026-11-30T${hour}:00Z`, 1000))))
    for (const load of loads) await store.saveAnalysis(load)
    await store.close()
    assert.deepEqual(await verified(false), { read: 200, findings: [], repaired: 0 })

    const { traceId, name } = records[7]!
    await own.own('DELETE FROM trace_terms WHERE trace_id = ?', [traceId])
    await own.own('DELETE FROM post WHERE term IN (SELECT term FROM dict WHERE text = ?)', [name])
    await own.own('UPDATE trace_terms SET terms = LEFT(terms, 7) WHERE trace_id = ?', [records[8]!.traceId])
    for (const [repair, repaired] of [
      [false, 0],
      [true, 2],
      [true, 0],
    ] as const) {
      const { findings, ...counts } = await verified(repair)
      assert.equal(counts.repaired, repaired)
      assert.equal(findings.length, repair && repaired === 0 ? 0 : 2, findings.join('\n'))
      for (const finding of findings) assert.match(finding, /second \d+ of collector .* isn't in MySQL, or not all/)
    }
    const again = await openStore(own.config)
    assert.deepEqual(await found(again, { name }), [traceId])
    await again.close()

    const [row] = await own.cql(`SELECT * FROM ${keyspace}.spans LIMIT 1`)
    const { collector, slot, node, uid } = row!
    const damaged = Buffer.from(row!.records)
    damaged[damaged.indexOf('verified')] ^= 1
    await own.cql(
      `UPDATE ${keyspace}.spans SET records = ? WHERE collector = ? AND slot = ? AND node = ? AND uid = ?`,
      [damaged, collector, slot, node, uid],
    )
    const [checkpoint] = await own.own('SELECT collector FROM checkpoint')
    const number = collectorNumber(checkpoint.collector)
    const lost = Math.floor(Date.now() / 1000) - 600
    const ahead = Math.floor(Date.now() / 1000) + 600
    const day = Math.floor(Date.now() / 86_400_000)
    // A second that Cassandra has lost; one that is not settled yet; one that has expired.
    for (const at of [lost, ahead, 1000]) {
      await own.own('INSERT INTO trace_terms VALUES (1, ?, ?, 0, ?, -1, ?)', [at, number, day, Buffer.alloc(0)])
    }
    await own.own('UPDATE analysis_piece SET body = LEFT(body, 20) WHERE kind = ? AND `load` = ?', [
      'edge',
      loads[0]!.load,
    ])
    await own.own('DELETE FROM analysis_piece WHERE kind = ? AND `load` = ?', ['operation', loads[1]!.load])
    const { findings, repaired } = await verified(true)
    const text = findings.join('\n')
    assert.match(
      text,
      /^false the results of 2026-11-30T10\.\.2026-11-30T11: .*aren't as they were written.*load them again/m,
    )
    assert.match(text, /^false the results of 2026-11-30T11\.\..*: it is not whole: it has \d+ results of \d+/m)
    assert.match(text, new RegExp(`^false second ${slot} .*row ${node}/${uid}: it is damaged`, 'm'))
    assert.match(text, new RegExp(`^false second ${lost} of collector ${number}: MySQL has traces of this second`, 'm'))
    assert.deepEqual([findings.length, repaired], [4, 0], text)
    await own.drop()
  })

  it('removes results of analyses after so many days, and pieces of loads that a crash ended a day ago', async () => {
    const dayUs = 86_400e6
    const nowUs = Date.now() * 1000
    const load = (hour: string, days: number) =>
      loadOf(analysedShop(`2026-11-30T${hour}:00Z`, 1000), nowUs - days * dayUs)
    const [expired, stays] = [await load('10', 3), await load('11', 1.5)]
    for (const of of [expired, stays]) await store.saveAnalysis(of)
    // As of a load that has come no farther: before a day, and now.
    const [left, underWay] = [newLoad(nowUs - 1.25 * dayUs), newLoad(nowUs)]
    for (const number of [left, underWay]) {
      await databases.own(
        'INSERT INTO analysis_piece SELECT ?, kind, root, piece, body FROM analysis_piece WHERE `load` = ?',
        [number, stays.load],
      )
    }
    const other = await openStore({ ...databases.config, collector_id: unique('expiring'), analysis_days: 2 })
    const numbers = async () =>
      (await databases.own('SELECT DISTINCT CAST(`load` AS CHAR) AS text FROM analysis_piece')).map((row: any) =>
        BigInt(row.text),
      )
    await soon(async () => sameIds(await numbers(), [stays.load, underWay]))
    assert.deepEqual(
      (await other.analyses()).map(({ fromUs }) => fromUs),
      [stays.fromUs],
    )
    await other.close()
    await store.deleteAnalysis(stays)
    await databases.own('DELETE FROM analysis_piece')
  })

  it("is told the journal of a collector that doesn't come back by replay, once", async () => {
    const gone = unique('gone')
    const records = Array.from({ length: 50 }, () => span({ name: gone, tags: { [gone]: 'x' } }))
    const { keyspace } = databases.config.cassandra
    const nowUs = BigInt(Date.now()) * 1000n
    for (const [i, record] of records.entries()) {
      // As a collector leaves it that is killed: an hour's worth, in the journal alone, some behind its checkpoint.
      const seq = nowUs - BigInt(i) * 72_000_000n
      const slot = seq / 10_000_000n
      const insert = `INSERT INTO ${keyspace}.journal (collector, slot, seq, part, body) VALUES (?, ?, ?, 0, ?)`
      await databases.cql(insert, [gone, Number(slot), seq, messageOf([record]).body])
      await databases.cql(insert, [gone, -1, slot, Buffer.alloc(0)])
    }
    await databases.own('INSERT INTO checkpoint VALUES (?, ?)', [gone, nowUs - 40n * 72_000_000n])
    const steps: [number, number][] = []
    const spans = await replayCollector(
      databases.config,
      gone,
      () => {},
      (...step) => steps.push(step),
    )
    assert.equal(spans, 40)
    const [done, total] = steps.at(-1)!
    assert.ok(steps.length > 10 && done === total, `${steps.length} steps, ${done} of ${total}`)
    const wanted = records.slice(0, 40)
    sameIds(
      await found(store, { annotations: [tag(gone)] }),
      wanted.map(({ traceId }) => traceId),
    )
    for (const record of wanted) assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
    assert.equal(await replayCollector(databases.config, gone, () => {}), 0)
  })
})
