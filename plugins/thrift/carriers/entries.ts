import { childContext, contextOfEntries, parseB3, type RemoteContext } from 'milo/plugin'
import { type Found, found, RANK_COMPAT, RANK_OPENTRACING } from './found'

/** Carriers that are maps of strings: other tracers' headers, in fields of their own. */

/** W3C trace context in a map: OpenTelemetry's Java agent and SkyWalking. */
export const COMPAT_ID = 8888
/** The same place in opentracing-contrib's java-thrift: traceparent, b3 or uber-trace-id. */
export const OPENTRACING_ID = 3333
/** A map with more entries isn't read: it carries no trace, or is hostile. */
export const MAX_ENTRIES = 64
/** W3C's limit for the longest of its headers, baggage. */
export const MAX_TEXT_BYTES = 8192

/**
 * Looks through a map's entries.
 * @param next the next key or value: null for one that is left out, undefined where the input ends or makes no sense
 */
export function readEntries(id: number, entries: number, next: () => string | null | undefined): Found | undefined {
  if (entries < 1 || entries > MAX_ENTRIES) return undefined
  const map = new Map<string, string>()
  for (let i = 0; i < entries; i++) {
    const key = next()
    const value = key === undefined ? undefined : next()
    if (key === undefined || value === undefined) return undefined
    if (key !== null && value !== null) map.set(key.toLowerCase(), value)
  }
  const w3c = contextOfEntries(map)
  if (id === COMPAT_ID) return found(w3c, RANK_COMPAT, 0, map.get('baggage'))
  const b3 = map.get('b3')
  const uber = map.get('uber-trace-id')
  return found(
    w3c ?? (b3 === undefined ? undefined : parseB3(b3)) ?? (uber === undefined ? undefined : parseUber(uber)),
    RANK_OPENTRACING,
  )
}

const UBER = /^([0-9a-f]{1,32}):([0-9a-f]{1,16}):[0-9a-f]{1,16}:([0-9a-f]{1,2})$/

/** Reads Jaeger's uber-trace-id, also where its colons were escaped. */
function parseUber(header: string): RemoteContext | undefined {
  const match = UBER.exec(header.replace(/%3A/gi, ':'))
  if (match === null) return undefined
  const flags = Number.parseInt(match[3]!, 16)
  return childContext(match[1]!, match[2]!, (flags & 1) === 1, (flags & 2) === 2)
}
