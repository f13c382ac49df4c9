import { scanRecords } from '../../record/records'
import { readEntry } from '../pipeline/entry'
import type { IndexPolicy } from '../search/index-policy'
import type { EmbeddedFile } from './file'
import { PART_ROWS } from './index/columns'
import { hashOf, Indexer } from './index/indexer'
import { KEY, VALUE } from './index/tokens'

/** Reading a file whole, and making parts of its index anew; nothing else may have it open. */

export interface Finding {
  what: string
  /** The part of the index that rebuild would mend. Messages can't be mended. */
  part?: bigint
  message?: bigint
}

/** Records that are indexed before the next message is read. */
const STEP_RECORDS = 2_000

/**
 * Reads everything: pages by SQLite's own check, messages by their checksums and records, and the index against what the messages
 * say. Takes about a minute for ten million spans.
 */
export async function verify(file: EmbeddedFile, policy: IndexPolicy): Promise<Finding[]> {
  const findings: Finding[] = file.integrity().map(what => ({ what: `SQLite: ${what}` }))
  for (const id of file.messageIds()) {
    const what = attempt(() => {
      const body = file.readMessage(id)
      if (body === 'damaged') return "isn't as it was written"
      if (body !== undefined) scanRecords(body, () => {})
      return undefined
    })
    if (what !== undefined) findings.push({ message: id, what: `message ${id}: ${what}` })
  }
  for (const part of file.partsWithBounds()) {
    const expected = new Sums()
    const indexer = new Indexer(file)
    indexer.begin(part.id, policy, (row, tokens) => expected.add(row, tokens))
    await eachEntry(file, part, (entry, from) => indexer.add(entry, from, Number.POSITIVE_INFINITY))
    const columns = indexer.takeColumns()
    indexer.addTraces()
    const what = attempt<string | undefined>(() => {
      const chunks = file.sql.selectChunksData.all([part.id * PART_ROWS, (part.id + 1n) * PART_ROWS]) as [Buffer][]
      if (!Buffer.concat(chunks.map(([data]) => data)).equals(columns))
        return "its records aren't those of its messages"
      const found = new Sums()
      for (const [term, row] of file.index(part.id).selectAll.iterate([]) as Iterable<[Buffer, bigint]>) {
        found.addOne(row, term, 0, term.length)
      }
      if (found.words !== expected.words) return "its words aren't those of its messages"
      if (found.values !== expected.values) {
        return "its annotations aren't those of its messages, unless index.allow, index.deny or index.value_length have been changed"
      }
      return undefined
    })
    if (what !== undefined) findings.push({ part: part.id, what: `part ${part.id} of the index: ${what}` })
  }
  return findings
}

/** Makes a part of the index anew of its messages, in one transaction. */
export async function rebuild(file: EmbeddedFile, id: bigint, policy: IndexPolicy): Promise<void> {
  const part = file.partsWithBounds().find(part => part.id === id)
  if (part === undefined) throw new RangeError(`there is no part ${id}`)
  const indexer = new Indexer(file)
  await file.backgroundAsync(async () => {
    file.clearPart(id)
    indexer.begin(id, policy)
    await eachEntry(file, part, (entry, from) => {
      for (let at = from; at < entry.end; ) {
        at = indexer.add(entry, at, STEP_RECORDS)
        if (indexer.isFull(STEP_RECORDS)) indexer.finish()
      }
    })
    indexer.finish()
  })
}

type Part = ReturnType<EmbeddedFile['partsWithBounds']>[number]
type Entry = Awaited<ReturnType<typeof readEntry>>

/** The part's records, without those that were put aside. */
async function eachEntry(file: EmbeddedFile, part: Part, visit: (entry: Entry, from: number) => void): Promise<void> {
  for (const id of file.messageIds(part.firstMessage, part.endMessage)) {
    const body = attempt(() => file.readMessage(id))
    if (!Buffer.isBuffer(body)) continue
    const entry = await readEntry(id, file.receivedUs(id), body, () => {})
    const aside = file.putAside(id)
    const from = id === part.firstMessage ? part.firstOffset : 0
    const to = id === part.endMessage ? part.endOffset : entry.end
    for (const stretch of without(entry, from, Math.min(to, entry.end), aside)) visit(stretch, stretch.start)
  }
}

function without(entry: Entry, from: number, to: number, aside: { start: number; end: number }[]): Entry[] {
  const stretches: Entry[] = []
  let start = from
  for (const record of [...aside, { start: to, end: to }]) {
    if (record.start > to) break
    if (record.start > start) stretches.push({ ...entry, start, end: record.start })
    if (record.end > start) start = record.end
  }
  return stretches
}

function attempt<R>(work: () => R): R | string {
  try {
    return work()
  } catch (error) {
    return (error as Error).message
  }
}

/** Sums over hashes of words with their rows, which are the same in any order. */
class Sums {
  words = 0
  values = 0
  private row: bigint | number = -1
  private readonly ofRow = new Set<string>()

  /** Rows with many words come in several pieces. */
  add(row: bigint | number, tokens: Buffer): void {
    if (row !== this.row) {
      this.row = row
      this.ofRow.clear()
    }
    const { ofRow } = this
    for (let start = 0; start < tokens.length; ) {
      const end = tokens.indexOf(0x20, start)
      // A word that comes twice is there once.
      const word = tokens.toString('latin1', start, end)
      if (!ofRow.has(word)) this.addOne(BigInt(row), tokens, start, end)
      ofRow.add(word)
      start = end + 1
    }
  }

  addOne(row: bigint, buf: Buffer, start: number, end: number): void {
    const hash = hashOf(Number(row % 0x7fffffffn), buf, start, end) >>> 0
    const kind = String.fromCharCode(buf[start]!)
    if (kind === KEY || kind === VALUE) this.values = (this.values + hash) % 2 ** 52
    else this.words = (this.words + hash) % 2 ** 52
  }
}
