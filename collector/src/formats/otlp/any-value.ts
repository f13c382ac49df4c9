import { anyBool, anyDouble, anyInteger, FieldReader, isEmpty, isObject, plainObject, Reading } from '../fields'
import { camelCased } from './json'

/**
 * OpenTelemetry's AnyValue, on its way into an annotation and back.
 *
 *     AnyValue in protobuf or JSON ─ readAnyValue → Value ─ toText → text and type ─ fromText → Value ─ toJson → OTLP's JSON
 */
export type Value = string | boolean | Int | number | Uint8Array | Value[] | KeyValues | null
/** An AnyValue's int. A number is a double. */
type Int = bigint

/** Keys and values in order; a key may come twice. */
class KeyValues {
  readonly entries: [string, Value][]
  constructor(entries: [string, Value][]) {
    this.entries = entries
  }
}

/** The type of a value that is kept as text. */
export type TextType = 'string' | 'bool' | 'int' | 'double' | 'bytes' | 'empty' | 'json' | 'any'

/** Deeper values are left out. protobufjs itself allows 100 nested messages, and a list in a list takes two or three. */
const MAX_DEPTH = 32
const [MIN_INT, MAX_INT] = [-(2n ** 63n), 2n ** 63n - 1n]
const KINDS = ['stringValue', 'boolValue', 'intValue', 'doubleValue', 'bytesValue', 'arrayValue', 'kvlistValue']

/** Reads an AnyValue. Some senders don't wrap a value in its kind; its JSON type tells its kind then. */
function readAnyValue(raw: unknown, read: FieldReader, depth = 0): Value {
  if (raw === undefined || raw === null) return null
  if (depth > MAX_DEPTH) return read.leave('attribute', 'too_deep', null)
  if (!isObject(raw)) return bare(raw, read, depth)
  const fields = camelCased(raw)
  let value: Value = null
  let known = false
  // Object.keys gives the fields that were sent, not the prototype's defaults. If there are several, the last counts.
  for (const kind of Object.keys(fields)) {
    if (!KINDS.includes(kind)) continue
    known = true
    const v = fields[kind]
    if (v !== undefined && v !== null) value = readKind(kind, v, read, depth)
  }
  if (known || Object.keys(fields).length === 0) return value
  return read.leave('attribute', 'unknown', null)
}

/** Reads a value of a kind. A value that doesn't fit its kind is read by its JSON type. */
function readKind(kind: string, v: unknown, read: FieldReader, depth: number): Value {
  switch (kind) {
    case 'boolValue':
      return anyBool(v) ?? bare(v, read, depth)
    case 'intValue': {
      const int = anyInteger(v)
      const isWhole = typeof v !== 'number' || Number.isInteger(v)
      return int !== undefined && isWhole && int >= MIN_INT && int <= MAX_INT ? int : bare(v, read, depth)
    }
    case 'doubleValue':
      return anyDouble(v) ?? bare(v, read, depth)
    case 'bytesValue':
      return anyBytes(v) ?? bare(v, read, depth)
    case 'arrayValue':
      return read.list(isObject(v) ? v.values : v, 'attribute').map(entry => readAnyValue(entry, read, depth + 1))
    case 'kvlistValue':
      return new KeyValues(readKeyValues(isObject(v) && 'values' in v ? v.values : v, read, depth + 1))
    default:
      return typeof v === 'object' ? bare(v, read, depth) : String(v)
  }
}

/** Accepts bytes, base64, and what JSON.stringify writes for a typed array: an object of numbers. */
function anyBytes(v: unknown): Uint8Array | undefined {
  if (v instanceof Uint8Array) return v
  if (isEmpty(v)) return Buffer.alloc(0)
  if (typeof v === 'string') return /^[\w+/-]*={0,2}$/.test(v) ? Buffer.from(v, 'base64') : undefined
  const all = typeof v === 'object' ? Object.values(v as object) : []
  return all.length > 0 && all.every(byte => Number.isInteger(byte) && byte >= 0 && byte < 256)
    ? Buffer.from(all)
    : undefined
}

function bare(v: unknown, read: FieldReader, depth: number): Value {
  if (Array.isArray(v)) return read.list(v, 'attribute').map(entry => readAnyValue(entry, read, depth + 1))
  if (typeof v === 'object' && v !== null) return JSON.stringify(v)
  return typeof v === 'number' && Number.isSafeInteger(v) ? BigInt(v) : (v as Value)
}

/** Reads a list of keys and values, or an object of them, which some senders write. */
export function readKeyValues(raw: unknown, read: FieldReader, depth = 0): [string, Value][] {
  if (isObject(raw)) return Object.entries(raw).map(([key, value]) => [key, readAnyValue(value, read, depth)])
  return read.list(raw, 'attributes').flatMap(pair => {
    const fields = read.object(pair, 'attribute')
    if (fields === undefined) return []
    return [[read.text(fields.key, 'attribute_key'), readAnyValue(fields.value, read, depth)] as [string, Value]]
  })
}

/** Reads values that this file has written. Nobody looks at its counts. */
const unheard = () => new FieldReader('otlp', new Reading())

export function toText(v: Value): { type: TextType; text: string } {
  if (typeof v === 'string') return { type: 'string', text: v }
  if (typeof v === 'boolean') return { type: 'bool', text: String(v) }
  if (typeof v === 'bigint') return { type: 'int', text: String(v) }
  if (typeof v === 'number') return { type: 'double', text: doubleText(v) }
  if (v === null) return { type: 'empty', text: '' }
  if (v instanceof Uint8Array) return { type: 'bytes', text: base64(v) }
  const plain = toPlain(v)
  if (plain !== undefined) return { type: 'json', text: JSON.stringify(plain) }
  return { type: 'any', text: JSON.stringify(toJson(v)) }
}

/** @throws an Error if the text isn't of that type, and so didn't come from toText */
export function fromText(text: string, type: unknown): Value {
  switch (type) {
    case 'bool':
      return text === 'true'
    case 'int':
      return BigInt(text)
    case 'double':
      return Number(text)
    case 'empty':
      return null
    case 'bytes':
      return Buffer.from(text, 'base64')
    case 'json':
      return fromPlain(JSON.parse(text))
    case 'any':
      return readAnyValue(JSON.parse(text), unheard())
    default:
      return text
  }
}

/** Returns the value in OTLP's JSON. */
function toJson(v: Value): Record<string, unknown> {
  if (typeof v === 'string') return { stringValue: v }
  if (typeof v === 'boolean') return { boolValue: v }
  if (typeof v === 'bigint') return { intValue: String(v) }
  if (typeof v === 'number') return { doubleValue: Number.isFinite(v) && !Object.is(v, -0) ? v : doubleText(v) }
  if (v === null) return {}
  if (v instanceof Uint8Array) return { bytesValue: base64(v) }
  if (Array.isArray(v)) return { arrayValue: { values: v.map(toJson) } }
  return { kvlistValue: { values: keyValuesToJson(v.entries) } }
}

export function keyValuesToJson(entries: [string, Value][]): { key: string; value: Record<string, unknown> }[] {
  return entries.map(([key, value]) => ({ key, value: toJson(value) }))
}

/** Returns attributes in a form that people can read: an object if it can hold everything, or else OTLP's own list. */
export function attributesToPlain(entries: [string, Value][]): unknown {
  return toPlain(new KeyValues(entries)) ?? keyValuesToJson(entries)
}

/** @throws an Error if the JSON didn't come from attributesToPlain */
export function attributesFromPlain(json: unknown): [string, Value][] {
  return Array.isArray(json) ? readKeyValues(json, unheard()) : (fromPlain(json) as KeyValues).entries
}

/** Returns the value as plain JSON, which people can read, or undefined if `fromPlain` couldn't restore it from that. */
function toPlain(v: Value): unknown {
  if (typeof v === 'string' || typeof v === 'boolean' || v === null) return v
  if (typeof v === 'bigint') return Number.isSafeInteger(Number(v)) ? Number(v) : undefined
  if (typeof v === 'number') return Number.isFinite(v) && !Number.isInteger(v) ? v : undefined
  if (v instanceof Uint8Array) return undefined
  if (Array.isArray(v)) {
    const all = v.map(toPlain)
    return all.includes(undefined) ? undefined : all
  }
  const all = v.entries.map(([key, value]) => [key, toPlain(value)] as const)
  // An object can't hold a key twice, and puts keys that are numbers first.
  if (all.some(([key, value]) => value === undefined || /^\d+$/.test(key))) return undefined
  const object = plainObject(all)
  return Object.keys(object).length === all.length ? object : undefined
}

function fromPlain(v: any): Value {
  if (typeof v === 'number') return Number.isInteger(v) ? BigInt(v) : v
  if (Array.isArray(v)) return v.map(fromPlain)
  if (v === null || typeof v !== 'object') return v
  return new KeyValues(Object.keys(v).map(key => [key, fromPlain(v[key])]))
}

function doubleText(v: number): string {
  return Object.is(v, -0) ? '-0' : String(v)
}

function base64(v: Uint8Array): string {
  return Buffer.from(v.buffer, v.byteOffset, v.length).toString('base64')
}
