import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { MessageType, Reader, T, Writer, writeMessageBegin } from '../../src/codec/binary'
import { ResultCode, readLogArgs } from '../../src/codec/scribe'
import { readRecord, type SpanRecord } from '../../src/codec/span'

/** What the peer does with a Log call. */
export type Reaction =
  | { reply: ResultCode; strict?: boolean }
  | 'exception'
  | 'silence'
  | 'close'
  | 'garbage'
  | 'huge length'
  | 'byte by byte'

/**
 * A Scribe server that keeps the spans it is sent, and misbehaves on demand. It is a real peer on a real socket, but not
 * Scribe: the tests with Milo's own collector, and Flume later, are the proof for those.
 */
export class ScribePeer {
  readonly spans: SpanRecord[] = []
  readonly categories: string[] = []
  /** Spans of each Log call, also of those that were not answered OK. */
  readonly calls: number[] = []
  connections = 0
  react: (call: number) => Reaction = () => ({ reply: ResultCode.OK })
  private readonly server: Server
  private readonly sockets = new Set<Socket>()

  private constructor() {
    this.server = createServer(socket => this.serve(socket))
  }

  static async listen(port = 0): Promise<ScribePeer> {
    const peer = new ScribePeer()
    peer.server.listen(port, '127.0.0.1')
    await once(peer.server, 'listening')
    return peer
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    this.server.close()
    if (this.server.listening) await once(this.server, 'close')
  }

  private serve(socket: Socket): void {
    this.connections++
    this.sockets.add(socket)
    socket.on('close', () => this.sockets.delete(socket))
    socket.on('error', () => {})
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
    const spans: SpanRecord[] = []
    for (const { category, message } of readLogArgs(reader)) {
      this.categories.push(category)
      for (let pos = 0; pos < message.length; ) {
        const { record, end } = readRecord(message, pos)
        spans.push(record)
        pos = end
      }
    }
    this.calls.push(spans.length)
    const reaction = this.react(this.calls.length)
    if (reaction === 'silence') return
    if (reaction === 'close') return void socket.destroy()
    if (reaction === 'garbage') return void socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')
    if (reaction === 'huge length') return void socket.write(Buffer.from('7fffffff', 'hex'))
    const w = new Writer()
    w.i32(0)
    if (reaction === 'exception') {
      writeMessageBegin(w, { ...header, type: MessageType.EXCEPTION })
    } else {
      const ok = reaction === 'byte by byte' || reaction.reply === ResultCode.OK
      if (ok) this.spans.push(...spans)
      const strict = reaction === 'byte by byte' || reaction.strict !== false
      writeMessageBegin(w, { ...header, strict, type: MessageType.REPLY })
      w.field(T.I32, 0)
      w.i32(ok ? ResultCode.OK : ResultCode.TRY_LATER)
    }
    w.byte(T.STOP)
    const reply = w.take()
    reply.writeInt32BE(reply.length - 4, 0)
    if (reaction !== 'byte by byte') return void socket.write(reply)
    const next = (i: number): void => {
      if (i === reply.length || socket.destroyed) return
      socket.write(reply.subarray(i, i + 1), () => setImmediate(next, i + 1))
    }
    next(0)
  }
}
