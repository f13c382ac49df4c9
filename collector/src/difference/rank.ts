import { benjaminiHochberg } from '../false-discovery'
import type { Feature as FeatureAnswer, Finding, FindingCount } from '../http/answers'
import type { Turns } from '../turns'
import { Feature, type FeatureTable, type Group, MAX_LENGTH } from './features'
import { type Counts, fisherExact, informationBits, smallestP, smoothedLift } from './statistics'

/**
 * Ranks what tells the selected traces from the others. What chance explains is left out; what says the same as another finding is
 * put with it.
 */

export interface RankOptions {
  /** `score`: what tells most about whether a trace is selected. `lift`: what is the largest number of times as frequent, or as rare. */
  order: 'score' | 'lift'
  /** Of each list. */
  limit: number
  /** Returns whether the selection itself asks for the feature, so that it is no news. */
  isAskedFor?(feature: FeatureAnswer): boolean
}

interface Ranking {
  more: Finding[]
  less: Finding[]
  tested: number
  selected: Weights
  others: Weights
}

/** The weights of a group of traces. */
export interface Weights {
  traces: number
  forced: number
  sum: number
  /** Kish's effective sample size: how many traces of equal weight have as much to say. */
  effective: number
}

/** Of what is listed, at most this share is there by chance, on average. */
const CHANCE = 0.05
/** A key whose values are at least so many different numbers is compared by ranges, too. */
const MIN_NUMBERS = 12
/** Ranges begin and end at quantiles of all the traces' numbers, whichever group they are in. */
const BINS = 8
const MAX_ALSO = 10

interface Candidate {
  feature: FeatureAnswer
  counts: Counts
  shares: [selected: number, others: number]
  found: Feature
  p: number
  score: number
  lift: number
}

export async function rank(table: FeatureTable, options: RankOptions, turns: Turns): Promise<Ranking> {
  const selected = weigh(table, true)
  const others = weigh(table, false)
  const candidates: Candidate[] = []
  let tested = 0
  for await (const { feature, found } of features(table, turns)) {
    if (turns.over()) await turns.next()
    if (options.isAskedFor?.(feature)) continue
    const shares: [number, number] = [
      shareOf(found.selectedWeight, selected.sum),
      shareOf(found.othersWeight, others.sum),
    ]
    const counts = effectiveCounts(shares, selected, others)
    if (smallestP(counts) > CHANCE) continue
    tested++
    const p = fisherExact(counts)
    if (p > CHANCE) continue
    candidates.push({
      feature,
      counts,
      shares,
      found,
      p,
      score: informationBits(...shares),
      lift: smoothedLift(counts),
    })
  }
  const corrected = benjaminiHochberg(
    candidates.map(({ p }) => p),
    tested,
  )
  const certain = candidates.map((candidate, i) => ({ ...candidate, p: corrected[i]! })).filter(({ p }) => p <= CHANCE)
  const list = (some: Candidate[]) =>
    collapse(withoutRepeats(some))
      .sort((a, b) => compare(a.best, b.best, options.order))
      .slice(0, options.limit)
      .map(({ best, also }) => findingOf(best, also, table))
  const more = list(certain.filter(({ lift }) => lift > 1))
  const less = list(certain.filter(({ lift }) => lift < 1))
  return { more, less, tested, selected, others }
}

function weigh({ traces }: FeatureTable, selected: boolean): Weights {
  const weights = { traces: 0, forced: 0, sum: 0, effective: 0 }
  let squares = 0
  for (const trace of traces) {
    if (trace.selected !== selected) continue
    weights.traces++
    if (trace.weight === 0) weights.forced++
    weights.sum += trace.weight
    squares += trace.weight ** 2
  }
  weights.effective = squares === 0 ? 0 : Math.round(weights.sum ** 2 / squares)
  return weights
}

function shareOf(weight: number, sum: number): number {
  // Sums of fractions may be off by a last digit.
  return sum === 0 ? 0 : Math.min(1, weight / sum)
}

/** The shares as counts of traces of equal weight, which is what the test needs. */
function effectiveCounts([a, b]: [number, number], selected: Weights, others: Weights): Counts {
  return {
    selected: Math.round(a * selected.effective),
    selectedOf: selected.effective,
    others: Math.round(b * others.effective),
    othersOf: others.effective,
  }
}

interface Seen {
  feature: FeatureAnswer
  found: Feature
}

async function* features(table: FeatureTable, turns: Turns): AsyncGenerator<Seen> {
  for (const group of table.groups()) {
    const whole = describe(group, undefined)
    if (whole !== undefined) yield { feature: whole, found: group.whole }
    for (const [member, found] of group.members) {
      const feature = describe(group, member)
      if (feature !== undefined) yield { feature, found }
    }
    if (group.numbers !== undefined) yield* await ranges(group, table, turns)
  }
}

const NOTHING: Omit<FeatureAnswer, 'kind'> = {
  service: null,
  name: null,
  key: null,
  value: null,
  min: null,
  max: null,
}

/** @param member undefined for the group as a whole; undefined is returned if that is no feature of its own */
function describe(group: Group, member: string | undefined): FeatureAnswer | undefined {
  const { kind, key } = group
  const service = group.service ?? null
  const cut = Math.max(key.length, member?.length ?? 0) >= MAX_LENGTH - 1 && { cut: true as const }
  switch (kind) {
    case 'service':
      return member === undefined ? undefined : { ...NOTHING, kind, service: member, ...cut }
    case 'name':
      return member === undefined ? undefined : { ...NOTHING, kind, service, name: member, ...cut }
    case 'error':
      return { ...NOTHING, kind, service, name: member ?? null, ...cut }
    case 'annotation':
      return { ...NOTHING, kind, service, key, value: member ?? null, ...cut }
  }
}

/**
 * Divides a key's numbers at quantiles, and counts the traces of each range of neighboring parts. The quantiles are those of both
 * groups together: if they were chosen to suit the difference, the test would find one everywhere.
 */
async function ranges(group: Group, table: FeatureTable, turns: Turns): Promise<Seen[]> {
  const { traces, largest } = group.numbers!
  // Most of the traces that have the key have a number there.
  if (traces.length < 0.9 * group.whole.traces) return []
  const sorted = Float64Array.from(largest).sort()
  const bounds: number[] = []
  let distinct = 0
  for (let i = 0; i < sorted.length; i++) if (i === 0 || sorted[i] !== sorted[i - 1]) distinct++
  if (distinct < MIN_NUMBERS) return []
  for (let bin = 1; bin < BINS; bin++) {
    const bound = sorted[Math.floor((bin * sorted.length) / BINS)]!
    if (bound > (bounds.at(-1) ?? sorted[0]!)) bounds.push(bound)
  }
  const binOf = (number: number) => {
    let bin = 0
    while (bin < bounds.length && number >= bounds[bin]!) bin++
    return bin
  }
  const bins = Array.from({ length: bounds.length + 1 }, () => ({
    found: new Feature(),
    min: Infinity,
    max: -Infinity,
  }))
  for (const [i, number] of traces.entries()) {
    if (turns.over()) await turns.next()
    const bin = bins[binOf(largest[i]!)]!
    bin.min = Math.min(bin.min, largest[i]!)
    bin.max = Math.max(bin.max, largest[i]!)
    bin.found.count(table.traces[number]!)
  }
  const seen: Seen[] = []
  for (let from = 0; from < bins.length; from++) {
    const found = new Feature()
    for (let to = from; to < bins.length; to++) {
      found.include(bins[to]!.found)
      // All of them: that is the key's presence.
      if (from === 0 && to === bins.length - 1) continue
      const feature: FeatureAnswer = {
        ...NOTHING,
        kind: 'range',
        service: group.service ?? null,
        key: group.key,
        min: bins[from]!.min,
        max: bins[to]!.max,
      }
      seen.push({ feature, found: new Feature().include(found) })
    }
  }
  return seen
}

/**
 * Of one annotation in spans of any service and in those of each service, keeps what tells most; likewise of a key's ranges. A key's
 * presence is kept only if it tells more than each of its values.
 */
function withoutRepeats(candidates: Candidate[]): Candidate[] {
  const alike = new Map<string, Candidate[]>()
  const bestOfKey = new Map<string, number>()
  for (const candidate of candidates) {
    const { kind, service, name, key, value } = candidate.feature
    const same = kind === 'annotation' ? [key, value] : kind === 'range' ? [key] : [service, name]
    const id = JSON.stringify([kind, ...same])
    const others = alike.get(id)
    if (others === undefined) alike.set(id, [candidate])
    else others.push(candidate)
    if (key !== null && (value !== null || kind === 'range')) {
      bestOfKey.set(key, Math.max(bestOfKey.get(key) ?? 0, candidate.score))
    }
  }
  return [...alike.values()]
    .map(bestOf)
    .filter(
      ({ feature: { kind, key, value }, score }) =>
        kind !== 'annotation' || value !== null || score > (bestOfKey.get(key!) ?? 0),
    )
}

/** Returns the most telling one. If spans of any service are spans of one service, that service is named. */
function bestOf(alike: Candidate[]): Candidate {
  const [best, ...others] = alike.sort((a, b) => compare(a, b, 'score'))
  const ofServices = others.filter(
    ({ feature, found }) => feature.service !== null && setOf(found) === setOf(best!.found),
  )
  return best!.feature.service === null && ofServices.length === 1 ? ofServices[0]! : best!
}

/** Returns a string that is equal for the same set of traces. */
function setOf({ hashLow, hashHigh, selected, others }: Feature): string {
  return `${hashLow} ${hashHigh} ${selected} ${others}`
}

/** Of findings that exactly the same traces have, which one comes first: the simplest. */
const SIMPLEST: FeatureAnswer['kind'][] = ['service', 'name', 'error', 'annotation', 'range']

/** Puts features of exactly the same traces together: no comparison of traces can tell which of them is the cause. */
function collapse(candidates: Candidate[]): { best: Candidate; also: FeatureAnswer[] }[] {
  const sets = new Map<string, Candidate[]>()
  for (const candidate of candidates) {
    const set = setOf(candidate.found)
    const same = sets.get(set)
    if (same === undefined) sets.set(set, [candidate])
    else same.push(candidate)
  }
  return [...sets.values()].map(same => {
    const [best, ...also] = same.sort(
      (a, b) =>
        SIMPLEST.indexOf(a.feature.kind) - SIMPLEST.indexOf(b.feature.kind) ||
        // The more is named, the more it says.
        named(b.feature) - named(a.feature) ||
        byText(a.feature, b.feature),
    )
    return { best: best!, also: also.slice(0, MAX_ALSO).map(({ feature }) => feature) }
  })
}

function named({ service, name, value }: FeatureAnswer): number {
  return Number(service !== null) + Number(name !== null) + Number(value !== null)
}

/** Orders candidates from the most telling one. */
function compare(a: Candidate, b: Candidate, order: RankOptions['order']): number {
  const [mostA, mostB] = order === 'score' ? [a.score, b.score] : [strength(a.lift), strength(b.lift)]
  const [secondA, secondB] = order === 'score' ? [strength(a.lift), strength(b.lift)] : [a.score, b.score]
  return byNumber(mostA, mostB) || byNumber(secondA, secondB) || byText(a.feature, b.feature)
}

function strength(lift: number): number {
  return Math.abs(Math.log(lift))
}

/** The larger comes first. What differs by rounding alone is equal. */
function byNumber(a: number, b: number): number {
  return Number(b.toPrecision(9)) - Number(a.toPrecision(9))
}

function byText(a: FeatureAnswer, b: FeatureAnswer): number {
  const textOf = ({ kind, key, value, service, name, min, max }: FeatureAnswer) =>
    // A feature of any service comes before the same of one.
    JSON.stringify([SIMPLEST.indexOf(kind), key ?? '', value ?? '', service ?? '', name ?? '', min, max])
  const [textA, textB] = [textOf(a), textOf(b)]
  return textA < textB ? -1 : textA > textB ? 1 : 0
}

function findingOf({ feature, shares, found, lift, score, p }: Candidate, also: FeatureAnswer[], table: FeatureTable) {
  const count = (traces: number, share: number, example: number): FindingCount => ({
    traces,
    share: round(share),
    example: table.traces[example]?.id ?? null,
  })
  const finding: Finding = {
    ...feature,
    selected: count(found.selected, shares[0], found.selectedExample),
    others: count(found.others, shares[1], found.othersExample),
    lift: round(lift),
    score: round(score),
    p: round(p),
    also,
  }
  return finding
}

/** Rounds to four significant digits. */
function round(n: number): number {
  return Number(n.toPrecision(4))
}
