import { StoreError } from '../store'

interface Waiting<M> {
  messages: M[]
  bytes: number
  resolve: () => void
  reject: (error: unknown) => void
}

/**
 * Group commit: durability costs time per write to disk, not per message. So all appends that wait together are written together,
 * and succeed or fail together.
 */
export class GroupCommit<M extends { body: Buffer }> {
  private readonly write: (messages: M[]) => void | Promise<void>
  private readonly maxBytes: number
  private readonly maxWrites: number
  private waiting: Waiting<M>[] = []
  private writes = 0
  private scheduled = false
  private drained: (() => void) | undefined
  private closed = false

  /**
   * @param write resolves when all messages are durable; rejects if none of them may be relied on
   * @param maxBytes the size of a group; a single append may be larger
   * @param maxWrites how many groups may be written at once
   */
  constructor(write: (messages: M[]) => void | Promise<void>, maxBytes: number, maxWrites: number) {
    this.write = write
    this.maxBytes = maxBytes
    this.maxWrites = maxWrites
  }

  append(messages: M[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.closed) return reject(closedError())
      let bytes = 0
      for (const message of messages) bytes += message.body.length
      this.waiting.push({ messages, bytes, resolve, reject })
      this.schedule()
    })
  }

  /** Makes append reject from now on, and resolves when everything accepted has been written or refused. */
  async close(): Promise<void> {
    this.closed = true
    if (this.waiting.length === 0 && this.writes === 0) return
    await new Promise<void>(resolve => {
      this.drained = resolve
    })
  }

  private schedule(): void {
    if (this.scheduled || this.waiting.length === 0 || this.writes >= this.maxWrites) return
    this.scheduled = true
    // Wait until all sockets that are readable in this turn of the event loop have been read: their messages join the group.
    setImmediate(() => {
      this.scheduled = false
      void this.writeGroup()
    })
  }

  private async writeGroup(): Promise<void> {
    let bytes = 0
    let count = 0
    while (count < this.waiting.length && (count === 0 || bytes + this.waiting[count]!.bytes <= this.maxBytes)) {
      bytes += this.waiting[count++]!.bytes
    }
    const group = this.waiting.splice(0, count)
    this.writes++
    // More may be waiting than fits into a group, and several groups may be written at once.
    this.schedule()
    try {
      await this.write(group.flatMap(({ messages }) => messages))
      for (const { resolve } of group) resolve()
    } catch (error) {
      // Appends that wait behind a failure would fail too: rejecting them now tells their senders to wait. An exception is a
      // single append that is larger than a group: a database may refuse it for its size each time it is sent again.
      const behind = bytes > this.maxBytes ? [] : this.waiting.splice(0)
      for (const { reject } of [...group, ...behind]) reject(error)
    }
    this.writes--
    this.schedule()
    if (this.writes === 0 && this.waiting.length === 0) this.drained?.()
  }
}

export function closedError(): StoreError {
  return new StoreError('MILO_STORE_CLOSED', 'the store has been closed')
}
