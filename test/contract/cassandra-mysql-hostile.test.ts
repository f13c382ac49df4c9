import assert from 'node:assert/strict'
import { createConnection } from 'mysql2/promise'
import { maintainPartitions } from '../../collector/src/store/cassandra-mysql/mysql-partitions'
import { openCassandraMySql } from '../../collector/src/store/cassandra-mysql/store'
import { migrate, openQuarantine } from '../../collector/src/store/open'
import { retryQuarantine } from '../../collector/src/store/quarantine'
import { type Store, StoreError } from '../../collector/src/store/store'
import type { StoreConfig } from '../../collector/src/store/store-config'
import { seeded } from '../helpers/seeded'
import { type Databases, newDatabases, settled } from './databases'
import { HostileClock, randomJump } from './hostile-clock'
import { append, found, messageOf, randomId, span, structs, tag, unique } from './store-contract'

const SEED = Number(process.env.MILO_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31))
const HOUR_US = 3_600_000_000n
const YEAR_US = 366n * 24n * HOUR_US

describe(`cassandra-mysql store, with hostile clocks and data (MILO_TEST_SEED=${SEED})`, function () {
  this.timeout(180_000)
  let databases: Databases
  let config: StoreConfig
  let clock: HostileClock
  const stores = new Set<Store>()

  before(async function () {
    this.timeout(300_000)
    databases = await newDatabases()
    config = databases.config
    await migrate(config)
  })
  beforeEach(() => {
    clock = new HostileClock()
  })
  afterEach(async () => {
    clock.restore()
    for (const store of stores) await store.close()
    stores.clear()
  })

  async function open(collector: string, log: (line: string) => void = () => {}): Promise<Store> {
    const store = await openCassandraMySql({ ...config, collector_id: collector }, log, clock)
    stores.add(store)
    return store
  }

  async function close(store: Store): Promise<void> {
    stores.delete(store)
    await store.close()
  }

  /** Nothing more is settled, the lock is free: as if the process had ended. */
  async function kill(store: Store): Promise<void> {
    const { pipeline, backend, endMaintenance } = store as any
    stores.delete(store)
    endMaintenance()
    clearTimeout(pipeline.timer)
    pipeline.closing = Promise.resolve()
    await backend.close()
    await pipeline.settling
  }

  const quarantine = () => openQuarantine(config)

  async function quarantined(collector: string) {
    const opened = await quarantine()
    const all = await opened.list()
    await opened.close()
    return all.filter(({ id }) => id.startsWith(`${collector}/`))
  }

  function retried(ids: string[]) {
    return retryQuarantine(ids, quarantine, () => openCassandraMySql({ ...config, collector_id: 'retry' }, () => {}))
  }

  function sql(query: string, parameters: unknown[] = []): Promise<any[]> {
    return databases.own(query, parameters)
  }

  async function hasAll(store: Store, traceIds: bigint[], what: string): Promise<void> {
    for (const [i, traceId] of traceIds.entries()) {
      assert.ok((await store.readTrace(traceId)).records.length > 0, `trace ${i} after ${what}`)
    }
  }

  it('has what it acknowledged after a stop, a clock that went back, and two kills', async () => {
    const id = unique('back')
    const traceIds: bigint[] = []
    const write = async (store: Store) => {
      const record = span({})
      await append(store, record)
      traceIds.push(record.traceId)
    }
    let store = await open(id)
    await write(store)
    await settled(store)
    await close(store)
    clock.jump(-HOUR_US)
    for (let i = 0; i < 2; i++) {
      store = await open(id)
      await hasAll(store, traceIds, `start ${i}`)
      await write(store)
      await kill(store)
    }
    await hasAll(await open(id), traceIds, 'the kills')
  })

  it('has every part of a long message after two crashes, however the parts are settled', async () => {
    const id = unique('parts')
    const traceIds = Array.from({ length: 21_000 }, randomId)
    let store = await open(id)
    // More spans than are settled at once, in parts of 256 KiB.
    await store.append([messageOf(traceIds.map(traceId => ({ traceId, id: 1n, service: 'x'.repeat(40) })))])
    await kill(store)
    store = await open(id)
    await kill(store)
    store = await open(id)
    const some = traceIds.filter((_, i) => i % 500 === 0 || i > 20_980)
    await hasAll(store, some, 'two crashes')
  })

  it('has what it acknowledged whatever clocks say and whenever it is killed, beside another collector', async () => {
    const random = seeded(SEED)
    const ids = [unique('one'), unique('two')]
    const acknowledged: bigint[] = []
    const open2 = await Promise.all(ids.map(id => open(id)))
    const steps: string[] = []
    for (let i = 0; i < 24; i++) {
      const which = random() < 0.7 ? 0 : 1
      const x = random()
      const step = x < 0.4 ? 'append' : x < 0.6 ? 'jump' : x < 0.7 ? 'settle' : x < 0.8 ? 'stop' : 'kill'
      steps.push(`${step} ${which}`)
      const store = open2[which]!
      if (step === 'append') {
        const record = span({})
        await append(store, record)
        acknowledged.push(record.traceId)
      } else if (step === 'jump') clock.jump(randomJump(random))
      else if (step === 'settle') await settled(store)
      else {
        await (step === 'stop' ? close(store) : kill(store))
        open2[which] = await open(ids[which]!)
      }
    }
    for (const [i, store] of open2.entries()) {
      await kill(store)
      open2[i] = await open(ids[i]!)
    }
    for (const store of open2) await settled(store)
    await hasAll(open2[0]!, acknowledged, steps.join(', '))
  })

  it('drops no day because a collector is a year ahead, and goes on making days after one was made a year ahead', async () => {
    const store = await open(unique('days'))
    const record = span({ name: unique('kept') })
    await append(store, record)
    await settled(store)
    const days = async () => {
      const rows = await sql(
        "SELECT PARTITION_NAME AS name FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = 'post'",
        [config.mysql.database],
      )
      return rows.map(({ name }) => name as string)
    }
    const run = async () => {
      const { hostname: host, port, database, username: user, password } = config.mysql
      const connection = await createConnection({ host, port, database, user, password })
      await maintainPartitions(connection, config.mysql, 7, () => {})
      await connection.end()
    }
    await run()
    const before = await days()
    clock.jump(YEAR_US)
    await run()
    await run()
    assert.deepEqual(await days(), before)
    clock.isRight()
    // As a server would have left it that was a year ahead for a while.
    const today = Math.floor(Date.now() / 86_400_000)
    const ahead = `PARTITION d${today + 366} VALUES LESS THAN (${today + 367})`
    for (const table of ['post', 'trace_terms', 'dict', 'value_block']) {
      await sql(`ALTER TABLE ${table} DROP PARTITION d${today + 3}, d${today + 4}`)
      await sql(
        `ALTER TABLE ${table} REORGANIZE PARTITION later INTO (${ahead}, PARTITION later VALUES LESS THAN MAXVALUE)`,
      )
    }
    await run()
    assert.deepEqual(new Set(await days()), new Set([...before, `d${today + 366}`]))
    assert.deepEqual(await found(store, { name: record.name! }), [record.traceId])
  })

  it('takes what is larger in MySQL than its max_allowed_packet: statements are bounded by bytes', async () => {
    const [{ was }] = await sql('SELECT @@GLOBAL.max_allowed_packet AS was')
    await sql('SET GLOBAL max_allowed_packet = 1048576')
    try {
      const store = await open(unique('long'))
      const [key, text] = [unique('key'), 'x'.repeat(9_000)]
      // The terms of each trace take a row of 7 KB in MySQL.
      const tags = Object.fromEntries(Array.from({ length: 250 }, (_, i) => [`${key}${i}`, 'x']))
      const records = Array.from({ length: 200 }, (_, i) => span({ tags: { ...tags, [key]: `${i}${text}` } }))
      await append(store, ...records)
      const last = records.at(-1)!
      const first = records.find(({ traceId }) => traceId !== last.traceId)!
      await settled(store)
      assert.ok((await found(store, { annotations: [tag(`${key}249`)] }, 1_000)).length >= 200)
      for (const record of [first, last])
        assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
      assert.equal(store.backlog().putAside, 0)
    } finally {
      await sql('SET GLOBAL max_allowed_packet = ?', [was])
    }
  })

  it('puts aside a record that is larger than any write to Cassandra may be, and takes the rest', async () => {
    const lines: string[] = []
    const store = await open(unique('large'), line => lines.push(line))
    const good = [span({}), span({})]
    await append(store, good[0]!, span({ tags: { text: 'x'.repeat(17 * 1024 * 1024) } }), good[1]!)
    await settled(store)
    for (const record of good) {
      assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
    }
    assert.equal(store.backlog().putAside, 1)
    assert.match(lines.join('\n'), /put aside in the table quarantine: Cassandra/)
  })

  it('copies 16 MiB of accepted records at once when it settles them, however much waits', async () => {
    const store = await open(unique('copies'))
    const { spans } = (store as any).backend
    const write = spans.write.bind(spans)
    const sizes: number[] = []
    spans.write = (collector: number, rows: { records: Buffer }[]) => {
      sizes.push(rows.reduce((sum, { records }) => sum + records.length, 0))
      return write(collector, rows)
    }
    const records = Array.from({ length: 20 }, (_, i) => span({ tags: { text: String(i).padEnd(1_000_000, 'x') } }))
    await Promise.all(records.map(record => append(store, record)))
    await settled(store)
    assert.ok(Math.max(...sizes) <= 16 * 1024 * 1024, String(sizes))
    await hasAll(
      store,
      records.map(({ traceId }) => traceId),
      String(sizes),
    )
  })

  it('puts aside what MySQL refuses for good, says so, and takes the rest', async () => {
    const lines: string[] = []
    const id = unique('refused')
    const store = await open(id, line => lines.push(line))
    const word = unique('poison')
    // As a server with a narrower column or another rule would do.
    await sql(
      `CREATE TRIGGER refuse BEFORE INSERT ON dict FOR EACH ROW
       IF NEW.text = '${word}' THEN SIGNAL SQLSTATE '22001' SET MESSAGE_TEXT = 'Data too long'; END IF`,
    )
    try {
      const records = Array.from({ length: 9 }, (_, i) => span({ name: i === 4 ? word : unique('good') }))
      await append(store, ...records)
      await settled(store)
      for (const record of records) {
        // The record itself is where it belongs; only the index has nothing of it.
        assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
        assert.deepEqual(await found(store, { name: record.name! }), record.name === word ? [] : [record.traceId])
      }
      const kept = await sql('SELECT reason, body FROM quarantine WHERE collector = ?', [id])
      assert.equal(kept.length, 1)
      assert.match(kept[0].reason, /Data too long/)
      assert.deepEqual(kept[0].body, messageOf([records[4]!]).body)
      assert.equal(store.backlog().putAside, 1)
      assert.match(lines.join('\n'), /put aside in the table quarantine/)
      await close(store)

      const listed = await quarantined(id)
      assert.deepEqual(
        listed.map(({ reason, bytes }) => [/Data too long/.test(reason), bytes]),
        [[true, kept[0].body.length]],
      )
      const again = await retried([listed[0]!.id])
      assert.deepEqual(again, { stored: 0, refused: 1, unreadable: 0 })
      assert.deepEqual(await quarantined(id), [])
      await sql('DROP TRIGGER refuse')
      const refusedAgain = await quarantined('retry')
      assert.deepEqual(await retried(refusedAgain.map(({ id }) => id)), { stored: 1, refused: 0, unreadable: 0 })
      assert.deepEqual(await quarantined('retry'), [])
      const later = await open(unique('later'))
      assert.deepEqual(await found(later, { name: word }), [records[4]!.traceId])
    } finally {
      await sql('DROP TRIGGER IF EXISTS refuse')
    }
  })

  it('puts aside a record of which MySQL refuses even the place, and takes the rest, also when it starts again', async () => {
    const id = unique('placeless')
    let store = await open(id)
    const records = Array.from({ length: 5 }, () => span({ name: unique('name') }))
    const refused = records[2]!
    await sql(
      `CREATE TRIGGER refuse_place BEFORE INSERT ON trace_terms FOR EACH ROW
       IF NEW.trace_id = ${refused.traceId} THEN SIGNAL SQLSTATE '22003' SET MESSAGE_TEXT = 'Out of range'; END IF`,
    )
    try {
      await append(store, ...records)
      await kill(store)
      store = await open(id)
      await settled(store)
      for (const record of records) {
        if (record === refused) continue
        assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
        assert.deepEqual(await found(store, { name: record.name! }), [record.traceId])
      }
      const listed = await quarantined(id)
      assert.match(listed[0]!.reason, /Out of range/)
      await sql('DROP TRIGGER refuse_place')
      assert.deepEqual(await retried(listed.map(({ id }) => id)), { stored: 1, refused: 0, unreadable: 0 })
      assert.deepEqual(structs(await store.readTrace(refused.traceId)), structs([refused]))
    } finally {
      await sql('DROP TRIGGER IF EXISTS refuse_place')
    }
  })

  it('lists more records than a statement reads, each once with all its pieces, oldest first', async () => {
    const ids = [unique('many'), unique('many')]
    const rows: unknown[][] = []
    const expected: { message: number; id: string; bytes: number }[] = []
    for (let message = 1; message <= 300; message++) {
      for (const collector of ids) {
        for (const uid of [7, 8]) {
          rows.push([collector, message, uid, 0, 'refused', Buffer.alloc(3), 20_000])
          if (uid === 8) rows.push([collector, message, uid, 3, 'refused', Buffer.alloc(2), 20_000])
          expected.push({ message, id: `${collector}/${message}/${uid}`, bytes: uid === 8 ? 5 : 3 })
        }
      }
    }
    await sql('INSERT INTO quarantine (collector, message, uid, piece, reason, body, day) VALUES ?', [rows])
    const opened = await quarantine()
    const listed = (await opened.list()).filter(({ id }) => ids.some(collector => id.startsWith(`${collector}/`)))
    await opened.close()
    const byId = new Map(listed.map(record => [record.id, record]))
    assert.equal(listed.length, expected.length)
    for (const { id, bytes } of expected) assert.equal(byId.get(id)?.bytes, bytes, id)
    const messages = listed.map(({ id }) => Number(id.split('/')[1]))
    assert.deepEqual(
      messages,
      [...messages].sort((a, b) => a - b),
    )
  })

  it('puts aside each of two records of a message, one refused by the journal, the other when it is settled after a crash', async () => {
    const id = unique('twice')
    const records = [span({}), span({ name: unique('unjournaled') }), span({ name: unique('unsettled') })]
    const refuse = (spans: any, method: string, at: number, bytesOf: (item: any) => Buffer, word: string) => {
      const write = spans[method].bind(spans)
      spans[method] = async (...args: any[]) => {
        if (args[at].some((item: any) => bytesOf(item).includes(word))) throw new StoreError('MILO_STORE_REFUSED', word)
        await write(...args)
      }
    }
    let store = await open(id)
    refuse((store as any).backend.spans, 'journal', 1, e => e.body.subarray(e.start, e.end), records[1]!.name!)
    await append(store, ...records)
    await kill(store)
    store = await open(id)
    refuse((store as any).backend.spans, 'write', 1, ({ records }) => records, records[2]!.name!)
    await settled(store)
    assert.deepEqual(structs(await store.readTrace(records[0]!.traceId)), structs([records[0]!]))
    const kept = await sql('SELECT reason FROM quarantine WHERE collector = ?', [id])
    assert.deepEqual(kept.map(({ reason }) => reason).sort(), [records[1]!.name, records[2]!.name])
    assert.deepEqual(await retried((await quarantined(id)).map(({ id }) => id)), {
      stored: 2,
      refused: 0,
      unreadable: 0,
    })
    for (const record of records) assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
  })

  it('asks MySQL for the places of a trace only as far as it is read, however many seconds it has', async () => {
    const store = await open(unique('endless'))
    const { backend } = store as any
    const traceId = randomId()
    const entries = Array.from({ length: 600 }, (_, i) => {
      const { body, spans } = messageOf([{ traceId, id: BigInt(i) }])
      const id = 1_790_000_000_000_000n + BigInt(i) * 1_000_000n
      return { id, receivedUs: clock.wallUs(), body, start: 0, end: body.length, spans }
    })
    await backend.accept(entries)
    await backend.write(entries)
    const read = backend.mysql.read.bind(backend.mysql)
    let places = 0
    backend.mysql.read = async (...args: unknown[]) => {
      const rows = await read(...args)
      places += rows.length
      return rows
    }
    const { records } = await store.readTrace(traceId)
    assert.deepEqual(
      records.map(({ id }) => id),
      entries.map((_, i) => BigInt(i)),
    )
    assert.equal(places, 600)
    places = 0
    assert.ok((await store.readTrace(traceId, 1_000)).truncated)
    assert.equal(places, 500)
  })
})
