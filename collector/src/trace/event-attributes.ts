/** What the spans of OpenTelemetry say about their events, by the event's number: `{"0":{"attributes":{"exception.type":"Error"}}}` */
export const EVENTS_KEY = 'otel.events'

/** Senders may write what they like under this name; more than this isn't parsed, for it would hold up other requests. */
const MAX_LENGTH = 1024 * 1024

/** Returns the attributes of events by the event's number, all values as text; undefined if there is no such annotation. */
export function eventAttributes(json: string | undefined): Map<number, Record<string, string>> | undefined {
  if (json === undefined) return undefined
  const byNumber = new Map<number, Record<string, string>>()
  for (const [number, detail] of Object.entries(parsed(json))) {
    const attributes = textsOf(objectOf(detail).attributes)
    if (attributes !== undefined) byNumber.set(Number(number), attributes)
  }
  return byNumber
}

/**
 * Reads an event as OpenTelemetry's exporters write it for Zipkin: `"exception":{"exception.type":"Error"}`. Any other text is a
 * name alone.
 */
export function readEvent(value: string): { name: string; attributes?: Record<string, string> } {
  if (value.startsWith('"') && value.endsWith('}')) {
    const [[name, fields] = ['', undefined], ...more] = Object.entries(parsed(`{${value}}`))
    const attributes = more.length === 0 ? textsOf(fields) : undefined
    if (attributes !== undefined) return { name, attributes }
  }
  return { name: value }
}

function textsOf(fields: unknown): Record<string, string> | undefined {
  const entries = Object.entries(objectOf(fields))
  if (entries.length === 0) return undefined
  // fromEntries defines properties rather than setting them, so that none sets the prototype.
  return Object.fromEntries(entries.map(([key, v]) => [key, typeof v === 'string' ? v : JSON.stringify(v)]))
}

/** Parses JSON that is an object; anything else is empty. */
export function parsed(json: string): Record<string, unknown> {
  if (json.length > MAX_LENGTH) return {}
  try {
    return objectOf(JSON.parse(json))
  } catch {
    return {}
  }
}

export function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}
