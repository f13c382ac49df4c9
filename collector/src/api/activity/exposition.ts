import type { Counter } from '../../store/activity/counter'
import { MINUTE_US, OTHER } from '../../store/activity/model'
import { edgeKey, edgeOf, operationKey, operationOf } from '../../store/activity/rows'
import { middleOf } from '../../store/activity/sketch'
import { hexId } from '../../trace/ids'
import { Turns } from '../../turns'
import { floor } from './range'
import { kindsOfEdges, type ReadActivity, type Sums, sumBusiest, WHOLE } from './sums'

/**
 * What services did, for Prometheus. A counter is the sum of all that happened since midnight (UTC), as the store has it: so it is
 * the same at every collector of a store and after a restart, it grows by late spans too, and it starts again at midnight as
 * Prometheus expects of a process that does. docs/rationale.md has the reasons.
 */

const DAY_US = 24 * 60 * MINUTE_US
/** How far the clocks of senders may be ahead. */
const AHEAD_US = 10 * MINUTE_US
/**
 * Edges are counted as soon as one half is known, and corrected when the other one comes: after this time most of them are what
 * they will be. The corrections that come later never make a counter smaller (see Highs).
 */
const EDGES_AFTER_US = 3 * MINUTE_US
/** Upper bounds of the histogram's buckets, in seconds. */
const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
/** How many series an operation or an edge has: calls, errors, the buckets with +Inf, sum and count. */
export const SERIES_EACH = BOUNDS.length + 5
/** Where the middle of a bin of durations is, as a share of its upper bound. */
const MIDDLE = middleOf(0)
/** What is beyond the cap is counted by three sides, and as one edge. */
const OTHERS = 4

export type Format = 'prometheus' | 'openmetrics'
export const CONTENT_TYPES: Record<Format, string> = {
  prometheus: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
}

/** Returns the format that a client prefers, by its Accept header. */
export function formatOf(accept = ''): Format {
  const quality = (type: string) => {
    const [, parameters] =
      accept
        .split(',')
        .map(part => /^\s*([^\s;]+)(.*)$/.exec(part)?.slice(1) ?? [])
        .find(([name]) => name?.toLowerCase() === type) ?? []
    return parameters === undefined ? 0 : Number(/;\s*q=([\d.]+)/.exec(parameters)?.[1] ?? 1)
  }
  const openMetrics = quality('application/openmetrics-text')
  return openMetrics > 0 && openMetrics >= quality('text/plain') ? 'openmetrics' : 'prometheus'
}

/** One operation or edge. */
interface Exposed {
  labels: string
  calls: number
  errors: number
  /** Cumulative, the last one for all durations. */
  buckets: number[]
  seconds: number
  /** By bucket; the failed one last. */
  exemplars: (string | undefined)[]
}

export class ServiceExposition {
  private readonly read: ReadActivity
  private readonly maxSeries: number
  private sinceUs = Number.NaN
  private operations = new Highs()
  private edges = new Highs()
  private working: Promise<{ operations: Exposed[]; edges: Exposed[]; leftOut: number; sinceUs: number }> | undefined

  constructor(read: ReadActivity, maxSeries: number) {
    this.read = read
    this.maxSeries = maxSeries
  }

  /** Scrapes at the same time share one read of the store. */
  async expose(format: Format, nowUs: number): Promise<string> {
    this.working ??= this.count(nowUs).finally(() => {
      this.working = undefined
    })
    const { operations, edges, leftOut, sinceUs } = await this.working
    const text = new Text(format)
    await text.calls('milo_service', 'calls of each operation', operations)
    await text.calls('milo_dependency', 'calls between services', edges)
    text.gauge(
      'milo_service_left_out',
      'Operations and edges beyond the cap on series: all are counted as (other).',
      leftOut,
    )
    text.gauge('milo_service_since_seconds', 'Since when the counters count: midnight, UTC.', sinceUs / 1e6)
    return text.end()
  }

  private async count(nowUs: number) {
    const sinceUs = floor(nowUs, DAY_US)
    if (sinceUs !== this.sinceUs) {
      this.sinceUs = sinceUs
      this.operations = new Highs()
      this.edges = new Highs()
    }
    const max = Math.max(0, Math.floor(this.maxSeries / SERIES_EACH) - OTHERS)
    const query = { fromUs: sinceUs, stepUs: WHOLE }
    const toUs = Math.max(floor(nowUs - EDGES_AFTER_US, MINUTE_US), sinceUs)
    const edges: Sums =
      toUs === sinceUs
        ? { counters: new Map(), leftOut: 0 }
        : await sumBusiest(
            this.read,
            { ...query, toUs, kinds: kindsOfEdges() },
            {
              keyOf({ key }) {
                const { caller, callee } = edgeOf(key)
                return edgeKey({ caller, callerName: '', callee, calleeName: '' })
              },
              otherOf: () => edgeKey({ caller: OTHER, callerName: '', callee: OTHER, calleeName: '' }),
              max: Math.floor(max / 4),
              prefer: this.edges.known,
            },
          )
    const operations = await sumBusiest(
      this.read,
      { ...query, toUs: nowUs + AHEAD_US, kinds: ['operations'] },
      {
        keyOf: ({ key }) => key,
        otherOf: key => operationKey({ service: OTHER, name: OTHER, side: operationOf(key).side }),
        max: max - Math.min(edges.counters.size, Math.floor(max / 4)),
        prefer: this.operations.known,
      },
    )
    return {
      sinceUs,
      leftOut: operations.leftOut + edges.leftOut,
      edges: await this.edges.keep(edges, key => {
        const { caller, callee } = edgeOf(key)
        return labelsOf({ caller, callee })
      }),
      operations: await this.operations.keep(operations, key => {
        const { service, name, side } = operationOf(key)
        return labelsOf({ service, operation: name, side })
      }),
    }
  }
}

/** The highest that was exposed of each. A counter that shrinks would be taken for one that has started again. */
class Highs {
  private readonly exposed = new Map<string, Exposed>()

  /** They keep their names until the end of the day, so that what is counted as (other) grows only. */
  get known(): ReadonlySet<string> {
    return new Set(this.exposed.keys())
  }

  async keep({ counters }: Sums, labels: (key: string) => string): Promise<Exposed[]> {
    const turns = new Turns()
    for (const [key, counter] of counters) {
      const now = exposedOf(counter, labels(key))
      const before = this.exposed.get(key)
      if (before !== undefined) {
        now.calls = Math.max(now.calls, before.calls)
        now.errors = Math.max(now.errors, before.errors)
        now.seconds = Math.max(now.seconds, before.seconds)
        now.buckets = now.buckets.map((n, i) => Math.max(n, before.buckets[i]!))
      }
      this.exposed.set(key, now)
      if (turns.over()) await turns.next()
    }
    return [...this.exposed].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, exposed]) => exposed)
  }
}

function exposedOf(counter: Counter, labels: string): Exposed {
  const buckets = new Array<number>(BOUNDS.length + 1).fill(0)
  // A bin is 4% wide, so a bound is 2% off at most.
  counter.durations.forEach((upToUs, weight) => {
    buckets[bucketOf(upToUs * MIDDLE)]! += weight
  })
  let sum = 0
  for (const [i, weight] of buckets.entries()) buckets[i] = positive((sum += weight), buckets[i - 1])
  const exemplars: Exposed['exemplars'] = []
  for (const { traceId, startUs, durationUs, kind } of counter.exemplars()) {
    if (durationUs === null) continue
    const seconds = durationUs / 1e6
    const exemplar = `# {trace_id="${hexId(traceId)}"} ${seconds} ${startUs / 1e6}`
    if (kind === 'failed') exemplars[BOUNDS.length + 1] = exemplar
    else exemplars[bucketOf(durationUs)] = exemplar
  }
  return {
    labels,
    calls: positive(counter.calls),
    errors: positive(counter.errors),
    buckets,
    seconds: Math.max(0, counter.durations.sum / 1e6),
    exemplars,
  }
}

/** OpenMetrics wants whole numbers in buckets, and corrections may have left less than nothing. */
function positive(n: number, least = 0): number {
  return Math.max(least, Math.round(n))
}

function bucketOf(durationUs: number): number {
  const i = BOUNDS.findIndex(bound => durationUs <= bound * 1e6)
  return i === -1 ? BOUNDS.length : i
}

function labelsOf(labels: Record<string, string>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, c => (c === '\n' ? '\\n' : `\\${c}`))}"`)
    .join(',')
}

/** Writes both formats. In OpenMetrics a counter's family has no _total, and there are exemplars and an end. */
class Text {
  private readonly isOpen: boolean
  private readonly parts: string[] = []

  constructor(format: Format) {
    this.isOpen = format === 'openmetrics'
  }

  async calls(prefix: string, what: string, all: Exposed[]): Promise<void> {
    const turns = new Turns()
    const counter = async (name: string, help: string, line: (exposed: Exposed) => string) => {
      this.family(this.isOpen ? name : `${name}_total`, 'counter', help)
      for (const exposed of all) {
        this.parts.push(`${name}_total{${exposed.labels}} ${line(exposed)}\n`)
        if (turns.over()) await turns.next()
      }
    }
    const exemplar = (text: string | undefined) => (this.isOpen && text !== undefined ? ` ${text}` : '')
    await counter(`${prefix}_calls`, `The ${what}, sampled or not.`, ({ calls }) => `${calls}`)
    await counter(
      `${prefix}_errors`,
      `The ${what} that failed.`,
      ({ errors, exemplars }) => `${errors}${exemplar(exemplars[BOUNDS.length + 1])}`,
    )
    const name = `${prefix}_duration_seconds`
    this.family(name, 'histogram', `How long the ${what} took.`)
    for (const { labels, buckets, seconds, exemplars } of all) {
      const lines = buckets.map((n, i) => {
        const bound = i === BOUNDS.length ? '+Inf' : this.isOpen ? decimal(BOUNDS[i]!) : `${BOUNDS[i]}`
        return `${name}_bucket{${labels},le="${bound}"} ${n}${exemplar(exemplars[i])}\n`
      })
      lines.push(`${name}_sum{${labels}} ${seconds}\n`, `${name}_count{${labels}} ${buckets.at(-1)}\n`)
      this.parts.push(lines.join(''))
      if (turns.over()) await turns.next()
    }
  }

  gauge(name: string, help: string, value: number): void {
    this.family(name, 'gauge', help)
    this.parts.push(`${name} ${value}\n`)
  }

  end(): string {
    return this.parts.join('') + (this.isOpen ? '# EOF\n' : '')
  }

  private family(name: string, type: string, help: string): void {
    this.parts.push(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`)
  }
}

/** OpenMetrics has 1.0 for 1, so that a bound is always written in one way. */
function decimal(n: number): string {
  return Number.isInteger(n) ? `${n}.0` : `${n}`
}
