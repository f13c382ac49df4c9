import { scanRecords } from '../../../collector/src/record/records'
import { encodeRecord, type SpanRecord } from '../../../src/codec/span'
import { generateTrace } from '../../helpers/generated-trace'

export { toZipkinJson } from '../../../collector/src/formats/zipkin/write'
export { openStore } from '../../../collector/src/store/open'

/** As many traces as one likes, made of a few whose ids and times are written over: to make each anew would cost more than what is measured. */

const TEMPLATES = 40
/** When they start: like no id. */
const BASE_US = 1_000_000_000_000_000
/** Traces of one message of each service. */
const TOGETHER = 20
/** Between the starts of two traces. */
const STEP_US = 10_000n

interface Template {
  records: SpanRecord[]
  services: Map<string, Part>
}

/** What one service reports of a trace. */
interface Part {
  bytes: Buffer
  count: number
  traceIds: number[]
  /** Where times stand, and how far after the trace's start they are. */
  times: { at: number; afterUs: bigint }[]
}

const templates = Array.from({ length: TEMPLATES }, (_, i): Template => {
  const records = generateTrace({
    traceId: 1n,
    spans: 12 + ((i * 7) % 29),
    startUs: BASE_US,
    lengthUs: 40_000 + 7_000 * i,
  })
  const services = new Map<string, Part>()
  for (const [service, own] of groups(records)) {
    const bytes = Buffer.concat(own.map(encodeRecord))
    const part: Part = { bytes, count: own.length, traceIds: [], times: [] }
    let n = 0
    scanRecords(bytes, (start, _end, { traceIdAt }) => {
      part.traceIds.push(traceIdAt)
      let from = start
      for (const { timestamp } of own[n++]!.events ?? []) {
        const needle = Buffer.alloc(8)
        needle.writeBigInt64BE(timestamp!)
        from = bytes.indexOf(needle, from)
        part.times.push({ at: from, afterUs: timestamp! - BigInt(BASE_US) })
        from += 8
      }
    })
    services.set(service, part)
  }
  return { records, services }
})

function groups(records: SpanRecord[]): Map<string, SpanRecord[]> {
  const of = new Map<string, SpanRecord[]>()
  for (const record of records) of.set(record.service!, [...(of.get(record.service!) ?? []), record])
  return of
}

export interface Message {
  body: Buffer
  spans: number
}

function traceIdOf(trace: number): bigint {
  return BigInt.asIntN(64, BigInt(trace + 1) * 0x9e3779b97f4a7c15n)
}

/** Yields messages with at least so many records, in order of time, and returns how many traces they have. */
export function* messages(records: number, fromUs: bigint): Generator<Message[], number> {
  let trace = 0
  for (let made = 0; made < records; ) {
    const services = new Map<string, Buffer[]>()
    const counts = new Map<string, number>()
    for (let i = 0; i < TOGETHER; i++, trace++) {
      const startUs = fromUs + BigInt(trace) * STEP_US
      for (const [service, { bytes, count, traceIds, times }] of templates[trace % TEMPLATES]!.services) {
        const own = Buffer.from(bytes)
        for (const at of traceIds) own.writeBigInt64BE(traceIdOf(trace), at)
        for (const { at, afterUs } of times) own.writeBigInt64BE(startUs + afterUs, at)
        services.set(service, [...(services.get(service) ?? []), own])
        counts.set(service, (counts.get(service) ?? 0) + count)
        made += count
      }
    }
    yield [...services].map(([service, list]) => ({ body: Buffer.concat(list), spans: counts.get(service)! }))
  }
  return trace
}

/** The records of one of these traces. */
export function recordsOf(trace: number, fromUs: bigint): SpanRecord[] {
  const startUs = fromUs + BigInt(trace) * STEP_US
  const traceId = traceIdOf(trace)
  return templates[trace % TEMPLATES]!.records.map(record => ({
    ...record,
    traceId,
    events: record.events!.map(event => ({ ...event, timestamp: event.timestamp! - BigInt(BASE_US) + startUs })),
  }))
}
