import type { SpanRecord } from 'milo/codec/span'
import type { KeepReader, SeenRing } from '../../store/keeps'
import {
  HISTORY_KEY,
  hostName,
  isEveryMachine,
  type MissingHalf,
  NO_PARENT,
  type Trace,
  type TraceSpan,
} from '../../trace'
import type { AskStore } from '../ask-store'

/**
 * What is missing in a trace that was kept after the fact, and why: what a process had was overwritten, the process ended, or it has no
 * history. What is known of processes is how they were in an hour, first and last; in between, a history moves on evenly.
 */

/** A half that isn't there, and the host of the half that is. */
type Gap = Omit<MissingHalf, 'why' | 'detail'> & { startUs: number; from: string | null }

const MAX_MISSING = 1_000
/** A trace with times that are further apart has a wrong clock. */
const MAX_RANGE_US = 86_400_000_000
/** A process asks again after so long at the most. */
const ASKS_US = 35_000_000
/** What a process has of a trace is on its way long before. */
const ANSWERS_US = 5_000_000
/** Systems that are called, and have no spans of their own. */
const SYSTEMS = ['db.system.name', 'db.system', 'messaging.system']

/** Returns the halves of calls that aren't in a trace, and why. */
export async function missingHalves(
  askStore: AskStore<KeepReader>,
  trace: Trace,
  records: SpanRecord[],
): Promise<MissingHalf[]> {
  const gaps = gapsOf(trace)
  if (gaps.length === 0) return []
  const startUs = trace.start ?? 0
  const endUs = startUs + (trace.duration ?? 0)
  const asked = await askStore(store => store.keepsOf(idOf(trace)))
  const keptUs = asked.reduce((earliest, { atUs }) => Math.min(earliest, atUs), Number.POSITIVE_INFINITY)
  const askedUs = keptUs === Number.POSITIVE_INFINITY ? endUs : keptUs
  const range = { fromUs: startUs - ASKS_US, toUs: Math.max(startUs, askedUs) + ASKS_US }
  // Rows are of whole hours.
  const rings =
    range.toUs - range.fromUs > MAX_RANGE_US
      ? []
      : await askStore(store => store.rings({ ...range, of: namesOf(gaps) }))
  return explainGaps(gaps, records, rings, askedUs)
}

function idOf({ traceId }: Trace): bigint {
  return BigInt.asIntN(64, BigInt(`0x${traceId}`))
}

/** Returns the halves of calls that aren't there. */
export function gapsOf(trace: Trace): Gap[] {
  const gaps: Gap[] = []
  const { spans } = trace
  for (let i = 0; i < spans.length && gaps.length < MAX_MISSING; i++) {
    const span = spans[i]!
    const { spanId, parentId, kind, start } = span
    if (kind === 'client' && !isAnswered(spans, i) && !SYSTEMS.some(key => Object.hasOwn(span.annotations, key))) {
      gaps.push({
        spanId,
        shownAt: spanId,
        side: 'server',
        service: span.service,
        host: span.serverHost,
        startUs: start ?? 0,
        from: span.clientHost,
      })
    }
    if (span.orphan && parentId !== NO_PARENT) {
      gaps.push({
        spanId: parentId,
        shownAt: spanId,
        side: 'client',
        service: span.clientService,
        host: span.clientHost,
        startUs: start ?? 0,
        from: span.serverHost,
      })
    }
  }
  return gaps
}

/** Whether the server's half is a span of its own, below the client's. */
function isAnswered(spans: TraceSpan[], i: number): boolean {
  const { depth } = spans[i]!
  for (let j = i + 1; j < spans.length && spans[j]!.depth > depth; j++) {
    if (spans[j]!.depth === depth + 1 && spans[j]!.kind !== 'client') return true
  }
  return false
}

/** Returns the names by which the gaps' processes may be found. */
export function namesOf(gaps: Gap[]): { services: string[]; hosts: string[] } {
  const services = new Set<string>()
  const hosts = new Set<string>()
  for (const gap of gaps) {
    if (gap.service !== null) services.add(gap.service)
    for (const name of machineOf(gap)) hosts.add(name)
  }
  return { services: [...services], hosts: [...hosts] }
}

/**
 * @param rings those of the gaps' names, in the hours around the trace
 * @param keptUs when the trace was asked for
 */
export function explainGaps(gaps: Gap[], records: SpanRecord[], rings: SeenRing[], keptUs: number): MissingHalf[] {
  const began = historiesOf(records)
  const present = new Set(records.map(({ service }) => service))
  return gaps.map(({ startUs, from, ...gap }) => {
    const { service, host } = gap
    const told = (service !== null && began.get(service)) || undefined
    if (told !== undefined && startUs < told) {
      return { ...gap, why: 'overwritten', detail: `the history of ${service} began at ${time(told)}, after this` }
    }
    if (service === null) {
      const machine = machineOf({ host, from })
      const others = rings.filter(ring => isOn(ring, machine) && !present.has(ring.service))
      const suspicion = suspicionOf(others, startUs, keptUs)
      if (suspicion !== undefined) return { ...gap, ...suspicion }
    }
    return { ...gap, ...whyOf(ringsOf(rings, service, host), startUs, keptUs, service ?? host ?? 'the other side') }
  })
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

/** The rows of processes of the service; those on the host, if that tells machines apart and some are. */
function ringsOf(rings: SeenRing[], service: string | null, host: string | null): SeenRing[] {
  const ofService = rings.filter(ring => ring.service === service)
  if (host === null || isEveryMachine(host)) return ofService
  const names = machineOf({ host, from: null })
  const onHost = (ofService.length > 0 ? ofService : rings).filter(ring => isOn(ring, names))
  return onHost.length > 0 ? onHost : ofService
}

/** Returns the names of the machine where the half should be: what every machine calls itself is where the other half is. */
function machineOf({ host, from }: Pick<Gap, 'host' | 'from'>): string[] {
  const name = host !== null && isEveryMachine(host) ? (from ?? host) : host
  return name === null ? [] : [name, hostName(name)]
}

function isOn(ring: SeenRing, names: string[]): boolean {
  return names.includes(ring.host) || names.includes(ring.address)
}

/**
 * A caller doesn't know which service it calls, only where. Of the processes there, those that aren't in the trace may have been it, if they
 * could not have sent it any more.
 */
function suspicionOf(
  rings: SeenRing[],
  startUs: number,
  keptUs: number,
): Pick<MissingHalf, 'why' | 'detail'> | undefined {
  for (const ring of rings) {
    const { service, host, address, seenUs, firstUs } = ring
    // It was there when the call was made.
    if (firstUs > keptUs + ASKS_US || (ring.ended ? seenUs : seenUs + ASKS_US) < startUs) continue
    const who = `if this was ${service} on ${host || address}`
    if (isGone(ring, rings, keptUs)) {
      return {
        why: 'ended',
        detail: `${who}: it ended, or lost its connection, at ${time(seenUs)}, before it had answered`,
      }
    }
    const beganUs = historyAt(ring, keptUs)
    if (startUs < beganUs)
      return { why: 'overwritten', detail: `${who}: its history began at ${time(beganUs)}, after this` }
  }
  return undefined
}

function whyOf(rings: SeenRing[], startUs: number, keptUs: number, who: string): Pick<MissingHalf, 'why' | 'detail'> {
  // A process asks when its first trace ends.
  const there = rings.filter(ring => ring.seenUs + ASKS_US >= startUs && ring.firstUs <= keptUs + ASKS_US)
  if (there.length === 0) {
    const others = rings.length > 0 ? ' at that time' : ''
    return { why: 'no_history', detail: `no process of ${who} that has a history is known${others}` }
  }
  const ended = there.filter(ring => isGone(ring, there, keptUs))
  if (ended.length > 0) {
    const last = ended.reduce((a, b) => (b.seenUs > a.seenUs ? b : a))
    const of = `${last.service} on ${last.host || last.address}`
    return {
      why: 'ended',
      detail: `${of} ended, or lost its connection, at ${time(last.seenUs)}, before it had answered`,
    }
  }
  const histories = there.map(ring => historyAt(ring, keptUs))
  const earliest = Math.min(...histories)
  if (startUs < earliest) {
    return { why: 'overwritten', detail: `the history of ${who} began at ${time(earliest)}, after this` }
  }
  return { why: 'unsent', detail: `${who} was asked, but its limits were reached, or its spans are still on their way` }
}

/** Whether the process had gone when the trace was asked for, or went before it had sent anything. It may have a row in a later hour. */
function isGone(ring: SeenRing, all: SeenRing[], keptUs: number): boolean {
  if (all.some(({ process, seenUs }) => process === ring.process && seenUs > ring.seenUs)) return false
  return ring.ended ? ring.seenUs < keptUs + ANSWERS_US : ring.seenUs + ASKS_US < keptUs
}

function historyAt({ firstUs, firstHistoryUs, seenUs, historyUs }: SeenRing, us: number): number {
  const passed = seenUs > firstUs ? Math.min(1, Math.max(0, (us - firstUs) / (seenUs - firstUs))) : 1
  return firstHistoryUs + passed * (historyUs - firstHistoryUs)
}

function time(us: number): string {
  return new Date(us / 1000).toISOString()
}
