import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { createConnection } from 'mysql2/promise'
import { collector, hex, Peer, randomId, span, type TestCollector, undo } from '../collector/support'
import { until } from '../helpers/until'
import { type CassandraServer, type MariaDbServer, startOwnCassandra, startOwnMariaDb } from '../servers'

/**
 * Room runs out under a database. Its files may not grow any more, which needs no disk of its own, and is told to a program
 * as a full disk is: a write fails.
 */

const [OK, TRY_LATER] = [0, 1]
const SENDERS = 4
const SPANS = 10
const MIB = 1024 * 1024
const FULL_MS = 120_000
const RECOVERY_MS = 60_000

describe('cassandra-mysql store, out of space', function () {
  this.timeout(300_000)
  let cassandra: CassandraServer
  let mariaDb: MariaDbServer

  before(async () => {
    ;[cassandra, mariaDb] = await Promise.all([startOwnCassandra(), startOwnMariaDb()])
  })
  afterEach(undo)
  after(() => Promise.all([cassandra?.kill(), mariaDb?.kill()]))

  it('answers TRY_LATER when its backlog is full while MariaDB has no room, reads and searches, loses nothing, and goes on with room', async () => {
    // Files that are larger from the start, and overwritten, must not count: of these the redo log is the largest.
    const { host, port, username, password } = mariaDb
    const root = await createConnection({ host, port, user: username, password })
    await root.query(`SET GLOBAL innodb_log_file_size = ${16 * MIB}`)
    await root.end()
    const { get, senders } = await feed('mariadb')
    await until('some is settled', async () => (await get('/api/search?key=word')).body.traces.length > 0)
    const [{ traceId, word }] = senders.acknowledged as [Sent]
    mariaDb.limitFiles(24 * MIB)
    await until('senders are refused', () => senders.refused > 5 * SENDERS, FULL_MS)
    await until('it is not ready', async () => (await get('/readyz')).status === 503)
    assert.equal((await get(`/api/traces/${hex(traceId)}`)).status, 200)
    assert.equal((await get(`/api/search?key=word&value=${word}`)).body.traces.length, 1)
    mariaDb.limitFiles(Infinity)
    await goesOn(senders)
  })

  it('answers TRY_LATER while Cassandra has no room, loses nothing, and goes on when that has been restarted', async () => {
    const { get, senders } = await feed('cassandra')
    cassandra.limitFiles(0)
    await until('senders are refused', () => senders.refused > 5 * SENDERS, FULL_MS)
    await until('it is not ready', async () => (await get('/readyz')).status === 503)
    // By its commit_failure_policy, which is `stop` unless given, it serves nobody any more, room or not, and SIGTERM may not
    // end it. What is started anew has room.
    await cassandra.kill()
    await cassandra.start()
    await goesOn(senders)
  })

  /** A collector on the servers, and who sends to it. */
  async function feed(name: string): Promise<TestCollector & { senders: Senders }> {
    const { host, port, username, password } = mariaDb
    const contact = { hostname: [cassandra.host], port: cassandra.port, local_dc: cassandra.localDataCenter }
    const started = await collector({
      store: 'cassandra-mysql',
      cassandra: { ...contact, keyspace: name, consistency: 'LOCAL_QUORUM' },
      mysql: { hostname: host, port, database: name, username, password },
      max_backlog_bytes: 16 * MIB,
    })
    const senders = new Senders(started)
    await until('some is acknowledged', () => senders.acknowledged.length > 2 * SENDERS, RECOVERY_MS)
    return { ...started, senders }
  }

  async function goesOn(senders: Senders): Promise<void> {
    const { length } = senders.acknowledged
    await until('it goes on', () => senders.acknowledged.length > length + 5 * SENDERS, RECOVERY_MS)
    await senders.end()
    const { get, metric } = senders.collector
    await until('all is settled', async () => (await metric('backlog_spans')) === 0, RECOVERY_MS)
    for (const { traceId, word } of senders.acknowledged) {
      const { body } = await get(`/api/traces/${hex(traceId)}?form=records`)
      const ids = (body.records as { id: string }[]).map(({ id }) => id)
      assert.deepEqual([ids.length, new Set(ids).size], [SPANS, SPANS], `trace ${hex(traceId)}`)
      const { traces } = (await get(`/api/search?key=word&value=${word}`)).body
      assert.deepEqual([traces.length, traces[0]?.traceId], [1, hex(traceId)], `word ${word}`)
    }
    assert.equal((await get('/readyz')).status, 200)
  }
})

interface Sent {
  traceId: bigint
  word: string
}

/** They send what isn't acknowledged again, as senders do. */
class Senders {
  readonly collector: TestCollector
  readonly acknowledged: Sent[] = []
  refused = 0
  private ended = false
  private readonly lanes: Promise<unknown>

  constructor(collector: TestCollector) {
    this.collector = collector
    this.lanes = Promise.all(Array.from({ length: SENDERS }, () => this.send(new Peer(collector.scribePorts[0]!))))
    // A test that fails closes their connections.
    this.lanes.catch(() => {})
  }

  /** When what is under way has been acknowledged. */
  async end(): Promise<void> {
    this.ended = true
    await this.lanes
  }

  private async send(peer: Peer): Promise<void> {
    while (!this.ended) {
      const [traceId, word] = [randomId(), randomBytes(8).toString('hex')]
      // Much that can't be compressed, so that room is soon used up.
      const noise = Array.from({ length: 50 }, (_, i) => [`key${i}`, randomBytes(100).toString('hex')] as const)
      const spans = Array.from({ length: SPANS }, () =>
        span({ traceId, annotations: new Map([['word', word], ...noise]) }),
      )
      for (;;) {
        const code = await peer.log(...spans)
        if (code === OK) break
        assert.equal(code, TRY_LATER)
        this.refused++
        await sleep(50)
      }
      this.acknowledged.push({ traceId, word })
    }
  }
}
