import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'cassandra-driver'
import Database from 'libsql'
import { createConnection, type RowDataPacket } from 'mysql2/promise'
import { scanRecords } from '../../../collector/src/record/records'
import { ROOT } from '../../helpers/child'
import { type MariaDbServer, startOwnCassandra, startOwnMariaDb } from '../../servers'
import { mavenJars } from '../../servers/maven'
import { freePorts } from '../../servers/process'
import { traceIds } from './generator'

/** Collectors with their databases, each in processes of its own, as benches load and ask them. */

export interface System {
  port: number
  /** Of the collector's API. */
  web: string
  dialect: 'milo' | 'zipkin'
  /** Processes whose CPU time counts, by what they are. */
  processes: { collector: number; [other: string]: number }
  /** Frames before anything is measured; a JVM compiles meanwhile. */
  warmFrames: number
  /** Spans that were accepted and can't be found yet. */
  backlog(): Promise<number>
  /** How long it has had to be idle by the time that it is believed to have none. */
  idleMs?: number
  /** Whether the span with this annotation can be searched for. */
  finds(value: string): Promise<boolean>
  /** How many spans of these frames are there, each counted once. */
  countBack(frames: number[]): Promise<number>
  /** How many bytes of the disk the stored spans and their index take, if that can be told. */
  bytes?(): number | Promise<number>
  /** Searches that take long, one after the other, until it is told to stop. @returns how many there were */
  searchLong?(until: AbortSignal): Promise<number>
  stop(): Promise<void>
}

const FEW_FRAMES = 200
const MANY_FRAMES = 3_000

export const SYSTEMS: Record<string, () => Promise<System>> = {
  'milo-embedded': miloEmbedded,
  'milo-databases': miloDatabases,
  'zipkin-memory': () => zipkin({}),
  'zipkin-cassandra': zipkinOnCassandra,
}

async function miloEmbedded(): Promise<System> {
  const folder = mkdtempSync(join(tmpdir(), 'milo-bench-'))
  const path = join(folder, 'milo.db')
  const collector = await startCollector(folder, { embedded: { path } })
  return {
    ...collector,
    bytes: () =>
      readdirSync(folder)
        .filter(name => name.startsWith('milo.db'))
        .reduce((sum, name) => sum + statSync(join(folder, name)).size, 0),
    searchLong: until => searchLong(collector.web, until),
    async countBack(frames) {
      // The file is one process's.
      await collector.end()
      const wanted = wantedTraces(frames)
      const db = new Database(path)
      for (const { body } of db.prepare('SELECT body FROM message').iterate() as Iterable<{ body: Buffer }>) {
        tick(wanted, Buffer.from(body))
      }
      db.close()
      return counted(wanted)
    },
    async stop() {
      await collector.end()
      rmSync(folder, { recursive: true })
    },
  }
}

/** As small as a server of production is: Cassandra's heap, MariaDB's buffer pool and its redo log. */
export const DATABASE_MIB = 1024

export function startDatabases() {
  return Promise.all([startOwnCassandra({ heapMiB: DATABASE_MIB }), startOwnMariaDb({ bufferPoolMiB: DATABASE_MIB })])
}

async function miloDatabases(): Promise<System> {
  const folder = mkdtempSync(join(tmpdir(), 'milo-bench-'))
  const [cassandra, mysql] = await startDatabases()
  const { username, password } = mysql
  const connect = () =>
    new Client({
      contactPoints: [`${cassandra.host}:${cassandra.port}`],
      localDataCenter: 'datacenter1',
      keyspace: 'milo',
      socketOptions: { readTimeout: 120_000 },
    })
  const collector = await startCollector(folder, {
    store: 'cassandra-mysql',
    cassandra: { hostname: cassandra.host, port: cassandra.port, keyspace: 'milo' },
    mysql: { hostname: mysql.host, port: mysql.port, database: 'milo', username, password },
  })
  return {
    ...collector,
    warmFrames: MANY_FRAMES,
    processes: {
      ...collector.processes,
      Cassandra: listener(cassandra.port),
      MariaDB: listener(mysql.port),
    },
    async countBack(frames) {
      const wanted = wantedTraces(frames)
      const client = connect()
      let pageState: string | undefined
      do {
        const page = await client.execute('SELECT records FROM spans', [], {
          prepare: true,
          fetchSize: 1000,
          pageState,
        })
        for (const { records } of page.rows) tick(wanted, records)
        pageState = page.pageState
      } while (pageState)
      await client.shutdown()
      return counted(wanted)
    },
    async bytes() {
      const client = connect()
      try {
        // Cassandra compresses rows when it writes them from memory into files.
        await client.execute('ALTER TABLE spans WITH memtable_flush_period_in_ms = 1000')
        const { rows } = await client.execute(
          "SELECT value FROM system_views.settings WHERE name = 'data_file_directories'",
        )
        const spans = join(rows[0]!.value.slice(1, -1), 'milo')
        const index = join(await dataFolder(mysql), 'milo')
        await new Promise(resolve => setTimeout(resolve, FLUSH_MS))
        return sizeOf(spans, file => /(^|\/)spans-[^/]*\/[^/]*$/.test(file)) + sizeOf(index, () => true)
      } finally {
        await client.shutdown()
      }
    },
    async stop() {
      await collector.end()
      await Promise.all([cassandra.kill(), mysql.kill()])
      rmSync(folder, { recursive: true })
    },
  }
}

/** How long Cassandra has to write what it has in memory. */
const FLUSH_MS = 5_000

async function dataFolder({ host, port, username, password }: MariaDbServer): Promise<string> {
  const connection = await createConnection({ host, port, user: username, password })
  const [rows] = await connection.query<RowDataPacket[]>('SELECT @@datadir AS folder')
  await connection.end()
  return rows[0]!.folder
}

function sizeOf(folder: string, counts: (file: string) => boolean): number {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(counts)
    .reduce((sum, file) => sum + statSync(join(folder, file)).size, 0)
}

/** What no index answers: a part of a value that none has, and two conditions that no span meets together. */
async function searchLong(web: string, until: AbortSignal): Promise<number> {
  const long = [
    'key=request.id&value=none-has-this&match=contains',
    'key=http.path&value=%2Fpath%2F0%2Fof%2Fsome%2Flength&name=Shop1.operation1',
  ]
  let searches = 0
  while (!until.aborted) {
    const answer = await fetch(`${web}/api/search?${long[searches % long.length]}`)
    if (!answer.ok) throw new Error(`a search was answered with ${answer.status}: ${await answer.text()}`)
    await answer.arrayBuffer()
    searches++
  }
  return searches
}

async function startCollector(folder: string, settings: object) {
  const [port, http] = (await freePorts(2)) as [number, number]
  const config = join(folder, 'collector.yaml')
  writeFileSync(config, JSON.stringify({ collector_port: port, http: { port: http }, log_level: 'warn', ...settings }))
  const child = spawn(process.execPath, [join(ROOT, 'collector/bin/milo-collector.js'), '--config', config], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const web = `http://127.0.0.1:${http}`
  await until(async () => (await fetch(`${web}/healthz`)).ok)
  return {
    port,
    web,
    dialect: 'milo' as const,
    warmFrames: FEW_FRAMES,
    processes: { collector: child.pid! },
    async backlog() {
      const text = await (await fetch(`${web}/metrics`)).text()
      return Number(/^milo_backlog_spans (\S+)$/m.exec(text)![1])
    },
    async finds(value: string) {
      const answer = await fetch(`${web}/api/search?key=request.id&value=${value}`)
      return ((await answer.json()) as { traces: unknown[] }).traces.length === 1
    },
    async end() {
      if (child.exitCode !== null) return
      child.kill('SIGTERM')
      await once(child, 'exit')
    },
  }
}

function wantedTraces(frames: number[]): Map<bigint, Set<bigint>> {
  const wanted = new Map<bigint, Set<bigint>>()
  for (const frame of frames) for (const id of traceIds(frame)) wanted.set(id, new Set())
  return wanted
}

function tick(wanted: Map<bigint, Set<bigint>>, records: Buffer): void {
  scanRecords(records, (_start, _end, { traceIdAt, idAt }) => {
    wanted.get(records.readBigInt64BE(traceIdAt))?.add(records.readBigInt64BE(idAt))
  })
}

function counted(wanted: Map<bigint, Set<bigint>>): number {
  let spans = 0
  for (const ids of wanted.values()) spans += ids.size
  return spans
}

const ZIPKIN = '3.6.1'
/** Zipkin is idle that takes less than so much of one core for so long; to ask it takes some, too. */
const IDLE_MS = 2_000
const IDLE_SHARE = 0.1

async function zipkinOnCassandra(): Promise<System> {
  const cassandra = await startOwnCassandra({ heapMiB: DATABASE_MIB })
  const system = await zipkin({
    STORAGE_TYPE: 'cassandra3',
    CASSANDRA_CONTACT_POINTS: `${cassandra.host}:${cassandra.port}`,
    CASSANDRA_LOCAL_DC: 'datacenter1',
    CASSANDRA_ENSURE_SCHEMA: 'true',
  })
  return {
    ...system,
    // Many would fill its heap.
    warmFrames: FEW_FRAMES,
    processes: { ...system.processes, Cassandra: listener(cassandra.port) },
    async stop() {
      await system.stop()
      await cassandra.kill()
    },
  }
}

async function zipkin(env: NodeJS.ProcessEnv): Promise<System> {
  const jars = await mavenJars(`zipkin-server-${ZIPKIN}`, [`io.zipkin:zipkin-server:${ZIPKIN}:jar:exec`])
  const jar = join(
    jars,
    readdirSync(jars).find(name => name.startsWith('zipkin-server-') && name.endsWith('-exec.jar'))!,
  )
  const [scribe, query] = (await freePorts(2)) as [number, number]
  const child = spawn('java', ['-Xmx4g', '-jar', jar], {
    env: {
      ...process.env,
      SCRIBE_ENABLED: 'true',
      COLLECTOR_PORT: String(scribe),
      QUERY_PORT: String(query),
      SELF_TRACING_ENABLED: 'false',
      MEM_MAX_SPANS: '5000000',
      ...env,
    },
    stdio: ['ignore', 'ignore', 'ignore'],
  })
  const web = `http://127.0.0.1:${query}`
  await until(async () => (await fetch(`${web}/health`)).ok)
  let look = { atMs: 0, cpuMs: 0, spans: -1 }
  const counter = async () => {
    const counters = (await (await fetch(`${web}/metrics`)).json()) as Record<string, number>
    return counters['counter.zipkin_collector.spans.scribe'] ?? 0
  }
  return {
    port: scribe,
    web,
    dialect: 'zipkin',
    warmFrames: MANY_FRAMES,
    processes: { collector: child.pid! },
    idleMs: IDLE_MS,
    /** It doesn't say what it hasn't stored: settled is when it has been idle for a while. */
    async backlog() {
      const atMs = performance.now()
      if (atMs < look.atMs + IDLE_MS) return 1
      const before = look
      look = { atMs, cpuMs: cpuMs(child.pid!), spans: await counter() }
      const idle = look.cpuMs - before.cpuMs < IDLE_SHARE * (atMs - before.atMs)
      return idle && look.spans === before.spans ? 0 : 1
    },
    async finds(value) {
      const answer = await fetch(
        `${web}/api/v2/traces?annotationQuery=request.id%3D${value}&lookback=864000000&limit=10`,
      )
      return ((await answer.json()) as unknown[]).length === 1
    },
    async countBack(frames) {
      let spans = 0
      const ids = frames.flatMap(frame =>
        traceIds(frame).map(id => BigInt.asUintN(64, id).toString(16).padStart(16, '0')),
      )
      for (let i = 0; i < ids.length; i += 100) {
        const answer = await fetch(`${web}/api/v2/traceMany?traceIds=${ids.slice(i, i + 100).join(',')}`)
        for (const trace of (await answer.json()) as { id: string }[][])
          spans += new Set(trace.map(({ id }) => id)).size
      }
      return spans
    },
    async stop() {
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

async function until(probe: () => Promise<boolean>): Promise<void> {
  const giveUp = Date.now() + 120_000
  while (!(await probe().catch(() => false))) {
    if (Date.now() > giveUp) throw new Error('a server did not come up in 120 s')
    await new Promise(resolve => setTimeout(resolve, 100))
  }
}

/** Who listens on the port. */
export function listener(port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const lines = ['tcp', 'tcp6'].flatMap(file => readFileSync(`/proc/net/${file}`, 'utf8').split('\n'))
  const inodes = new Set(
    lines
      .map(line => line.trim().split(/\s+/))
      .flatMap(f => (f[3] === '0A' && f[1]!.endsWith(`:${hex}`) ? [f[9]] : [])),
  )
  for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    try {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]
        if (inode !== undefined && inodes.has(inode)) return Number(pid)
      }
    } catch {
      // Somebody else's, or gone.
    }
  }
  throw new Error(`nobody listens on ${port}`)
}

export function cpuOf(processes: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(processes).map(([what, pid]) => [what, cpuMs(pid)]))
}

/** User and system time of the process so far, of all its threads; Linux counts it in hundredths of a second. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/** The resident set, now or at its largest. */
export function residentMiB(pid: number, which: 'VmRSS' | 'VmHWM'): number {
  const line = readFileSync(`/proc/${pid}/status`, 'utf8')
    .split('\n')
    .find(line => line.startsWith(which))
  return Number(/\d+/.exec(line!)) / 1024
}

const SETTLE_MS = 600_000

/** Resolves when nothing that was accepted is behind any more. */
export async function settled(system: System): Promise<void> {
  const giveUp = Date.now() + SETTLE_MS
  while ((await system.backlog()) > 0) {
    if (Date.now() > giveUp) throw new Error(`still ${await system.backlog()} spans behind after ${SETTLE_MS} ms`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}
