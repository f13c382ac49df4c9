import type { EdgeFigures, PeersAnswer, ServicesAnswer } from '../../src/http/answers'

/** How a node of the graph is drawn: a service, or what reports no spans. */
export type NodeKind = 'service' | 'database' | 'queue' | 'silent'

export const KIND_TITLES: Record<Exclude<NodeKind, 'service'>, string> = {
  database: 'database',
  queue: 'queue',
  silent: 'reports no spans',
}

/** The API takes no more names at once. */
const MAX_NAMES = 50

/** Returns the names in the graph that no service has reported under: those with the most calls, as many as can be asked about. */
export function unreported(edges: EdgeFigures[], { services }: Pick<ServicesAnswer, 'services'>): string[] {
  const reported = new Set(services.map(({ service }) => service))
  // Edges come with the most calls first.
  const names = new Set(edges.flatMap(({ from, to }) => [to, from]))
  return [...names].filter(name => name !== '' && name !== '(other)' && !reported.has(name)).slice(0, MAX_NAMES)
}

/**
 * Tells what the unreported ones are.
 * @param truncated whether there are more services than are known to report
 */
export function kindsOf(
  edges: EdgeFigures[],
  names: string[],
  { peers }: PeersAnswer,
  truncated: boolean,
): Map<string, NodeKind> {
  const callers = new Set(edges.map(({ from }) => from))
  const queues = new Set(peers.filter(({ kind }) => kind === 'queue').map(({ name }) => name))
  const consumers = new Set(edges.filter(({ from }) => queues.has(from)).map(({ to }) => to))
  const said = new Map(peers.map(({ name, kind }) => [name, kind]))
  return new Map(
    names.map((name): [string, NodeKind] => {
      const kind = said.get(name) ?? 'unknown'
      if (kind !== 'unknown') return [name, kind]
      // What calls others reports its calls, if nothing else; and a queue reports nothing, so what it calls has said so itself.
      return [name, callers.has(name) || consumers.has(name) || truncated ? 'service' : 'silent']
    }),
  )
}
