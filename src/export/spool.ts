import { createHash, randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { mkdir, open, readdir, readFile, rename, stat, unlink, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { clearInterval, clock, GenuinePromise, setInterval } from '../process/genuine'
import { describe, logRarely } from '../process/log'

/**
 * Batches of records in files of a directory, for the time when Scribe can't take them.
 *
 *     TIME-SEQ-OWNER-SPANS-BYTES.tmp      being written; then fsync and rename to
 *     TIME-SEQ-OWNER-SPANS-BYTES.spans    to be sent, oldest first; removed once Scribe has answered OK
 *     TIME-SEQ-OWNER-SPANS-BYTES.bad      damaged, and kept for you to look at; removed first when room is needed
 *     OWNER.alive                         touched every 10 s while its owner lives; says where it runs
 *
 *     a file: 'MILOSPL1' │ i32 spans │ i32 length │ sha-256 of the records, 32 bytes │ records (docs/wire-format.md)
 *
 * A file belongs to the emitter whose name it carries. When that emitter is dead, another one takes the file over by
 * renaming it; of several that try, one succeeds. A batch that Scribe took just before a crash is sent twice, and the
 * collector stores it once.
 * Names carry the sizes, so that one look at the directory says how full it is. Files of other names are left alone.
 */

const MAGIC = Buffer.from('MILOSPL1')
const HEADER_BYTES = 48
/** The least space that a file takes: one block of the disk. */
const BLOCK_BYTES = 4096
/** The largest batch has 512 KiB and one record of 1 MiB. */
const MAX_FILE_BYTES = 4 * 1024 * 1024
const HEARTBEAT_MS = 10_000
/** An owner elsewhere counts as dead after this time without a heartbeat. One on this machine is looked up. */
const STALE_MS = 45_000
/** How long a directory that failed is left alone: after the first failure, and at most. */
const REST_MS = 5_000
const LONGEST_REST_MS = 300_000

const NAME = /^(\d{15})-(\d{8,12})-([0-9a-f]{12})-(\d{1,9})-(\d{1,9})\.(spans|tmp|bad)$/

interface Entry {
  name: string
  time: string
  owner: string
  spans: number
  bytes: number
  kind: string
}

/** A batch that was read from its file. */
export interface Spooled {
  name: string
  records: Buffer
  /** How many of its spans this process wrote: all, or none. */
  own: number
  spans: number
}

export interface SpoolOptions {
  directory: string
  /** The limit for all files in the directory, of this and other processes. */
  maxBytes: number
}

export interface SpoolCounts {
  /** How often the directory was full, or a file in it couldn't be written, read, renamed or removed. */
  spoolErrors: number
  /** Spans of ended processes that were found in the spool and sent. No other counter includes them. */
  recovered: number
}

export class Spool implements SpoolCounts {
  spoolErrors = 0
  recovered = 0
  private readonly directory: string
  private readonly maxBytes: number
  private readonly owner = randomBytes(6).toString('hex')
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
  private alive = false
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
  put(records: Buffer, spans: number): Promise<string | undefined> {
    return this.inTurn(async () => {
      const name = this.nextName(spans, records.length)
      const temporary = `${name}.tmp`
      try {
        if (!(await this.makeRoom(records.length))) return undefined
        if (!this.alive) await this.showAlive()
        const file = await open(this.path(temporary), 'wx', 0o600)
        try {
          // Not writev, which may write only a part and says so only in its result.
          await file.writeFile(Buffer.concat([header(records, spans), records]))
          await file.sync()
        } finally {
          await file.close()
        }
        await rename(this.path(temporary), this.path(`${name}.spans`))
        await this.syncDirectory()
      } catch (error) {
        this.failed('written', error)
        await unlink(this.path(temporary)).catch(() => {})
        return undefined
      }
      return this.written(`${name}.spans`)
    })
  }

  /** The same for the last moment of a process, when no asynchronous work runs any more. */
  putSync(records: Buffer, spans: number): string | undefined {
    const name = this.nextName(spans, records.length)
    try {
      makeDirectorySync(this.directory)
      const entries = parse(readdirSync(this.directory))
      if (total(entries) + space(records.length) > this.maxBytes) {
        this.full()
        return undefined
      }
      const file = openSync(this.path(`${name}.tmp`), 'wx', 0o600)
      try {
        const bytes = Buffer.concat([header(records, spans), records])
        for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
        fsyncSync(file)
      } finally {
        closeSync(file)
      }
      renameSync(this.path(`${name}.tmp`), this.path(`${name}.spans`))
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
          const batch = await this.read(name)
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
    if (this.alive) {
      this.alive = false
      try {
        unlinkSync(this.path(`${this.owner}.alive`))
      } catch {
        // Then the heartbeat grows stale.
      }
    }
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
      if (this.alive) await this.showAlive()
      const names = await readdir(this.directory)
      const entries = parse(names).filter(({ name, kind }) => kind !== 'bad' && !this.skip.has(name))
      const present = new Set(entries.map(({ name }) => name))
      for (const name of this.queue) if (!present.has(name)) this.forget(name)
      this.queue = this.queue.filter(name => present.has(name))

      const owners = new Set(entries.map(({ owner }) => owner))
      for (const name of names) if (ALIVE.test(name)) owners.add(name.slice(0, 12))
      owners.delete(this.owner)
      for (const owner of owners) {
        if (!(await this.isDead(owner))) continue
        for (const entry of entries) {
          if (this.closed) return
          if (entry.owner === owner) await this.takeOver(entry)
        }
        await unlink(this.path(`${owner}.alive`)).catch(() => {})
      }
      this.queue.sort()
    } catch (error) {
      this.failed('looked at', error)
    }
    if (this.queue.length > 0) this.onFound()
  }

  private async takeOver({ name, time, spans, bytes }: Entry): Promise<void> {
    // Also a .tmp file of a process that was killed while it wrote it: reading shows whether the file is whole.
    const ownName = `${this.nextName(spans, bytes, time)}.spans`
    try {
      if (!this.alive) await this.showAlive()
      await rename(this.path(name), this.path(ownName))
      this.queue.push(ownName)
    } catch (error) {
      // ENOENT: another process was faster.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      this.skip.add(name)
      this.failedFor(name, 'taken over', error)
    }
  }

  private async showAlive(): Promise<void> {
    const path = this.path(`${this.owner}.alive`)
    const now = clock.wallMs() / 1000
    if (
      this.alive &&
      (await utimes(path, now, now)
        .then(() => true)
        .catch(() => false))
    )
      return
    if (this.closed) return
    await makeDirectory(this.directory)
    await writeFile(path, JSON.stringify({ machine: machine(), pid: process.pid }), { mode: 0o600 })
    this.alive = true
    // `close` was called in the meantime.
    if (this.closed) void this.close()
  }

  private async isDead(owner: string): Promise<boolean> {
    const path = this.path(`${owner}.alive`)
    try {
      const found = await stat(path)
      const { mtimeMs, size } = found
      // Reading a pipe would never end.
      if (!found.isFile()) return true
      if (clock.wallMs() - mtimeMs > STALE_MS) return true
      const shown = size < 4096 ? JSON.parse(await readFile(path, 'utf8')) : undefined
      return shown?.machine === machine() && !exists(shown.pid)
    } catch (error) {
      // Without the file its owner has closed. Other errors: the file is being written at this moment.
      return (error as NodeJS.ErrnoException).code === 'ENOENT'
    }
  }

  /** @returns undefined when the file is damaged */
  private async read(name: string): Promise<{ records: Buffer; spans: number } | undefined> {
    const entry = parse([name])[0]!
    // Links aren't followed, and pipes aren't waited for.
    const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants
    const file = await open(this.path(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    try {
      const found = await file.stat()
      const size = HEADER_BYTES + entry.bytes
      if (!found.isFile() || found.size !== size || size > MAX_FILE_BYTES) return undefined
      const bytes = await file.readFile()
      const records = bytes.subarray(HEADER_BYTES)
      if (!bytes.subarray(0, HEADER_BYTES).equals(header(records, entry.spans))) return undefined
      return { records, spans: entry.spans }
    } finally {
      await file.close()
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

  private async syncDirectory(): Promise<void> {
    // Makes the rename durable. Not every system supports it.
    const directory = await open(this.directory, 'r').catch(() => undefined)
    await directory?.sync().catch(() => {})
    await directory?.close()
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
    return `${time}-${String(++this.seq).padStart(8, '0')}-${this.owner}-${spans}-${bytes}`
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
    this.restMs = Math.min(this.restMs * 2, LONGEST_REST_MS)
    logRarely('spool', 'warn', `the spool can't be ${what}: ${describe(error)}`)
  }
}

/** Doesn't use Node's `recursive`, which never returns under /proc, where the parent exists and no directory can be made. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    const parent = parentToMake(path, error)
    if (parent === undefined) return
    await makeDirectory(parent)
    await mkdir(path, { mode: 0o700 }).catch(again => parentToMake(path, again, false))
  }
}

function makeDirectorySync(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    const parent = parentToMake(path, error)
    if (parent === undefined) return
    makeDirectorySync(parent)
    try {
      mkdirSync(path, { mode: 0o700 })
    } catch (again) {
      parentToMake(path, again, false)
    }
  }
}

/** @returns undefined when the directory exists. @throws the error when making the parent wouldn't help */
function parentToMake(path: string, error: unknown, first = true): string | undefined {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'EEXIST') return undefined
  const parent = dirname(path)
  if (code !== 'ENOENT' || !first || parent === path) throw error
  return parent
}

/** Errors of the process or the machine, which pass, and not of the file. */
const TRANSIENT = new Set(['EMFILE', 'ENFILE', 'ENOMEM'])
const ALIVE = /^[0-9a-f]{12}\.alive$/

/** The files that are named as the spool names them, oldest first. */
function parse(names: string[]): Entry[] {
  const entries: Entry[] = []
  for (const name of names) {
    const match = NAME.exec(name)
    if (match === null) continue
    const [, time, , owner, spans, bytes, kind] = match
    // Not written by Milo: the size in the name can't be true.
    if (Number(bytes) > MAX_FILE_BYTES) continue
    entries.push({ name, time: time!, owner: owner!, spans: Number(spans), bytes: Number(bytes), kind: kind! })
  }
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
}

function space(bytes: number): number {
  return Math.ceil((HEADER_BYTES + bytes) / BLOCK_BYTES) * BLOCK_BYTES
}

function total(entries: Entry[]): number {
  return entries.reduce((sum, { bytes }) => sum + space(bytes), 0)
}

function header(records: Buffer, spans: number): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES)
  MAGIC.copy(bytes)
  bytes.writeInt32BE(spans, 8)
  bytes.writeInt32BE(records.length, 12)
  createHash('sha256').update(records).digest().copy(bytes, 16)
  return bytes
}

let here: string | undefined

/** Where a process id is unique: this host, and on Linux this PID namespace. */
function machine(): string {
  if (here === undefined) {
    here = hostname()
    try {
      here += ` ${readlinkSync('/proc/self/ns/pid')}`
    } catch {
      // Not Linux.
    }
  }
  return here
}

function exists(pid: unknown): boolean {
  if (!Number.isSafeInteger(pid) || (pid as number) <= 0) return false
  try {
    process.kill(pid as number, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
