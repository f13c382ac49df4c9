import { scanRecords } from '../../record/records'
import { ROW_KINDS } from '../activity/model'
import { readDelta, readRow, writeDelta } from '../activity/rows'
import type { AnalysisWindow } from '../analysis/model'
import { verifyAnalyses } from '../analysis/verify'
import { readEntry } from '../pipeline/entry'
import { type IndexPolicy, type IndexSettings, indexPolicy } from '../search/index-policy'
import { type Finding, type Verified, type VerifyOptions, verification } from '../verify'
import { readEmbeddedAnalyses, readEmbeddedPieces } from './analyses'
import { EmbeddedFile } from './file'
import { boundsOf, PART_ROWS, ROW_BYTES } from './index/columns'
import { END_OF_VALUE, hashOf, Indexer } from './index/indexer'
import { KEY, VALUE, valueToken } from './index/tokens'

/** Reading a file whole, and making parts of its index anew; nothing else may have it open. */

/** Records that are indexed before the next message is read. */
const STEP_RECORDS = 2_000
/** How often progress is told, in messages. */
const PROGRESS_MESSAGES = 1_000

/**
 * Reads everything: pages by SQLite's own check, messages by their checksums and records, the index against what the messages
 * say, the figures of services, and results of analyses. Takes about a minute for ten million spans.
 * @throws StoreError when another process has the file, or when it can't be opened
 */
export async function verifyEmbedded(
  path: string,
  index: IndexSettings | undefined,
  options: VerifyOptions,
): Promise<Verified> {
  const { repair, progress, log } = options
  const file = new EmbeddedFile(path, log)
  const policy = indexPolicy(index)
  const { verified, report } = verification(options)
  try {
    for (const what of [...file.integrity(), ...wrongWithBounds(file)])
      report({ where: 'the file', what, repaired: false })
    const parts = file.partsWithBounds()
    const windows = readEmbeddedAnalyses(file, Number.MAX_SAFE_INTEGER)
    const total = file.countMessages() + parts.length + windows.length
    for (const id of file.messageIds()) {
      const what = attempt(() => wrongWithMessage(file, id))
      if (what !== undefined) report({ where: `message ${id}`, what, repaired: false })
      if (++verified.read % PROGRESS_MESSAGES === 0) progress(verified.read, total)
    }
    for (const [i, part] of parts.entries()) {
      const expected = await read(file, part, policy)
      let what = attempt(() => wrongWithPart(file, part, expected))
      let repaired = false
      if (what !== undefined && repair) {
        try {
          await rebuild(file, part, policy)
          const left = attempt(() => wrongWithPart(file, part, expected))
          repaired = left === undefined
          if (!repaired) what = `${what}; and after it was made anew: ${left}`
        } catch (error) {
          what = `${what}; it can't be made anew: ${(error as Error).message}`
        }
      }
      if (what !== undefined) report({ where: `part ${part.id} of the index`, what, repaired })
      progress(verified.read + i + 1, total)
    }
    verifyActivity(file, repair, report)
    const pieces = async (window: AnalysisWindow) => readEmbeddedPieces(file, window)
    await verifyAnalyses({ windows, pieces }, report, done => progress(total - windows.length + done, total))
    return verified
  } finally {
    file.close()
  }
}

/** What can't be so of the rows that say where parts begin and end, and how far indexing has come. */
function wrongWithBounds(file: EmbeddedFile): string[] {
  const wrong: string[] = []
  const [settled, message, , retired] = file.sql.selectProgress.get([]) as [bigint, bigint, bigint, bigint]
  const [newest] = file.sql.selectLastMessage.get([]) as [bigint]
  if (message > newest && newest > 0n) {
    wrong.push(`messages are said to be indexed up to ${message}, the last is ${newest}`)
  }
  const rows = file.sql.selectParts.all([]) as [bigint, bigint, bigint, bigint, bigint][]
  const live = rows.filter(([, live]) => live === 1n)
  for (const [id, live, , , last] of rows) {
    if (live !== 1n && last > retired) wrong.push(`part ${id} is said to be going, but its messages aren't`)
  }
  for (const [i, [id, , first, , last]] of live.entries()) {
    const next = live[i + 1]?.[2]
    const isBeyond = next === undefined ? last > message && last > settled : last > next
    if (first <= retired || last < first || isBeyond) {
      wrong.push(`part ${id} is said to have messages ${first} to ${last}`)
    }
  }
  return wrong
}

/** How many rows of activity are read at once. */
const ACTIVITY_ROWS = 32n

/** What is damaged can't be made anew: spans may be younger than it. It is removed, since it would keep others from being read. */
function verifyActivity(file: EmbeddedFile, repair: boolean, report: (finding: Finding) => void): void {
  const { selectActivityProgress, selectAllActivity, selectDelta, deleteActivityRow, emptySettled } = file.sql
  const check = (where: string, read: () => unknown, remove: () => void) => {
    try {
      read()
    } catch (error) {
      if (repair) file.background(remove)
      report({ where, what: (error as Error).message, repaired: repair })
    }
  }
  const [counted, folded] = selectActivityProgress.get([]) as [bigint, bigint]
  if (folded > counted) {
    const what = `${folded} settlings are said to be in the figures of services, of ${counted}`
    report({ where: 'the file', what, repaired: false })
  }
  for (let last = 0n; ; ) {
    const rows = selectAllActivity.all([last, ACTIVITY_ROWS]) as [bigint, bigint, bigint, Buffer, bigint, Buffer][]
    for (const [row, grain, time, service, kind, body] of rows) {
      last = row
      const start = new Date(Number(time) * Number(grain) * 60_000).toISOString()
      const where = `${ROW_KINDS[Number(kind)]} of service ${service} from ${start} for ${grain} min`
      const read = () => readRow(body)
      check(where, read, () => deleteActivityRow.run([row]))
    }
    if (rows.length < ACTIVITY_ROWS) break
  }
  for (let last = -1n; ; ) {
    const row = selectDelta.get([last]) as [bigint, Buffer] | undefined
    if (row === undefined) break
    const [seq, delta] = row
    last = seq
    const read = () => readDelta(delta)
    check(`settling ${seq}`, read, () => emptySettled.run([writeDelta(new Map()), seq]))
  }
}

function wrongWithMessage(file: EmbeddedFile, id: bigint): string | undefined {
  const body = file.readMessage(id)
  if (body === 'damaged') return "isn't as it was written"
  if (body !== undefined) scanRecords(body, () => {})
  return undefined
}

/** What a part of the index must have by its messages. */
interface Expected {
  words: Sums
  values: Set<string>
  columns: Buffer
}

async function read(file: EmbeddedFile, part: Part, policy: IndexPolicy): Promise<Expected> {
  const words = new Sums()
  const values = new Set<string>()
  const indexer = new Indexer(file)
  indexer.begin(part.id, policy, (row, tokens) => words.add(row, tokens, values))
  await eachEntry(file, part, (entry, from) => indexer.add(entry, from, Number.POSITIVE_INFINITY))
  const columns = Buffer.from(indexer.takeColumns())
  indexer.addTraces()
  return { words, values, columns }
}

function wrongWithPart(file: EmbeddedFile, { id }: Part, { words, values, columns }: Expected): string | undefined {
  file.checkIndex(id)
  const [from, to] = [id * PART_ROWS, (id + 1n) * PART_ROWS]
  const rows = file.sql.selectChunks.all([from, to]) as [bigint, bigint, bigint, bigint, bigint, Buffer][]
  const data = rows.map(row => row[5])
  if (!Buffer.concat(data).equals(columns)) return "its records aren't those of its messages"
  let next = from + 1n
  for (const [first, count, firstUs, lastUs, longestUs, chunk] of rows) {
    const found = boundsOf(chunk)
    if (first !== next || Number(count) * ROW_BYTES !== chunk.length) return "its records aren't numbered one by one"
    if (found.firstUs !== firstUs || found.lastUs !== lastUs || found.longestUs !== longestUs) {
      return "the times of its records aren't those of its messages"
    }
    next += count
  }
  const found = new Sums()
  for (const [term, row] of file.index(id).selectAll.iterate([]) as Iterable<[Buffer, bigint]>) {
    found.addOne(row, term, 0, term.length)
  }
  if (found.words !== words.words) return "its words aren't those of its messages"
  if (found.values !== words.values) {
    return "its annotations aren't those of its messages, unless index.allow, index.deny or index.value_length have been changed"
  }
  const kept = new Set<string>()
  for (const [key, data] of file.sql.selectAllValues.iterate([id]) as Iterable<[Buffer, Buffer]>) {
    for (let start = 0; start < data.length; ) {
      const end = data.indexOf(END_OF_VALUE, start)
      kept.add(valueToken(key.toString(), data.toString('utf8', start, end)))
      if (end === -1) break
      start = end + 1
    }
  }
  if (kept.size !== values.size || [...values].some(value => !kept.has(value))) {
    return "its list of values isn't that of its messages"
  }
  return undefined
}

/** Makes a part of the index anew of its messages, in one transaction. */
async function rebuild(file: EmbeddedFile, part: Part, policy: IndexPolicy): Promise<void> {
  const { id } = part
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
  add(row: bigint | number, tokens: Buffer, values: Set<string>): void {
    if (row !== this.row) {
      this.row = row
      this.ofRow.clear()
    }
    const { ofRow } = this
    for (let start = 0; start < tokens.length; ) {
      const end = tokens.indexOf(0x20, start)
      // A word that comes twice is there once.
      const word = tokens.toString('utf8', start, end)
      if (word.startsWith(VALUE)) values.add(word)
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
