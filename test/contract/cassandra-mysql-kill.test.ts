import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { sumActivity } from '../../collector/src/store/activity/read'
import { openStore } from '../../collector/src/store/open'
import type { Store } from '../../collector/src/store/store'
import type { StoreConfig } from '../../collector/src/store/store-config'
import { readRecord } from '../../src/codec/span'
import { bundledProgram } from '../helpers/bundle'
import { type CassandraServer, type MariaDbServer, startOwnCassandra, startOwnMariaDb } from '../servers'
import { found, sameIds, soon, structs, tag } from './store-contract'

/**
 * SIGKILL under load. MILO_TEST_KILLS says how often, MILO_TEST_SEED repeats a run: the same processes in the same order,
 * after the same times.
 */
const KILLS = Number(process.env.MILO_TEST_KILLS ?? 4)
const SEED = Number(process.env.MILO_TEST_SEED ?? Math.floor(Math.random() * 2 ** 32))
const RECOVERY_MS = 120_000

describe('cassandra-mysql store, killed', function () {
  this.timeout(300_000 + KILLS * RECOVERY_MS)
  let cassandra: CassandraServer
  let mariaDb: MariaDbServer

  before(async function () {
    const own = Promise.all([startOwnCassandra(), startOwnMariaDb()])
    ;[cassandra, mariaDb] = await own.catch(error => {
      // Where others' servers are given because none can be installed, none can be killed either.
      if (process.env.MILO_TEST_CASSANDRA && process.env.MILO_TEST_MYSQL) this.skip()
      throw error
    })
  })
  after(async () => {
    await Promise.all([cassandra?.kill(), mariaDb?.kill()])
  })

  it(`has everything that was acknowledged, once, after ${KILLS} kills (MILO_TEST_SEED=${SEED})`, async () => {
    const random = randomFrom(SEED)
    const config: StoreConfig = {
      store: 'cassandra-mysql',
      collector_id: 'killed',
      embedded: { path: '' },
      cassandra: { hostname: cassandra.host, port: cassandra.port, local_dc: cassandra.localDataCenter, keyspace: 'k' },
      mysql: { hostname: mariaDb.host, port: mariaDb.port, database: 'k', ...login(mariaDb) },
    }
    await (await openStore(config)).close()
    const acknowledged: string[] = []
    let collector = startCollector(config, acknowledged)

    for (let i = 0; i < KILLS; i++) {
      const before = acknowledged.length
      // Until it works again after the kill before.
      await soon(async () => assert.ok(acknowledged.length > before + 20), RECOVERY_MS)
      // In turn, so that a short run has them all.
      const victim = (i + SEED) % 4
      await sleep(random() * 1_500)
      if (victim === 0) {
        await cassandra.kill()
        await cassandra.start()
      } else if (victim === 1) {
        await mariaDb.kill()
        await mariaDb.start()
      } else {
        await killCollector(collector)
        // While it is away, or while it comes back, a database may go as well.
        if (victim === 3 && random() < 0.5) {
          await mariaDb.kill()
          await mariaDb.start()
        }
        collector = startCollector(config, acknowledged)
      }
    }
    const before = acknowledged.length
    await soon(async () => assert.ok(acknowledged.length > before + 20), RECOVERY_MS)
    await killCollector(collector)

    const store = await openStore(config)
    try {
      await soon(() => store.check(), RECOVERY_MS)
      await soon(async () => assert.equal(store.backlog().spans, 0), RECOVERY_MS)
      const traces = new Map<bigint, string[]>()
      for (const line of acknowledged) {
        const [word, hex] = line.split(' ') as [string, string]
        const records = hex.split(',')
        const ids = records.map(record => readRecord(Buffer.from(record, 'hex'), 0).record.traceId!)
        for (const [i, id] of ids.entries()) traces.set(id, [...(traces.get(id) ?? []), records[i]!.slice(16)])
        sameIds(await found(store, { annotations: [tag('word', word)] }), new Set(ids), `word ${word}`)
      }
      for (const [traceId, records] of traces) {
        const read = structs(await store.readTrace(traceId))
        const once = new Set(read)
        assert.equal(once.size, read.length, `a record twice in trace ${traceId}`)
        for (const record of records) assert.ok(once.has(record), `acknowledged and lost from trace ${traceId}`)
      }
      let stored = 0
      for (const traceId of await found(store, { service: 'killed' })) {
        stored += structs(await store.readTrace(traceId)).length
      }
      assert.equal(await counted(store), stored, 'what is stored counts once')
      // Half the promise, had nothing been acknowledged.
      assert.ok(acknowledged.length > KILLS * 20)
    } finally {
      await store.close()
    }
  })
})

async function counted(store: Store): Promise<number> {
  const nowUs = Date.now() * 1000
  const query = { fromUs: nowUs - 86_400e6, toUs: nowUs + 600e6, stepUs: Number.POSITIVE_INFINITY }
  const [sums] = (await sumActivity(part => store.activity(part), { ...query, kinds: ['operations'] })).values()
  return [...sums!.operations.values()].reduce((sum, { calls }) => sum + calls, 0)
}

function login({ username, password }: MariaDbServer) {
  return { username, password }
}

function startCollector(config: StoreConfig, acknowledged: string[]): ChildProcess {
  const program = bundledProgram(join(__dirname, 'cassandra-mysql-writer.ts'), 'cassandra-mysql-writer')
  const child = spawn(process.execPath, [program, JSON.stringify(config)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  createInterface({ input: child.stdout! }).on('line', line => {
    // The last one may be cut.
    if (line.endsWith('.')) acknowledged.push(line.slice(0, -1))
  })
  return child
}

async function killCollector(child: ChildProcess): Promise<void> {
  const closed = once(child, 'close')
  child.kill('SIGKILL')
  await closed
}

/** Marsaglia's xorshift: numbers from 0 to 1 that a seed repeats. */
function randomFrom(seed: number): () => number {
  let x = seed || 1
  return () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return (x >>> 0) / 2 ** 32
  }
}
