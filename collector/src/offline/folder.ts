import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Destination, ExportError, MAX_SMALL_BYTES, type NewFile } from './destination'

/** A folder of this machine. Only their owner may read the files, because spans may contain secrets. */

/** What isn't whole: Hadoop and Spark take names that begin with _ for hidden. */
const PARTIAL = /^_.+\.[0-9a-f]{8}\.partial$/
/** Nobody writes any more into a file that hasn't changed for so long. */
const ABANDONED_MS = 3_600_000

export class Folder implements Destination {
  private readonly path: string

  constructor(path: string) {
    this.path = path
  }

  prepare(): Promise<void> {
    return this.attempt(async () => {
      await mkdir(this.path, { recursive: true, mode: 0o700 })
      for (const name of await readdir(this.path)) {
        if (!PARTIAL.test(name)) continue
        const path = join(this.path, name)
        const file = await statOf(path)
        if (file !== undefined && Date.now() - file.mtimeMs > ABANDONED_MS) await rm(path, { force: true })
      }
    })
  }

  size(name: string): Promise<number | undefined> {
    return this.attempt(async () => (await statOf(join(this.path, name)))?.size)
  }

  read(name: string): Promise<Buffer | undefined> {
    return this.attempt(async () => {
      const path = join(this.path, name)
      const file = await statOf(path)
      return file === undefined || file.size > MAX_SMALL_BYTES ? undefined : readFile(path)
    })
  }

  async create(name: string): Promise<NewFile> {
    // Two exports at the same time write the same bytes, each into a file of its own.
    const partial = join(this.path, `_${name.replace(/^_/, '')}.${randomBytes(4).toString('hex')}.partial`)
    const file = await this.attempt(() => open(partial, 'wx', 0o600))
    const out = file.createWriteStream({ flush: true } as object)
    return {
      out,
      keep: () =>
        this.attempt(async () => {
          await rename(partial, join(this.path, name))
          await this.sync()
          return out.bytesWritten
        }),
      discard: async () => {
        out.destroy()
        await rm(partial, { force: true }).catch(() => {})
      },
    }
  }

  explain(error: unknown): unknown {
    return folderError(this.path, error)
  }

  /** Makes names durable. */
  private async sync(): Promise<void> {
    const folder = await open(this.path, 'r')
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
  }

  private async attempt<R>(work: () => Promise<R>): Promise<R> {
    try {
      return await work()
    } catch (error) {
      throw this.explain(error)
    }
  }
}

/** Explains errors of the file system; others are returned as they are. */
function folderError(path: string, error: unknown): unknown {
  const { code = '', message } = error as NodeJS.ErrnoException
  if (!/^E[A-Z]+$/.test(code) || error instanceof ExportError) return error
  const remedy =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? 'the disk is full: make room'
      : code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
        ? 'it may not be written: give --to a folder that you may write to'
        : code === 'ENOTDIR' || code === 'EEXIST'
          ? "it isn't a folder: give --to another path"
          : message
  return new ExportError(`${path}: ${remedy} (${code})`, false, { cause: error })
}

async function statOf(path: string) {
  try {
    return await stat(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
