import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Backlog } from './store/store'

/**
 * What the collector counts. Health is stated as equations, which hold at any moment, by source too where there is one:
 *
 *     spans received = stored + rejected + deferred + in flight
 *     calls of Log   = ok + try_later (busy or store) + bad_arguments + in flight
 *
 * A deferred span was answered TRY_LATER: its sender keeps it and sends it again, and then it is received once more. What
 * arrives while too much is in flight is deferred unread, so it counts as a call but not as spans. A stretch of a message
 * that is no record counts as one rejected span, however long it is. A call that can't be read to its end has no spans.
 */
export type Metrics = ReturnType<typeof createMetrics>

export function createMetrics() {
  const registry = new Registry()
  const registers = [registry]
  const counter = <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name: `milo_collector_${name}`, help, labelNames, registers })
  const gauge = (name: string, help: string) => new Gauge({ name: `milo_collector_${name}`, help, registers })
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    connections: gauge('connections', 'Open Scribe connections.'),
    /** truncated_frame, frame_length, frame_memory, and the codec's words for what is no Thrift message. */
    connectionErrors: counter(
      'connection_errors_total',
      'Scribe connections closed because of what they sent, by reason.',
      ['reason'],
    ),
    /** idle; stalled: a frame or its replies didn't move, or too slowly; evicted: for another; refused: too many. */
    connectionsClosed: counter(
      'connections_closed_total',
      'Scribe connections closed because they were idle, slow or too many, by reason.',
      ['reason'],
    ),
    /** evicted: for another; refused: too many. */
    httpClosed: counter(
      'http_connections_closed_total',
      'HTTP connections closed because there were too many, by reason.',
      ['reason'],
    ),
    calls: counter('calls_total', 'Thrift calls, by method; unknown methods are counted together.', ['method']),
    logResults: counter('log_calls_total', 'Calls of Log, by answer: ok, busy and store (TRY_LATER), bad_arguments.', [
      'result',
    ]),
    logInFlight: gauge('log_calls_in_flight', 'Calls of Log that are being read or wait for the store.'),
    entriesDropped: counter('entries_dropped_total', 'Log entries with a category that is not configured.'),
    spansReceived: counter('spans_received_total', 'Span records that arrived, good and bad, by source.', ['source']),
    spansStored: counter('spans_stored_total', 'Span records that are durable, by source.', ['source']),
    spansRejected: counter('spans_rejected_total', 'Unusable span records, by source and reason.', [
      'source',
      'reason',
    ]),
    detailsLeftOut: counter(
      'details_left_out_total',
      'Fields that could not be read, of spans that are stored without them, by format, field and reason.',
      ['format', 'field', 'reason'],
    ),
    spansDeferred: counter('spans_deferred_total', 'Span records that the store refused and the sender keeps.', [
      'source',
    ]),
    spansInFlight: new Gauge({
      name: 'milo_collector_spans_in_flight',
      help: 'Span records that wait for the store, by source.',
      labelNames: ['source'],
      registers,
    }),
    bytesInFlight: gauge('bytes_in_flight', 'Memory of the calls that are being read or wait for the store.'),
    bytesUnfinished: gauge('bytes_unfinished', 'Memory of frames that have arrived in part.'),
    bytesUnread: gauge('bytes_unread', 'Memory of frames that have arrived whole and wait for their turn.'),
    appendSeconds: new Histogram({
      name: 'milo_collector_append_seconds',
      help: 'How long the store takes to make a call durable, or to refuse it.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
      registers,
    }),
    httpSeconds: new Histogram({
      name: 'milo_collector_http_request_seconds',
      help: 'How long HTTP requests take, by route and status.',
      labelNames: ['route', 'status'],
      buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
      registers,
    }),
    keepsAnnounced: counter(
      'keeps_announced_total',
      'Traces and operations that processes were asked to keep after the fact, by reason: error, slow, lateral, requested, application.',
      ['reason'],
    ),
    keepsRefused: counter('keeps_refused_total', 'Traces that were not announced because there were too many.'),
    keepRowsDropped: counter(
      'keep_rows_dropped_total',
      'Announcements and reasons that were not written to the store, because there were too many or it took none.',
    ),
    authFailures: counter('auth_failures_total', 'HTTP requests with wrong credentials.'),
  }
}

/** What is accepted, and so durable, but not yet where searches find it. */
export function exposeBacklog({ registry }: Metrics, backlog: () => Backlog): void {
  for (const [unit, what] of [
    ['spans', 'Accepted span records that are not indexed yet.'],
    ['bytes', 'Memory or disk space of those records.'],
  ] as const) {
    new Gauge({
      name: `milo_backlog_${unit}`,
      help: what,
      registers: [registry],
      collect() {
        this.set(backlog()[unit])
      },
    })
  }
  for (const [name, field, help] of [
    [
      'spans_not_utf8_total',
      'notUtf8',
      'Indexed span records with a name, service or annotation that is not UTF-8; they are kept as they came.',
    ],
    ['spans_put_aside_total', 'putAside', 'Stored span records that a database refuses for good; quarantine has them.'],
  ] as const) {
    new Counter({
      name: `milo_collector_${name}`,
      help,
      registers: [registry],
      collect() {
        this.reset()
        this.inc(backlog()[field])
      },
    })
  }
}

/** Who asks which traces to keep after the fact. */
export function exposeKeeping(
  { registry }: Metrics,
  keeping: { feed: { polls: number }; rings: { size: number } },
): void {
  for (const [name, help, value] of [
    ['keep_polls', 'Questions for what to keep after the fact that wait for an answer.', () => keeping.feed.polls],
    ['keep_processes', 'Processes with a history that ask.', () => keeping.rings.size],
  ] as const) {
    new Gauge({
      name: `milo_collector_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(value())
      },
    })
  }
}

/** What is counted of what services did. */
export function exposeActivity({ registry }: Metrics, activity: () => Backlog['activity']): void {
  new Counter({
    name: 'milo_collector_activity_records_total',
    help: 'Settled span records, by what became of them in the figures of services: counted, repeated (counted before), forced (their trace stands for no others), out_of_time, overrun (too many minutes at once).',
    labelNames: ['result'],
    registers: [registry],
    collect() {
      this.reset()
      const { counted, repeated, forced, outOfTime, overrun } = activity()
      for (const [result, n] of Object.entries({ counted, repeated, forced, out_of_time: outOfTime, overrun })) {
        this.inc({ result }, n)
      }
    },
  })
  for (const [name, field, help] of [
    ['unknown_total', 'unknown', 'Counted span records that have no sampling probability: each counts once.'],
    [
      'waiting_dropped_total',
      'waitingDropped',
      'Span records that no longer wait for the other half of their call, because too many do.',
    ],
  ] as const) {
    new Counter({
      name: `milo_collector_activity_${name}`,
      help,
      registers: [registry],
      collect() {
        this.reset()
        this.inc(activity()[field])
      },
    })
  }
  new Gauge({
    name: 'milo_activity_unfolded',
    help: 'Settlings whose figures are not added to the stored ones yet; reads add them up each time.',
    registers: [registry],
    collect() {
      this.set(activity().unfolded)
    },
  })
}

/**
 * Milo's own counters and gauges as flat names and whole numbers, as fb303 wants them: `spans_rejected_total`, the sum, and
 * `spans_rejected_total.scribe.truncated`.
 */
export async function flatCounters(registry: Registry): Promise<Map<string, bigint>> {
  const flat = new Map<string, bigint>()
  for (const metric of await registry.getMetricsAsJSON()) {
    const [, name] = /^milo_(?:collector_)?(.*)/.exec(metric.name) ?? []
    if (name === undefined || String(metric.type) === 'histogram') continue
    let sum = 0
    for (const { labels, value } of metric.values) {
      sum += value
      const labelValues = Object.values(labels)
      if (labelValues.length > 0) flat.set([name, ...labelValues].join('.'), BigInt(Math.round(value)))
    }
    flat.set(name, BigInt(Math.round(sum)))
  }
  return flat
}
