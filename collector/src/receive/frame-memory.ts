import type { Metrics } from '../metrics'
import { ByteBudget } from './byte-budget'

/** The part of a connection that owns frames. */
interface FrameOwner {
  /** Memory of a frame that has arrived in part. */
  readonly unfinishedBytes: number
  /** Pauses or resumes reading. */
  pace(): void
  fail(reason: string, message: string): void
}

/** Limits the memory for the frames of all connections before their calls are read. */
export class FrameMemory {
  private readonly connections: ReadonlySet<FrameOwner>
  /** Frames that have arrived in part. */
  readonly unfinished: ByteBudget
  /** Frames that have arrived whole and wait for their turn. */
  private readonly unread: ByteBudget
  /** Whether connections are paused until frames take less memory. */
  private paused = false

  constructor(maxBytes: number, connections: ReadonlySet<FrameOwner>, metrics: Metrics) {
    this.connections = connections
    this.unfinished = new ByteBudget(maxBytes, metrics.bytesUnfinished)
    // isFull compares the sum of both with half of the limit.
    this.unread = new ByteBudget(maxBytes / 2, metrics.bytesUnread)
  }

  /** Returns whether complete frames must be read before more is received. Without complete frames, unfinished ones must go on. */
  isFull(): boolean {
    return this.unread.usedBytes > 0 && this.unread.freeBytes < this.unfinished.usedBytes
  }

  /** Notes that a connection has paused because of other connections' frames. It is resumed when there is room. */
  pause(): void {
    this.paused = true
  }

  /**
   * Counts a complete frame.
   * @param bytes negative when the frame is read
   */
  addUnread(bytes: number): void {
    this.unread.take(bytes)
    if (!this.paused || this.isFull()) return
    this.paused = false
    for (const connection of this.connections) connection.pace()
  }

  /**
   * Makes room for an unfinished frame. While there is too little, it closes the connection with the largest unfinished frame.
   * @returns false when that is the connection itself
   */
  makeRoom(connection: FrameOwner, wantedBytes: number): boolean {
    const { unfinished } = this
    while (unfinished.freeBytes < wantedBytes - connection.unfinishedBytes) {
      let largest = connection
      let mostBytes = wantedBytes
      for (const other of this.connections) {
        if (other !== connection && other.unfinishedBytes > mostBytes) {
          largest = other
          mostBytes = other.unfinishedBytes
        }
      }
      const { usedBytes, maxBytes } = unfinished
      largest.fail('frame_memory', `unfinished frames take ${usedBytes} bytes; ${maxBytes} are allowed`)
      if (largest === connection) return false
    }
    return true
  }
}
