/**
 * A map that keeps the entries that were set last: at least half of `maxEntries`, and never more than `maxEntries`. It drops
 * half of them at once: a Map whose oldest entry is deleted again and again becomes full of holes, and each search for the next
 * oldest entry walks through all of them.
 */
export class Recent<K, V> {
  private readonly half: number
  private readonly newMap: () => Map<K, V>
  private young: Map<K, V>
  private old: Map<K, V>

  constructor(maxEntries: number, newMap: () => Map<K, V> = () => new Map()) {
    this.half = Math.ceil(maxEntries / 2)
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
