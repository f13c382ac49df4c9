import type { Side } from 'milo/codec/events'
import { takeAtOnce } from '../../turns'
import { Bytes, Cursor } from '../bytes'
import { StoreError } from '../store'
import { Counter } from './counter'
import { type EdgeKey, type OperationKey, OTHER, type RowKind } from './model'

/**
 * The bytes of stored rows and deltas.
 *
 *     row    = version  entries
 *     delta  = version  number of minutes  (minute  entries of operations  entries of edges)*
 *     entries = number  (how many characters the key shares with the key before  length  rest of the key  length  counter)*
 *
 * Bytes that something else has written are refused with an error: a length is believed only as far as the bytes reach.
 */
const VERSION = 1

const SIDES: readonly string[] = ['client', 'server', 'local'] satisfies Side[]
/** As many characters as the name of a span has. */
export const MAX_WORD_LENGTH = 256

/** Returns a service or name as keys have it: at most 256 characters, and none that divides keys or isn't Unicode. */
export function keyWord(text: string): string {
  const clipped = text.length > MAX_WORD_LENGTH ? text.slice(0, MAX_WORD_LENGTH) : text
  return /[\0\p{Surrogate}]/u.test(clipped) ? clipped.replace(/[\0\p{Surrogate}]/gu, '\ufffd') : clipped
}

/** The key's words must have gone through keyWord(). */
export function operationKey({ service, name, side }: OperationKey): string {
  return `${service}\0${name}\0${side}`
}

/** The key's words must have gone through keyWord(). */
export function edgeKey({ caller, callerName, callee, calleeName }: EdgeKey): string {
  return `${caller}\0${callerName}\0${callee}\0${calleeName}`
}

export function operationOf(key: string): OperationKey {
  const [service, name, side, ...more] = key.split('\0')
  if (more.length > 0 || !SIDES.includes(side!)) throw damaged('a row of operations')
  return { service: service!, name: name!, side: side as Side }
}

export function edgeOf(key: string): EdgeKey {
  const [caller, callerName, callee, calleeName, ...more] = key.split('\0')
  if (calleeName === undefined || more.length > 0) throw damaged('a row of calls')
  return { caller: caller!, callerName: callerName!, callee: callee!, calleeName }
}

/** A counter in a row that is being read. The reader uses one object for all: take what you need before the next one. */
export interface RowEntry {
  key: string
  /** Adds the counter to another. An entry whose counter isn't added costs next to nothing. */
  addTo(counter: Counter, sign?: number): void
}

interface DeltaEntry extends RowEntry {
  /** Minutes since the epoch. */
  minute: number
  kind: 'operations' | 'edges'
}

export interface DeltaMinute {
  operations: Map<string, Counter>
  edges: Map<string, Counter>
}

/** What a settling counted, by minutes since the epoch. */
export type Delta = Map<number, DeltaMinute>

/** Returns a row's body. */
export function writeRow(counters: ReadonlyMap<string, Counter>): Buffer {
  const bytes = new Bytes(1024)
  bytes.varint(VERSION)
  for (const _ of writeEntries(bytes, counters));
  return bytes.taken()
}

/** @throws StoreError if the body is damaged */
export function* rowEntries(body: Buffer): Generator<RowEntry, void> {
  const reader = new EntryReader(body, 'a row of activity')
  yield* reader.entries()
  reader.end()
}

/**
 * Adds a row's counters to those of a map.
 * @throws StoreError if the body is damaged
 */
export function readRow(body: Buffer, into = new Map<string, Counter>()): Map<string, Counter> {
  for (const entry of rowEntries(body)) entry.addTo(counterOf(into, entry.key))
  return into
}

/**
 * Returns the body of a row to which counters are added. It keeps the busiest keys by name. Others are counted together:
 * operations by service and side, edges by their two services, or by the row's own service if these are too many as well.
 * @param body the row as it is; undefined if there is none
 * @param additions may be negative: corrections of what the row has
 * @param maxKeys how many keys keep their names
 * @throws StoreError if the body is damaged
 */
export function mergeRow(
  kind: RowKind,
  body: Buffer | undefined,
  additions: Iterable<readonly [string, Counter]>,
  maxKeys: number,
): Buffer {
  return takeAtOnce(mergeSteps(kind, body, additions, maxKeys))
}

/** The same in small steps, for a caller that gives others their turn between them: additions may be tens of thousands. */
export function* mergeSteps(
  kind: RowKind,
  body: Buffer | undefined,
  additions: Iterable<readonly [string, Counter]>,
  maxKeys: number,
): Generator<void, Buffer> {
  const all = new Map<string, Counter>()
  for (const entry of body === undefined ? [] : rowEntries(body)) {
    entry.addTo(counterOf(all, entry.key))
    yield
  }
  for (const [key, counter] of additions) {
    counterOf(all, key).merge(counter)
    yield
  }
  const bytes = new Bytes(1024)
  bytes.varint(VERSION)
  yield* writeEntries(bytes, yield* busiest(kind, all, maxKeys))
  return bytes.taken()
}

function* busiest(kind: RowKind, all: Map<string, Counter>, maxKeys: number): Generator<void, Map<string, Counter>> {
  const kept = new Map<string, Counter>()
  const named: [string, Counter][] = []
  const rest = new Map<string, Counter>()
  for (const [key, counter] of all) {
    if (otherOf(kind, key) === key) rest.set(key, counter)
    else if (!counter.isNothing()) named.push([key, counter])
    yield
  }
  const isBusy = amongBusiest(named, maxKeys)
  for (const [key, counter] of named) {
    const other = otherOf(kind, key)
    // A correction of a call that wasn't kept by its name.
    const isTakenBack = counter.calls < 0 && (rest.has(other) || rest.has(lastOf(kind, key)))
    if (isBusy(counter) && !isTakenBack) kept.set(key, counter)
    else counterOf(rest, other).merge(counter)
    yield
  }
  const others = [...rest].filter(([, counter]) => !counter.isNothing())
  const isBusyToo = amongBusiest(others, maxKeys)
  for (const [key, counter] of others) {
    const isTakenBack = counter.calls < 0 && rest.has(lastOf(kind, key))
    if (isBusyToo(counter) && !isTakenBack) counterOf(kept, key).merge(counter)
    else counterOf(kept, lastOf(kind, key)).merge(counter)
    yield
  }
  return kept
}

/** Returns what tells the busiest of some counters, if asked for each in their order. Numbers alone are sorted in no time. */
function amongBusiest(counters: [string, Counter][], most: number): (counter: Counter) => boolean {
  if (counters.length <= most) return () => true
  const calls = Float64Array.from(counters, ([, { calls }]) => calls).sort()
  const least = calls[calls.length - most]!
  let ofLeast = most
  for (let i = calls.length - 1; calls[i]! > least; i--) ofLeast--
  return ({ calls }) => calls > least || (calls === least && ofLeast-- > 0)
}

/** The key of what a key is counted as if it isn't among the busiest. */
function otherOf(kind: RowKind, key: string): string {
  if (kind === 'operations') {
    const { service, side } = operationOf(key)
    return operationKey({ service, name: OTHER, side })
  }
  const { caller, callee } = edgeOf(key)
  return edgeKey({ caller, callerName: OTHER, callee, calleeName: OTHER })
}

/** The key of what is beyond the limit of those keys too. */
function lastOf(kind: RowKind, key: string): string {
  if (kind === 'operations') return otherOf(kind, key)
  const { caller, callee } = edgeOf(key)
  const services = kind === 'calls' ? { caller, callee: OTHER } : { caller: OTHER, callee }
  return edgeKey({ ...services, callerName: OTHER, calleeName: OTHER })
}

/** Returns a delta's body. */
export function writeDelta(delta: Delta): Buffer {
  return takeAtOnce(deltaSteps(delta))
}

/** Writes a delta in small steps, for a caller that gives others their turn between them. */
export function* deltaSteps(delta: Delta): Generator<void, Buffer> {
  const bytes = new Bytes()
  bytes.varint(VERSION)
  bytes.varint(delta.size)
  for (const [minute, { operations, edges }] of delta) {
    bytes.number(minute)
    yield* writeEntries(bytes, operations)
    yield* writeEntries(bytes, edges)
  }
  return bytes.taken()
}

/**
 * Reads a delta, entry by entry, so that the caller can take what it wants and pause.
 * @throws StoreError if the body is damaged
 */
export function* deltaEntries(body: Buffer): Generator<DeltaEntry, void> {
  const reader = new EntryReader(body, 'a delta of activity')
  for (let left = reader.count(); left > 0; left--) {
    reader.minute = reader.number()
    reader.kind = 'operations'
    yield* reader.entries()
    reader.kind = 'edges'
    yield* reader.entries()
  }
  reader.end()
}

/** Reads a delta as a whole. @throws StoreError if the body is damaged */
export function readDelta(body: Buffer, into: Delta = new Map()): Delta {
  for (const entry of deltaEntries(body)) {
    entry.addTo(counterOf(minuteOf(into, entry.minute)[entry.kind], entry.key))
  }
  return into
}

export function minuteOf(delta: Delta, time: number): DeltaMinute {
  let minute = delta.get(time)
  if (minute === undefined) delta.set(time, (minute = { operations: new Map(), edges: new Map() }))
  return minute
}

export function counterOf(counters: Map<string, Counter>, key: string): Counter {
  let counter = counters.get(key)
  if (counter === undefined) counters.set(key, (counter = new Counter()))
  return counter
}

/** To sort more takes longer than a turn may. */
const SORTED_AT_ONCE = 1_024

/** Yields after each entry. Keys are sorted, as neighbors share much of theirs. */
function* writeEntries(bytes: Bytes, counters: ReadonlyMap<string, Counter>): Generator<void, void> {
  const scratch = new Bytes(4096)
  let before = ''
  bytes.varint(counters.size)
  const keys = [...counters.keys()]
  for (let from = 0; from < keys.length; from += SORTED_AT_ONCE) {
    for (const key of keys.slice(from, from + SORTED_AT_ONCE).sort()) {
      const shared = sharedLength(before, key)
      bytes.varint(shared)
      writeSized(bytes, scratch, () => scratch.text(shared === 0 ? key : key.slice(shared)))
      writeSized(bytes, scratch, () => counters.get(key)!.write(scratch))
      before = key
      yield
    }
  }
}

function writeSized(bytes: Bytes, scratch: Bytes, write: () => void): void {
  scratch.pos = 0
  write()
  bytes.varint(scratch.pos)
  bytes.copy(scratch.buf, 0, scratch.pos)
}

/** How many characters two keys share, without half a surrogate pair at their end. */
function sharedLength(a: string, b: string): number {
  const most = Math.min(a.length, b.length)
  let n = 0
  while (n < most && a.charCodeAt(n) === b.charCodeAt(n)) n++
  const last = n === 0 ? 0 : a.charCodeAt(n - 1)
  return last >= 0xd800 && last < 0xdc00 ? n - 1 : n
}

/** Reads entries; it is the entry that it has read last. */
class EntryReader implements DeltaEntry {
  key = ''
  minute = 0
  kind: 'operations' | 'edges' = 'operations'
  private readonly cursor: Cursor
  private readonly what: string
  private counterAt = 0
  private counterEnd = 0

  constructor(body: Buffer, what: string) {
    this.cursor = new Cursor(body)
    this.what = what
    if (body.length === 0 || this.cursor.varint() !== VERSION) throw damaged(what)
  }

  addTo(counter: Counter, sign = 1): void {
    const { cursor } = this
    cursor.pos = this.counterAt
    try {
      counter.mergeWritten(cursor, sign)
    } catch (error) {
      if (error instanceof RangeError) throw damaged(this.what)
      throw error
    }
    if (cursor.pos !== this.counterEnd) throw damaged(this.what)
  }

  *entries(): Generator<this, void> {
    const { cursor } = this
    this.key = ''
    for (let left = this.count(); left > 0; left--) {
      const shared = cursor.varint()
      if (!(shared <= this.key.length)) throw damaged(this.what)
      const restEnd = this.sized()
      const rest = cursor.buf.toString('utf8', cursor.pos, restEnd)
      this.key = shared === 0 ? rest : this.key.slice(0, shared) + rest
      if (this.key.length > MAX_KEY_LENGTH) throw damaged(this.what)
      cursor.pos = restEnd
      this.counterEnd = this.sized()
      this.counterAt = cursor.pos
      yield this
      cursor.pos = this.counterEnd
    }
  }

  /** Returns a number of things, each of which has a byte at least. */
  count(): number {
    const n = this.cursor.varint()
    if (!(n <= this.cursor.buf.length - this.cursor.pos)) throw damaged(this.what)
    return n
  }

  number(): number {
    const n = this.cursor.number()
    if (!Number.isSafeInteger(n) || this.cursor.pos > this.cursor.buf.length) throw damaged(this.what)
    return n
  }

  end(): void {
    if (this.cursor.pos !== this.cursor.buf.length) throw damaged(this.what)
  }

  /** Reads a length. @returns the end of what is that long */
  private sized(): number {
    const { cursor } = this
    const length = cursor.varint()
    const end = cursor.pos + length
    if (!(end <= cursor.buf.length)) throw damaged(this.what)
    return end
  }
}

/** Four words, and what divides them. */
const MAX_KEY_LENGTH = 4 * MAX_WORD_LENGTH + 3

function damaged(what: string): StoreError {
  return new StoreError(
    'MILO_STORE_DAMAGED',
    `${what} isn't what was written: restore the store from a backup, or remove the row; spans aren't touched`,
  )
}
