import type { SeenRing } from '../../store/keeps'
import type { Trace } from '../../trace'

/**
 * The times of a trace by the collectors' clock. A process says with its questions what time it is for it, and so rings have their times by
 * the collectors' clock; spans have theirs by their processes', and in the trace by the root's, as far as calls between hosts show it.
 */
export class Clocks {
  private readonly trace: Trace
  /** How far the clocks of processes are ahead, by service and host. */
  private readonly known = new Map<string, number>()
  /** The same for processes of which it isn't known. */
  private readonly usually: number

  /** @param keptUs when processes were asked for the trace, which began before; undefined: nobody knows */
  constructor(trace: Trace, rings: SeenRing[], keptUs: number | undefined) {
    this.trace = trace
    const services = new Set(trace.services)
    let nearest: number | undefined
    for (const { service, host, aheadUs } of rings) {
      if (aheadUs === undefined || !services.has(service)) continue
      const key = keyOf(service, host)
      this.known.set(key, nearer(this.known.get(key), aheadUs))
      nearest = nearer(nearest, aheadUs - this.skewOf(service, host))
    }
    const startUs = trace.start ?? 0
    this.usually = nearest ?? (keptUs === undefined ? 0 : Math.max(0, startUs - keptUs))
  }

  /** How far a time in the trace is ahead, of a span of this service on this host. */
  aheadOf(service: string | null, host: string | null): number {
    const aheadUs = this.known.get(keyOf(service ?? '', host ?? ''))
    return aheadUs === undefined ? this.usually : aheadUs - this.skewOf(service, host)
  }

  /** Returns by the collectors' clock a time that a process has told in one of its spans. */
  of(us: number, service: string, host: string): number {
    return us - this.skewOf(service, host) - this.aheadOf(service, host)
  }

  private skewOf(service: string | null, host: string | null): number {
    const { clocks } = this.trace
    const own = clocks.find(clock => clock.host !== null && clock.host === host)
    return (own ?? clocks.find(clock => clock.host === null && clock.service === service))?.skewUs ?? 0
  }
}

/** Of processes with one name whose clocks differ, the one that is nearer to the collectors'. */
function nearer(a: number | undefined, b: number): number {
  return a !== undefined && Math.abs(a) <= Math.abs(b) ? a : b
}

function keyOf(service: string, host: string): string {
  return JSON.stringify([service, host])
}
