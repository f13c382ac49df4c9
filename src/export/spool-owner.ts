import { randomBytes } from 'node:crypto'
import { readlinkSync, unlinkSync } from 'node:fs'
import { readFile, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { clock } from '../process/genuine'
import { makeDirectory } from './spool-files'

export const HEARTBEAT_MS = 10_000
/** An owner on another machine counts as dead after this time without a heartbeat. On this machine its process is looked up. */
const STALE_MS = 45_000
const ALIVE = /^[0-9a-f]{12}\.alive$/

/**
 * An emitter as the owner of files in a spool's directory. While it lives it touches its file OWNER.alive every 10 s, which
 * says where it runs; so others know whether its files may be taken over.
 */
export class SpoolOwner {
  /** Twelve hexadecimal digits; the names of its files carry it. */
  readonly name = randomBytes(6).toString('hex')
  private readonly directory: string
  private machine: string | undefined
  private shown = false
  private closed = false

  constructor(directory: string) {
    this.directory = directory
  }

  /** Whether it has files, or had: only then others look for its heartbeat. */
  get isShown(): boolean {
    return this.shown
  }

  /** Shows that it lives. @throws the disk's error */
  async show(): Promise<void> {
    const path = this.aliveFile(this.name)
    const nowS = clock.wallMs() / 1000
    const touched =
      this.shown &&
      (await utimes(path, nowS, nowS)
        .then(() => true)
        .catch(() => false))
    if (touched || this.closed) return
    await makeDirectory(this.directory)
    await writeFile(path, JSON.stringify({ machine: this.here(), pid: process.pid }), { mode: 0o600 })
    this.shown = true
    // `close` was called in the meantime.
    if (this.closed) this.close()
  }

  /** From now on others may take over its files, those written later included. */
  close(): void {
    this.closed = true
    if (!this.shown) return
    this.shown = false
    try {
      unlinkSync(this.aliveFile(this.name))
    } catch {
      // Then the heartbeat grows stale.
    }
  }

  async isDead(owner: string): Promise<boolean> {
    const path = this.aliveFile(owner)
    try {
      const found = await stat(path)
      const { mtimeMs, size } = found
      // Reading a pipe would never end.
      if (!found.isFile()) return true
      if (clock.wallMs() - mtimeMs > STALE_MS) return true
      const shown = size < 4096 ? JSON.parse(await readFile(path, 'utf8')) : undefined
      return shown?.machine === this.here() && !exists(shown.pid)
    } catch (error) {
      // Without the file its owner has closed. With another error the file is being written at this moment.
      return (error as NodeJS.ErrnoException).code === 'ENOENT'
    }
  }

  aliveFile(owner: string): string {
    return join(this.directory, `${owner}.alive`)
  }

  private here(): string {
    this.machine ??= machine()
    return this.machine
  }
}

/** Where a process id is unique: this host, and on Linux this PID namespace. */
function machine(): string {
  try {
    return `${hostname()} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    // This isn't Linux.
    return hostname()
  }
}

/** The owners that have shown a heartbeat in a directory with these files. */
export function ownersShown(names: string[]): string[] {
  return names.filter(name => ALIVE.test(name)).map(name => name.slice(0, 12))
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
