import { createReadStream, statSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { encodeRecord, RECORD_HEADER } from '../../../src/codec/span'
import { detectAndRead } from '../formats/detect'
import { Unusable } from '../formats/fields'
import { parseJson } from '../formats/json'
import { readEntry } from '../ingest'
import type { Store } from '../store/store'
import { StoreError } from '../store/store'

/**
 * Spans from files into the store: JSON as `POST /api/traces` takes it (Milo's, OTLP's, Zipkin's), one such document in each
 * line, or raw records as Scribe carries them.
 */
export interface Imported {
  spans: number
  /** By reason. */
  rejected: Map<string, number>
}

/** Raw records are read in pieces of about this length. */
const PIECE_BYTES = 4 * 1024 * 1024
const DELIMITER_BYTE = 0x8b
/** A file that is one document has to fit into memory. */
const MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
const RETRY_MS = 250

/**
 * @param progress told how many bytes of all files are done
 * @throws Error for a file that can't be read; what was read before it is stored, and may be imported again
 */
export async function importFiles(
  files: string[],
  store: Pick<Store, 'append'>,
  progress: (done: number, total: number) => void,
): Promise<Imported> {
  const imported: Imported = { spans: 0, rejected: new Map() }
  const reject = (reason: string, count: number) =>
    imported.rejected.set(reason, (imported.rejected.get(reason) ?? 0) + count)
  const total = files.reduce((sum, file) => sum + statSync(file).size, 0)
  let done = 0
  for (const file of files) {
    for await (const { records, rejected, bytes } of readFile(file)) {
      for (const [reason, count] of rejected) reject(reason, count)
      const taken = readEntry(records)
      for (const [reason, count] of taken.rejected) reject(reason, count)
      if (taken.spans > 0) await append(store, taken.messages)
      imported.spans += taken.spans
      done += bytes
      progress(done, total)
    }
  }
  return imported
}

interface Piece {
  records: Buffer
  rejected: Map<string, number>
  /** Of the file. */
  bytes: number
}

async function* readFile(file: string): AsyncGenerator<Piece> {
  const [first] = (await createReadStream(file, { end: 0 }).toArray()) as Buffer[]
  if (first === undefined) return
  if (first[0] === DELIMITER_BYTE) yield* readRaw(file)
  else yield* readText(file)
}

async function* readRaw(file: string): AsyncGenerator<Piece> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of createReadStream(file, { highWaterMark: PIECE_BYTES })) {
    const bytes = Buffer.concat([rest, chunk as Buffer])
    const end = endOfRecords(bytes)
    rest = bytes.subarray(end)
    yield { records: bytes.subarray(0, end), rejected: new Map(), bytes: (chunk as Buffer).length }
  }
  if (rest.length > 0) yield { records: rest, rejected: new Map(), bytes: 0 }
}

/** Up to where there are whole records; all of it where nothing makes sense: ingest says why. */
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

/** A document in each line, or one for the whole file. */
async function* readText(file: string): AsyncGenerator<Piece> {
  const lines = createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })
  let n = 0
  let first: { json: unknown; bytes: number } | undefined
  for await (const line of lines) {
    n++
    if (line.trim() === '') continue
    const bytes = Buffer.byteLength(line) + 1
    let json: unknown
    try {
      json = parseJson(Buffer.from(line))
    } catch (error) {
      if (n > 1 && first !== undefined) throw new Error(`${file}: line ${n}: ${(error as Error).message}`)
      // A document that is spread over lines.
      lines.close()
      yield await readDocument(file)
      return
    }
    first ??= { json, bytes }
    yield convert(json, bytes, `${file}: line ${n}`)
  }
}

async function readDocument(file: string): Promise<Piece> {
  const { size } = statSync(file)
  if (size > MAX_DOCUMENT_BYTES) {
    throw new Error(
      `${file}: a document of ${size} bytes; give ${MAX_DOCUMENT_BYTES} at most, or one document in each line`,
    )
  }
  const body = Buffer.concat((await createReadStream(file).toArray()) as Buffer[])
  let json: unknown
  try {
    json = parseJson(body)
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`)
  }
  return convert(json, size, file)
}

function convert(json: unknown, bytes: number, where: string): Piece {
  const records: Buffer[] = []
  const rejected = new Map<string, number>()
  try {
    for (const convertNext of detectAndRead(json)) {
      const converted = convertNext()
      if (converted instanceof Unusable) rejected.set(converted.reason, (rejected.get(converted.reason) ?? 0) + 1)
      else records.push(encodeRecord(converted))
    }
  } catch (error) {
    throw new Error(`${where}: ${(error as Error).message}`)
  }
  return { records: Buffer.concat(records), rejected, bytes }
}

/** A store that is busy asks for patience. */
async function append(store: Pick<Store, 'append'>, messages: Parameters<Store['append']>[0]): Promise<void> {
  for (;;) {
    try {
      return await store.append(messages)
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'MILO_STORE_BUSY') throw error
      await sleep(RETRY_MS)
    }
  }
}
