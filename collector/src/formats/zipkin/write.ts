import { isIP, isIPv4 } from 'node:net'
import { ownEvents, recordSide } from 'milo/codec/events'
import type { SpanRecord } from 'milo/codec/span'
import { IdSet } from '../../record/ids'
import { type Fields, hexOf, plainObject } from '../fields'
import { PROBABILITY_KEY } from '../probability'
import { OUR_NAMES, OURS } from './names'

/** Returns a list of spans in Zipkin's JSON. */
export function toZipkinJson(records: SpanRecord[]): Fields[] {
  const usable = records.filter(({ traceId, id }) => traceId !== undefined && id !== undefined)
  const clients = new IdSet(usable.filter(record => recordSide(record.events ?? []) === 'client').map(({ id }) => id!))
  return usable.map(record => writeSpan(record, clients.has(record.id!)))
}

/** @param called true if the client's half is there too; a server's half then shares its id */
function writeSpan(record: SpanRecord, called: boolean): Fields {
  const { events = [] } = record
  const annotations = record.annotations ?? new Map<string, string>()
  const get = (key: string) => annotations.get(key) || undefined
  const side = recordSide(events)
  const isOwn = ownEvents(events)
  const times = events
    .flatMap(e => (isOwn(e) && e.timestamp !== undefined ? e.timestamp : []))
    .sort((a, b) => (a < b ? -1 : 1))
  const [start, end] = [times[0], times.at(-1)]
  const tags = [...annotations].filter(([key]) => !OUR_NAMES.has(key))
  for (const [key, value] of record.counters ?? []) tags.push([key, String(value)])
  if (record.probability) tags.push([PROBABILITY_KEY, String(record.probability)])
  const [localHost, remoteHost] =
    side === 'server' ? [record.serverHost, record.clientHost] : [record.clientHost, record.serverHost]
  return prune({
    traceId: (record.traceIdHigh ? hexOf(record.traceIdHigh, 16) : '') + hexOf(record.traceId!, 16),
    id: hexOf(record.id!, 16),
    parentId: record.parentId ? hexOf(record.parentId, 16) : undefined,
    kind: get(OURS.kind) ?? (side === 'local' ? undefined : side.toUpperCase()),
    name: record.name || undefined,
    timestamp: start === undefined ? undefined : Number(start),
    duration: start === undefined ? numberOf(get(OURS.duration)) : Number(end! - start) || undefined,
    localEndpoint: endpoint(record.service, [localHost, get(OURS.localIp)], get(OURS.localPort)),
    remoteEndpoint: endpoint(get(OURS.remoteService), [remoteHost, get(OURS.remoteIp)], get(OURS.remotePort)),
    annotations: events
      .filter(e => !isOwn(e))
      .map(e =>
        prune({
          timestamp: e.timestamp === undefined ? undefined : Number(e.timestamp),
          value: e.value ?? `event ${e.eventType}`,
        }),
      ),
    tags: plainObject([...tags, ...parseTags(get(OURS.tags))]),
    debug: record.probability === 0 || undefined,
    shared: get(OURS.shared) !== undefined || (side === 'server' && called) || undefined,
  })
}

function endpoint(service: string | undefined, hosts: (string | undefined)[], port: string | undefined) {
  const ips = hosts.filter(host => host !== undefined && isIP(host) !== 0)
  const fields = prune({
    serviceName: service || undefined,
    ipv4: ips.find(ip => isIPv4(ip!)),
    ipv6: ips.find(ip => !isIPv4(ip!)),
    port: numberOf(port),
  })
  return Object.keys(fields).length === 0 ? undefined : fields
}

function numberOf(text: string | undefined): number | undefined {
  return Number(text) || undefined
}

function parseTags(json: string | undefined): [string, string][] {
  try {
    return Object.entries(JSON.parse(json ?? '{}')).map(([key, value]) => [key, String(value)])
  } catch {
    return []
  }
}

function prune(fields: Fields): Fields {
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([, v]) => v !== undefined && !(typeof v === 'object' && v !== null && Object.keys(v).length === 0),
    ),
  )
}
