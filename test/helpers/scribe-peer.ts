import type { Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { type MessageHeader, MessageType, Reader, T, Writer, writeMessageBegin } from '../../src/codec/binary'
import { ResultCode, readLogArgs } from '../../src/codec/scribe'
import { DELIMITER, type SpanRecord } from '../../src/codec/span'
import { Peer } from './peer'
import { recordsIn } from './records'

/** What the peer does with a Log call. */
export type Reaction =
  | { reply: ResultCode; strict?: boolean }
  | 'exception'
  | 'silence'
  | 'close'
  | 'garbage'
  | 'huge length'
  | 'byte by byte'
  | 'reset'
  | 'half a reply'
  | 'two replies'
  | 'another call’s reply'

/**
 * A Scribe server that keeps the spans it is sent, and misbehaves on demand. It is a real peer on a real socket, but not
 * Scribe: the tests with Milo's own collector, and Flume later, are the proof for those.
 */
export class ScribePeer extends Peer {
  readonly spans: SpanRecord[] = []
  readonly categories: string[] = []
  /** Spans of each Log call, also of those that were not answered OK. */
  readonly calls: number[] = []
  /** Their ids. */
  readonly seen: bigint[][] = []
  /** Whether a message came as base64. */
  sawBase64 = false
  react: (call: number) => Reaction = () => ({ reply: ResultCode.OK })
  /** Takes calls of `keeps`, as a Milo collector does. A genuine Scribe doesn't know the method. */
  keeps: ((poll: Poll) => void) | undefined = undefined

  static listen(port?: number, tls?: TlsOptions): Promise<ScribePeer> {
    return new ScribePeer(tls).open(port)
  }

  protected override serve(socket: Socket): void {
    let bytes = Buffer.alloc(0)
    socket.on('data', data => {
      bytes = Buffer.concat([bytes, data])
      while (bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)) {
        const end = 4 + bytes.readInt32BE(0)
        this.call(socket, bytes.subarray(4, end))
        bytes = bytes.subarray(end)
      }
    })
  }

  private call(socket: Socket, frame: Buffer): void {
    const reader = new Reader(frame)
    const header = reader.messageBegin()
    if (header.name !== 'Log') return void this.other(socket, header, reader)
    const spans: SpanRecord[] = []
    for (const entry of readLogArgs(reader)) {
      this.categories.push(entry.category)
      let { message } = entry
      if (message.readUInt32BE(0) !== DELIMITER) {
        message = Buffer.from(message.toString('latin1'), 'base64')
        this.sawBase64 = true
      }
      spans.push(...recordsIn(message))
    }
    this.calls.push(spans.length)
    this.seen.push(spans.map(({ id }) => id!))
    const reaction = this.react(this.calls.length)
    if (reaction === 'silence') return
    if (reaction === 'close') return void socket.destroy()
    if (reaction === 'reset') return void socket.resetAndDestroy()
    if (reaction === 'garbage') return void socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')
    if (reaction === 'huge length') return void socket.write(Buffer.from('7fffffff', 'hex'))
    let reply: Buffer
    if (reaction === 'exception') {
      const w = new Writer()
      writeMessageBegin(w, { ...header, type: MessageType.EXCEPTION })
      w.byte(T.STOP)
      reply = framed(w)
    } else {
      const plain = typeof reaction === 'string'
      const ok = plain || reaction.reply === ResultCode.OK
      const seqid = reaction === 'another call’s reply' ? header.seqid + 1 : header.seqid
      // Of what the sender can't take for an answer to its call, it will send all of it again.
      if (reaction === 'byte by byte' || (!plain && ok)) this.spans.push(...spans)
      const strict = plain || reaction.strict !== false
      reply = replyTo({ ...header, seqid, strict }, ok ? ResultCode.OK : ResultCode.TRY_LATER)
    }
    if (reaction === 'half a reply') return void socket.write(reply.subarray(0, 9))
    if (reaction === 'two replies') return void socket.write(Buffer.concat([reply, reply]))
    if (reaction !== 'byte by byte') return void socket.write(reply)
    const next = (i: number): void => {
      if (i === reply.length || socket.destroyed) return
      socket.write(reply.subarray(i, i + 1), () => setImmediate(next, i + 1))
    }
    next(0)
  }

  private other(socket: Socket, header: MessageHeader, reader: Reader): void {
    const w = new Writer()
    const send = () => {
      if (!socket.destroyed) socket.write(framed(w))
    }
    if (header.name === 'keeps' && this.keeps !== undefined) {
      const answer = (next: bigint, keeps: Uint8Array, seqid = header.seqid) => {
        writeMessageBegin(w, { ...header, seqid, type: MessageType.REPLY })
        w.field(T.STRUCT, 0)
        w.field(T.I64, 1)
        w.raw(i64(next))
        w.field(T.STRING, 2)
        w.bytes(keeps)
        w.byte(T.STOP)
        w.byte(T.STOP)
        send()
      }
      this.keeps({ ...requestOf(reader), socket, answer })
      return
    }
    writeMessageBegin(w, { ...header, type: MessageType.EXCEPTION })
    w.field(T.STRING, 1)
    w.string(`Invalid method name: '${header.name}'`)
    w.field(T.I32, 2)
    w.i32(1)
    w.byte(T.STOP)
    send()
  }
}

/** A call of `keeps`, and how to answer it. */
export interface Poll {
  since: bigint
  waitMs: number
  service: string
  host: string
  process: bigint
  historyUs: bigint
  listening: string[]
  madeUs: bigint
  socket: Socket
  answer(next: bigint, keeps: Uint8Array, seqid?: number): void
}

/** An entry of a reply to `keeps`: a trace, or n traces of an operation. */
export function entry(kind: number, id: bigint, n = 0): Buffer {
  return Buffer.concat([Buffer.of(kind), i64(id), Buffer.of(n)])
}

function i64(n: bigint): Buffer {
  const b = Buffer.alloc(8)
  b.writeBigInt64BE(BigInt.asIntN(64, n))
  return b
}

function requestOf(reader: Reader): Omit<Poll, 'socket' | 'answer'> {
  const values: unknown[] = []
  for (let type = reader.byte(); type !== T.STOP; type = reader.byte()) {
    reader.i16()
    for (let inner = reader.byte(); inner !== T.STOP; inner = reader.byte()) {
      const id = reader.i16()
      if (inner === T.I64) values[id] = reader.i64()
      else if (inner === T.I32) values[id] = reader.i32()
      else if (inner === T.STRING) values[id] = reader.string()
      else {
        reader.byte()
        values[id] = Array.from({ length: reader.i32() }, () => reader.string())
      }
    }
  }
  const [, since, waitMs, service, host, process, historyUs, listening = [], madeUs] = values as any[]
  return { since, waitMs, service, host, process, historyUs, listening, madeUs }
}

/** The reply to a `Log` call, with its frame's length. */
export function replyTo(header: Omit<MessageHeader, 'type'>, code: ResultCode): Buffer {
  const w = new Writer()
  writeMessageBegin(w, { ...header, type: MessageType.REPLY })
  w.field(T.I32, 0)
  w.i32(code)
  w.byte(T.STOP)
  return framed(w)
}

function framed(w: Writer): Buffer {
  const message = w.take()
  const length = Buffer.alloc(4)
  length.writeInt32BE(message.length)
  return Buffer.concat([length, message])
}
