/**
 * A map that keeps what was set last: at least half of `most` entries, and never more than that. It forgets by halves, since
 * a Map whose oldest entry is deleted again and again is full of holes, and every look for the next oldest goes through them.
 */
export class Recent<K, V> {
  private readonly half: number
  private readonly newMap: () => Map<K, V>
  private young: Map<K, V>
  private old: Map<K, V>

  constructor(most: number, newMap: () => Map<K, V> = () => new Map()) {
    this.half = Math.ceil(most / 2)
    this.newMap = newMap
    this.young = newMap()
    this.old = newMap()
  }

  get(key: K): V | undefined {
    return this.young.get(key) ?? this.old.get(key)
  }

  set(key: K, value: V): void {
    if (this.young.size >= this.half) {
      this.old = this.young
      this.young = this.newMap()
    }
    this.young.set(key, value)
  }

  delete(key: K): void {
    this.young.delete(key)
    this.old.delete(key)
  }
}
