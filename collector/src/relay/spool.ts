import type Database from 'libsql'
import { GroupCommit } from '../store/pipeline/group-commit'
import { integer, isEmpty, letGo, openSqlite, transaction } from '../store/sqlite'
import { StoreError, unavailable } from '../store/store'

/**
 * Calls of Log that wait on disk to be forwarded, oldest first, in one file. It has the only copy of calls that were answered
 * with OK. It is a SQLite database, so that a crash at any moment leaves either a whole call or none.
 */
export interface Spool {
  /** Resolves when the call is durable. Calls that wait together are written together. */
  append(call: Buffer): Promise<void>
  /** Returns the oldest calls after the id `after`: at least one, and otherwise as many as fit into maxBytes. */
  oldest(maxBytes: number, after: bigint): SpooledCall[]
  /** Deletes calls that were forwarded. */
  remove(ids: bigint[]): void
  /** Puts a call behind all others. @returns its new id */
  postpone(id: bigint): bigint
  /** Moves a call to the table `refused`, with the reason. It isn't forwarded any more. */
  putAside(id: bigint, reason: string): void
  /** Returns the size of the calls on disk. */
  size(): { bytes: number; calls: number }
  /** @throws StoreError when the file can't be written */
  check(): void
  close(): Promise<void>
}

export interface SpooledCall {
  id: bigint
  body: Buffer
}

/** "MilR", which tells a relay's file from a store's. */
const APPLICATION_ID = 0x4d696c52n
/** The share of the limit that refused calls may take. Beyond it, the oldest of them are deleted. */
const REFUSED_SHARE = 0.25
/** The maximum overhead of a call in the file, in bytes. */
const ROW_BYTES = 64
/** The maximum bytes of calls in one transaction. */
const GROUP_BYTES = 4 * 1024 * 1024
/** The shortest time between two writes of check(). */
const CHECK_MS = 1_000

/**
 * @param maxBytes the limit for all calls. Further calls are refused with MILO_STORE_BUSY
 * @throws StoreError when the file can't be opened, isn't a relay's spool, or is open in another process
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
  /** The bytes that are being written. */
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
      // An empty spool accepts a call that exceeds the limit: otherwise the call would be refused forever.
      const count = calls + waitingCalls
      if (count > 0 && bytes + waitingBytes + call.length + (count + 1) * ROW_BYTES > maxBytes) {
        throw new StoreError(
          'MILO_STORE_BUSY',
          `${path} has reached relay.max_bytes with ${bytes} bytes: wait until calls are forwarded, or raise the limit`,
        )
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
