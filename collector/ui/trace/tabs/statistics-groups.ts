import { type Columns, FLAG, hasFlag } from '../columns'

/** Sums of the spans of one service, or of one name in a service. Microseconds; NaN if no span has a duration. */
export interface Group {
  service: string
  name: string
  count: number
  errors: number
  total: number
  self: number
  critical: number
  p50: number
  p95: number
  max: number
}

export function statistics(columns: Columns, byName: boolean): Group[] {
  const { count, integers, numbers, strings } = columns
  const groups = new Map<string, { group: Group; durations: number[] }>()
  for (let i = 0; i < count; i++) {
    const service = integers.service[i]! || integers.caller[i]!
    const name = byName ? integers.name[i]! : 0
    const key = `${service},${name}`
    let entry = groups.get(key)
    if (entry === undefined) {
      const group: Group = {
        service: strings[service]!,
        name: strings[name]!,
        count: 0,
        errors: 0,
        total: 0,
        self: 0,
        critical: 0,
        p50: Number.NaN,
        p95: Number.NaN,
        max: Number.NaN,
      }
      entry = { group, durations: [] }
      groups.set(key, entry)
    }
    const { group, durations } = entry
    group.count++
    if (hasFlag(columns, i, FLAG.error)) group.errors++
    group.self += numbers.self[i]! || 0
    group.critical += numbers.critical[i]! || 0
    const duration = numbers.duration[i]!
    if (Number.isNaN(duration)) continue
    group.total += duration
    durations.push(duration)
  }
  for (const { group, durations } of groups.values()) {
    if (durations.length === 0) continue
    const sorted = Float64Array.from(durations).sort()
    const rank = (q: number) => sorted[Math.ceil(q * sorted.length) - 1]!
    group.p50 = rank(0.5)
    group.p95 = rank(0.95)
    group.max = rank(1)
  }
  return [...groups.values()].map(({ group }) => group)
}
