import type Database from 'libsql'
import { IdMap } from '../../record/ids'
import { migrations, newestVersion } from '../migrations'
import { I64_MAX, I64_MIN } from '../search/place'
import { inodeOf, integer, isEmpty, letGo, lockFor, openSqlite, realFile, transaction } from '../sqlite'
import { StoreError } from '../store'
import { crc32 } from './crc32'
import { PART_ROWS } from './index/columns'
import { FTS_OPTIONS } from './index/tokens'

/**
 * A connection to the file: its owner's, which alone writes, or a reader's.
 *
 * Traps of libsql 0.5: `run(buffer)` aborts the process, `run([buffer])` doesn't; 64-bit integers need safeIntegers, and
 * numbers are bound as REAL; a TEXT is read up to its first NUL, hence CAST(… AS BLOB); `close()` keeps file and locks until
 * the garbage collector has taken every statement, hence letGo(); a thread's end releases them too; what `iterate()` has not
 * been read to its end keeps its snapshot, and so the whole log, until the statement is run again: what may end early reads pages;
 * a TEXT that isn't UTF-8, as after a flipped bit, aborts the process, hence CAST(… AS BLOB) once more.
 */
export class EmbeddedFile {
  readonly path: string
  readonly sql: ReturnType<typeof prepare>
  private readonly db: Database.Database
  private readonly inodes: [string, bigint][]
  private readonly indexes = new IdMap<PartIndex>()
  private readonly unlock: () => void
  /** Messages that were read lately: the newest traces are in the same few. */
  private readonly bodies = new IdMap<Buffer>()
  private bodyBytes = 0
  private syncs = true
  /** When check() wrote last, and it was good. */
  private writtenMs = Number.NEGATIVE_INFINITY

  /**
   * Opens the file, or makes it, and brings its schema up to date: no other collector can be using it.
   * @param reader whether this is another connection to a file whose owner is this process
   * @throws StoreError when another process has it, when a newer version wrote it, or when it can't be opened
   */
  constructor(path: string, log: (message: string) => void, reader = false) {
    this.path = path
    this.unlock = reader ? () => {} : lockFor(path, 'embedded.path')
    try {
      const [db, sql] = openFile(path, log)
      this.db = db
      this.sql = sql
    } catch (error) {
      this.unlock()
      throw error
    }
    if (reader) this.db.exec('PRAGMA query_only = 1')
    const file = realFile(path)
    this.inodes = [file, `${file}-wal`].map(name => [name, inodeOf(name)])
  }

  /** A transaction that is durable when this returns. */
  durable(work: () => void): void {
    this.sync(true)
    transaction(this.db, work)
    this.mustBeThere()
  }

  /** A transaction that becomes durable with the next one that has to be, in the order in which they were made. */
  background(work: () => void): void {
    this.sync(false)
    transaction(this.db, work)
  }

  /** Reads everything as it is at one moment. */
  snapshot<R>(read: () => R): R {
    this.db.exec('BEGIN')
    try {
      return read()
    } finally {
      if (this.db.inTransaction) this.db.exec('COMMIT')
    }
  }

  writeMessage(id: bigint, body: Buffer, receivedUs: bigint): void {
    this.sql.insertMessage.run([id, body, receivedUs, BigInt(crc32(body))])
  }

  static isIntact(body: Buffer, crc: bigint | null): boolean {
    return crc === null || Number(crc) === crc32(body)
  }

  readMessage(id: bigint): Buffer | 'damaged' | undefined {
    const kept = this.bodies.get(id)
    if (kept !== undefined) return kept
    const row = this.sql.selectBody.get([id]) as [Buffer, bigint | null] | undefined
    if (row === undefined) return undefined
    const [body, crc] = row
    if (!EmbeddedFile.isIntact(body, crc)) return 'damaged'
    this.bodies.set(id, body)
    this.bodyBytes += body.length
    for (const [oldest, { length }] of this.bodies) {
      if (this.bodyBytes <= BODIES_BYTES) break
      this.bodies.delete(oldest)
      this.bodyBytes -= length
    }
    return body
  }

  /** Oldest first. */
  liveParts(): bigint[] {
    return (this.sql.selectParts.all([]) as [bigint, bigint][]).filter(([, live]) => live === 1n).map(([id]) => id)
  }

  /** Chunks that begin at this time or before it, by the latest of their starts, the latest first. */
  *chunksBefore(us: bigint): Generator<[id: bigint, rows: bigint, lastUs: bigint, longestUs: bigint], void> {
    for (let [last, lastUs] = [I64_MAX, I64_MAX]; ; ) {
      const rows = this.sql.selectChunksBefore.all([us, lastUs, last, BigInt(PAGE_ROWS)]) as [
        bigint,
        bigint,
        bigint,
        bigint,
      ][]
      yield* rows
      if (rows.length < PAGE_ROWS) return
      ;[last, , lastUs] = rows.at(-1)!
    }
  }

  /** The rows of a key's distinct values. */
  *valuesOf(part: bigint, key: Buffer): Generator<Buffer, void> {
    for (let last = 0n; ; ) {
      const rows = this.sql.selectValues.all([part, key, last, BigInt(PAGE_ROWS)]) as [bigint, Buffer][]
      for (const [, data] of rows) yield data
      if (rows.length < PAGE_ROWS) return
      last = rows.at(-1)![0]
    }
  }

  /** The words of a part, and what finds them. */
  index(part: bigint): PartIndex {
    let index = this.indexes.get(part)
    if (index === undefined) {
      index = partIndex(this.db, part)
      this.indexes.set(part, index)
    }
    return index
  }

  /** Within a transaction. */
  createIndex(part: bigint): void {
    this.db.exec(`CREATE VIRTUAL TABLE index_${part} USING fts5(words, ${FTS_OPTIONS});
                  CREATE VIRTUAL TABLE term_${part} USING fts5vocab(index_${part}, instance);
                  INSERT INTO index_${part} (index_${part}, rank) VALUES ('hashsize', ${HASH_BYTES})`)
  }

  /** Within a transaction: an empty part in the place of this one. */
  clearPart(part: bigint): void {
    this.indexes.delete(part)
    for (const table of [`term_${part}`, `index_${part}`]) this.db.exec(`DROP TABLE IF EXISTS ${table}`)
    this.createIndex(part)
    const [from, to] = [part * PART_ROWS, (part + 1n) * PART_ROWS]
    this.db.prepare('DELETE FROM chunk WHERE id >= ? AND id < ?').run([from, to])
    this.db.prepare('DELETE FROM value WHERE part = ?').run([part])
  }

  /** What SQLite finds wrong with its pages. */
  integrity(): string[] {
    const sql = 'SELECT CAST(integrity_check AS BLOB) FROM pragma_integrity_check'
    const rows = this.db.prepare(sql).raw().all([]) as [Buffer][]
    return rows.map(([row]) => `${row}`).filter(row => row !== 'ok')
  }

  /** Has FTS5 check its pages. @throws when something is wrong with them */
  checkIndex(part: bigint): void {
    this.db.exec(`INSERT INTO index_${part} (index_${part}) VALUES ('integrity-check')`)
  }

  countMessages(): number {
    return Number(integer(this.db, 'SELECT count(*) FROM message'))
  }

  *messageIds(from = I64_MIN, to = I64_MAX): Generator<bigint, void> {
    for (const [id] of this.sql.selectMessageIds.iterate([from, to]) as Iterable<[bigint]>) yield id
  }

  receivedUs(message: bigint): bigint {
    return (this.sql.selectReceived.get([message]) as [bigint])[0]
  }

  /** The records of a message that were put aside. */
  putAside(message: bigint): { start: number; end: number }[] {
    const rows = this.sql.selectAside.all([message]) as [bigint, bigint][]
    return rows.map(([start, length]) => ({ start: Number(start), end: Number(start + length) }))
  }

  /** The live parts, oldest first, and where each begins and ends. */
  partsWithBounds() {
    const rows = (this.sql.selectParts.all([]) as [bigint, bigint, bigint, bigint][]).filter(([, live]) => live === 1n)
    const [settled, message, end] = this.sql.selectProgress.get([]) as [bigint, bigint, bigint]
    // What is settled is indexed whole, whatever else a damaged row says.
    const [indexed, indexedEnd] = message < settled ? [settled, LONGEST_BODY] : [message, end]
    return rows.map(([id, , firstMessage, firstOffset], i) => {
      const [, , endMessage, endOffset] = rows[i + 1] ?? [0n, 0n, indexed, indexedEnd]
      return { id, firstMessage, firstOffset: Number(firstOffset), endMessage, endOffset: Number(endOffset) }
    })
  }

  async backgroundAsync(work: () => Promise<void>): Promise<void> {
    this.sync(false)
    this.db.exec('BEGIN IMMEDIATE')
    try {
      await work()
      this.db.exec('COMMIT')
    } finally {
      if (this.db.inTransaction) this.db.exec('ROLLBACK')
    }
  }

  /** Removes some rows of a part's index. @returns how many; once there are none its tables are gone */
  removeIndex(part: bigint, rows: number): number {
    this.indexes.delete(part)
    if (integer(this.db, `SELECT count(*) FROM sqlite_schema WHERE name = 'index_${part}'`) === 0n) return 0
    // Up to 10 stand the rows that FTS5 must have to open a table, and so to drop it.
    const some = `DELETE FROM index_${part}_data WHERE id IN (SELECT id FROM index_${part}_data WHERE id > 10 LIMIT ?)`
    const { changes } = this.db.prepare(some).run([BigInt(rows)])
    if (changes === 0) this.db.exec(`DROP TABLE term_${part}; DROP TABLE index_${part}`)
    return changes
  }

  /**
   * Writes as much as an append, at the same place, and reads it back. Anybody may ask as often as they like, so within a
   * second of a write that was good it only reads.
   * @throws unless both work
   */
  check(): void {
    if (performance.now() < this.writtenMs + CHECK_WRITE_MS) this.mustBeThere()
    else {
      this.durable(() => this.sql.replaceHealth.run([BigInt(Date.now()) * 1000n]))
      this.writtenMs = performance.now()
    }
    this.sql.selectHealth.get([])
  }

  /** Leaves one file, and lets others have it. */
  close(): void {
    try {
      this.db.exec('PRAGMA busy_timeout = 0')
      letGo(this.db)
    } catch (error) {
      // Another program reads it: the log stays, for the next start.
      if ((error as { code?: string }).code !== 'SQLITE_BUSY') throw error
    } finally {
      this.unlock()
    }
  }

  private sync(full: boolean): void {
    if (full === this.syncs) return
    this.db.exec(`PRAGMA synchronous = ${full ? 'FULL' : 'NORMAL'}`)
    this.syncs = full
  }

  /** What is written into a file that somebody has deleted, or put another in the place of, is gone with this process. */
  private mustBeThere(): void {
    for (const [name, inode] of this.inodes) {
      if (inodeOf(name) !== inode) {
        throw new StoreError(
          'MILO_STORE_UNAVAILABLE',
          `${name} has been deleted or replaced under the running collector: start it again`,
        )
      }
    }
  }
}

/** To this the log is cut when it begins anew, after somebody's long read. */
const LOG_BYTES = 16 * 1024 * 1024
/** More than any message has. */
const LONGEST_BODY = 2n ** 32n
/** Rows of a page of what isn't read at once. */
const PAGE_ROWS = 32
/** How often check() writes at most. */
const CHECK_WRITE_MS = 1_000
/** Pages (4 KiB) in the log before they are copied into the file, which takes as long as the disk does. */
const CHECKPOINT_PAGES = 2_000
const CACHE_KIB = 64 * 1024
/** FTS5's hash table of new terms: with terms that were made to collide, 13 µs for each; of its default of 1 MiB, 47. */
const HASH_BYTES = 256 * 1024
const BODIES_BYTES = 8 * 1024 * 1024

const SELECT_KEEPS = `SELECT seq, at_us, kind, id, n, CAST(reason AS BLOB), CAST(service AS BLOB), CAST(name AS BLOB),
  CAST(asker AS BLOB), CAST(collector AS BLOB), origin FROM keeps`
const WANTED_KEEPS = `at_us >= ?1 AND at_us <= ?2 AND (?3 IS NULL OR kind = ?3) AND (?4 IS NULL OR reason = ?4)
  AND (?5 IS NULL OR service = ?5) AND (?6 IS NULL OR name = ?6)`

/**
 * Prepares the statements. What is text or bytes is read as bytes: libsql ends the process where text isn't UTF-8, and by one flipped bit bytes
 * are text.
 */
function prepare(db: Database.Database) {
  const one = (sql: string) => db.prepare(sql).raw()
  return {
    insertMessage: db.prepare('INSERT INTO message (id, body, received_us, crc) VALUES (?, ?, ?, ?)'),
    selectBody: one('SELECT CAST(body AS BLOB), crc FROM message WHERE id = ?'),
    selectNextMessage: one('SELECT id, CAST(body AS BLOB), received_us FROM message WHERE id > ? ORDER BY id LIMIT 1'),
    selectMessageIds: one('SELECT id FROM message WHERE id >= ? AND id <= ? ORDER BY id'),
    selectReceived: one('SELECT received_us FROM message WHERE id = ?'),
    selectAside: one('SELECT start, length(record) FROM quarantine WHERE message = ? ORDER BY start'),
    selectFirstMessage: one('SELECT id FROM message ORDER BY id LIMIT 1'),
    selectNewestMessage: one('SELECT id, received_us FROM message ORDER BY id DESC LIMIT 1'),
    selectLengths: one('SELECT id, length(body) FROM message WHERE id > ? AND id < ? ORDER BY id LIMIT ?'),
    selectBodies: one('SELECT id, CAST(body AS BLOB), crc FROM message WHERE id > ? AND id <= ? ORDER BY id'),
    selectLastMessage: one('SELECT coalesce(max(id), 0) FROM message'),
    deleteMessages: db.prepare(
      'DELETE FROM message WHERE id IN (SELECT id FROM message WHERE id <= ? ORDER BY id LIMIT ?)',
    ),

    selectProgress: one('SELECT settled, indexed, indexed_end, retired, age_us, age_wall_us FROM progress'),
    updateAges: db.prepare('UPDATE progress SET age_us = ?, age_wall_us = ?'),
    updateSettled: db.prepare('UPDATE progress SET settled = max(settled, ?)'),
    updateIndexed: db.prepare('UPDATE progress SET indexed = ?, indexed_end = ?'),
    updateRetired: db.prepare('UPDATE progress SET retired = max(retired, ?)'),

    selectParts: one('SELECT id, live, first_message, first_offset, last_message, age_us FROM part ORDER BY id'),
    insertPart: db.prepare('INSERT INTO part VALUES (?, 1, ?, ?, ?, ?)'),
    updatePart: db.prepare('UPDATE part SET last_message = ?, age_us = ? WHERE id = ?'),
    endPart: db.prepare('UPDATE part SET live = 0 WHERE id = ?'),
    deletePart: db.prepare('DELETE FROM part WHERE id = ?'),

    replaceChunk: db.prepare('INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?, ?, ?)'),
    selectLastChunk: one('SELECT id, rows FROM chunk WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1'),
    selectChunk: one('SELECT CAST(data AS BLOB) FROM chunk WHERE id = ?'),
    selectChunks: one(
      'SELECT id, rows, first_us, last_us, longest_us, CAST(data AS BLOB) FROM chunk WHERE id >= ? AND id < ? ORDER BY id',
    ),
    selectChunksFrom: one('SELECT id, rows FROM chunk WHERE id >= ? AND id < ? ORDER BY id'),
    selectChunksBefore: one(
      `SELECT id, rows, last_us, longest_us FROM chunk WHERE first_us <= ? AND (last_us, id) < (?, ?)
       ORDER BY last_us DESC, id DESC LIMIT ?`,
    ),
    deleteChunks: db.prepare(
      'DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)',
    ),

    appendValues: db.prepare(
      `UPDATE value SET data = CAST(data || ?1 AS BLOB)
       WHERE id = (SELECT max(id) FROM value WHERE part = ?2 AND key = ?3) AND length(data) < ?4`,
    ),
    insertValues: db.prepare('INSERT INTO value (part, key, data) VALUES (?, ?, ?)'),
    selectValues: one(
      'SELECT id, CAST(data AS BLOB) FROM value WHERE part = ? AND key = ? AND id > ? ORDER BY id LIMIT ?',
    ),
    selectAllValues: one('SELECT CAST(key AS BLOB), CAST(data AS BLOB) FROM value WHERE part = ?'),
    deleteValues: db.prepare('DELETE FROM value WHERE id IN (SELECT id FROM value WHERE part = ? LIMIT ?)'),

    selectSearches: one(
      `SELECT CAST(id AS BLOB), CAST(name AS BLOB), CAST(query AS BLOB), created_us FROM saved_search
       ORDER BY created_us, id`,
    ),
    replaceSearch: db.prepare('INSERT OR REPLACE INTO saved_search VALUES (?, ?, ?, ?)'),
    deleteSearch: db.prepare('DELETE FROM saved_search WHERE id = ?'),

    selectAnalyses: one(
      'SELECT from_us, to_us, loaded_us, CAST(summary AS BLOB) FROM analysis ORDER BY to_us DESC, from_us DESC LIMIT ?',
    ),
    selectAnalysis: one('SELECT load, loaded_us, CAST(summary AS BLOB) FROM analysis WHERE from_us = ? AND to_us = ?'),
    selectAllPieces: one(
      'SELECT CAST(kind AS BLOB), root, piece, CAST(body AS BLOB) FROM analysis_piece WHERE load = ? ORDER BY kind, root, piece',
    ),
    selectPieces: one('SELECT CAST(body AS BLOB) FROM analysis_piece WHERE load = ? AND kind = ? ORDER BY root, piece'),
    selectPiecesOfRoot: one(
      'SELECT CAST(body AS BLOB) FROM analysis_piece WHERE load = ? AND kind = ? AND root = ? ORDER BY piece',
    ),
    replaceAnalysis: db.prepare(
      'INSERT OR REPLACE INTO analysis (from_us, to_us, load, loaded_us, summary) VALUES (?, ?, ?, ?, ?)',
    ),
    insertPiece: db.prepare('INSERT INTO analysis_piece (load, kind, root, piece, body) VALUES (?, ?, ?, ?, ?)'),
    deleteAnalysis: db.prepare('DELETE FROM analysis WHERE from_us = ? AND to_us = ?'),
    expireAnalyses: db.prepare('DELETE FROM analysis WHERE loaded_us < ?'),
    selectUnnamedLoads: one(
      `WITH RECURSIVE each (load) AS (
         SELECT min(load) FROM analysis_piece
         UNION ALL SELECT (SELECT min(load) FROM analysis_piece WHERE load > each.load) FROM each WHERE load IS NOT NULL
       )
       SELECT load FROM each WHERE load IS NOT NULL AND load NOT IN (SELECT load FROM analysis)`,
    ),
    deletePieces: db.prepare(
      'DELETE FROM analysis_piece WHERE rowid IN (SELECT rowid FROM analysis_piece WHERE load = ? LIMIT ?)',
    ),

    insertKeep: db.prepare(
      `INSERT INTO keeps (at_us, kind, id, n, reason, service, name, asker, collector, origin)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    selectKeepsAfter: one(`${SELECT_KEEPS} WHERE seq > ? AND at_us >= ? ORDER BY seq LIMIT ?`),
    selectKeeps: one(`${SELECT_KEEPS} WHERE ${WANTED_KEEPS} ORDER BY at_us DESC, seq DESC LIMIT ?7`),
    selectKeepsOf: one(`${SELECT_KEEPS} WHERE kind = 0 AND id = ? ORDER BY seq DESC LIMIT 100`),
    selectCaught: one(
      `SELECT CAST(reason AS BLOB), CAST(service AS BLOB), CAST(name AS BLOB), count(DISTINCT id) AS traces, min(at_us), max(at_us)
       FROM keeps WHERE ${WANTED_KEEPS} AND reason <> '' GROUP BY reason, service, name ORDER BY traces DESC, max(at_us) DESC LIMIT ?7`,
    ),
    deleteKeeps: db.prepare(
      `DELETE FROM keeps WHERE seq IN (
         SELECT seq FROM keeps WHERE at_us < ?1 OR seq <= (SELECT max(seq) FROM keeps) - ?2 ORDER BY seq LIMIT ?3)`,
    ),
    writeRing: db.prepare(
      `INSERT INTO ring (hour, process, service, host, address, first_us, first_history_us, seen_us, told_us, history_us, made_us,
         ended, listening)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?8, ?6, ?7, ?8, ?9, ?10, ?11)
       ON CONFLICT DO UPDATE SET service = excluded.service, host = excluded.host, seen_us = excluded.seen_us,
         address = CASE excluded.address WHEN '' THEN address ELSE excluded.address END,
         told_us = excluded.told_us, history_us = excluded.history_us, ended = excluded.ended, listening = excluded.listening,
         made_us = excluded.made_us
       WHERE excluded.seen_us >= seen_us`,
    ),
    selectRings: one(
      `SELECT process, CAST(service AS BLOB), CAST(host AS BLOB), CAST(address AS BLOB), first_us, first_history_us,
         seen_us, told_us, history_us, ended, CAST(listening AS BLOB), made_us
       FROM ring WHERE hour >= ?1 AND hour <= ?2 AND (?3 IS NULL
         OR service IN (SELECT value FROM json_each(CAST(?3 AS TEXT)))
         OR host IN (SELECT value FROM json_each(CAST(?4 AS TEXT))) OR address IN (SELECT value FROM json_each(CAST(?4 AS TEXT)))
         OR EXISTS (SELECT 1 FROM json_each(CAST(?5 AS TEXT)) WHERE instr(listening, value)))
       ORDER BY hour DESC LIMIT ?6`,
    ),
    deleteRings: db.prepare(
      'DELETE FROM ring WHERE (hour, process) IN (SELECT hour, process FROM ring WHERE hour < ? LIMIT ?)',
    ),

    selectActivity: one(
      `SELECT time, CAST(service AS BLOB), kind, CAST(body AS BLOB) FROM activity
       WHERE grain = ?1 AND time >= ?2 AND time < ?3 AND (time, service, kind) > (?4, ?5, ?6) AND (1 << kind) & ?7
       ORDER BY time, service, kind LIMIT ?8`,
    ),
    selectActivityOfService: one(
      `SELECT time, CAST(service AS BLOB), kind, CAST(body AS BLOB) FROM activity INDEXED BY activity_by_service
       WHERE grain = ?1 AND service = ?9 AND time >= ?2 AND time < ?3 AND (time, service, kind) > (?4, ?5, ?6)
         AND (1 << kind) & ?7
       ORDER BY time, kind LIMIT ?8`,
    ),
    selectActivityIds: one(
      `SELECT time, CAST(service AS BLOB), kind FROM activity WHERE grain = ? AND time >= ? AND time < ?
       ORDER BY time, service, kind LIMIT ?`,
    ),
    selectActivityBody: one(
      'SELECT CAST(body AS BLOB) FROM activity WHERE grain = ? AND time = ? AND service = ? AND kind = ?',
    ),
    selectAllActivity: one(
      'SELECT rowid, grain, time, CAST(service AS BLOB), kind, CAST(body AS BLOB) FROM activity WHERE rowid > ? ORDER BY rowid LIMIT ?',
    ),
    writeActivity: db.prepare(
      `INSERT INTO activity (grain, time, service, kind, body) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET body = excluded.body`,
    ),
    deleteActivity: db.prepare(
      'DELETE FROM activity WHERE rowid IN (SELECT rowid FROM activity WHERE grain = ? AND time < ? LIMIT ?)',
    ),
    deleteActivityRow: db.prepare('DELETE FROM activity WHERE rowid = ?'),

    insertSettled: db.prepare(
      'INSERT INTO activity_settled (seq, at_us, age_us, delta, recent) VALUES (?, ?, ?, ?, ?)',
    ),
    selectDelta: one('SELECT seq, CAST(delta AS BLOB) FROM activity_settled WHERE seq > ? ORDER BY seq LIMIT 1'),
    selectRecent: one(
      'SELECT seq, at_us, CAST(recent AS BLOB) FROM activity_settled WHERE seq > ? ORDER BY seq LIMIT 1',
    ),
    selectRecentLengths: one('SELECT seq, age_us, length(recent) FROM activity_settled ORDER BY seq DESC'),
    deleteSettled: db.prepare(
      'DELETE FROM activity_settled WHERE seq IN (SELECT seq FROM activity_settled WHERE seq <= ? AND age_us < ? LIMIT ?)',
    ),
    emptySettled: db.prepare('UPDATE activity_settled SET delta = ? WHERE seq = ?'),

    selectActivityProgress: one('SELECT settled, folded, rolled_10, rolled_60, rolled_1440 FROM activity_progress'),
    updateActivitySettled: db.prepare('UPDATE activity_progress SET settled = ?'),
    updateActivityProgress: db.prepare(
      'UPDATE activity_progress SET folded = ?, rolled_10 = ?, rolled_60 = ?, rolled_1440 = ?',
    ),

    insertQuarantine: db.prepare('INSERT OR IGNORE INTO quarantine VALUES (?, ?, ?, ?, ?, ?)'),
    deleteQuarantine: db.prepare('DELETE FROM quarantine WHERE age_us < ?'),
    selectQuarantine: one(
      'SELECT message, start, CAST(reason AS BLOB), length(record), received_us FROM quarantine ORDER BY message, start',
    ),
    selectQuarantined: one('SELECT CAST(record AS BLOB) FROM quarantine WHERE message = ? AND start = ?'),
    deleteQuarantined: db.prepare('DELETE FROM quarantine WHERE message = ? AND start = ?'),

    selectHealth: one('SELECT checked_us FROM health'),
    replaceHealth: db.prepare('INSERT OR REPLACE INTO health (id, checked_us, ballast) VALUES (0, ?, zeroblob(65536))'),
  }
}

function openFile(path: string, log: (message: string) => void): [Database.Database, ReturnType<typeof prepare>] {
  let sql!: ReturnType<typeof prepare>
  const db = openSqlite(
    path,
    'embedded.path',
    db => {
      db.exec(
        `PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}; PRAGMA journal_size_limit = ${LOG_BYTES}; PRAGMA cache_size = -${CACHE_KIB}`,
      )
      sql = migrateAndPrepare(db, path, log)
    },
    true,
  )
  return [db, sql]
}

export type PartIndex = ReturnType<typeof partIndex>

function partIndex(db: Database.Database, part: bigint) {
  const one = (sql: string) => db.prepare(sql).raw()
  const matching = `FROM index_${part} WHERE index_${part} MATCH ? AND rowid BETWEEN ? AND ?`
  const selectNewest = one(`SELECT rowid ${matching} ORDER BY rowid DESC LIMIT ?`)
  const selectPages = one(`
    WITH RECURSIVE segment (id) AS (
      SELECT min(segid) FROM index_${part}_idx
      UNION ALL SELECT (SELECT min(segid) FROM index_${part}_idx WHERE segid > id) FROM segment WHERE id IS NOT NULL
    )
    SELECT
      (SELECT pgno FROM index_${part}_idx WHERE segid = id AND term < ?1 ORDER BY term DESC LIMIT 1),
      (SELECT pgno FROM index_${part}_idx WHERE segid = id AND term >= ?2 ORDER BY term LIMIT 1),
      (SELECT pgno FROM index_${part}_idx WHERE segid = id ORDER BY term DESC LIMIT 1)
    FROM segment WHERE id IS NOT NULL`)
  return {
    /** Rows as TokenWriter writes them. One by one they would take twice as long. */
    insert: db.prepare(
      `INSERT INTO index_${part} (rowid, words) SELECT CAST(key AS INTEGER), value FROM json_each(CAST(? AS TEXT))`,
    ),
    /** All of them as one string, which takes a quarter of the time. */
    selectRows: one(`SELECT group_concat(rowid) ${matching}`),
    selectTerm: one(`SELECT CAST(term AS BLOB) FROM term_${part} WHERE term >= ? LIMIT 1`),
    selectAll: one(`SELECT CAST(term AS BLOB), doc FROM term_${part}`),
    selectMessages: one(`SELECT rowid FROM index_${part} WHERE index_${part} MATCH ?`),
    /** The newest rows that match, from the newest on. */
    newest: (match: string, from: number, to: number, most: number): number[] =>
      (selectNewest.all([match, BigInt(from), BigInt(to), BigInt(most)]) as [bigint][]).map(([row]) => Number(row)),
    /** How many pages of 4 KB what begins so takes, about: by FTS5's list of them, where a 0 stands before each word. */
    pagesOf: (start: string): number => {
      const [from, to] = [Buffer.from(`0${start}`), Buffer.from(`0${start}\u{10ffff}`)]
      let pages = 0
      for (const [before, behind, last] of selectPages.all([from, to]) as [bigint | null, bigint | null, bigint][]) {
        // The lowest bit says something else.
        pages += Number((behind ?? last) - (before ?? 0n)) / 2
      }
      return pages
    },
  }
}

/** Marks a file as ours: "Milo" in ASCII. */
const APPLICATION_ID = 0x4d696c6fn

/**
 * Brings the schema up to date, and prepares the statements. Those that name unknown tables or columns show that other files than ours
 * made the schema: then nothing changes.
 */
function migrateAndPrepare(
  db: Database.Database,
  path: string,
  log: (message: string) => void,
): ReturnType<typeof prepare> {
  const all = migrations('embedded')
  const version = Number(integer(db, 'PRAGMA user_version'))
  if (!isEmpty(db) && integer(db, 'PRAGMA application_id') !== APPLICATION_ID) {
    refuse(db, `${path} is another program's database: give another embedded.path`)
  }
  if (version > newestVersion(all)) {
    const known = `(schema ${version}, this one knows ${newestVersion(all)})`
    refuse(
      db,
      `${path} was written by a newer milo-collector ${known}, or by a development version: use that one, or give another embedded.path`,
    )
  }
  const missing = all.slice(version)
  let sql!: ReturnType<typeof prepare>
  try {
    if (missing.length === 0) return prepare(db)
    transaction(db, () => {
      for (const migration of missing) db.exec(migration.sql)
      db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${newestVersion(all)}`)
      sql = prepare(db)
    })
  } catch (error) {
    const { code, message } = error as { code?: string; message: string }
    if (code !== 'SQLITE_ERROR') throw error
    refuse(
      db,
      `${path} has the schema of a development version (${message}), which can't be brought up to date: remove it, or give another embedded.path`,
    )
  }
  for (const { name } of missing) log(`${path}: ${name} applied`)
  return sql
}

function refuse(db: Database.Database, message: string): never {
  letGo(db)
  throw new StoreError('MILO_STORE_SCHEMA', message)
}
