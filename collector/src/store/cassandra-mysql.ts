import { CassandraSpans, migrateCassandra, newestCassandraVersion } from './cassandra'
import { within } from './deadline'
import { GroupCommit } from './group-commit'
import { MySqlIndex, newestMySqlVersion, underMigrationLock } from './mysql'
import type { StoreConfig } from './open'
import { type Message, type SearchPage, type SearchQuery, type Store, type StoredRecord, StoreError } from './store'

/** Raw spans in Cassandra, the search index in MySQL. */

/** Where a group ends; and how many are on their way at once, so that neither database waits for the other. */
const GROUP_BYTES = 1024 * 1024
const GROUPS = 4
const GOODBYE_MS = 3_000

/**
 * A schema that isn't there at all is made, as a newcomer expects and as can harm nobody. One that is there and older is
 * left alone: bringing it up to date may take long and lock tables, and other collectors may be at work.
 * @throws StoreError when a database can't be reached, or its schema is older than this program
 */
export async function openCassandraMySql(config: StoreConfig, log: (message: string) => void): Promise<Store> {
  const spans = await CassandraSpans.open(config.cassandra)
  const index = new MySqlIndex(config.mysql)
  const store = new CassandraMySqlStore(spans, index)
  // A newer one is fine: migrations leave what older collectors need.
  const schemas = async () => {
    const state = (found: number | undefined, wanted: number) =>
      found === undefined ? 'missing' : found < wanted ? 'older' : 'usable'
    return [
      state(await spans.schemaVersion(), newestCassandraVersion()),
      state(await index.schemaVersion(), newestMySqlVersion()),
    ]
  }
  try {
    if ((await schemas()).some(state => state !== 'usable')) {
      await underMigrationLock(config.mysql, log, async migrateMySql => {
        // Once more: another collector may just have been at it.
        const states = await schemas()
        if (states.includes('older')) {
          throw new StoreError(
            'MILO_STORE_SCHEMA',
            `keyspace ${config.cassandra.keyspace} or database ${config.mysql.database} has an older schema: run milo-collector migrate`,
          )
        }
        if (states.includes('missing')) {
          await migrateMySql()
          await migrateCassandra(config.cassandra, log)
        }
      })
    }
    return store
  } catch (error) {
    await store.close()
    throw error
  }
}

export function migrateCassandraMySql(config: StoreConfig, log: (message: string) => void): Promise<void> {
  return underMigrationLock(config.mysql, log, async migrateMySql => {
    await migrateMySql()
    await migrateCassandra(config.cassandra, log)
  })
}

class CassandraMySqlStore implements Store {
  private readonly spans: CassandraSpans
  private readonly index: MySqlIndex
  private readonly commits = new GroupCommit(messages => this.write(messages), GROUP_BYTES, GROUPS)
  private closing: Promise<void> | undefined

  constructor(spans: CassandraSpans, index: MySqlIndex) {
    this.spans = spans
    this.index = index
  }

  append(messages: Message[]): Promise<void> {
    return this.commits.append(messages)
  }

  readTrace(traceId: bigint): Promise<StoredRecord[]> {
    return this.spans.read(traceId)
  }

  search(query: SearchQuery): Promise<SearchPage> {
    return this.index.search(query)
  }

  async check(): Promise<void> {
    await Promise.all([this.spans.check(), this.index.check()])
  }

  close(): Promise<void> {
    this.closing ??= this.commits.close().then(async () => {
      // All is written: a database that doesn't answer any more is no reason to fail, or to wait.
      await within(GOODBYE_MS, Promise.all([this.spans.close(), this.index.close()])).catch(() => {})
    })
    return this.closing
  }

  private async write(messages: Message[]): Promise<void> {
    await this.spans.write(messages)
    // Last, so that nothing is found that can't be read.
    await this.index.add(messages)
  }
}
