import { existsSync, mkdirSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import Database from 'libsql'
import { StoreError, unavailable } from './store'

/** What every SQLite file of ours has in common: one process at a time, and nothing acknowledged that isn't on disk. */

/**
 * @param setting where the file is named in the configuration
 * @param prepare makes the schema, or refuses the file
 * @throws StoreError when another process has it, or it can't be opened
 */
export function openSqlite(path: string, setting: string, prepare: (db: Database.Database) => void): Database.Database {
  let db: Database.Database | undefined
  try {
    const file = resolve(path)
    makeDirectory(dirname(file))
    db = new Database(file)
    db.defaultSafeIntegers(true)
    // The lock is the kernel's: it ends with the process, however that ends.
    db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
    prepare(db)
    return db
  } catch (error) {
    db?.close()
    if ((error as { code?: string }).code === 'SQLITE_BUSY') {
      throw new StoreError(
        'MILO_STORE_LOCKED',
        `${path} is in use by another process: stop that collector, or give this one a file of its own (${setting})`,
      )
    }
    if (error instanceof StoreError || !isUnopened(error as NodeJS.ErrnoException)) throw unavailable(path, error)
    throw new StoreError(
      'MILO_STORE_UNAVAILABLE',
      `${path} can't be opened (${(error as Error).message}): give ${setting} a file in a folder that is there and may be written to`,
    )
  }
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
