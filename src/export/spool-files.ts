import { createHash } from 'node:crypto'
import { closeSync, constants, fsyncSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs'
import { mkdir, open, rename, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/**
 * The spool's files: their names, what is in them, and how they are written so that a crash leaves no half of one.
 *
 *     TIME-SEQ-OWNER-SPANS-BYTES.tmp      being written; then fsync and rename to
 *     TIME-SEQ-OWNER-SPANS-BYTES.spans    to be sent, oldest first; removed once the peer has answered OK
 *     TIME-SEQ-OWNER-SPANS-BYTES.bad      damaged, and kept for you to look at; removed first when room is needed
 *
 *     a file: 'MILOSPL1' │ i32 spans │ i32 length │ sha-256 of the body, 32 bytes │ body: a batch as the exporter sends it
 *
 * Names carry the sizes, so that one look at the directory says how full it is. Files of other names are left alone.
 */

const MAGIC = Buffer.from('MILOSPL1')
const HEADER_BYTES = 48
/** The least space that a file takes: one block of the disk. */
const BLOCK_BYTES = 4096
/** The largest batch has 512 KiB and one record of 1 MiB. */
const MAX_FILE_BYTES = 4 * 1024 * 1024

const NAME = /^(\d{15})-(\d{8,12})-([0-9a-f]{12})-(\d{1,9})-(\d{1,9})\.(spans|tmp|bad)$/

export interface Entry {
  name: string
  time: string
  owner: string
  spans: number
  bytes: number
  kind: string
}

/** A file's name without its ending. @param time in ms since 1970, with 15 digits */
export function stem(time: string, seq: number, owner: string, spans: number, bytes: number): string {
  return `${time}-${String(seq).padStart(8, '0')}-${owner}-${spans}-${bytes}`
}

/** The files that are named as the spool names them, oldest first. */
export function parse(names: string[]): Entry[] {
  const entries: Entry[] = []
  for (const name of names) {
    const match = NAME.exec(name)
    if (match === null) continue
    const [, time, , owner, spans, bytes, kind] = match
    // Milo didn't write this file: the size in its name can't be true.
    if (Number(bytes) > MAX_FILE_BYTES) continue
    entries.push({ name, time: time!, owner: owner!, spans: Number(spans), bytes: Number(bytes), kind: kind! })
  }
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** The space on the disk, in bytes, of a file whose body has `bytes` bytes. */
export function space(bytes: number): number {
  return Math.ceil((HEADER_BYTES + bytes) / BLOCK_BYTES) * BLOCK_BYTES
}

export function total(entries: Entry[]): number {
  return entries.reduce((sum, { bytes }) => sum + space(bytes), 0)
}

/** Writes a file that is whole or isn't there. @param stem its path without the ending. @throws the disk's error */
export async function write(stem: string, body: Buffer, spans: number): Promise<void> {
  const temporary = `${stem}.tmp`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      // writev isn't used: it may write only a part, and says so only in its result.
      await file.writeFile(Buffer.concat([header(body, spans), body]))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, `${stem}.spans`)
    await syncDirectory(dirname(stem))
  } catch (error) {
    await unlink(temporary).catch(() => {})
    throw error
  }
}

/** Does the same as `write`, synchronously. */
export function writeNow(stem: string, body: Buffer, spans: number): void {
  const file = openSync(`${stem}.tmp`, 'wx', 0o600)
  try {
    const bytes = Buffer.concat([header(body, spans), body])
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(`${stem}.tmp`, `${stem}.spans`)
}

/** @returns undefined when the file is damaged. @throws the disk's error */
export async function read(directory: string, name: string): Promise<{ body: Buffer; spans: number } | undefined> {
  const entry = parse([name])[0]!
  // Links aren't followed, and pipes aren't waited for.
  const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants
  const file = await open(join(directory, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const found = await file.stat()
    const size = HEADER_BYTES + entry.bytes
    if (!found.isFile() || found.size !== size || size > MAX_FILE_BYTES) return undefined
    const bytes = await file.readFile()
    const body = bytes.subarray(HEADER_BYTES)
    if (!bytes.subarray(0, HEADER_BYTES).equals(header(body, entry.spans))) return undefined
    return { body, spans: entry.spans }
  } finally {
    await file.close()
  }
}

/** Doesn't use Node's `recursive`, which never returns under /proc, where the parent exists and no directory can be made. */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    const parent = parentToMake(path, error)
    if (parent === undefined) return
    await makeDirectory(parent)
    await mkdir(path, { mode: 0o700 }).catch(again => parentToMake(path, again, false))
  }
}

export function makeDirectorySync(path: string): void {
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

/** Makes a rename durable. Not every system supports it. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r').catch(() => undefined)
  await directory?.sync().catch(() => {})
  await directory?.close()
}

function header(body: Buffer, spans: number): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES)
  MAGIC.copy(bytes)
  bytes.writeInt32BE(spans, 8)
  bytes.writeInt32BE(body.length, 12)
  createHash('sha256').update(body).digest().copy(bytes, 16)
  return bytes
}
