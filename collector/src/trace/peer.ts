/**
 * Annotations by which a span names the other side, the surest first: Zipkin's remoteEndpoint, OpenTelemetry's name for a service,
 * and the kinds of what is called, where it has no better name. A host isn't a service: server.address names none.
 */
export const PEER_KEYS = ['zipkin.remote.service', 'peer.service', 'db.system.name', 'db.system', 'messaging.system']

/** The other side's name; null where the span gives none. */
export function peerOf(annotations: Record<string, string>): string | null {
  for (const key of PEER_KEYS) {
    const name = Object.hasOwn(annotations, key) ? annotations[key] : ''
    if (name) return name
  }
  return null
}
