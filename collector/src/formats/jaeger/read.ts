import { anyInteger, type Fields, isObject, type Reading, type Spans } from '../fields'
import { readOtlpJson } from '../otlp/read'

/**
 * Reads Jaeger's JSON: `{ data: [trace, …] }` or one trace, as its interface downloads them and its API answers, or one span with
 * its process inside, as Elasticsearch stores it. It is converted to OTLP, which has a field for everything in it.
 */
export function* readJaegerJson(json: unknown, reading: Reading): Spans {
  const { data } = json as Fields
  const traces = Array.isArray(data) ? data : [isObject(data) ? data : json]
  for (const trace of traces.filter(isObject)) {
    const spans = (Array.isArray(trace.spans) ? trace.spans : 'spanID' in trace ? [trace] : []).filter(isObject)
    const processes = isObject(trace.processes) ? trace.processes : {}
    const resourceSpans = spans.map(span => {
      const process = isObject(span.process) ? span.process : processes[String(span.processID)]
      return toResourceSpans(span, isObject(process) ? process : {})
    })
    if (resourceSpans.length > 0) yield* readOtlpJson({ resourceSpans }, reading, 'jaeger')
    else reading.passOver(Object.keys(trace))
  }
}

function toResourceSpans(span: Fields, process: Fields) {
  const tags = tagsOf(span.tags)
  const take = (...keys: string[]) => {
    for (const key of keys) {
      const at = tags.findIndex(tag => tag.key === key)
      if (at !== -1) return tags.splice(at, 1)[0]!.value
    }
    return undefined
  }
  const traceId = padded(span.traceID, 32)
  const references = (Array.isArray(span.references) ? span.references : []).filter(isObject)
  const ofTrace = references.filter(({ traceID }) => traceID === undefined || padded(traceID, 32) === traceId)
  const parent = ofTrace.find(({ refType }) => refType === 'CHILD_OF') ?? ofTrace[0]
  const start = anyInteger(span.startTime)
  const duration = anyInteger(span.duration)
  return {
    resource: { attributes: [{ key: 'service.name', value: process.serviceName }, ...tagsOf(process.tags)] },
    scopeSpans: [
      {
        scope: {
          name: take('otel.scope.name', 'otel.library.name'),
          version: take('otel.scope.version', 'otel.library.version'),
        },
        spans: [
          {
            traceId,
            spanId: padded(span.spanID, 16),
            parentSpanId: padded(parent?.spanID ?? span.parentSpanID, 16),
            name: span.operationName,
            kind: take('span.kind'),
            startTimeUnixNano: start === undefined ? span.startTime : start * 1000n,
            endTimeUnixNano: start === undefined || duration === undefined ? span.duration : (start + duration) * 1000n,
            status: { code: take('otel.status_code'), message: take('otel.status_description') },
            traceState: take('w3c.tracestate'),
            attributes: tags,
            events: (Array.isArray(span.logs) ? span.logs : []).map(toEvent),
            links: references
              .filter(reference => reference !== parent)
              .map(({ traceID, spanID, refType }) => ({
                ...{ traceId: padded(traceID, 32), spanId: padded(spanID, 16) },
                attributes: [{ key: 'opentracing.ref_type', value: refType }],
              })),
          },
        ],
      },
    ],
  }
}

function toEvent(log: unknown) {
  if (!isObject(log)) return log
  const attributes = tagsOf(log.fields)
  const named = attributes.findIndex(({ key }) => key === 'event')
  const time = anyInteger(log.timestamp)
  return {
    timeUnixNano: time === undefined ? log.timestamp : time * 1000n,
    name: named === -1 ? 'log' : attributes.splice(named, 1)[0]!.value,
    attributes,
  }
}

/** Converts tags to OTLP's attributes. JSON's own types need no kind; 64-bit numbers and bytes do. */
function tagsOf(tags: unknown): { key: unknown; value: unknown }[] {
  return (Array.isArray(tags) ? tags : []).filter(isObject).map(({ key, type, value }) => {
    if (type === 'int64') return { key, value: { intValue: value } }
    if (type === 'float64') return { key, value: { doubleValue: value } }
    if (type === 'binary') return { key, value: { bytesValue: value } }
    return { key, value }
  })
}

/** Restores the leading zeros that Jaeger leaves out. */
function padded(id: unknown, digits: number): unknown {
  return typeof id === 'string' && id !== '' ? id.padStart(digits, '0') : id
}
