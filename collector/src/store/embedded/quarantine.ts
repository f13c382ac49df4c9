import { type Quarantine, type QuarantinedRecord, unknownRecord } from '../quarantine'
import { EmbeddedFile } from './file'

/** The table `quarantine` of a file that no collector has open. */
export class EmbeddedQuarantine implements Quarantine {
  private readonly file: EmbeddedFile

  /** @throws StoreError when another process has the file */
  constructor(path: string, log: (message: string) => void) {
    this.file = new EmbeddedFile(path, log)
  }

  async list(): Promise<QuarantinedRecord[]> {
    type Row = [bigint, bigint, Buffer, bigint, bigint]
    return (this.file.sql.selectQuarantine.all([]) as Row[]).map(([message, start, reason, bytes, receivedUs]) => ({
      id: `${message}/${start}`,
      reason: reason.toString(),
      bytes: Number(bytes),
      receivedUs,
    }))
  }

  async read(id: string): Promise<Buffer> {
    const row = this.file.sql.selectQuarantined.get(keyOf(id)) as [Buffer] | undefined
    if (row === undefined) throw unknownRecord(id)
    return row[0]
  }

  async drop(id: string): Promise<void> {
    let dropped = 0
    this.file.durable(() => {
      dropped = this.file.sql.deleteQuarantined.run(keyOf(id)).changes
    })
    if (dropped === 0) throw unknownRecord(id)
  }

  async close(): Promise<void> {
    this.file.close()
  }
}

function keyOf(id: string): bigint[] {
  const [, message, start] = /^(\d{1,18})\/(\d{1,9})$/.exec(id) ?? []
  if (start === undefined) throw unknownRecord(id)
  return [BigInt(message!), BigInt(start)]
}
