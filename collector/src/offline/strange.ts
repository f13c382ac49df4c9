import type { Exemplar } from '../http/answers'
import { OTHER } from '../store/activity/model'
import type { AnalysedTrace, Analysis } from './analysis'
import { listOf } from './bucket-sums'
import { ExactSums } from './exact-sums'
import { hashOf } from './examples'
import { FairMap } from './fair-map'
import { Operations } from './operations'
import { wholeOf } from './root-sums'
import { Shapes } from './shapes'

const ROOT_BOUNDS = { maxKeys: 2_000, maxGroups: 1_000 }
const SHAPE_BOUNDS = { maxKeys: 10_000, maxGroups: 1_000 }
/** How many traces of a root operation are listed: the slowest, and those of the rarest shapes. */
const LISTED = 10
/** How many traces of a shape are listed. */
const OF_SHAPE = 3
/** A shape isn't rare if more than this share of a root operation's traces have it. */
const RARE = 0.1

interface Found {
  traceId: string
  startUs: number | null
  durationUs: number
  spans: number
  weight: number
}

/** Traces of one kind: how many there are, how many they stand for, and some of them by a total order. */
class Traces {
  traces = 0
  readonly weights: ExactSums
  found: Found[] = []
  private readonly most: number
  private readonly order: (a: Found, b: Found) => number

  constructor(most: number, order: (a: Found, b: Found) => number, weights = new ExactSums()) {
    this.most = most
    this.order = order
    this.weights = weights
  }

  get weight(): number {
    return this.weights.get(0)
  }

  add(found: Found): void {
    if (found.weight > 0) this.traces++
    this.weights.add(0, found.weight)
    this.offer(found)
  }

  merge({ traces, weights, found }: Traces): void {
    this.traces += traces
    this.weights.merge(weights)
    for (const one of found) this.offer(one)
  }

  private offer(one: Found): void {
    const { found, most, order } = this
    if (found.length === most && order(found[most - 1]!, one) <= 0) return
    let at = found.length
    while (at > 0 && order(found[at - 1]!, one) > 0) at--
    found.splice(at, 0, one)
    if (found.length > most) found.pop()
  }

  toJSON(): object {
    const { traces, weights, found } = this
    return { traces, weights, found }
  }

  read(json: unknown): this {
    const { traces, weights, found } = json as Record<string, unknown>
    this.traces = wholeOf(traces)
    this.weights.merge(ExactSums.read(weights))
    for (const one of listOf(found)) {
      const { traceId, startUs, durationUs, spans, weight } = one as Found
      const isFound = typeof traceId === 'string' && [durationUs, spans, weight].every(Number.isFinite)
      if (!isFound || (startUs !== null && !Number.isFinite(startUs))) throw new RangeError('not a trace')
      this.offer({ traceId, startUs, durationUs, spans, weight })
    }
    return this
  }
}

const slowest = () => new Traces(LISTED, (a, b) => b.durationUs - a.durationUs || byId(a, b))
/** Some traces of a shape, by their ids' hashes: a fair choice. */
const ofShape = () => new Traces(OF_SHAPE, (a, b) => hashOf(a.traceId) - hashOf(b.traceId) || byId(a, b))

function byId(a: Found, b: Found): number {
  return a.traceId < b.traceId ? -1 : a.traceId > b.traceId ? 1 : 0
}

/**
 * The slowest traces of each root operation, and those whose shape is rarest: see Shapes. Shapes are weighed with 1/p, and forced traces
 * say nothing of how rare a shape is. If there are too many shapes, those of the root operations with the most are a fair
 * sample of them: their weights are exact, and how many there are is an estimate.
 */
export class Strange implements Analysis {
  private readonly words = new Operations()
  private readonly shapesOf = new Shapes(this.words)
  /** By root operation; there is one key. */
  private readonly roots: FairMap<Traces>
  private readonly shapes: FairMap<Traces>

  constructor(rootBounds = ROOT_BOUNDS, shapeBounds = SHAPE_BOUNDS) {
    const merge = (to: Traces, from: Traces) => to.merge(from)
    this.roots = new FairMap(rootBounds, slowest, merge)
    this.shapes = new FairMap(shapeBounds, ofShape, merge)
  }

  add({ id, tree, weight, root }: AnalysedTrace): void {
    const group = JSON.stringify([root.service, root.name])
    const { startUs, durationUs } = root
    const found: Found = { traceId: id, startUs, durationUs, spans: tree.spans.length, weight }
    this.roots.get(group, '').add(found)
    if (weight === 0) return
    this.shapes.get(group, this.shapesOf.of(tree.spans)).add(found)
    if (this.words.size > MAX_WORDS) this.words.keepOnly([])
  }

  *partials(): Generator<[string, unknown], void> {
    for (const map of ['roots', 'shapes'] as const) {
      const { limit } = this[map]
      for (const [group, key, value] of this[map].entries())
        yield [`${map} ${group} ${key}`, { map, limit, group, key, value }]
    }
  }

  merge(_: string, partial: unknown): void {
    const { map, limit, group, key, value } = partial as Record<string, unknown>
    if (typeof group !== 'string' || typeof key !== 'string') throw new RangeError('not of a root operation')
    const [to, read] = map === 'roots' ? [this.roots, slowest().read(value)] : [this.shapes, ofShape().read(value)]
    to.lower(wholeOf(limit))
    to.get(group, key).merge(read)
  }

  *results(): Generator<object, void> {
    const shapes = new Map<string, { shape: string; of: Traces }[]>()
    for (const [group, shape, of] of this.shapes.entries()) {
      const known = shapes.get(group)
      if (known === undefined) shapes.set(group, [{ shape, of }])
      else known.push({ shape, of })
    }
    const { limit } = this.shapes
    for (const [group, , all] of this.roots.entries()) {
      const root = rootOf(group)
      for (const [i, found] of all.found.entries()) yield { kind: 'slow', root, rank: i + 1, ...said(found) }
      if (group !== OTHER) yield* rarest(root, all, shapes.get(group) ?? [], limit)
    }
  }
}

const MAX_WORDS = 10_000

function* rarest(root: object, all: Traces, shapes: { shape: string; of: Traces }[], limit: number) {
  const named = shapes.filter(({ shape }) => shape !== OTHER)
  const rare = named.filter(({ of }) => of.weight <= RARE * all.weight)
  rare.sort((a, b) => a.of.weight - b.of.weight || (a.shape < b.shape ? -1 : 1))
  const isSample = named.length < shapes.length
  for (const [i, { shape, of }] of rare.slice(0, LISTED).entries()) {
    const [first] = of.found
    const examples = of.found.map(({ traceId, startUs, durationUs }): Exemplar => {
      return { traceId, start: startUs ?? 0, duration: durationUs, kind: 'typical' }
    })
    yield {
      kind: 'strange',
      root,
      rank: i + 1,
      shape,
      share: rounded(of.weight / all.weight),
      traces: of.traces,
      weight: rounded(of.weight),
      shapes: isSample ? estimate(named, limit) : named.length,
      ...(isSample && { isSample }),
      of: all.traces,
      ...said(first!),
      examples,
    }
  }
}

function said({ traceId, startUs, durationUs, spans, weight }: Found): object {
  return { traceId, start: startUs, durationUs, spans, weight: rounded(weight) }
}

/** How many shapes there are if these have the least hashes of all: as dense as they are. */
function estimate(named: { shape: string }[], limit: number): number {
  const last = Math.max(...named.map(({ shape }) => hashOf(shape)))
  return Math.max(limit, Math.round(((named.length - 1) * 2 ** 32) / (last + 1)))
}

function rootOf(group: string): object {
  if (group === OTHER) return { service: null, name: OTHER }
  const [service, name] = JSON.parse(group) as [string | null, string]
  return { service, name }
}

function rounded(n: number): number {
  return Number(n.toPrecision(9))
}
