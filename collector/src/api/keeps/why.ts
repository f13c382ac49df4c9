import { placeOf } from 'milo/codec/keeps'
import { ASKS_US } from '../../keep/rings'
import type { SeenRing } from '../../store/keeps'
import type { MissingHalf } from '../../trace'
import type { Gap } from './gaps'
import { beganLater, wasThere } from './processes'

/**
 * Why a half isn't there, by what is known of the processes whose it may be:
 *
 *     was any there?  no ─→ no_history
 *     is any still there?  no, and it hasn't come back ─→ ended; it may come back ─→ unknown
 *     does a history of theirs go back to it?  no ─→ overwritten; yes ─→ unsent
 *
 * What isn't certain begins with "if this was", and where several may have been it whose fates differ, none is named as the one.
 */

/** Times by the collectors' clock. */
export interface Asked {
  /** When processes were asked for the trace. */
  keptUs: number
  nowUs: number
  /** Since when this collector has been there. */
  upUs: number
}

/** The services that have sent spans of the trace after the fact, and those that left some out. */
export interface Senders {
  sent: ReadonlySet<string | null>
  leftOut: ReadonlySet<string | null>
}

export type Why = Pick<MissingHalf, 'why' | 'detail'>

/** What a process has of a trace is on its way long before. */
const ANSWERS_US = 5_000_000
/** So many processes are named. */
const MAX_NAMED = 4

/** What was kept soon after this collector's start began while it may have been away: until then, nobody knows who was there. */
export function unseen({ keptUs, upUs }: Asked): number {
  return keptUs >= upUs ? upUs : 0
}

/** Whether a process could answer, had gone, or may come back: it needs ASKS_US to find a collector. */
function fateOf({ ended, seenUs }: SeenRing, { keptUs, nowUs, upUs }: Asked): 'there' | 'gone' | 'lost' {
  if (ended ? seenUs >= keptUs + ANSWERS_US : seenUs + ASKS_US >= keptUs) return 'there'
  // Who didn't leave may have lost this collector's last life.
  return nowUs < Math.max(seenUs, ended ? 0 : upUs) + ASKS_US ? 'lost' : 'gone'
}

/** @param isSure whether it is one of these processes */
export function whyOf(processes: SeenRing[], gap: Gap, asked: Asked, senders: Senders, isSure = true): Why {
  const { startUs } = gap
  const who = gap.service ?? gap.host ?? 'the other side'
  const there = processes.filter(ring => wasThere(ring, gap, unseen(asked)))
  if (there.length === 0) return { why: 'no_history', detail: nobody(processes, gap, who) }
  const present = there.filter(ring => fateOf(ring, asked) === 'there')
  if (present.length === 0) {
    const isOne = isSure && there.length === 1
    const lost = there.filter(ring => fateOf(ring, asked) === 'lost')
    return lost.length > 0 ? lostOf(latest(lost), isOne) : endedOf(latest(there), isOne)
  }
  const histories = present.map(ring => historyAt(ring, asked.keptUs))
  const earliest = Math.min(...histories)
  const one = present[histories.indexOf(earliest)]!
  const isOneOfThese = isSure && present.length === there.length
  if (startUs < earliest)
    return overwritten(isOneOfThese ? `the history of ${who}` : `if this was ${nameOf(one)}: its history`, earliest)
  const toldUs = Math.min(...present.map(ring => ring.toldUs))
  // What was overwritten meanwhile, nobody knows.
  const asOf = toldUs < asked.keptUs ? ` (its history was long enough at ${time(toldUs)}, the last that is known)` : ''
  const detail = `${isOneOfThese ? who : `if this was ${nameOf(one)}: it`} was asked${asOf}, but ${silence(one, senders)}`
  return { why: 'unsent', detail }
}

/** Says of a half of which only the machine is known whose it may be. @param processes those that may have it */
export function whoOf(processes: SeenRing[], gap: Gap, asked: Asked, senders: Senders): Why {
  const there = processes.filter(ring => wasThere(ring, gap, unseen(asked)))
  if (there.length < 2) return whyOf(processes, gap, asked, senders, false)
  const names = [...new Set(there.map(ring => `${nameOf(ring)}${lossOf(ring, gap, asked)}`))]
  const others = names.length > MAX_NAMED ? `, or of ${names.length - MAX_NAMED} others` : ''
  return unknown(
    `it isn't known whose this is: of ${names.slice(0, MAX_NAMED).join(', or of ')}${others}, or of a process without a history`,
  )
}

export function unknown(detail: string): Why {
  return { why: 'unknown', detail }
}

/** Whether the process could have sent it no more. */
export function hasLost(ring: SeenRing, gap: Gap, asked: Asked): boolean {
  return wasThere(ring, gap, unseen(asked)) && lossOf(ring, gap, asked) !== ''
}

export function overwritten(whose: string, beganUs: number): Why {
  return { why: 'overwritten', detail: `${whose} began at ${time(beganUs)}, after this` }
}

export function time(us: number): string {
  return new Date(us / 1000).toISOString()
}

function lossOf(ring: SeenRing, { startUs }: Gap, asked: Asked): string {
  const fate = fateOf(ring, asked)
  if (fate === 'gone') return ' (ended)'
  if (fate === 'lost') return ' (perhaps ended)'
  return startUs < historyAt(ring, asked.keptUs) ? ' (overwritten)' : ''
}

function endedOf(ring: SeenRing, isOne: boolean): Why {
  const detail = `${subject(ring, isOne)} ended, or lost its connection, at ${time(ring.seenUs)}, before it had answered`
  return { why: 'ended', detail }
}

function lostOf(ring: SeenRing, isOne: boolean): Why {
  const { ended, seenUs } = ring
  const was = ended ? `lost its connection at ${time(seenUs)}` : `was last there at ${time(seenUs)}`
  return unknown(`${subject(ring, isOne)} ${was}, before it had answered: it has ended, unless it comes back`)
}

function silence({ service }: SeenRing, { sent, leftOut }: Senders): string {
  if (leftOut.has(service || null)) return 'its limits were reached'
  if (sent.has(service || null)) return "this hadn't ended when the trace was kept, or is still on its way"
  return "its limits were reached, this hadn't ended then, or its spans are still on their way"
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

function latest(rings: SeenRing[]): SeenRing {
  return rings.reduce((a, b) => (b.seenUs > a.seenUs ? b : a))
}

function historyAt({ firstUs, firstHistoryUs, toldUs, historyUs }: SeenRing, us: number): number {
  const passed = toldUs > firstUs ? Math.min(1, Math.max(0, (us - firstUs) / (toldUs - firstUs))) : 1
  return firstHistoryUs + passed * (historyUs - firstHistoryUs)
}

function subject(ring: SeenRing, isOne: boolean): string {
  return isOne ? nameOf(ring) : `if this was ${nameOf(ring)}: it`
}

function nameOf({ service, host, address }: SeenRing): string {
  return `${service || 'a service without a name'} on ${host || address}`
}
