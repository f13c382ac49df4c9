import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/**
 * What the collector counts. Health is stated as equations, which hold whenever nothing is being worked on right now:
 *
 *     spans received = stored + rejected + deferred + in flight
 *     calls of Log   = ok + try_later (busy or store) + bad_arguments + in flight
 *
 * A deferred span was answered TRY_LATER: its sender keeps it and sends it again, and then it is received once more. What
 * arrives while too much is in flight is deferred unread, so it counts as a call but not as spans. A stretch of a message
 * that is no record counts as one rejected span, however long it is.
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
    connections: gauge('connections', 'Scribe connections that are open.'),
    /** truncated_frame, frame_length, frame_memory, and the codec's words for what is no Thrift message. */
    connectionErrors: counter('connection_errors_total', 'Scribe connections closed for what they sent, by reason.', [
      'reason',
    ]),
    calls: counter('calls_total', 'Thrift calls, by method; unknown ones together.', ['method']),
    logResults: counter('log_calls_total', 'Calls of Log, by answer: ok, busy and store (TRY_LATER), bad_arguments.', [
      'result',
    ]),
    logInFlight: gauge('log_calls_in_flight', 'Calls of Log that wait for the store.'),
    entriesDropped: counter('entries_dropped_total', 'Log entries of another category than the configured one.'),
    spansReceived: counter('spans_received_total', 'Span records that arrived, good and bad.'),
    spansStored: counter('spans_stored_total', 'Span records that are durable.'),
    spansRejected: counter('spans_rejected_total', 'Span records that are unusable, by reason.', ['reason']),
    spansDeferred: counter('spans_deferred_total', 'Span records that the store refused and the sender keeps.'),
    spansInFlight: gauge('spans_in_flight', 'Span records that wait for the store.'),
    spansNotUtf8: counter('spans_not_utf8_total', 'Stored span records with a string that is not UTF-8.'),
    bytesInFlight: gauge('bytes_in_flight', 'Memory of what waits for the store.'),
    bytesUnfinished: gauge('bytes_unfinished', 'Memory of frames that have arrived in part.'),
    appendSeconds: new Histogram({
      name: 'milo_collector_append_seconds',
      help: 'How long the store takes to make a call durable, or to refuse it.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
      registers,
    }),
  }
}

/** Milo's own counters and gauges as flat names and whole numbers, as fb303 wants them: `spans_rejected_total.truncated`. */
export async function flatCounters(registry: Registry): Promise<Map<string, bigint>> {
  const flat = new Map<string, bigint>()
  for (const metric of await registry.getMetricsAsJSON()) {
    if (!metric.name.startsWith('milo_collector_') || String(metric.type) === 'histogram') continue
    for (const { labels, value } of metric.values) {
      const name = [metric.name.slice('milo_collector_'.length), ...Object.values(labels)].join('.')
      flat.set(name, BigInt(Math.round(value)))
    }
  }
  return flat
}
