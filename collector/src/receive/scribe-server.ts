import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions, type Server as TlsServer } from 'node:tls'
import {
  CodecError,
  type MessageHeader,
  MessageType,
  Reader,
  T,
  Writer,
  writeMessageBegin,
} from '../../../src/codec/binary'
import { logEntries } from '../../../src/codec/scribe'
import { isLoopback } from '../auth/addresses'
import { requireCertificates, setTls } from '../auth/tls'
import { type Logger, limitWarnings } from '../log'
import type { Metrics } from '../metrics'
import { type AdmissionOptions, type Guest, isSlow, makesRoom } from './admission'
import { CallRefused, type Fb303, type Result } from './fb303'
import type { Ingest, Sender } from './ingest'

/**
 * Scribe over TCP or TLS: frames of Thrift's binary protocol, each an i32 length and a message.
 *
 *     bytes → frame → slot ──→ in turn: message header → Log, fb303 or an exception ─┐
 *     socket ← replies in the order of their calls ← slots, oldest first ←───────────┘
 *
 * A connection's calls wait for the store side by side, but each holds a slot, and a reply leaves when all before it have
 * left. Frames are read in turns, one connection after the other, each a frame or a few milliseconds of a large one, so
 * that nobody waits for what another has sent. What a peer can make the collector keep is bounded: a frame by its length
 * and by how fast it comes, unfinished frames of all connections together, whole ones that nobody has read yet and waiting
 * calls by pausing connections, and connections by their number, by address, and by what moves on them. What can't be read closes its connection; a call whose header can be read gets an exception
 * in its place.
 */
export interface ScribeServer {
  /** @returns the port, which is another than the one asked for when that was 0 */
  listen(host: string, port: number): Promise<number>
  /** Those that should be open, and whether they are. */
  listeners(): { host: string; port: number; open: boolean }[]
  /** For connections from now on; throws for what is no certificate. */
  setTls(tls: TlsOptions): void
  /** Takes no more calls, answers those in flight, and closes; after the deadline, closes what is left. */
  close(deadlineMs: number): Promise<void>
}

export interface ScribeServerOptions {
  ingest: Ingest
  fb303: Fb303
  maxFrameBytes: number
  /** For the unfinished frames of all connections together. When half as much is there, whole ones are read first. */
  maxUnfinishedBytes: number
  /** Half of them at most from one address that isn't trusted. */
  maxConnections: number
  /** Whether as many connections as there may be can come from this address. */
  isTrusted?: (address: string) => boolean
  /** After so long without a byte a connection is closed. */
  idleTimeoutMs: number
  /** With it, only TLS is spoken. */
  tls?: TlsOptions | undefined
  metrics: Metrics
  log: Logger
}

const MAX_METHOD_LENGTH = 256
/** A connection is read again when it has less waiting than this. */
const MAX_WAITING_CALLS = 256
const MAX_WAITING_BYTES = 4 * 1024 * 1024
/** The first piece of a frame that arrives in parts gets this much room; it doubles up to the frame's length. */
const FIRST_PART_BYTES = 16 * 1024
/** How long turns go on before sockets and HTTP have theirs. */
const TURNS_MS = 10
/** How long a frame that has begun, or replies that nobody takes, may stand still. */
const STALL_MS = 60_000
/** After as long, a frame that has come more slowly than this on average closes its connection: a kilobyte a second. */
const SLOW_BYTES_A_MS = 1
const HANDSHAKE_MS = 10_000

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

interface Connection extends Guest {
  /** Memory of a frame that has arrived in part. */
  unfinishedBytes(): number
  /** When something last moved, if nothing is being done for it now. */
  idleSince(): number | undefined
  /** Since when it has stood still, or a frame has come too slowly. */
  stalledSince(): number | undefined
  /** Pauses or goes on, by what waits. */
  pace(): void
  /** Reads a frame, or a step of one; returns whether there is more to read. */
  turn(): boolean
  /** Stops reading, closes when what is in flight has been answered. */
  finish(): void
  fail(reason: string, message: string): void
}

export function createScribeServer(options: ScribeServerOptions): ScribeServer {
  const { ingest, fb303, maxFrameBytes, maxUnfinishedBytes, maxConnections, idleTimeoutMs, metrics, log } = options
  const { isTrusted = isLoopback } = options
  const stallTimeoutMs = Math.min(STALL_MS, idleTimeoutMs)
  const warn = limitWarnings(log)
  const servers: { server: Server | TlsServer; host: string; port: number }[] = []
  const connections = new Set<Connection>()
  const admission: AdmissionOptions = {
    maxConnections,
    isTrusted,
    closed: reason => metrics.connectionsClosed.inc({ reason }),
    warn: where => warn('max_connections', where, 'as many Scribe connections as max_connections allows'),
  }
  /** Those with frames to read, in turn. */
  const turns: Connection[] = []
  let tls = options.tls
  let unfinishedBytes = 0
  /** Of frames that are there whole and wait for their turn. */
  let unreadBytes = 0
  /** Whether connections are paused until there is less of both. */
  let holding = false
  let whenEmpty: (() => void) | undefined
  const sweeper = setInterval(sweep, Math.max(50, Math.min(5_000, stallTimeoutMs / 4))).unref()

  function takeTurns(): void {
    const until = performance.now() + TURNS_MS
    for (;;) {
      const connection = turns.shift()
      if (connection === undefined) return
      if (connection.turn()) turns.push(connection)
      if (turns.length > 0 && performance.now() > until) {
        setImmediate(takeTurns)
        return
      }
    }
  }

  function wantTurn(connection: Connection): void {
    // After all sockets that are readable now have been read: small frames of many are there for the same commit.
    if (turns.push(connection) === 1) setImmediate(takeTurns)
  }

  function sweep(): void {
    const now = performance.now()
    for (const connection of connections) {
      if (now - (connection.stalledSince() ?? now) > stallTimeoutMs) close(connection, 'stalled')
      else if (now - (connection.idleSince() ?? now) > idleTimeoutMs) close(connection, 'idle')
    }
  }

  function close(connection: Connection, reason: string): void {
    metrics.connectionsClosed.inc({ reason })
    connection.destroy()
  }

  /** Whole frames are read before more is taken from anybody; without any, an unfinished one has to go on. */
  function isFull(): boolean {
    return unreadBytes > 0 && unreadBytes + unfinishedBytes > maxUnfinishedBytes / 2
  }

  function addUnread(bytes: number): void {
    unreadBytes += bytes
    metrics.bytesUnread.set(unreadBytes)
    if (!holding || isFull()) return
    holding = false
    for (const connection of connections) connection.pace()
  }

  function accept(socket: Socket): void {
    const address = socket.remoteAddress ?? ''
    if (!makesRoom(connections, address, admission)) {
      socket.destroy()
      return
    }
    const peer = `${address}:${socket.remotePort}`
    const sender: Sender = { inFlightBytes: 0 }
    /** Bytes of the next frame's length, and how many of the four are there. */
    let head = 0
    let headBytes = 0
    /** The frame that is arriving in parts: its length (0: none), where it is put, and how much of it is there. */
    let frameBytes = 0
    let part: Buffer = EMPTY
    let filled = 0
    /** Frames that are there and wait for their turn, each with its slot; and the one that is being read. */
    const frames: { frame: Buffer; slot: Slot }[] = []
    let reading: Generator<void, void> | undefined
    let unreadNow = 0
    const slots: Slot[] = []
    let waitingBytes = 0
    /** Nothing more is read: the peer ended, or was cut off, or the collector stops. */
    let finishing = false
    let lastMovedAt = performance.now()
    /** When the first byte of the frame that is arriving came, less the time in which nothing was read. */
    let frameBeganAt = 0
    let pausedAt = 0
    /** Since when replies wait for the peer to take those before. */
    let blockedSince: number | undefined

    function setPart(buffer: Buffer): void {
      unfinishedBytes += buffer.length - part.length
      metrics.bytesUnfinished.set(unfinishedBytes)
      part = buffer
    }

    function read(chunk: Buffer): void {
      let pos = 0
      while (pos < chunk.length && !finishing) {
        if (frameBytes === 0) {
          if (headBytes === 0) frameBeganAt = performance.now()
          for (; headBytes < 4 && pos < chunk.length; headBytes++) head = (head << 8) | chunk[pos++]!
          if (headBytes < 4) return
          if (head <= 0 || head > maxFrameBytes) {
            connection.fail('frame_length', `a frame of ${head} bytes; 1 to ${maxFrameBytes} are taken`)
            return
          }
          frameBytes = head
          head = 0
          headBytes = 0
          if (chunk.length - pos >= frameBytes) {
            const frame = chunk.subarray(pos, pos + frameBytes)
            pos += frameBytes
            frameBytes = 0
            arrived(frame)
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
          arrived(frame)
        }
      }
    }

    /**
     * Memory follows what has arrived, not what was announced: a length alone costs its sender nothing. When there is too
     * much of it, the largest goes.
     */
    function makeRoom(wanted: number): boolean {
      if (wanted <= part.length) return true
      const size = Math.min(frameBytes, Math.max(wanted, 2 * part.length, FIRST_PART_BYTES))
      while (unfinishedBytes + size - part.length > maxUnfinishedBytes) {
        let largest: Connection = connection
        let most = size
        for (const other of connections) {
          if (other !== connection && other.unfinishedBytes() > most) {
            largest = other
            most = other.unfinishedBytes()
          }
        }
        const message = `unfinished frames take ${unfinishedBytes} bytes; ${maxUnfinishedBytes} are allowed`
        largest.fail('frame_memory', message)
        if (largest === connection) return false
      }
      const grown = Buffer.allocUnsafeSlow(size)
      part.copy(grown, 0, 0, filled)
      setPart(grown)
      return true
    }

    function arrived(frame: Buffer): void {
      const slot: Slot = { bytes: frame.length, reply: undefined }
      slots.push(slot)
      waitingBytes += slot.bytes
      addUnread(frame.length)
      frames.push({ frame, slot })
      if (frames.length === 1 && reading === undefined) wantTurn(connection)
    }

    function* take(frame: Buffer, slot: Slot): Generator<void, void> {
      const reader = new Reader(frame)
      let header: MessageHeader
      try {
        header = reader.messageBegin()
        checkHeader(header)
        // The original's collector spoke the original's protocol: the ids say nothing about the spans that follow.
        if (header.type === MessageType.CALLTRACE) for (let i = 0; i < 3; i++) reader.i64()
      } catch (error) {
        if (!(error instanceof CodecError)) throw error
        // Nobody knows what follows means.
        slots.splice(slots.indexOf(slot))
        for (const { frame } of frames.splice(0)) addUnread(-frame.length)
        connection.fail(error.code, error.message)
        return
      }
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
        const result = header.name === 'Log' ? yield* callLog(reader, sender) : callFb303(header.name, reader, peer)
        if (result instanceof Promise) result.then(r => answer(MessageType.REPLY, r)).catch(failed)
        else if (result === 'refused' || result === 'done') {
          // Oneway; to a peer that called it otherwise nothing is said either.
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
        lastMovedAt = performance.now()
        const replies = slots.splice(0, ready).map(slot => slot.reply!)
        const taken = !socket.writable || socket.write(replies.length === 1 ? replies[0]! : Buffer.concat(replies))
        if (!taken) blockedSince ??= performance.now()
      }
      pace()
    }

    /** Reads on only while little waits, be it for the store or for the peer to take its replies. */
    function pace(): void {
      if (finishing) {
        if (slots.length === 0) socket.destroySoon()
        return
      }
      const own = slots.length > MAX_WAITING_CALLS || waitingBytes > MAX_WAITING_BYTES || socket.writableNeedDrain
      const full = own || isFull()
      holding ||= full && !own
      if (full && !socket.isPaused()) {
        pausedAt = performance.now()
        socket.pause()
      } else if (!full && socket.isPaused()) {
        lastMovedAt = performance.now()
        frameBeganAt += lastMovedAt - pausedAt
        socket.resume()
      }
    }

    /** When the frame that is arriving began, if it has come for so long, and for so few bytes. */
    function slowSince(isTooSlow: (tookMs: number, bytes: number) => boolean): number | undefined {
      const bytes = headBytes + filled
      if (bytes + frameBytes === 0 || socket.isPaused()) return undefined
      return isTooSlow(performance.now() - frameBeganAt, bytes) ? frameBeganAt : undefined
    }

    const connection: Connection = {
      address,
      pace,
      unfinishedBytes: () => part.length,
      idleSince: () => (slots.length === 0 && frameBytes + headBytes === 0 ? lastMovedAt : undefined),
      stalledSince() {
        if (blockedSince !== undefined) return blockedSince
        const slow = slowSince((tookMs, bytes) => tookMs > stallTimeoutMs && bytes < tookMs * SLOW_BYTES_A_MS)
        if (slow !== undefined) return slow
        return frameBytes + headBytes > 0 && !socket.isPaused() ? lastMovedAt : undefined
      },
      yieldsSince() {
        return this.idleSince() ?? blockedSince ?? slowSince(isSlow)
      },
      turn() {
        if (reading === undefined) {
          const next = frames.shift()
          if (next === undefined) return false
          reading = take(next.frame, next.slot)
          unreadNow = next.frame.length
        }
        if (reading.next().done) reading = undefined
        // From its first step on, what it takes is counted where it goes.
        addUnread(-unreadNow)
        unreadNow = 0
        return reading !== undefined || frames.length > 0
      },
      finish() {
        finishing = true
        socket.pause()
        setPart(EMPTY)
        pace()
      },
      fail(reason, message) {
        metrics.connectionErrors.inc({ reason })
        warn(`connection ${reason}`, { peer, reason, detail: message }, 'Scribe connection closed for what it sent')
        connection.finish()
      },
      destroy: () => socket.destroy(),
    }
    connections.add(connection)
    metrics.connections.inc()
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 60_000)
    socket.on('data', chunk => {
      lastMovedAt = performance.now()
      read(chunk)
      pace()
    })
    socket.on('drain', () => {
      blockedSince = undefined
      pace()
    })
    socket.on('end', () => {
      if (finishing) return
      if (frameBytes > 0 || headBytes > 0) {
        connection.fail('truncated_frame', `ended after ${filled} of ${frameBytes} bytes`)
      } else connection.finish()
    })
    // A reset, a broken pipe: 'close' follows.
    socket.on('error', error => log.debug({ peer, err: error }, 'Scribe connection broken'))
    socket.on('close', () => {
      // What has arrived whole is taken all the same: a oneway call waits for no answer.
      finishing = true
      setPart(EMPTY)
      connections.delete(connection)
      metrics.connections.dec()
      if (connections.size === 0) whenEmpty?.()
    })
  }

  function* callLog(args: Reader, sender: Sender): Generator<void, Promise<Result>> {
    metrics.calls.inc({ method: 'Log' })
    const reading = ingest.log(logEntries(args), args.buf.length, sender)
    const answer = reading instanceof Promise ? reading : yield* reading
    return answer.then(code => w => {
      w.field(T.I32, 0)
      w.i32(code)
      w.byte(T.STOP)
    })
  }

  function callFb303(method: string, args: Reader, peer: string): ReturnType<Fb303['call']> {
    const result = fb303.call(method, args)
    metrics.calls.inc({ method: result === undefined ? 'unknown' : method })
    if (result === 'refused') warn(method, { peer, method }, 'refused: fb303.allow_shutdown is not set')
    return result
  }

  return {
    listen(host, port) {
      const server =
        tls === undefined
          ? createServer({ allowHalfOpen: true }, accept)
          : createTlsServer({ ...tls, allowHalfOpen: true, handshakeTimeout: HANDSHAKE_MS }, accept)
      if ('setSecureContext' in server) requireCertificates(server)
      // Handshakes that nobody finishes aren't connections yet.
      server.maxConnections = 2 * maxConnections
      server.on('tlsClientError', (error, socket) => {
        metrics.connectionErrors.inc({ reason: 'tls' })
        warn('tls', { peer: socket.remoteAddress, detail: error.message }, 'a Scribe connection without good TLS')
      })
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
    setTls(context) {
      tls = context
      for (const { server } of servers) if ('setSecureContext' in server) setTls(server, context)
    },
    async close(deadlineMs) {
      clearInterval(sweeper)
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
