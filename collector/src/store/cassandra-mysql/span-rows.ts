import { hash } from 'node:crypto'
import { IdMap } from '../../record/ids'
import { scanRecords } from '../../record/records'
import { chunksBySize, grouped } from '../chunks'
import type { Entry } from '../pipeline/entry'
import type { TraceRead } from '../pipeline/pipeline'

/**
 * How spans are stored in Cassandra. A mutation costs Cassandra at least 50 µs whatever its size, so traces don't get one each.
 * Records that are settled together are divided by the second in which they were accepted (a slot, which is a partition), and
 * within it by a hash of the trace id, into rows of some ten KiB:
 *
 *     second 1790000000 of collector 7      node 1: all records, if they are few
 *                                           nodes 2, 3: half of the traces each, if they are more
 *                                           nodes 4 … 7: a quarter each, and so on down to 1024 … 2047
 *
 * A node is a position in this binary tree, and the nodes of a trace are the path from the root to its leaf. A reader gets the
 * second from MySQL and asks for the rows of these eleven nodes, so it finds the records whatever was settled with them. A large
 * trace has its own rows, at a node that no other trace uses.
 */

/** A row of the table spans. */
export interface SpanRow {
  /** The second of acceptance since 1970, from the messages' numbers. */
  slot: bigint
  node: bigint
  /** Records of one or more traces. */
  records: Buffer
}

/** A second in which a collector accepted some of a trace's records. */
export interface TracePlace {
  /** The collector's number (see collectorNumber). */
  collector: number
  slot: bigint
}

/** With all traces that are wanted of it. */
export interface SharedPlace extends TracePlace {
  traceIds: bigint[]
}

/** The intended size of a row: small enough to read it for one of its traces. */
const ROW_BYTES = 12 * 1024
/** A trace with at least the first size in one batch gets its own rows, of up to the second size. */
const OWN_BYTES = [32 * 1024, 256 * 1024] as const
/** The lowest level of the tree. */
const LEVELS = 10
const LEAVES = 2 ** LEVELS
/** The nodes of large traces begin here. */
const FIRST_OWN_NODE = 2n ** 32n
/** The length of a slot in messages' numbers. */
export const SLOT_US = 1_000_000n

/** Returns the number of a collector in the databases. Two collectors with the same number share partitions, which is harmless. */
export function collectorNumber(id: string): number {
  return Number.parseInt(hash('sha256', id).slice(0, 8), 16) | 0
}

/** Returns the second in which a message was accepted. @param seq the message's number */
export function slotOf(seq: bigint): bigint {
  return seq / SLOT_US
}

/** Returns every node that may have records of the trace. */
export function nodesOf(traceId: bigint): bigint[] {
  const id = Buffer.allocUnsafe(8)
  id.writeBigInt64BE(traceId)
  const leaf = leafOf(id, 0)
  const shared = Array.from({ length: LEVELS + 1 }, (_, level) => BigInt((LEAVES + leaf) >> (LEVELS - level)))
  return [...shared, ownNode(traceId)]
}

/** Groups the records of entries into rows, in order of their slots. */
export function spanRows(entries: Entry[]): SpanRow[] {
  const rows: SpanRow[] = []
  for (const [slot, accepted] of grouped(entries, ({ id }) => slotOf(id))) rowsOfSlot(slot, accepted, rows)
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

/** Makes rows of the large traces. @returns the records of the other traces */
function takeOwn(slot: bigint, records: Buffer[], rows: SpanRow[]): Buffer[] {
  const traces = new IdMap<Buffer[]>()
  for (const record of records) {
    scanRecords(record, (_start, _end, { traceIdAt }) => {
      const traceId = record.readBigInt64BE(traceIdAt)
      const known = traces.get(traceId)
      if (known === undefined) traces.set(traceId, [record])
      else known.push(record)
    })
  }
  const others: Buffer[] = []
  for (const [traceId, own] of traces) {
    if (sizeOf(own) < OWN_BYTES[0]) others.push(...own)
    else pushRows(rows, slot, ownNode(traceId), own, OWN_BYTES[1])
  }
  return others
}

/** @param maxBytes the size of a row, unless a single record is larger */
function pushRows(rows: SpanRow[], slot: bigint, node: bigint, records: Buffer[], maxBytes: number): void {
  for (const some of chunksBySize(records, maxBytes, ({ length }) => length)) {
    rows.push({ slot, node, records: Buffer.concat(some) })
  }
}

/** Gives each run of records of one trace to its read, and removes reads that want no more. */
export function addOfTraces(records: Buffer, reads: IdMap<TraceRead>): void {
  let read: TraceRead | undefined
  let from = 0
  let to = 0
  let idAt = 0
  const give = () => {
    if (read !== undefined && !read.add(records.subarray(from, to))) reads.delete(read.traceId)
  }
  scanRecords(records, (start, end, { traceIdAt }) => {
    // Most records follow others of their trace.
    if (start === 0 || records.compare(records, idAt, idAt + 8, traceIdAt, traceIdAt + 8) !== 0) {
      give()
      read = reads.get(records.readBigInt64BE(traceIdAt))
      from = start
    }
    idAt = traceIdAt
    to = end
  })
  give()
}

/** @param at the offset of the trace id's eight bytes */
function leafOf(buf: Buffer, at: number): number {
  // Ids may not be random: some senders count up, in the high or the low half.
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
