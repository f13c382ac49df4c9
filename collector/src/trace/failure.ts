import { EVENTS_KEY, objectOf, parsed } from './event-attributes'
import type { SummaryFailure, Trace, TraceSpan } from './model'
import { ownerOf } from './totals'

/**
 * What a failed span says about its error. Senders write the same things under many names, and often twice:
 *
 *     Milo             error.type, error.message
 *     OpenTelemetry    exception.type, .message, .stacktrace of an event; error.type; the status's description
 *     Jaeger           a log with error.kind, message, stack
 *     Zipkin           error, which is a message, a class, a status or just "true"
 *     RPC              rpc.grpc.status_code, http.response.status_code
 */
export interface Failure {
  /** The error's class, code or status. */
  type: string | null
  /** Without the type. */
  message: string | null
  stack: string | null
}

/** Returns what a span says about its error; null if it didn't fail. A span may fail without saying why: all fields are null then. */
export function failureOf({
  error,
  annotations,
  events,
}: Pick<TraceSpan, 'error' | 'annotations' | 'events'>): Failure | null {
  if (!error) return null
  const thrown = thrownOf(annotations, events)
  const said = (key: string) => textOf(annotations[key])
  const marked = said('error')
  let message =
    thrown.message ??
    said('exception.message') ??
    said('error.message') ??
    said('error.msg') ??
    said('otel.status_description') ??
    (marked !== undefined && JUST_FAILED.test(marked) ? undefined : marked) ??
    said('grpc.error_message')
  const errorType = said('error.type')
  let type =
    thrown.type ??
    said('exception.type') ??
    (errorType === UNNAMED ? undefined : errorType) ??
    said('error.kind') ??
    undefined
  const stack = thrown.stack ?? said('exception.stacktrace') ?? said('error.stack') ?? said('stack')
  if (type === undefined && message === undefined && stack !== undefined) message = headlineOf(stack)
  if (type === undefined && message !== undefined) {
    const [whole, name] = NAMED.exec(message.slice(0, MAX_NAMED)) ?? []
    if (whole !== undefined && (whole.length < MAX_NAMED || message.length === whole.length)) {
      type = name
      message = message.slice(whole.length)
    }
  }
  // The names of errors have no spaces: an application has failed a span with a sentence.
  if (type !== undefined && message === undefined && /\s/.test(type)) [type, message] = [undefined, type]
  type ??= statusOf(annotations)
  if (type !== undefined && message !== undefined) message = withoutType(message, type)
  return { type: type ?? null, message: textOf(message) ?? null, stack: stack ?? null }
}

/**
 * Returns the spans in which an error arose, the earliest first: those that failed, but nothing below them. What a failure made fail
 * further up is left out.
 */
export function arose(trace: Pick<Trace, 'spans'>): TraceSpan[] {
  const { spans } = trace
  const found: TraceSpan[] = []
  // From the back, all descendants of a span come right before it. For each depth: has any failed since the last span above?
  const failed: boolean[] = []
  for (let i = spans.length - 1; i >= 0; i--) {
    const span = spans[i]!
    const below = failed[span.depth + 1] === true
    failed[span.depth + 1] = false
    if (span.error || below) failed[span.depth] = true
    if (span.error && !below) found.push(span)
  }
  return found.sort(earlier)
}

/** An error where it arose. Those of the same key are alike but for the numbers and ids in their messages. */
export interface ArisenError extends Pick<Failure, 'type' | 'message'> {
  key: string
  service: string | null
  span: TraceSpan
}

/** Returns the errors of a trace, the earliest first. */
export function errorsOf(trace: Pick<Trace, 'spans'>): ArisenError[] {
  return arose(trace).map(span => {
    const { type, message } = failureOf(span)!
    const service = ownerOf(span)
    return {
      key: JSON.stringify([service, span.name, type, message && foldMessage(message)]),
      service,
      span,
      type,
      message,
    }
  })
}

/** Orders spans by start, and then by id. */
export function earlier(a: Pick<TraceSpan, 'start' | 'spanId'>, b: Pick<TraceSpan, 'start' | 'spanId'>): number {
  return (a.start ?? Infinity) - (b.start ?? Infinity) || (a.spanId < b.spanId ? -1 : a.spanId > b.spanId ? 1 : 0)
}

/** Returns the spans that a span's failure made fail: its parent, the parent's parent and so on, as far as they failed too. */
export function roseThrough({ spans }: Pick<Trace, 'spans'>, span: TraceSpan): TraceSpan[] {
  const through: TraceSpan[] = []
  let { depth } = span
  for (let i = spans.indexOf(span) - 1; i >= 0 && depth > 0; i--) {
    const above = spans[i]!
    if (above.depth >= depth) continue
    if (!above.error) break
    through.push(above)
    depth = above.depth
  }
  return through
}

/** Returns the failure of a span as summaries show it; null if it didn't fail. */
export function summaryFailure(span: TraceSpan | undefined): SummaryFailure | null {
  const failure = span && failureOf(span)
  if (!failure) return null
  const { type, message } = failure
  return {
    type: type === null ? null : shortened(type, MAX_TYPE),
    message: message === null ? null : shortened(message, MAX_MESSAGE),
    service: ownerOf(span),
    name: span.name,
    spanId: span.spanId,
  }
}

const MAX_TYPE = 200
const MAX_MESSAGE = 300
const MAX_FOLDED = 200

/**
 * Returns a message with `…` in the place of numbers, ids, addresses and times, so that messages are equal that differ in nothing
 * else; at most 200 characters. `"no stock of item 4711 for user ada@example.com"` becomes `"no stock of item … for user …"`.
 */
export function foldMessage(message: string): string {
  // What summaries have of a message is folded like the whole.
  const folded = shortened(message, MAX_MESSAGE)
    .replace(/[\s\p{Cc}]+/gu, ' ')
    .replace(QUOTED, '$1…$1')
    .replace(EMAIL, '…')
    .replace(WORD, foldWord)
    .replace(RUN, '…')
    .trim()
  return shortened(folded, MAX_FOLDED)
}

/** What is in quotes, if there is a digit or an @ in it: an id, a name with a number, an address. No apostrophe begins or ends it. */
const QUOTED = /(?<![\p{L}\p{N}])(["'`])[^"'`]*[\d@][^"'`]*\1(?![\p{L}\p{N}])/gu
const EMAIL = /[\w.+-]{1,64}@[\w.-]{1,255}/g
/** Letters and digits, and what holds parts of ids and numbers together. */
const WORD = /[\p{L}\p{N}_]+(?:-[\p{L}\p{N}_]+)*/gu
/** Several in a row: a list of numbers, a time, an address with its port. */
const RUN = /(?:(?<!\p{L})[-+])?…(?:(?:[.:;/+-]| ?, ?)?[-+]?…)*/gu
/** A number with its unit, and durations such as 1m30.5s. */
const UNITS = /^(?:\d+(?:ns|us|µs|μs|ms|s|m|h|d|k|kb|kib|mb|mib|gb|gib|b))*\d*$/i
const HEX = /^(?:0x)?[\da-f]{6,}$/i
/** An id in any other alphabet is long, and has digits among its letters. */
const ID_LENGTH = 12

function foldWord(word: string): string {
  if (!/\p{N}/u.test(word)) return word
  if (UUID.test(word) || UNITS.test(word)) return '…'
  return word
    .split('-')
    .map(part => {
      const digits = part.match(/\p{N}/gu)?.length ?? 0
      if (digits > 0 && (HEX.test(part) || (part.length >= ID_LENGTH && digits > 1))) return '…'
      return part.replace(/\p{N}+/gu, '…')
    })
    .join('-')
}

const UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i

/** An `error` that says that there was one, and nothing else. */
const JUST_FAILED = /^(?:true|false|yes|no|1|0|error|failed)$/i
/** OpenTelemetry's value of error.type for errors that have no name. */
const UNNAMED = '_OTHER'
/** A message that begins with a class: "java.io.IOException: broken pipe". */
const NAMED = /^((?:[A-Za-z_$][\w$.:]{0,150}?)?(?:Error|Exception|Failure|Fault))(?::\s+|$)/
const MAX_NAMED = 200

interface Thrown {
  type: string | undefined
  message: string | undefined
  stack: string | undefined
}

/** Returns the last exception among the span's events: earlier ones were caught, or it would not have come to the last. */
function thrownOf(annotations: Record<string, string>, events: TraceSpan['events']): Thrown {
  const details = Object.values(parsed(annotations[EVENTS_KEY] ?? ''))
  const last = details
    .map(detail => thrownBy(objectOf(objectOf(detail).attributes)))
    .findLast(thrown => thrown !== undefined)
  if (last !== undefined) return last
  for (const { value } of [...events].reverse()) {
    // As OpenTelemetry's exporters write events for Zipkin.
    const thrown = value.startsWith('"exception"') ? thrownBy(objectOf(parsed(`{${value}}`).exception)) : undefined
    if (thrown !== undefined) return thrown
  }
  return { type: undefined, message: undefined, stack: undefined }
}

function thrownBy(attributes: Record<string, unknown>): Thrown | undefined {
  const said = (key: string) => textOf(attributes[key])
  const isLog = ['error.kind', 'error.object', 'stack'].some(key => said(key) !== undefined)
  const thrown = {
    type: said('exception.type') ?? said('error.kind'),
    message: said('exception.message') ?? (isLog ? (said('message') ?? said('error.object')) : undefined),
    stack: said('exception.stacktrace') ?? (isLog ? said('stack') : undefined),
  }
  return Object.values(thrown).some(value => value !== undefined) ? thrown : undefined
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined
}

/** The line of a stack that says what happened: the first, but Python's last. */
function headlineOf(stack: string): string {
  const lines = stack.trim().split('\n')
  return (lines[0]!.startsWith('Traceback') ? lines.at(-1)! : lines[0]!).trim()
}

const GRPC = [
  ...['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS'],
  ...['PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED'],
  ...['INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', 'UNAUTHENTICATED'],
]

/** Returns the status with which a call ended, if it is one of a failure. */
function statusOf(annotations: Record<string, string>): string | undefined {
  for (const key of ['rpc.grpc.status_code', 'grpc.status_code', 'rpc.response.status_code']) {
    const code = textOf(annotations[key])
    if (code !== undefined && code !== '0' && code !== 'OK') return GRPC[Number(code)] ?? code
  }
  const database = textOf(annotations['db.response.status_code'])
  if (database !== undefined) return database
  for (const key of ['http.response.status_code', 'http.status_code']) {
    const code = textOf(annotations[key])
    if (code !== undefined && /^[45]\d\d$/.test(code)) return code
  }
  return undefined
}

/** Cuts a type, with or without its package, from the beginning of a message. */
function withoutType(message: string, type: string): string {
  const short = type.slice(1 + Math.max(...['.', ':', '$', '/', '\\'].map(mark => type.lastIndexOf(mark))))
  for (const name of [type, short]) {
    if (name === '' || !message.startsWith(name)) continue
    const rest = message.slice(name.length)
    const [colon] = /^(?:\s*[:-]\s+|\s*$)/.exec(rest) ?? []
    if (colon !== undefined) return rest.slice(colon.length)
  }
  return message
}

/** Shortens a text, without half of a surrogate pair at its end. */
function shortened(text: string, max: number): string {
  if (text.length <= max) return text
  const end = /[\ud800-\udbff]/.test(text[max - 2]!) ? max - 2 : max - 1
  return `${text.slice(0, end)}…`
}
