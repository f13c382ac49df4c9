import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client, policies } from 'cassandra-driver'
import { until } from '../helpers/until'
import { apt, run, which } from './install'
import { mavenJars } from './maven'
import { controls, freePorts, RunningServer, type Server, type SharedServer, serverFolder } from './process'
import { oncePerRun } from './shared'

/**
 * Apache Cassandra 5 from Maven's jars, one small node on loopback. Commit log mode `batch`: with `periodic`, the default,
 * a killed Cassandra forgets what it had acknowledged in the last seconds.
 */

const VERSION = '5.0.9'
const START_MS = 120_000

export interface CassandraServer extends Server {
  localDataCenter: string
  /** Of one that asks for passwords: who may do everything. */
  credentials?: { username: string; password: string }
}

/** The Cassandra of this test run; a test must use a keyspace of its own, and leave it running. */
export const startCassandra = oncePerRun<SharedServer<CassandraServer>>('cassandra', () =>
  process.env.MILO_TEST_CASSANDRA
    ? externalCassandra(process.env.MILO_TEST_CASSANDRA)
    : startOwnCassandra({ restarts: false }),
)

/**
 * Another one, for a test that stops it.
 * @param heapMiB enough for a test; what is measured deserves more
 * @param passwords whether it asks for them, and lets roles do what they were granted
 * @param restarts one that doesn't may forget its schema when it ends, and changes it in a fifth of the time
 */
export async function startOwnCassandra({
  heapMiB = 256,
  passwords = false,
  restarts = true,
} = {}): Promise<CassandraServer> {
  const [jars, java] = await Promise.all([installCassandra(), installJava()])
  const [cqlPort, storagePort, tlsPort] = await freePorts(3)
  const folder = serverFolder('cassandra')
  const clusterName = folder
  writeConfiguration(folder, clusterName, cqlPort!, storagePort!, tlsPort!, passwords)
  const server = new RunningServer({
    name: `Cassandra ${VERSION}`,
    folder,
    command: [java, ...javaArguments(folder, jars, heapMiB, restarts)],
    ports: [cqlPort!, storagePort!],
    ready: /Startup complete/,
    startMs: START_MS,
  })
  await server.start()
  const address = {
    ...{ host: '127.0.0.1', port: cqlPort!, localDataCenter: 'datacenter1' },
    ...(passwords ? { credentials: { username: 'cassandra', password: 'cassandra' } } : {}),
  }
  // The first role is made after the start.
  const found = passwords
    ? await until('Cassandra lets its first role in', () => clusterNameOf(address).catch(() => undefined), START_MS)
    : await clusterNameOf(address)
  if (found !== clusterName) throw new Error(`Port ${cqlPort} is that of another Cassandra: ${found}`)
  return {
    ...address,
    external: false,
    ...controls(server),
  }
}

async function externalCassandra(address: string): Promise<SharedServer<CassandraServer>> {
  const [, host, port] = /^(.+):(\d+)$/.exec(address) ?? []
  if (host === undefined) throw new Error(`MILO_TEST_CASSANDRA must be host:port, got ${address}`)
  // Any node will do to ask for the data centre's name; other policies want to know it first.
  const loadBalancing = new policies.loadBalancing.RoundRobinPolicy()
  const client = new Client({ contactPoints: [`${host}:${port}`], policies: { loadBalancing } })
  try {
    const { rows } = await client.execute('SELECT data_center FROM system.local')
    const localDataCenter = rows[0]!.data_center
    return { host, port: Number(port), localDataCenter, external: true }
  } finally {
    await client.shutdown()
  }
}

async function clusterNameOf(
  server: Pick<CassandraServer, 'host' | 'port' | 'localDataCenter' | 'credentials'>,
): Promise<string> {
  const client = new Client({
    contactPoints: [`${server.host}:${server.port}`],
    localDataCenter: server.localDataCenter,
    ...(server.credentials && { credentials: server.credentials }),
  })
  try {
    return (await client.execute('SELECT cluster_name FROM system.local')).rows[0]!.cluster_name
  } finally {
    await client.shutdown()
  }
}

const REMEDY = 'set MILO_TEST_CASSANDRA=host:port of a Cassandra in which tests may create keyspaces'

/** Cassandra's jars. @returns the folder they are in */
export function installCassandra(): Promise<string> {
  return mavenJars(`cassandra-${VERSION}`, [`org.apache.cassandra:cassandra-all:${VERSION}`], REMEDY)
}

/** A Java that Cassandra 5 runs on: 11 or 17. @returns the program's path */
async function installJava(): Promise<string> {
  const candidates = () => [
    ...(process.env.JAVA_HOME ? [join(process.env.JAVA_HOME, 'bin/java')] : []),
    ...[which('java')].filter(java => java !== undefined),
    ...['17', '11'].flatMap(version => {
      const folder = '/usr/lib/jvm'
      try {
        return readdirSync(folder)
          .filter(name => name.startsWith(`java-${version}-`))
          .map(name => join(folder, name, 'bin/java'))
      } catch {
        return []
      }
    }),
  ]
  const find = async () => {
    for (const java of candidates()) {
      const version = await run(java, ['--version']).catch(() => '')
      if (/^\S+ (11|17)\b/.test(version)) return java
    }
    return undefined
  }
  const java = await find()
  if (java !== undefined) return java
  await apt(['openjdk-17-jre-headless'], REMEDY)
  const installed = await find()
  if (installed === undefined) throw new Error(`No Java 11 or 17 to be found after installing one; ${REMEDY}`)
  return installed
}

function writeConfiguration(
  folder: string,
  clusterName: string,
  cqlPort: number,
  storagePort: number,
  tlsPort: number,
  passwords: boolean,
) {
  mkdirSync(join(folder, 'conf'))
  writeFileSync(
    join(folder, 'conf/cassandra.yaml'),
    `cluster_name: '${clusterName}'
num_tokens: 1
initial_token: 0
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: '127.0.0.1:${storagePort}'
endpoint_snitch: SimpleSnitch
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: ${storagePort}
ssl_storage_port: ${tlsPort}
native_transport_port: ${cqlPort}
auto_bootstrap: false
hinted_handoff_enabled: false
auto_snapshot: false
commitlog_sync: batch
commitlog_segment_size: 8MiB
commitlog_total_space: 256MiB
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
key_cache_size: 8MiB
concurrent_compactors: 1
# Zipkin's schema has them.
sasi_indexes_enabled: true
${passwords ? 'authenticator: PasswordAuthenticator\nauthorizer: CassandraAuthorizer\n' : ''}`,
  )
  writeFileSync(
    join(folder, 'conf/logback.xml'),
    `<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
`,
  )
}

function javaArguments(folder: string, jars: string, heapMiB: number, restarts: boolean): string[] {
  const opens = [
    ...['java.lang.module', 'jdk.internal.loader', 'jdk.internal.ref', 'jdk.internal.reflect', 'jdk.internal.math'],
    ...['jdk.internal.module', 'jdk.internal.util.jar', 'sun.nio.ch', 'java.io', 'java.nio', 'java.util'],
    ...['java.util.concurrent', 'java.util.concurrent.atomic', 'java.lang'],
  ].map(name => `java.base/${name}`)
  const exports = [
    ...['java.base/jdk.internal.misc', 'java.base/jdk.internal.ref', 'java.base/sun.nio.ch', 'java.base/java.lang.ref'],
    ...['java.management.rmi/com.sun.jmx.remote.internal.rmi', 'java.rmi/sun.rmi.registry', 'java.rmi/sun.rmi.server'],
    ...[
      'java.rmi/sun.rmi.transport.tcp',
      'java.sql/java.sql',
      'jdk.unsupported/sun.misc',
      'jdk.attach/sun.tools.attach',
    ],
  ]
  const jamm = readdirSync(jars).find(jar => /^jamm-.*\.jar$/.test(jar))
  return [
    `-javaagent:${join(jars, jamm!)}`,
    ...[...opens, 'jdk.management/com.sun.management.internal'].flatMap(name => ['--add-opens', `${name}=ALL-UNNAMED`]),
    ...exports.flatMap(name => ['--add-exports', `${name}=ALL-UNNAMED`]),
    '-Djdk.attach.allowAttachSelf=true',
    '-Djava.security.manager=allow',
    ...[`-Xms${heapMiB}M`, `-Xmx${heapMiB}M`, '-XX:+UseSerialGC', '-XX:MaxDirectMemorySize=256M', '-Xss512k'],
    // Half the time to start, for code that runs a minute.
    '-XX:TieredStopAtLevel=1',
    `-Djava.io.tmpdir=${folder}`,
    '-Djava.net.preferIPv4Stack=true',
    '-Djna.nosys=true',
    '-Dio.netty.tryReflectionSetAccessible=true',
    '-Dcassandra.libjemalloc=-',
    `-Dcassandra.storagedir=${folder}/data`,
    `-Dcassandra.config=file://${folder}/conf/cassandra.yaml`,
    `-Dlogback.configurationFile=${folder}/conf/logback.xml`,
    '-Dcassandra.skip_wait_for_gossip_to_settle=0',
    '-Dcassandra.ring_delay_ms=0',
    '-Dcassandra.superuser_setup_delay_ms=0',
    // Unless it is given, each start measures 100,000 rows, for a third of its time, and finds this.
    '-Dcassandra.memtable.row_overhead_size=181',
    // A node alone has nobody to tell that it stops; it waits 2 s all the same.
    '-Dcassandra.shutdown_announce_in_ms=0',
    '-Dcassandra.load_ring_state=false',
    `-Dcassandra.test.flush_local_schema_changes=${restarts}`,
    '-Dcassandra-foreground=yes',
    ...['-cp', `${folder}/conf:${jars}/*`],
    'org.apache.cassandra.service.CassandraDaemon',
  ]
}
