import type { Socket } from 'node:net'
import { CodecError, type MessageHeader, Reader } from 'milo/codec/binary'
import type { Logger, limitWarnings } from '../log'
import type { Metrics } from '../metrics'
import { type Guest, isSlow } from './admission'
import { type Caller, type Calls, readCallHeader } from './calls'
import type { FrameMemory } from './frame-memory'
import type { TurnQueue } from './turn-queue'

/** A connection is read again when it has less waiting than this. */
const MAX_WAITING_CALLS = 256
const MAX_WAITING_BYTES = 4 * 1024 * 1024
/** The first piece of a frame that arrives in parts gets this much room; it doubles up to the frame's length. */
const FIRST_PART_BYTES = 16 * 1024
/** A frame that has come more slowly than this on average for `stallTimeoutMs` closes its connection: a kilobyte a second. */
const SLOW_BYTES_A_MS = 1

const EMPTY = Buffer.alloc(0)

/** The options that all connections of a server share. */
export interface ConnectionOptions {
  connections: Set<Connection>
  calls: Calls
  memory: FrameMemory
  turns: TurnQueue
  maxFrameBytes: number
  /** How long an unfinished frame, or replies that the peer doesn't read, may make no progress. */
  stallTimeoutMs: number
  /** Called when the connection has been removed from `connections`. */
  closed(): void
  metrics: Metrics
  warn: ReturnType<typeof limitWarnings>
  log: Logger
}

/** A call's position in the order of its connection's replies. */
interface Slot {
  bytes: number
  /** Undefined while the call runs; empty for a call that gets no reply. */
  reply: Buffer | undefined
}

/** A peer's connection: frames in, replies out in the order of their calls. */
export class Connection implements Guest {
  readonly address: string
  private readonly socket: Socket
  private readonly options: ConnectionOptions
  private readonly caller: Caller
  /** Bytes of the next frame's length, and how many of the four are there. */
  private head = 0
  private headBytes = 0
  /** The frame that is arriving in parts: its length (0: none), where it is put, and how much of it is there. */
  private frameBytes = 0
  private part: Buffer = EMPTY
  private filled = 0
  /** Whole frames that wait for their turn, each with its slot; and the one that is being read. */
  private readonly frames: { frame: Buffer; slot: Slot }[] = []
  private reading: Generator<void, void> | undefined
  private unreadBytes = 0
  private readonly slots: Slot[] = []
  private waitingBytes = 0
  /** True when nothing more is read: the peer has ended, was disconnected, or the collector stops. */
  private finishing = false
  private lastMovedAt = performance.now()
  /** When the first byte of the frame that is arriving came, less the time in which nothing was read. */
  private frameBeganAt = 0
  private pausedAt = 0
  /** The time since which replies wait for the peer to read earlier replies. */
  private blockedSince: number | undefined

  constructor(socket: Socket, options: ConnectionOptions) {
    this.socket = socket
    this.options = options
    this.address = socket.remoteAddress ?? ''
    this.caller = {
      peer: `${this.address}:${socket.remotePort}`,
      address: this.address,
      inFlightBytes: 0,
      isAlone: () => this.slots.length === 1 && !this.finishing,
      endPoll: undefined,
      gone: undefined,
    }
    const { connections, metrics, log } = options
    connections.add(this)
    metrics.connections.inc()
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 60_000)
    socket.on('data', chunk => {
      this.lastMovedAt = performance.now()
      this.read(chunk)
      this.pace()
    })
    socket.on('drain', () => {
      this.blockedSince = undefined
      this.pace()
    })
    socket.on('end', () => this.ended())
    // A reset, a broken pipe: 'close' follows.
    socket.on('error', error => log.debug({ peer: this.caller.peer, err: error }, 'Scribe connection broken'))
    socket.on('close', () => {
      // Complete frames are still read: a oneway call waits for no answer.
      this.finishing = true
      this.setPart(EMPTY)
      this.caller.endPoll?.()
      this.caller.gone?.()
      connections.delete(this)
      metrics.connections.dec()
      options.closed()
    })
  }

  get unfinishedBytes(): number {
    return this.part.length
  }

  /** The time of the last progress, if no call of the peer is in progress. */
  idleSince(): number | undefined {
    return this.slots.length === 0 && !this.hasBegun() ? this.lastMovedAt : undefined
  }

  /** The time since which the connection makes no progress, or receives a frame too slowly. */
  stalledSince(): number | undefined {
    if (this.blockedSince !== undefined) return this.blockedSince
    const { stallTimeoutMs } = this.options
    const slow = this.slowSince((tookMs, bytes) => tookMs > stallTimeoutMs && bytes < tookMs * SLOW_BYTES_A_MS)
    if (slow !== undefined) return slow
    return this.hasBegun() && !this.socket.isPaused() ? this.lastMovedAt : undefined
  }

  yieldsSince(): number | undefined {
    // A question that waits keeps nobody else out.
    if (this.caller.endPoll !== undefined) return this.lastMovedAt
    return this.idleSince() ?? this.blockedSince ?? this.slowSince(isSlow)
  }

  /** Pauses or resumes the socket. It is read only while few calls wait for the store and few replies wait for the peer. */
  pace(): void {
    const { socket, slots } = this
    const { memory } = this.options
    if (this.finishing) {
      if (slots.length === 0) socket.destroySoon()
      return
    }
    const ownFull =
      slots.length > MAX_WAITING_CALLS || this.waitingBytes > MAX_WAITING_BYTES || socket.writableNeedDrain
    const isFull = ownFull || memory.isFull()
    if (isFull && !ownFull) memory.pause()
    if (isFull && !socket.isPaused()) {
      this.pausedAt = performance.now()
      socket.pause()
    } else if (!isFull && socket.isPaused()) {
      this.lastMovedAt = performance.now()
      this.frameBeganAt += this.lastMovedAt - this.pausedAt
      socket.resume()
    }
  }

  /** Reads a frame, or a step of one. @returns whether there is more to read */
  turn(): boolean {
    if (this.reading === undefined) {
      const next = this.frames.shift()
      if (next === undefined) return false
      this.reading = this.take(next.frame, next.slot)
      this.unreadBytes = next.frame.length
    }
    if (this.reading.next().done) this.reading = undefined
    // From its first step on, the call's memory is counted by ingest.
    this.options.memory.addUnread(-this.unreadBytes)
    this.unreadBytes = 0
    return this.reading !== undefined || this.frames.length > 0
  }

  /** Stops reading, and closes when the calls in flight have been answered. */
  finish(): void {
    this.finishing = true
    this.socket.pause()
    this.setPart(EMPTY)
    this.caller.endPoll?.()
    // The peer is still there.
    this.caller.gone = undefined
    this.pace()
  }

  /** Finishes because of what the peer sent. @param reason labels a counter */
  fail(reason: string, message: string): void {
    const { metrics, warn } = this.options
    const { peer } = this.caller
    metrics.connectionErrors.inc({ reason })
    warn(
      `connection ${reason}`,
      { peer, reason, detail: message },
      'a Scribe connection was closed because of what it sent',
    )
    this.finish()
  }

  destroy(): void {
    this.socket.destroy()
  }

  private ended(): void {
    if (this.finishing) return
    this.caller.endPoll?.()
    this.caller.gone?.()
    if (this.hasBegun()) this.fail('truncated_frame', `ended after ${this.filled} of ${this.frameBytes} bytes`)
    else this.finish()
  }

  /** Whether a frame, or its length, has arrived in part. */
  private hasBegun(): boolean {
    return this.frameBytes + this.headBytes > 0
  }

  /** When the frame that is arriving began, if it is too slow for the time it took and the bytes that are there. */
  private slowSince(isTooSlow: (tookMs: number, bytes: number) => boolean): number | undefined {
    if (!this.hasBegun() || this.socket.isPaused()) return undefined
    const isLate = isTooSlow(performance.now() - this.frameBeganAt, this.headBytes + this.filled)
    return isLate ? this.frameBeganAt : undefined
  }

  private read(chunk: Buffer): void {
    const { maxFrameBytes } = this.options
    let pos = 0
    while (pos < chunk.length && !this.finishing) {
      if (this.frameBytes === 0) {
        if (this.headBytes === 0) this.frameBeganAt = performance.now()
        for (; this.headBytes < 4 && pos < chunk.length; this.headBytes++) this.head = (this.head << 8) | chunk[pos++]!
        if (this.headBytes < 4) return
        const length = this.head
        if (length <= 0 || length > maxFrameBytes) {
          this.fail('frame_length', `a frame of ${length} bytes; 1 to ${maxFrameBytes} are taken`)
          return
        }
        this.head = 0
        this.headBytes = 0
        if (chunk.length - pos >= length) {
          this.arrived(chunk.subarray(pos, pos + length))
          pos += length
          continue
        }
        this.frameBytes = length
      }
      const { filled } = this
      const n = Math.min(this.frameBytes - filled, chunk.length - pos)
      if (!this.makeRoom(filled + n)) return
      chunk.copy(this.part, filled, pos, pos + n)
      this.filled += n
      pos += n
      if (this.filled === this.frameBytes) {
        const frame = this.part.subarray(0, this.frameBytes)
        this.setPart(EMPTY)
        this.frameBytes = 0
        this.filled = 0
        this.arrived(frame)
      }
    }
  }

  /** Allocates memory for what has arrived, not for what was announced: a length alone costs its sender nothing. */
  private makeRoom(wanted: number): boolean {
    if (wanted <= this.part.length) return true
    const size = Math.min(this.frameBytes, Math.max(wanted, 2 * this.part.length, FIRST_PART_BYTES))
    if (!this.options.memory.makeRoom(this, size)) return false
    const grown = Buffer.allocUnsafeSlow(size)
    this.part.copy(grown, 0, 0, this.filled)
    this.setPart(grown)
    return true
  }

  private setPart(buffer: Buffer): void {
    this.options.memory.unfinished.take(buffer.length - this.part.length)
    this.part = buffer
  }

  private arrived(frame: Buffer): void {
    const slot: Slot = { bytes: frame.length, reply: undefined }
    this.slots.push(slot)
    this.caller.endPoll?.()
    this.waitingBytes += slot.bytes
    this.options.memory.addUnread(frame.length)
    this.frames.push({ frame, slot })
    if (this.frames.length === 1 && this.reading === undefined) this.options.turns.add(this)
  }

  private *take(frame: Buffer, slot: Slot): Generator<void, void> {
    const reader = new Reader(frame)
    let header: MessageHeader
    try {
      header = readCallHeader(reader)
    } catch (error) {
      if (!(error instanceof CodecError)) throw error
      // The frames that follow can't be trusted either.
      this.slots.splice(this.slots.indexOf(slot))
      for (const { frame } of this.frames.splice(0)) this.options.memory.addUnread(-frame.length)
      this.fail(error.code, error.message)
      return
    }
    yield* this.options.calls.run(header, reader, this.caller, reply => {
      slot.reply = reply
      this.flush()
    })
  }

  /** Sends the replies whose earlier replies are all there. */
  private flush(): void {
    const { slots, socket } = this
    let ready = 0
    for (; ready < slots.length && slots[ready]!.reply !== undefined; ready++) this.waitingBytes -= slots[ready]!.bytes
    if (ready > 0) {
      this.lastMovedAt = performance.now()
      const replies = slots.splice(0, ready).map(slot => slot.reply!)
      const taken = !socket.writable || socket.write(replies.length === 1 ? replies[0]! : Buffer.concat(replies))
      if (!taken) this.blockedSince ??= performance.now()
    }
    this.pace()
  }
}
