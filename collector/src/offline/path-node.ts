import type { Exemplar } from '../http/answers'
import { BucketSums } from './bucket-sums'
import { type Operation, OTHER_OPERATION } from './operations'

/** The sums of a node's buckets: weight × its own part of the critical path, and the number of traces. */
export const NODE = { us: 0, traces: 1 }
const WIDTH = 2
/** What is deeper, or has longer names above it than a line of the results holds, isn't told apart. */
const MAX_DEPTH = 64
const MAX_BYTES = 40_000

/** An example: the trace's id, when it began and how long it took, in microseconds. */
export type Example = [traceId: string, startUs: number, durationUs: number]

/** A chain of operations from a root operation on, as in a flame graph. Its children are by operation. */
export class PathNode {
  readonly operation: Operation
  readonly parent: PathNode | undefined
  readonly depth: number
  children: Map<Operation, PathNode> | undefined
  sums = new BucketSums(WIDTH)
  /** What paths below this one have that aren't told apart. */
  other: BucketSums | undefined
  /** The trace that spent the most time here, and how much. */
  example: Example | undefined
  exampleUs = -1
  /** Of the trace that is being added. */
  us = 0
  otherUs = 0
  private readonly hash: number
  private readonly hasDigits: boolean
  /** An upper bound of the path's length as JSON. */
  private readonly bytes: number

  constructor(operation: Operation, parent?: PathNode) {
    this.operation = operation
    this.parent = parent
    this.depth = parent === undefined ? 0 : parent.depth + 1
    this.hash = hashBelow(parent?.hash ?? 0, operation)
    this.hasDigits = operation.hasDigits || parent?.hasDigits === true
    this.bytes = (parent?.bytes ?? 0) + jsonBytes(operation)
  }

  /** Adds a child. @returns undefined if there can be none, as it would be too deep */
  addChild(operation: Operation): PathNode | undefined {
    if (this.depth + 1 >= MAX_DEPTH || this.bytes + jsonBytes(operation) > MAX_BYTES) return undefined
    const child = new PathNode(operation, this)
    this.children ??= new Map()
    this.children.set(operation, child)
    return child
  }

  /** Whether a child would give way before this path does; if both are alike but for their names, it isn't said. */
  isBefore(parent: PathNode, operation: Operation): boolean {
    const hasDigits = operation.hasDigits || parent.hasDigits
    if (hasDigits !== this.hasDigits) return hasDigits
    if (parent.depth + 1 !== this.depth) return parent.depth + 1 > this.depth
    return hashBelow(parent.hash, operation) > this.hash
  }

  otherSums(): BucketSums {
    return (this.other ??= new BucketSums(WIDTH))
  }

  /** @param us how much time the trace spent here */
  offer(us: number, example: Example): void {
    if (us < this.exampleUs || (us === this.exampleUs && example[0] >= this.example![0])) return
    this.exampleUs = us
    this.example = example
  }

  /** All nodes from this one on, parents first. */
  nodes(): PathNode[] {
    const all: PathNode[] = [this]
    for (let i = 0; i < all.length; i++) if (all[i]!.children !== undefined) all.push(...all[i]!.children!.values())
    return all
  }

  coarsen(levels: number): void {
    for (const node of this.nodes()) {
      node.sums = node.sums.coarser(levels)
      node.other = node.other?.coarser(levels)
    }
  }

  /** Adds this path's sums, which has no children, to what its parent doesn't tell apart. */
  giveWay(): void {
    const { parent, sums, other, operation } = this
    parent!.otherSums().merge(sums)
    if (other !== undefined) parent!.otherSums().merge(other)
    parent!.children!.delete(operation)
  }

  /** Which paths keep their names when there are too many: those with fewer digits and above all less deep ones; so a parent comes first. */
  static byNeed(a: PathNode, b: PathNode): number {
    return Number(a.hasDigits) - Number(b.hasDigits) || a.depth - b.depth || a.hash - b.hash || byPath(a, b)
  }

  /** The sums of this node and all below, for JSON. */
  list(isWanted: (bucket: number) => boolean): unknown[] {
    const nodes = this.nodes()
    const numbers = new Map(nodes.map((node, i) => [node, i]))
    return nodes.map(({ parent, operation, sums, other, example, exampleUs }) => [
      parent === undefined ? -1 : numbers.get(parent),
      operation.service,
      operation.name,
      sums.list(isWanted),
      other?.list(isWanted) ?? null,
      example ?? null,
      exampleUs,
    ])
  }

  examples(): Exemplar[] {
    return examplesOf(this.example, 'slow')
  }

  static readSums(json: unknown): BucketSums {
    return BucketSums.read(json, WIDTH)
  }
}

function hashBelow(hash: number, operation: Operation): number {
  return (Math.imul(hash ^ operation.hash, 0x2c1b3c6d) ^ (hash >>> 15)) >>> 0
}

export function examplesOf(example: Example | undefined, kind: Exemplar['kind']): Exemplar[] {
  return example === undefined ? [] : [{ traceId: example[0], start: example[1], duration: example[2], kind }]
}

/** @throws RangeError if it isn't an example */
export function exampleOf(json: unknown): Example {
  const [traceId, startUs, durationUs] = json as Example
  if (typeof traceId !== 'string' || typeof startUs !== 'number' || typeof durationUs !== 'number') {
    throw new RangeError('not an example')
  }
  return [traceId, startUs, durationUs]
}

function byPath(a: PathNode, b: PathNode): number {
  const [of, other] = [textOf(a), textOf(b)]
  return of < other ? -1 : of > other ? 1 : 0
}

function textOf(node: PathNode): string {
  const words: (string | null)[] = []
  for (let at: PathNode | undefined = node; at !== undefined; at = at.parent)
    words.push(at.operation.name, at.operation.service)
  return JSON.stringify(words)
}

/** At most so many bytes of UTF-8 are what JSON makes of a service and a name; control characters take six. */
function jsonBytes({ service, name }: Operation): number {
  if (service === null || /[^ -~]|["\\]/.test(service + name)) return 6 * ((service?.length ?? 0) + name.length) + 12
  return service.length + name.length + 8
}

export function pathOf(node: PathNode): [service: string | null, name: string][] {
  const path: [string | null, string][] = []
  for (let at: PathNode | undefined = node; at !== undefined; at = at.parent)
    path.unshift([at.operation.service, at.operation.name])
  return path
}

export const OTHER_STEP: [service: string | null, name: string] = [OTHER_OPERATION.service, OTHER_OPERATION.name]
