import type { SpanQuery, Where } from '../../collector/src/query'
import type { SearchQuery } from '../../collector/src/store/store'
import { EventType, type SpanEvent, type SpanRecord } from '../../src/codec/span'

/** What a search should find, by going through all spans. It shares no code with the collector's search. */

type Conditions = Partial<Omit<SearchQuery, 'limit' | 'after'>>

/** Returns the ids of the traces that match. All records have times. */
export function bruteForce(records: SpanRecord[], query: Conditions): Set<bigint> {
  const traces = new Map<string, SpanRecord[]>()
  for (const record of records) {
    const id = String(record.traceId)
    traces.set(id, [...(traces.get(id) ?? []), record])
  }
  return new Set([...traces.values()].filter(trace => new ByHand(trace).matches(query)).map(([half]) => half!.traceId!))
}

class ByHand {
  private readonly spans = new Map<string, SpanRecord[]>()

  constructor(records: SpanRecord[]) {
    for (const record of records) {
      const id = String(record.id)
      this.spans.set(id, [...(this.spans.get(id) ?? []), record])
    }
  }

  matches({ fromUs = -Infinity, toUs = Infinity, annotations = [], ...query }: Conditions): boolean {
    return [...this.spans.values()].some(halves => {
      const start = startOf(halves)
      return start >= fromUs && start <= toUs && this.meets(halves, { ...query, annotations })
    })
  }

  private meets(halves: SpanRecord[], query: SpanQuery): boolean {
    const { name, service, minDurationUs = 0, maxDurationUs, annotations, error, where, above } = query
    const isHalf = (half: SpanRecord) =>
      (name === undefined || half.name === name) &&
      (service === undefined || half.service === service) &&
      durationOf(half) >= minDurationUs &&
      (where === undefined || isSo(where, half, halves))
    return (
      halves.some(isHalf) &&
      (maxDurationUs === undefined || longestOf(halves) <= maxDurationUs) &&
      annotations.every(condition => isSo({ kind: 'annotation', ...condition }, halves[0]!, halves)) &&
      (error === undefined || error === hasFailed(halves)) &&
      (above === undefined || this.above(halves, above.at).some(span => this.meets(span, above.span)))
    )
  }

  /** The spans above one, each once: parents may be missing, and may form circles. */
  private above(halves: SpanRecord[], at: 'parent' | 'anywhere'): SpanRecord[][] {
    const found = new Set<string>()
    const climb = (span: SpanRecord[]) => {
      for (const { id, parentId = 0n } of span) {
        const above = this.spans.get(String(parentId))
        if (parentId === 0n || parentId === id || above === undefined || found.has(String(parentId))) continue
        found.add(String(parentId))
        if (at === 'anywhere') climb(above)
      }
    }
    climb(halves)
    return [...found].map(id => this.spans.get(id)!)
  }
}

/** What is negated may be so of another half than what stands beside it. */
function isSo(where: Where, half: SpanRecord, halves: SpanRecord[]): boolean {
  const tags = halves.flatMap(({ annotations }) => [...annotations!])
  switch (where.kind) {
    case 'all':
      return where.of.every(part => isSo(part, half, halves))
    case 'any':
      return where.of.some(part => isSo(part, half, halves))
    case 'not':
      return !halves.some(half => isSo(where.of, half, halves))
    case 'name':
      return half.name === where.name
    case 'service':
      return half.service === where.service
    case 'minDuration':
      return durationOf(half) >= where.us
    case 'maxDuration':
      return longestOf(halves) <= where.us
    case 'error':
      return hasFailed(halves) === where.error
    case 'root':
      return !halves.some(({ parentId = 0n }) => parentId !== 0n) && (where.name ?? half.name) === half.name
    case 'number':
      return tags.some(([key, text]) => {
        if (key !== where.key || text === '' || /[^0-9.eE+-]/.test(text) || !Number.isFinite(Number(text))) return false
        const difference = Number(text) - where.number
        return where.compare.startsWith('>')
          ? difference > 0 || (where.compare === '>=' && difference === 0)
          : difference < 0 || (where.compare === '<=' && difference === 0)
      })
    case 'annotation': {
      const { key, value, match } = where
      return tags.some(
        ([found, text]) =>
          (key === undefined || key === found) &&
          (value === undefined ||
            (match === 'exact' ? text === value : match === 'prefix' ? text.startsWith(value) : text.includes(value))),
      )
    }
  }
}

function isCall({ eventType }: SpanEvent): boolean {
  return eventType !== 5
}

function timesOf({ events }: SpanRecord): number[] {
  const calls = events!.filter(isCall)
  return (calls.length > 0 ? calls : events!).map(({ timestamp }) => Number(timestamp))
}

function durationOf(half: SpanRecord): number {
  return Math.max(...timesOf(half)) - Math.min(...timesOf(half))
}

function longestOf(halves: SpanRecord[]): number {
  return Math.max(...halves.map(durationOf))
}

function startOf(halves: SpanRecord[]): number {
  const isClient = ({ events }: SpanRecord) => (events!.find(isCall)?.eventType ?? 5) <= EventType.CLIENT_RECV
  const clients = halves.filter(isClient)
  return Math.min(...(clients.length > 0 ? clients : halves).flatMap(timesOf))
}

function hasFailed(halves: SpanRecord[]): boolean {
  return halves.some(({ annotations }) => annotations!.has('error') || annotations!.has('error.type'))
}
