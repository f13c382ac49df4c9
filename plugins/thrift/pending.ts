/*
 * What waits for a reply. Not in a Map or a Set: when one of those grows or shrinks it leaves its table behind, linked to
 * the next. Once a dead table has reached V8's old generation it keeps all later ones, and what stood in them, alive until
 * the next full collection: at 50 calls in flight, that cost 3 to 4 µs a call.
 */

/** What can stand in one list at a time; its links are its own. */
export class Entry {
  previous: Entry | undefined = undefined
  next: Entry | undefined = undefined
  /** Where it stands. */
  list: Pending<any> | undefined = undefined
}

/** A list, the oldest first. */
export class Pending<E extends Entry> {
  size = 0
  oldest: E | undefined = undefined
  private newest: E | undefined = undefined

  add(entry: E): void {
    const { newest } = this
    entry.list = this
    entry.previous = newest
    if (newest === undefined) this.oldest = entry
    else newest.next = entry
    this.newest = entry
    this.size++
  }

  has(entry: E): boolean {
    return entry.list === this
  }

  delete(entry: E): void {
    if (entry.list !== this) return
    const { previous, next } = entry
    if (previous === undefined) this.oldest = next as E | undefined
    else previous.next = next
    if (next === undefined) this.newest = previous as E | undefined
    else next.previous = previous
    // What has left holds on to nobody: it may have reached the old generation.
    entry.list = entry.previous = entry.next = undefined
    this.size--
  }

  /** All of them, in a copy: what is done with one takes it out of the list. */
  all(): E[] {
    const entries: E[] = []
    for (let entry = this.oldest; entry !== undefined; entry = entry.next as E | undefined) entries.push(entry)
    return entries
  }
}

/** Calls by their sequence ids. */
export class BySeqid<C> {
  size = 0
  private readonly calls: Record<number, C | undefined> = Object.create(null)

  get(seqid: number): C | undefined {
    return this.calls[seqid]
  }

  set(seqid: number, call: C): void {
    if (this.calls[seqid] === undefined) this.size++
    this.calls[seqid] = call
  }

  delete(seqid: number): void {
    if (this.calls[seqid] === undefined) return
    delete this.calls[seqid]
    this.size--
  }

  /** The first of them, by sequence id, for which `test` is true. */
  find(test: (call: C) => boolean): C | undefined {
    for (const seqid in this.calls) {
      const call = this.calls[seqid]!
      if (test(call)) return call
    }
    return undefined
  }
}
