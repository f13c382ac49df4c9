import { recordSide, type Side } from 'milo/codec/events'
import type { SpanRecord } from 'milo/codec/span'
import { IdMap, IdSet } from '../../record/ids'
import { type Fields, hexOf } from '../fields'
import { ERROR, KINDS, STATUS } from '../otlp/names'
import { toOtlpSpan } from '../otlp/write'

/**
 * Writes Jaeger's JSON, the form in which its query service answers and its interface downloads traces. A record becomes OTLP's
 * span, and that becomes Jaeger's by OpenTelemetry's rules for it (opentelemetry.io/docs/specs/otel/trace/sdk_exporters/jaeger).
 *
 * In Jaeger's model a span has one process, and ids are unique in a trace: its interface and Grafana's lose one of two spans with the
 * same id. So the two halves of a call become two spans, as Jaeger itself does with Zipkin's shared spans: the client's half keeps
 * the id, the server's gets another one, and what the server called is below the latter.
 *
 *     Milo: one span, two halves          Jaeger: two spans
 *
 *     Orders.place   front → orders       front    Orders.place   client
 *       Pricing.quote  orders → pricing     orders   Orders.place   server
 *                                             orders   Pricing.quote  client
 *                                               pricing  Pricing.quote  server
 */

export interface JaegerSpan {
  traceID: string
  spanID: string
  operationName: string
  references: Reference[]
  /** Microseconds since the epoch. */
  startTime: number
  /** Microseconds. */
  duration: number
  tags: Tag[]
  logs: { timestamp: number; fields: Tag[] }[]
  processID: string
  warnings: string[] | null
  /** 1: sampled, 2: debug. */
  flags: number
}

interface Reference {
  refType: 'CHILD_OF' | 'FOLLOWS_FROM'
  traceID: string
  spanID: string
}

interface Tag {
  key: string
  type: 'string' | 'bool' | 'int64' | 'float64' | 'binary'
  value: string | boolean | number
}

interface Process {
  serviceName: string
  tags: Tag[]
}

/** What the trace's tree says about a span. */
export interface SpanPlace {
  name: string
  /** Undefined for a root. */
  parentId: bigint | undefined
  /** What corrects the times that a side reported, in microseconds. */
  correctionUs(side: Side): number
  /** The time of records that have none, in microseconds since the epoch. */
  startUs: number
  warnings: string[]
}

/** OpenTelemetry's name for a service that has none. */
const NO_SERVICE = 'unknown_service'
const [SAMPLED, DEBUG] = [1, 2]

export class JaegerWriter {
  /** By their ids. It grows while spans are written. */
  readonly processes: Record<string, Process> = {}
  private readonly processIds = new Map<string, string>()
  private readonly traceId: string
  private readonly placeOf: (id: bigint) => SpanPlace
  /** The id that each record's span gets. */
  private readonly ids = new Map<SpanRecord, bigint>()
  /** Under which id a span's children are. */
  private readonly homes = new IdMap<bigint>()

  private readonly spans: SpanRecord[][]

  /**
   * @param traceId in hex, as the answer has it for all spans
   * @param spans the records of each span; all of them have an id
   */
  constructor(traceId: string, spans: SpanRecord[][], placeOf: (id: bigint) => SpanPlace) {
    this.traceId = traceId
    this.spans = spans
    this.placeOf = placeOf
  }

  /** Gives each record's span its id, one after the other. All steps have to be taken before the first span is written. */
  *prepare(): Generator<void, void> {
    const free = new FreeIds(this.spans)
    for (const records of this.spans) {
      const id = records[0]!.id!
      records.sort((a, b) => ORDER[sideOf(a)] - ORDER[sideOf(b)])
      for (const [i, record] of records.entries()) this.ids.set(record, i === 0 ? id : free.besides(id))
      const server = records.find(record => sideOf(record) === 'server')
      this.homes.set(id, this.ids.get(server ?? records[0]!)!)
      yield
    }
  }

  /** Writes the records of one span. */
  write(records: SpanRecord[]): JaegerSpan[] {
    const place = this.placeOf(records[0]!.id!)
    const client = sideOf(records[0]!) === 'client' ? records[0] : undefined
    return records.map((record, i) => this.writeHalf(record, place, client, i === 0 ? place.warnings : []))
  }

  /** @param client the half that called, if there is one */
  private writeHalf(
    record: SpanRecord,
    place: SpanPlace,
    client: SpanRecord | undefined,
    remarks: string[],
  ): JaegerSpan {
    const { resource, scope, span } = toOtlpSpan(record)
    const side = sideOf(record)
    const parentId =
      client === undefined || side === 'client'
        ? place.parentId && (this.homes.get(place.parentId) ?? place.parentId)
        : this.ids.get(client)
    const correctionUs = place.correctionUs(side)
    // Jaeger has no times before 1970.
    const atUs = (nanos: unknown) => Math.max(0, Number(BigInt(nanos as string) / 1000n) + correctionUs)
    const { startTimeUnixNano: start, endTimeUnixNano: end } = span
    const startTime = start === undefined ? Math.max(0, place.startUs) : atUs(start)
    const warnings = [...remarks]
    if (start === undefined) warnings.push('this span was reported without a time')
    if (correctionUs !== 0) warnings.push(`this span's times were corrected by ${correctionUs / 1000} ms (clock skew)`)
    return {
      traceID: this.traceId,
      spanID: hexOf(this.ids.get(record)!, 16),
      operationName: record.name || place.name,
      references: [
        ...(parentId === undefined ? [] : [this.reference('CHILD_OF', hexOf(parentId, 16))]),
        ...listOf(span.links).map(linkOf),
      ],
      startTime,
      duration: end === undefined ? 0 : Math.max(0, atUs(end) - startTime),
      tags: tagsOfSpan(scope, span),
      logs: listOf(span.events).map(({ timeUnixNano, name, attributes }) => ({
        timestamp: timeUnixNano === undefined ? startTime : atUs(timeUnixNano),
        fields: [...(name === undefined ? [] : [tag('event', name as string)]), ...tagsOf(attributes)],
      })),
      processID: this.processOf(resource),
      warnings: warnings.length === 0 ? null : warnings,
      flags: record.probability === 0 ? SAMPLED | DEBUG : SAMPLED,
    }
  }

  private reference(refType: Reference['refType'], spanID: string): Reference {
    return { refType, traceID: this.traceId, spanID }
  }

  private processOf({ resource }: Fields): string {
    const all = tagsOf((resource as Fields).attributes)
    const serviceName = all.find(({ key }) => key === 'service.name')?.value || NO_SERVICE
    const process = { serviceName: String(serviceName), tags: all.filter(({ key }) => key !== 'service.name') }
    const key = JSON.stringify(process)
    let id = this.processIds.get(key)
    if (id === undefined) {
      this.processIds.set(key, (id = `p${this.processIds.size + 1}`))
      this.processes[id] = process
    }
    return id
  }
}

const ORDER: Record<Side, number> = { client: 0, server: 1, local: 2 }

function sideOf({ events = [] }: SpanRecord): Side {
  return recordSide(events)
}

/** Gives out ids that no span of a trace has, nor a parent that is missing. */
class FreeIds {
  private readonly taken = new IdSet()
  private last = 0n

  constructor(spans: SpanRecord[][]) {
    for (const records of spans) {
      this.taken.add(records[0]!.id!)
      for (const { parentId } of records) if (parentId) this.taken.add(parentId)
    }
  }

  /** Returns an id for the other half of a span: always the same, unless the trace has a span with it. */
  besides(id: bigint): bigint {
    let free = BigInt.asIntN(64, id ^ (1n << 63n))
    // Counting on from where the last search ended, so that a sender's choice of ids can't make all of them long.
    while (free === 0n || this.taken.has(free)) free = ++this.last
    this.taken.add(free)
    return free
  }
}

function linkOf({ traceId, spanId, attributes }: Fields): Reference {
  const type = tagsOf(attributes).find(({ key }) => key === 'opentracing.ref_type')?.value
  const refType = String(type).toUpperCase() === 'CHILD_OF' ? 'CHILD_OF' : 'FOLLOWS_FROM'
  return { refType, traceID: String(traceId ?? ''), spanID: String(spanId ?? '') }
}

function tagsOfSpan({ scope }: Fields, { attributes, kind, status, traceState }: Fields): Tag[] {
  const { name, version } = scope as Fields
  const { code, message } = (status ?? {}) as Fields
  const failed = code === ERROR
  const tags: Tag[] = []
  const add = (key: string, value: unknown) => value !== undefined && tags.push(tag(key, value as string))
  add('otel.scope.name', name)
  add('otel.scope.version', version)
  // What is said of the failure is in the status as well.
  tags.push(...tagsOf(attributes).filter(({ key }) => !(failed && key === 'error')))
  if (kind !== undefined) add('span.kind', KINDS[kind as number])
  if (code !== undefined) add('otel.status_code', STATUS[code as number])
  if (failed) tags.push({ key: 'error', type: 'bool', value: true })
  add('otel.status_description', message)
  add('w3c.tracestate', traceState)
  return tags
}

function tag(key: string, value: string): Tag {
  return { key, type: 'string', value }
}

/** Converts OTLP's attributes. */
function tagsOf(attributes: unknown): Tag[] {
  return listOf(attributes).map(({ key, value }): Tag => {
    const name = String(key)
    const [kind, v] = Object.entries((value ?? {}) as Fields)[0] ?? []
    switch (kind) {
      case 'boolValue':
        return { key: name, type: 'bool', value: v as boolean }
      case 'intValue': {
        // Jaeger writes what a number of JavaScript can't hold as a string, too.
        const n = Number(v)
        return { key: name, type: 'int64', value: Number.isSafeInteger(n) ? n : (v as string) }
      }
      case 'doubleValue':
        // JSON has neither infinities nor NaN: these come as strings.
        return { key: name, type: typeof v === 'number' ? 'float64' : 'string', value: v as number | string }
      case 'bytesValue':
        return { key: name, type: 'binary', value: v as string }
      case 'arrayValue':
      case 'kvlistValue':
        return tag(name, JSON.stringify(plain(value)))
      default:
        return tag(name, String(v ?? ''))
    }
  })
}

/** Returns an AnyValue as plain JSON. */
function plain(value: unknown): unknown {
  const [kind, v] = Object.entries((value ?? {}) as Fields)[0] ?? []
  const values = (v as Fields | undefined)?.values
  if (kind === 'arrayValue') return (values as unknown[]).map(plain)
  if (kind === 'kvlistValue') return Object.fromEntries(listOf(values).map(({ key, value }) => [key, plain(value)]))
  if (kind === 'intValue') return Number.isSafeInteger(Number(v)) ? Number(v) : v
  return v ?? null
}

function listOf(v: unknown): Fields[] {
  return Array.isArray(v) ? v : []
}
