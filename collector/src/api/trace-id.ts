import type { StoredRecord } from '../store/store'
import { ApiError, quote } from './errors'

export interface TraceId {
  low: bigint
  /** As an i64; undefined when the id doesn't say. */
  high?: bigint
}

/**
 * What an id in an address may mean, the likelier first: 16 or 32 hex digits, or a signed decimal, as the original printed
 * ids. 16 digits may be either. An unsigned decimal over 2^63 is the same 64 bits.
 */
export function readTraceId(id: string): TraceId[] {
  const meanings: TraceId[] = []
  if (/^[0-9a-f]{16}$/i.test(id)) meanings.push({ low: i64FromHex(id) })
  if (/^[0-9a-f]{32}$/i.test(id)) meanings.push({ low: i64FromHex(id.slice(16)), high: i64FromHex(id.slice(0, 16)) })
  const decimal = /^-?\d{1,32}$/.test(id) ? BigInt(id) : undefined
  if (decimal !== undefined && decimal >= -(2n ** 63n) && decimal < 2n ** 64n) {
    meanings.push({ low: BigInt.asIntN(64, decimal) })
  }
  if (meanings.length > 0) return meanings
  throw new ApiError(
    400,
    'MILO_BAD_TRACE_ID',
    `${quote(id)} is not a trace id: give 16 or 32 hex digits, or a decimal from -2^63 to 2^64-1`,
  )
}

function i64FromHex(hex: string): bigint {
  return BigInt.asIntN(64, BigInt(`0x${hex}`))
}

/**
 * The records that belong to a trace id whose high half is `high`: those that say so. Records without a high half (a peer
 * that only passes 64 bits on) go with them, but alone they are the trace whose high half is 0.
 */
export function withHigh(records: StoredRecord[], high: bigint | undefined): StoredRecord[] {
  if (high === undefined) return records
  const halves = records.map(({ record }) => record.traceIdHigh ?? 0n)
  if (!halves.includes(high)) return []
  return records.filter((_, i) => halves[i] === high || halves[i] === 0n)
}
