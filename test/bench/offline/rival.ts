import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, concurrent } from 'cassandra-driver'
import { bundledProgram } from '../../helpers/bundle'
import { startOwnCassandra } from '../../servers'
import { run } from '../../servers/install'
import { installJdk } from '../../servers/java'
import { mavenJars } from '../../servers/maven'
import { startZipkin } from '../../servers/zipkin'

const { recordsOf, toZipkinJson }: typeof import('./parts') = require(
  bundledProgram(join(__dirname, 'parts.ts'), 'offline'),
)

/**
 * zipkin-dependencies on Cassandra: `rival.ts RECORDS`. Prints, as JSON, how many spans it read, and its CPU time for their day and for an
 * empty one.
 */

/** The newest whose parts are in Maven Central. */
const VERSION = '3.2.0'
/** With it Spark's context has room for its caches, and not more than it needs. */
const HEAP = '-Xmx1g'
/** As Spark's own scripts open them. */
const OPENS = [
  ...['java.lang', 'java.lang.invoke', 'java.lang.reflect', 'java.io', 'java.net', 'java.nio', 'java.util'],
  ...['java.util.concurrent', 'java.util.concurrent.atomic', 'sun.nio.ch', 'sun.nio.cs', 'sun.security.action'],
].map(name => `--add-opens=java.base/${name}=ALL-UNNAMED`)
const DAY_MS = 86_400_000

async function main(): Promise<void> {
  const records = Number(process.argv[2])
  const [jars, { java, javac }] = await Promise.all([
    mavenJars(`zipkin-dependencies-${VERSION}`, [
      `io.zipkin.dependencies:zipkin-dependencies-cassandra3:${VERSION}`,
      // Its own parent project says so, and who depends on it doesn't see that.
      'com.google.guava:guava:33.2.0-jre',
    ]),
    installJdk(),
  ])
  const folder = mkdtempSync(join(tmpdir(), 'milo-bench-rival-'))
  const cassandra = await startOwnCassandra({ heapMiB: 1024 })
  try {
    const address = `${cassandra.host}:${cassandra.port}`
    // It makes its tables when it starts.
    const zipkin = await startZipkin(undefined, {
      STORAGE_TYPE: 'cassandra3',
      CASSANDRA_CONTACT_POINTS: address,
      CASSANDRA_LOCAL_DC: cassandra.localDataCenter,
      CASSANDRA_ENSURE_SCHEMA: 'true',
    })
    await zipkin.stop()
    const dayMs = Math.floor(Date.now() / DAY_MS) * DAY_MS
    const stored = await fill(address, records, dayMs)
    await run(javac, ['-d', folder, '-cp', `${jars}/*`, join(__dirname, 'Dependencies.java')])
    const job = (day: number) =>
      measured(java, [HEAP, ...OPENS, '-cp', `${folder}:${jars}/*`, 'Dependencies', String(day)], {
        CASSANDRA_CONTACT_POINTS: address,
        CASSANDRA_LOCAL_DC: cassandra.localDataCenter,
        SPARK_LOCAL_IP: '127.0.0.1',
      })
    const emptyMs = dayMs - 7 * DAY_MS
    // The first one finds no file in memory.
    await job(emptyMs)
    const full = await job(dayMs)
    const empty = await job(emptyMs)
    const client = new Client({
      contactPoints: [address],
      localDataCenter: cassandra.localDataCenter,
      keyspace: 'zipkin2',
    })
    const { rows } = await client.execute('SELECT parent, child, calls FROM dependency')
    await client.shutdown()
    if (rows.length === 0) throw new Error('zipkin-dependencies found no links')
    const links = { links: rows.length }
    process.stdout.write(
      `${JSON.stringify({ records: stored, version: VERSION, ...links, ...full, emptyUs: empty.cpuUs })}\n`,
    )
  } finally {
    await cassandra.kill()
    rmSync(folder, { recursive: true })
  }
}

interface ZipkinSpan {
  traceId: string
  id: string
  parentId?: string
  kind?: string
  name?: string
  timestamp?: number
  duration?: number
  localEndpoint?: Endpoint
  remoteEndpoint?: Endpoint
  tags?: Record<string, string>
  shared?: boolean
}

interface Endpoint {
  serviceName?: string
  ipv4?: string
}

/** Writes spans as zipkin-server does, but for what it indexes besides. @returns how many */
async function fill(address: string, records: number, fromMs: number): Promise<number> {
  const client = new Client({ contactPoints: [address], localDataCenter: 'datacenter1', keyspace: 'zipkin2' })
  const columns = 'trace_id, ts_uuid, parent_id, id, kind, span, ts, duration, l_ep, r_ep, tags, shared, debug'
  const query = `INSERT INTO span (${columns}) VALUES (?, now(), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, false)`
  const endpoint = (given: Endpoint | undefined) =>
    given && { service: given.serviceName ?? null, ipv4: given.ipv4 ?? null, ipv6: null, port: null }
  let stored = 0
  for (let trace = 0; stored < records; ) {
    const rows: unknown[][] = []
    for (const last = trace + 200; trace < last; trace++) {
      const spans = toZipkinJson(recordsOf(trace, BigInt(fromMs) * 1000n)) as unknown as ZipkinSpan[]
      for (const {
        traceId,
        id,
        parentId,
        kind,
        name,
        timestamp,
        duration,
        localEndpoint,
        remoteEndpoint,
        tags,
        shared,
      } of spans) {
        rows.push([
          ...[traceId, parentId ?? null, id, kind ?? null, name ?? null, timestamp ?? null, duration ?? null],
          ...[endpoint(localEndpoint), endpoint(remoteEndpoint), { ...tags }, shared ?? false],
        ])
      }
    }
    stored += rows.length
    await concurrent.executeConcurrent(client, query, rows, { concurrencyLevel: 128 })
  }
  await client.shutdown()
  return stored
}

/** Runs a program to its end. @returns its CPU time in µs and its largest resident set in MB */
async function measured(program: string, args: string[], env: NodeJS.ProcessEnv) {
  const script = 'TIMEFORMAT="took %U %S"; time "$@"'
  const child = spawn('bash', ['-c', script, 'bash', program, ...args], { env: { ...process.env, ...env } })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => (said += text))
  let maxMb = 0
  const watch = setInterval(() => {
    try {
      const [pid] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').split(' ')
      maxMb = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
    } catch {
      // Not started yet, or gone.
    }
  }, 100)
  const [status] = await once(child, 'close')
  clearInterval(watch)
  const [, user, system] = /^took ([\d.]+) ([\d.]+)$/m.exec(said) ?? []
  if (status !== 0 || user === undefined)
    throw new Error(`${program} ended with status ${status}:\n${said.slice(-4000)}`)
  return { cpuUs: (Number(user) + Number(system)) * 1e6, maxMb }
}

void main().then(
  () => process.exit(0),
  error => {
    console.error(error)
    process.exit(1)
  },
)
