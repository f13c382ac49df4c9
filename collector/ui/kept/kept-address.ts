import { searchIn, type TimeRange } from '../range/range'

/** Returns a search for what an operation's processes have kept for a reason. */
export function keptSearch(range: TimeRange, reason: string, service: string, name: string): string {
  const annotations = [{ key: 'milo.keep', value: reason, match: 'exact' as const }]
  return searchIn(range, { annotations, ...(service && { service }), ...(name && { name }) })
}
