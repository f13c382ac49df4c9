import { hash } from 'node:crypto'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HourPage, HourReader, HourSource } from '../store/store'
import { StoreError } from '../store/store'
import { COMPRESSIONS, type Compression, compressor, EXTENSIONS } from './compression'
import { type Destination, ExportError } from './destination'
import { HOUR_US, type Hours } from './hours'

/**
 * Files of lines (record/trace-lines.ts), by the hour of acceptance:
 *
 *     2026-11-30T11Z-shop_2100-5f3a91c2-0000.tsv.gz    what collector shop:2100 accepted from 11 to 12, UTC: part 0
 *     2026-11-30T11Z-shop_2100-5f3a91c2-0001.tsv.gz    part 1
 *     _2026-11-30T11Z-shop_2100-5f3a91c2.json          written last: its parts
 *
 * The bytes of a part depend on nothing but what was accepted in its hour, so parts that are there are left alone, whoever has
 * written them. Names that begin with _ are hidden to Hadoop and Spark, which may read the folder at any time.
 */

/** The greatest length of a part before it is compressed: an HDFS block, and the work of one mapper, since gzip can't be split. */
const PART_BYTES = 128_000_000
/** How many damaged rows are named; all are counted. */
const MAX_NAMED = 100
/** How often an hour is begun again after an error that may pass, if it hasn't got on in between. */
const MAX_TRIES = 4
const RETRY_MS = 2_000
/** An hour that ended before this time ago should be settled. */
const LATE_US = 600_000_000

export interface ExportOptions {
  compress: Compression
  /** Microseconds since the epoch. */
  nowUs: number
  /** Called with how many seconds of all hours are done. */
  progress(done: number, total: number): void
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void }
  partBytes?: number
  retryMs?: number
}

export interface Exported {
  /** Hours of collectors: those that were written, and those that were there. */
  written: number
  alreadyThere: number
  leftOut: number
  parts: number
  bytes: number
  records: number
  damaged: number
}

/** One collector's hour. */
interface HourFile {
  collector: string
  hourUs: number
  /** What its names begin with. */
  name: string
}

/** What the JSON file says. */
interface Summary {
  collector: string
  hour: string
  parts: { name: string; bytes: number }[]
  records: number
  damaged: number
  /** Some of what was damaged. */
  named: string[]
}

/**
 * Writes the files of all hours that are complete, and leaves alone those that are there.
 * @throws ExportError when it can't go on; what is written stays
 */
export async function exportHours(
  reader: HourReader,
  to: Destination,
  hours: Hours,
  options: ExportOptions,
): Promise<Exported> {
  const { progress } = options
  const { files, leftOut } = filesOf(await reader.hourSources(), hours, options)
  const exported: Exported = { written: 0, alreadyThere: 0, leftOut, parts: 0, bytes: 0, records: 0, damaged: 0 }
  if (files.length === 0) return exported
  await to.prepare()
  const seconds = HOUR_US / 1e6
  for (const [i, file] of files.entries()) {
    const reached = (us: number) => progress(i * seconds + (us - file.hourUs) / 1e6, files.length * seconds)
    reached(file.hourUs)
    if (await isWhole(to, file)) {
      exported.alreadyThere++
      continue
    }
    const { parts, records, damaged } = await withRetries(reader, to, file, reached, options)
    exported.written++
    exported.parts += parts.length
    for (const { bytes } of parts) exported.bytes += bytes
    exported.records += records
    exported.damaged += damaged
  }
  return exported
}

/** Returns the files to be written, in the order of their names, and says what is left out. */
function filesOf(sources: HourSource[], hours: Hours, { nowUs, log }: ExportOptions) {
  const files: HourFile[] = []
  let leftOut = 0
  for (const { collector, fromUs, toUs } of sources) {
    const name = collectorName(collector)
    let [gone, open] = [0, 0]
    let firstOpenUs = 0
    for (let hourUs = hours.fromUs; hourUs < hours.toUs; hourUs += HOUR_US) {
      if (hourUs < fromUs) gone++
      else if (hourUs + HOUR_US <= toUs) files.push({ collector, hourUs, name: `${hourName(hourUs)}-${name}` })
      else if (open++ === 0) firstOpenUs = hourUs
    }
    leftOut += gone + open
    const about = (hours: number) => ({ collector, hours })
    if (toUs === 0) {
      log.warn(about(gone + open), 'hours are left out: no span is stored')
      continue
    }
    if (gone > 0)
      log.warn(about(gone), 'hours are left out: they are before the first span, or spans of theirs have expired')
    if (open === 0) continue
    const from = hourName(firstOpenUs)
    if (firstOpenUs + HOUR_US + LATE_US > nowUs)
      log.warn(about(open), `hours from ${from} on are left out: they aren't over`)
    else {
      const remedy = `start that collector, or settle its journal by milo-collector replay --collector '${collector}'`
      log.warn(about(open), `hours from ${from} on are left out: spans of theirs aren't settled yet: ${remedy}`)
    }
  }
  return { files: files.sort((a, b) => (a.name < b.name ? -1 : 1)), leftOut }
}

/** A collector's name as names of files have it: they have neither colons, in HDFS, nor slashes. */
function collectorName(collector: string): string {
  const readable = collector.replace(/[^\w.-]/g, '_').slice(0, 60)
  return `${readable}-${hash('sha256', collector).slice(0, 8)}`
}

/** An hour as names of files have it, which sort by it: 2026-11-30T11Z. */
function hourName(us: number): string {
  return `${new Date(us / 1000).toISOString().slice(0, 13)}Z`
}

/** Returns how long an hour's parts were when all of them were whole; undefined if they never were, or it can't be read. */
async function writtenLengths(to: Destination, { name }: HourFile): Promise<Map<string, number> | undefined> {
  const json = await to.read(`_${name}.json`)
  if (json === undefined) return undefined
  try {
    const { parts }: Summary = JSON.parse(json.toString())
    return new Map(parts.map(({ name, bytes }) => [String(name), bytes]))
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined
    throw error
  }
}

/** @returns whether an hour's parts are all there, as long as they were */
async function isWhole(to: Destination, file: HourFile): Promise<boolean> {
  const lengths = await writtenLengths(to, file)
  if (lengths === undefined) return false
  for (const [part, bytes] of lengths) {
    if (!part.startsWith(file.name) || (await to.size(part)) !== bytes) return false
  }
  return true
}

async function withRetries(
  reader: HourReader,
  to: Destination,
  file: HourFile,
  reached: (us: number) => void,
  options: ExportOptions,
): Promise<Summary> {
  const { log, retryMs = RETRY_MS } = options
  let tries = 0
  let lastUs = 0
  const farther = (us: number) => {
    reached(us)
    if (us <= lastUs) return
    lastUs = us
    tries = 0
  }
  for (;;) {
    try {
      return await exportHour(reader, to, file, farther, options)
    } catch (error) {
      const passing = error instanceof ExportError ? error.passing : isUnavailable(error)
      if (!passing || ++tries >= MAX_TRIES) throw error
      log.warn({ hour: file.name }, `${(error as Error).message}: the hour is begun again`)
      await sleep(retryMs * 2 ** (tries - 1))
    }
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof StoreError && error.code === 'MILO_STORE_UNAVAILABLE'
}

async function exportHour(
  reader: HourReader,
  to: Destination,
  file: HourFile,
  reached: (us: number) => void,
  options: ExportOptions,
): Promise<Summary> {
  const { compress, partBytes = PART_BYTES, log } = options
  const { collector, hourUs, name } = file
  const partName = (part: number, compression: Compression) =>
    `${name}-${String(part).padStart(4, '0')}.tsv${EXTENSIONS[compression]}`
  for (const other of COMPRESSIONS) {
    if (other === compress || (await to.size(partName(0, other))) === undefined) continue
    const remedy = `finish it with that, or remove ${name}*`
    throw new ExportError(`${partName(0, other)}: this hour was begun with --compress ${other}: ${remedy}`)
  }
  const written = await writtenLengths(to, file)
  const cutter = new LineCutter(await reader.readHour(collector, hourUs), reached, what => log.warn({}, what))
  const parts: Summary['parts'] = []
  try {
    while (await cutter.more()) {
      const part = partName(parts.length, compress)
      const there = await to.size(part)
      // A part gets its name when it is whole. One that has another length than it had was damaged since.
      const stays = there !== undefined && there === (written?.get(part) ?? there)
      const lines = cutter.part(partBytes)
      if (stays) for await (const _ of lines);
      parts.push({ name: part, bytes: stays ? there : await write(to, part, lines, compress) })
    }
  } finally {
    await cutter.close()
  }
  const hour = new Date(hourUs / 1000).toISOString()
  const { records, damaged, named } = cutter
  const summary: Summary = { collector, hour, parts, records, damaged, named }
  await write(to, `_${name}.json`, [Buffer.from(`${JSON.stringify(summary)}\n`)], 'none')
  return summary
}

async function write(
  to: Destination,
  name: string,
  blocks: Iterable<Buffer> | AsyncIterable<Buffer>,
  compress: Compression,
): Promise<number> {
  const file = await to.create(name)
  const through = compressor(compress)
  try {
    await (through === undefined ? pipeline(blocks, file.out) : pipeline(blocks, through, file.out))
    return await file.keep()
  } catch (error) {
    await file.discard()
    throw to.explain(error)
  }
}

const NEWLINE = 0x0a
const NOTHING = Buffer.alloc(0)

/** Divides the lines of an hour into parts, whatever pages they come in. */
class LineCutter {
  records = 0
  damaged = 0
  readonly named: string[] = []
  private readonly pages: AsyncIterator<HourPage>
  private readonly reached: (us: number) => void
  private readonly warn: (what: string) => void
  private rest: Buffer = NOTHING

  constructor(pages: AsyncIterable<HourPage>, reached: (us: number) => void, warn: (what: string) => void) {
    this.pages = pages[Symbol.asyncIterator]()
    this.reached = reached
    this.warn = warn
  }

  /** Resolves to whether there are lines that haven't been taken. */
  async more(): Promise<boolean> {
    while (this.rest.length === 0) {
      const { done, value } = await this.pages.next()
      if (done) return false
      this.rest = value.lines
      this.records += value.records
      for (const what of value.damaged) {
        if (this.damaged++ >= MAX_NAMED) continue
        this.named.push(what)
        this.warn(`left out: ${what}`)
      }
      this.reached(value.reachedUs)
    }
    return true
  }

  /** Takes as many lines as have room, at least one. */
  async *part(maxBytes: number): AsyncGenerator<Buffer> {
    let room = maxBytes
    while (room > 0 && (await this.more())) {
      const { rest } = this
      let end = rest.length
      if (end > room) {
        end = rest.lastIndexOf(NEWLINE, room - 1) + 1
        if (end === 0 && room === maxBytes) end = rest.indexOf(NEWLINE) + 1
      }
      this.rest = rest.subarray(end)
      if (end > 0) yield rest.subarray(0, end)
      if (this.rest.length > 0) return
      room -= end
    }
  }

  async close(): Promise<void> {
    await this.pages.return?.()
  }
}
