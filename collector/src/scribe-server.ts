import { createServer, type Server, type Socket } from 'node:net'
import {
  CodecError,
  type MessageHeader,
  MessageType,
  Reader,
  T,
  Writer,
  writeMessageBegin,
} from '../../src/codec/binary'
import { logEntries } from '../../src/codec/scribe'
import { CallRefused, type Fb303, REFUSED_METHODS, type Result } from './fb303'
import type { Ingest } from './ingest'
import { type Logger, limitWarnings } from './log'
import type { Metrics } from './metrics'

/**
 * Scribe over TCP: frames of Thrift's binary protocol, each an i32 length and a message.
 *
 *     bytes → frame → message header → Log, fb303 or an exception → slot ─┐
 *     socket ← replies in the order of their calls ← slots, oldest first ←┘
 *
 * A connection's calls run side by side, but each holds a slot, and a reply leaves when all before it have left. What a
 * peer can make the collector keep is bounded: a frame by its length, unfinished frames of all connections together, and
 * waiting calls by pausing the connection. What can't be read closes its connection; a call whose header can be read
 * gets an exception in its place.
 */
export interface ScribeServer {
  /** @returns the port, which is another than the one asked for when that was 0 */
  listen(host: string, port: number): Promise<number>
  /** Those that should be open, and whether they are. */
  listeners(): { host: string; port: number; open: boolean }[]
  /** Takes no more calls, answers those in flight, and closes; after the deadline, closes what is left. */
  close(deadlineMs: number): Promise<void>
}

export interface ScribeServerOptions {
  ingest: Ingest
  fb303: Fb303
  maxFrameBytes: number
  /** For the unfinished frames of all connections together. */
  maxUnfinishedBytes: number
  metrics: Metrics
  log: Logger
}

const MAX_METHOD_LENGTH = 256
/** A connection is read again when it has less waiting than this. */
const MAX_WAITING_CALLS = 256
const MAX_WAITING_BYTES = 4 * 1024 * 1024
/** The first piece of a frame that arrives in parts gets this much room; it doubles up to the frame's length. */
const FIRST_PART_BYTES = 16 * 1024

const EMPTY = Buffer.alloc(0)

/** TApplicationException's types. */
const UNKNOWN_METHOD = 1
const INTERNAL_ERROR = 6
const PROTOCOL_ERROR = 7

interface Slot {
  bytes: number
  /** Undefined while the call runs; empty for a call that gets no reply. */
  reply: Buffer | undefined
}

interface Connection {
  /** Stops reading, closes when what is in flight has been answered. */
  finish(): void
  destroy(): void
}

export function createScribeServer(options: ScribeServerOptions): ScribeServer {
  const { ingest, fb303, maxFrameBytes, maxUnfinishedBytes, metrics, log } = options
  const warn = limitWarnings(log)
  const servers: { server: Server; host: string; port: number }[] = []
  const connections = new Set<Connection>()
  let unfinishedBytes = 0
  let whenEmpty: (() => void) | undefined

  function accept(socket: Socket): void {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`
    /** Bytes of the next frame's length, and how many of the four are there. */
    let head = 0
    let headBytes = 0
    /** The frame that is arriving in parts: its length (0: none), where it is put, and how much of it is there. */
    let frameBytes = 0
    let part: Buffer = EMPTY
    let filled = 0
    const slots: Slot[] = []
    let waitingBytes = 0
    /** Nothing more is read: the peer ended, or was cut off, or the collector stops. */
    let finishing = false

    function setPart(buffer: Buffer): void {
      unfinishedBytes += buffer.length - part.length
      metrics.bytesUnfinished.set(unfinishedBytes)
      part = buffer
    }

    function fail(reason: string, message: string): void {
      metrics.connectionErrors.inc({ reason })
      warn(`connection ${reason}`, { peer, reason, detail: message }, 'Scribe connection closed for what it sent')
      connection.finish()
    }

    function read(chunk: Buffer): void {
      let pos = 0
      while (pos < chunk.length && !finishing) {
        if (frameBytes === 0) {
          for (; headBytes < 4 && pos < chunk.length; headBytes++) head = (head << 8) | chunk[pos++]!
          if (headBytes < 4) return
          if (head <= 0 || head > maxFrameBytes) {
            fail('frame_length', `a frame of ${head} bytes; 1 to ${maxFrameBytes} are taken`)
            return
          }
          frameBytes = head
          head = 0
          headBytes = 0
          if (chunk.length - pos >= frameBytes) {
            const frame = chunk.subarray(pos, pos + frameBytes)
            pos += frameBytes
            frameBytes = 0
            take(frame)
            continue
          }
        }
        const n = Math.min(frameBytes - filled, chunk.length - pos)
        if (!makeRoom(filled + n)) return
        chunk.copy(part, filled, pos, pos + n)
        filled += n
        pos += n
        if (filled === frameBytes) {
          const frame = part.subarray(0, frameBytes)
          setPart(EMPTY)
          frameBytes = 0
          filled = 0
          take(frame)
        }
      }
    }

    /** Memory follows what has arrived, not what was announced: a length alone costs its sender nothing. */
    function makeRoom(wanted: number): boolean {
      if (wanted <= part.length) return true
      const size = Math.min(frameBytes, Math.max(wanted, 2 * part.length, FIRST_PART_BYTES))
      if (unfinishedBytes + size - part.length > maxUnfinishedBytes) {
        fail('frame_memory', `unfinished frames take ${unfinishedBytes} bytes; ${maxUnfinishedBytes} are allowed`)
        return false
      }
      const grown = Buffer.allocUnsafeSlow(size)
      part.copy(grown, 0, 0, filled)
      setPart(grown)
      return true
    }

    function take(frame: Buffer): void {
      const reader = new Reader(frame)
      let header: MessageHeader
      try {
        header = reader.messageBegin()
        checkHeader(header)
        // The original's collector spoke the original's protocol: the ids say nothing about the spans that follow.
        if (header.type === MessageType.CALLTRACE) for (let i = 0; i < 3; i++) reader.i64()
      } catch (error) {
        if (!(error instanceof CodecError)) throw error
        fail(error.code, error.message)
        return
      }
      const slot: Slot = { bytes: frame.length, reply: undefined }
      slots.push(slot)
      waitingBytes += slot.bytes
      const answer = (type: number, result: Result) => {
        slot.reply = header.type === MessageType.ONEWAY ? EMPTY : encodeReply({ ...header, type }, result)
        flush()
      }
      const failed = (error: unknown) => {
        if (!(error instanceof CodecError || error instanceof CallRefused)) {
          log.error({ err: error, peer, method: header.name }, 'a call failed')
          answer(MessageType.EXCEPTION, exception(INTERNAL_ERROR, 'the collector failed; its log says why'))
        } else if (error instanceof CallRefused) {
          answer(MessageType.EXCEPTION, exception(INTERNAL_ERROR, error.message))
        } else {
          if (header.name === 'Log') metrics.logResults.inc({ result: 'bad_arguments' })
          warn('arguments', { peer, method: header.name, detail: error.message }, 'a call with unreadable arguments')
          answer(MessageType.EXCEPTION, exception(PROTOCOL_ERROR, `bad arguments: ${error.message}`))
        }
      }
      try {
        const result = call(header.name, reader, peer)
        if (result instanceof Promise) result.then(r => answer(MessageType.REPLY, r)).catch(failed)
        else if (result === 'refused') {
          slot.reply = EMPTY
          flush()
        } else if (result !== undefined) answer(MessageType.REPLY, result)
        else answer(MessageType.EXCEPTION, exception(UNKNOWN_METHOD, `Invalid method name: '${header.name}'`))
      } catch (error) {
        failed(error)
      }
    }

    function flush(): void {
      let ready = 0
      for (; ready < slots.length && slots[ready]!.reply !== undefined; ready++) waitingBytes -= slots[ready]!.bytes
      if (ready > 0) {
        const replies = slots.splice(0, ready).map(slot => slot.reply!)
        if (socket.writable) socket.write(replies.length === 1 ? replies[0]! : Buffer.concat(replies))
      }
      pace()
    }

    /** Reads on only while little waits, be it for the store or for the peer to take its replies. */
    function pace(): void {
      if (finishing) {
        if (slots.length === 0) socket.destroySoon()
        return
      }
      const full = slots.length > MAX_WAITING_CALLS || waitingBytes > MAX_WAITING_BYTES || socket.writableNeedDrain
      if (full && !socket.isPaused()) socket.pause()
      else if (!full && socket.isPaused()) socket.resume()
    }

    const connection: Connection = {
      finish() {
        finishing = true
        socket.pause()
        setPart(EMPTY)
        pace()
      },
      destroy: () => socket.destroy(),
    }
    connections.add(connection)
    metrics.connections.inc()
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 60_000)
    socket.on('data', chunk => {
      read(chunk)
      pace()
    })
    socket.on('drain', pace)
    socket.on('end', () => {
      if (finishing) return
      if (frameBytes > 0 || headBytes > 0) fail('truncated_frame', `ended after ${filled} of ${frameBytes} bytes`)
      else connection.finish()
    })
    // A reset, a broken pipe: 'close' follows.
    socket.on('error', error => log.debug({ peer, err: error }, 'Scribe connection broken'))
    socket.on('close', () => {
      finishing = true
      setPart(EMPTY)
      connections.delete(connection)
      metrics.connections.dec()
      if (connections.size === 0) whenEmpty?.()
    })
  }

  function call(method: string, args: Reader, peer: string): Promise<Result> | Result | 'refused' | undefined {
    if (method === 'Log') {
      metrics.calls.inc({ method })
      // Read through first: a call that can't be read to its end must have no effect.
      new Reader(args.buf, args.pos).skip(T.STRUCT)
      return ingest.log(logEntries(args), args.buf.length).then(code => w => {
        w.field(T.I32, 0)
        w.i32(code)
        w.byte(T.STOP)
      })
    }
    if (REFUSED_METHODS.includes(method)) {
      metrics.calls.inc({ method })
      warn(method, { peer, method }, 'refused: nobody who reaches the port may do this')
      return 'refused'
    }
    const result = fb303.call(method, args)
    metrics.calls.inc({ method: result === undefined ? 'unknown' : method })
    return result
  }

  return {
    listen(host, port) {
      const server = createServer({ allowHalfOpen: true }, accept)
      return new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen(port, host, () => {
          server.removeListener('error', reject)
          server.on('error', error =>
            warn('listener', { err: error, host, port }, 'a Scribe connection was not accepted'),
          )
          const bound = (server.address() as { port: number }).port
          servers.push({ server, host, port: bound })
          resolve(bound)
        })
      })
    },
    listeners: () => servers.map(({ server, host, port }) => ({ host, port, open: server.listening })),
    async close(deadlineMs) {
      for (const { server } of servers) server.close()
      const empty = new Promise<void>(resolve => {
        whenEmpty = resolve
      })
      for (const connection of [...connections]) connection.finish()
      if (connections.size === 0) return
      const timer = setTimeout(() => {
        log.warn({ connections: connections.size }, 'Scribe connections closed with calls unanswered')
        for (const connection of connections) connection.destroy()
      }, deadlineMs)
      await empty
      clearTimeout(timer)
    },
  }
}

function checkHeader({ type, name }: MessageHeader): void {
  if (type !== MessageType.CALL && type !== MessageType.ONEWAY && type !== MessageType.CALLTRACE) {
    throw new CodecError('bad_message_type', `a message of type ${type}, which is no call`)
  }
  if (name.length > MAX_METHOD_LENGTH) {
    throw new CodecError('bad_method', `a method name of ${name.length} characters; ${MAX_METHOD_LENGTH} are taken`)
  }
}

/** The frame of a reply, in the form (strict or not) of its request. */
function encodeReply(header: MessageHeader, result: Result): Buffer {
  const w = new Writer(64)
  w.i32(0)
  writeMessageBegin(w, header)
  result(w)
  w.buf.writeInt32BE(w.pos - 4, 0)
  return w.take()
}

function exception(type: number, message: string): Result {
  return w => {
    w.field(T.STRING, 1)
    w.string(message)
    w.field(T.I32, 2)
    w.i32(type)
    w.byte(T.STOP)
  }
}
