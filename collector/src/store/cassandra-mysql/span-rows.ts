import { hash } from 'node:crypto'
import { IdMap } from '../../record/ids'
import { scanRecords } from '../../record/records'
import type { Entry } from '../pipeline/entry'

/**
 * How spans lie in Cassandra. A mutation costs Cassandra 50 µs and more, whatever is in it, so there is none for each trace.
 * What is settled together is divided by the second in which it was accepted (a slot, which is a partition), and within it
 * by a hash of the trace id, into rows of some ten KiB:
 *
 *     second 1790000000 of collector 7      node 1: all of it, where that is little
 *                                           nodes 2, 3: half of the traces each, where it is more
 *                                           nodes 4 … 7: a quarter each, and so on down to 1024 … 2047
 *
 * A node is a place in this binary tree, and a trace's nodes are the way from the root down to its leaf. So a reader who
 * knows the second, which MySQL says, asks for the rows of these eleven nodes, and finds them whatever was settled together.
 * A trace that is large by itself has rows of its own, at a node that only it has.
 */

/** A row of the table spans. */
export interface SpanRow {
  /** The second of acceptance, since 1970, by the messages' numbers. */
  slot: bigint
  node: bigint
  /** Of one trace or of many. */
  records: Buffer
}

/** A second in which a collector accepted some of a trace's records. */
export interface TracePlace {
  /** See collectorNumber. */
  collector: number
  slot: bigint
}

/** How large a row is meant to be: small enough to be read for one of its traces. */
const ROW_BYTES = 12 * 1024
/** Where a trace has more in one settling, it has rows of its own; these have up to the second. */
const OWN_BYTES = [32 * 1024, 256 * 1024] as const
/** The tree's lowest level. */
const LEVELS = 10
const LEAVES = 2 ** LEVELS
/** Nodes of single traces begin here. */
const FIRST_OWN_NODE = 2n ** 32n
const SLOT_US = 1_000_000n

/** How the databases know a collector: two whose numbers are the same share partitions, which does no harm. */
export function collectorNumber(id: string): number {
  return Number.parseInt(hash('sha256', id).slice(0, 8), 16) | 0
}

/** @param seq a message's number */
export function slotOf(seq: bigint): bigint {
  return seq / SLOT_US
}

/** Every node at which records of the trace may be. */
export function nodesOf(traceId: bigint): bigint[] {
  const id = Buffer.allocUnsafe(8)
  id.writeBigInt64BE(traceId)
  const leaf = leafOf(id, 0)
  const shared = Array.from({ length: LEVELS + 1 }, (_, level) => BigInt((LEAVES + leaf) >> (LEVELS - level)))
  return [...shared, ownNode(traceId)]
}

/** The entries' records as rows, in the order of their slots. */
export function spanRows(entries: Entry[]): SpanRow[] {
  const slots = new IdMap<Entry[]>()
  for (const entry of entries) {
    const slot = slotOf(entry.id)
    const of = slots.get(slot)
    if (of === undefined) slots.set(slot, [entry])
    else of.push(entry)
  }
  const rows: SpanRow[] = []
  for (const [slot, of] of slots) rowsOfSlot(slot, of, rows)
  return rows
}

function rowsOfSlot(slot: bigint, entries: Entry[], rows: SpanRow[]): void {
  const leaves = Array.from({ length: LEAVES }, (): Buffer[] => [])
  for (const { body, start, end } of entries) {
    const part = body.subarray(start, end)
    scanRecords(part, (from, to, { traceIdAt }) => leaves[leafOf(part, traceIdAt)]!.push(part.subarray(from, to)))
  }
  const shared = leaves.map(records => (sizeOf(records) < OWN_BYTES[0] ? records : takeOwn(slot, records, rows)))
  const bytes = shared.reduce((sum, records) => sum + sizeOf(records), 0)
  const level = Math.min(LEVELS, Math.max(0, Math.round(Math.log2(bytes / ROW_BYTES))))
  const width = 2 ** (LEVELS - level)
  for (let first = 0; first < LEAVES; first += width) {
    const node = BigInt((LEAVES + first) / width)
    pushRows(rows, slot, node, shared.slice(first, first + width).flat(), OWN_BYTES[0])
  }
}

/** Makes rows of the traces that are large by themselves. @returns the records of the others */
function takeOwn(slot: bigint, records: Buffer[], rows: SpanRow[]): Buffer[] {
  const traces = new IdMap<Buffer[]>()
  for (const record of records) {
    scanRecords(record, (_start, _end, { traceIdAt }) => {
      const traceId = record.readBigInt64BE(traceIdAt)
      const of = traces.get(traceId)
      if (of === undefined) traces.set(traceId, [record])
      else of.push(record)
    })
  }
  const others: Buffer[] = []
  for (const [traceId, of] of traces) {
    if (sizeOf(of) < OWN_BYTES[0]) others.push(...of)
    else pushRows(rows, slot, ownNode(traceId), of, OWN_BYTES[1])
  }
  return others
}

/** @param maxBytes of a row, unless a single record has more */
function pushRows(rows: SpanRow[], slot: bigint, node: bigint, records: Buffer[], maxBytes: number): void {
  let from = 0
  let bytes = 0
  for (const [i, { length }] of records.entries()) {
    if (i > from && bytes + length > maxBytes) {
      rows.push({ slot, node, records: Buffer.concat(records.slice(from, i)) })
      from = i
      bytes = 0
    }
    bytes += length
  }
  if (from < records.length) rows.push({ slot, node, records: Buffer.concat(records.slice(from)) })
}

/** Calls `add` with the stretches of `records` that are the trace's. @returns whether it takes more */
export function addOfTrace(records: Buffer, traceId: bigint, add: (records: Buffer) => boolean): boolean {
  let takesMore = true
  let from = 0
  let to = 0
  scanRecords(records, (start, end, { traceIdAt }) => {
    if (records.readBigInt64BE(traceIdAt) !== traceId) return
    if (start !== to) {
      if (takesMore && to > from) takesMore = add(records.subarray(from, to))
      from = start
    }
    to = end
  })
  return takesMore && (to === from || add(records.subarray(from, to)))
}

/** @param at of a trace id's eight bytes */
function leafOf(buf: Buffer, at: number): number {
  // Ids need not be random: some count up, in the high half or in the low one.
  return Math.imul(buf.readInt32BE(at) ^ Math.imul(buf.readInt32BE(at + 4), 0x85ebca6b), 0x9e3779b1) >>> (32 - LEVELS)
}

function ownNode(traceId: bigint): bigint {
  return FIRST_OWN_NODE + BigInt.asUintN(62, traceId)
}

function sizeOf(records: Buffer[]): number {
  let bytes = 0
  for (const { length } of records) bytes += length
  return bytes
}
