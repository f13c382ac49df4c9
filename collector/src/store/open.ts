import type { Quarantine } from './quarantine'
import { type HourReader, type Store, storedElsewhere } from './store'
import { collectorId, type Progress, type StoreConfig } from './store-config'
import type { Verified, VerifyOptions } from './verify'

export type { CassandraConfig, MySqlConfig, StoreConfig } from './store-config'

/**
 * Opens the configured store, and creates the schema if there is none. An older schema is migrated in an embedded file, which
 * nobody else uses, but not in databases: there an operator runs `milo-collector migrate` when it suits.
 * @param log called with a line about each migration and with warnings for the operator
 * @throws StoreError with the remedy
 */
export async function openStore(config: StoreConfig, log: (message: string) => void = () => {}): Promise<Store> {
  if (config.store === 'scribe') throw storedElsewhere()
  return config.store === 'embedded'
    ? embedded().openEmbedded(
        {
          ...config.embedded,
          collector: collectorId(config),
          retentionDays: config.retention_days,
          activityDays: config.activity_days,
          analysisDays: config.analysis_days,
          index: config.index,
          maxBacklogSpans: config.max_backlog_spans,
          maxBacklogBytes: config.max_backlog_bytes,
        },
        log,
      )
    : cassandraMySql().openCassandraMySql(config, log)
}

/**
 * Creates or migrates the configured store's schema. Running it again changes nothing; concurrent runs apply each migration once.
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

/** Lists what migrate would apply, one line per migration, and changes nothing. Each start migrates an embedded file. */
export async function pendingMigrations(config: StoreConfig): Promise<string[]> {
  if (config.store !== 'cassandra-mysql') return []
  const pending = await cassandraMySql().pendingMigrations(config)
  return pending.map(({ database, migration }) => `${database}: ${migration.name}`)
}

/**
 * Settles the journal of a collector that won't come back: the spans that it acknowledged but didn't settle.
 * @param progress called with how much of the journal is done
 * @returns the number of spans
 * @throws StoreError while that collector is running
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
 * Opens the records that the configured store has put aside. No collector may be using an embedded file.
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

/**
 * Opens the configured store for reading what was accepted by the hour. No collector may be using an embedded file; databases may be
 * in use.
 * @throws StoreError with the remedy
 */
export async function openHours(config: StoreConfig): Promise<HourReader & { close(): Promise<void> }> {
  if (config.store === 'scribe') throw storedElsewhere()
  if (config.store === 'cassandra-mysql') return cassandraMySql().openCassandraMySqlHours(config)
  const { openEmbeddedHours } = require('./embedded/hours') as typeof import('./embedded/hours')
  return openEmbeddedHours(config.embedded.path, collectorId(config))
}

/**
 * Reads the configured store whole, says what is wrong with it, and repairs what can be. No collector may be using an embedded
 * file; databases may be in use.
 * @throws StoreError with the remedy
 */
export async function verifyStore(config: StoreConfig, options: VerifyOptions): Promise<Verified> {
  if (config.store === 'scribe') throw storedElsewhere()
  if (config.store === 'cassandra-mysql') return cassandraMySql().verifyCassandraMySql(config, options)
  const { verifyEmbedded } = require('./embedded/verify') as typeof import('./embedded/verify')
  return verifyEmbedded(config.embedded.path, config.index, options)
}

// Only the chosen store is loaded: the other store's drivers would make the start 90 ms longer.
const embedded = () => require('./embedded/store') as typeof import('./embedded/store')
const cassandraMySql = () => require('./cassandra-mysql/store') as typeof import('./cassandra-mysql/store')
