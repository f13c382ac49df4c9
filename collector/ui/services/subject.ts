import type { Edge, Operation } from '../../src/http/answers'
import { type TimeRange, withRange } from '../range/range'

/** What the charts of a service's page are about: its work, one of its operations, or the calls between it and another. */
export type Subject =
  | { kind: 'service' }
  | ({ kind: 'operation' } & Pick<Operation, 'name' | 'side'>)
  | ({ kind: 'edge' } & Edge)

/** Reads it from the page's address. */
export function subjectOf(query: URLSearchParams): Subject {
  const [from, to] = [query.get('caller'), query.get('callee')]
  if (from !== null && to !== null) {
    const [fromName, toName] = [query.get('callerName'), query.get('calleeName')]
    return {
      kind: 'edge',
      ...{ from, to },
      ...(fromName !== null && { fromName }),
      ...(toName !== null && { toName }),
    }
  }
  const [name, side] = [query.get('name'), query.get('side')]
  if (name !== null && (side === 'client' || side === 'server' || side === 'local')) {
    return { kind: 'operation', name, side }
  }
  return { kind: 'service' }
}

/** The parameters of an edge, in an address as in a question to the API. */
export function edgeParams({ from, fromName, to, toName }: Edge): Record<string, string> {
  return {
    ...{ caller: from, callee: to },
    ...(fromName !== undefined && { callerName: fromName }),
    ...(toName !== undefined && { calleeName: toName }),
  }
}

/** Where the API has its series. */
export function seriesUrl(service: string, subject: Subject, range: TimeRange): string {
  if (subject.kind === 'edge') return withRange('api/series', range, {}, edgeParams(subject))
  const operation = subject.kind === 'operation' && { name: subject.name, side: subject.side }
  return withRange('api/series', range, {}, { service, ...operation })
}

/** "Cart.total (server)", "web POST /checkout → cart Cart.total" */
export function subjectTitle(service: string, subject: Subject): string {
  if (subject.kind === 'service') return service || 'A service without a name'
  if (subject.kind === 'operation') return `${subject.name || 'no name'} (${subject.side})`
  const end = (service: string, name: string | undefined) => [service || 'no name', name].filter(Boolean).join(' ')
  return `${end(subject.from, subject.fromName)} → ${end(subject.to, subject.toName)}`
}
