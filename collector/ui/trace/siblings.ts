import type { Columns } from './columns'
import type { Tree } from './tree'

/** Fewer rows than this are seen at a glance. */
const MIN_ALIKE = 7

/** Siblings with the same service and name, which the waterfall shows as one row: "42 × Pricing.quote". A group is known by its first span. */
export interface Groups {
  /** For each span the first of its group; −1 if it is in none. */
  of: Int32Array
  /** The members of a group in the order of the trace, by the first. */
  members: Map<number, Int32Array>
}

export const NO_GROUPS: Groups = { of: new Int32Array(0), members: new Map() }

export function groupSiblings({ count, integers, strings }: Columns, { childCount, end, roots }: Tree): Groups {
  const { name, service, caller } = integers
  const of = new Int32Array(count).fill(-1)
  const members: Groups['members'] = new Map()
  const group = (from: number, to: number) => {
    const alike = new Map<number, number[]>()
    for (let span = from; span < to; span = end[span]!) {
      const key = name[span]! * strings.length + (service[span]! || caller[span]!)
      const others = alike.get(key)
      if (others === undefined) alike.set(key, [span])
      else others.push(span)
    }
    for (const spans of alike.values()) {
      if (spans.length < MIN_ALIKE) continue
      for (const span of spans) of[span] = spans[0]!
      members.set(spans[0]!, Int32Array.from(spans))
    }
  }
  if (roots >= MIN_ALIKE) group(0, count)
  for (let i = 0; i < count; i++) if (childCount[i]! >= MIN_ALIKE) group(i + 1, end[i]!)
  return { of, members }
}

/** Rows are numbers: that of a span, or below −1 for a group. */
export function groupEntry(first: number): number {
  return -2 - first
}

/** Returns the first member of a row's group. */
export function firstOf(entry: number): number {
  return -2 - entry
}

/** The rows of the waterfall, from the top. */
export interface RowList {
  /** Spans, and groups (see groupEntry). */
  entries: Int32Array
  /** How deep each row is indented: what is in a group is one level deeper. */
  levels: Int32Array
  /** The row of each span; −1 if it isn't shown. */
  rowOf: Int32Array
}

/** @param folded spans whose descendants are hidden @param opened groups whose members are shown, by the first */
export function listRows(
  tree: Tree,
  groups: Groups,
  folded: ReadonlySet<number>,
  opened: ReadonlySet<number>,
): RowList {
  const { end, childCount } = tree
  const count = end.length
  const most = count + groups.members.size
  const [entries, levels] = [new Int32Array(most), new Int32Array(most)]
  const rowOf = new Int32Array(count).fill(-1)
  let size = 0
  const show = (entry: number, level: number) => {
    entries[size] = entry
    levels[size++] = level
  }
  // Without recursion, for a chain may have 100,000 spans. Each level goes through siblings, or through the members of a group.
  const at = [0]
  const until = [count]
  const lists: (Int32Array | undefined)[] = [undefined]
  for (let level = 0; level >= 0; ) {
    if (at[level]! >= until[level]!) {
      level--
      continue
    }
    const list = lists[level]
    let span: number
    if (list === undefined) {
      span = at[level]!
      at[level] = end[span]!
      const first = groups.members.size === 0 ? -1 : groups.of[span]!
      if (first !== -1) {
        if (first !== span) continue
        show(groupEntry(first), level)
        if (!opened.has(first)) continue
        const members = groups.members.get(first)!
        level++
        at[level] = 0
        until[level] = members.length
        lists[level] = members
        continue
      }
    } else span = list[at[level]!++]!
    rowOf[span] = size
    show(span, level)
    if (childCount[span] === 0 || folded.has(span)) continue
    level++
    at[level] = span + 1
    until[level] = end[span]!
    lists[level] = undefined
  }
  return { entries: entries.subarray(0, size), levels: levels.subarray(0, size), rowOf }
}

/** Sums of a group for its row. Microseconds. */
export interface GroupFigures {
  count: number
  errors: number
  /** Of the members whose duration is known. */
  total: number
  shortest: number
  longest: number
  /** When the first began, and the last ended. */
  from: number
  to: number
}

export function groupFigures({ numbers, flags }: Columns, members: Int32Array, failed: number): GroupFigures {
  const figures = { count: members.length, errors: 0, total: 0, shortest: Infinity, longest: 0, from: Infinity, to: 0 }
  for (const span of members) {
    if ((flags[span]! & failed) !== 0) figures.errors++
    const start = numbers.start[span]!
    const duration = numbers.duration[span]!
    if (Number.isNaN(duration)) continue
    figures.total += duration
    figures.shortest = Math.min(figures.shortest, duration)
    figures.longest = Math.max(figures.longest, duration)
    figures.from = Math.min(figures.from, start)
    figures.to = Math.max(figures.to, start + duration)
  }
  return figures
}
