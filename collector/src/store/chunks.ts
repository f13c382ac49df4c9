/** Splits items into consecutive chunks of at most `maxBytes`, or a single larger item. */
export function* chunksBySize<T>(items: T[], maxBytes: number, bytesOf: (item: T) => number): Generator<T[]> {
  let from = 0
  let bytes = 0
  for (const [i, item] of items.entries()) {
    const size = bytesOf(item)
    if (i > from && bytes + size > maxBytes) {
      yield items.slice(from, i)
      from = i
      bytes = 0
    }
    bytes += size
  }
  if (from < items.length) yield items.slice(from)
}

/** Groups items by a key, in order of appearance. */
export function grouped<K, T>(items: Iterable<T>, keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const item of items) {
    const key = keyOf(item)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [item])
    else group.push(item)
  }
  return groups
}
