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
  /** How many keys of a group keep their names. To be written with the values, and given to lower() before these are added. */
  limit: number
  private readonly maxKeys: number
  private readonly maxGroups: number
  private readonly make: () => V
  private readonly merge: (to: V, from: V) => void
  private readonly groups = new Map<string, Group<V>>()
  /** The group with the greatest hash, once there are as many as there may be. */
  private last: string | undefined
  private size = 0

  constructor(
    { maxKeys, maxGroups }: { maxKeys: number; maxGroups: number },
    make: () => V,
    merge: (to: V, from: V) => void,
  ) {
    this.maxKeys = maxKeys
    this.maxGroups = maxGroups
    this.limit = maxKeys
    this.make = make
    this.merge = merge
  }

  /** Returns the value of a key, or of OTHER in its place. It must not be kept: the next call may add it to another. */
  get(group: string, key: string): V {
    const known = this.groups.get(group)
    const value = known?.values.get(key)
    if (value !== undefined) return value
    const { values } = known ?? this.newGroup(group)
    if (values === this.groups.get(OTHER)?.values) return valueIn(values, OTHER, this.make)
    return this.newKey(this.groups.get(group)!, key)
  }

  /** All values, by group and key. */
  *entries(): Generator<[group: string, key: string, value: V], void> {
    for (const group of [...this.groups.keys()].sort()) {
      const { values } = this.groups.get(group)!
      for (const key of [...values.keys()].sort()) yield [group, key, values.get(key)!]
    }
  }

  /** Lets at most so many keys of a group keep their names, as in a map that is to be added to this one. */
  lower(limit: number): void {
    if (limit >= this.limit) return
    this.limit = limit
    for (const group of this.groups.values()) this.trim(group)
  }

  private newGroup(name: string): Group<V> {
    if (name === OTHER) return this.other()
    if (this.last !== undefined && !isBefore(name, this.last)) return this.other()
    const group: Group<V> = { values: new Map(), last: undefined }
    this.groups.set(name, group)
    if (this.last !== undefined) this.drop(this.last)
    if (this.named() >= this.maxGroups) {
      this.last = [...this.groups.keys()].filter(name => name !== OTHER).reduce((a, b) => (isBefore(a, b) ? b : a))
    }
    return group
  }

  private newKey(group: Group<V>, key: string): V {
    const { values, last } = group
    if (key === OTHER || (last !== undefined && !isBefore(key, last))) return valueIn(values, OTHER, this.make)
    const value = this.make()
    values.set(key, value)
    this.size++
    this.trim(group)
    if (this.size > this.maxKeys) this.lower(this.largestLimit())
    return values.get(key) ?? valueIn(values, OTHER, this.make)
  }

  /** Adds values of keys beyond the limit to OTHER. */
  private trim(group: Group<V>): void {
    const { values } = group
    const count = values.size - (values.has(OTHER) ? 1 : 0)
    if (count < this.limit) return
    const keys = [...values.keys()].filter(key => key !== OTHER)
    if (keys.length > this.limit) {
      keys.sort((a, b) => (isBefore(a, b) ? -1 : 1))
      for (const key of keys.splice(this.limit)) {
        const value = values.get(key)!
        values.delete(key)
        this.size--
        this.merge(valueIn(values, OTHER, this.make), value)
      }
    }
    // Keys with greater hashes needn't be added first.
    group.last = keys.length === 0 ? '' : keys.reduce((a, b) => (isBefore(a, b) ? b : a))
  }

  private drop(name: string): void {
    const { values } = this.groups.get(name)!
    const to = valueIn(this.other().values, OTHER, this.make)
    for (const [key, value] of values) {
      if (key !== OTHER) this.size--
      this.merge(to, value)
    }
    this.groups.delete(name)
  }

  private other(): Group<V> {
    return valueIn(this.groups, OTHER, () => ({ values: new Map(), last: undefined }))
  }

  private named(): number {
    return this.groups.size - (this.groups.has(OTHER) ? 1 : 0)
  }

  private largestLimit(): number {
    const counts = [...this.groups].map(([, { values }]) => values.size - (values.has(OTHER) ? 1 : 0))
    let limit = Math.min(this.limit, Math.max(...counts))
    const sum = () => counts.reduce((sum, count) => sum + Math.min(count, limit), 0)
    while (limit > 0 && sum() > this.maxKeys) limit--
    return limit
  }
}

interface Group<V> {
  values: Map<string, V>
  /** The key with the greatest hash, once there are as many as there may be. */
  last: string | undefined
}

function valueIn<V>(map: Map<string, V>, key: string, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) map.set(key, (value = make()))
  return value
}

/** Whether a word's hash is less than another's. It has no seed, as all processes must find the same. */
function isBefore(a: string, b: string): boolean {
  const [of, other] = [hashOf(a), hashOf(b)]
  return of === other ? a < b : of < other
}
