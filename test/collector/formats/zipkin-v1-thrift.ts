import { T, Writer } from '../../../src/codec/binary'

type Json = Record<string, any>

/** AnnotationType by the names that JSON has for it, and how a value of it stands in its bytes. */
const TYPES: Record<string, [number, (v: any) => Buffer]> = {
  BOOL: [0, v => Buffer.from([v ? 1 : 0])],
  BYTES: [1, v => Buffer.from(v, 'base64')],
  I16: [2, v => number(2, b => b.writeInt16BE(v))],
  I32: [3, v => number(4, b => b.writeInt32BE(v))],
  I64: [4, v => number(8, b => b.writeBigInt64BE(BigInt(v)))],
  DOUBLE: [5, v => number(8, b => b.writeDoubleBE(v))],
  STRING: [6, v => Buffer.from(v)],
}

function number(length: number, write: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.alloc(length)
  write(bytes)
  return bytes
}

/** A span of Zipkin's JSON, version 1, as zipkinCore.thrift has it in the binary protocol. */
export function thriftSpan(json: Json): Buffer {
  const w = new Writer()
  putSpan(w, json)
  return w.take()
}

export function thriftList(spans: Json[]): Buffer {
  const w = new Writer()
  putList(w, spans, span => putSpan(w, span))
  return w.take()
}

function putSpan(w: Writer, { traceId, ...span }: Json): void {
  const hex = traceId?.padStart(32, '0')
  putId(w, 1, hex?.slice(16))
  putString(w, 3, span.name)
  putId(w, 4, span.id)
  putId(w, 5, span.parentId)
  if (span.annotations !== undefined) {
    w.field(T.LIST, 6)
    putList(w, span.annotations, ({ timestamp, value, endpoint }) => {
      putI64(w, 1, timestamp)
      putString(w, 2, value)
      putEndpoint(w, 3, endpoint)
      w.byte(T.STOP)
    })
  }
  if (span.binaryAnnotations !== undefined) {
    w.field(T.LIST, 8)
    putList(w, span.binaryAnnotations, ({ key, value, type, endpoint }) => {
      const [code, bytesOf] = TYPES[type ?? (value === true ? 'BOOL' : 'STRING')]!
      putString(w, 1, key)
      w.field(T.STRING, 2)
      w.bytes(bytesOf(value))
      w.field(T.I32, 3)
      w.i32(code)
      putEndpoint(w, 4, endpoint)
      w.byte(T.STOP)
    })
  }
  if (span.debug !== undefined) {
    w.field(T.BOOL, 9)
    w.byte(span.debug ? 1 : 0)
  }
  putI64(w, 10, span.timestamp)
  putI64(w, 11, span.duration)
  if (traceId?.length > 16) putId(w, 12, hex?.slice(0, 16))
  w.byte(T.STOP)
}

function putList(w: Writer, items: Json[], put: (item: Json) => void): void {
  w.byte(T.STRUCT)
  w.i32(items.length)
  for (const item of items) put(item)
}

function putEndpoint(w: Writer, id: number, endpoint: Json | undefined): void {
  if (endpoint === undefined) return
  const { serviceName, ipv4 = '0.0.0.0', ipv6, port = 0 } = endpoint
  w.field(T.STRUCT, id)
  w.field(T.I32, 1)
  w.raw(Buffer.from(ipv4.split('.').map(Number)))
  w.field(T.I16, 2)
  w.raw(Buffer.from([port >> 8, port]))
  putString(w, 3, serviceName)
  if (ipv6 !== undefined) {
    const [before, after = ''] = ipv6.split('::')
    const groups = (text: string) => (text === '' ? [] : text.split(':').map(group => Number.parseInt(group, 16)))
    const zeros = Array(8 - groups(before).length - groups(after).length).fill(0)
    w.field(T.STRING, 4)
    w.bytes(Buffer.from([...groups(before), ...zeros, ...groups(after)].flatMap(group => [group >> 8, group & 255])))
  }
  w.byte(T.STOP)
}

function putString(w: Writer, id: number, value: string | undefined): void {
  if (value === undefined) return
  w.field(T.STRING, id)
  w.string(value)
}

function putId(w: Writer, id: number, hex: string | undefined): void {
  if (hex === undefined) return
  w.field(T.I64, id)
  w.raw(Buffer.from(hex.padStart(16, '0'), 'hex'))
}

function putI64(w: Writer, id: number, value: number | undefined): void {
  if (value === undefined) return
  w.field(T.I64, id)
  w.i64FromNumber(value)
}
