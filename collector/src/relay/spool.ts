import type Database from 'libsql'
import { GroupCommit } from '../store/pipeline/group-commit'
import { integer, isEmpty, letGo, openSqlite, transaction } from '../store/sqlite'
import { StoreError, unavailable } from '../store/store'

/**
 * Calls of Log that wait on disk to be forwarded, oldest first: one file, which is the only copy of what was answered OK.
 * It is SQLite, so that a crash at any moment leaves either a whole call or none.
 */
export interface Spool {
  /** Resolves when the calls are durable; calls that wait together are written together. */
  append(call: Buffer): Promise<void>
  /** The oldest calls, whole, as many as fit into so many bytes and at least one; those before `after` are left out. */
  oldest(maxBytes: number, after: bigint): SpooledCall[]
  /** Deletes calls that have arrived. */
  remove(ids: bigint[]): void
  /** Puts a call behind all others. @returns its new id */
  postpone(id: bigint): bigint
  /** Puts a call aside, with the reason: it isn't forwarded any more. */
  putAside(id: bigint, reason: string): void
  /** What is on disk. */
  size(): { bytes: number; calls: number }
  /** Rejects nothing: throws when the file can't be written. */
  check(): void
  close(): Promise<void>
}

export interface SpooledCall {
  id: bigint
  body: Buffer
}

/** "Milo" with a capital R: a relay's file, and no store's. */
const APPLICATION_ID = 0x4d696c52n
/** The share of the file that calls which were put aside may take; beyond it, the oldest of them goes. */
const REFUSED_SHARE = 0.25
/** The most bytes that a call takes in the file besides its own. */
const ROW_BYTES = 64
/** The most bytes of calls in one transaction. */
const GROUP_BYTES = 4 * 1024 * 1024
/** The shortest time between two writes of check(). */
const CHECK_MS = 1_000

/**
 * @param maxBytes of calls; more are refused with MILO_STORE_BUSY
 * @throws StoreError when the file can't be opened, is somebody else's, or another process has it
 */
export function openSpool(path: string, maxBytes: number): Spool {
  const db = openFile(path)
  const insert = db.prepare('INSERT INTO call (body) VALUES (?)')
  const select = db.prepare('SELECT id, length(body) FROM call WHERE id > ? ORDER BY id LIMIT 1000').raw()
  const body = db.prepare('SELECT body FROM call WHERE id = ?').raw()
  const del = db.prepare('DELETE FROM call WHERE id = ?')
  const health = db.prepare('INSERT OR REPLACE INTO health (id, checked_ms) VALUES (0, ?)')
  const refuse = db.prepare('INSERT INTO refused (body, reason, refused_ms) SELECT body, ?, ? FROM call WHERE id = ?')
  const forgetRefused = db.prepare(
    `DELETE FROM refused WHERE id IN
     (SELECT id FROM (SELECT id, sum(length(body)) OVER (ORDER BY id DESC) AS bytes FROM refused) WHERE bytes > ?)`,
  )
  const sum = db.prepare('SELECT coalesce(sum(length(body)), 0), count(*) FROM call').raw()
  let [bytes, calls] = (sum.get([]) as [bigint, bigint]).map(Number) as [number, number]
  /** The bytes that are on their way to the disk. */
  let waitingBytes = 0
  let waitingCalls = 0
  let closed = false
  let checkedMs = Number.NEGATIVE_INFINITY

  const commits = new GroupCommit<{ body: Buffer }>(write, GROUP_BYTES, 1)

  function write(group: { body: Buffer }[]): void {
    try {
      transaction(db, () => {
        for (const call of group) insert.run([call.body])
      })
    } catch (error) {
      throw unavailable(path, error)
    }
    for (const call of group) bytes += call.body.length
    calls += group.length
  }

  function remove(ids: bigint[], before = () => {}): void {
    const removed = ids.map(id => (body.get([id]) as [Buffer] | undefined)?.[0].length)
    transaction(db, () => {
      before()
      for (const id of ids) del.run([id])
    })
    for (const length of removed) {
      if (length === undefined) continue
      bytes -= length
      calls--
    }
  }

  return {
    async append(call) {
      if (closed) throw new StoreError('MILO_STORE_CLOSED', 'the relay has been closed')
      // An empty spool takes a call that is larger than all that it may hold: to refuse it would be to refuse it for ever.
      const count = calls + waitingCalls
      if (count > 0 && bytes + waitingBytes + call.length + (count + 1) * ROW_BYTES > maxBytes) {
        throw new StoreError('MILO_STORE_BUSY', `${path} holds ${bytes} bytes: no more until some are forwarded`)
      }
      waitingBytes += call.length
      waitingCalls++
      try {
        await commits.append([{ body: call }])
      } finally {
        waitingBytes -= call.length
        waitingCalls--
      }
    },
    oldest(maxBytesOfAll, after) {
      const found: SpooledCall[] = []
      let total = 0
      for (const [id, length] of select.all([after]) as [bigint, bigint][]) {
        total += Number(length)
        if (found.length > 0 && total > maxBytesOfAll) break
        found.push({ id, body: (body.get([id]) as [Buffer])[0] })
      }
      return found
    },
    remove,
    postpone(id) {
      const [call] = body.get([id]) as [Buffer]
      transaction(db, () => {
        del.run([id])
        insert.run([call])
      })
      return integer(db, 'SELECT max(id) FROM call')
    },
    putAside(id, reason) {
      remove([id], () => {
        refuse.run([reason, BigInt(Date.now()), id])
        forgetRefused.run([BigInt(Math.floor(maxBytes * REFUSED_SHARE))])
      })
    },
    size: () => ({ bytes, calls }),
    check() {
      // Clients may ask at any rate, and this thread waits for the disk.
      if (performance.now() < checkedMs + CHECK_MS) return
      try {
        health.run([BigInt(Date.now())])
        checkedMs = performance.now()
      } catch (error) {
        throw unavailable(path, error)
      }
    },
    async close() {
      if (closed) return
      closed = true
      await commits.close()
      letGo(db)
    },
  }
}

function openFile(path: string): Database.Database {
  return openSqlite(path, 'relay.path', db => {
    if (!isEmpty(db) && integer(db, 'PRAGMA application_id') !== APPLICATION_ID) {
      throw new StoreError('MILO_STORE_SCHEMA', `${path} is not a relay's spool: give another relay.path`)
    }
    transaction(db, () =>
      db.exec(`
        CREATE TABLE IF NOT EXISTS call (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL);
        CREATE TABLE IF NOT EXISTS health (id INTEGER PRIMARY KEY, checked_ms INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS refused (
          id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL, reason TEXT NOT NULL, refused_ms INTEGER NOT NULL
        );
        PRAGMA application_id = ${APPLICATION_ID}`),
    )
  })
}
