/** A record's start in microseconds (its time of receipt if it has no times), and its trace. */
export interface Place {
  startUs: bigint
  traceId: bigint
}

export const I64_MIN = -(2n ** 63n)
export const I64_MAX = 2n ** 63n - 1n

/** Orders places from the oldest. */
export function comparePlaces(a: Place, b: Place): number {
  if (a.startUs !== b.startUs) return a.startUs < b.startUs ? -1 : 1
  return a.traceId < b.traceId ? -1 : a.traceId > b.traceId ? 1 : 0
}
