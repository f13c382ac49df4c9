/**
 * The trace id in whatever people paste: 16 or 32 hex digits, shorter ones of senders that don't pad, decimal as the
 * original printed it, a UUID, a traceparent, b3 or uber-trace-id header, or a link to a trace.
 * @returns what `/api/traces/{id}` takes, or null when there is no id in it
 */
export function findTraceId(text: string): string | null {
  const bare = text.trim().replace(/^["'`<]+|["'`>]+$/g, '')
  const link = /\/traces?\/([^/?#\s]+)/.exec(bare)
  const id = link ? link[1]! : bare.replace(/^(traceparent|b3|uber-trace-id|x-b3-traceid)\s*[:=]\s*/i, '').toLowerCase()
  // Decimal, signed or not; the collector also reads 16 and 32 digits as hex.
  if (/^-?\d{1,39}$/.test(id)) return id
  if (/^(0x)?[0-9a-f]{1,32}$/i.test(id)) return padded(id.replace(/^0x/i, ''))
  const traceparent = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}(-|$)/.exec(id)
  if (traceparent) return traceparent[1]!
  const b3 = /^([0-9a-f]{16}|[0-9a-f]{32})-[0-9a-f]{16}(-|$)/.exec(id)
  if (b3) return b3[1]!
  const uber = /^([0-9a-f]{1,32})(:|%3a)[0-9a-f]{1,16}(:|%3a)/.exec(id)
  if (uber) return padded(uber[1]!)
  const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.exec(id)
  return uuid ? id.replaceAll('-', '') : null
}

function padded(hex: string): string {
  return hex.toLowerCase().padStart(hex.length > 16 ? 32 : 16, '0')
}
