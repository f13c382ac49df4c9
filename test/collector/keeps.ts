import assert from 'node:assert/strict'
import { MessageType, Reader, T, type Writer } from '../../src/codec/binary'
import { type CallOptions, callFrame, span } from './support'

/** A record that says why its trace is kept, and the calls by which processes ask what to keep. */

export const kept = (reason: string, fields = {}) =>
  span({
    annotations: new Map([
      ['milo.keep', reason],
      ['milo.history', '1700000000000000'],
    ]),
    probability: 0,
    ...fields,
  })

function putRequest(w: Writer, since: bigint, waitMs: number, process = 0n): void {
  w.field(T.STRUCT, 1)
  w.field(T.I64, 1)
  putI64(w, since)
  w.field(T.I32, 2)
  w.i32(waitMs)
  w.field(T.STRING, 3)
  w.string('shop')
  w.field(T.STRING, 4)
  w.string('web1')
  w.field(T.I64, 5)
  putI64(w, process)
  w.field(T.I64, 6)
  putI64(w, 1_700_000_000_000_000n)
  w.byte(T.STOP)
  w.byte(T.STOP)
}

function putI64(w: Writer, value: bigint): void {
  w.reserve(8)
  w.pos = w.buf.writeBigInt64BE(value, w.pos)
}

export const keepsFrame = (since: bigint, waitMs: number, options: CallOptions = {}, process = 0n) =>
  callFrame('keeps', options, w => putRequest(w, since, waitMs, process))

/** What a reply to keeps says. */
export function told(frame: Buffer): {
  next: bigint
  entries: { kind: number; id: bigint; n: number }[]
  strict: boolean
} {
  const reader = new Reader(frame.subarray(4))
  const { type, name, strict } = reader.messageBegin()
  assert.deepEqual([type, name], [MessageType.REPLY, 'keeps'])
  assert.deepEqual([reader.byte(), reader.i16()], [T.STRUCT, 0])
  assert.deepEqual([reader.byte(), reader.i16()], [T.I64, 1])
  const next = reader.i64()
  assert.deepEqual([reader.byte(), reader.i16()], [T.STRING, 2])
  const keeps = reader.bytes()
  assert.deepEqual([reader.byte(), reader.byte()], [T.STOP, T.STOP])
  return { next, entries: entriesOf(keeps), strict }
}

export function entriesOf(keeps: Buffer) {
  const entries = []
  for (let at = 0; at < keeps.length; at += 10) {
    entries.push({ kind: keeps[at]!, id: keeps.readBigUInt64BE(at + 1), n: keeps[at + 9]! })
  }
  return entries
}
