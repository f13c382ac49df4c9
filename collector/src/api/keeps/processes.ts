import { placeOf } from 'milo/codec/keeps'
import type { SpanRecord } from 'milo/codec/span'
import { ASKS_US } from '../../keep/rings'
import { IdMap } from '../../record/ids'
import type { SeenRing, Telling } from '../../store/keeps'
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
  /** By service and host. */
  private readonly beside = new Map<string, Process[]>()
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
      put(this.beside, besideOf(ring), process)
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

  /** Whether no other process of its service was there on its host. */
  isAlone(ring: SeenRing, gap: Gap): boolean {
    const others = this.beside.get(besideOf(ring)) ?? []
    return !others.some(other => other.process !== ring.process && wasThere(other, gap))
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

  /** Whether a half, which may answer a call by its ids, comes from processes that all listen elsewhere than where the caller called. */
  areElsewhere({ service = '', serverHost }: SpanRecord, gap: Gap): boolean {
    const isTaken = (this.byPort.get(gap.port ?? '') ?? []).some(other => owns(other, gap) && wasThere(other, gap))
    let isSure = false
    for (const process of this.byService.get(service) ?? []) {
      if (process.host !== serverHost || !wasThere(process, gap)) continue
      // Nobody may be known there: other addresses may be those of a balancer, or of a machine whose containers have their own.
      if (!isTaken && !this.isCalled(process, gap)) return false
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

  /** Whether its machine was called: by its name, by an address at which it takes calls itself, or by the caller's own loopback. */
  private isCalled(process: Process, { host, from }: Place): boolean {
    if (host === null) return false
    if (isEveryMachine(host)) return from !== null && this.isSameMachine(process, from)
    return process.host === host || process.listening.some(place => place.startsWith(placeOf(host, '')))
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
    const tellings = [...tellingsOf(known), ...tellingsOf(row)]
    processes.set(row.process, { ...last, firstUs, firstHistoryUs, aheadUs, tellings })
  }
  return [...processes.values()]
}

/** Returns all that is known of how far its history went back, in any order. */
export function tellingsOf({ firstUs, firstHistoryUs, tellings = [], toldUs, historyUs }: SeenRing): Telling[] {
  return [{ us: firstUs, historyUs: firstHistoryUs }, ...tellings, { us: toldUs, historyUs }]
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

function besideOf({ service, host }: SeenRing): string {
  return JSON.stringify([service, host])
}

function isOn({ host, address }: SeenRing, names: string[]): boolean {
  return names.includes(host) || names.includes(address)
}

/** Whether a call can't have come to another process: it has this address itself, or the host's name. */
function owns({ host: own, listening, ports }: Process, { host, port }: Place): boolean {
  if (host === null || port === null || isEveryMachine(host)) return false
  return listening.includes(placeOf(host, port)) || (ports.has(port) && namesOf(host).includes(own))
}

function put(map: Map<string, Process[]>, key: string, process: Process): void {
  const known = map.get(key)
  if (known === undefined) map.set(key, [process])
  else known.push(process)
}
