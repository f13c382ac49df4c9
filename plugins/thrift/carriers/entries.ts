import { b3OfEntries, childContext, contextOfEntries, type Entries, type RemoteContext } from 'milo/plugin'
import { type Found, found, RANK_COMPAT, RANK_OPENTRACING } from './found'

/** Carriers that are maps of strings: other tracers' headers, in fields of their own. */

/** OpenTelemetry's Java agent and SkyWalking: W3C trace context in a map, or what else the agent is told to send. */
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
  const map = new Texts()
  for (let i = 0; i < entries; i++) {
    const key = next()
    const value = key === undefined ? undefined : next()
    if (key === undefined || value === undefined) return undefined
    if (key !== null && value !== null) map.add(key.toLowerCase(), value)
  }
  // The Java agent sends what its OTEL_PROPAGATORS say.
  const remote = contextOfEntries(map) ?? b3OfEntries(map) ?? parseUber(map.get('uber-trace-id'))
  return id === COMPAT_ID ? found(remote, RANK_COMPAT, 0, map.get('baggage')) : found(remote, RANK_OPENTRACING)
}

/** A map of one entry or two, as nearly all are: a Map costs twice as much. */
class Texts implements Entries {
  private readonly texts: string[] = []

  add(key: string, value: string): void {
    this.texts.push(key, value)
  }

  /** Of a key that came twice the last value, as in a map. */
  get(key: string): string | undefined {
    const { texts } = this
    for (let i = texts.length - 2; i >= 0; i -= 2) if (texts[i] === key) return texts[i + 1]
    return undefined
  }

  keys(): string[] {
    return [...new Set(this.texts.filter((_, i) => i % 2 === 0))]
  }
}

const UBER = /^([0-9a-f]{1,32}):([0-9a-f]{1,16}):[0-9a-f]{1,16}:([0-9a-f]{1,2})$/

/** Reads Jaeger's uber-trace-id, also where its colons were escaped. */
function parseUber(header: string | undefined): RemoteContext | undefined {
  if (header === undefined) return undefined
  const match = UBER.exec(header.replace(/%3A/gi, ':'))
  if (match === null) return undefined
  const flags = Number.parseInt(match[3]!, 16)
  return childContext(match[1]!, match[2]!, (flags & 1) === 1, (flags & 2) === 2)
}
