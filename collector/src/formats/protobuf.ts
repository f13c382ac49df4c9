import { type INamespace, Reader, Root, type Type } from 'protobufjs/light'
import { BadInput, type FieldReader, MAX_SPAN_BYTES, MAX_SPAN_PARTS, Unusable } from './fields'

/**
 * A message's fields by name, each with its number and type. `T[]` is a list and `T{}` a map by string. Only one of the fields
 * with a `T?` is set (a oneof).
 */
type Fields = Record<string, `${number} ${string}`>

/** Makes the types that read and write messages from a table of their fields. */
export function messageTypes<Name extends string>(table: Record<Name, Fields>): Record<Name, Type> {
  const nested: INamespace['nested'] = {}
  for (const [name, fields] of Object.entries<Fields>(table)) {
    const oneOf: string[] = []
    nested[name] = { fields: {}, oneofs: { value: { oneof: oneOf } } }
    for (const [field, text] of Object.entries(fields)) {
      const [, id, type, suffix] = /^(\d+) (\w+)(\[\]|\{\}|\?)?$/.exec(text)!
      if (suffix === '?') oneOf.push(field)
      const kind = suffix === '[]' ? { rule: 'repeated' } : suffix === '{}' ? { keyType: 'string' } : {}
      nested[name].fields[field] = { id: Number(id), type: type!, ...kind }
    }
    if (oneOf.length === 0) delete nested[name].oneofs
  }
  const root = Root.fromJSON({ nested })
  return Object.fromEntries(Object.keys(table).map(name => [name, root.lookupType(name)])) as Record<Name, Type>
}

/**
 * Yields the bytes of each value of a field, in order; with `not`, the bytes of all other fields, tags included. So a body is
 * taken apart span by span rather than decoded whole: a span of two bytes would become an object of hundreds.
 * @param ids the field's number, and the numbers that it had in earlier versions
 * @throws BadInput if the bytes aren't a message
 */
export function* fieldBytes(message: Uint8Array, type: Type, ids: number[], not = false): Generator<Uint8Array> {
  const reader = Reader.create(message)
  try {
    while (reader.pos < reader.len) {
      const start = reader.pos
      const tag = reader.uint32()
      const wanted = ids.includes(tag >>> 3) && (tag & 7) === 2
      if (wanted && !not) yield reader.bytes()
      else reader.skipType(tag & 7)
      if (!wanted && not) yield message.subarray(start, reader.pos)
    }
  } catch (error) {
    throw new BadInput(`${type.name} can't be read at byte ${reader.pos}: ${(error as Error).message}`)
  }
}

/** Decodes a message without one of its fields. @see decode @throws Unusable */
export function decodeWithout(message: Uint8Array, type: Type, ids: number[], read: FieldReader) {
  const rest = Buffer.allocUnsafe(Math.min(message.length, MAX_SPAN_BYTES))
  let length = 0
  for (const bytes of fieldBytes(message, type, ids, true)) {
    if (length + bytes.length > rest.length) {
      throw new Unusable('too_large', `${type.name} is over ${MAX_SPAN_BYTES} bytes without the messages in it`)
    }
    rest.set(bytes, length)
    length += bytes.length
  }
  return decode(rest.subarray(0, length), type, read)
}

/**
 * Decodes a message. Fields that can't be read are left out.
 * @throws Unusable if the message is too large, or the bytes aren't a message
 */
export function decode(bytes: Uint8Array, type: Type, read: FieldReader): Record<string, unknown> {
  if (bytes.length > MAX_SPAN_BYTES) throw new Unusable('too_large', `${type.name} is over ${MAX_SPAN_BYTES} bytes`)
  // A sender may cause many errors, and most of an error's cost is its stack.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    const whole = tryDecode(bytes, type)
    if (!(whole instanceof Error)) return whole
    // A message is a sequence of fields, so it can be read without the bad ones.
    const readable: Uint8Array[] = []
    let fields = 0
    for (const field of fieldBytes(bytes, type, [], true)) {
      if (++fields > MAX_SPAN_PARTS)
        throw new Unusable('too_large', `${type.name} has more than ${MAX_SPAN_PARTS} fields`)
      const error = tryDecode(field, type)
      if (!(error instanceof Error)) readable.push(field)
      else read.leave('message', error.message.includes('max depth') ? 'too_deep' : 'bad_protobuf', undefined)
    }
    const rest = tryDecode(Buffer.concat(readable), type)
    if (!(rest instanceof Error)) return rest
    throw new Unusable('bad_protobuf', `${type.name} can't be read: ${rest.message}`)
  } catch (error) {
    throw error instanceof BadInput ? new Unusable('bad_protobuf', error.message) : error
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

function tryDecode(bytes: Uint8Array, type: Type): Record<string, unknown> | Error {
  try {
    return type.decode(bytes) as unknown as Record<string, unknown>
  } catch (error) {
    return error as Error
  }
}
