import type { EarlierDependency as Dependency } from '../../src/http/answers'

/** "3.1/s", "12/min", "0.4/min" */
export function rateOf(spans: number, lengthUs: number): string {
  const perSecond = spans / (lengthUs / 1e6)
  const [n, unit] = perSecond >= 1 ? [perSecond, 's'] : [perSecond * 60, 'min']
  return `${n >= 100 ? Math.round(n).toLocaleString() : Number(n.toPrecision(2))}/${unit}`
}

/** "0.4%" */
export function shareOf(errors: number, spans: number): string {
  const share = spans === 0 ? 0 : (100 * errors) / spans
  return `${share === 0 || share >= 10 ? Math.round(share) : Number(share.toPrecision(2))}%`
}

/** Graphviz takes seconds for more, and nobody could follow them. */
const MAX_SERVICES = 120
const MAX_EDGES = 200

/** Returns the pairs with the most calls, as many as can be drawn. */
export function drawnEdges(edges: Dependency[]): Dependency[] {
  const services = new Set<string>()
  const drawn: Dependency[] = []
  for (const edge of [...edges].sort((a, b) => b.calls - a.calls)) {
    if (drawn.length === MAX_EDGES) break
    const fresh = new Set([edge.from, edge.to].filter(service => !services.has(service)))
    if (services.size + fresh.size > MAX_SERVICES) continue
    for (const service of fresh) services.add(service)
    drawn.push(edge)
  }
  return drawn
}
