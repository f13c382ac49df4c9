import { readdirSync } from 'node:fs'
import { readdir, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { clearInterval, clock, GenuinePromise, setInterval } from '../process/genuine'
import { describe, logRarely } from '../process/log'
import {
  type Entry,
  makeDirectory,
  makeDirectorySync,
  parse,
  read,
  space,
  stem,
  total,
  write,
  writeNow,
} from './spool-files'
import { HEARTBEAT_MS, ownersShown, SpoolOwner } from './spool-owner'

/**
 * Batches in files of a directory, for the time when the peer can't take them.
 *
 * A file belongs to the emitter whose name it carries. When that emitter is dead, another one takes the file over by
 * renaming it; of several that try, one succeeds. A batch that the peer took just before a crash is sent twice, and the
 * collector stores it once.
 */

/** Errors of the process or the machine, which pass, and not of the file. */
const TRANSIENT = new Set(['EMFILE', 'ENFILE', 'ENOMEM'])
/** How long a directory is left alone after its first failure, and the longest time after further ones. */
const REST_MS = 5_000
const MAX_REST_MS = 300_000

/** A batch that was read from its file. */
export interface Spooled {
  name: string
  body: Buffer
  /** How many of its spans this process wrote: all, or none. */
  own: number
  spans: number
}

export interface SpoolOptions {
  directory: string
  /** The limit for all files in the directory, of this and other processes. */
  maxBytes: number
}

interface SpoolCounts {
  /** How many times the directory was full, or a file in it couldn't be written, read, renamed or removed. */
  spoolErrors: number
  /** Spans of ended processes that were found in the spool and sent. No other counter includes them. */
  recovered: number
}

export class Spool implements SpoolCounts {
  spoolErrors = 0
  recovered = 0
  private readonly directory: string
  private readonly maxBytes: number
  private readonly owner: SpoolOwner
  private seq = 0
  /** The files with this process's own spans, and how many spans each has. */
  private readonly own = new Map<string, number>()
  /** The files to be sent by this process, oldest first: its own and those that it took over. */
  private queue: string[] = []
  /** Files that couldn't be taken over or removed. They aren't tried again. */
  private readonly skip = new Set<string>()
  private restUntil = 0
  private restMs = REST_MS
  private timer: NodeJS.Timeout | undefined
  private closed = false
  private busy: Promise<unknown> = GenuinePromise.resolve()
  private readonly onFound: () => void
  private readonly onLost: (spans: number) => void

  /**
   * @param onFound called when there is something to send
   * @param onLost called with the number of this process's spans in a file that is gone or damaged
   */
  constructor({ directory, maxBytes }: SpoolOptions, onFound: () => void, onLost: (spans: number) => void) {
    this.directory = directory
    this.owner = new SpoolOwner(directory)
    this.maxBytes = maxBytes
    this.onFound = onFound
    this.onLost = onLost
  }

  /** Looks for files of dead processes, now and every 10 s, and shows that this process lives. */
  start(): void {
    const beat = () => void this.inTurn(() => this.look())
    beat()
    this.timer = setInterval(beat, HEARTBEAT_MS)
    this.timer.unref()
  }

  /** Whether there is a file to send. */
  get waiting(): boolean {
    return !this.closed && this.queue.length > 0
  }

  /** Whether the directory is worth using: it hasn't failed recently. */
  get usable(): boolean {
    return clock.now() >= this.restUntil
  }

  /** Writes a batch. @returns the file's name once it is safe on the disk; undefined when it couldn't be written */
  put(body: Buffer, spans: number): Promise<string | undefined> {
    return this.inTurn(async () => {
      const name = this.nextName(spans, body.length)
      try {
        if (!(await this.makeRoom(body.length))) return undefined
        if (!this.owner.isShown) await this.owner.show()
        await write(this.path(name), body, spans)
      } catch (error) {
        this.failed('written', error)
        return undefined
      }
      return this.written(`${name}.spans`)
    })
  }

  /** Does the same as `put` in the last moment of a process, when no asynchronous work runs any more. */
  putSync(body: Buffer, spans: number): string | undefined {
    const name = this.nextName(spans, body.length)
    try {
      makeDirectorySync(this.directory)
      const entries = parse(readdirSync(this.directory))
      if (total(entries) + space(body.length) > this.maxBytes) {
        this.full()
        return undefined
      }
      writeNow(this.path(name), body, spans)
    } catch (error) {
      this.failed('written', error)
      return undefined
    }
    return this.written(`${name}.spans`)
  }

  /** Marks a file's spans as this process's own: onLost is called when the file is lost. */
  claim(name: string, spans: number): void {
    this.own.set(name, spans)
  }

  /** Reads the oldest batch. Its file stays until `remove`. Undefined: no file is there, or none can be read. */
  oldest(): Promise<Spooled | undefined> {
    return this.inTurn(async () => {
      for (let name = this.next(); name !== undefined; name = this.next()) {
        try {
          const batch = await read(this.directory, name)
          // Another process may own the file by now.
          if (this.closed) return undefined
          if (batch !== undefined) return { name, own: this.own.get(name) ?? 0, ...batch }
          this.spoolErrors++
          logRarely('spool_bad', 'warn', `${name} in the spool is damaged: it is put aside as .bad`)
          await rename(this.path(name), this.path(name.replace(/spans$/, 'bad')))
        } catch (error) {
          if (this.closed) return undefined
          if (TRANSIENT.has((error as NodeJS.ErrnoException).code!)) {
            this.failed('read', error)
            this.queue.unshift(name)
            return undefined
          }
          this.failedFor(name, 'read', error)
        }
        this.forget(name)
      }
      return undefined
    })
  }

  /** Removes the file of a batch that `oldest` returned, which was sent or is given up. */
  remove({ name, own, spans }: Spooled, sent: boolean): void {
    if (sent && own === 0) this.recovered += spans
    this.own.delete(name)
    void this.inTurn(async () => {
      try {
        await unlink(this.path(name))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.failedFor(name, 'removed', error)
      }
    })
  }

  /**
   * Closes: other processes may take over this one's files at once, those written from now on included. Synchronous,
   * because the process may be at its end.
   * @returns resolves once the operations under way have ended and the directory is touched no more
   */
  close(): Promise<unknown> {
    clearInterval(this.timer)
    this.closed = true
    this.owner.close()
    return this.busy
  }

  /** Runs one operation after the other, so that none sees the directory while another changes it. */
  private inTurn<R>(work: () => Promise<R>): Promise<R> {
    const result = this.busy.then(work)
    this.busy = result.catch(() => {})
    return result
  }

  private async look(): Promise<void> {
    if (this.closed || !this.usable) return
    try {
      await makeDirectory(this.directory)
      if (this.owner.isShown) await this.owner.show()
      const names = await readdir(this.directory)
      const entries = parse(names).filter(({ name, kind }) => kind !== 'bad' && !this.skip.has(name))
      const present = new Set(entries.map(({ name }) => name))
      for (const name of this.queue) if (!present.has(name)) this.forget(name)
      this.queue = this.queue.filter(name => present.has(name))

      const owners = new Set([...entries.map(({ owner }) => owner), ...ownersShown(names)])
      owners.delete(this.owner.name)
      for (const owner of owners) {
        if (!(await this.owner.isDead(owner))) continue
        for (const entry of entries) {
          if (this.closed) return
          if (entry.owner === owner) await this.takeOver(entry)
        }
        await unlink(this.owner.aliveFile(owner)).catch(() => {})
      }
      this.queue.sort()
    } catch (error) {
      this.failed('looked at', error)
    }
    if (this.queue.length > 0) this.onFound()
  }

  private async takeOver({ name, time, spans, bytes }: Entry): Promise<void> {
    // A .tmp file of a process that was killed while it wrote is taken over too: reading shows whether the file is whole.
    const ownName = `${this.nextName(spans, bytes, time)}.spans`
    try {
      if (!this.owner.isShown) await this.owner.show()
      await rename(this.path(name), this.path(ownName))
      this.queue.push(ownName)
    } catch (error) {
      // ENOENT: another process was faster.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      this.skip.add(name)
      this.failedFor(name, 'taken over', error)
    }
  }

  private async makeRoom(bytes: number): Promise<boolean> {
    await makeDirectory(this.directory)
    const entries = parse(await readdir(this.directory))
    let free = this.maxBytes - total(entries) - space(bytes)
    for (const entry of entries) {
      if (free >= 0) break
      if (entry.kind !== 'bad' || this.skip.has(entry.name)) continue
      try {
        await unlink(this.path(entry.name))
      } catch (error) {
        // ENOENT: another process was faster.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
          this.skip.add(entry.name)
          continue
        }
      }
      free += space(entry.bytes)
    }
    if (free < 0) this.full()
    return free >= 0
  }

  private next(): string | undefined {
    return this.closed ? undefined : this.queue.shift()
  }

  private written(name: string): string {
    this.restMs = REST_MS
    this.queue.push(name)
    return name
  }

  private forget(name: string): void {
    const spans = this.own.get(name)
    if (spans === undefined) return
    this.own.delete(name)
    this.onLost(spans)
  }

  private nextName(spans: number, bytes: number, time = String(clock.wallMs()).padStart(15, '0')): string {
    return stem(time, ++this.seq, this.owner.name, spans, bytes)
  }

  private path(name: string): string {
    return join(this.directory, name)
  }

  private full(): void {
    this.rest()
    logRarely(
      'spool_full',
      'warn',
      `the spool is full (${this.maxBytes} bytes): spans wait in memory, and may be dropped; raise spool.maxBytes`,
    )
  }

  private rest(): void {
    this.spoolErrors++
    this.restUntil = clock.now() + this.restMs
  }

  /** An operation on one file has failed, which says nothing about the others. */
  private failedFor(name: string, what: string, error: unknown): void {
    this.spoolErrors++
    logRarely('spool_file', 'warn', `${name} in the spool can't be ${what}: ${describe(error)}`)
  }

  private failed(what: string, error: unknown): void {
    this.rest()
    // A missing directory seldom appears by itself: each failure in a row doubles the rest.
    this.restMs = Math.min(this.restMs * 2, MAX_REST_MS)
    logRarely('spool', 'warn', `the spool can't be ${what}: ${describe(error)}`)
  }
}
