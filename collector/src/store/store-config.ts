import { hostname } from 'node:os'
import type { IndexSettings } from './search/index-policy'

/** The part of the collector's configuration that stores need, with the same names. */
export interface StoreConfig {
  /** `scribe` stores nothing: relay/ keeps calls until they are forwarded. */
  store: 'embedded' | 'cassandra-mysql' | 'scribe'
  embedded: { path: string }
  cassandra: CassandraConfig
  mysql: MySqlConfig
  /** How long spans are kept. */
  retention_days?: number | undefined
  /** How long figures of services are kept, by the hour. */
  activity_days?: number | undefined
  /** How long results of offline analyses are kept. */
  analysis_days?: number | undefined
  /** Limits of what is accepted but not yet settled. Above them, the store rejects spans. */
  max_backlog_spans?: number | undefined
  max_backlog_bytes?: number | undefined
  /** Which annotations can be searched for. */
  index?: IndexSettings | undefined
  /** Names the collector's journal. Collectors that share databases must have different ones. */
  collector_id?: string | undefined
  /** Scribe's ports; the first one tells collectors of a host apart. */
  collector_port?: number[] | undefined
}

export interface CassandraConfig {
  /** Names or addresses, as a list or separated by commas. */
  hostname: string | string[]
  port: number
  local_dc: string
  keyspace: string
  username?: string | undefined
  password?: string | undefined
  /** The consistency of every request, as CQL names it. */
  consistency?: Consistency | undefined
  tls?: TlsConfig | undefined
}

export const CONSISTENCIES = [
  ...(['LOCAL_QUORUM', 'QUORUM', 'EACH_QUORUM', 'LOCAL_ONE', 'ONE', 'TWO', 'THREE', 'ALL'] as const),
] as const
export type Consistency = (typeof CONSISTENCIES)[number]

export interface MySqlConfig {
  hostname: string
  port: number
  database: string
  username: string
  password: string
  tls?: TlsConfig | undefined
}

/** PEM files. The presence of this section turns encryption on; servers' certificates are always checked. */
export interface TlsConfig {
  /** The authority that signed the server's certificate; the system's authorities unless given. */
  ca?: string | undefined
  /** A certificate for a server that asks its clients for one. */
  cert?: string | undefined
  key?: string | undefined
}

export const DEFAULT_RETENTION_DAYS = 7
export const DEFAULT_ACTIVITY_DAYS = 400
export const DEFAULT_ANALYSIS_DAYS = 400

/** Returns the configured id, or the host name with the first Scribe port: several collectors may run on one host. */
export function collectorId({ collector_id, collector_port }: StoreConfig): string {
  return collector_id ?? `${hostname()}:${collector_port?.[0] ?? 2100}`
}

/** Called by long work with how much of it is done. */
export type Progress = (done: number, total: number) => void
