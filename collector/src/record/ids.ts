import { randomBytes } from 'node:crypto'

/**
 * The mask that changes ids in the tables below. V8 hashes BigInts without a seed: a Map needs almost two seconds for 20,000 ids
 * that were chosen to have equal hashes, and 30 ms for others.
 */
const MASK = randomBytes(8).readBigInt64LE()

type Id = bigint | undefined

function masked<K extends Id>(id: K): K {
  return (id === undefined ? id : id ^ MASK) as K
}

/** A Map whose keys are ids from untrusted senders. */
export class IdMap<V, K extends Id = bigint> extends Map<K, V> {
  override get(id: K): V | undefined {
    return super.get(masked(id))
  }
  override has(id: K): boolean {
    return super.has(masked(id))
  }
  override set(id: K, value: V): this {
    return super.set(masked(id), value)
  }
  override delete(id: K): boolean {
    return super.delete(masked(id))
  }
  override *keys(): MapIterator<K> {
    for (const id of super.keys()) yield masked(id)
  }
  override *entries(): MapIterator<[K, V]> {
    for (const [id, value] of super.entries()) yield [masked(id), value]
  }
  override [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries()
  }
  override forEach(): never {
    throw new Error('IdMap has no forEach: use for...of')
  }
}

/** A Set of ids from untrusted senders. */
export class IdSet {
  private readonly ids = new Set<bigint>()
  constructor(ids: Iterable<bigint> = []) {
    for (const id of ids) this.add(id)
  }
  get size(): number {
    return this.ids.size
  }
  has(id: bigint): boolean {
    return this.ids.has(masked(id))
  }
  add(id: bigint): this {
    this.ids.add(masked(id))
    return this
  }
}
