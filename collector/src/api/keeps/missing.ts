import { placeOf } from 'milo/codec/keeps'
import type { SpanRecord } from 'milo/codec/span'
import { ASKS_US, type Rings } from '../../keep/rings'
import { type KeepReader, MAX_RINGS_READ } from '../../store/keeps'
import { isEveryMachine, type KeptTrace, leftOutOf, type MissingHalf, type Trace } from '../../trace'
import { Turns } from '../../turns'
import type { AskStore } from '../ask-store'
import { Clocks } from './clocks'
import { type Call, callersMissing, callsOf, type Gap } from './gaps'
import { Histories } from './histories'
import { overwrittenInside } from './own-spans'
import { machineOf, Processes, wasThere } from './processes'
import { type Asked, hasLost, unknown, unseen, type Why, whoOf, whyOf } from './why'

/**
 * What is missing in a trace that was kept after the fact, and why: what a process had was overwritten, the process ended, or it has no
 * history. What is known of processes is when they were first and last seen in an hour or two, and how far their histories went back
 * then, and what they have told with the spans that they have sent.
 */

const MAX_MISSING = 1_000
/** A trace with times that are further apart has a wrong clock. */
const MAX_RANGE_US = 86_400_000_000
/** How many names are looked for, and how many places where processes may listen: a search for these reads all rows of an hour. */
const MAX_NAMES = 3_000
const MAX_PLACES = 100

export type Missing = Pick<KeptTrace, 'missing' | 'missingCount'>

/**
 * Returns the processes that had forgotten some of their own spans, and the halves of calls that aren't in a trace, and why: so many, and
 * how many there are.
 * @param keptUs when processes were asked for it; undefined: nobody knows
 * @param here the processes that ask this collector
 */
export async function missingHalves(
  askStore: AskStore<KeepReader>,
  trace: Trace,
  records: SpanRecord[],
  keptUs: number | undefined,
  here: Rings | undefined,
): Promise<Missing> {
  const calls = await callsOf(trace, records)
  const { callers, count } = callersMissing(trace)
  const inside = await overwrittenInside(records)
  if (calls.length + callers.length === 0) return cut(inside, inside.length)
  const rings = here?.all() ?? []
  const clocks = new Clocks(trace, rings, keptUs)
  let startUs = Number.POSITIVE_INFINITY
  let endUs = 0
  for (const gap of [...calls.map(({ gap }) => gap), ...callers]) {
    // By the clock of the half that is there.
    const aheadUs = clocks.aheadOf(gap.other ?? gap.service, gap.other === null ? gap.host : gap.from)
    gap.startUs -= aheadUs
    gap.endUs -= aheadUs
    gap.endedUs -= aheadUs
    startUs = Math.min(startUs, gap.startUs)
    endUs = Math.max(endUs, gap.endUs)
  }
  const askedUs = keptUs ?? endUs
  const range = { fromUs: startUs - ASKS_US, toUs: Math.max(startUs, askedUs) + ASKS_US }
  // Rows are of whole hours.
  const isOdd = range.toUs - range.fromUs > MAX_RANGE_US
  const of = namesOf([...calls.map(({ gap }) => gap), ...callers])
  const rows = isOdd ? [] : await askStore(store => store.rings({ ...range, of }))
  const nowUs = here?.nowUs() ?? Date.now() * 1000
  const knowsAll = !isOdd && rows.length < MAX_RINGS_READ
  const asked = { keptUs: askedUs, nowUs, upUs: here?.sinceUs ?? 0, knowsAll }
  const processes = new Processes([...rings, ...rows])
  const unanswered = await unansweredOf(calls, processes)
  // What concerns all of a process comes first, and neither side leaves no room for the other.
  const room = Math.max(0, MAX_MISSING - inside.length)
  const ofCallers = Math.min(callers.length, Math.max(Math.floor(room / 2), room - unanswered.length))
  const listed = [unanswered.slice(0, room - ofCallers), callers.slice(0, ofCallers)] as const
  const halves = await explain(...listed, records, processes, asked, clocks)
  return cut([...inside, ...halves], inside.length + unanswered.length + count)
}

function cut(missing: MissingHalf[], missingCount: number): Missing {
  return { missing: missing.slice(0, MAX_MISSING), missingCount }
}

/** A call whose answer isn't there, and what is there in its place. */
type Unanswered = Pick<Call, 'gap' | 'beyond'>

async function unansweredOf(calls: Call[], processes: Processes): Promise<Unanswered[]> {
  const turns = new Turns()
  const found: Unanswered[] = []
  for (const { gap, answers, beyond } of calls) {
    if (turns.over()) await turns.next()
    if (answers.length === 0) found.push({ gap, beyond })
    else if (answers.every(half => processes.areElsewhere(half, gap))) found.push({ gap, beyond: answers })
  }
  return found
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

async function explain(
  calls: Unanswered[],
  callers: Gap[],
  records: SpanRecord[],
  processes: Processes,
  asked: Asked,
  clocks: Clocks,
): Promise<MissingHalf[]> {
  const turns = new Turns()
  const histories = new Histories(records, clocks, asked.keptUs, processes)
  const present = new Set(records.map(({ service = '' }) => service))
  const senders = { histories, sent: present, leftOut: new Set(leftOutOf(records).map(({ service }) => service)) }
  const missing: MissingHalf[] = []
  const add = (gap: Gap, beyond: SpanRecord[] = []) => {
    const at = processes.at(gap)
    const services = new Set(at.filter(ring => wasThere(ring, gap, unseen(asked))).map(ring => ring.service))
    const service = gap.service ?? (services.size === 1 ? [...services][0]! : null)
    const why = at.length > 0 ? whyOf(at, { ...gap, service }, asked, senders) : whyNowhere({ ...gap, service })
    const detail = beyond.length === 0 ? why.detail : `${why.detail}; ${passedOn(beyond)}`
    const { spanId, shownAt, side, host } = gap
    missing.push({ spanId, shownAt, side, service, host, why: why.why, detail })
  }
  /** No process is known that takes calls there. */
  const whyNowhere = (gap: Gap): Why => {
    const { service, side, host } = gap
    if (service !== null) return whyOf(processes.ofService(service, host), gap, asked, senders)
    if (host === null) return unknown("nothing says where this was, so it isn't known whose it is")
    // The caller is another process than the one that was called.
    const others = processes
      .around(gap)
      .filter(ring => side === 'server' || ring.service !== gap.other || ring.host !== gap.from)
    const absent = others.filter(ring => !present.has(ring.service) && wasThere(ring, gap, unseen(asked)))
    // Of processes on the same machine, those that are there say where they take calls.
    if (side === 'server' && isEveryMachine(host))
      return whoOf(
        absent.filter(ring => hasLost(ring, gap, asked, senders)),
        gap,
        asked,
        senders,
      )
    return whoOf(absent.length > 0 ? absent : others, gap, asked, senders)
  }
  for (const { gap, beyond } of calls) {
    if (turns.over()) await turns.next()
    add(gap, beyond)
  }
  for (const gap of callers) add(gap)
  return missing
}

function passedOn([half]: SpanRecord[]): string {
  return `the call was passed on: ${half!.service || 'another service'} has answered ${half!.name || 'a call'}`
}
