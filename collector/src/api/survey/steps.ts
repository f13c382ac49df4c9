const [SECOND, MINUTE, HOUR, DAY] = [1e6, 60e6, 3600e6, 86_400e6]
/** Steps that make round times, in microseconds. */
const STEPS = [
  ...[1, 10, 100, 1e3, 1e4, 1e5].flatMap(unit => [unit, 2 * unit, 5 * unit]),
  ...[1, 2, 5, 10, 20, 30].map(n => n * SECOND),
  ...[1, 2, 5, 10, 20, 30].map(n => n * MINUTE),
  ...[1, 2, 4, 8, 12].map(n => n * HOUR),
  ...[1, 2, 4, 7].map(n => n * DAY),
]

/** Returns the smallest of the usual steps that makes at most `most` of a range. */
export function roundStep({ fromUs, toUs }: { fromUs: number; toUs: number }, most: number): number {
  const wanted = (toUs - fromUs) / most
  return STEPS.find(step => step >= wanted) ?? Math.ceil(wanted / DAY) * DAY
}
