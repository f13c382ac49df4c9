import { WINDOWS } from 'milo/codec/events'
import type { SpanEvent } from 'milo/codec/span'

/**
 * Names for the conversion of Zipkin's spans, version 2 (JSON and protobuf), into records and back. A tag becomes an annotation
 * of the same name. Data that has no field in a record goes to annotations whose names begin with `zipkin.`. docs/wire-format.md
 * has the whole table.
 */

export const KINDS = ['', 'CLIENT', 'SERVER', 'PRODUCER', 'CONSUMER']
export const OURS = {
  /** PRODUCER or CONSUMER. The other kinds follow from the events. */
  kind: 'zipkin.kind',
  shared: 'zipkin.shared',
  /** In microseconds, for a span without a timestamp. */
  duration: 'zipkin.duration',
  localIp: 'zipkin.local.ip',
  localPort: 'zipkin.local.port',
  remoteService: 'zipkin.remote.service',
  remoteIp: 'zipkin.remote.ip',
  remotePort: 'zipkin.remote.port',
  /** Tags that have one of these names, as JSON. */
  tags: 'zipkin.tags',
} as const
export const OUR_NAMES = new Set<string>(Object.values(OURS))

export function windowOf(kind: string): readonly [SpanEvent, SpanEvent] {
  return WINDOWS[kind === 'CLIENT' ? 'client' : kind === 'SERVER' ? 'server' : 'local']
}
