import { placeOf } from 'milo/codec/keeps'
import type { SpanRecord } from 'milo/codec/span'
import { ASKS_US } from '../../keep/rings'
import { IdMap } from '../../record/ids'
import type { SeenRing } from '../../store/keeps'
import { hostName, isEveryMachine } from '../../trace'
import type { Gap } from './gaps'

/** The processes that may have been called, or have called. What has thousands of calls asks thousands of times. */

interface Process extends SeenRing {
  /** The ports at which it takes calls, and whether by the machine's own loopback. */
  ports: Map<string, boolean>
}

type Place = Pick<Gap, 'host' | 'port' | 'from'>

export class Processes {
  private readonly byPort = new Map<string, Process[]>()
  private readonly byService = new Map<string, Process[]>()
  private readonly byHost = new Map<string, Process[]>()
  private readonly arounds = new Map<string, SeenRing[]>()
  /** The hosts of those that ask the collector from its own machine: it may have several names. */
  private readonly local = new Set<string>()

  constructor(rows: SeenRing[]) {
    for (const ring of processesOf(rows)) {
      const ports = new Map<string, boolean>()
      for (const place of ring.listening) {
        const colon = place.lastIndexOf(':')
        const port = place.slice(colon + 1)
        ports.set(port, ports.get(port) || isEveryMachine(place.slice(0, colon)))
      }
      const process = { ...ring, ports }
      for (const port of ports.keys()) put(this.byPort, port, process)
      put(this.byService, ring.service, process)
      for (const name of new Set([ring.host, ring.address])) put(this.byHost, name, process)
      if (isEveryMachine(ring.address)) this.local.add(ring.host)
    }
  }

  /** Returns those that take calls where the caller called. */
  at(gap: Gap): SeenRing[] {
    return (this.byPort.get(gap.port ?? '') ?? []).filter(process => this.listensAt(process, gap))
  }

  /** Returns those of a service: on that host, if it tells machines apart and some are there. */
  ofService(service: string, host: string | null): SeenRing[] {
    const all = this.byService.get(service) ?? []
    if (host === null || isEveryMachine(host)) return all
    const there = all.filter(ring => isOn(ring, namesOf(host)))
    return there.length > 0 ? there : all
  }

  /** Returns those on the machine that may take calls there, as they don't say where they do. */
  around(gap: Gap): SeenRing[] {
    const key = JSON.stringify([gap.host, gap.from, gap.port === null])
    const known = this.arounds.get(key)
    if (known !== undefined) return known
    const on = new Set(machineOf(gap).flatMap(name => this.byHost.get(name) ?? []))
    const found = [...on].filter(process => this.listensAt(process, gap) === undefined)
    this.arounds.set(key, found)
    return found
  }

  /** Whether a half, which may answer a call by its ids, comes from processes of the machine that was called that all listen elsewhere. */
  areElsewhere({ service = '', serverHost }: SpanRecord, gap: Gap): boolean {
    const { host, from } = gap
    // Other addresses may be those of a balancer, or of a machine whose containers have their own.
    if (host === null || (isEveryMachine(host) ? from === null : serverHost !== host)) return false
    let isSure = false
    for (const process of this.byService.get(service) ?? []) {
      if (process.host !== serverHost || !wasThere(process, gap)) continue
      if (isEveryMachine(host) && !this.isSameMachine(process, from!)) return false
      if (this.listensAt(process, gap) !== false) return false
      isSure = true
    }
    return isSure
  }

  /** Whether a process takes calls there; undefined if it doesn't say where it does. */
  private listensAt(process: Process, { host, port, from }: Place): boolean | undefined {
    const { listening, ports } = process
    if (listening.length === 0 || host === null || port === null) return undefined
    const isLocal = ports.get(port)
    if (isEveryMachine(host)) {
      if (from === null) return undefined
      return isLocal === true && this.isSameMachine(process, from)
    }
    if (isLocal === undefined) return false
    return listening.includes(placeOf(host, port)) || isOn(process, namesOf(host))
  }

  private isSameMachine({ host }: SeenRing, other: string): boolean {
    return host === other || (this.local.has(host) && this.local.has(other))
  }
}

/** Makes one row of those of each process, the latest state first. */
export function processesOf(rows: SeenRing[]): SeenRing[] {
  const processes = new IdMap<SeenRing>()
  for (const row of rows) {
    const known = processes.get(row.process)
    if (known === undefined) {
      processes.set(row.process, row)
      continue
    }
    const [first, last] = [row.firstUs < known.firstUs ? row : known, row.seenUs > known.seenUs ? row : known]
    const { firstUs, firstHistoryUs } = first
    const aheadUs = row.aheadUs ?? known.aheadUs
    processes.set(row.process, { ...last, firstUs, firstHistoryUs, aheadUs })
  }
  return [...processes.values()]
}

/** Whether the process was there at the time of a call. @param unseenUs until when nobody may have seen who was there */
export function wasThere(ring: SeenRing, gap: Gap, unseenUs = 0): boolean {
  const { ended, seenUs } = ring
  return !beganLater(ring, gap) && (ended ? seenUs : Math.max(seenUs, unseenUs) + ASKS_US) >= gap.startUs
}

export function beganLater({ madeUs, firstUs, firstHistoryUs }: SeenRing, { startUs, endUs }: Gap): boolean {
  // A process asks once its first trace has ended, which is in its history then.
  return madeUs > 0 ? madeUs > endUs : firstUs > endUs && firstHistoryUs > startUs
}

/** Returns the names of the machine where the half should be: what every machine calls itself is where the other half is. */
export function machineOf({ host, from }: Pick<Gap, 'host' | 'from'>): string[] {
  const name = host !== null && isEveryMachine(host) ? (from ?? host) : host
  return name === null ? [] : namesOf(name)
}

/** What isn't a host's name has no other one. */
function namesOf(host: string): string[] {
  return [host, hostName(host)].filter(name => name !== '')
}

function isOn({ host, address }: SeenRing, names: string[]): boolean {
  return names.includes(host) || names.includes(address)
}

function put(map: Map<string, Process[]>, key: string, process: Process): void {
  const known = map.get(key)
  if (known === undefined) map.set(key, [process])
  else known.push(process)
}
