import type { SpanRecord } from 'milo/codec/span'
import type { Rings } from '../../keep/rings'
import { IdMap } from '../../record/ids'
import { type KeepReader, placeOf, type SeenRing } from '../../store/keeps'
import { HISTORY_KEY, hostName, isEveryMachine, type MissingHalf, type Trace } from '../../trace'
import type { AskStore } from '../ask-store'
import { type Call, callersMissing, callsOf, type Gap } from './gaps'

/**
 * What is missing in a trace that was kept after the fact, and why: what a process had was overwritten, the process ended, or it has no
 * history. What is known of processes is when they were first and last seen in an hour or two, and how far their histories went back
 * then; in between, a history moves on evenly.
 */

const MAX_MISSING = 1_000
/** A trace with times that are further apart has a wrong clock. */
const MAX_RANGE_US = 86_400_000_000
/** A process asks again after so long at the most. */
const ASKS_US = 35_000_000
/** What a process has of a trace is on its way long before. */
const ANSWERS_US = 5_000_000
/** How many places are looked for by where processes say they listen. */
const MAX_PLACES = 100

type Why = Pick<MissingHalf, 'why' | 'detail'>
type IsSameMachine = (ring: SeenRing, host: string) => boolean

/**
 * Returns the halves of calls that aren't in a trace, and why.
 * @param keptUs when processes were asked for it; undefined: nobody knows
 * @param here the processes that ask this collector
 */
export async function missingHalves(
  askStore: AskStore<KeepReader>,
  trace: Trace,
  records: SpanRecord[],
  keptUs: number | undefined,
  here: Rings | undefined,
): Promise<MissingHalf[]> {
  const calls = callsOf(trace, records)
  const callers = callersMissing(trace)
  if (calls.length + callers.length === 0) return []
  const startUs = trace.start ?? 0
  const askedUs = keptUs ?? startUs + (trace.duration ?? 0)
  const range = { fromUs: startUs - ASKS_US, toUs: Math.max(startUs, askedUs) + ASKS_US }
  // Rows are of whole hours.
  const isOdd = range.toUs - range.fromUs > MAX_RANGE_US
  const of = namesOf([...calls.map(({ gap }) => gap), ...callers])
  const rows = isOdd ? [] : await askStore(store => store.rings({ ...range, of }))
  return explain(calls, callers, records, processesOf([...(here?.all() ?? []), ...rows]), askedUs)
}

/** Returns the names by which the gaps' processes may be found. */
function namesOf(gaps: Gap[]): { services: string[]; hosts: string[]; places: string[] } {
  const services = new Set<string>()
  const hosts = new Set<string>()
  const places = new Set<string>()
  for (const gap of gaps) {
    if (gap.service !== null) services.add(gap.service)
    for (const name of machineOf(gap)) hosts.add(name)
    if (gap.host !== null && gap.port !== null && places.size < MAX_PLACES) places.add(placeOf(gap.host, gap.port))
  }
  return { services: [...services], hosts: [...hosts], places: [...places] }
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
    processes.set(row.process, { ...last, firstUs, firstHistoryUs })
  }
  return [...processes.values()]
}

/** @param keptUs when processes were asked for the trace */
function explain(
  calls: Call[],
  callers: Gap[],
  records: SpanRecord[],
  processes: SeenRing[],
  keptUs: number,
): MissingHalf[] {
  const isSameMachine = sameMachine(processes)
  const began = historiesOf(records)
  const present = new Set(records.map(({ service }) => service))
  const missing: MissingHalf[] = []
  const add = (gap: Gap, beyond: SpanRecord[] = []) => {
    if (missing.length === MAX_MISSING) return
    const { port, startUs, endUs, from, ...half } = gap
    const at = processes.filter(ring => listensAt(ring, gap, isSameMachine))
    const service = half.service ?? (at.some(ring => ring.service !== at[0]!.service) ? null : (at[0]?.service ?? null))
    const { why, detail } = whyMissing({ ...gap, service }, at)
    missing.push({ ...half, service, why, detail: beyond.length === 0 ? detail : `${detail}; ${passedOn(beyond)}` })
  }
  const whyMissing = (gap: Gap, at: SeenRing[]): Why => {
    if (at.length > 0) return whyOf(at, gap, keptUs)
    const { service, startUs } = gap
    const told = (service !== null && began.get(service)) || undefined
    if (told !== undefined && startUs < told) return overwritten(`the history of ${service}`, told)
    if (service !== null) return whyOf(ofService(processes, service, gap.host), gap, keptUs)
    const around = processes.filter(ring => listensAt(ring, gap, isSameMachine) !== false && isOn(ring, machineOf(gap)))
    const others = around.filter(ring => !present.has(ring.service))
    return (
      suspicionOf(others, gap, keptUs) ??
      whyOf(gap.host !== null && isEveryMachine(gap.host) ? [] : around, gap, keptUs)
    )
  }
  const elsewhere = new Map<string, boolean>()
  for (const { gap, answers, beyond } of calls) {
    // Traces have many calls to one place.
    const isElsewhere = (half: SpanRecord) => {
      const key = JSON.stringify([gap.host, gap.port, gap.from, half.service, half.serverHost])
      const known = elsewhere.get(key) ?? cameFromElsewhere(half, gap, processes, isSameMachine)
      elsewhere.set(key, known)
      return known
    }
    if (answers.length === 0) add(gap, beyond)
    else if (answers.every(isElsewhere)) add(gap, answers)
  }
  for (const gap of callers) add(gap)
  return missing
}

/** Of each service that has sent spans, when its history began: the latest, if several processes have. */
function historiesOf(records: SpanRecord[]): Map<string, number> {
  const began = new Map<string, number>()
  for (const { annotations, service = '' } of records) {
    const us = Number(annotations?.get(HISTORY_KEY))
    if (us > (began.get(service) ?? 0)) began.set(service, us)
  }
  return began
}

/** Machines may have several names: all that ask the collector from its own machine are there. */
function sameMachine(processes: SeenRing[]): IsSameMachine {
  const local = new Set(processes.filter(({ address }) => isEveryMachine(address)).map(({ host }) => host))
  return (ring, host) => ring.host === host || (local.has(ring.host) && local.has(host))
}

/** Whether a process takes calls there; undefined if it doesn't say where it does. */
function listensAt(ring: SeenRing, { host, port, from }: Gap, isSameMachine: IsSameMachine): boolean | undefined {
  const { listening } = ring
  if (listening.length === 0 || host === null || port === null) return undefined
  if (isEveryMachine(host)) {
    if (from === null) return undefined
    return isSameMachine(ring, from) && listening.some(place => hasPort(place, port) && isEveryMachine(place))
  }
  if (listening.includes(placeOf(host, port))) return true
  return isOn(ring, [host, hostName(host)]) && listening.some(place => hasPort(place, port))
}

function hasPort(place: string, port: string): boolean {
  return place.endsWith(`:${port}`)
}

/** Whether a half, which may answer a call by its ids, comes from processes of that machine that all listen elsewhere. */
function cameFromElsewhere(
  { service, serverHost }: SpanRecord,
  gap: Gap,
  processes: SeenRing[],
  isSameMachine: IsSameMachine,
): boolean {
  const { host, from } = gap
  // Other addresses may be those of a balancer, or of a machine whose containers have their own.
  const isSure = host !== null && (isEveryMachine(host) ? from !== null : serverHost === host)
  if (!isSure) return false
  const its = processes.filter(ring => ring.service === service && ring.host === serverHost)
  if (isEveryMachine(host) && !its.every(ring => isSameMachine(ring, from!))) return false
  return its.length > 0 && its.every(ring => listensAt(ring, gap, isSameMachine) === false)
}

function passedOn([half]: SpanRecord[]): string {
  return `the call was passed on: ${half!.service || 'another service'} has answered ${half!.name || 'a call'}`
}

/** The processes of a service; those on the host, if that tells machines apart and some are. */
function ofService(processes: SeenRing[], service: string, host: string | null): SeenRing[] {
  const all = processes.filter(ring => ring.service === service)
  if (host === null || isEveryMachine(host)) return all
  const onHost = all.filter(ring => isOn(ring, [host, hostName(host)]))
  return onHost.length > 0 ? onHost : all
}

/** Returns the names of the machine where the half should be: what every machine calls itself is where the other half is. */
function machineOf({ host, from }: Pick<Gap, 'host' | 'from'>): string[] {
  const name = host !== null && isEveryMachine(host) ? (from ?? host) : host
  return name === null ? [] : [name, hostName(name)]
}

function isOn(ring: SeenRing, names: string[]): boolean {
  return names.includes(ring.host) || names.includes(ring.address)
}

/** Whether the process was there at the time of a call. */
function wasThere(ring: SeenRing, gap: Gap): boolean {
  return !beganLater(ring, gap) && (ring.ended ? ring.seenUs : ring.seenUs + ASKS_US) >= gap.startUs
}

function beganLater({ madeUs, firstUs, firstHistoryUs }: SeenRing, { startUs, endUs }: Gap): boolean {
  // A process asks once its first trace has ended, which is in its history then.
  return madeUs > 0 ? madeUs > endUs : firstUs > endUs && firstHistoryUs > startUs
}

/**
 * A caller doesn't know which service it calls, only where. Of the processes there, those that aren't in the trace may have been it, if they
 * could not have sent it any more.
 */
function suspicionOf(processes: SeenRing[], gap: Gap, keptUs: number): Why | undefined {
  for (const ring of processes) {
    if (!wasThere(ring, gap)) continue
    const who = `if this was ${nameOf(ring)}`
    if (isGone(ring, keptUs)) {
      const detail = `${who}: it ended, or lost its connection, at ${time(ring.seenUs)}, before it had answered`
      return { why: 'ended', detail }
    }
    const beganUs = historyAt(ring, keptUs)
    if (gap.startUs < beganUs) return overwritten(`${who}: its history`, beganUs)
  }
  return undefined
}

function whyOf(processes: SeenRing[], gap: Gap, keptUs: number): Why {
  const { startUs } = gap
  const who = gap.service ?? gap.host ?? 'the other side'
  const there = processes.filter(ring => wasThere(ring, gap))
  if (there.length === 0) return { why: 'no_history', detail: nobody(processes, gap, who) }
  const ended = there.filter(ring => isGone(ring, keptUs))
  if (ended.length > 0) {
    const last = ended.reduce((a, b) => (b.seenUs > a.seenUs ? b : a))
    const detail = `${nameOf(last)} ended, or lost its connection, at ${time(last.seenUs)}, before it had answered`
    return { why: 'ended', detail }
  }
  const histories = there.map(ring => historyAt(ring, keptUs))
  const earliest = Math.min(...histories)
  if (startUs < earliest) return overwritten(`the history of ${who}`, earliest)
  const toldUs = Math.min(...there.map(ring => ring.toldUs))
  // What was overwritten meanwhile, nobody knows.
  const asOf = toldUs < keptUs ? ` (its history was long enough at ${time(toldUs)}, the last that is known)` : ''
  const detail = `${who} was asked${asOf}, but its limits were reached, or its spans are still on their way`
  return { why: 'unsent', detail }
}

function nobody(processes: SeenRing[], gap: Gap, who: string): string {
  const { host, port } = gap
  const sinceUs = ({ madeUs, firstUs }: SeenRing) => madeUs || firstUs
  const [later] = processes.filter(ring => beganLater(ring, gap)).sort((a, b) => sinceUs(a) - sinceUs(b))
  if (later !== undefined)
    return `${nameOf(later)} began at ${time(sinceUs(later))}, after this, and no other one is known`
  const [before] = [...processes].sort((a, b) => b.seenUs - a.seenUs)
  if (before !== undefined)
    return `${nameOf(before)} was last there at ${time(before.seenUs)}, before this, and no other one is known`
  const where = host !== null && port !== null && who === host ? placeOf(host, port) : who
  return `no process of ${where} that has a history is known`
}

function overwritten(whose: string, beganUs: number): Why {
  return { why: 'overwritten', detail: `${whose} began at ${time(beganUs)}, after this` }
}

/** Whether the process had gone when the trace was asked for, or went before it had sent anything. */
function isGone({ ended, seenUs }: SeenRing, keptUs: number): boolean {
  return ended ? seenUs < keptUs + ANSWERS_US : seenUs + ASKS_US < keptUs
}

function historyAt({ firstUs, firstHistoryUs, toldUs, historyUs }: SeenRing, us: number): number {
  const passed = toldUs > firstUs ? Math.min(1, Math.max(0, (us - firstUs) / (toldUs - firstUs))) : 1
  return firstHistoryUs + passed * (historyUs - firstHistoryUs)
}

function nameOf({ service, host, address }: SeenRing): string {
  return `${service || 'a service without a name'} on ${host || address}`
}

function time(us: number): string {
  return new Date(us / 1000).toISOString()
}
