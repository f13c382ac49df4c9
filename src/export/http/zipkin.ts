import { isIPv4, isIPv6 } from 'node:net'
import type { Kind, LiveSpan } from '../../trace/span'
import type { Protocol } from '../protocol'
import { poster } from './call'
import type { HttpTarget } from './target'

/** Zipkin's second format in JSON, a list for each batch. docs/exporters.md says what becomes of a span. */
export function zipkin(target: HttpTarget, service: string, host: string): Protocol {
  const localEndpoint = { serviceName: service, ...ipOf(host) }
  return {
    peer: 'Zipkin',
    writeSpan(w, span) {
      const json = JSON.stringify(toZipkin(span, localEndpoint))
      const began = w.pos
      const most = 1 + 3 * json.length
      w.reserve(most)
      // The first comma becomes the list's bracket.
      w.buf[w.pos++] = COMMA
      w.pos += w.buf.write(json, w.pos, 'utf8')
      return w.pos - began
    },
    seal(w) {
      w.buf[0] = BRACKET
      w.byte(CLOSING_BRACKET)
      return w.empty()
    },
    call: poster(target, 'application/json', () => ({ code: 'ok' })),
  }
}

const [COMMA, BRACKET, CLOSING_BRACKET] = [...Buffer.from(',[]')] as [number, number, number]

interface Endpoint {
  serviceName?: string
  ipv4?: string
  ipv6?: string
  port?: number
}

/** Whom a client calls, by the first annotation that there is. The collector names callees in the same way. */
const CALLEES = ['zipkin.remote.service', 'peer.service', 'db.system.name', 'db.system', 'messaging.system']
/** Annotations that say how OpenTelemetry's other fields were; Zipkin has nothing like them. */
const NO_TAGS = new Set(['otel.kind', 'otel.types', 'otel.trace_state', 'zipkin.kind', 'zipkin.remote.service'])

/** @throws when the name isn't a string */
export function toZipkin(span: LiveSpan, localEndpoint: Endpoint): object {
  const { trace, kind, annotations = [], counters = [], events = [], parentHi, parentLo } = span
  if (typeof span.name !== 'string') throw new TypeError('its name must be a string')
  const tags: Record<string, string> = Object.create(null)
  for (let i = 0; i < annotations.length; i += 2) tags[annotations[i]!] = annotations[i + 1]!
  const get = (...keys: string[]) => keys.map(key => tags[key]).find(value => value)
  const kindName = kindOf(kind, get('zipkin.kind', 'otel.kind'))
  const remoteEndpoint =
    kindName === 'SERVER'
      ? { ...ipOf(get('client.address', 'network.peer.address')), ...portOf(get('client.port', 'network.peer.port')) }
      : kindName === undefined
        ? {}
        : {
            ...named(get(...CALLEES)),
            ...ipOf(get('network.peer.address', 'server.address')),
            ...portOf(get('server.port', 'network.peer.port')),
          }
  // Zipkin shows a span as failed by this tag alone.
  const failure = get('error', 'error.message', 'error.type')
  if (failure !== undefined) tags.error = failure
  for (const key of NO_TAGS) delete tags[key]
  for (let i = 0; i < counters.length; i += 2) tags[counters[i] as string] = String(counters[i + 1])
  if (trace.probability > 0) tags['milo.probability'] = String(trace.probability)
  const startUs = Math.floor(span.startUs)
  return {
    traceId: span.traceId,
    id: span.spanId,
    parentId: parentHi === 0 && parentLo === 0 ? undefined : span.parentId,
    kind: kindName,
    name: span.name || undefined,
    timestamp: startUs,
    // Zipkin takes 0 for no duration.
    duration: Math.max(Math.floor(span.endUs) - startUs, 1),
    localEndpoint,
    remoteEndpoint: Object.keys(remoteEndpoint).length === 0 ? undefined : remoteEndpoint,
    annotations:
      events.length === 0
        ? undefined
        : Array.from({ length: events.length / 2 }, (_, i) => ({
            timestamp: Math.floor(events[2 * i] as number),
            value: events[2 * i + 1],
          })),
    tags,
    debug: trace.probability === 0 || undefined,
  }
}

/** By Milo's kinds: local, client, server. */
const KINDS = { 0: undefined, 1: 'CLIENT', 2: 'SERVER' } as const satisfies Record<Kind, string | undefined>

function kindOf(kind: Kind, named: string | undefined): string | undefined {
  const name = named?.toUpperCase()
  if (name === 'PRODUCER' || name === 'CONSUMER') return name
  return KINDS[kind]
}

function named(serviceName: string | undefined): Endpoint {
  return serviceName === undefined ? {} : { serviceName }
}

function ipOf(host: string | undefined): Endpoint {
  if (host === undefined) return {}
  return isIPv4(host) ? { ipv4: host } : isIPv6(host) ? { ipv6: host } : {}
}

function portOf(text: string | undefined): Endpoint {
  const port = Number(text)
  return port > 0 && port < 65_536 ? { port } : {}
}
