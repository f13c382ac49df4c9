import { randomBytes } from 'node:crypto'

/**
 * An odd number for the hash tables whose keys come from strangers. It differs with each process and nobody knows it: keys
 * that are chosen so that all of them meet in one slot would make each look-up as long as the table.
 */
export const MULTIPLIER = randomBytes(4).readInt32LE() | 1

/**
 * The tables for ids. V8 hashes BigInts without a seed: 20,000 ids that are chosen so that their hashes are equal take a Map
 * almost two seconds, and others 30 ms.
 */
const MASK = randomBytes(8).readBigInt64LE()

type Id = bigint | undefined

function masked<K extends Id>(id: K): K {
  return (id === undefined ? id : id ^ MASK) as K
}

/** A Map by ids that come from strangers. */
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
    throw new Error('for ... of says the same')
  }
}

/** A Set of such ids. */
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
