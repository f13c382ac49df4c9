import type { Quarantine } from './quarantine'
import { type Store, storedElsewhere } from './store'
import type { Progress, StoreConfig } from './store-config'

export type { CassandraConfig, MySqlConfig, StoreConfig } from './store-config'

/**
 * Opens the configured store. Makes the schema where there is none; an older one is brought up to date in an embedded
 * file, which nobody else uses, but not in databases: that is `milo-collector migrate`, at a time of somebody's choosing.
 * @param log takes a line about each migration, and what an operator should know
 * @throws StoreError with the remedy
 */
export async function openStore(config: StoreConfig, log: (message: string) => void = () => {}): Promise<Store> {
  if (config.store === 'scribe') throw storedElsewhere()
  return config.store === 'embedded'
    ? embedded().openEmbedded(
        {
          ...config.embedded,
          retentionDays: config.retention_days,
          index: config.index,
          maxBacklogSpans: config.max_backlog_spans,
          maxBacklogBytes: config.max_backlog_bytes,
        },
        log,
      )
    : cassandraMySql().openCassandraMySql(config, log)
}

/**
 * Brings the configured store's schema up to date, or makes it. Does nothing the second time, and two at once do it once.
 * @throws StoreError with the remedy
 */
export async function migrate(config: StoreConfig, log: (message: string) => void = () => {}): Promise<void> {
  if (config.store === 'embedded') {
    const store = await openStore(config, log)
    await store.close()
    return
  }
  if (config.store === 'cassandra-mysql') await cassandraMySql().migrateCassandraMySql(config, log)
}

/** What migrate would do, a line each; does nothing. An embedded file is brought up to date by every start. */
export async function pendingMigrations(config: StoreConfig): Promise<string[]> {
  if (config.store !== 'cassandra-mysql') return []
  const pending = await cassandraMySql().pendingMigrations(config)
  return pending.map(({ database, migration }) => `${database}: ${migration.name}`)
}

/**
 * Settles the journal of a collector that won't come back: what it had acknowledged last.
 * @param progress told how much of the journal's time is done
 * @returns how many spans that were
 * @throws StoreError while that collector lives
 */
export function replayCollector(
  config: StoreConfig,
  collector: string,
  log: (message: string) => void,
  progress: Progress = () => {},
): Promise<number> {
  return cassandraMySql().replayCollector(config, collector, log, progress)
}

/**
 * What the configured store has put aside. An embedded file must have no collector.
 * @throws StoreError with the remedy
 */
export async function openQuarantine(
  config: StoreConfig,
  log: (message: string) => void = () => {},
): Promise<Quarantine> {
  if (config.store === 'scribe') throw storedElsewhere()
  if (config.store === 'cassandra-mysql') return cassandraMySql().openMySqlQuarantine(config)
  const { EmbeddedQuarantine } = require('./embedded/quarantine') as typeof import('./embedded/quarantine')
  return new EmbeddedQuarantine(config.embedded.path, log)
}

// Loaded when chosen: the other store's drivers cost a start that doesn't need them about 90 ms.
const embedded = () => require('./embedded/store') as typeof import('./embedded/store')
const cassandraMySql = () => require('./cassandra-mysql/store') as typeof import('./cassandra-mysql/store')
