import type { Attributes } from '@opentelemetry/api'

/*
 * OpenTelemetry's conventions for RPC spans became stable in version 1.45 (2026), with other keys than before. What is sent is
 * chosen as in OpenTelemetry's own instrumentations, of which none has changed its default: OTEL_SEMCONV_STABILITY_OPT_IN is
 * empty for the old keys, `rpc` for the new ones, `rpc/dup` for both. The value for Thrift is the Java agent's.
 */

export const OLD = 1
export const STABLE = 2
const SYSTEM = 'apache_thrift'

/** @param optIn the variable's value. @returns OLD, STABLE or both */
export function conventionsOf(optIn: string | undefined): number {
  const words = (optIn ?? '').split(',').map(word => word.trim().toLowerCase())
  if (words.includes('rpc/dup')) return OLD | STABLE
  return words.includes('rpc') ? STABLE : OLD
}

/** What is known of a call before it begins. */
export interface Known {
  /** The span's. */
  name: string
  service: string | undefined
  method: string
  attributes: Attributes
}

const KNOWN = Symbol('milo.known')

/**
 * It is kept with the plugin's list, which is the same for all calls of an operation.
 * @param annotations key, value, …, as the plugin has them for its operation
 */
export function knownOf(annotations: readonly string[] & { [KNOWN]?: Known }, conventions: number): Known {
  annotations[KNOWN] ??= describe(annotations, conventions)
  return annotations[KNOWN]
}

function describe(annotations: readonly string[], conventions: number): Known {
  const attributes: Attributes = {}
  let service: string | undefined
  let method = ''
  let isUnknown = false
  for (let i = 0; i < annotations.length; i += 2) {
    const key = annotations[i]!
    const value = annotations[i + 1]!
    if (key === 'rpc.service') service = value
    else if (key === 'rpc.method') method = value
    else if (key === 'thrift.unknown_method') isUnknown = true
    else if (key !== 'rpc.system') attributes[key] = typed(key, value)
  }
  let name = service === undefined ? method : `${service}/${method}`
  if ((conventions & OLD) !== 0) {
    attributes['rpc.system'] = SYSTEM
    attributes['rpc.method'] = method
    if (service !== undefined) attributes['rpc.service'] = service
  }
  if ((conventions & STABLE) !== 0) {
    attributes['rpc.system.name'] = SYSTEM
    attributes['rpc.method'] = name
    if (isUnknown) {
      // A stranger's text is no name.
      attributes['rpc.method'] = '_OTHER'
      attributes['rpc.method_original'] = name
      name = SYSTEM
    }
  }
  return { name, service, method, attributes }
}

/** The plugin's annotations are strings; a port is a number in OpenTelemetry, and a flag is a boolean. */
export function typed(key: string, value: string): string | number | boolean {
  switch (key) {
    case 'server.port':
    case 'network.peer.port':
      return Number(value)
    case 'thrift.oneway':
      return true
    // IPv4 on a socket that takes both.
    case 'network.peer.address':
      return value.startsWith('::ffff:') ? value.slice(7) : value
    default:
      return value
  }
}
