/** The annotation that has a span's sampling probability in formats without a field for it. */
export const PROBABILITY_KEY = 'milo.probability'

const DIGITS = 14
const KEEP_ALL = 2n ** 56n

/**
 * Returns the probability with which a span's trace was kept, as far as a sender in another format tells; undefined if unknown.
 * @param traceState W3C trace state. OpenTelemetry's part of it, `ot`, has the rejection threshold `th`, of up to 14 hex digits
 * with trailing zeros left out (p = 1 − th / 2^56); in an earlier draft, `p` (2^−p). The source is OpenTelemetry's "TraceState:
 * Probability Sampling".
 */
export function probabilityOf(
  annotations: ReadonlyMap<string, string> | undefined,
  traceState: string,
): number | undefined {
  const own = annotations?.get(PROBABILITY_KEY)
  if (own !== undefined && /^\d/.test(own)) {
    const p = Number(own)
    return p >= 0 && p <= 1 ? p : undefined
  }
  const ot = /(?:^|,)\s*ot=([^,]*)/.exec(traceState)?.[1]
  if (ot === undefined) return undefined
  const threshold = /(?:^|;)th:([0-9a-f]{1,14})\s*(?:;|$)/.exec(ot)?.[1]
  if (threshold !== undefined) {
    return Number(KEEP_ALL - BigInt(`0x${threshold.padEnd(DIGITS, '0')}`)) / Number(KEEP_ALL)
  }
  const exponent = /(?:^|;)p:(\d{1,2})\s*(?:;|$)/.exec(ot)?.[1]
  return exponent === undefined || Number(exponent) > 62 ? undefined : 2 ** -Number(exponent)
}
