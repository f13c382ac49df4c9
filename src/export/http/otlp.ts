import { basename } from 'node:path'
import { version } from '../../../package.json'
import { Writer } from '../../codec/binary'
import type { Kind, LiveSpan } from '../../trace/span'
import type { Answer, Protocol } from '../protocol'
import { poster, type Reply, readable } from './call'
import {
  attribute,
  close,
  doubleAttribute,
  fields,
  fixed32,
  most,
  nanoseconds,
  open,
  string,
  type Value,
  varint,
} from './protobuf'
import type { HttpTarget } from './target'

/**
 * OpenTelemetry's protocol over HTTP, in protobuf: opentelemetry-proto's trace.proto, and its ExportTraceServiceRequest for each
 * batch. docs/exporters.md says what becomes of a span.
 */
export function otlp(target: HttpTarget, service: string, host: string): Protocol {
  const resource = resourceOf(service, host)
  const scope = scopeOf()
  return {
    peer: 'OTLP',
    writeSpan,
    seal(spans) {
      const w = new Writer(spans.pos + resource.length + scope.length + 32)
      const resourceSpans = open(w, 0x0a, Number.POSITIVE_INFINITY)
      w.raw(resource)
      const scopeSpans = open(w, 0x12, Number.POSITIVE_INFINITY)
      w.raw(scope)
      w.raw(spans.empty())
      close(w, scopeSpans)
      close(w, resourceSpans)
      return w.empty()
    },
    call: poster(target, 'application/x-protobuf', accepted),
  }
}

function resourceOf(service: string, host: string): Buffer {
  const w = new Writer(512)
  const resource = open(w, 0x0a, Number.POSITIVE_INFINITY)
  const attributes: [string, Value][] = [
    ['service.name', service],
    ['host.name', host],
    ['process.pid', process.pid],
    ['process.executable.name', basename(process.execPath)],
    ['process.runtime.name', 'nodejs'],
    ['process.runtime.version', process.versions.node],
    ['telemetry.sdk.name', 'milo'],
    ['telemetry.sdk.language', 'nodejs'],
    ['telemetry.sdk.version', version],
  ]
  const own = new Set(attributes.map(([key]) => key))
  for (const [key, value] of [
    ...attributes,
    ...given(process.env.OTEL_RESOURCE_ATTRIBUTES).filter(([key]) => !own.has(key)),
  ])
    attribute(w, 0x0a, key, value)
  close(w, resource)
  return w.take()
}

/**
 * What operators of Kubernetes and users of OpenTelemetry say of a process: `key=value`, separated by commas, values
 * percent-encoded. Where one part can't be read, none counts, as OpenTelemetry has it.
 */
function given(text = ''): [string, Value][] {
  const attributes = new Map<string, Value>()
  for (const part of text.split(',')) {
    if (part.trim() === '') continue
    const at = part.indexOf('=')
    if (at < 1) return []
    try {
      attributes.set(decodeURIComponent(part.slice(0, at).trim()), decodeURIComponent(part.slice(at + 1).trim()))
    } catch {
      return []
    }
  }
  return [...attributes].slice(0, MAX_RESOURCE_ATTRIBUTES)
}

const MAX_RESOURCE_ATTRIBUTES = 128

function scopeOf(): Buffer {
  const w = new Writer(64)
  const scope = open(w, 0x0a, Number.POSITIVE_INFINITY)
  string(w, 0x0a, 'milo')
  string(w, 0x12, version)
  close(w, scope)
  return w.take()
}

/** OpenTelemetry's numbers of kinds, by Milo's: local, client, server. */
const KINDS = { 0: 1, 1: 3, 2: 2 } as const satisfies Record<Kind, number>
const SERVER = 2
/** The same by their names in the annotation `otel.kind`. */
const NAMED_KINDS: Record<string, number> = { internal: 1, server: 2, client: 3, producer: 4, consumer: 5 }
/** Flags of a span: it is sampled, and whether its parent is of another process is known; it is. */
const SAMPLED_AND_KNOWN = 0x101
const PARENT_IS_REMOTE = 0x200

/** Keys whose values are whole numbers by OpenTelemetry's conventions. Queries there compare them as numbers. */
const NUMBERS = new Set([
  ...['http.response.status_code', 'http.status_code', 'http.request.resend_count'],
  ...['http.request.body.size', 'http.response.body.size', 'http.request.size', 'http.response.size'],
  ...[
    'server.port',
    'client.port',
    'network.peer.port',
    'network.local.port',
    'url.port',
    'net.peer.port',
    'net.host.port',
  ],
  ...['db.response.returned_rows', 'db.operation.batch.size', 'db.redis.database_index'],
  ...['messaging.batch.message_count', 'messaging.message.body.size', 'rpc.grpc.status_code', 'rpc.jsonrpc.error_code'],
  ...['thread.id', 'process.pid', 'code.line.number', 'code.column.number'],
])
const WHOLE = /^-?\d{1,15}$/

/** Appends a Span, as an element of ScopeSpans. */
export function writeSpan(w: Writer, span: LiveSpan): number {
  const began = w.pos
  const { trace, kind, annotations, counters, events, parentHi, parentLo } = span
  const own = annotations === undefined ? NO_NOTES : notesOf(annotations)
  const message = open(w, 0x12, Number.POSITIVE_INFINITY)
  w.reserve(30)
  w.buf[w.pos++] = 0x0a
  w.buf[w.pos++] = 16
  w.putI32(trace.highHi)
  w.putI32(trace.highLo)
  w.putI32(trace.hi)
  w.putI32(trace.lo)
  w.buf[w.pos++] = 0x12
  w.buf[w.pos++] = 8
  w.putI32(span.idHi)
  w.putI32(span.idLo)
  const state = own.traceState ?? stateOf(trace.state, trace.probability)
  if (state !== undefined) string(w, 0x1a, state)
  const isRoot = parentHi === 0 && parentLo === 0
  if (!isRoot) {
    w.reserve(10)
    w.buf[w.pos++] = 0x22
    w.buf[w.pos++] = 8
    w.putI32(parentHi)
    w.putI32(parentLo)
  }
  string(w, 0x2a, span.name)
  w.byte(0x30)
  w.byte(own.kind ?? KINDS[kind])
  nanoseconds(w, 0x39, Math.floor(span.startUs))
  nanoseconds(w, 0x41, Math.floor(span.endUs))
  if (annotations !== undefined) {
    const { typed } = span
    for (let i = 0; i < annotations.length; i += 2) {
      const key = annotations[i]!
      const value = annotations[i + 1]!
      if (own !== NO_NOTES && OURS.has(key)) continue
      const type = own.types[key] ?? (typed?.includes(key) || NUMBERS.has(key) ? ANY : undefined)
      if (type === undefined) attribute(w, 0x4a, key, value)
      else typedAttribute(w, key, value, type)
    }
  }
  if (counters !== undefined) {
    for (let i = 0; i < counters.length; i += 2) attribute(w, 0x4a, counters[i] as string, counters[i + 1] as number)
  }
  // A forced trace stands for itself alone, which no trace state can say.
  if (trace.probability === 0) doubleAttribute(w, 0x4a, 'milo.probability', 0)
  if (events !== undefined) {
    for (let i = 0; i < events.length; i += 2) {
      const text = events[i + 1] as string
      const details = own.events?.[i / 2]
      const event = open(w, 0x5a, details === undefined ? most(text) + 10 : Number.POSITIVE_INFINITY)
      nanoseconds(w, 0x09, Math.floor(events[i] as number))
      string(w, 0x12, text)
      attributes(w, 0x1a, details?.attributes)
      close(w, event)
    }
  }
  for (const link of own.links) writeLink(w, link)
  if (own.status !== 0) {
    const status = open(w, 0x7a, most(own.description) + 2)
    if (own.description !== '') string(w, 0x12, own.description)
    w.byte(0x18)
    w.byte(own.status)
    close(w, status)
  }
  // Field 16 takes a tag of two bytes.
  w.byte(0x85)
  fixed32(w, 0x01, SAMPLED_AND_KNOWN | (KINDS[kind] === SERVER && !isRoot ? PARENT_IS_REMOTE : 0))
  close(w, message)
  return w.pos - began
}

/** The annotations that are more than attributes here, as Milo's records have them (docs/wire-format.md). */
interface Notes {
  kind: number | undefined
  status: number
  description: string
  traceState: string | undefined
  types: Record<string, unknown>
  events: Record<string, { attributes?: unknown }> | undefined
  links: { [key: string]: Value }[]
}

const NO_NOTES: Notes = {
  kind: undefined,
  status: 0,
  description: '',
  traceState: undefined,
  types: {},
  events: undefined,
  links: [],
}
/** Annotations that become other fields. */
const OURS = new Set(
  ['kind', 'status_code', 'status_description', 'trace_state', 'types', 'events', 'links'].map(name => `otel.${name}`),
)
const ERROR = 2

/** @returns NO_NOTES where all annotations are plain attributes */
function notesOf(annotations: readonly string[]): Notes {
  let notes = NO_NOTES
  for (let i = 0; i < annotations.length; i += 2) {
    const key = annotations[i]!
    const first = key.charCodeAt(0)
    // error… and otel.… alone
    if (first === 101 ? key !== 'error' && !key.startsWith('error.') : first !== 111 || !OURS.has(key)) continue
    if (notes === NO_NOTES) notes = { ...NO_NOTES }
    const value = annotations[i + 1]!
    switch (key) {
      case 'error':
      case 'error.type':
        if (notes.status === 0) notes.status = ERROR
        break
      case 'error.message':
        if (notes.description === '') notes.description = value
        break
      case 'otel.kind':
        notes.kind = Object.hasOwn(NAMED_KINDS, value) ? NAMED_KINDS[value] : undefined
        break
      case 'otel.status_code':
        notes.status = value === 'OK' ? 1 : value === 'ERROR' ? ERROR : notes.status
        break
      case 'otel.status_description':
        notes.description = value
        break
      case 'otel.trace_state':
        notes.traceState = value
        break
      case 'otel.types':
        notes.types = { __proto__: null, ...objectOf(value) } as Record<string, unknown>
        break
      case 'otel.events':
        notes.events = objectOf(value) as Notes['events']
        break
      case 'otel.links':
        notes.links = listOf(value)
    }
  }
  // Only what has failed says how.
  if (notes !== NO_NOTES && notes.status !== ERROR) notes.description = ''
  return notes
}

/** A number, a boolean or a list in JSON: what has become text, and the text tells which. */
const ANY = 'any of these'

/** An attribute by its type, `otel.types`' or ANY; the string itself where it isn't of that type. */
function typedAttribute(w: Writer, key: string, text: string, type: unknown): void {
  const is = (one: string) => type === one || type === ANY
  if (is('bool') && (text === 'true' || text === 'false')) attribute(w, 0x4a, key, text === 'true')
  else if (is('int') && WHOLE.test(text)) attribute(w, 0x4a, key, Number(text))
  else if (is('double') && text !== '' && Number.isFinite(Number(text))) doubleAttribute(w, 0x4a, key, Number(text))
  else attribute(w, 0x4a, key, is('json') ? (parse(text) ?? text) : text)
}

function attributes(w: Writer, tag: number, all: unknown): void {
  for (const [key, value] of Object.entries(isObject(all) ? all : {})) attribute(w, tag, key, value as Value)
}

function writeLink(w: Writer, { traceId, spanId, traceState, attributes: all }: { [key: string]: Value }): void {
  if (!isHex(traceId, 32) || !isHex(spanId, 16)) return
  const link = open(w, 0x6a, Number.POSITIVE_INFINITY)
  w.byte(0x0a)
  varint(w, 16)
  w.raw(Buffer.from(traceId, 'hex'))
  w.byte(0x12)
  varint(w, 8)
  w.raw(Buffer.from(spanId, 'hex'))
  if (typeof traceState === 'string') string(w, 0x1a, traceState)
  attributes(w, 0x22, all)
  close(w, link)
}

function isHex(value: unknown, digits: number): value is string {
  return typeof value === 'string' && value.length === digits && /^[\da-f]+$/i.test(value)
}

function parse(json: string): Value | undefined {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is { [key: string]: Value } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function objectOf(json: string): { [key: string]: Value } {
  const value = parse(json)
  return isObject(value) ? value : {}
}

function listOf(json: string): { [key: string]: Value }[] {
  const value = parse(json)
  return Array.isArray(value) ? value.filter(isObject) : []
}

const THRESHOLD_DIGITS = 14
/** The last probability and its threshold: those of traces are mostly alike. */
const lastState = { probability: Number.NaN, text: undefined as string | undefined }

/**
 * W3C's trace state, with the probability as OpenTelemetry has it: by the rejection threshold, `th` = (1 − p) × 2^56 in hex,
 * without its trailing zeros. Milo keeps a trace by the same rule, so that whoever checks finds `th` true.
 */
function stateOf(state: string | undefined, probability: number): string | undefined {
  if (!(probability > 0)) return state
  if (state !== undefined && /(^|,)\s*ot=/.test(state)) return state
  if (lastState.probability !== probability) {
    const threshold = BigInt(Math.min(Math.round((1 - probability) * 2 ** 53), 2 ** 53 - 1)) << 3n
    const digits = threshold.toString(16).padStart(THRESHOLD_DIGITS, '0').replace(/0+$/, '')
    lastState.text = `ot=th:${digits || '0'}`
    lastState.probability = probability
  }
  return state === undefined ? lastState.text : `${lastState.text},${state}`
}

/** A 2xx: the spans are there, but for those that a partial success counts. */
function accepted({ headers, body }: Reply): Answer {
  let rejected = 0
  let text = ''
  try {
    if (headers.get('content-type')?.includes('json')) {
      const { rejectedSpans, errorMessage } = JSON.parse(body.toString()).partialSuccess
      // An int64 is a string in protobuf's JSON.
      rejected = typeof rejectedSpans === 'string' ? Number(rejectedSpans) : rejectedSpans
      text = String(errorMessage ?? '')
    } else {
      for (const { field, value } of fields(body)) {
        if (field !== 1 || typeof value === 'number') continue
        for (const inner of fields(value)) {
          if (inner.field === 1 && typeof inner.value === 'number') rejected = inner.value
          if (inner.field === 2 && typeof inner.value !== 'number') text = inner.value.toString()
        }
      }
    }
  } catch {
    // Nothing that says otherwise: the status counts.
  }
  // Negative ones are far from safe in a varint.
  return Number.isSafeInteger(rejected) && rejected > 0
    ? { code: 'ok', rejected, reason: readable(text) }
    : { code: 'ok' }
}
