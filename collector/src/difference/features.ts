import type { SpanRecord } from 'milo/codec/span'
import { isError } from '../record/half'
import { jointProbability, weightOf } from '../trace/probability'
import type { Turns } from '../turns'

/**
 * What traces have: services, names of spans, failed spans, annotations and their values. Each feature is counted once for a trace,
 * among the selected traces or among the others.
 *
 *     group     (annotation, service cart, key cache)        and the same for spans of any service
 *     member    hit: 12 selected, 380 others │ miss: 388, 12
 *
 * Senders choose keys and values, so a trace may have any number of them. When there are too many, those that the fewest traces have
 * are forgotten first: a feature that tells the groups apart is in many traces.
 */

type FeatureKind = 'service' | 'name' | 'error' | 'annotation'

/** How many traces have a feature. */
export class Feature {
  selected = 0
  others = 0
  selectedWeight = 0
  othersWeight = 0
  /** The numbers of the first trace of each group that has it; -1 if there is none. */
  selectedExample = -1
  othersExample = -1
  /** A hash of the set of traces: equal for features that are in the same traces. */
  hashLow = 0
  hashHigh = 0
  private last = -1

  /** @returns whether it is the first time in this trace */
  count(trace: CountedTrace): boolean {
    if (this.last === trace.number) return false
    this.last = trace.number
    if (trace.selected) {
      this.selected++
      this.selectedWeight += trace.weight
      if (this.selectedExample === -1) this.selectedExample = trace.number
    } else {
      this.others++
      this.othersWeight += trace.weight
      if (this.othersExample === -1) this.othersExample = trace.number
    }
    this.hashLow ^= mix(2 * trace.number)
    this.hashHigh ^= mix(2 * trace.number + 1)
    return true
  }

  /** Adds the counts of a feature of other traces. */
  include(other: Feature): this {
    this.selected += other.selected
    this.others += other.others
    this.selectedWeight += other.selectedWeight
    this.othersWeight += other.othersWeight
    if (this.selectedExample === -1) this.selectedExample = other.selectedExample
    if (this.othersExample === -1) this.othersExample = other.othersExample
    this.hashLow ^= other.hashLow
    this.hashHigh ^= other.hashHigh
    return this
  }

  get traces(): number {
    return this.selected + this.others
  }
}

/** Features of one kind that exclude each other in one span: the values of a key, the names of a service's spans. */
export interface Group {
  kind: FeatureKind
  /** The service that reported the spans; undefined for spans of any service. */
  service: string | undefined
  /** The annotation's key; '' for other kinds. */
  key: string
  /** Any of them: the key's presence, or any failed span of the service. */
  whole: Feature
  members: Map<string, Feature>
  /** For annotations: the numbers among the values. */
  numbers: Numbers | undefined
}

/** For each trace whose values of a key are numbers: the largest of them. */
export interface Numbers {
  traces: number[]
  largest: number[]
}

interface CountedTrace {
  number: number
  id: string
  selected: boolean
  /** How many traces it stands for: 1/p for a trace that was kept with the probability p, 0 for one that was forced. */
  weight: number
}

export interface FeatureLimits {
  /** Features of all groups together. */
  features: number
  /** Members of one group. */
  members: number
  /** Characters of all keys and members together. */
  characters: number
  /** Features that are counted of one trace. */
  perTrace: number
  /** Annotations that are counted of one record, so that a record with too many leaves room for the others of its trace. */
  perRecord: number
  /** Numbers that are kept of all groups together. */
  numbers: number
}

const LIMITS: FeatureLimits = {
  features: 100_000,
  members: 2_000,
  characters: 10_000_000,
  perTrace: 20_000,
  perRecord: 1_000,
  numbers: 1_000_000,
}

/** Longer names and values are compared by their beginning. Searches find them by it. */
export const MAX_LENGTH = 200
const NUMBER = /^-?\d{1,15}(\.\d{1,15})?$/

export class FeatureTable {
  readonly traces: CountedTrace[] = []
  /** Whether there were too many features, so that those of the fewest traces are missing or counted too low. */
  truncated = false
  private readonly limits: FeatureLimits
  private readonly skips: (key: string) => boolean
  /** By kind, service and key. */
  private readonly byService = new Map<string, Map<string, Group>>()
  private features = 0
  private characters = 0
  private numbers = 0
  private left = 0

  /** @param skips returns whether an annotation's key is left out */
  constructor(skips: (key: string) => boolean = () => false, limits: Partial<FeatureLimits> = {}) {
    this.skips = skips
    this.limits = { ...LIMITS, ...limits }
  }

  get size(): number {
    return this.features
  }

  /** Counts the features of a trace, in turns. */
  async add(records: SpanRecord[], id: string, selected: boolean, turns: Turns): Promise<void> {
    const trace = { number: this.traces.length, id, selected, weight: weightOf(jointProbability(records)) }
    this.traces.push(trace)
    this.left = this.limits.perTrace
    for (const record of records) {
      this.addHalf(record, trace)
      if (turns.over()) await turns.next()
    }
    for (const { service, annotations = [] } of records) {
      let ofRecord = 0
      for (const [key, value] of annotations) {
        if (turns.over()) await turns.next()
        if (this.left <= 0 || ofRecord++ >= this.limits.perRecord) {
          this.truncated = true
          break
        }
        if (!this.skips(key)) this.addAnnotation(service, clip(key), value, trace)
      }
    }
    if (this.features > this.limits.features || this.characters > this.limits.characters) await this.forget(turns)
  }

  *groups(): Generator<Group> {
    for (const groups of this.byService.values()) yield* groups.values()
  }

  private addHalf(record: SpanRecord, trace: CountedTrace): void {
    const service = record.service ? clip(record.service) : undefined
    const name = record.name ? clip(record.name) : undefined
    if (service !== undefined) this.count(this.group('service', undefined, ''), service, trace)
    if (name !== undefined) this.count(this.group('name', service, ''), name, trace)
    if (!isError(record)) return
    this.count(this.group('error', undefined, ''), undefined, trace)
    if (service !== undefined) this.count(this.group('error', service, ''), name, trace)
  }

  private addAnnotation(service: string | undefined, key: string, given: string, trace: CountedTrace): void {
    const value = clip(given)
    const number = NUMBER.test(given) ? Number(given) : undefined
    const scopes = service ? [undefined, clip(service)] : [undefined]
    for (const scope of scopes) {
      const group = this.group('annotation', scope, key)
      this.count(group, value, trace)
      if (number !== undefined) this.addNumber(group, number, trace)
    }
  }

  private group(kind: FeatureKind, service: string | undefined, key: string): Group {
    const scope = service === undefined ? kind : `${kind} ${service}`
    let groups = this.byService.get(scope)
    if (groups === undefined) this.byService.set(scope, (groups = new Map()))
    let group = groups.get(key)
    if (group === undefined) {
      group = { kind, service, key, whole: new Feature(), members: new Map(), numbers: undefined }
      groups.set(key, group)
      this.features++
      this.characters += key.length
    }
    return group
  }

  private count(group: Group, member: string | undefined, trace: CountedTrace): void {
    if (group.whole.count(trace)) this.left--
    if (member === undefined) return
    let feature = group.members.get(member)
    if (feature === undefined) {
      if (group.members.size >= this.limits.members) this.thin(group)
      feature = new Feature()
      group.members.set(member, feature)
      this.features++
      this.characters += member.length
    }
    if (feature.count(trace)) this.left--
  }

  private addNumber(group: Group, number: number, { number: trace }: CountedTrace): void {
    if (this.numbers >= this.limits.numbers) {
      this.truncated = true
      return
    }
    group.numbers ??= { traces: [], largest: [] }
    const { traces, largest } = group.numbers
    const at = traces.length - 1
    if (at >= 0 && traces[at] === trace) largest[at] = Math.max(largest[at]!, number)
    else {
      this.numbers++
      traces.push(trace)
      largest.push(number)
    }
  }

  /** Forgets members of the fewest traces, until half of them are left. */
  private thin(group: Group): void {
    const { members } = group
    const half = this.limits.members / 2
    for (let most = 1; members.size > half; most *= 2) {
      // What only one trace has tells nothing.
      if (most > 1) this.truncated = true
      for (const [member, feature] of members) {
        if (feature.traces > most) continue
        members.delete(member)
        this.features--
        this.characters -= member.length
        if (members.size <= half) break
      }
    }
  }

  /** Forgets features of all groups that the fewest traces have, until half of the room is free. */
  private async forget(turns: Turns): Promise<void> {
    const { features, characters } = this.limits
    for (let most = 1; this.features > features / 2 || this.characters > characters / 2; most *= 2) {
      if (most > 1) this.truncated = true
      for (const [scope, groups] of this.byService) {
        for (const [key, group] of groups) {
          for (const [member, feature] of group.members) {
            if (turns.over()) await turns.next()
            if (feature.traces > most) continue
            group.members.delete(member)
            this.features--
            this.characters -= member.length
          }
          if (turns.over()) await turns.next()
          if (group.whole.traces > most) continue
          groups.delete(key)
          this.features--
          this.characters -= key.length
          this.numbers -= group.numbers?.traces.length ?? 0
        }
        if (groups.size === 0) this.byService.delete(scope)
      }
    }
  }
}

/** Shortens a text, without half of a surrogate pair at its end. */
function clip(text: string): string {
  if (text.length <= MAX_LENGTH) return text
  const cut = text.slice(0, /[\ud800-\udbff]/.test(text[MAX_LENGTH - 1]!) ? MAX_LENGTH - 1 : MAX_LENGTH)
  // A copy: a slice would keep the whole text in memory.
  return Buffer.from(cut, 'utf16le').toString('utf16le')
}

/** A good mix of 32 bits (Murmur3's last step). */
function mix(n: number): number {
  let h = Math.imul(n + 0x9e3779b9, 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}
