import { TraceLines } from '../../record/trace-lines'
import { completeUntilUs, HOUR_US } from '../hours'
import type { HourPage, HourReader, HourSource } from '../store'
import { EmbeddedFile } from './file'

/** The file's messages, by the hour: see HourReader. */

/** Other readers of the file wait for a page: about 5 ms. */
const PAGE_BYTES = 1024 * 1024
const PAGE_MESSAGES = 2_000n

/** A page of an hour, and the message that it ends with unless it is the last one. */
export interface PartOfHour extends Omit<HourPage, 'lines'> {
  bytes: Uint8Array
  next: bigint | undefined
}

/** Returns from when to when everything is in the file. */
export function completeHours(file: EmbeddedFile, nowUs: number): Omit<HourSource, 'collector'> {
  const { selectFirstMessage, selectNewestMessage, selectProgress } = file.sql
  const [, , , retired] = selectProgress.get([]) as [bigint, bigint, bigint, bigint]
  const first = (selectFirstMessage.get([]) as [bigint] | undefined)?.[0]
  const [id, receivedUs] = (selectNewestMessage.get([]) as [bigint, bigint] | undefined) ?? []
  const newest = id === undefined ? undefined : { id, receivedUs: receivedUs! }
  // The hour of the first message is complete unless others have been removed.
  const fromUs = retired > 0n ? Number(retired) + 1 : Math.floor(Number(first ?? 0n) / HOUR_US) * HOUR_US
  return { fromUs, toUs: first === undefined ? fromUs : completeUntilUs(nowUs, newest) }
}

/** @param after where the page before it ended */
export function readPartOfHour(file: EmbeddedFile, hourUs: number, after: bigint | undefined): PartOfHour {
  const from = after ?? BigInt(hourUs) - 1n
  const end = BigInt(hourUs + HOUR_US)
  const lengths = file.sql.selectLengths.all([from, end, PAGE_MESSAGES]) as [id: bigint, bytes: bigint][]
  let bytes = 0n
  let [last] = lengths[0] ?? [end]
  let count = 0
  for (const [id, length] of lengths) {
    bytes += length
    if (count > 0 && bytes > PAGE_BYTES) break
    last = id
    count++
  }
  const lines = new TraceLines()
  const damaged: string[] = []
  for (const [id, body, crc] of file.sql.selectBodies.all([from, last]) as [bigint, Buffer, bigint | null][]) {
    if (!EmbeddedFile.isIntact(body, crc)) damaged.push(`message ${id} isn't as it was written`)
    else lines.addOrName(body, `message ${id}`, damaged)
  }
  const isLast = count === lengths.length && lengths.length < PAGE_MESSAGES
  return {
    records: lines.records,
    bytes: lines.take(),
    damaged,
    reachedUs: isLast ? Number(end) : Number(last),
    next: isLast ? undefined : last,
  }
}

/** @param read returns a page after another one */
export async function* pagesOfHour(
  read: (after: bigint | undefined) => PartOfHour | Promise<PartOfHour>,
): AsyncGenerator<HourPage> {
  let after: bigint | undefined
  do {
    const { bytes, next, ...page } = await read(after)
    yield { ...page, lines: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) }
    after = next
  } while (after !== undefined)
}

/** Reads a file that no collector has open. */
export function openEmbeddedHours(path: string, collector: string): HourReader & { close(): Promise<void> } {
  const file = new EmbeddedFile(path, () => {})
  return {
    hourSources: async () => [{ collector, ...completeHours(file, Date.now() * 1000) }],
    readHour: async (_collector, hourUs) => pagesOfHour(after => readPartOfHour(file, hourUs, after)),
    close: async () => file.close(),
  }
}
