import { type Fields, isObject, type Reading, type Spans } from './fields'
import { readOtlpJson } from './otlp/read'

/** Reads a span that OpenTelemetry's ConsoleSpanExporter for Python printed, by way of OTLP's JSON. */
export function readConsoleSpan(json: unknown, reading: Reading): Spans {
  const span = json as Fields
  const { trace_state: traceState, ...context } = idsOf(span)
  const status = isObject(span.status) ? span.status : {}
  const all = (v: unknown) => (Array.isArray(v) ? v : []).filter(isObject)
  return readOtlpJson(
    {
      resourceSpans: [
        {
          resource: span.resource,
          scopeSpans: [
            {
              spans: [
                {
                  ...context,
                  // An empty trace state is printed as a list.
                  traceState: traceState === '[]' ? '' : traceState,
                  parentSpanId: span.parent_id,
                  ...{ name: span.name, kind: span.kind, attributes: span.attributes },
                  ...{ startTimeUnixNano: span.start_time, endTimeUnixNano: span.end_time },
                  status: { code: status.status_code, message: status.description },
                  events: all(span.events).map(({ name, timestamp, attributes }) => ({
                    ...{ name, timeUnixNano: timestamp, attributes },
                  })),
                  links: all(span.links).map(link => ({ ...idsOf(link), attributes: link.attributes })),
                },
              ],
            },
          ],
        },
      ],
    },
    reading,
  )
}

function idsOf({ context }: Fields): Fields {
  const { trace_id: traceId, span_id: spanId, trace_state } = isObject(context) ? context : {}
  return { traceId, spanId, trace_state }
}
