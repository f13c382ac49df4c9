/** Whether so many traces a second may be aimed at. */
export function isTarget(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value < Number.POSITIVE_INFINITY
}
