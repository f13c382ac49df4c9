import { OTHER } from '../store/activity/model'
import { hashOf } from './examples'

/**
 * Values by group and key, of a bounded number: such as sums by service and operation, where a sender may make operations up without end.
 * When there are too many keys, those of the groups with the most give way, so that one group doesn't push all others out:
 *
 *     keys of a group in the order of their hashes    │ a b c d │ e f …   at most `limit` of each group keep their names, where `limit`
 *     of another one                                  │ g h     │         is the largest with which all of them are few enough
 *
 * The values of other keys are added up under OTHER. Which keys keep their names follows from the set of all keys, not from the order in
 * which they come or in which parts they are added up. The same goes for groups, of which those with the least hashes keep their
 * names. (Where there are too many keys and too many groups, the order may show in the names, but never in a sum.)
 */
export class FairMap<V> {
  private most: number
  private readonly maxKeys: number
  private readonly maxGroups: number
  private readonly make: () => V
  private readonly merge: (to: V, from: V) => void
  private readonly groups = new Map<string, Group<V>>()
  /** The values of groups that don't keep their names: there is one key. */
  private readonly other: Group<V> = { values: new Map(), last: undefined }
  /** The group with the greatest hash that keeps its name, once some have given way. */
  private last: string | undefined
  /** How many keys keep their names. */
  private size = 0

  constructor(
    { maxKeys, maxGroups }: { maxKeys: number; maxGroups: number },
    make: () => V,
    merge: (to: V, from: V) => void,
  ) {
    this.maxKeys = maxKeys
    this.maxGroups = maxGroups
    this.most = maxKeys
    this.make = make
    this.merge = merge
  }

  /** How many keys of a group keep their names. To be written with the values, and given to lower() before these are added. */
  get limit(): number {
    this.bound(1)
    return this.most
  }

  /** Returns the value of a key, or of OTHER in its place. It must not be kept: the next call may add it to another. */
  get(group: string, key: string): V {
    const { values, last } = this.groups.get(group) ?? this.newGroup(group)
    const known = values.get(key)
    if (known !== undefined) return known
    const isNamed = values !== this.other.values && key !== OTHER && (last === undefined || isBefore(key, last))
    if (!isNamed) return valueIn(values, OTHER, this.make)
    const value = this.make()
    values.set(key, value)
    this.size++
    if (this.size > this.maxKeys * SURPLUS || countOf(values) > this.most * SURPLUS) {
      this.bound(SURPLUS)
      return values.get(key) ?? valueIn(values, OTHER, this.make)
    }
    return value
  }

  /** All values, by group and key. */
  *entries(): Generator<[group: string, key: string, value: V], void> {
    this.bound(1)
    const names = [...this.groups.keys()]
    if (this.other.values.size > 0) names.push(OTHER)
    for (const group of names.sort()) {
      const { values } = this.groups.get(group) ?? this.other
      for (const key of [...values.keys()].sort()) yield [group, key, values.get(key)!]
    }
  }

  /** Lets at most so many keys of a group keep their names, as in a map that is to be added to this one. */
  lower(limit: number): void {
    if (limit < this.most) this.lowerTo(limit)
  }

  private newGroup(name: string): Group<V> {
    if (name === OTHER || (this.last !== undefined && !isBefore(name, this.last))) return this.other
    const group: Group<V> = { values: new Map(), last: undefined }
    this.groups.set(name, group)
    if (this.groups.size <= this.maxGroups * SURPLUS) return group
    this.bound(SURPLUS)
    return this.groups.get(name) ?? this.other
  }

  /** Lets names give way that are too many. @param surplus how many times as many there may be: it isn't done for each one */
  private bound(surplus: number): void {
    const { groups, maxGroups, maxKeys } = this
    if (groups.size > maxGroups * surplus) {
      const names = byHash(groups.keys())
      this.last = names[maxGroups - 1]
      for (const name of names.slice(maxGroups)) this.drop(name)
    }
    if (this.size > maxKeys) this.lowerTo(this.largestLimit())
    for (const group of groups.values()) if (countOf(group.values) > this.most * surplus) this.trim(group)
  }

  private lowerTo(limit: number): void {
    this.most = limit
    for (const group of this.groups.values()) this.trim(group)
  }

  /** Adds values of keys beyond the limit to OTHER. */
  private trim(group: Group<V>): void {
    const { values } = group
    if (countOf(values) <= this.most) return
    const keys = byHash([...values.keys()].filter(key => key !== OTHER))
    // Keys with greater hashes needn't be added first.
    group.last = keys[this.most - 1] ?? ''
    for (const key of keys.slice(this.most)) {
      const value = values.get(key)!
      values.delete(key)
      this.size--
      this.merge(valueIn(values, OTHER, this.make), value)
    }
  }

  private drop(name: string): void {
    const { values } = this.groups.get(name)!
    const to = valueIn(this.other.values, OTHER, this.make)
    for (const [key, value] of values) {
      if (key !== OTHER) this.size--
      this.merge(to, value)
    }
    this.groups.delete(name)
  }

  private largestLimit(): number {
    const counts = [...this.groups.values()].map(({ values }) => countOf(values))
    return largestLimit(counts, this.most, this.maxKeys)
  }
}

/** How many times more there may be before those that are too many give way. */
const SURPLUS = 1.2

/** Returns the largest number that as many of each group may keep their names as, so that all are few enough: at least 1. */
export function largestLimit(counts: readonly number[], most: number, bound: number): number {
  const sum = (limit: number) => counts.reduce((sum, count) => sum + Math.min(count, limit), 0)
  let [from, to] = [1, most]
  while (from < to) {
    const middle = Math.ceil((from + to) / 2)
    if (sum(middle) <= bound) from = middle
    else to = middle - 1
  }
  return from
}

interface Group<V> {
  values: Map<string, V>
  /** The key with the greatest hash that keeps its name, once some have given way. */
  last: string | undefined
}

function valueIn<V>(map: Map<string, V>, key: string, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) map.set(key, (value = make()))
  return value
}

function countOf(values: ReadonlyMap<string, unknown>): number {
  return values.has(OTHER) ? values.size - 1 : values.size
}

function byHash(words: Iterable<string>): string[] {
  return Array.from(words, word => ({ word, hash: hashOf(word) }))
    .sort((a, b) => a.hash - b.hash || (a.word < b.word ? -1 : 1))
    .map(({ word }) => word)
}

/** Whether a word's hash is less than another's. It has no seed, as all processes must find the same. */
function isBefore(a: string, b: string): boolean {
  const [of, other] = [hashOf(a), hashOf(b)]
  return of === other ? a < b : of < other
}
