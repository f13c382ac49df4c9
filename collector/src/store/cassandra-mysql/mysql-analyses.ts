import {
  type AnalysisPiece,
  type AnalysisQuery,
  type AnalysisRead,
  type AnalysisWindow,
  firstLoad,
  type Load,
  MAX_WINDOWS,
  type StoredAnalysis,
} from '../analysis/model'
import { chunksBySize } from '../chunks'
import type { Clock } from '../pipeline/clock'
import { type MySql, rowsOf } from './mysql'

/** Results of offline analyses, in MySQL. */

const REMOVED_AT_ONCE = 100
const EVERY_MS = 600_000
const DAY_US = 86_400_000_000
/** Pieces that no window names after so long are what a crash left behind, and not a load that is under way. */
const REMAINS_US = DAY_US

export async function readMySqlAnalyses(db: MySql, limit = MAX_WINDOWS): Promise<StoredAnalysis[]> {
  const rows = await db.read(
    `SELECT from_us, to_us, loaded_us, summary FROM analysis ORDER BY to_us DESC, from_us DESC LIMIT ${limit}`,
  )
  return rows.map(([fromUs, toUs, loadedUs, summary]) => ({
    fromUs: Number(fromUs),
    toUs: Number(toUs),
    loadedUs: Number(loadedUs),
    summary: `${summary}`,
  }))
}

export async function saveMySqlAnalysis(
  db: MySql,
  { load, fromUs, toUs, loadedUs, summary, pieces }: Load,
): Promise<void> {
  for (const some of chunksBySize(pieces, db.statementBytes, ({ body }) => 2 * body.length + 200)) {
    await db.write('INSERT INTO analysis_piece (`load`, kind, root, piece, body) VALUES ?', [
      some.map(({ kind, root, piece, body }) => [load, kind, root, piece, body]),
    ])
  }
  const before = await db.transact(async connection => {
    const [row] = await rowsOf(connection, 'SELECT `load` FROM analysis WHERE from_us = ? AND to_us = ? FOR UPDATE', [
      fromUs,
      toUs,
    ])
    await connection.query(
      `INSERT INTO analysis (from_us, to_us, \`load\`, loaded_us, summary) VALUES (?) ON DUPLICATE KEY UPDATE
         \`load\` = VALUES(\`load\`), loaded_us = VALUES(loaded_us), summary = VALUES(summary)`,
      [[fromUs, toUs, load, loadedUs, summary]],
    )
    return row && BigInt(row[0]!)
  })
  if (before !== undefined) await removePieces(db, before)
}

/** Reads everything as it is at one moment: a load that takes its place meanwhile removes nothing from under it. */
export function readMySqlAnalysis(
  db: MySql,
  { kinds, root, fromUs, toUs }: AnalysisQuery,
): Promise<AnalysisRead | undefined> {
  return db.snapshot(async connection => {
    const [row] = await rowsOf(
      connection,
      'SELECT `load`, loaded_us, summary FROM analysis WHERE from_us = ? AND to_us = ?',
      [fromUs, toUs],
    )
    if (row === undefined) return undefined
    const [load, loadedUs, summary] = row
    const [where, parameters] = root === undefined ? ['', []] : [' AND root = ?', [root]]
    const rows = await rowsOf(
      connection,
      `SELECT body FROM analysis_piece WHERE \`load\` = ? AND kind IN (?)${where} ORDER BY kind, root, piece`,
      [load, kinds, ...parameters],
    )
    const bodies = rows.map(([body]) => body as unknown as Buffer)
    return { fromUs, toUs, loadedUs: Number(loadedUs), summary: `${summary}`, bodies }
  })
}

/** Reads all pieces of a window as they are at one moment. */
export function readMySqlPieces(db: MySql, { fromUs, toUs }: AnalysisWindow): Promise<AnalysisPiece[] | undefined> {
  return db.snapshot(async connection => {
    const [row] = await rowsOf(connection, 'SELECT `load` FROM analysis WHERE from_us = ? AND to_us = ?', [
      fromUs,
      toUs,
    ])
    if (row === undefined) return undefined
    const rows = await rowsOf(
      connection,
      'SELECT kind, root, piece, body FROM analysis_piece WHERE `load` = ? ORDER BY kind, root, piece',
      [row[0]],
    )
    return rows.map(([kind, root, piece, body]) => {
      return { kind: `${kind}`, root: BigInt(root!), piece: Number(piece), body: body as unknown as Buffer }
    })
  })
}

export async function deleteMySqlAnalysis(db: MySql, { fromUs, toUs }: AnalysisWindow): Promise<boolean> {
  const load = await db.transact(async connection => {
    const [row] = await rowsOf(connection, 'SELECT `load` FROM analysis WHERE from_us = ? AND to_us = ? FOR UPDATE', [
      fromUs,
      toUs,
    ])
    if (row !== undefined) {
      await connection.query('DELETE FROM analysis WHERE from_us = ? AND to_us = ?', [fromUs, toUs])
    }
    return row && BigInt(row[0]!)
  })
  if (load === undefined) return false
  await removePieces(db, load)
  return true
}

/** Removes what was loaded before this time, and what crashes left behind. */
export async function expireMySqlAnalyses(db: MySql, analysisDays: number, nowUs: number): Promise<void> {
  await db.write('DELETE FROM analysis WHERE loaded_us < ?', [nowUs - analysisDays * DAY_US])
  const live = await db.read('SELECT `load` FROM analysis')
  const named = new Set(live.map(([load]) => String(load)))
  const latest = firstLoad(nowUs - REMAINS_US)
  // From one load to the next: each has many pieces.
  for (let last = 0n; ; ) {
    const [row] = await db.read('SELECT MIN(`load`) FROM analysis_piece WHERE `load` > ? AND `load` < ?', [
      last,
      latest,
    ])
    const load = row![0]
    if (load === null) return
    last = BigInt(load!)
    if (!named.has(String(load))) await removePieces(db, last)
  }
}

/** Expires results while the collector runs. @returns a function that stops it */
export function keepAnalyses(
  db: MySql,
  analysisDays: number,
  clock: Clock,
  onError: (error: unknown) => void,
): () => void {
  const run = async () => {
    // A clock that is ahead for a while removes nothing.
    const nowUs = Math.min(Number(clock.wallUs()), Date.now() * 1000)
    await expireMySqlAnalyses(db, analysisDays, nowUs).catch(onError)
  }
  const timer = setInterval(() => void run(), EVERY_MS)
  timer.unref()
  void run()
  return () => clearInterval(timer)
}

async function removePieces(db: MySql, load: bigint): Promise<void> {
  let removed = REMOVED_AT_ONCE
  while (removed === REMOVED_AT_ONCE) {
    removed = await db.write(`DELETE FROM analysis_piece WHERE \`load\` = ? LIMIT ${REMOVED_AT_ONCE}`, [load])
  }
}
