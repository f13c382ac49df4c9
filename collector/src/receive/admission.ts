/** The part of a connection that admission needs. */
export interface Guest {
  readonly address: string
  /** Returns the time since which the connection is idle or too slow. Then another connection may replace it. */
  yieldsSince(): number | undefined
  destroy(): void
}

export interface AdmissionOptions {
  maxConnections: number
  /** Returns whether one address may have all connections. Any other address may have half of them. */
  isTrusted(address: string): boolean
  closed(reason: 'evicted' | 'refused'): void
  warn(where: object): void
}

/** When there are too many connections, a connection whose frame takes longer than this at a lower rate may be closed. */
const YIELD_MS = 500
const YIELD_BYTES_A_MS = 16

export function isSlow(elapsedMs: number, bytes: number): boolean {
  return elapsedMs > YIELD_MS && bytes < elapsedMs * YIELD_BYTES_A_MS
}

/**
 * Makes room for one more connection. If there is none, the connection that has been idle or slow for longest is closed, so
 * that a peer that opens all connections can't keep others out.
 * @returns false when no connection can be closed
 */
export function makesRoom<G extends Guest>(guests: Set<G>, address: string, options: AdmissionOptions): boolean {
  const { maxConnections, isTrusted, closed, warn } = options
  const ofAddress = isTrusted(address) ? [] : [...guests].filter(other => other.address === address)
  const tooMany = ofAddress.length >= Math.ceil(maxConnections / 2)
  if (!tooMany && guests.size < maxConnections) return true
  let idlest: G | undefined
  let since = Number.POSITIVE_INFINITY
  for (const guest of tooMany ? ofAddress : guests) {
    const yields = guest.yieldsSince() ?? Number.POSITIVE_INFINITY
    if (yields < since) [idlest, since] = [guest, yields]
  }
  warn(tooMany ? { maxConnections, address } : { maxConnections })
  closed(idlest === undefined ? 'refused' : 'evicted')
  if (idlest === undefined) return false
  guests.delete(idlest)
  idlest.destroy()
  return true
}
