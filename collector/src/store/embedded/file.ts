import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import type Database from 'libsql'
import { migrations, newestVersion } from '../migrations'
import { integer, isEmpty, letGo, openSqlite, transaction } from '../sqlite'
import { StoreError } from '../store'

/**
 * The file, and the one connection to it.
 *
 * Traps of libsql 0.5: `run(buffer)` aborts the process, `run([buffer])` doesn't; 64-bit integers need safeIntegers, and
 * numbers are bound as REAL; a TEXT is read up to its first NUL, hence CAST(… AS BLOB); `close()` keeps file and locks until
 * the garbage collector has taken every statement, hence letGo().
 */
export class EmbeddedFile {
  readonly path: string
  readonly sql: ReturnType<typeof prepare>
  private readonly db: Database.Database
  private readonly inodes: [string, bigint][]
  private syncs = true
  /** When check() wrote last, and it was good. */
  private writtenMs = Number.NEGATIVE_INFINITY

  /**
   * Opens the file, or makes it, and brings its schema up to date: nobody else can be using it.
   * @throws StoreError when another process has it, when a newer version wrote it, or when it can't be opened
   */
  constructor(path: string, log: (message: string) => void) {
    this.path = path
    const [db, sql] = openFile(path, log)
    this.db = db
    this.sql = sql
    const file = resolve(path)
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

  /** Gives the lock up without waiting for the garbage collector, and leaves one file: the log is folded into it. */
  close(): void {
    letGo(this.db)
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

function inodeOf(name: string): bigint {
  return statSync(name, { bigint: true, throwIfNoEntry: false })?.ino ?? -1n
}

/** How often check() writes at most. */
const CHECK_WRITE_MS = 1_000
/** Pages (4 KiB) in the log before they are copied into the file, which takes as long as the disk does. */
const CHECKPOINT_PAGES = 2_000
const CACHE_KIB = 64 * 1024

function prepare(db: Database.Database) {
  const one = (sql: string) => db.prepare(sql).raw()
  return {
    insertMessage: db.prepare('INSERT INTO message (id, body, received_us) VALUES (?, ?, ?)'),
    selectBody: one('SELECT body FROM message WHERE id = ?'),
    selectNextMessage: one('SELECT id, body, received_us FROM message WHERE id > ? ORDER BY id LIMIT 1'),
    selectLastMessage: one('SELECT coalesce(max(id), 0) FROM message'),
    deleteMessages: db.prepare(
      'DELETE FROM message WHERE id IN (SELECT id FROM message WHERE id <= ? ORDER BY id LIMIT ?)',
    ),

    selectProgress: one('SELECT settled, retired, age_us, age_wall_us FROM progress'),
    updateAges: db.prepare('UPDATE progress SET age_us = ?, age_wall_us = ?'),
    updateSettled: db.prepare('UPDATE progress SET settled = max(settled, ?)'),
    updateRetired: db.prepare('UPDATE progress SET retired = max(retired, ?)'),

    selectSegments: one(
      'SELECT id, live, first_message, last_message, records, blocks, first_us, last_us, age_us FROM segment ORDER BY id',
    ),
    insertSegment: db.prepare('INSERT INTO segment VALUES (?, 0, ?, ?, 0, 0, 0, 0, ?)'),
    finishSegment: db.prepare(
      'UPDATE segment SET live = 1, records = ?, blocks = ?, first_us = ?, last_us = ? WHERE id = ?',
    ),
    endSegment: db.prepare('UPDATE segment SET live = 0 WHERE id = ?'),
    deleteSegment: db.prepare('DELETE FROM segment WHERE id = ?'),

    insertChunk: db.prepare('INSERT INTO chunk VALUES (?, ?, ?, ?)'),
    selectChunk: one('SELECT data FROM chunk WHERE id = ?'),
    selectChunkStart: one('SELECT first_us FROM chunk WHERE id = ?'),
    selectLongChunk: one('SELECT id FROM chunk WHERE id >= ? AND id <= ? AND longest_us >= ? ORDER BY id DESC LIMIT 1'),
    deleteChunks: db.prepare(
      'DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)',
    ),

    insertBlock: db.prepare('INSERT INTO block VALUES (?, ?)'),
    selectBlock: one('SELECT data FROM block WHERE id = ?'),
    deleteBlocks: db.prepare(
      'DELETE FROM block WHERE id IN (SELECT id FROM block WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)',
    ),

    insertDirectory: db.prepare('INSERT INTO directory VALUES (?, ?, ?, ?)'),
    selectBlockBefore: one(
      'SELECT block FROM directory WHERE segment = ? AND field = ? AND first < ? ORDER BY first DESC, block DESC LIMIT 1',
    ),
    selectFirstBlock: one('SELECT block FROM directory WHERE segment = ? AND field = ? ORDER BY first, block LIMIT 1'),
    deleteDirectory: db.prepare(
      `DELETE FROM directory WHERE (segment, field, first, block) IN
       (SELECT segment, field, first, block FROM directory WHERE segment = ? LIMIT ?)`,
    ),

    selectSearches: one(
      'SELECT id, CAST(name AS BLOB), CAST(query AS BLOB), created_us FROM saved_search ORDER BY created_us, id',
    ),
    replaceSearch: db.prepare('INSERT OR REPLACE INTO saved_search VALUES (?, ?, ?, ?)'),
    deleteSearch: db.prepare('DELETE FROM saved_search WHERE id = ?'),

    selectActivity: db.prepare('SELECT minute, body FROM activity WHERE minute BETWEEN ? AND ?').raw(),
    replaceActivity: db.prepare('INSERT OR REPLACE INTO activity (minute, part, body) VALUES (?, ?, ?)'),
    deleteActivity: db.prepare('DELETE FROM activity WHERE minute < ?'),

    insertQuarantine: db.prepare('INSERT OR IGNORE INTO quarantine VALUES (?, ?, ?, ?, ?, ?)'),
    deleteQuarantine: db.prepare('DELETE FROM quarantine WHERE age_us < ?'),
    selectQuarantine: one(
      'SELECT message, start, CAST(reason AS BLOB), length(record), received_us FROM quarantine ORDER BY message, start',
    ),
    selectQuarantined: one('SELECT record FROM quarantine WHERE message = ? AND start = ?'),
    deleteQuarantined: db.prepare('DELETE FROM quarantine WHERE message = ? AND start = ?'),

    selectHealth: one('SELECT checked_us FROM health'),
    replaceHealth: db.prepare('INSERT OR REPLACE INTO health (id, checked_us, ballast) VALUES (0, ?, zeroblob(65536))'),
  }
}

function openFile(path: string, log: (message: string) => void): [Database.Database, ReturnType<typeof prepare>] {
  let sql!: ReturnType<typeof prepare>
  const db = openSqlite(path, 'embedded.path', db => {
    db.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}; PRAGMA cache_size = -${CACHE_KIB}`)
    migrateFile(db, path, log)
    sql = prepareOrRefuse(db, path)
  })
  return [db, sql]
}

/** Marks a file as ours: "Milo" in ASCII. */
const APPLICATION_ID = 0x4d696c6fn

function migrateFile(db: Database.Database, path: string, log: (message: string) => void): void {
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
  for (const migration of all.slice(version)) {
    transaction(db, () => {
      db.exec(migration.sql)
      db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${migration.version}`)
    })
    log(`${path}: ${migration.name} applied`)
  }
}

/** Statements that name unknown tables or columns show that other files than ours made the schema. */
function prepareOrRefuse(db: Database.Database, path: string): ReturnType<typeof prepare> {
  try {
    return prepare(db)
  } catch (error) {
    const { code, message } = error as { code?: string; message: string }
    if (code !== 'SQLITE_ERROR') throw error
    refuse(
      db,
      `${path} has the schema of a development version (${message}), which can't be brought up to date: remove it, or give another embedded.path`,
    )
  }
}

function refuse(db: Database.Database, message: string): never {
  letGo(db)
  throw new StoreError('MILO_STORE_SCHEMA', message)
}
