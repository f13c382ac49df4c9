import type { StoredRecord } from '../store/store'
import { findTraceId, paddedId } from '../trace'
import { ApiError, quote } from './errors'

export interface TraceId {
  low: bigint
  /** As an i64; undefined when the id doesn't say. */
  high?: bigint
}

/**
 * Returns what an id in an address may mean, the likelier first. It takes what the page takes from a clipboard: see
 * findTraceId. Digits alone may be hex or a decimal, as the original printed ids: hex is likelier where there are 16 or
 * 32 of them. An unsigned decimal over 2^63 is the same 64 bits.
 */
export function readTraceId(text: string): TraceId[] {
  const id = findTraceId(text) ?? ''
  const meanings: TraceId[] = []
  const decimal = /^-?\d{1,32}$/.test(id) ? BigInt(id) : undefined
  if (decimal !== undefined && decimal >= -(2n ** 63n) && decimal < 2n ** 64n) {
    meanings.push({ low: BigInt.asIntN(64, decimal) })
  }
  if (/^[0-9a-f]{1,32}$/.test(id)) {
    const hex = fromHex(paddedId(id))
    if (id.length === 16 || id.length === 32) meanings.unshift(hex)
    else meanings.push(hex)
  }
  if (meanings.length > 0) return meanings
  throw new ApiError(
    400,
    'MILO_BAD_TRACE_ID',
    `${quote(text)} is not a trace id: give up to 32 hex digits, a UUID, a traceparent, or a decimal from -2^63 to 2^64-1`,
  )
}

function fromHex(id: string): TraceId {
  const low = i64FromHex(id.slice(-16))
  return id.length === 16 ? { low } : { low, high: i64FromHex(id.slice(0, 16)) }
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
