import { TraceLines } from '../../record/trace-lines'
import { Turns } from '../../turns'
import { inParallel } from '../deadline'
import { hash64 } from '../hash64'
import { completeUntilUs, HOUR_US } from '../hours'
import type { HourPage, HourSource } from '../store'
import type { CassandraSpans } from './cassandra-spans'
import { NOW_US } from './collector-lock'
import type { MySql } from './mysql'
import { readCheckpoint } from './mysql-index'
import { collectorNumber, SLOT_US } from './span-rows'

/** The rows of spans, by the hour: see HourReader. */

const PAGE_BYTES = 1024 * 1024
const DAY_US = 86_400_000_000
/** How many collectors are asked about at once. */
const CONCURRENCY = 8

export async function hourSources(spans: CassandraSpans, mysql: MySql, retentionDays: number): Promise<HourSource[]> {
  const [now] = await mysql.read(NOW_US)
  const nowUs = Number(now![0])
  // What was written first expires first.
  const fromUs = nowUs - retentionDays * DAY_US
  const settled = new Map<string, bigint | undefined>()
  for (const collector of await spans.journals()) settled.set(collector, undefined)
  const rows = await mysql.read('SELECT collector, seq FROM checkpoint')
  for (const [collector, seq] of rows) settled.set(String(collector), BigInt(seq!))
  const byNumber = new Map<number, HourSource>()
  await inParallel([...settled], CONCURRENCY, async ([collector, checkpoint]) => {
    const [unsettled, newest] = await Promise.all([
      spans.firstUnsettled(collector, checkpoint),
      spans.newest(collector),
    ])
    if (unsettled === undefined && Number(checkpoint ?? 0n) < fromUs) return
    const toUs = Math.min(completeUntilUs(nowUs, newest), Number(unsettled ?? Number.POSITIVE_INFINITY))
    // Two with the same number share their rows.
    const number = collectorNumber(collector)
    const other = byNumber.get(number)
    const first = other !== undefined && other.collector < collector ? other.collector : collector
    byNumber.set(number, { collector: first, fromUs, toUs: Math.min(toUs, other?.toUs ?? toUs) })
  })
  return [...byNumber.values()].sort((a, b) => (a.collector < b.collector ? -1 : 1))
}

export async function* readHour(
  spans: CassandraSpans,
  mysql: MySql,
  collector: string,
  hourUs: number,
): AsyncGenerator<HourPage> {
  const from = BigInt(hourUs) / SLOT_US
  const end = BigInt(hourUs + HOUR_US) / SLOT_US
  // A collector that has been idle since then has written nothing.
  const last = ((await readCheckpoint(mysql, collector)) ?? -SLOT_US) / SLOT_US
  const turns = new Turns()
  const lines = new TraceLines()
  let damaged: string[] = []
  const page = (reachedUs: number): HourPage => {
    const made = { records: lines.records, lines: lines.take(), damaged, reachedUs }
    damaged = []
    return made
  }
  let reachedUs = hourUs
  for await (const { slot, rows } of spans.rowsBetween(
    collectorNumber(collector),
    from,
    last < end ? last + 1n : end,
  )) {
    for (const { node, uid, records } of rows) {
      const where = `second ${slot} of collector ${collector}, row ${node}/${uid}`
      if (hash64(records) !== uid) damaged.push(`${where} isn't as it was written`)
      else lines.addOrName(records, where, damaged)
      if (lines.bytes >= PAGE_BYTES) yield page(reachedUs)
      if (turns.over()) await turns.next()
    }
    reachedUs = Number((slot + 1n) * SLOT_US)
    if (rows.length === 0) yield page(reachedUs)
  }
  yield page(hourUs + HOUR_US)
}
