import type { Peer, PeerKind } from '../../http/answers'
import type { AnnotationCondition } from '../../query'
import { Recent } from '../../store/recent'
import type { Find } from './deployments'

/**
 * What it is that reports no spans: its callers' annotations tell. Most such systems have the name of their kind, because their
 * callers know no other; one with a name of its own (peer.service, Zipkin's remote endpoint) is known by what else stands on the
 * spans that call it.
 */

/** Names of kinds of systems, as OpenTelemetry's db.system.name, db.system and messaging.system have them, or instrumentations call them. */
const DATABASES = new Set(
  `adabas aerospike arangodb aws.dynamodb aws.redshift azure.cosmosdb cassandra clickhouse cloudscape cockroachdb coldfusion
  cosmosdb couchbase couchdb db2 derby dynamodb edb elasticsearch filemaker firebird firstsql gcp.spanner geode h2 hanadb hbase
  hive hsqldb ibm.db2 ibm.informix ibm.netezza influxdb informix ingres instantdb interbase intersystems_cache mariadb maxdb memcached
  microsoft.sql_server mongodb mssql mssqlcompact mysql neo4j netezza opensearch oracle oracle.db other_sql pervasive pointbase
  postgres postgresql progress redis redshift sap.hana sap.maxdb scylladb softwareag.adabas spanner sqlite sqlserver sybase teradata
  trino valkey vertica`.split(/\s+/),
)
const QUEUES = new Set(
  `activemq activemq_artemis aws.sns aws.sqs aws_sns aws_sqs azure.eventgrid azure.eventhubs azure.servicebus eventgrid eventhubs
  gcp_pubsub jms kafka kinesis mqtt nats nsq pubsub pulsar rabbitmq rocketmq servicebus sns sqs`.split(/\s+/),
)

/** By what a caller names the other side, if not by its kind; and by what it says that it is one. */
const NAMED_BY = ['peer.service', 'zipkin.remote.service']
const SAID_BY: [PeerKind, string[]][] = [
  ['database', ['db.system.name', 'db.system']],
  ['queue', ['messaging.system']],
]

/** For so long what was found is believed. */
const KEPT_MS = 3600_000
const MAX_KEPT = 2_000

export class Peers {
  private readonly known = new Recent<string, { kind: PeerKind; untilMs: number }>(MAX_KEPT)
  private readonly nowMs: () => number

  constructor(nowMs: () => number) {
    this.nowMs = nowMs
  }

  /** @param mayGoOn returns false when the time is over: what isn't known by then stays unknown, until it is asked for again */
  async of(names: string[], find: Find, mayGoOn: () => boolean): Promise<Peer[]> {
    const peers: Peer[] = []
    for (const name of new Set(names)) peers.push({ name, kind: await this.kindOf(name, find, mayGoOn) })
    return peers
  }

  private async kindOf(name: string, find: Find, mayGoOn: () => boolean): Promise<PeerKind> {
    const word = name.toLowerCase()
    if (DATABASES.has(word)) return 'database'
    if (QUEUES.has(word)) return 'queue'
    const nowMs = this.nowMs()
    const kept = this.known.get(name)
    if (kept !== undefined && kept.untilMs > nowMs) return kept.kind
    const kind = await search(name, find, mayGoOn)
    if (kind === undefined) return 'unknown'
    this.known.set(name, { kind, untilMs: nowMs + KEPT_MS })
    return kind
  }
}

/** @returns undefined if there was no time */
async function search(name: string, find: Find, mayGoOn: () => boolean): Promise<PeerKind | undefined> {
  for (const [kind, keys] of SAID_BY) {
    for (const key of keys) {
      for (const naming of NAMED_BY) {
        if (!mayGoOn()) return undefined
        const annotations: AnnotationCondition[] = [
          { key: naming, value: name, match: 'exact' },
          { key, match: 'exact' },
        ]
        const found = await find(async store => (await store.search({ annotations, limit: 1 })).traces.length > 0)
        if (found) return kind
      }
    }
  }
  return 'unknown'
}
