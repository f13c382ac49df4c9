import { types } from 'node:util'
import type { TimeInput } from '@opentelemetry/api'
import { clock, LIMITS, sink } from './core'

/** OpenTelemetry's values, as Milo keeps them: times are microseconds, attributes are text. */

/** An attribute is a handful of values. One that has more than these, all levels together, is left out. */
const MAX_PARTS = 1_000

/**
 * The text of an attribute's value, as the collector makes it of OTLP's: lists and objects are JSON, bytes are base64.
 * @returns undefined for what has none: null, functions, circular objects, getters that throw
 */
export function textOf(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string':
      return value
    case 'number':
    case 'boolean':
    case 'bigint':
      return String(value)
    case 'object':
      return value === null ? undefined : textOfObject(value)
    default:
      return undefined
  }
}

function textOfObject(value: object): string | undefined {
  try {
    if (value instanceof Uint8Array)
      return Buffer.from(value.buffer, value.byteOffset, Math.min(value.length, LIMITS.valueLength)).toString('base64')
    let parts = 0
    return JSON.stringify(value, (_key, part) => {
      if (++parts > MAX_PARTS) throw new RangeError('too much for an attribute')
      return typeof part === 'bigint' ? String(part) : part
    })
  } catch {
    sink.truncated()
    return undefined
  }
}

/**
 * @param time epoch milliseconds, a Date, seconds and nanoseconds since the epoch, or milliseconds since the process began, as
 *   `performance.now()` gives them
 * @param offsetUs added to the last kind
 * @returns microseconds since the epoch; undefined for what isn't a time
 */
export function microseconds(time: unknown, offsetUs: number): number | undefined {
  let us = Number.NaN
  if (typeof time === 'number') us = time <= clock.now() ? offsetUs + time * 1000 : time * 1000
  else if (Array.isArray(time)) us = time[0] * 1e6 + time[1] / 1000
  else if (types.isDate(time)) us = time.getTime() * 1000
  return us > 0 && us <= Number.MAX_SAFE_INTEGER ? us : undefined
}

/** Whether it is a time rather than attributes: `addEvent` takes either as its second argument. */
export function isTime(value: unknown): value is TimeInput {
  return (
    typeof value === 'number' ||
    types.isDate(value) ||
    (Array.isArray(value) && value.length === 2 && typeof value[0] === 'number' && typeof value[1] === 'number')
  )
}
