import type { Deployment, DeploymentsAnswer, Range } from '../../http/answers'
import { VERSION_KEYS } from '../../record/half'
import type { CompletionQuery, SearchQuery, SpanSearch, TraceReader } from '../../store/store'
import { traceIdsOf } from '../../trace'

/**
 * When versions of a service were first seen. Nothing is stored for this: the versions are the values of an annotation, and of each
 * a few searches for one span find the first,
 *
 *     from                         to
 *      ├──────────────┬─────────────┤   is there a span in the first half? then the first one is there
 *      ├──────┬───────┤                 and so on, until the part is short
 *
 * by halves of the part in which it must be.
 */

/** How many values of the annotation are looked at, and how many versions are searched for. */
const MAX_VALUES = 100
const MAX_VERSIONS = 10
/** A part of the range so short is a moment, as charts show it. */
const PARTS = 512
const MIN_PART_US = 1e6

/**
 * A search takes the two halves of a span for one, so it also finds the caller's half beside the version of a callee: whose version it
 * is shows in the records of so many of the traces that are found.
 */
const MAX_READ = 5
const READ_BYTES = 1024 * 1024

type Store = SpanSearch & TraceReader
/** Lists words, with its part of the budget. */
type Complete = (query: CompletionQuery) => Promise<string[]>
/** Runs a search with its part of the budget. */
export type Find = (ask: (store: Store) => Promise<boolean>) => Promise<boolean>

interface Version {
  key: string
  value: string
}

export class DeploymentSearch {
  private readonly complete: Complete
  private readonly find: Find
  private readonly service: string
  private readonly range: Range
  private readonly mayGoOn: () => boolean

  /** @param mayGoOn returns false when the time is over */
  constructor(complete: Complete, find: Find, service: string, range: Range, mayGoOn: () => boolean) {
    this.complete = complete
    this.find = find
    this.service = service
    this.range = range
    this.mayGoOn = mayGoOn
  }

  async run(): Promise<Pick<DeploymentsAnswer, 'deployments' | 'complete'>> {
    const { versions, complete } = await this.fresh()
    const deployments: Deployment[] = []
    for (const version of versions.slice(0, MAX_VERSIONS)) {
      if (!this.mayGoOn()) return { deployments: sorted(deployments), complete: false }
      const { time, within } = await this.firstOf(version)
      const known = deployments.find(({ version: value }) => value === version.value)
      if (known === undefined) deployments.push({ version: version.value, time, within })
      else if (time < known.time) Object.assign(known, { time, within })
    }
    return { deployments: sorted(deployments), complete: complete && versions.length <= MAX_VERSIONS }
  }

  /** The versions that the range has and the time before it has not. */
  private async fresh(): Promise<{ versions: Version[]; complete: boolean }> {
    const versions: Version[] = []
    let complete = true
    const old = new Set<string>()
    for (const key of VERSION_KEYS) {
      const query = { field: 'value', key, prefix: '', limit: MAX_VALUES } as const
      const values = await this.complete(query)
      if (values.length === MAX_VALUES) complete = false
      for (const value of values) {
        if (!this.mayGoOn()) return { versions, complete: false }
        const { from, to } = this.range
        if (!(await this.has({ key, value }, from, to))) continue
        if (await this.has({ key, value }, undefined, from - 1)) old.add(value)
        // What isn't found because the time is over may be there.
        else if (this.mayGoOn()) versions.push({ key, value })
      }
    }
    return { versions: versions.filter(({ value }) => !old.has(value)), complete }
  }

  private async firstOf(version: Version): Promise<{ time: number; within: number }> {
    let { from, to } = this.range
    const part = Math.max(MIN_PART_US, (to - from) / PARTS)
    while (to - from > part && this.mayGoOn()) {
      const middle = Math.round((from + to) / 2)
      if (await this.has(version, from, middle)) to = middle
      else if (this.mayGoOn()) from = middle
    }
    return { time: from, within: to - from }
  }

  private has({ key, value }: Version, fromUs: number | undefined, toUs: number): Promise<boolean> {
    const query: SearchQuery = {
      service: this.service,
      annotations: [{ key, value, match: 'exact' }],
      ...(fromUs !== undefined && { fromUs }),
      toUs,
      limit: MAX_READ,
    }
    return this.find(async store => {
      // A page may end before anything is found.
      for (let after: string | undefined; ; ) {
        const { traces, next } = await store.search({ ...query, ...(after !== undefined && { after }) })
        for (const { traceId } of traces) if (await this.isOwn(store, traceId, key, value)) return true
        if (traces.length > 0 || next === undefined || !this.mayGoOn()) return false
        after = next
      }
    })
  }

  private async isOwn(store: Store, traceId: string, key: string, value: string): Promise<boolean> {
    const { records } = await store.readTrace(traceIdsOf(traceId)[0]!.low, READ_BYTES)
    return records.some(({ service, annotations }) => service === this.service && annotations?.get(key) === value)
  }
}

function sorted(deployments: Deployment[]): Deployment[] {
  return deployments.sort((a, b) => a.time - b.time)
}
