/**
 * Finds the trace id in pasted text or in an address. The id may be 16 or 32 hex digits, fewer of them (some senders leave out
 * leading zeros), a decimal (the original printed ids so), a UUID, the value of a traceparent, b3 or uber-trace-id header, or
 * a link to a trace.
 * @returns hex, padded to 16 or 32 digits, or a decimal as it was written; null if the text has no id
 */
export function findTraceId(text: string): string | null {
  const bare = text.trim().replace(/^["'`<]+|["'`>]+$/g, '')
  const link = /\/traces?\/([^/?#\s]+)/.exec(bare)
  if (link) return findTraceId(link[1]!)
  const id = bare.toLowerCase().replace(/^(traceparent|b3|uber-trace-id|x-b3-traceid)\s*[:=]\s*/, '')
  if (/^-?\d{1,39}$/.test(id)) return id
  const hex = /^(?:0x)?([0-9a-f]{1,32})$/.exec(id)
  if (hex) return paddedId(hex[1]!)
  const traceparent = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}(-|$)/.exec(id)
  if (traceparent) return traceparent[1]!
  const b3 = /^([0-9a-f]{16}|[0-9a-f]{32})-[0-9a-f]{16}(-|$)/.exec(id)
  if (b3) return b3[1]!
  const uber = /^([0-9a-f]{1,32})(:|%3a)[0-9a-f]{1,16}(:|%3a)/.exec(id)
  if (uber) return paddedId(uber[1]!)
  const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.exec(id)
  return uuid ? id.replaceAll('-', '') : null
}

/** Pads hex digits to 16 or 32 with the leading zeros that a sender left out. */
export function paddedId(hex: string): string {
  return hex.padStart(hex.length > 16 ? 32 : 16, '0')
}
