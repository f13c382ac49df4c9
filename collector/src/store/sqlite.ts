import { isUtf8 } from 'node:buffer'
import { existsSync, mkdirSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import Database from 'libsql'
import { StoreError, unavailable } from './store'

/** What every SQLite file of ours has in common: one process at a time, and nothing acknowledged that isn't on disk. */

/**
 * @param setting where the file is named in the configuration
 * @param prepare makes the schema, or refuses the file
 * @param shared whether others may open the file meanwhile, in this process and in others
 * @throws StoreError when another process has it, or it can't be opened
 */
export function openSqlite(
  path: string,
  setting: string,
  prepare: (db: Database.Database) => void,
  shared = false,
): Database.Database {
  let db: Database.Database | undefined
  try {
    const file = resolve(path)
    makeDirectory(dirname(file))
    db = new Database(file)
    db.defaultSafeIntegers(true)
    if (shared) db.exec(`PRAGMA busy_timeout = ${BUSY_MS}`)
    // The lock is the kernel's: it ends with the process, however that ends.
    else db.exec('PRAGMA locking_mode = EXCLUSIVE')
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
    refuseDamagedSchema(db, path)
    prepare(db)
    return db
  } catch (error) {
    if (db) refuse(db)
    throw openError(path, setting, error)
  }
}

/** Closes a file that isn't taken, at once: another may be put in its place, and opened by this process. */
function refuse(db: Database.Database): void {
  try {
    db.exec('PRAGMA busy_timeout = 0')
    letGo(db)
  } catch {
    // What is damaged too much to be let go of has no statements, and others that have it open keep its log.
  }
}

/** libsql ends the process where the type of a column isn't UTF-8, as one flipped bit makes it. */
function refuseDamagedSchema(db: Database.Database, path: string): void {
  const sql = 'SELECT CAST(sql AS BLOB) FROM sqlite_schema WHERE sql IS NOT NULL'
  const rows = db.prepare(sql).raw().all([]) as [Buffer][]
  if (rows.every(([text]) => isUtf8(text))) return
  throw new StoreError('MILO_STORE_DAMAGED', `${path} is damaged: its schema isn't text; put a copy in its place`)
}

/** How long the file's owner waits for others that have it open. */
const BUSY_MS = 5_000

/**
 * Keeps other collectors from a file that other programs may open: by a file beside it, which is locked for as long as the
 * process lives, and removed at the end.
 * @returns what ends it
 * @throws StoreError when another process has it, or it can't be opened
 */
export function lockFor(path: string, setting: string): () => void {
  for (;;) {
    let db: Database.Database | undefined
    try {
      const lock = `${realFile(path)}-lock`
      // Not opened when it's there: to close it would end a lock that this process has.
      if (!existsSync(lock)) writeFileSync(lock, '', { flag: 'ax' })
      const inode = inodeOf(lock)
      db = new Database(lock)
      db.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
      const held = db
      // Not one that its last owner has removed meanwhile.
      if (inode !== -1n && inode === inodeOf(lock)) {
        return () => {
          rmSync(lock, { force: true })
          held.exec('ROLLBACK')
          held.close()
        }
      }
      db.exec('ROLLBACK')
      db.close()
    } catch (error) {
      db?.close()
      // Somebody else was faster.
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue
      throw openError(path, setting, error)
    }
  }
}

/** The name of a file, which is made if need be, without symbolic links: it has one lock and one log, whatever leads to it. */
export function realFile(path: string): string {
  makeDirectory(dirname(resolve(path)))
  // Not opened when it's there: to close it would end the locks that this process has.
  if (!existsSync(path)) writeFileSync(path, '', { flag: 'a' })
  return realpathSync(path)
}

/** -1 for a file that isn't there. */
export function inodeOf(name: string): bigint {
  return statSync(name, { bigint: true, throwIfNoEntry: false })?.ino ?? -1n
}

function openError(path: string, setting: string, error: unknown): StoreError {
  if ((error as { code?: string }).code === 'SQLITE_BUSY') {
    return new StoreError(
      'MILO_STORE_LOCKED',
      `${path} is in use by another process: stop that collector, or give this one a file of its own (${setting})`,
    )
  }
  if (error instanceof StoreError || !isUnopened(error as NodeJS.ErrnoException)) return unavailable(path, error)
  return new StoreError(
    'MILO_STORE_UNAVAILABLE',
    `${path} can't be opened (${(error as Error).message}): give ${setting} a file in a folder that is there and may be written to`,
  )
}

/** Whether the file system refused the file, rather than SQLite its contents. */
function isUnopened({ code, message }: NodeJS.ErrnoException): boolean {
  return (
    /^(E[A-Z]+|SQLITE_(CANTOPEN|READONLY).*)$/.test(code ?? '') || /^ConnectionFailed|unable to open/i.test(message)
  )
}

/** Not by Node's `recursive`, which never returns where a parent exists and takes no directory, as under /proc. */
function makeDirectory(path: string): void {
  if (existsSync(path)) return
  makeDirectory(dirname(path))
  try {
    mkdirSync(path)
  } catch (error) {
    // Somebody else was faster.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

/** The result of a SELECT of one integer. */
export function integer(db: Database.Database, sql: string): bigint {
  return (db.prepare(sql).raw().get([]) as [bigint])[0]
}

/** Whether nobody has made a table in it yet. */
export function isEmpty(db: Database.Database): boolean {
  return integer(db, 'SELECT count(*) FROM sqlite_schema') === 0n
}

export function transaction(db: Database.Database, work: () => void): void {
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
export function letGo(db: Database.Database): void {
  try {
    db.exec('PRAGMA journal_mode = DELETE; PRAGMA locking_mode = NORMAL; SELECT count(*) FROM sqlite_schema')
  } finally {
    db.close()
  }
}
