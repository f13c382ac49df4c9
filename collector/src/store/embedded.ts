import { mkdirSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import Database from 'libsql'
import { closedError, GroupCommit } from './group-commit'
import { migrations, newestVersion } from './migrations'
import { TraceRecords } from './records'
import { search } from './search'
import {
  type Cursor,
  type Message,
  type SearchPage,
  type SearchQuery,
  type Store,
  type StoredRecord,
  StoreError,
  unavailable,
} from './store'
import { indexRows, TermReader } from './terms'

/**
 * SQLite in one file. Messages are kept whole, with pointers from traces into them and the search index beside: all of an
 * append in one transaction, so that what has been answered OK can be read and searched at once, and what hasn't been
 * leaves nothing behind.
 *
 * Traps of libsql 0.5: `run(buffer)` aborts the process, `run([buffer])` doesn't; 64-bit integers need safeIntegers;
 * `close()` keeps file and locks until the garbage collector has taken every statement, hence letGo().
 */

/** Where a transaction ends. Everything else in the process waits for it: about 80 ms for so much. */
const TRANSACTION_BYTES = 512 * 1024
/** Pages (4 KiB) in the log before they are copied into the file: many changes meet on the same pages by then. */
const CHECKPOINT_PAGES = 16_000
const CACHE_KIB = 64 * 1024
/** Postings in one INSERT: a statement costs as much as several rows. */
const INSERT_ROWS = 50
/** How many messages are read before other work of the process gets its turn. */
const READ_STEP = 32

/**
 * Opens the file, or makes it, and brings its schema up to date: nobody else can be using it.
 * @throws StoreError when another process has it, when a newer version wrote it, or when it can't be opened
 */
export function openEmbedded({ path }: { path: string }, log: (message: string) => void): Store {
  return new EmbeddedStore(openFile(path, log), path)
}

class EmbeddedStore implements Store {
  private readonly path: string
  private readonly db: Database.Database
  private readonly sql: ReturnType<typeof prepare>
  private readonly commits = new GroupCommit(messages => this.write(messages), TRANSACTION_BYTES, 1)
  private readonly terms = new TermReader()
  private readonly searches = new Map<string, Database.Statement>()
  private closing: Promise<void> | undefined

  constructor(db: Database.Database, path: string) {
    this.path = path
    this.db = db
    this.sql = prepare(db)
  }

  append(messages: Message[]): Promise<void> {
    return this.commits.append(messages)
  }

  readTrace(traceId: bigint): Promise<StoredRecord[]> {
    return this.attempt(async () => {
      const trace = new TraceRecords()
      const pointers = this.sql.selectPointers.all([traceId]) as [bigint, Buffer][]
      for (const [i, [messageId, ranges]] of pointers.entries()) {
        if (i % READ_STEP === READ_STEP - 1) await this.turn()
        const [body] = this.sql.selectBody.get([messageId]) as [Buffer]
        for (let at = 0; at < ranges.length; at += 8) {
          trace.add(body, ranges.readUInt32BE(at), ranges.readUInt32BE(at + 4))
        }
      }
      return trace.records
    })
  }

  search(query: SearchQuery): Promise<SearchPage> {
    const after = ({ startUs, traceId }: Cursor) => ({
      sql: '(start_us, trace_id) < (?, ?)',
      parameters: [startUs, traceId],
    })
    const rows = async (sql: string, parameters: bigint[]) => {
      await this.turn()
      let statement = this.searches.get(sql)
      if (statement === undefined) {
        statement = this.db.prepare(sql).raw()
        this.searches.set(sql, statement)
      }
      return statement.all(parameters) as bigint[][]
    }
    return this.attempt(() => search({ rows, after }, query))
  }

  check(): Promise<void> {
    return this.attempt(async () => {
      this.sql.selectBody.get([0n])
      this.sql.replaceHealth.run([BigInt(Date.now()) * 1000n])
    })
  }

  close(): Promise<void> {
    this.closing ??= this.commits.close().then(() => {
      try {
        letGo(this.db)
      } catch (error) {
        throw unavailable(this.path, error)
      }
    })
    return this.closing
  }

  private write(messages: Message[]): void {
    const { postings, starts } = indexRows(this.terms, messages)
    const { upsertStart, insertPosting, insertPostings } = this.sql
    try {
      transaction(this.db, () => {
        for (const message of messages) this.writeMessage(message)
        for (const start of starts) upsertStart.run(start)
        let i = 0
        for (; i + INSERT_ROWS <= postings.length; i += INSERT_ROWS) {
          insertPostings.run(postings.slice(i, i + INSERT_ROWS).flat())
        }
        for (; i < postings.length; i++) insertPosting.run(postings[i]!)
      })
    } catch (error) {
      throw unavailable(this.path, error)
    }
  }

  private writeMessage({ body, records }: Message): void {
    const messageId = this.sql.insertMessage.run([body]).lastInsertRowid
    const traces = new Map<bigint, number[]>()
    for (const { record, start, end } of records) {
      const ranges = traces.get(record.traceId)
      if (ranges === undefined) traces.set(record.traceId, [start, end])
      else ranges.push(start, end)
    }
    for (const [traceId, ranges] of traces) {
      const bytes = Buffer.allocUnsafe(ranges.length * 4)
      for (const [i, offset] of ranges.entries()) bytes.writeUInt32BE(offset, i * 4)
      this.sql.insertPointer.run([traceId, messageId, bytes])
    }
  }

  /** Lets other work of the process have its turn. */
  private async turn(): Promise<void> {
    await setImmediate()
    if (this.closing !== undefined) throw closedError()
  }

  private async attempt<R>(work: () => Promise<R>): Promise<R> {
    if (this.closing !== undefined) throw closedError()
    try {
      return await work()
    } catch (error) {
      throw unavailable(this.path, error)
    }
  }
}

function prepare(db: Database.Database) {
  const insertPostings = (rows: number) =>
    db.prepare(`INSERT OR IGNORE INTO posting (term, trace_id, span_id) VALUES ${Array(rows).fill('(?, ?, ?)')}`)
  return {
    insertMessage: db.prepare('INSERT INTO message (body) VALUES (?)'),
    insertPointer: db.prepare('INSERT INTO pointer (trace_id, message_id, ranges) VALUES (?, ?, ?)'),
    insertPosting: insertPostings(1),
    insertPostings: insertPostings(INSERT_ROWS),
    upsertStart: db.prepare(
      `INSERT INTO trace_start (trace_id, start_us) VALUES (?, ?)
       ON CONFLICT (trace_id) DO UPDATE SET start_us = excluded.start_us WHERE excluded.start_us < start_us`,
    ),
    selectPointers: db.prepare('SELECT message_id, ranges FROM pointer WHERE trace_id = ? ORDER BY message_id').raw(),
    selectBody: db.prepare('SELECT body FROM message WHERE id = ?').raw(),
    replaceHealth: db.prepare('INSERT OR REPLACE INTO health (id, checked_us, ballast) VALUES (0, ?, zeroblob(65536))'),
  }
}

function openFile(path: string, log: (message: string) => void): Database.Database {
  let db: Database.Database | undefined
  try {
    const file = resolve(path)
    mkdirSync(dirname(file), { recursive: true })
    db = new Database(file)
    db.defaultSafeIntegers(true)
    // The lock is the kernel's: it ends with the process, however that ends.
    db.exec(`
      PRAGMA locking_mode = EXCLUSIVE;
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES};
      PRAGMA cache_size = -${CACHE_KIB};
    `)
    migrateFile(db, path, log)
    return db
  } catch (error) {
    db?.close()
    if ((error as { code?: string }).code === 'SQLITE_BUSY') {
      throw new StoreError(
        'MILO_STORE_LOCKED',
        `${path} is in use by another process: stop that collector, or give this one a file of its own (embedded.path)`,
      )
    }
    throw unavailable(path, error)
  }
}

/** Marks a file as ours: "Milo" in ASCII. */
const APPLICATION_ID = 0x4d696c6fn

function migrateFile(db: Database.Database, path: string, log: (message: string) => void): void {
  const integer = (sql: string) => (db.prepare(sql).raw().get([]) as [bigint])[0]
  const all = migrations('embedded')
  const version = Number(integer('PRAGMA user_version'))
  const empty = integer('SELECT count(*) FROM sqlite_schema') === 0n
  if (!empty && integer('PRAGMA application_id') !== APPLICATION_ID) {
    letGo(db)
    throw new StoreError('MILO_STORE_SCHEMA', `${path} is another program's database: give another embedded.path`)
  }
  if (version > newestVersion(all)) {
    letGo(db)
    throw new StoreError(
      'MILO_STORE_SCHEMA',
      `${path} was written by a newer milo-collector (schema ${version}, this one knows ${newestVersion(all)}): use that one, or give another embedded.path`,
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

function transaction(db: Database.Database, work: () => void): void {
  db.exec('BEGIN IMMEDIATE')
  try {
    work()
    db.exec('COMMIT')
  } catch (error) {
    // Some errors have rolled back already: a full disk, for one.
    if (db.inTransaction) db.exec('ROLLBACK')
    throw error
  }
}

/** Gives the lock up without waiting for the garbage collector, and leaves one file: the log is folded into it. */
function letGo(db: Database.Database): void {
  try {
    db.exec('PRAGMA journal_mode = DELETE; PRAGMA locking_mode = NORMAL; SELECT count(*) FROM sqlite_schema')
  } finally {
    db.close()
  }
}
