import type { SpanRecord } from 'milo/codec/span'

/**
 * Reads untrusted values from decoded protobuf messages and parsed JSON alike. A value counts as absent if it is null or empty,
 * as in protobuf. 64-bit numbers come as Long, number or decimal string, and bytes as bytes or base64.
 *
 * A span is never dropped for an optional field: a value that can't be read is left out, and counted by format, field and reason
 * (`FieldReader`). A span needs only its ids; without them it is Unusable. A body in which no span can be found is BadInput.
 */

/** The whole body is unusable: none of its spans is taken. */
export class BadInput extends Error {}

/** One span is unusable. `reason` is a short, stable word: it labels a counter. */
export class Unusable {
  readonly reason: string
  readonly message: string
  constructor(reason: string, message: string) {
    this.reason = reason
    this.message = message
  }
}

/** A record, or the reason why there is none. */
export type Converted = SpanRecord | Unusable

/** The spans of a body, in order. A call converts one, so that the caller can stop when there are too many. */
export type Spans = Generator<() => Converted>

/** Returns the value of `make`, or the Unusable that it throws. */
export function attempt<V>(make: () => V): V | Unusable {
  try {
    return make()
  } catch (error) {
    if (error instanceof Unusable) return error
    throw error
  }
}

/** Longer spans are rejected. */
export const MAX_SPAN_BYTES = 1024 * 1024
export const MAX_SPAN_PARTS = 65_536
/** The most spans in a body. Senders put thousands into one; but an empty span takes only two bytes. */
const MAX_ENTRIES = 250_000

export type Format = 'milo' | 'otlp' | 'zipkin' | 'jaeger'

/** A field that some spans were kept without. All three strings are constants of the code, so that they can label a counter. */
export interface LeftOut {
  format: Format
  field: string
  reason: string
  count: number
}

/** Counts what happens while one body is read. */
export class Reading {
  readonly leftOut: LeftOut[] = []
  /** Names of unknown keys in the body, for the answer. */
  readonly others = new Set<string>()
  private entriesLeft: number

  constructor(maxEntries = MAX_ENTRIES) {
    this.entriesLeft = maxEntries
  }

  /** @throws BadInput if the body has too many entries */
  addEntries(count: number): void {
    this.entriesLeft -= count
    if (this.entriesLeft < 0) {
      throw new BadInput(`more than ${MAX_ENTRIES.toLocaleString('en')} spans: send fewer at a time`)
    }
  }

  leave(format: Format, field: string, reason: string): void {
    const known = this.leftOut.find(left => left.format === format && left.field === field && left.reason === reason)
    if (known !== undefined) known.count++
    else this.leftOut.push({ format, field, reason, count: 1 })
  }

  /** Notes keys that no reader knows, at most five of a body. */
  passOver(keys: string[]): void {
    for (const key of keys) if (this.others.size < 5) this.others.add(key.slice(0, 40))
  }
}

export type Fields = Record<string, unknown>

/** Reads the fields of one format's spans. `field` names a field in counters; it must be a constant of the code. */
export class FieldReader {
  readonly reading: Reading
  private readonly format: Format

  constructor(format: Format, reading: Reading) {
    this.format = format
    this.reading = reading
  }

  /** Counts a field that is left out. @returns `instead`, the value to use in its place */
  leave<V>(field: string, reason: string, instead: V): V {
    this.reading.leave(this.format, field, reason)
    return instead
  }

  object(v: unknown, field: string): Fields | undefined {
    if (v === undefined || v === null) return undefined
    return isObject(v) ? v : this.leave(field, 'bad_type', undefined)
  }

  /** @throws Unusable if the list is too long for a span */
  list(v: unknown, field: string): unknown[] {
    if (v === undefined || v === null) return []
    if (!Array.isArray(v)) return this.leave(field, 'bad_type', [])
    if (v.length > MAX_SPAN_PARTS) throw new Unusable('too_large', `${field} holds more than ${MAX_SPAN_PARTS} entries`)
    return v
  }

  /** Returns the entries of a list that are objects. */
  objects(v: unknown, field: string): Fields[] {
    return this.list(v, field).flatMap<Fields>(entry => this.object(entry, field) ?? [])
  }

  text(v: unknown, field: string): string {
    if (typeof v === 'string') return v
    if (v === undefined || v === null) return ''
    return typeof v === 'object' ? this.leave(field, 'bad_type', '') : String(v)
  }

  bool(v: unknown, field: string): boolean {
    const value = anyBool(v)
    return value ?? (isEmpty(v) ? false : this.leave(field, 'bad_type', false))
  }

  /** Returns 0 for a value that can't be read. */
  u32(v: unknown, field: string): number {
    return Number(this.integer(v, field, 0n, 2n ** 32n - 1n) ?? 0n)
  }

  i64(v: unknown, field: string): bigint | undefined {
    return this.integer(v, field, -(2n ** 63n), 2n ** 63n - 1n)
  }

  /** Reads an integer and drops a fraction. @returns undefined if it is absent or can't be read */
  integer(v: unknown, field: string, least: bigint, most: bigint): bigint | undefined {
    if (isEmpty(v)) return undefined
    const n = anyInteger(v)
    if (n === undefined) return this.leave(field, 'bad_type', undefined)
    if (n >= least && n <= most) return n
    return this.leave(field, n < 0n && least === 0n ? 'negative' : 'out_of_range', undefined)
  }

  /**
   * Reads a time or duration in the format's own unit, or a time in ISO 8601. The unit is never guessed: a number in another
   * unit is taken as it stands.
   * @returns undefined for 0, for an absent value, and for one that can't be read
   */
  time(v: unknown, field: string, unitsPerMs: bigint): bigint | undefined {
    const value = typeof v === 'string' && /^\d{4}-\d\d-\d\d/.test(v) ? fromIso(v, unitsPerMs) : v
    return this.integer(value, field, 0n, unitsPerMs === 1000n ? 2n ** 62n : 2n ** 64n - 1n) || undefined
  }

  double(v: unknown, field: string): number | undefined {
    if (isEmpty(v)) return undefined
    return anyDouble(v) ?? this.leave(field, 'bad_type', undefined)
  }

  /** Reads an id that a span can do without. @returns undefined if it is absent, zero or can't be read */
  id(v: unknown, bytes: number, field: string, read = anyId): bigint | undefined {
    const id = read(v, bytes)
    return id === 'bad' ? this.leave(field, 'bad_id', undefined) : id
  }
}

/** Reads a span's own id or its trace's. @throws Unusable with the reason `no_…` or `bad_…`, followed by `what` */
export function requiredId(v: unknown, bytes: number, what: 'trace_id' | 'span_id', read = anyId): bigint {
  const id = read(v, bytes)
  if (id === 'bad') throw new Unusable(`bad_${what}`, `${what} must be ${bytes} bytes, or their hex digits`)
  if (id === undefined) throw new Unusable(`no_${what}`, `${what} is absent or zero`)
  return id
}

/**
 * Reads an id of a fixed length as an unsigned number. It may come as bytes, as hex (also with 0x, or with a UUID's dashes), or
 * as padded base64, which some senders' JSON has. A trace id may have 8 bytes instead of 16.
 * @param bytes the id's length
 * @returns undefined if it is absent, empty or all zero
 */
function anyId(v: unknown, bytes: number): bigint | undefined | 'bad' {
  if (isEmpty(v)) return undefined
  const fits = (length: number) => length === bytes || (bytes === 16 && length === 8)
  if (v instanceof Uint8Array) return fits(v.length) ? fromHex(hexOfBytes(v)) : 'bad'
  if (typeof v !== 'string') return 'bad'
  const hex = plainHex(v)
  if (hex !== undefined && fits(hex.length / 2)) return fromHex(hex)
  if (v.length < bytes * 2 && /^[\w+/-]+={1,2}$/.test(v)) {
    const decoded = Buffer.from(v, 'base64')
    if (decoded.length === bytes) return fromHex(hexOfBytes(decoded))
  }
  return 'bad'
}

/** Reads an id as Zipkin writes it: as hex, possibly without leading zeros (Jaeger leaves them out too), or as bytes. */
export function shortId(v: unknown, bytes: number): bigint | undefined | 'bad' {
  if (isEmpty(v)) return undefined
  const hex = v instanceof Uint8Array ? hexOfBytes(v) : typeof v === 'string' ? plainHex(v) : undefined
  return hex !== undefined && hex.length > 0 && hex.length <= bytes * 2 ? fromHex(hex) : 'bad'
}

function plainHex(text: string): string | undefined {
  const hex = text
    .trim()
    .replace(/^0x/i, '')
    .replace(/^(.{8})-(.{4})-(.{4})-(.{4})-(.{12})$/, '$1$2$3$4$5')
  return /^[\da-f]*$/i.test(hex) ? hex : undefined
}

function fromHex(hex: string): bigint | undefined {
  return BigInt(`0x${hex}`) || undefined
}

function hexOfBytes(v: Uint8Array): string {
  return Buffer.from(v.buffer, v.byteOffset, v.length).toString('hex')
}

export function isObject(v: unknown): v is Fields {
  return typeof v === 'object' && v !== null && !Array.isArray(v)
}

/** Ends the message of a refusal: names what was found in place of the expected object. */
export function instead(found: unknown): string {
  if (!isObject(found)) return ''
  const keys = Object.keys(found)
  const named = keys.slice(0, 5).map(key => JSON.stringify(key.slice(0, 40)))
  return keys.length === 0
    ? ', not an empty object'
    : `, not an object of ${named.join(', ')}${keys.length > 5 ? ' …' : ''}`
}

/** Reads a boolean in any of its spellings. @returns undefined for anything else */
export function anyBool(v: unknown): boolean | undefined {
  if (typeof v === 'boolean') return v
  if (v === 1 || v === '1') return true
  if (v === 0 || v === '0') return false
  const word = typeof v === 'string' ? v.toLowerCase() : ''
  return word === 'true' ? true : word === 'false' ? false : undefined
}

/** Reads an integer and drops a fraction. @returns undefined if the value isn't a number */
export function anyInteger(v: unknown): bigint | undefined {
  if (typeof v === 'bigint') return v
  if (typeof v === 'number') return Number.isFinite(v) ? BigInt(Math.trunc(v)) : undefined
  if (typeof v === 'string') {
    const whole = /^\s*([-+]?\d{1,30})(\.\d*)?\s*$/.exec(v)?.[1]
    if (whole !== undefined) return BigInt(whole.replace('+', ''))
    const n = anyDouble(v)
    return n === undefined ? undefined : anyInteger(n)
  }
  const { low, high, unsigned } = (v ?? {}) as { low?: unknown; high?: unknown; unsigned?: unknown }
  if (typeof low !== 'number' || typeof high !== 'number') return undefined
  const bits = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
  return unsigned ? bits : BigInt.asIntN(64, bits)
}

export function anyDouble(v: unknown): number | undefined {
  if (typeof v === 'number') return v
  if (v === 'NaN' || v === 'Infinity' || v === '-Infinity') return Number(v)
  const isNumber = typeof v === 'string' && v.length < 400 && /^-?\d[\d.]*([eE][-+]?\d+)?$/.test(v)
  return isNumber && !Number.isNaN(Number(v)) ? Number(v) : undefined
}

/** Parses ISO 8601. Date.parse has milliseconds only, so the fraction is read from the text. */
function fromIso(text: string, unitsPerMs: bigint): bigint | undefined {
  // A time without a zone is UTC, like the formats' own times.
  const parts = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?\s*(?:(Z|UTC)|([-+]\d\d:?\d\d))?/i.exec(
    text,
  )
  if (parts === null) return undefined
  const [, day, time, fraction = '', , offset = 'Z'] = parts
  const ms = Date.parse(`${day}T${time}${offset.replace(/^(.\d\d)(\d\d)$/, '$1:$2')}`)
  return Number.isNaN(ms)
    ? undefined
    : BigInt(ms) * unitsPerMs + (BigInt(fraction.padEnd(9, '0')) * unitsPerMs) / 1_000_000n
}

/** Tells an absent value. protobufjs gives an empty list for absent bytes. */
export function isEmpty(v: unknown): boolean {
  return v === undefined || v === null || (v as { length?: unknown }).length === 0
}

/** Returns the i64 with the same bits, which is what records hold. */
export function signed(n: bigint): bigint {
  return BigInt.asIntN(64, n)
}

/** @param digits the number of hex digits */
export function hexOf(n: bigint, digits: number): string {
  return BigInt.asUintN(digits * 4, n)
    .toString(16)
    .padStart(digits, '0')
}

/** Returns an object that holds any key as its own, even `__proto__`. */
export function plainObject<V>(entries: Iterable<readonly [string, V]>): Record<string, V> {
  const object = Object.create(null)
  for (const [key, value] of entries) object[key] = value
  return object
}
