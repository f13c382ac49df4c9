import type { EdgeFigures, OperationFigures, Range } from '../../http/answers'
import { HttpError } from '../../http/errors'
import { OTHER } from '../../store/activity/model'
import { SEARCH_BYTES } from '../../store/search/search'
import type { SearchQuery, SpanSearch, TraceReader } from '../../store/store'
import type { TraceSummary } from '../../trace'
import type { Turns } from '../../turns'
import { rangeOf } from '../activity/range'
import type { ActivityOptions } from '../activity/routes'
import { dependencies, operations } from '../activity/services'
import type { AskStore } from '../ask-store'
import type { Reads } from '../read-budget'
import { readTraceId, StoredTraces } from '../stored-traces'

/** What the query APIs of Jaeger and Zipkin ask, in Milo's terms. Their routes are in jaeger.ts and zipkin.ts. */

export interface CompatibleOptions {
  reads: Reads
  askStore: AskStore<TraceReader & SpanSearch>
  activity: Pick<ActivityOptions, 'read' | 'retentionDays' | 'activityDays' | 'now'>
}

/** The approximate memory of a list of names, as a completion. */
const NAMES_BYTES = 4 * 1024 * 1024
/** The most services in a list. */
const MAX_SERVICES = 1_000
const DAY_US = 86_400e6
/** How long a search goes on to fill its list: a page may have fewer traces than were asked for. */
const SEARCH_MS = 10_000
/** How much of each trace of a list is read: some 15,000 spans. */
const LISTED_BYTES = 4 * 1024 * 1024

export class Questions {
  readonly traces: StoredTraces
  readonly nowUs: () => number
  private readonly options: CompatibleOptions

  constructor(options: CompatibleOptions) {
    const { now = Date.now } = options.activity
    this.options = options
    this.traces = new StoredTraces(options.reads, options.askStore)
    this.nowUs = () => now() * 1000
  }

  /** Returns the names of the services that reported spans, sorted. */
  services(): Promise<string[]> {
    return this.complete('service', '', MAX_SERVICES)
  }

  /** Tells whether any span has an annotation of this key. */
  async hasKey(key: string): Promise<boolean> {
    return (await this.complete('key', key, 1))[0] === key
  }

  /** Returns what a service did while its spans are kept. */
  async operations(service: string): Promise<OperationFigures[]> {
    const { read, retentionDays } = this.options.activity
    const range = this.range(this.nowUs(), retentionDays * DAY_US)
    const { operations: all } = await this.inTurn(() => operations(read, range, service))
    return all.filter(({ name }) => name !== '' && name !== OTHER)
  }

  /** Returns who called whom. @param service whose calls are asked for; all without it */
  async edges(endUs: number, lookbackUs: number, service?: string): Promise<EdgeFigures[]> {
    const range = this.range(endUs, lookbackUs)
    const { edges } = await this.inTurn(() => dependencies(this.options.activity.read, range, false, service))
    return edges.filter(({ from, to }) => from !== '' && to !== '')
  }

  /** Returns the newest traces that match, as many as the query asks for. @param turns that end when the client has gone */
  async search(query: SearchQuery, turns: Turns): Promise<TraceSummary[]> {
    const { reads, askStore } = this.options
    const found: TraceSummary[] = []
    const endMs = performance.now() + SEARCH_MS
    for (let after: string | undefined; ; ) {
      const page = { ...query, limit: query.limit - found.length, ...(after !== undefined && { after }) }
      const { traces, next } = await reads.searches.during(SEARCH_BYTES, () => askStore(store => store.search(page)))
      found.push(...traces)
      if (next === undefined || found.length >= query.limit || performance.now() > endMs) return found
      after = next
      await turns.next()
    }
  }

  /** Checks ids that the client gives for a list: once the list has begun, no error can be told. @throws HttpError 400 */
  checkIds(ids: string[]): void {
    for (const id of ids) readTraceId(id)
  }

  /** How much memory a list of traces needs at a time. */
  get listBytes(): number {
    return Math.min(LISTED_BYTES, this.traces.maxTraceBytes)
  }

  /**
   * Yields the JSON of some traces, one after the other, with commas in between. All of them together are read up to the limit for
   * one trace. Traces that are gone by now are left out.
   * @param cut called with how many were left out because there is too much of them
   */
  async *list(
    ids: string[],
    write: (trace: Awaited<ReturnType<StoredTraces['find']>>) => AsyncGenerator<string>,
    cut: (count: number) => void = () => {},
  ): AsyncGenerator<string> {
    let bytesLeft = this.traces.maxTraceBytes
    let comma = ''
    for (const [i, id] of ids.entries()) {
      if (bytesLeft <= 0) return cut(ids.length - i)
      const trace = await this.find(id)
      if (trace === undefined) continue
      bytesLeft -= trace.bytes.length
      yield comma
      yield* write(trace)
      comma = ','
    }
  }

  private async find(id: string) {
    try {
      return await this.traces.find(id, this.listBytes)
    } catch (error) {
      if (error instanceof HttpError && error.code === 'MILO_NO_SUCH_TRACE') return undefined
      throw error
    }
  }

  private complete(field: 'service' | 'key', prefix: string, limit: number): Promise<string[]> {
    const { reads, askStore } = this.options
    return reads.searches.during(NAMES_BYTES, () => askStore(store => store.complete({ field, prefix, limit })))
  }

  private inTurn<V>(work: () => Promise<V>): Promise<V> {
    return this.options.reads.activity.during(1, work)
  }

  /** Returns the range, as far as what services did is kept: these APIs know no limit. */
  private range(endUs: number, lookbackUs: number): Range {
    const { retentionDays, activityDays } = this.options.activity
    const nowUs = this.nowUs()
    const toUs = Math.min(endUs, nowUs)
    const fromUs = Math.max(0, toUs - Math.min(Math.max(lookbackUs, 1), activityDays * DAY_US))
    return rangeOf({ from: { atUs: fromUs }, to: { atUs: toUs } }, { retentionDays, activityDays, nowUs })
  }
}
