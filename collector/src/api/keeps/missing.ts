import type { SpanRecord } from 'milo/codec/span'
import type { Rings } from '../../keep/rings'
import { type KeepReader, placeOf, type SeenRing } from '../../store/keeps'
import { HISTORY_KEY, isEveryMachine, type MissingHalf, type Trace } from '../../trace'
import { Turns } from '../../turns'
import type { AskStore } from '../ask-store'
import { type Call, callersMissing, callsOf, type Gap } from './gaps'
import { ASKS_US, beganLater, machineOf, Processes, wasThere } from './processes'

/**
 * What is missing in a trace that was kept after the fact, and why: what a process had was overwritten, the process ended, or it has no
 * history. What is known of processes is when they were first and last seen in an hour or two, and how far their histories went back
 * then; in between, a history moves on evenly.
 */

const MAX_MISSING = 1_000
/** A trace with times that are further apart has a wrong clock. */
const MAX_RANGE_US = 86_400_000_000
/** What a process has of a trace is on its way long before. */
const ANSWERS_US = 5_000_000
/** How many names are looked for, and how many places where processes may listen: a search for these reads all rows of an hour. */
const MAX_NAMES = 3_000
const MAX_PLACES = 100

type Why = Pick<MissingHalf, 'why' | 'detail'>

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
  const calls = await callsOf(trace, records)
  const callers = callersMissing(trace)
  if (calls.length + callers.length === 0) return []
  const startUs = trace.start ?? 0
  const askedUs = keptUs ?? startUs + (trace.duration ?? 0)
  const range = { fromUs: startUs - ASKS_US, toUs: Math.max(startUs, askedUs) + ASKS_US }
  // Rows are of whole hours.
  const isOdd = range.toUs - range.fromUs > MAX_RANGE_US
  const of = namesOf([...calls.map(({ gap }) => gap), ...callers])
  const rows = isOdd ? [] : await askStore(store => store.rings({ ...range, of }))
  return explain(calls, callers, records, new Processes([...(here?.all() ?? []), ...rows]), askedUs)
}

/** Returns the names by which the gaps' processes may be found. */
function namesOf(gaps: Gap[]): { services: string[]; hosts: string[]; places: string[] } {
  const services = new Set<string>()
  const hosts = new Set<string>()
  const places = new Set<string>()
  for (const gap of gaps) {
    if (gap.service !== null && services.size < MAX_NAMES) services.add(gap.service)
    if (hosts.size < MAX_NAMES) for (const name of machineOf(gap)) hosts.add(name)
    if (gap.host !== null && gap.port !== null && places.size < MAX_PLACES) places.add(placeOf(gap.host, gap.port))
  }
  return { services: [...services], hosts: [...hosts], places: [...places] }
}

/** @param keptUs when processes were asked for the trace */
async function explain(
  calls: Call[],
  callers: Gap[],
  records: SpanRecord[],
  processes: Processes,
  keptUs: number,
): Promise<MissingHalf[]> {
  const turns = new Turns()
  const began = historiesOf(records)
  const present = new Set(records.map(({ service }) => service))
  const missing: MissingHalf[] = []
  const add = (gap: Gap, beyond: SpanRecord[] = []) => {
    const at = processes.at(gap)
    const services = new Set(at.filter(ring => wasThere(ring, gap)).map(ring => ring.service))
    const service = gap.service ?? (services.size === 1 ? [...services][0]! : null)
    const { why, detail } = whyMissing({ ...gap, service }, at)
    const { port, startUs, endUs, from, ...half } = gap
    missing.push({ ...half, service, why, detail: beyond.length === 0 ? detail : `${detail}; ${passedOn(beyond)}` })
  }
  const whyMissing = (gap: Gap, at: SeenRing[]): Why => {
    if (at.length > 0) return whyOf(at, gap, keptUs)
    const { service, host, startUs } = gap
    const told = (service !== null && began.get(service)) || undefined
    if (told !== undefined && startUs < told) return overwritten(`the history of ${service}`, told)
    if (service !== null) return whyOf(processes.ofService(service, host), gap, keptUs)
    const around = processes.around(gap)
    const others = around.filter(ring => !present.has(ring.service))
    return suspicionOf(others, gap, keptUs) ?? whyOf(host !== null && isEveryMachine(host) ? [] : around, gap, keptUs)
  }
  for (const { gap, answers, beyond } of calls) {
    if (missing.length === MAX_MISSING) break
    if (turns.over()) await turns.next()
    if (answers.length === 0) add(gap, beyond)
    else if (answers.every(half => processes.areElsewhere(half, gap))) add(gap, answers)
  }
  for (const gap of callers.slice(0, MAX_MISSING - missing.length)) add(gap)
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

function passedOn([half]: SpanRecord[]): string {
  return `the call was passed on: ${half!.service || 'another service'} has answered ${half!.name || 'a call'}`
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
  let later: SeenRing | undefined
  let before: SeenRing | undefined
  for (const ring of processes) {
    if (beganLater(ring, gap)) later = later !== undefined && sinceUs(later) <= sinceUs(ring) ? later : ring
    else before = before !== undefined && before.seenUs >= ring.seenUs ? before : ring
  }
  if (later !== undefined)
    return `${nameOf(later)} began at ${time(sinceUs(later))}, after this, and no other one is known`
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
