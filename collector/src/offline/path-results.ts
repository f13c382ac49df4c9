import { OTHER } from '../store/activity/model'
import { BANDS } from '../store/analysis/model'
import type { BucketSums } from './bucket-sums'
import { CUTS, endOf, middleOfBucket, ratioOf } from './latency-buckets'
import { ALL_BANDS, BandParts, type Mean } from './latency-means'
import { byName, type Operation } from './operations'
import { examplesOf, NODE, OTHER_STEP, type PathNode, pathOf } from './path-node'
import { ALL, type RootSums, SUM } from './root-sums'

/** Writes what is known of root operations as the lines of the results: docs/offline.md has their form. The busiest come first. */
export function* rootResults(roots: RootSums[], other: RootSums): Generator<object, void> {
  const known = roots.filter(root => root.all.buckets.length > 0)
  const weights = new Map(known.map(root => [root, totalOf(root.all, ALL.weight)]))
  known.sort((a, b) => weights.get(b)! - weights.get(a)! || byName(a.operation, b.operation))
  if (other.all.buckets.length > 0) known.push(other)
  for (const root of known) {
    const bands = bandsOf(root)
    const paths = pathsOf(root, bands)
    yield rootLine(root, bands, paths)
    const of = nameOf(root.operation)
    for (const { path, us, traces, examples } of paths) yield { kind: 'path', root: of, path, us, traces, examples }
    if (root !== other) yield* operationLines(root)
  }
}

/** A band of whole buckets: each trace is in one band, and its latency tells in which. */
interface WholeBand {
  buckets: number[]
  /** The bucket with the band's median. */
  median: number | undefined
}

function bandsOf({ all }: RootSums): WholeBand[] {
  const buckets = [...all.buckets].sort((a, b) => a - b)
  const total = totalOf(all, ALL.weight)
  const bands = BANDS.map((): WholeBand => ({ buckets: [], median: undefined }))
  let [below, band] = [0, 0]
  for (const bucket of buckets) {
    // As percentiles of a sketch: a cut is in the first bucket up to which there is so much, but for what rounding takes away.
    while (band < BANDS.length - 1 && below >= (CUTS[band + 1]! - 1e-9) * total) band++
    bands[band]!.buckets.push(bucket)
    below += all.get(bucket, ALL.weight)
  }
  for (const band of bands) {
    const half = band.buckets.reduce((sum, bucket) => sum + all.get(bucket, ALL.weight), 0) / 2
    let sum = 0
    band.median = band.buckets.find(bucket => (sum += all.get(bucket, ALL.weight)) >= half)
  }
  return bands
}

interface PathLine {
  path: [service: string | null, name: string][]
  us: number[]
  traces: number[] | null
  examples: object[]
}

/** The paths, those of a path below it and the one with the most time first. Of each band their times add up to a whole number. */
function pathsOf({ top }: RootSums, bands: WholeBand[]): PathLine[] {
  const lines: PathLine[] = []
  const sum = (sums: BucketSums, which: number) => bands.map(({ buckets }) => totalOf(sums, which, buckets))
  const below = timeBelow(top)
  const stack: PathNode[] = [top]
  while (stack.length > 0) {
    const node = stack.pop()!
    const own = sum(node.sums, NODE.us)
    const path = pathOf(node)
    lines.push({ path, us: own, traces: sum(node.sums, NODE.traces), examples: node.examples() })
    if (node.other !== undefined) {
      lines.push({ path: [...path, OTHER_STEP], us: sum(node.other, NODE.us), traces: null, examples: [] })
    }
    const children = [...(node.children?.values() ?? [])]
    // The last of the stack comes first.
    stack.push(...children.sort((a, b) => below.get(a)! - below.get(b)! || byName(b.operation, a.operation)))
  }
  for (const i of bands.keys()) {
    const whole = inWholeNumbers(lines.map(({ us }) => us[i]!))
    for (const [l, line] of lines.entries()) line.us[i] = whole[l]!
  }
  return lines
}

function timeBelow(top: PathNode): Map<PathNode, number> {
  const times = new Map<PathNode, number>()
  for (const node of top.nodes().reverse()) {
    let us = totalOf(node.sums, NODE.us) + (node.other === undefined ? 0 : totalOf(node.other, NODE.us))
    if (node.children !== undefined) for (const child of byOrder(node.children.values())) us += times.get(child)!
    times.set(node, us)
  }
  return times
}

/** In an order that doesn't depend on which came first: sums of floats do. */
function byOrder(nodes: Iterable<PathNode>): PathNode[] {
  return [...nodes].sort((a, b) => byName(a.operation, b.operation))
}

/**
 * Rounds numbers ≥ 0 so that they add up to their rounded sum: those with the largest fractions are rounded up.
 * @param total what they add up to, if that is known better
 */
export function inWholeNumbers(numbers: readonly number[], total = numbers.reduce((sum, n) => sum + n, 0)): number[] {
  const whole = numbers.map(Math.floor)
  let left = Math.round(total) - whole.reduce((sum, n) => sum + n, 0)
  if (left <= 0) return whole
  const order = numbers.map((_, i) => i).sort((a, b) => numbers[b]! - whole[b]! - (numbers[a]! - whole[a]!) || a - b)
  for (const i of order) {
    if (left-- <= 0) break
    whole[i]!++
  }
  return whole
}

function rootLine(root: RootSums, bands: WholeBand[], paths: PathLine[]): object {
  const { all, level, rootless, cut, untimed, examples } = root
  const weight = totalOf(all, ALL.weight)
  const ends = bands.map(({ buckets }) => (buckets.length === 0 ? undefined : endOf(buckets.at(-1)!, level)))
  const limits = bands.map((_, i) => ends.slice(0, i + 1).findLast(end => end !== undefined) ?? 0)
  const parts = ALL_BANDS.map(band => new BandParts(root, band))
  const percentile = (i: number) => {
    const bucket = bands
      .slice(0, i + 1)
      .findLast(({ buckets }) => buckets.length > 0)
      ?.buckets.at(-1)
    return bucket === undefined ? null : Math.round(middleOfBucket(bucket, level))
  }
  return {
    kind: 'root',
    root: nameOf(root.operation),
    traces: totalOf(all, ALL.traces),
    weight: rounded(weight),
    rootless,
    cut,
    untimed,
    meanUs: Math.round(totalOf(all, ALL.us) / weight),
    p50Us: percentile(0),
    p95Us: percentile(1),
    p99Us: percentile(2),
    bucketRatio: rounded(ratioOf(level)),
    bands: bands.map(({ buckets, median }, i) => ({
      band: BANDS[i],
      overUs: i === 0 ? null : limits[i - 1],
      upToUs: i === BANDS.length - 1 ? null : limits[i],
      traces: totalOf(all, ALL.traces, buckets),
      weight: rounded(totalOf(all, ALL.weight, buckets)),
      us: paths.reduce((sum, { us }) => sum + us[i]!, 0),
      examples: examplesOf(median === undefined ? undefined : examples.get(median), 'typical'),
    })),
    means: parts.map(part => meanOf(part.latency())),
  }
}

/** Of each band the operations' means add up to that of the root operation, in nanoseconds. */
function operationLines(root: RootSums): object[] {
  const operations = [...root.operations].sort(([a], [b]) => byName(a, b))
  const means = operations.map((): object[] => [])
  const rest: number[] = []
  for (const band of ALL_BANDS) {
    const part = new BandParts(root, band)
    const own = operations.map(([, { sums }]) => part.of(sums))
    const total = Math.round(part.latency().us * 1000)
    const most = own.reduce((sum, { us }) => sum + us, 0) * 1000
    const hasOthers = most < total - 1
    const ns = inWholeNumbers(own.map(({ us }) => us * 1000).concat(hasOthers ? total - most : []), total)
    for (const [i, mean] of own.entries()) {
      const calls = part.weight > 0 ? rounded(part.sum(operations[i]![1].sums, SUM.calls) / part.weight) : 0
      means[i]!.push({ ...meanOf(mean), us: ns[i]! / 1000, calls })
    }
    rest.push(hasOthers ? ns.at(-1)! / 1000 : 0)
  }
  const of = nameOf(root.operation)
  const lines: object[] = operations.map(([{ service, name }, { sums }], i) => ({
    kind: 'operation',
    root: of,
    service,
    name,
    traces: totalOf(sums, SUM.traces),
    means: means[i],
  }))
  if (rest.some(us => us > 0)) {
    const others = rest.map(us => ({ us, se: null, degrees: 1, calls: null }))
    lines.push({ kind: 'operation', root: of, service: null, name: OTHER, traces: null, means: others })
  }
  return lines
}

function meanOf({ us, se, degrees }: Mean): Mean {
  return { us: Math.round(us * 1000) / 1000, se: se === null ? null : rounded(se), degrees: rounded(degrees) }
}

function nameOf({ service, name }: Operation) {
  return { service, name }
}

/** Sums in the order of the buckets, which is the same however they came. */
function totalOf(sums: BucketSums, which: number, buckets: readonly number[] = sums.buckets): number {
  return [...buckets].sort((a, b) => a - b).reduce((sum, bucket) => sum + sums.get(bucket, which), 0)
}

/** Rounds to nine significant digits. */
function rounded(n: number): number {
  return Number(n.toPrecision(9))
}
