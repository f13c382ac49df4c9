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
