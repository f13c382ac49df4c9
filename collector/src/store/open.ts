import type { Store } from './store'

/** What openStore needs of the collector's configuration, under the names it has there. */
export interface StoreConfig {
  store: 'embedded' | 'cassandra-mysql'
  embedded: { path: string }
  cassandra: CassandraConfig
  mysql: MySqlConfig
}

export interface CassandraConfig {
  /** A name or an address, or several: a list, or separated by commas. */
  hostname: string | string[]
  port: number
  local_dc: string
  keyspace: string
  username?: string | undefined
  password?: string | undefined
}

export interface MySqlConfig {
  hostname: string
  port: number
  database: string
  username: string
  password: string
}

/**
 * Opens the configured store. Makes the schema where there is none; an older one is brought up to date in an embedded
 * file, which nobody else uses, but not in databases: that is `milo-collector migrate`, at a time of somebody's choosing.
 * @param log takes a line about each migration
 * @throws StoreError with the remedy
 */
export async function openStore(config: StoreConfig, log: (message: string) => void = () => {}): Promise<Store> {
  return config.store === 'embedded'
    ? embedded().openEmbedded(config.embedded, log)
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
  await cassandraMySql().migrateCassandraMySql(config, log)
}

// Loaded when chosen: the other store's drivers cost a start that doesn't need them about 90 ms.
const embedded = () => require('./embedded') as typeof import('./embedded')
const cassandraMySql = () => require('./cassandra-mysql') as typeof import('./cassandra-mysql')
