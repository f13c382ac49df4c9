import { CodecError, Reader, T } from 'milo/codec/binary'
import { BadInput, type Fields, hexOf, MAX_SPAN_BYTES, MAX_SPAN_PARTS, type Reading, Unusable } from '../fields'
import { ipOfBytes } from './v2'

/** A struct's fields by their ids: for each its name in JSON, its type, and the function that reads it. */
type Layout = Record<number, readonly [name: string, type: T, read: (r: Reader) => unknown]>

const readId = (r: Reader) => hexOf(r.i64(), 16)
const readI64 = (r: Reader) => r.i64()
const readString = (r: Reader) => r.string()

const ENDPOINT: Layout = {
  1: ['ipv4', T.I32, r => readIpv4(r.i32())],
  2: ['port', T.I16, r => r.i16() & 0xffff],
  3: ['serviceName', T.STRING, readString],
  4: ['ipv6', T.STRING, r => readIpv6(r.bytes())],
}
const readEndpoint = (r: Reader) => readStruct(r, ENDPOINT)

const ANNOTATION: Layout = {
  1: ['timestamp', T.I64, readI64],
  2: ['value', T.STRING, readString],
  3: ['endpoint', T.STRUCT, readEndpoint],
}
const BINARY_ANNOTATION: Layout = {
  1: ['key', T.STRING, readString],
  2: ['value', T.STRING, r => r.bytes()],
  3: ['type', T.I32, r => r.i32()],
  4: ['endpoint', T.STRUCT, readEndpoint],
}
const SPAN: Layout = {
  1: ['traceId', T.I64, readId],
  3: ['name', T.STRING, readString],
  4: ['id', T.I64, readId],
  5: ['parentId', T.I64, readId],
  6: ['annotations', T.LIST, r => readStructs(r, ANNOTATION)],
  8: ['binaryAnnotations', T.LIST, r => readStructs(r, BINARY_ANNOTATION).map(withValue)],
  9: ['debug', T.BOOL, r => r.byte() !== 0],
  10: ['timestamp', T.I64, readI64],
  11: ['duration', T.I64, readI64],
  12: ['traceIdHigh', T.I64, readId],
}

/** Reads a span from Thrift's binary protocol, into the fields that it has in JSON. @throws Unusable */
export function readThrift(bytes: Buffer): Fields {
  if (bytes.length > MAX_SPAN_BYTES) throw new Unusable('too_large', `a span is over ${MAX_SPAN_BYTES} bytes`)
  const span = attemptThrift(
    () => readStruct(new Reader(bytes), SPAN),
    ({ code, message }) => new Unusable(code, message),
  )
  if (span.traceId !== undefined) span.traceId = `${span.traceIdHigh ?? ''}${span.traceId}`
  return span
}

/** Calls `read`. @throws what `refuse` returns for a CodecError */
function attemptThrift<V>(read: () => V, refuse: (error: CodecError) => unknown): V {
  // A frame may hold a million bad spans, and most of an error's cost is its stack.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return read()
  } catch (error) {
    throw error instanceof CodecError ? refuse(error) : error
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

function readStruct(r: Reader, layout: Layout): Fields {
  const fields: Fields = {}
  for (;;) {
    const type = r.byte()
    if (type === T.STOP) return fields
    const known = layout[r.i16()]
    if (known?.[1] === type) fields[known[0]] = known[2](r)
    else r.skip(type)
  }
}

function readStructs(r: Reader, layout: Layout): Fields[] {
  const type = r.byte()
  const n = r.size(1)
  if (n > MAX_SPAN_PARTS) throw new Unusable('too_large', `a span has more than ${MAX_SPAN_PARTS} annotations`)
  const structs: Fields[] = []
  for (let i = 0; i < n; i++) {
    if (type === T.STRUCT) structs.push(readStruct(r, layout))
    else r.skip(type)
  }
  return structs
}

/** Returns bytes that aren't an address unchanged: readIp leaves them out, and counts them. */
function readIpv6(bytes: Buffer): string | Buffer {
  return ipOfBytes(bytes) || bytes
}

function readIpv4(address: number): string | undefined {
  return address === 0 ? undefined : [24, 16, 8, 0].map(shift => (address >>> shift) & 255).join('.')
}

const [BOOL, I16, I32, I64, DOUBLE, STRING] = [0, 2, 3, 4, 5, 6]

/** Converts the value by its type: numbers to decimal; bytes, and values whose length doesn't fit their type, to base64. */
function withValue({ key, value, type, endpoint }: Fields): Fields {
  return { key, value: value === undefined ? undefined : readValue(value as Buffer, type), endpoint }
}

function readValue(bytes: Buffer, type: unknown): string | boolean {
  const { length } = bytes
  if (type === STRING) return bytes.toString('utf8')
  if (type === BOOL && length === 1) return bytes[0] !== 0
  if (type === I16 && length === 2) return String(bytes.readInt16BE())
  if (type === I32 && length === 4) return String(bytes.readInt32BE())
  if (type === I64 && length === 8) return String(bytes.readBigInt64BE())
  if (type === DOUBLE && length === 8) return String(bytes.readDoubleBE())
  return bytes.toString('base64')
}

/** The length of a list's header in bytes: the elements' type and their number. */
export const LIST_HEADER = 5

/** Returns where each struct of a list ends. @throws BadInput if the bytes aren't a list of structs */
export function endsOfStructs(body: Buffer, reading: Reading): number[] {
  return attemptThrift(
    () => {
      const r = new Reader(body)
      if (r.byte() !== T.STRUCT) throw new BadInput('not Zipkin: there should be a list of spans')
      const n = r.size(1)
      reading.addEntries(n)
      const ends: number[] = []
      for (let i = 0; i < n; i++) {
        r.skip(T.STRUCT)
        ends.push(r.pos)
      }
      return ends
    },
    ({ message }) => new BadInput(`not Zipkin: ${message}`),
  )
}
