import type { SpanRecord } from '../../../src/codec/span'

/**
 * Reading what strangers sent: values of decoded protobuf messages and of parsed JSON alike. Absent is as protobuf has it:
 * null, or the empty value. 64-bit numbers come as Long, as number and as decimal string, bytes as such and as base64.
 */

/** The whole body is of no use: nothing of it is taken. */
export class BadInput extends Error {}

/** One span is of no use. `reason` is a short, stable word: it labels a counter. */
export class Unusable {
  readonly reason: string
  readonly message: string
  constructor(reason: string, message: string) {
    this.reason = reason
    this.message = message
  }
}

/** A record, or why there is none. */
export type Converted = SpanRecord | Unusable

/** The spans of a body, in order, each to be converted by a call: not all are, when it would become too much. */
export type Spans = Generator<() => Converted>

/** What `make` gives, or why there is none. */
export function attempt<V>(make: () => V): V | Unusable {
  try {
    return make()
  } catch (error) {
    if (error instanceof Unusable) return error
    throw error
  }
}

/** A span's most: ingest takes no longer one. */
export const MAX_SPAN_BYTES = 1024 * 1024
export const MAX_SPAN_PARTS = 65_536

/** Counts what a body holds. Senders put thousands of spans into one; two bytes are enough for a span that says nothing. */
export class EntryCount {
  private left = 250_000

  /** @throws BadInput when there are too many */
  add(entries: number): void {
    this.left -= entries
    if (this.left < 0) throw new BadInput('more than 250,000 spans: send fewer at a time')
  }
}

export type Fields = Record<string, unknown>

export function object(v: unknown, what: string): Fields | undefined {
  if (v === undefined || v === null) return undefined
  if (typeof v !== 'object' || Array.isArray(v)) throw badType(what, 'an object')
  return v as Fields
}

export function list(v: unknown, what: string): unknown[] {
  if (v === undefined || v === null) return []
  if (!Array.isArray(v)) throw badType(what, 'a list')
  if (v.length > MAX_SPAN_PARTS) throw new Unusable('too_large', `${what} holds more than ${MAX_SPAN_PARTS} entries`)
  return v
}

export function text(v: unknown, what: string): string {
  if (v === undefined || v === null) return ''
  if (typeof v !== 'string') throw badType(what, 'a string')
  return v
}

export function bool(v: unknown, what: string): boolean {
  if (v === undefined || v === null) return false
  if (typeof v !== 'boolean') throw badType(what, 'true or false')
  return v
}

export const u64 = (v: unknown, what: string) => integer(v, what, 0n, 2n ** 64n - 1n)
export const i64 = (v: unknown, what: string) => integer(v, what, -(2n ** 63n), 2n ** 63n - 1n)
export const u32 = (v: unknown, what: string) => Number(integer(v, what, 0n, 2n ** 32n - 1n))
export const i32 = (v: unknown, what: string) => Number(integer(v, what, -(2n ** 31n), 2n ** 31n - 1n))

function integer(v: unknown, what: string, least: bigint, most: bigint): bigint {
  const n = anyInteger(v)
  if (n === undefined || n < least || n > most) throw badType(what, `a whole number from ${least} to ${most}`)
  return n
}

function anyInteger(v: unknown): bigint | undefined {
  if (v === undefined || v === null) return 0n
  if (typeof v === 'bigint') return v
  if (typeof v === 'number') return Number.isInteger(v) ? BigInt(v) : undefined
  if (typeof v === 'string') return /^-?\d{1,20}$/.test(v) ? BigInt(v) : undefined
  const { low, high, unsigned } = v as { low?: unknown; high?: unknown; unsigned?: unknown }
  if (typeof low !== 'number' || typeof high !== 'number') return undefined
  const bits = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
  return unsigned ? bits : BigInt.asIntN(64, bits)
}

export function double(v: unknown, what: string): number {
  if (typeof v === 'number') return v
  if (v === undefined || v === null) return 0
  if (v === 'NaN' || v === 'Infinity' || v === '-Infinity') return Number(v)
  if (typeof v === 'string' && /^-?\d[\d.]*([eE][-+]?\d+)?$/.test(v) && !Number.isNaN(Number(v))) return Number(v)
  throw badType(what, 'a number')
}

export function bytes(v: unknown, what: string): Uint8Array {
  if (isEmpty(v)) return Buffer.alloc(0)
  if (v instanceof Uint8Array) return v
  if (typeof v === 'string' && /^[\w+/-]*={0,2}$/.test(v)) return Buffer.from(v, 'base64')
  throw badType(what, 'base64')
}

/**
 * An id of so many bytes as an unsigned number: in bytes, in hex, or in padded base64, which some senders' JSON has.
 * @returns undefined when it is absent, empty or all zero
 */
export function id(v: unknown, wantedBytes: number, what: string): bigint | undefined {
  if (isEmpty(v)) return undefined
  let hex: string | undefined
  if (v instanceof Uint8Array) {
    if (v.length === wantedBytes) hex = Buffer.from(v.buffer, v.byteOffset, v.length).toString('hex')
  } else if (typeof v === 'string') {
    if (v.length === wantedBytes * 2) {
      if (/^[\da-f]*$/i.test(v)) hex = v
    } else if (v.length < wantedBytes * 2 && /^[\w+/-]+={1,2}$/.test(v)) {
      const decoded = Buffer.from(v, 'base64')
      if (decoded.length === wantedBytes) hex = decoded.toString('hex')
    }
  }
  if (hex === undefined) throw new Unusable(`bad_${what}`, `${what} is not ${wantedBytes} bytes, or their hex`)
  return BigInt(`0x${hex}`) || undefined
}

/** Absent bytes are an empty list to protobufjs. */
export function isEmpty(v: unknown): boolean {
  return v === undefined || v === null || (v as { length?: unknown }).length === 0
}

/** An i64 of the same bits, as records have it. */
export function signed(n: bigint): bigint {
  return BigInt.asIntN(64, n)
}

/** @param digits how many hex digits */
export function hexOf(n: bigint, digits: number): string {
  return BigInt.asUintN(digits * 4, n)
    .toString(16)
    .padStart(digits, '0')
}

function badType(what: string, wanted: string): Unusable {
  return new Unusable('bad_type', `${what} is not ${wanted}`)
}

/** An object that holds any key, `__proto__` too, as one of its own. */
export function plainObject<V>(entries: Iterable<readonly [string, V]>): Record<string, V> {
  const object = Object.create(null)
  for (const [key, value] of entries) object[key] = value
  return object
}
