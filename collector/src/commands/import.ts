import { createReadStream, existsSync, type ReadStream, statSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGunzip } from 'node:zlib'
import { encodeRecord, RECORD_HEADER } from 'milo/codec/span'
import type { Config } from '../config'
import { EXPECTED, readAny } from '../formats/detect'
import { type LeftOut, Reading, Unusable } from '../formats/fields'
import { parseDocuments } from '../formats/json'
import type { Logger } from '../log'
import { readEntry } from '../receive/entry-reader'
import type { SpanSink, Store } from '../store/store'
import { StoreError } from '../store/store'
import { CommandError } from './command-error'
import { openForCommand } from './command-store'
import { showProgress } from './progress'

/**
 * `milo-collector import` puts spans from files into the store. It reads what `POST /api/traces` reads, in files of any length,
 * gzipped or not, and raw records as Scribe carries them.
 *
 *     file ─ unzipped ─ pieces: of raw records, of whole lines, or all of it ─ records ─ store
 */

interface Imported {
  spans: number
  /** Rejected spans by reason, with what was wrong with the first of them. */
  rejected: Map<string, { spans: number; example?: string }>
  leftOut: LeftOut[]
}

/** Files that hold a document in each line, and raw records, are read in pieces of about this length. */
const PIECE_BYTES = 4 * 1024 * 1024
const DELIMITER_BYTE = 0x8b
const GZIP = [0x1f, 0x8b]
const NEWLINE = 0x0a
/** A file that is one document has to fit into memory. */
const MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
const RETRY_MS = 250

/** Puts spans from files into the store, and logs how many. */
export async function importAll(config: Config, log: Logger, _options: object, files: string[]): Promise<void> {
  let store: Store | undefined
  const storeFor = async () => {
    if (store !== undefined) return store
    const { path } = config.embedded
    if (config.store === 'embedded' && !existsSync(path))
      log.warn({ path }, 'no store was found here, so a new one is created')
    return (store = await openForCommand(config, log))
  }
  const progress = showProgress('import')
  try {
    const { spans, rejected, leftOut } = await importFiles(files, storeFor, progress.update)
    progress.stop()
    if (leftOut.length > 0) log.warn({ leftOut }, 'some fields could not be read: their spans are stored without them')
    if (rejected.size > 0) log.warn({ rejected: Object.fromEntries(rejected) }, 'unusable spans were left out')
    log.info({ spans, files: files.length }, 'imported')
  } finally {
    progress.stop()
    await store?.close()
  }
}

/**
 * Puts the spans of files into a store.
 * @param storeFor opens the store. It is called when there is a span to store
 * @param progress called with the number of bytes that are done, and the number of bytes in all files
 * @throws CommandError for a file that can't be read or has no span. Spans that were read before it are stored, and may be
 *     imported again
 */
export async function importFiles(
  files: string[],
  storeFor: () => Promise<Pick<SpanSink, 'append'>>,
  progress: (done: number, total: number) => void,
): Promise<Imported> {
  const total = files.map(sizeOf).reduce((sum, size) => sum + size, 0)
  const reading = new Reading(Number.POSITIVE_INFINITY)
  const imported: Imported = { spans: 0, rejected: new Map(), leftOut: reading.leftOut }
  const reject = (reason: string, spans: number, example?: string) => {
    const known = imported.rejected.get(reason)
    if (known !== undefined) known.spans += spans
    else imported.rejected.set(reason, { spans, ...(example !== undefined && { example }) })
  }
  const put = async (records: Buffer) => {
    const { messages, spans, rejected } = readEntry(records)
    for (const [reason, count] of rejected) reject(reason, count)
    if (spans > 0) await append(await storeFor(), messages)
    imported.spans += spans
  }
  let done = 0
  for (const file of files) {
    const before = imported.spans
    try {
      for await (const piece of piecesOf(file, bytes => progress(done + bytes, total))) {
        if (piece.isRaw) await put(piece.body)
        else await put(recordsOf(piece, reading, (reason, example) => reject(reason, 1, `${file}: ${example}`)))
      }
    } catch (error) {
      if (error instanceof StoreError) throw error
      const stored = imported.spans - before
      const kept = stored === 0 ? 'nothing of it is stored' : `the ${stored} spans before that are stored`
      throw new CommandError(`${file}: ${(error as Error).message}; ${kept}`)
    }
    done += sizeOf(file)
    if (imported.spans === before) throw new CommandError(`${file}: ${nothing(imported, reading)}`)
  }
  return imported
}

function sizeOf(file: string): number {
  try {
    const stats = statSync(file)
    if (!stats.isDirectory()) return stats.size
  } catch (error) {
    throw new CommandError(`${file} can't be read (${(error as NodeJS.ErrnoException).code}): give existing files`)
  }
  throw new CommandError(`${file} is a directory: give the files in it`)
}

function nothing({ rejected }: Imported, { others }: Reading): string {
  const why = [...rejected].map(
    ([reason, { spans, example }]) => `${reason} ×${spans}${example ? ` (${example})` : ''}`,
  )
  const has = others.size === 0 ? '' : `; it has ${[...others].join(', ')}`
  return `no span of it could be used${why.length > 0 ? `: ${why.join(', ')}` : `${has}: there should be ${EXPECTED}`}`
}

interface Piece {
  body: Buffer
  isRaw: boolean
  /** The number of the first line, in a file of lines. */
  firstLine: number
}

/** @param read called with the number of bytes of the file that have been read */
async function* piecesOf(file: string, read: (bytes: number) => void): AsyncGenerator<Piece> {
  let rest: Buffer = Buffer.alloc(0)
  let line = 1
  let isRaw = false
  let inLines: boolean | undefined
  const piece = (end: number): Piece => {
    const body = rest.subarray(0, end)
    const { length } = rest
    rest = rest.subarray(end)
    const firstLine = line
    if (!isRaw && length > 0) for (let i = 0; (i = body.indexOf(NEWLINE, i) + 1) > 0; ) line++
    return { body, isRaw, firstLine }
  }
  let waiting: Buffer[] = []
  let waitingBytes = 0
  const { source, content } = await open(file)
  for await (const chunk of content as AsyncIterable<Buffer>) {
    read(source.bytesRead)
    waiting.push(chunk)
    waitingBytes += chunk.length
    if (rest.length + waitingBytes < PIECE_BYTES * (inLines === false ? 8 : 1)) continue
    rest = Buffer.concat([rest, ...waiting])
    waiting = []
    waitingBytes = 0
    isRaw ||= line === 1 && rest[0] === DELIMITER_BYTE
    inLines ??= !isRaw && beginsWithLines(rest)
    const end = isRaw ? endOfRecords(rest) : inLines ? rest.lastIndexOf(NEWLINE) + 1 : 0
    if (end > 0) yield piece(end)
    if (rest.length > MAX_DOCUMENT_BYTES) {
      throw new Error(`a document of over ${MAX_DOCUMENT_BYTES} bytes: give one document in each line`)
    }
  }
  rest = Buffer.concat([rest, ...waiting])
  isRaw ||= line === 1 && rest[0] === DELIMITER_BYTE
  if (rest.length > 0) yield piece(rest.length)
}

/** Returns whether the first line is a complete document. */
function beginsWithLines(start: Buffer): boolean {
  const end = start.indexOf(NEWLINE)
  if (end === -1) return false
  try {
    return parseDocuments(start.subarray(0, end), false).every(document => 'json' in document)
  } catch {
    return false
  }
}

/** Returns where the complete records end. If the bytes make no sense that is their end: ingest finds the reason. */
function endOfRecords(bytes: Buffer): number {
  let pos = 0
  while (pos + RECORD_HEADER <= bytes.length && bytes[pos] === DELIMITER_BYTE) {
    const length = bytes.readInt32BE(pos + 4)
    if (length < 0 || length > PIECE_BYTES) return bytes.length
    if (pos + RECORD_HEADER + length > bytes.length) return pos
    pos += RECORD_HEADER + length
  }
  return pos + RECORD_HEADER > bytes.length ? pos : bytes.length
}

async function open(file: string): Promise<{ source: ReadStream; content: Readable }> {
  const start = Buffer.concat((await createReadStream(file, { end: 1 }).toArray()) as Buffer[])
  const source = createReadStream(file, { highWaterMark: 1024 * 1024 })
  if (start[0] !== GZIP[0] || start[1] !== GZIP[1]) return { source, content: source }
  const content = createGunzip()
  source.on('error', error => content.destroy(error)).pipe(content)
  return { source, content }
}

function recordsOf({ body, firstLine }: Piece, reading: Reading, reject: (reason: string, example: string) => void) {
  const records: Buffer[] = []
  for (const convert of readAny(body, reading, false, firstLine)) {
    const converted = convert()
    if (converted instanceof Unusable) reject(converted.reason, converted.message)
    else records.push(encodeRecord(converted))
  }
  return Buffer.concat(records)
}

/** Appends to a store. Waits and tries again while the store is busy. */
async function append(store: Pick<SpanSink, 'append'>, messages: Parameters<SpanSink['append']>[0]): Promise<void> {
  for (;;) {
    try {
      return await store.append(messages)
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'MILO_STORE_BUSY') throw error
      await sleep(RETRY_MS)
    }
  }
}
