import type { TraceSpan } from '../trace/model'
import { ownerOf } from '../trace/totals'
import type { AnalysedTrace, Analysis } from './analysis'
import type { BucketSums } from './bucket-sums'
import { largestLimit } from './fair-map'
import { TOP_LEVEL } from './latency-buckets'
import { byNeed, type Operation, Operations, OTHER_OPERATION } from './operations'
import { type Example, NODE, type PathNode } from './path-node'
import { rootResults } from './path-results'
import { type OperationSums, operationOf, RootSums, wholeOf } from './root-sums'

/** How many names there are at most, of all root operations. A path or an operation of a root operation counts as one. */
export interface PathBounds {
  roots: number
  paths: number
  operations: number
}

const BOUNDS: PathBounds = { roots: 1_000, paths: 8_000, operations: 5_000 }
/** How many times more there may be before those that are too many give way, which isn't done for each one. */
const SURPLUS = 1.25
/** How many words that nothing uses any more are kept, as they may come again. */
const UNUSED_WORDS = 10_000
/** 12 days: times that are farther apart are no times. */
const MAX_LATENCY_US = 2 ** 40

/**
 * What root operations wait for: the time on their critical paths by call path and by operation, in buckets of the latency. A part of the
 * critical path is weighed with 1/p, and all parts add up to the latencies of the roots. Forced traces stand for none.
 *
 * If there are too many paths, those of the root operations with the most give way, as in FairMap, the deepest first; their time goes to the
 * '(other)' of the nearest path above. Operations and root operations give way in the order of a hash, those with digits in
 * their names first.
 */
export class Paths implements Analysis {
  private readonly bounds: PathBounds
  private readonly roots = new Map<Operation, RootSums>()
  /** Root operations that don't keep their names. */
  private readonly other = new RootSums(OTHER_OPERATION, TOP_LEVEL)
  private readonly words = new Operations()
  private mostWords = UNUSED_WORDS
  /** How many paths, and operations, of one root operation keep their names. */
  private pathLimit: number
  private operationLimit: number
  private paths = 0
  private operations = 0
  /** The last root operation that keeps its name, once some have given way. */
  private lastRoot: Operation | undefined
  /** Of the trace that is being added: whether a span or one below it is on the critical path; by span, and by depth. */
  private isOn = new Uint8Array(MIN_KEPT)
  private isBelowOn = new Uint8Array(MIN_KEPT + 1)
  private readonly latest: PathNode[] = []
  private readonly isOther: boolean[] = []

  constructor(bounds = BOUNDS) {
    this.bounds = bounds
    this.pathLimit = bounds.paths
    this.operationLimit = bounds.operations
  }

  add(trace: AnalysedTrace): void {
    const { weight, tree, root: top } = trace
    if (weight === 0) return
    const root = this.rootOf(this.words.of(top.service, top.name))
    const latencyUs = top.durationUs
    if ((latencyUs === 0 && tree.spans[0]!.start === null) || latencyUs > MAX_LATENCY_US) {
      root.untimed++
      return
    }
    if (!top.isRoot) root.rootless++
    if (trace.isCut) root.cut++
    const example: Example = [trace.id, top.startUs ?? 0, latencyUs]
    const bucket = root.addTrace(example, weight, latencyUs)
    if (root === this.other) addTo(root.top.sums, bucket, weight, latencyUs)
    else this.addPaths(root, trace, bucket, example)
    root.fitLevel()
    this.bound(SURPLUS)
  }

  *partials(): Generator<[string, unknown], void> {
    this.bound(1)
    const limits = { pathLimit: this.pathLimit, operationLimit: this.operationLimit }
    for (const root of [this.other, ...this.roots.values()]) {
      const { service, name } = root.operation
      for (const part of root.parts()) yield [JSON.stringify([service, name]), { service, name, ...limits, ...part }]
    }
  }

  merge(_: string, partial: unknown): void {
    const { service, name, pathLimit, operationLimit, ...json } = partial as Record<string, unknown>
    const operation = operationOf(this.words, service, name)
    const limits = [wholeOf(pathLimit), wholeOf(operationLimit)] as const
    const read = RootSums.read(operation, json, this.words)
    this.pathLimit = Math.min(this.pathLimit, limits[0])
    this.operationLimit = Math.min(this.operationLimit, limits[1])
    const root = this.rootOf(operation)
    const before = [root.paths, root.operations.size] as const
    if (root === this.other) root.absorb(read)
    else root.merge(read)
    this.paths += root.paths - before[0]
    this.operations += root.operations.size - before[1]
    this.bound(SURPLUS)
  }

  *results(): Generator<object, void> {
    this.bound(1)
    yield* rootResults([...this.roots.values()], this.other)
  }

  private rootOf(operation: Operation): RootSums {
    if (operation.name === OTHER_OPERATION.name && operation.service === null) return this.other
    let root = this.roots.get(operation)
    if (root === undefined) {
      if (this.lastRoot !== undefined && byNeed(operation, this.lastRoot) > 0) return this.other
      this.roots.set(operation, (root = new RootSums(operation)))
      this.paths++
    }
    return root
  }

  private addPaths(root: RootSums, { tree, weight }: AnalysedTrace, bucket: number, example: Example): void {
    const { spans } = tree
    const { latest, isOther } = this
    const isOn = this.findCritical(spans)
    const before = [root.paths, root.operations.size] as const
    const nodes: PathNode[] = []
    const sums: OperationSums[] = []
    for (let i = 0; i < spans.length; i++) {
      if (isOn[i] === 0) continue
      const span = spans[i]!
      const { depth, criticalTime: us } = span
      const operation = depth === 0 ? root.operation : this.words.of(ownerOf(span), span.name)
      const above = depth === 0 ? undefined : latest[depth - 1]!
      const own = above === undefined ? root.top : isOther[depth - 1]! ? undefined : root.childOf(above, operation)
      const node = own ?? above!
      latest[depth] = node
      isOther[depth] = own === undefined
      if (us === 0) continue
      if (node.us === 0 && node.otherUs === 0) nodes.push(node)
      if (own === undefined) node.otherUs += us
      else node.us += us
      const of = root.sumsOf(operation)
      if (of === undefined) continue
      if (of.calls++ === 0) sums.push(of)
      of.us += us
    }
    for (const node of nodes) {
      if (node.us > 0) {
        addTo(node.sums, bucket, weight, node.us)
        node.offer(node.us, example)
      }
      if (node.otherUs > 0) addTo(node.otherSums(), bucket, weight, node.otherUs)
      node.us = node.otherUs = 0
    }
    for (const of of sums) {
      root.addOperation(of, bucket, weight)
      of.us = of.calls = 0
    }
    latest.length = isOther.length = 0
    this.paths += root.paths - before[0]
    this.operations += root.operations.size - before[1]
  }

  /** Finds the spans that are on the critical path, or have one below them that is. */
  private findCritical(spans: readonly TraceSpan[]): Uint8Array {
    if (spans.length > this.isOn.length || this.isOn.length > MAX_KEPT) {
      const length = 2 ** Math.ceil(Math.log2(Math.max(spans.length, MIN_KEPT)))
      this.isOn = new Uint8Array(length)
      this.isBelowOn = new Uint8Array(length + 1)
    }
    const { isOn, isBelowOn } = this
    for (let i = spans.length - 1; i >= 0; i--) {
      const { depth, criticalTime } = spans[i]!
      const on = criticalTime > 0 || isBelowOn[depth + 1] === 1 ? 1 : 0
      isBelowOn[depth + 1] = 0
      if (on === 1) isBelowOn[depth] = 1
      isOn[i] = on
    }
    isBelowOn[0] = 0
    return isOn
  }

  /** Lets names give way that are too many. @param surplus how many times as many there may be */
  private bound(surplus: number): void {
    const { bounds, roots } = this
    if (roots.size > bounds.roots * surplus) {
      const operations = [...roots.keys()].sort(byNeed)
      this.lastRoot = operations[bounds.roots - 1]
      for (const operation of operations.slice(bounds.roots)) {
        const root = roots.get(operation)!
        this.other.absorb(root)
        roots.delete(operation)
        this.paths -= root.paths
        this.operations -= root.operations.size
      }
    }
    if (surplus === 1 || this.paths > bounds.paths * surplus) {
      this.pathLimit = largestLimit(
        [...roots.values()].map(({ paths }) => paths),
        this.pathLimit,
        bounds.paths,
      )
      this.paths = 0
      for (const root of roots.values()) this.paths += root.trimPaths(this.pathLimit)
    }
    if (surplus === 1 || this.operations > bounds.operations * surplus) {
      const counts = [...roots.values()].map(({ operations }) => operations.size)
      this.operationLimit = largestLimit(counts, this.operationLimit, bounds.operations)
      this.operations = 0
      for (const root of roots.values()) this.operations += root.trimOperations(this.operationLimit)
    }
    if (this.words.size > this.mostWords) {
      this.words.keepOnly(this.used())
      this.mostWords = this.words.size + UNUSED_WORDS
    }
  }

  private *used(): Generator<Operation, void> {
    for (const root of this.roots.values()) {
      yield root.operation
      yield* root.operations.keys()
      for (const { operation } of root.top.nodes()) yield operation
    }
  }
}

const MIN_KEPT = 1024
const MAX_KEPT = 16 * MIN_KEPT

function addTo(sums: BucketSums, bucket: number, weight: number, us: number): void {
  const row = sums.rowOf(bucket)
  sums.addProduct(row, NODE.us, weight, us)
  sums.add(row, NODE.traces, 1)
}
