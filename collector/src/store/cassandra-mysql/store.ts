import type { Connection } from 'mysql2/promise'
import { type StoredTrace, storedTrace } from '../../record/records'
import { Folder } from '../activity/folder'
import type { ActivityQuery, ActivityRead } from '../activity/model'
import type { AnalysisQuery, AnalysisRead, AnalysisWindow, Load, StoredAnalysis } from '../analysis/model'
import { chunksBySize } from '../chunks'
import { isRefusal, within } from '../deadline'
import type { Caught, Keep, KeepQuery, Ring, RingQuery, SeenRing, StoredKeep } from '../keeps'
import { type Migration, migrations } from '../migrations'
import { type Clock, systemClock } from '../pipeline/clock'
import type { Entry } from '../pipeline/entry'
import { closedError } from '../pipeline/group-commit'
import { type Backend, type Finished, Pipeline, type TraceRead } from '../pipeline/pipeline'
import { isLasting, withoutRefused } from '../pipeline/refused'
import type { Quarantine } from '../quarantine'
import { rarely } from '../rarely'
import { type IndexPolicy, type IndexSettings, indexPolicy } from '../search/index-policy'
import { search } from '../search/search'
import {
  type Backlog,
  type CompletionQuery,
  type HourPage,
  type HourReader,
  type HourSource,
  type Message,
  type SavedSearch,
  type SearchPage,
  type SearchQuery,
  type Store,
  StoreError,
  TRACE_BYTES,
} from '../store'
import {
  collectorId,
  DEFAULT_ACTIVITY_DAYS,
  DEFAULT_ANALYSIS_DAYS,
  DEFAULT_RETENTION_DAYS,
  type Progress,
  type StoreConfig,
} from '../store-config'
import type { Verified, VerifyOptions } from '../verify'
import { Cassandra, migrateCassandra, missingFromCassandra } from './cassandra'
import { CassandraSpans } from './cassandra-spans'
import { CollectorLock } from './collector-lock'
import { hourSources, readHour } from './hours'
import { MySql, migrateMySql, missingFromMySql, underMigrationLock } from './mysql'
import { MySqlActivity, MySqlMeter, readMySqlActivity } from './mysql-activity'
import {
  deleteMySqlAnalysis,
  keepAnalyses,
  readMySqlAnalyses,
  readMySqlAnalysis,
  saveMySqlAnalysis,
} from './mysql-analyses'
import { MySqlIndex, placesOfTraces, readCheckpoint } from './mysql-index'
import { MySqlKeeps } from './mysql-keeps'
import { keepPartitions, maintainPartitions } from './mysql-partitions'
import { MySqlQuarantine, putAside } from './mysql-quarantine'
import { completeFromMySql, MySqlSearch } from './mysql-search'
import { collectorNumber, spanRows } from './span-rows'
import { verifyRows } from './verify'
import { waitingStore } from './waiting-store'

/**
 * Raw spans in Cassandra, the search index in MySQL.
 *
 *     accept ──── Cassandra: journal, a row a message → durable, OK
 *     write ──┬── Cassandra: rows of many traces
 *             └── MySQL: index, what is settled together in common rows
 *     finish ──── MySQL: checkpoint and activity
 *
 * MySQL isn't on the way to OK, except that a collector has to hold its lock there. While MySQL is slow or has no room, spans are
 * accepted until the backlog is full.
 */

const GROUP_BYTES = 1024 * 1024
/** How many groups are written at once. */
const GROUPS = 4
const SETTLE_SPANS = 20_000
const SETTLE_MS = 500
/** How many bytes of messages are made into rows at once: the rows are copies. */
const MAX_PORTION_BYTES = 16 * 1024 * 1024
const DEFAULT_MAX_BACKLOG_SPANS = 500_000
const DEFAULT_MAX_BACKLOG_BYTES = 256 * 1024 * 1024
const GOODBYE_MS = 3_000
/** The shortest time between two checks that write. */
const CHECK_WRITE_MS = 1_000
const DAY_US = 86_400_000_000

/**
 * Opens the store. A missing schema is created, as a newcomer expects. An older schema is not migrated: that may take long and
 * lock tables while other collectors are running.
 *
 * If a database can't be reached, the store is returned nevertheless, and refuses everything until it can reach them.
 * @param clock replaces MySQL's clock, which all collectors share
 * @throws StoreError if the schema is older than this program, or a database refuses the connection
 */
export async function openCassandraMySql(
  config: StoreConfig,
  log: (message: string) => void,
  clock?: Clock,
): Promise<Store> {
  const connect = () => connectStore(config, log, clock)
  try {
    return await connect()
  } catch (error) {
    const waits = error instanceof StoreError && error.code === 'MILO_STORE_UNAVAILABLE' && !isRefusal(error)
    if (!waits) throw error
    log(`${error.message}: no spans are accepted until it is available`)
    return waitingStore(connect, error, log)
  }
}

async function connectStore(config: StoreConfig, log: (message: string) => void, clock?: Clock): Promise<Store> {
  const backend = await CassandraMySqlBackend.open(config, collectorId(config), log, clock)
  const warn = rarely(log)
  try {
    const pipeline = await Pipeline.open(backend, {
      ...backlogOf(config),
      onSettleError: error => warn(`spans are accepted, but can't be settled yet: ${(error as Error).message}`),
    })
    const { mysql, retentionDays, clock: ownClock } = backend
    const endPartitions = keepPartitions(mysql, retentionDays, log)
    const endAnalyses = keepAnalyses(mysql, config.analysis_days ?? DEFAULT_ANALYSIS_DAYS, ownClock, error =>
      warn(`results of analyses that are too old can't be removed: ${(error as Error).message}`),
    )
    const endKeeps = backend.keeps.keepTidy(retentionDays, ownClock, error =>
      warn(`what was kept after the fact, and is too old, can't be removed: ${(error as Error).message}`),
    )
    return new CassandraMySqlStore(backend, pipeline, () => {
      endPartitions()
      endAnalyses()
      endKeeps()
    })
  } catch (error) {
    await backend.close()
    throw error
  }
}

function backlogOf({
  max_backlog_spans = DEFAULT_MAX_BACKLOG_SPANS,
  max_backlog_bytes = DEFAULT_MAX_BACKLOG_BYTES,
}: StoreConfig) {
  return { maxBacklogSpans: max_backlog_spans, maxBacklogBytes: max_backlog_bytes }
}

/** Creates a missing schema and refuses an older one. A newer schema is fine: migrations keep what older collectors need. */
async function ensureSchema(config: StoreConfig, cassandra: Cassandra, log: (message: string) => void): Promise<void> {
  const states = async () => {
    const state = (lacks: Migration[] | undefined) =>
      lacks === undefined ? 'missing' : lacks.length > 0 ? 'older' : 'usable'
    return [state(await cassandra.missingMigrations()), state(await missingFromMySql(config.mysql))]
  }
  if ((await states()).every(state => state === 'usable')) return
  await underMigrationLock(config.mysql, log, async connection => {
    // Check again: another collector may have created it meanwhile.
    const current = await states()
    if (current.includes('older')) {
      throw new StoreError(
        'MILO_STORE_SCHEMA',
        `keyspace ${config.cassandra.keyspace} or database ${config.mysql.database} has an older schema: run milo-collector migrate`,
      )
    }
    if (current.includes('missing')) await migrateBoth(config, connection, log)
  })
}

export async function migrateCassandraMySql(config: StoreConfig, log: (message: string) => void): Promise<void> {
  await underMigrationLock(config.mysql, log, connection => migrateBoth(config, connection, log))
  const cassandra = await Cassandra.open(config.cassandra)
  const warning = await cassandra.warning()
  if (warning !== undefined) log(warning)
  await cassandra.close()
}

async function migrateBoth(config: StoreConfig, connection: Connection, log: (message: string) => void): Promise<void> {
  await migrateMySql(connection, config.mysql, log)
  const retentionDays = config.retention_days ?? DEFAULT_RETENTION_DAYS
  await maintainPartitions(connection, config.mysql, retentionDays, log)
  await migrateCassandra(config.cassandra, log)
}

/** Returns what migrate would apply, with the database of each migration, and changes nothing. */
export async function pendingMigrations(config: StoreConfig): Promise<{ database: string; migration: Migration }[]> {
  const of = (database: string) => (migration: Migration) => ({ database, migration })
  const mysql = (await missingFromMySql(config.mysql)) ?? migrations('mysql')
  const cassandra = (await missingFromCassandra(config.cassandra)) ?? migrations('cassandra')
  return [
    ...mysql.map(of(`MySQL, database ${config.mysql.database}`)),
    ...cassandra.map(of(`Cassandra, keyspace ${config.cassandra.keyspace}`)),
  ]
}

/**
 * Settles the journal of a collector that won't come back. Throws while that collector is running.
 * @returns the number of spans in its journal after its checkpoint
 */
export async function replayCollector(
  config: StoreConfig,
  collector: string,
  log: (message: string) => void,
  progress: Progress,
): Promise<number> {
  const backend = await CassandraMySqlBackend.open(config, collector, log, undefined, progress)
  let failure: unknown
  try {
    const pipeline = await Pipeline.open(backend, {
      ...backlogOf(config),
      onSettleError: error => {
        failure = error
      },
    })
    await pipeline.close()
    if (pipeline.backlog().spans > 0)
      throw failure ?? new StoreError('MILO_STORE_UNAVAILABLE', 'not all spans are settled yet: run it again')
    return backend.replayed
  } finally {
    await backend.close()
  }
}

/** The quarantine of all collectors on these databases. */
export async function openMySqlQuarantine(config: StoreConfig): Promise<Quarantine> {
  const cassandra = await Cassandra.open(config.cassandra)
  try {
    await ensureSchema(config, cassandra, () => {})
  } finally {
    await cassandra.close()
  }
  return new MySqlQuarantine(new MySql(config.mysql))
}

/** Reads what collectors have accepted, by the hour; they may be running. */
export async function openCassandraMySqlHours(config: StoreConfig): Promise<HourReader & { close(): Promise<void> }> {
  const cassandra = await Cassandra.open(config.cassandra)
  const mysql = new MySql(config.mysql)
  const close = () =>
    within(GOODBYE_MS, Promise.all([cassandra.close(), mysql.close()])).then(
      () => {},
      () => {},
    )
  try {
    await ensureSchema(config, cassandra, () => {})
  } catch (error) {
    await close()
    throw error
  }
  const retentionDays = config.retention_days ?? DEFAULT_RETENTION_DAYS
  const spans = new CassandraSpans(cassandra, retentionDays, systemClock)
  return {
    hourSources: () => hourSources(spans, mysql, retentionDays),
    readHour: async (collector, hourUs) => readHour(spans, mysql, collector, hourUs),
    close,
  }
}

/** Reads all that the databases have and that is settled; collectors may be running. */
export async function verifyCassandraMySql(
  config: StoreConfig,
  options: VerifyOptions,
  clock: Clock = systemClock,
): Promise<Verified> {
  const cassandra = await Cassandra.open(config.cassandra)
  const mysql = new MySql(config.mysql)
  try {
    await ensureSchema(config, cassandra, options.log)
    const retentionDays = config.retention_days ?? DEFAULT_RETENTION_DAYS
    const spans = new CassandraSpans(cassandra, retentionDays, clock)
    return await verifyRows(spans, mysql, indexPolicy(config.index), retentionDays, clock.wallUs(), options)
  } finally {
    await within(GOODBYE_MS, Promise.all([cassandra.close(), mysql.close()])).catch(() => {})
  }
}

class CassandraMySqlBackend implements Backend {
  readonly groupBytes = GROUP_BYTES
  readonly groups = GROUPS
  readonly settleSpans = SETTLE_SPANS
  readonly settleMs = SETTLE_MS
  readonly clock: Clock
  readonly mysql: MySql
  readonly keeps: MySqlKeeps
  aside = 0
  policy: IndexPolicy
  readonly retentionDays: number
  /** The number of replayed spans. */
  replayed = 0
  private readonly cassandra: Cassandra
  readonly spans: CassandraSpans
  private readonly index: MySqlIndex
  private readonly meter: MySqlMeter
  readonly folder: Folder
  private readonly lock: CollectorLock
  private readonly collector: string
  private readonly number: number
  private readonly warn: (message: string) => void
  private readonly progress: Progress | undefined
  /** When a check last wrote successfully. */
  private checkedMs = Number.NEGATIVE_INFINITY

  static async open(
    config: StoreConfig,
    collector: string,
    log: (message: string) => void,
    clock?: Clock,
    progress?: Progress,
  ) {
    const cassandra = await Cassandra.open(config.cassandra)
    let lock: CollectorLock | undefined
    try {
      await ensureSchema(config, cassandra, log)
      lock = await CollectorLock.take(config.mysql, collector)
      const warning = await cassandra.warning()
      if (warning !== undefined) log(warning)
      return new CassandraMySqlBackend(config, cassandra, lock, collector, log, clock ?? lock.clock, progress)
    } catch (error) {
      await Promise.all([lock?.close(), cassandra.close()])
      throw error
    }
  }

  private constructor(
    config: StoreConfig,
    cassandra: Cassandra,
    lock: CollectorLock,
    collector: string,
    log: (message: string) => void,
    clock: Clock,
    progress: Progress | undefined,
  ) {
    this.clock = clock
    this.warn = rarely(log)
    this.retentionDays = config.retention_days ?? DEFAULT_RETENTION_DAYS
    this.policy = indexPolicy(config.index)
    this.cassandra = cassandra
    this.spans = new CassandraSpans(cassandra, this.retentionDays, clock)
    this.mysql = new MySql(config.mysql)
    this.keeps = new MySqlKeeps(this.mysql)
    this.number = collectorNumber(collector)
    this.index = new MySqlIndex(this.mysql, this.number)
    this.lock = lock
    this.collector = collector
    this.progress = progress
    const warnOfActivity = rarely(log)
    const onError = (error: unknown) =>
      warnOfActivity(`figures of services are late or left out: ${(error as Error).message}`)
    const { retentionDays } = this
    this.meter = new MySqlMeter(this.mysql, collector, clock, { retentionDays }, onError)
    this.folder = new Folder(new MySqlActivity(this.mysql), {
      retentionDays,
      activityDays: config.activity_days ?? DEFAULT_ACTIVITY_DAYS,
      nowUs: () => Number(clock.wallUs()),
      surelyUs: () => Math.min(Number(clock.wallUs()), Date.now() * 1000),
      onError,
      onDamage: what => onError(new Error(what)),
    })
  }

  get unfolded(): number {
    return Math.max(0, Number(this.meter.learnt - this.folder.folded))
  }

  async lastId(): Promise<bigint> {
    return (await readCheckpoint(this.mysql, this.collector)) ?? 0n
  }

  async accept(messages: Entry[]): Promise<void> {
    this.lock.check()
    const journal = (some: Entry[]) => this.spans.journal(this.collector, some)
    await withoutRefused(messages, journal, (entry, error) => this.putAside(entry, error))
    // The lock may have been lost meanwhile, and another collector may have begun to write.
    this.lock.check()
  }

  async *replay(): AsyncGenerator<Entry> {
    await this.meter.begin()
    const checkpoint = await readCheckpoint(this.mysql, this.collector)
    const putAside = (entry: Entry, error: Error) => this.putAside(entry, error)
    for await (const entry of this.spans.replay(this.collector, checkpoint, putAside, this.progress)) {
      this.replayed += entry.spans
      yield entry
    }
  }

  async putAside(entry: Entry, { message }: Error): Promise<void> {
    const added = await putAside(this.mysql, this.collector, entry, message)
    if (!added) return
    this.aside += entry.spans
    this.warn(`a record was put aside in the table quarantine: ${message}`)
  }

  /** Writes to both databases at the same time; what one of them refuses for good, the other one takes. */
  async write(entries: Entry[]): Promise<void> {
    // A failed attempt must have ended when the next one begins.
    const written = await Promise.allSettled([
      withoutRefused(
        entries,
        some => this.writeRows(some),
        (entry, error) => this.putAside(entry, error),
      ),
      withoutRefused(
        entries,
        some => this.index.add(some, this.policy),
        (entry, error) => this.putAsideUnindexed(entry, error),
      ),
    ])
    for (const result of written) if (result.status === 'rejected') throw result.reason
  }

  private async writeRows(entries: Entry[]): Promise<void> {
    for (const some of chunksBySize(entries, MAX_PORTION_BYTES, ({ start, end }) => end - start)) {
      await this.spans.write(this.number, spanRows(some))
    }
  }

  private async putAsideUnindexed(entry: Entry, error: Error): Promise<void> {
    // The quarantine has the record even if MySQL refuses its place too.
    await this.index.addPlace(entry).catch((refusal: unknown) => {
      if (!isLasting(refusal)) throw refusal
    })
    await this.putAside(entry, error)
  }

  finish(entries: Entry[], checkpoint: bigint): Promise<Finished> {
    return this.meter.finish(entries, checkpoint)
  }

  async readSettled(reads: TraceRead[]): Promise<void> {
    await this.spans.read(reads, wanted => placesOfTraces(this.mysql, wanted))
  }

  /** Clients may check as often as they like: within a second after a successful write, a check only reads. */
  async check(): Promise<void> {
    this.lock.check()
    const reads = [this.spans.probe(), this.mysql.read('SELECT day FROM post LIMIT 1')]
    const recently = performance.now() < this.checkedMs + CHECK_WRITE_MS
    await Promise.all(recently ? reads : [...reads, this.checkWriting()])
  }

  private async checkWriting(): Promise<void> {
    const nowUs = this.clock.wallUs()
    await Promise.all([
      this.spans.writeHealth(nowUs),
      this.mysql.write(
        'INSERT INTO health (id, checked_us) VALUES (0, ?) ON DUPLICATE KEY UPDATE checked_us = VALUES(checked_us)',
        [nowUs],
      ),
    ])
    this.checkedMs = performance.now()
  }

  async close(): Promise<void> {
    // Everything is written, so a database that doesn't answer anymore must not delay the end.
    await within(GOODBYE_MS, Promise.all([this.lock.close(), this.cassandra.close(), this.mysql.close()])).catch(
      () => {},
    )
  }
}

class CassandraMySqlStore implements Store {
  private readonly backend: CassandraMySqlBackend
  private readonly pipeline: Pipeline
  private readonly endMaintenance: () => void
  private closing: Promise<void> | undefined

  constructor(backend: CassandraMySqlBackend, pipeline: Pipeline, endMaintenance: () => void) {
    this.backend = backend
    this.pipeline = pipeline
    this.endMaintenance = endMaintenance
    backend.folder.start()
  }

  append(messages: Message[]): Promise<void> {
    return this.pipeline.append(messages)
  }

  async readTrace(traceId: bigint, maxBytes = TRACE_BYTES): Promise<StoredTrace> {
    const [trace] = await this.pipeline.readTraces([traceId], maxBytes)
    return storedTrace(trace!)
  }

  search(query: SearchQuery): Promise<SearchPage> {
    const { mysql, policy } = this.backend
    const readTraces = (ids: bigint[], maxBytes: number) => this.pipeline.readTraces(ids, maxBytes)
    return search({ index: new MySqlSearch(mysql, policy), readTraces }, query)
  }

  complete(query: CompletionQuery): Promise<string[]> {
    return completeFromMySql(this.backend.mysql, this.backend.policy, query)
  }

  activity(query: ActivityQuery): Promise<ActivityRead> {
    const { mysql, clock, retentionDays } = this.backend
    return readMySqlActivity(mysql, query, Number(clock.wallUs()) - retentionDays * DAY_US)
  }

  async savedSearches(): Promise<SavedSearch[]> {
    const rows = await this.backend.mysql.read('SELECT id, name, query, created_us FROM saved_search')
    return rows.map(([id, name, query, createdUs]) => ({
      id: id as string,
      name: name as string,
      query: query as string,
      createdUs: Number(createdUs),
    }))
  }

  async saveSearch({ id, name, query, createdUs }: SavedSearch): Promise<void> {
    const words = new URLSearchParams(query)
    await this.backend.mysql.write(
      `INSERT INTO saved_search (id, name, query, created_us, span_name, annotation_key, annotation_value) VALUES (?)
       ON DUPLICATE KEY UPDATE name = VALUES(name), query = VALUES(query), created_us = VALUES(created_us),
         span_name = VALUES(span_name), annotation_key = VALUES(annotation_key),
         annotation_value = VALUES(annotation_value)`,
      [[id, name, query, createdUs, words.get('name'), words.get('key'), words.get('value')]],
    )
  }

  async deleteSearch(id: string): Promise<boolean> {
    return (await this.backend.mysql.write('DELETE FROM saved_search WHERE id = ?', [id])) > 0
  }

  hourSources(): Promise<HourSource[]> {
    const { spans, mysql, retentionDays } = this.backend
    return hourSources(spans, mysql, retentionDays)
  }

  async readHour(collector: string, hourUs: number): Promise<AsyncIterable<HourPage>> {
    const { spans, mysql } = this.backend
    return readHour(spans, mysql, collector, hourUs)
  }

  analyses(): Promise<StoredAnalysis[]> {
    return readMySqlAnalyses(this.backend.mysql)
  }

  saveAnalysis(load: Load): Promise<void> {
    return saveMySqlAnalysis(this.backend.mysql, load)
  }

  readAnalysis(query: AnalysisQuery): Promise<AnalysisRead | undefined> {
    return readMySqlAnalysis(this.backend.mysql, query)
  }

  deleteAnalysis(window: AnalysisWindow): Promise<boolean> {
    return deleteMySqlAnalysis(this.backend.mysql, window)
  }

  nowUs(): number {
    return Number(this.backend.clock.wallUs())
  }

  addKeeps(keeps: Keep[]): Promise<void> {
    return this.backend.keeps.addKeeps(keeps)
  }

  keepsAfter(seq: bigint, fromUs: number): Promise<StoredKeep[]> {
    return this.backend.keeps.keepsAfter(seq, fromUs)
  }

  saveRings(rings: Ring[]): Promise<void> {
    return this.backend.keeps.saveRings(rings)
  }

  caught(query: KeepQuery): Promise<Caught[]> {
    return this.backend.keeps.caught(query)
  }

  keeps(query: KeepQuery): Promise<StoredKeep[]> {
    return this.backend.keeps.keeps(query)
  }

  keepsOf(traceId: bigint): Promise<StoredKeep[]> {
    return this.backend.keeps.keepsOf(traceId)
  }

  rings(query: RingQuery): Promise<SeenRing[]> {
    return this.backend.keeps.rings(query)
  }

  setIndex(settings: IndexSettings): void {
    this.backend.policy = indexPolicy(settings)
  }

  backlog(): Backlog {
    return this.pipeline.backlog()
  }

  async check(): Promise<void> {
    if (this.closing !== undefined) throw closedError()
    await this.backend.check()
  }

  /** It reconnects by itself, so it never needs a restart. */
  dead(): undefined {}

  close(): Promise<void> {
    this.endMaintenance()
    this.closing ??= this.pipeline
      .close()
      .then(() => this.backend.folder.close())
      .then(() => this.backend.close())
    return this.closing
  }
}
