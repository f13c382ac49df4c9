import { isCall, recordSide } from 'milo/codec/events'
import type { SpanRecord } from 'milo/codec/span'
import type { RecordReader } from './reader'

/** The annotations that mark a record as failed. */
export const ERROR_KEYS = ['error', 'error.type']

/** The annotations that tell a service's version. Milo's and Zipkin's senders annotate spans; OpenTelemetry's have it in their resource. */
export const VERSION_KEYS = ['service.version', 'otel.resource.service.version']

export function isError({ annotations }: SpanRecord): boolean {
  return annotations !== undefined && ERROR_KEYS.some(key => annotations.has(key))
}

const ERROR_KEY_BYTES = ERROR_KEYS.map(key => Buffer.from(key))

/** Like isError, for a record that a RecordReader has just read in `body`. */
export function isErrorAt(body: Buffer, { annotations }: RecordReader): boolean {
  for (let i = 0; i < annotations.length; i += 4) {
    const [start, end] = [annotations[i]!, annotations[i + 1]!]
    if (body[start] !== 0x65) continue
    for (const key of ERROR_KEY_BYTES)
      if (key.length === end - start && body.compare(key, 0, key.length, start, end) === 0) return true
  }
  return false
}

/** Returns a span's start as in a trace's tree: the start of its client half, or else of its earliest record. */
export function spanStartUs(halves: SpanRecord[]): number | undefined {
  let ofClient: number | undefined
  let ofAny: number | undefined
  for (const half of halves) {
    const startUs = recordStartUs(half)
    if (startUs === undefined) continue
    const start = Number(startUs)
    if (ofAny === undefined || start < ofAny) ofAny = start
    if (recordSide(half.events ?? []) === 'client' && (ofClient === undefined || start < ofClient)) ofClient = start
  }
  return ofClient ?? ofAny
}

/** @see recordWindow; the same as SpanScan's startAt */
export function recordStartUs(record: SpanRecord): bigint | undefined {
  return recordWindow(record)?.firstUs
}

/** @see recordWindow */
export function recordDurationUs(record: SpanRecord): number | undefined {
  const window = recordWindow(record)
  return window && Number(window.lastUs - window.firstUs)
}

/**
 * Returns when the record's span began and ended, in microseconds: its earliest and latest client or server event, whatever
 * their labels (the original's Python client swapped send and receive), or else its earliest and latest event of any kind.
 * @returns undefined when no event has a time
 */
function recordWindow({ events }: SpanRecord): { firstUs: bigint; lastUs: bigint } | undefined {
  let window: { firstUs: bigint; lastUs: bigint } | undefined
  let ofCall = false
  for (const event of events ?? []) {
    const { timestamp } = event
    if (timestamp === undefined) continue
    const call = isCall(event.eventType)
    if (window === undefined || (call && !ofCall)) {
      window = { firstUs: timestamp, lastUs: timestamp }
      ofCall = call
    } else if (call === ofCall) {
      if (timestamp < window.firstUs) window.firstUs = timestamp
      else if (timestamp > window.lastUs) window.lastUs = timestamp
    }
  }
  return window
}
