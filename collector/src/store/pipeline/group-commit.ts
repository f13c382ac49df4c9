import { StoreError } from '../store'

interface Waiting<M> {
  messages: M[]
  bytes: number
  resolve: () => void
  reject: (error: unknown) => void
}

/**
 * Group commit: what durability costs is paid for each write to disk, not for each message, so that all appends which wait
 * together are written together, and share their fate.
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
   * @param write resolves when all of it is durable; rejects when none of it may be relied on
   * @param maxBytes where a group ends; a single append may be larger
   * @param maxWrites how many groups may be under way at once
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

  /** Resolves when everything accepted has been written or refused; from now on append rejects. */
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
    // After the sockets that are readable in this turn of the event loop have been read: they join the group.
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
    // More may be waiting than fits, and more than one group may be under way.
    this.schedule()
    try {
      await this.write(group.flatMap(({ messages }) => messages))
      for (const { resolve } of group) resolve()
    } catch (error) {
      // What waits behind a failure would only fail later: rejected now, its senders know to wait. Unless a single append failed
      // that is larger than a group: a database may refuse that for its size each time that it is sent again.
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
