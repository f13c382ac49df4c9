/*
 * Lists of calls that wait for a reply. They aren't Maps or Sets: when one of those grows or shrinks, it leaves its old table
 * behind, linked to the next. Once an old table has reached V8's old generation, it keeps all later tables and their entries
 * alive until the next full collection. At 50 calls in flight, that cost 3 to 4 µs a call.
 */

/** An entry of a list. It has the links itself, so it is in one list at a time. */
export class Entry {
  previous: Entry | undefined = undefined
  next: Entry | undefined = undefined
  /** The list that it is in. */
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
    // An entry that has left the list may be in the old generation: it mustn't keep others alive.
    entry.list = entry.previous = entry.next = undefined
    this.size--
  }

  /** The entries in a copy, because what is done with an entry removes it from the list. */
  all(): E[] {
    const entries: E[] = []
    for (let entry = this.oldest; entry !== undefined; entry = entry.next as E | undefined) entries.push(entry)
    return entries
  }
}

/** A call that can be found by its sequence id. */
export interface Numbered {
  readonly seqid: number
  /** The one behind it in its chain. */
  behind: this | undefined
}

const SMALLEST_TABLE = 4

/**
 * Calls by their sequence ids, in a table of chains: an id's low bits choose the chain. Ids follow one another, and the table has as
 * many chains as there are calls, so hardly any chain has two.
 */
export class BySeqid<C extends Numbered> {
  size = 0
  private table = emptyTable<C>(SMALLEST_TABLE)

  /** The newest call that has this id. */
  get(seqid: number): C | undefined {
    let call = this.table[seqid & (this.table.length - 1)]
    while (call !== undefined && call.seqid !== seqid) call = call.behind
    return call
  }

  add(call: C): void {
    if (this.size === this.table.length) this.resize(2 * this.size)
    this.put(call)
    this.size++
  }

  /** @param call one that is in here */
  delete(call: C): void {
    const { table } = this
    const chain = call.seqid & (table.length - 1)
    let before = table[chain]!
    if (before === call) table[chain] = call.behind
    else {
      while (before.behind !== call) before = before.behind!
      before.behind = call.behind
    }
    call.behind = undefined
    this.size--
    if (this.size === 0 && table.length > 64 * SMALLEST_TABLE) this.resize(SMALLEST_TABLE)
  }

  private put(call: C): void {
    const chain = call.seqid & (this.table.length - 1)
    call.behind = this.table[chain]
    this.table[chain] = call
  }

  private resize(length: number): void {
    const { table } = this
    this.table = emptyTable(length)
    for (let call of table) {
      while (call !== undefined) {
        const next: C | undefined = call.behind
        this.put(call)
        call = next
      }
    }
  }
}

function emptyTable<C>(length: number): (C | undefined)[] {
  return new Array(length).fill(undefined)
}
