/**
 * Annotations that name the other side, the surest first: Zipkin's remoteEndpoint, OpenTelemetry's name for a service, and the
 * kind of system that is called, for want of a better name. A host isn't a service, so server.address isn't here.
 */
export const PEER_KEYS = ['zipkin.remote.service', 'peer.service', 'db.system.name', 'db.system', 'messaging.system']

/** A client's annotations that name the host that it called: the graph of services has it in the place of a name that nobody gave. */
export const ADDRESS_KEYS = ['server.address', 'net.peer.name']

/** The same, and where these are missing the names that OpenTracing had, and addresses. */
const HOST_KEYS = [...ADDRESS_KEYS, 'peer.hostname', 'network.peer.address', 'net.peer.ip']

/** Returns the other side's name, or null if the annotations have none. */
export function peerOf(annotations: Record<string, string>): string | null {
  return firstOf(PEER_KEYS, annotations)
}

/** Returns the host that the annotations of a call name, or null. */
export function calledHostOf(annotations: Record<string, string>): string | null {
  return firstOf(HOST_KEYS, annotations)
}

function firstOf(keys: string[], annotations: Record<string, string>): string | null {
  for (const key of keys) {
    const name = Object.hasOwn(annotations, key) ? annotations[key] : ''
    if (name) return name
  }
  return null
}
