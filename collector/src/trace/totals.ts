import type { NameTotals, ServiceTotals, Totals, Trace, TraceSpan } from './model'

/** Adds spans up by service, and by service and name. */
export class Adder {
  private readonly services = new Map<string | null, { totals: ServiceTotals; names: Map<string, NameTotals> }>()

  /** @param reported for each service the number of spans that it reported */
  constructor(reported: Map<string, { spans: number }>) {
    for (const service of [...reported.keys()].sort()) this.begin(service, reported.get(service)!.spans)
  }

  add(span: TraceSpan): void {
    const service = ownerOf(span)
    const { totals, names } = this.services.get(service) ?? this.begin(service, 0)
    addSpan(totals, span)
    let ofName = names.get(span.name)
    if (ofName === undefined) names.set(span.name, (ofName = { service, name: span.name, ...nothing() }))
    addSpan(ofName, span)
  }

  totals(): Trace['totals'] {
    const all = [...this.services.values()]
    return {
      services: all.map(({ totals }) => totals),
      names: all.flatMap(({ names }) => [...names.values()].sort((a, b) => (a.name < b.name ? -1 : 1))),
    }
  }

  private begin(service: string | null, reported: number) {
    const begun = { totals: { service, reported, ...nothing() }, names: new Map<string, NameTotals>() }
    this.services.set(service, begun)
    return begun
  }
}

/** Returns the service that a span's time is attributed to: the one that did the work or, if that is unknown, the caller. */
export function ownerOf({ service, clientService }: TraceSpan): string | null {
  return service ?? clientService
}

export function nothing(): Totals {
  return { count: 0, errors: 0, total: 0, max: 0, self: 0, critical: 0 }
}

export function addSpan(totals: Totals, span: TraceSpan): void {
  const duration = span.duration ?? 0
  totals.count++
  if (span.error) totals.errors++
  totals.total += duration
  totals.max = Math.max(totals.max, duration)
  totals.self += span.selfTime ?? 0
  totals.critical += span.criticalTime
}
