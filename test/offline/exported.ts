import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { ExportOptions } from '../../collector/src/offline/hour-files'
import { HOUR_US, type Hours } from '../../collector/src/offline/hours'
import { EmbeddedFile } from '../../collector/src/store/embedded/file'
import { encodeRecord, readRecord, type SpanRecord } from '../../src/codec/span'

/** What tests of exports have in common: an embedded store with past hours, and a reader of files that shares no code with the writer. */

/** 2026-03-01T10:00Z */
export const TEN_US = 1_772_359_200_000_000
export const AN_HOUR: Hours = { fromUs: TEN_US, toUs: TEN_US + HOUR_US }

export interface Accepted {
  /** Microseconds behind TEN_US. */
  at: number
  records: SpanRecord[]
}

/** Adds messages to an embedded store that nobody has open, as if they had been accepted then. */
export function accept(path: string, messages: Accepted[]): void {
  const file = new EmbeddedFile(path, () => {})
  file.durable(() => {
    for (const { at, records } of messages) {
      const us = BigInt(TEN_US + at)
      file.writeMessage(us, Buffer.concat(records.map(encodeRecord)), us)
    }
  })
  file.close()
}

export function options(more: Partial<ExportOptions> = {}): ExportOptions & { warned: string[] } {
  const warned: string[] = []
  const warn = (_fields: object, message: string) => void warned.push(message)
  return {
    compress: 'none',
    nowUs: Date.now() * 1000,
    progress: () => {},
    log: { info: () => {}, warn },
    retryMs: 1,
    ...more,
    warned,
  }
}

/** The names of a folder's files, and their bytes. */
export function filesIn(folder: string): Map<string, Buffer> {
  return new Map(
    readdirSync(folder)
      .sort()
      .map(name => [name, readFileSync(join(folder, name))]),
  )
}

export function namesOfParts(files: Iterable<string>): string[] {
  return [...files].filter(name => !name.startsWith('_'))
}

/** The records of lines, in hex, sorted. */
export function recordsOf(text: string): string[] {
  const records: string[] = []
  for (const line of text.split('\n').slice(0, -1)) {
    const [, id, base64] = /^([0-9a-f]{16})\t([A-Za-z0-9+/]+=*)$/.exec(line) ?? []
    if (id === undefined) throw new Error(`no line of records: ${line.slice(0, 100)}`)
    const bytes = Buffer.from(base64!, 'base64')
    for (let at = 0; at < bytes.length; ) {
      const { record, end } = readRecord(bytes, at)
      if (BigInt.asUintN(64, record.traceId!) !== BigInt(`0x${id}`))
        throw new Error(`a record of another trace in ${id}`)
      records.push(bytes.toString('hex', at, end))
      at = end
    }
  }
  return records.sort()
}

export function recordsIn(files: Map<string, Buffer>): string[] {
  return namesOfParts(files.keys())
    .flatMap(name => recordsOf((name.endsWith('.gz') ? gunzipSync(files.get(name)!) : files.get(name)!).toString()))
    .sort()
}

export function encoded(records: SpanRecord[]): string[] {
  return records.map(record => encodeRecord(record).toString('hex')).sort()
}
