/** What a link to logs is about. Times are microseconds since the epoch. */
export interface LogSubject {
  traceId: string
  spanId: string
  service: string
  from: number
  to: number
}

/** Logs are looked for this much before and after, because clocks differ and a log may be written later. */
const AROUND_US = 60e6

/**
 * Fills in the collector's `log_link`: `https://logs.example/?q={traceId}&from={from}&to={to}`. Names come from strangers, so values are
 * encoded, and none can change the host, the path or other parameters.
 * @returns undefined if the template isn't a link of the web, or a value would change it
 */
export function logLink(template: string, subject: LogSubject): string | undefined {
  const from = timeOf(subject.from - AROUND_US)
  const to = timeOf(subject.to + AROUND_US)
  if (from === undefined || to === undefined) return undefined
  const values: Record<string, string> = {
    traceId: subject.traceId,
    spanId: subject.spanId,
    service: subject.service,
    from: from.toISOString(),
    to: to.toISOString(),
    fromMs: String(from.getTime()),
    toMs: String(to.getTime()),
  }
  let harmless = true
  const filled = template.replace(/\{(\w+)\}/g, (whole, name: string) => {
    if (!Object.hasOwn(values, name)) return whole
    const value = values[name]!
    // As a part of a path these would lead elsewhere, encoded or not.
    if (/^\.{1,2}$/.test(value)) harmless = false
    return encoded(value)
  })
  return harmless && /^https?:\/\/[^/?#{}]+(?:[/?#]|$)/i.test(template) && URL.canParse(filled) ? filled : undefined
}

function timeOf(us: number): Date | undefined {
  const time = new Date(Math.round(us / 1000))
  return Number.isNaN(time.getTime()) ? undefined : time
}

/** Encodes all but letters, digits and `-._~`. Half of a surrogate pair, which has no encoding, becomes U+FFFD. */
function encoded(value: string): string {
  return encodeURIComponent(value.replace(/\p{Surrogate}/gu, '\ufffd')).replace(
    /[!'()*]/g,
    mark => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}
