import { type Destination, ExportError, MAX_SMALL_BYTES, type NewFile } from '../destination'
import type { HdfsAddress } from './address'
import { WebHdfs, type WebHdfsOptions } from './webhdfs'

/** A folder of HDFS. */
export class HdfsFolder implements Destination {
  private readonly path: string
  private readonly hdfs: WebHdfs

  constructor({ path, ...address }: HdfsAddress, options: Omit<WebHdfsOptions, 'namenodes'>) {
    this.path = path
    this.hdfs = new WebHdfs({ ...address, ...options })
  }

  prepare(): Promise<void> {
    return this.hdfs.makeFolder(this.path)
  }

  size(name: string): Promise<number | undefined> {
    return this.hdfs.length(this.at(name))
  }

  read(name: string): Promise<Buffer | undefined> {
    return this.hdfs.read(this.at(name), MAX_SMALL_BYTES)
  }

  async create(name: string): Promise<NewFile> {
    const { hdfs } = this
    const path = this.at(name)
    // What an export that was killed has left is replaced.
    const partial = this.at(`_${name.replace(/^_/, '')}.partial`)
    const out = await hdfs.create(partial)
    return {
      out,
      keep: async () => {
        const { bytes } = out
        let isRenamed = await hdfs.rename(partial, path)
        if (!isRenamed && (await hdfs.length(path)) !== undefined && (await hdfs.length(partial)) === bytes) {
          await hdfs.delete(path)
          isRenamed = await hdfs.rename(partial, path)
        }
        // The answer to an earlier try may have been lost; and another export may have begun the file anew.
        const length = await hdfs.length(path)
        if (length === bytes) return bytes
        throw new ExportError(
          `${path} has ${length ?? 'no'} bytes after ${bytes} were written: is another export writing it?`,
          true,
        )
      },
      discard: async () => {
        out.destroy()
        await hdfs.delete(partial, true).catch(() => {})
      },
    }
  }

  explain(error: unknown): unknown {
    return error
  }

  private at(name: string): string {
    return `${this.path}/${name}`
  }
}
