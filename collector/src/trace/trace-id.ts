import { findTraceId, paddedId } from './find-id'

interface TraceId {
  low: bigint
  /** As an i64; undefined when the id doesn't say. */
  high?: bigint
}

/**
 * Returns the trace ids that a string may mean, the likeliest first; none if it isn't an id. It accepts what the page accepts
 * from a clipboard: see findTraceId. Digits alone may be hex or a decimal, as the original printed ids: hex is likelier when
 * there are 16 or 32 of them. An unsigned decimal over 2^63 means the same 64 bits.
 */
export function traceIdsOf(text: string): TraceId[] {
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
  return meanings
}

function fromHex(id: string): TraceId {
  const low = i64FromHex(id.slice(-16))
  return id.length === 16 ? { low } : { low, high: i64FromHex(id.slice(0, 16)) }
}

function i64FromHex(hex: string): bigint {
  return BigInt.asIntN(64, BigInt(`0x${hex}`))
}

/**
 * Returns the records that belong to a trace id whose high half is `high`: those that name that half. Records without a high
 * half (a peer that only passes 64 bits on) belong to them, but on their own they are the trace whose high half is 0.
 */
export function withHigh<R extends { traceIdHigh?: bigint }>(records: R[], high: bigint | undefined): R[] {
  if (high === undefined) return records
  const halves = records.map(({ traceIdHigh = 0n }) => traceIdHigh)
  if (!halves.includes(high)) return []
  return records.filter((_, i) => halves[i] === high || halves[i] === 0n)
}
