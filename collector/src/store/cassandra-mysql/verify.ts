import { IdMap } from '../../record/ids'
import { scanRecords } from '../../record/records'
import { hexId } from '../../trace/ids'
import type { AnalysisWindow } from '../analysis/model'
import { verifyAnalyses } from '../analysis/verify'
import { hash64 } from '../hash64'
import type { Entry } from '../pipeline/entry'
import { isLasting } from '../pipeline/refused'
import type { IndexPolicy } from '../search/index-policy'
import { type Finding, type Verified, type VerifyOptions, verification } from '../verify'
import type { CassandraSpans, StoredRow } from './cassandra-spans'
import type { MySql } from './mysql'
import { readMySqlAnalyses, readMySqlPieces } from './mysql-analyses'
import { allPlaces, checkpoints, dropDamagedTerms, MySqlIndex, termsAt } from './mysql-index'
import { nodesOf, SLOT_US, type TracePlace } from './span-rows'

/**
 * Reads all rows of spans, one second of a collector after the other, and compares them with what MySQL has of that second:
 *
 *     damaged row          its records aren't those that its key is the hash of
 *     misplaced trace      its row isn't at one of its nodes, so no reader finds it
 *     trace without terms  MySQL doesn't say that it is there, or not all that it has: it is indexed anew
 *     second without rows  MySQL says that it has some
 *
 * The terms of a message are written last: where MySQL has them, it has the rest of the index too. Results of analyses are read as well.
 */

/** Collectors may still be writing younger seconds. */
const RECENT_SECONDS = 60n
const SECONDS_PER_DAY = 86_400n

export async function verifyRows(
  spans: CassandraSpans,
  mysql: MySql,
  policy: IndexPolicy,
  retentionDays: number,
  /** Microseconds since the epoch. */
  nowUs: bigint,
  options: VerifyOptions,
): Promise<Verified> {
  const { repair, progress } = options
  const { verified, report } = verification(options)
  const second = nowUs / SLOT_US
  // What has almost expired may be gone from one of the databases.
  const oldest = second - SECONDS_PER_DAY * BigInt(retentionDays) + RECENT_SECONDS
  const settled = await checkpoints(mysql)
  const isChecked = ({ slot }: TracePlace) => slot > oldest && slot < second - RECENT_SECONDS
  // What came later may still be in the journal alone.
  const isSettled = ({ slot, collector }: TracePlace) => slot * SLOT_US <= (settled.get(collector) ?? 0n)
  const places = (await spans.places()).filter(isChecked)
  const windows = await readMySqlAnalyses(mysql, Number.MAX_SAFE_INTEGER)
  const steps = places.length + windows.length
  const seen = new Set<string>()
  for (const [i, place] of places.entries()) {
    const where = nameOf(place)
    seen.add(where)
    const good: Buffer[] = []
    for await (const row of spans.rowsAt(place)) {
      verified.read += readRow(row, good, what =>
        report({ where: `${where}, row ${row.node}/${row.uid}`, what, repaired: false }),
      )
    }
    const index = new MySqlIndex(mysql, place.collector)
    const entry = entryOf(place, good)
    for (const lacking of await lackingTraces(mysql, index, policy, place, entry)) {
      report({ where, ...(await mended(lacking)) })
    }
    progress(i + 1, steps)

    async function mended({ traceId, records }: Trace): Promise<Omit<Finding, 'where'>> {
      const what = `trace ${hexId(traceId)} isn't in MySQL, or not all that it has`
      if (!repair) return { what, repaired: false }
      try {
        await dropDamagedTerms(mysql, place, traceId)
        await index.add([entryOf(place, records)], policy)
        return { what, repaired: true }
      } catch (error) {
        if (!isLasting(error)) throw error
        return { what: `${what}; MySQL refuses it: ${(error as Error).message}`, repaired: false }
      }
    }
  }
  for await (const place of allPlaces(mysql)) {
    const where = nameOf(place)
    if (seen.has(where) || !isChecked(place) || !isSettled(place)) continue
    seen.add(where)
    const what = "MySQL has traces of this second and Cassandra none: they weren't acknowledged, or are lost"
    report({ where, what, repaired: false })
  }
  const pieces = (window: AnalysisWindow) => readMySqlPieces(mysql, window)
  await verifyAnalyses({ windows, pieces }, report, done => progress(places.length + done, steps))
  return verified
}

/**
 * Adds the row's records to `good` unless the row is damaged.
 * @returns how many records could be read
 */
function readRow({ node, uid, records }: StoredRow, good: Buffer[], report: (what: string) => void): number {
  const misplaced = new IdMap<true>()
  let read = 0
  try {
    scanRecords(records, (_start, _end, { traceIdAt }) => {
      read++
      const traceId = records.readBigInt64BE(traceIdAt)
      if (!nodesOf(traceId).includes(node)) misplaced.set(traceId, true)
    })
  } catch (error) {
    report(`it can't be read to its end: ${(error as Error).message}`)
    return read
  }
  if (hash64(records) !== uid) {
    report('it is damaged: its records are not those that were written')
    return read
  }
  for (const traceId of misplaced.keys()) report(`no reader looks for trace ${hexId(traceId)} at node ${node}`)
  good.push(records)
  return read
}

interface Trace {
  traceId: bigint
  records: Buffer[]
}

/** Returns the traces of which MySQL lacks a term that one of their records has. */
async function lackingTraces(
  mysql: MySql,
  index: MySqlIndex,
  policy: IndexPolicy,
  place: TracePlace,
  entry: Entry,
): Promise<Trace[]> {
  const expected = index.termsOf(entry, policy)
  const known = await termsAt(mysql, place, [...expected.keys()])
  const lacking = new IdMap<Trace>()
  for (const [traceId, terms] of expected) {
    const has = known.get(traceId)
    if (has === undefined || [...terms].some(term => !has.has(term))) lacking.set(traceId, { traceId, records: [] })
  }
  if (lacking.size > 0) {
    scanRecords(entry.body, (start, end, { traceIdAt }) => {
      lacking.get(entry.body.readBigInt64BE(traceIdAt))?.records.push(entry.body.subarray(start, end))
    })
  }
  return [...lacking.values()]
}

function entryOf({ slot }: TracePlace, records: Buffer[]): Entry {
  const body = Buffer.concat(records)
  const id = slot * SLOT_US
  return { id, receivedUs: id, body, start: 0, end: body.length, spans: 0 }
}

function nameOf({ collector, slot }: TracePlace): string {
  return `second ${slot} of collector ${collector}`
}
