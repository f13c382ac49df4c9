import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Reader, Root, type Type } from 'protobufjs'
import { BadInput, Unusable } from './fields'

/** Protobuf, by the formats' own .proto files, which are read when the first such body comes. */
let root: Root | undefined

export function messageType(name: string): Type {
  root ??= load()
  return root.lookupType(name)
}

function load(): Root {
  const folder = protoFolder()
  const root = new Root()
  root.resolvePath = (_origin, target) => join(folder, target)
  root.loadSync(['opentelemetry/proto/collector/trace/v1/trace_service.proto', 'zipkin.proto']).resolveAll()
  return root
}

/** The package's folder proto/, as the bundle sees it, and as this file does. */
function protoFolder(): string {
  const ofBundle = join(__dirname, '../proto')
  return existsSync(ofBundle) ? ofBundle : join(__dirname, '../../proto')
}

/**
 * The bytes of each value of one field, in order; of all others with `not`, tags included. A body is taken apart so, span
 * by span, rather than decoded whole: a span of two bytes would become one of hundreds.
 * @throws BadInput when the bytes are no message
 */
export function* fieldBytes(message: Uint8Array, type: Type, field: string, not = false): Generator<Uint8Array> {
  const { id } = type.fields[field]!
  const reader = Reader.create(message)
  try {
    while (reader.pos < reader.len) {
      const start = reader.pos
      const tag = reader.uint32()
      const wanted = tag >>> 3 === id && (tag & 7) === 2
      if (wanted && !not) yield reader.bytes()
      else reader.skipType(tag & 7)
      if (!wanted && not) yield message.subarray(start, reader.pos)
    }
  } catch (error) {
    throw new BadInput(`${type.name} can't be read at byte ${reader.pos}: ${(error as Error).message}`)
  }
}

/** All of a message but one field, decoded. @throws Unusable */
export function decodeWithout(message: Uint8Array, type: Type, field: string, maxBytes: number) {
  const rest = Buffer.allocUnsafe(Math.min(message.length, maxBytes))
  let length = 0
  for (const bytes of fieldBytes(message, type, field, true)) {
    if (length + bytes.length > rest.length) {
      throw new Unusable('too_large', `${type.name} is over ${maxBytes} bytes without its ${field}`)
    }
    rest.set(bytes, length)
    length += bytes.length
  }
  return decode(rest.subarray(0, length), type)
}

/** @throws Unusable */
export function decode(bytes: Uint8Array, type: Type): Record<string, unknown> {
  // What is wrong is the sender's doing, and most of an error's cost is its stack.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return type.decode(bytes) as unknown as Record<string, unknown>
  } catch (error) {
    const { message } = error as Error
    throw message.includes('max depth')
      ? new Unusable('too_deep', `${type.name} nests too deep`)
      : new Unusable('bad_protobuf', `${type.name} can't be read: ${message}`)
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}
