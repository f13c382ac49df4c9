import { BucketSums, listOf } from './bucket-sums'
import { hashOf } from './examples'
import { atLevel, bucketOf, MAX_BUCKETS, TOP_LEVEL } from './latency-buckets'
import { byNeed, type Operation, type Operations } from './operations'
import { type Example, exampleOf, PathNode } from './path-node'

/**
 * The sums of an operation's buckets. With w = 1/p, and x what a trace spends in the operation on its critical path: Σ w·x; Σ w²·x and Σ w²·x²,
 * which tell how uncertain the mean of x is (x in milliseconds in the latter); the number of traces that have it on their paths;
 * and Σ w · calls there.
 */
export const SUM = { us: 0, squareUs: 1, squares: 2, traces: 3, calls: 4 }
const WIDTH = 5
/** Those of all the root operation's traces: x is the latency. Σ w and Σ w² come last. */
export const ALL = { us: 0, squareUs: 1, squares: 2, traces: 3, weight: 4, squareWeight: 5 }
const ALL_WIDTH = 6

/** How many rows a partial result has: some MB. */
const MAX_SUMS = 100_000

export class OperationSums {
  sums: BucketSums
  /** Of the trace that is being added. */
  us = 0
  calls = 0

  constructor(sums = new BucketSums(WIDTH)) {
    this.sums = sums
  }
}

/** What is known of the traces of one root operation, by buckets of their latency. */
export class RootSums {
  readonly operation: Operation
  level: number
  all = new BucketSums(ALL_WIDTH)
  /** How many traces have no root, are cut, or have no times; those without times aren't among the others. */
  rootless = 0
  cut = 0
  untimed = 0
  readonly top: PathNode
  paths = 1
  readonly operations = new Map<Operation, OperationSums>()
  /** Of each bucket the trace whose id has the least hash. */
  examples = new Map<number, Example>()
  /** The last ones that keep their names, once some have given way. What comes behind them isn't added first. */
  private lastPath: PathNode | undefined
  private lastOperation: Operation | undefined

  constructor(operation: Operation, level = 0) {
    this.operation = operation
    this.level = level
    this.top = new PathNode(operation)
  }

  /** Adds a trace, but not its paths and operations. @returns its bucket */
  addTrace(example: Example, weight: number, latencyUs: number): number {
    const bucket = bucketOf(latencyUs, this.level)
    const row = this.all.rowOf(bucket)
    this.all.addProduct(row, ALL.us, weight, latencyUs)
    this.all.add(row, ALL.squareUs, weight * weight * latencyUs)
    this.all.add(row, ALL.squares, (weight * latencyUs * 1e-3) ** 2)
    this.all.add(row, ALL.traces, 1)
    this.all.add(row, ALL.weight, weight)
    this.all.add(row, ALL.squareWeight, weight * weight)
    this.offer(bucket, example)
    return bucket
  }

  /** Adds what the trace that was added had in an operation. */
  addOperation(of: OperationSums, bucket: number, weight: number): void {
    const { sums, us, calls } = of
    const row = sums.rowOf(bucket)
    sums.addProduct(row, SUM.us, weight, us)
    sums.add(row, SUM.squareUs, weight * weight * us)
    sums.add(row, SUM.squares, (weight * us * 1e-3) ** 2)
    sums.add(row, SUM.traces, 1)
    sums.add(row, SUM.calls, weight * calls)
  }

  /** Returns undefined for an operation that wouldn't keep its name. */
  sumsOf(operation: Operation): OperationSums | undefined {
    const known = this.operations.get(operation)
    if (known !== undefined) return known
    if (this.lastOperation !== undefined && byNeed(operation, this.lastOperation) > 0) return undefined
    const sums = new OperationSums()
    this.operations.set(operation, sums)
    return sums
  }

  /** Makes buckets larger while there are too many. */
  fitLevel(): void {
    while (this.all.buckets.length > MAX_BUCKETS && this.level < TOP_LEVEL) this.raiseTo(this.level + 1)
  }

  raiseTo(level: number): void {
    const levels = level - this.level
    if (levels <= 0) return
    this.level = level
    this.all = this.all.coarser(levels)
    this.top.coarsen(levels)
    for (const of of this.operations.values()) of.sums = of.sums.coarser(levels)
    const { examples } = this
    this.examples = new Map()
    for (const [bucket, example] of examples) this.offer(atLevel(bucket, levels), example)
  }

  /** Adds all of another root operation, whose name isn't kept. It is of use for nothing else then. */
  absorb(other: RootSums): void {
    other.raiseTo(this.level)
    this.addAll(other)
    this.top.sums.mergeSome(other.all, [ALL.us, ALL.traces])
  }

  private addAll(other: RootSums): void {
    this.all.merge(other.all)
    this.rootless += other.rootless
    this.cut += other.cut
    this.untimed += other.untimed
    for (const [bucket, example] of other.examples) this.offer(bucket, example)
  }

  /** Returns the child of one of the paths; undefined if there can be none. */
  childOf(node: PathNode, operation: Operation): PathNode | undefined {
    const known = node.children?.get(operation)
    if (known !== undefined) return known
    if (this.lastPath?.isBefore(node, operation)) return undefined
    const added = node.addChild(operation)
    if (added !== undefined) this.paths++
    return added
  }

  /** Lets paths give way. @param kept the number of those that keep their names @returns how many there are then */
  trimPaths(kept: number): number {
    if (this.paths <= kept) return this.paths
    const nodes = this.top.nodes().sort(PathNode.byNeed)
    // Children come behind their parents in this order, so they go first.
    for (let i = nodes.length - 1; i >= kept; i--) nodes[i]!.giveWay()
    this.paths = kept
    this.lastPath = nodes[kept - 1]
    return kept
  }

  /** Forgets operations: what they have is what the root operation has beyond the others. */
  trimOperations(kept: number): number {
    if (this.operations.size <= kept) return this.operations.size
    const operations = [...this.operations.keys()].sort(byNeed)
    for (const operation of operations.slice(kept)) this.operations.delete(operation)
    this.lastOperation = operations[kept - 1]
    return kept
  }

  private offer(bucket: number, example: Example): void {
    const known = this.examples.get(bucket)
    if (known !== undefined && known[0] === example[0]) return
    const isFirst = known === undefined || hashOf(example[0]) < hashOf(known[0])
    if (isFirst || (hashOf(example[0]) === hashOf(known[0]) && example[0] < known[0]))
      this.examples.set(bucket, example)
  }

  /** Partial results for JSON: several if one would be a longer line than is read, each with the sums of some buckets. */
  *parts(maxSums = MAX_SUMS): Generator<object, void> {
    const { level, all, top, operations, examples } = this
    let { rootless, cut, untimed } = this
    let sums = 0
    for (const node of top.nodes()) sums += node.sums.buckets.length + (node.other?.buckets.length ?? 0)
    for (const of of operations.values()) sums += of.sums.buckets.length
    const buckets = all.buckets
    const size = Math.max(1, Math.floor((maxSums * buckets.length) / Math.max(1, sums)))
    for (let from = 0; from === 0 || from < buckets.length; from += size) {
      const wanted = new Set(buckets.slice(from, from + size))
      const isWanted = (bucket: number) => wanted.has(bucket)
      yield {
        level,
        all: all.list(isWanted),
        ...{ rootless, cut, untimed },
        paths: top.list(isWanted),
        operations: [...operations].map(([{ service, name }, { sums }]) => [service, name, sums.list(isWanted)]),
        examples: [...examples].filter(([bucket]) => wanted.has(bucket)),
      }
      rootless = cut = untimed = 0
    }
  }

  /** Reads what parts() gave. @throws RangeError if it isn't that */
  static read(operation: Operation, json: unknown, known: Operations): RootSums {
    const of = json as Record<string, unknown>
    const level = wholeOf(of.level)
    if (level > TOP_LEVEL) throw new RangeError('not a level')
    const read = new RootSums(operation, level)
    read.all = BucketSums.read(of.all, ALL_WIDTH)
    read.rootless = wholeOf(of.rootless)
    read.cut = wholeOf(of.cut)
    read.untimed = wholeOf(of.untimed)
    const nodes: PathNode[] = []
    for (const [i, fields] of listOf(of.paths).entries()) {
      const [parent, service, name, sums, other, example, exampleUs] = listOf(fields)
      const above = nodes[parent as number]
      if (i === 0 ? parent !== -1 : above === undefined) throw new RangeError('not a path')
      const node = i === 0 ? read.top : read.childOf(above!, operationOf(known, service, name))
      if (node === undefined) throw new RangeError('too deep a path')
      nodes.push(node)
      node.sums = PathNode.readSums(sums)
      if (other !== null) node.other = PathNode.readSums(other)
      if (example === null) continue
      node.example = exampleOf(example)
      node.exampleUs = Number(exampleUs)
    }
    for (const fields of listOf(of.operations)) {
      const [service, name, sums] = listOf(fields)
      read.operations.set(operationOf(known, service, name), new OperationSums(BucketSums.read(sums, WIDTH)))
    }
    for (const fields of listOf(of.examples)) {
      const [bucket, example] = listOf(fields)
      read.offer(bucket as number, exampleOf(example))
    }
    return read
  }

  /** Adds the same root operation's sums of other traces. */
  merge(other: RootSums): void {
    const level = Math.max(this.level, other.level)
    this.raiseTo(level)
    other.raiseTo(level)
    this.addAll(other)
    for (const [operation, { sums }] of other.operations) this.sumsOf(operation)?.sums.merge(sums)
    const to = new Map<PathNode, { node: PathNode; isOther: boolean }>()
    for (const node of other.top.nodes()) {
      const above = node.parent === undefined ? undefined : to.get(node.parent)!
      let own: PathNode | undefined
      if (above === undefined) own = this.top
      else if (!above.isOther) own = this.childOf(above.node, node.operation)
      // Below a path that wouldn't keep its name, none does.
      const mine = own ?? above!.node
      to.set(node, { node: mine, isOther: own === undefined })
      if (own === undefined) mine.otherSums().merge(node.sums)
      else own.sums.merge(node.sums)
      if (node.other !== undefined) mine.otherSums().merge(node.other)
      if (node.example !== undefined) own?.offer(node.exampleUs, node.example)
    }
    this.fitLevel()
  }
}

export function operationOf(known: Operations, service: unknown, name: unknown): Operation {
  if ((service !== null && typeof service !== 'string') || typeof name !== 'string') {
    throw new RangeError('not an operation')
  }
  return known.of(service, name)
}

export function wholeOf(n: unknown): number {
  if (!Number.isSafeInteger(n) || (n as number) < 0) throw new RangeError('not a whole number')
  return n as number
}
