import { findTraceId, paddedId } from './find-id'

interface TraceId {
  low: bigint
  /** The high half as an i64; undefined if the id has only 64 bits. */
  high?: bigint
}

/**
 * Returns the trace ids that a string may mean, the likeliest first, or an empty list if it isn't an id. It accepts what the
 * web interface accepts from a clipboard: see findTraceId. Digits alone may be hex or decimal (the original printed decimals);
 * hex is likelier when there are 16 or 32 of them. An unsigned decimal from 2^63 up means the i64 with the same bits.
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
 * Returns the records that belong to the trace id with the high half `high`. Records without a high half (a peer passed on
 * only 64 bits) belong to it too, if there is a record with that half; alone, they are the trace whose high half is 0.
 */
export function withHigh<R extends { traceIdHigh?: bigint }>(records: R[], high: bigint | undefined): R[] {
  if (high === undefined) return records
  const halves = records.map(({ traceIdHigh = 0n }) => traceIdHigh)
  if (!halves.includes(high)) return []
  return records.filter((_, i) => halves[i] === high || halves[i] === 0n)
}
