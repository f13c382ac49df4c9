import type { Metrics } from '../metrics'
import { ByteBudget } from './byte-budget'

/** A connection, as far as its frames go. */
interface FrameOwner {
  /** Memory of a frame that has arrived in part. */
  readonly unfinishedBytes: number
  /** Pauses or goes on, by what waits. */
  pace(): void
  fail(reason: string, message: string): void
}

/** The memory that the frames of all connections take before their calls are read. */
export class FrameMemory {
  private readonly connections: ReadonlySet<FrameOwner>
  /** Frames that have arrived in part. */
  readonly unfinished: ByteBudget
  /** Frames that have arrived whole and wait for their turn. */
  private readonly unread: ByteBudget
  /** Whether connections are paused until there is less of both. */
  private paused = false

  constructor(maxBytes: number, connections: ReadonlySet<FrameOwner>, metrics: Metrics) {
    this.connections = connections
    this.unfinished = new ByteBudget(maxBytes, metrics.bytesUnfinished)
    // Half of it for both together: see isFull.
    this.unread = new ByteBudget(maxBytes / 2, metrics.bytesUnread)
  }

  /** Whether whole frames have to be read before more is taken. Without any, the unfinished ones have to go on. */
  isFull(): boolean {
    return this.unread.usedBytes > 0 && this.unread.freeBytes < this.unfinished.usedBytes
  }

  /** A connection pauses because of the others' frames: it is resumed when there is room. */
  pause(): void {
    this.paused = true
  }

  /** @param bytes negative when a frame is read */
  addUnread(bytes: number): void {
    this.unread.take(bytes)
    if (!this.paused || this.isFull()) return
    this.paused = false
    for (const connection of this.connections) connection.pace()
  }

  /**
   * Makes room for more of an unfinished frame: while there is too little, the connection with the largest one is closed.
   * @returns false when that is the one that asks
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
