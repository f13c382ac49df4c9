import { bool, bytes, double, i64, list, object, plainObject, text, Unusable } from './fields'

/**
 * OpenTelemetry's AnyValue, and what becomes of it in an annotation.
 *
 *     AnyValue, as protobuf or JSON has it ─ readAnyValue → Value ─ toText → text and type ─ fromText → Value ─ toJson → OTLP's JSON
 */
export type Value = string | boolean | Int | number | Uint8Array | Value[] | KeyValues | null
/** An int; a number is a double. */
type Int = bigint

/** In order; a key may come twice. */
export class KeyValues {
  readonly entries: [string, Value][]
  constructor(entries: [string, Value][]) {
    this.entries = entries
  }
}

/** What a text stands for; a string needs no word. */
export type TextType = 'string' | 'bool' | 'int' | 'double' | 'bytes' | 'empty' | 'json' | 'any'

/** Deeper ones are refused; protobufjs itself goes to 100 messages, of which a list in a list takes two or three. */
const MAX_DEPTH = 32

/** @throws Unusable */
export function readAnyValue(raw: unknown, depth = 0): Value {
  const fields = object(raw, 'an attribute value')
  if (fields === undefined) return null
  if (depth > MAX_DEPTH) throw new Unusable('too_deep', `an attribute value nests deeper than ${MAX_DEPTH}`)
  let value: Value = null
  // Only what was sent is the message's own; of several the last counts.
  for (const kind of Object.keys(fields)) {
    const v = fields[kind]
    if (v === null) continue
    if (kind === 'stringValue') value = text(v, kind)
    else if (kind === 'boolValue') value = bool(v, kind)
    else if (kind === 'intValue') value = i64(v, kind)
    else if (kind === 'doubleValue') value = double(v, kind)
    else if (kind === 'bytesValue') value = bytes(v, kind)
    else if (kind === 'arrayValue') value = list(object(v, kind)?.values, kind).map(v => readAnyValue(v, depth + 1))
    else if (kind === 'kvlistValue') value = new KeyValues(readKeyValues(object(v, kind)?.values, depth + 1))
  }
  return value
}

/** @throws Unusable */
export function readKeyValues(raw: unknown, depth = 0): [string, Value][] {
  return list(raw, 'attributes').map(pair => {
    const { key, value } = object(pair, 'an attribute') ?? {}
    return [text(key, 'an attribute key'), readAnyValue(value, depth)]
  })
}

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

/** @throws when the text isn't of that type: it didn't come from toText */
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
      return readAnyValue(JSON.parse(text))
    default:
      return text
  }
}

/** In the words of OTLP's JSON. */
export function toJson(v: Value): Record<string, unknown> {
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

/** For reading by people: an object, where that says all; else OTLP's own list. */
export function attributesToPlain(entries: [string, Value][]): unknown {
  return toPlain(new KeyValues(entries)) ?? keyValuesToJson(entries)
}

/** @throws when it didn't come from attributesToPlain */
export function attributesFromPlain(json: unknown): [string, Value][] {
  return Array.isArray(json) ? readKeyValues(json) : (fromPlain(json) as KeyValues).entries
}

/** The value in JSON's own words, as people read it; undefined when `fromPlain` couldn't tell what it was. */
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
  // An object holds a key once, and puts numbers first.
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
