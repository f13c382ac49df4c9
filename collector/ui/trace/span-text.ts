import type { TraceSpan } from '../../src/trace'

/** Returns everything that a search within the trace looks at, in lower case with one fact per line, so that `key=value` is found too. */
export function textOf(span: TraceSpan): string {
  const facts = [span.name, span.service, span.clientService, span.clientHost, span.serverHost, span.spanId]
  for (const [key, value] of Object.entries(span.annotations)) facts.push(`${key}=${value}`)
  for (const [key, value] of Object.entries(span.counters)) facts.push(`${key}=${value}`)
  for (const { value } of span.events) facts.push(value)
  if (span.error) facts.push('error')
  return facts
    .filter(fact => fact !== null && fact !== '')
    .join('\n')
    .toLowerCase()
}

/** Returns the indexes of the texts that contain all words of the query. */
export function findText(texts: string[], query: string): Int32Array {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean)
  const found: number[] = []
  if (words.length === 0) return new Int32Array(0)
  for (let i = 0; i < texts.length; i++) if (words.every(word => texts[i]!.includes(word))) found.push(i)
  return Int32Array.from(found)
}
