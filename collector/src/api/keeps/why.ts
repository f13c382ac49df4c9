import { placeOf } from 'milo/codec/keeps'
import { ASKS_US } from '../../keep/rings'
import type { SeenRing } from '../../store/keeps'
import type { MissingHalf } from '../../trace'
import type { Gap } from './gaps'
import { type Began, type Histories, isOverwritten } from './histories'
import { beganLater, wasThere } from './processes'

/**
 * Why a half isn't there, by what is known of the processes whose it may be:
 *
 *     was any there?  no ─→ no_history
 *     is any still there?  no, and it hasn't come back ─→ ended; it may come back ─→ unknown
 *     does a history of theirs go back to it?  no ─→ overwritten; yes ─→ unsent; nobody knows ─→ unknown
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
  /** Whether all processes of the time were looked for. */
  knowsAll: boolean
}

/** The services that have sent spans of the trace after the fact, and those that left some out. */
export interface Senders {
  histories: Histories
  sent: ReadonlySet<string | null>
  leftOut: ReadonlySet<string | null>
}

export type Why = Pick<MissingHalf, 'why' | 'detail'>

/** Whose question waits when a trace is kept hears of it, by clocks that are so far apart at most. */
const HEARS_US = 100_000
/** What a process has of a trace is on its way long before. */
const ANSWERS_US = 5_000_000
/** A process whose connection has ended asks again in a moment, of another collector too. It waits longer only where none can be reached. */
const BACK_US = 10_000_000
const TOO_MANY = "they are too many, or the trace's times are more than a day apart"
/** So many processes are named. */
const MAX_NAMED = 4

/** What was kept soon after this collector's start began while it may have been away: until then, nobody knows who was there. */
export function unseen({ keptUs, upUs }: Asked): number {
  return keptUs >= upUs ? upUs : 0
}

/** Whether a process could answer, had gone, or may come back. */
function fateOf({ ended, seenUs }: SeenRing, { keptUs, nowUs, upUs }: Asked): 'there' | 'gone' | 'lost' {
  if (seenUs >= keptUs + (ended ? ANSWERS_US : -HEARS_US)) return 'there'
  // A process that didn't leave may have lost this collector's last life, and needs ASKS_US to find a collector.
  return nowUs < (ended ? seenUs + BACK_US : Math.max(seenUs, upUs) + ASKS_US) ? 'lost' : 'gone'
}

/** @param isSure whether it is one of these processes */
export function whyOf(processes: SeenRing[], gap: Gap, asked: Asked, senders: Senders, isSure = true): Why {
  const who = gap.service ?? gap.host ?? 'the other side'
  const there = processes.filter(ring => wasThere(ring, gap, unseen(asked)))
  if (there.length === 0) {
    // It was there, as it has sent spans, but hasn't asked a collector on these databases.
    const told = processes.length === 0 && gap.service !== null ? senders.histories.ofService(gap.service) : undefined
    if (told !== undefined)
      return whyIn(told, gap, { whose: `the history of ${who}`, it: who }, silence(gap.service, senders))
    const detail = nobody(processes, gap, who)
    return asked.knowsAll
      ? { why: 'no_history', detail }
      : unknown(`${detail}, but not all were looked for: ${TOO_MANY}`)
  }
  const fates = there.map(ring => {
    const began = senders.histories.of(ring, gap)
    return { ring, began, isLost: isOverwritten(began, gap) }
  })
  // What a process had forgotten when it was last heard of, it hadn't afterwards either.
  const present = fates.filter(({ ring, isLost }) => isLost === true || fateOf(ring, asked) === 'there')
  if (present.length === 0) {
    const isOne = isSure && there.length === 1
    const lost = there.filter(ring => fateOf(ring, asked) === 'lost')
    return lost.length > 0 ? lostOf(latest(lost), isOne) : endedOf(latest(there), isOne)
  }
  if (present.length < there.length || present.some(({ isLost }) => isLost !== present[0]!.isLost))
    return oneOf(there, gap, asked, senders)
  const { ring: one, began } = present.reduce((a, b) => (b.began.fromUs < a.began.fromUs ? b : a))
  const names = isSure
    ? { whose: `the history of ${who}`, it: who }
    : { whose: `if this was ${nameOf(one)}: its history`, it: `if this was ${nameOf(one)}: it` }
  return whyIn(began, gap, names, silence(one.service, senders), asked.keptUs)
}

/** Why a span isn't there of a process that was asked, by when its history began. */
function whyIn(began: Began, gap: Gap, { whose, it }: { whose: string; it: string }, silence: string, keptUs = 0): Why {
  const { fromUs, toUs, toldUs, answeredUs } = began
  const isLost = isOverwritten(began, gap)
  if (isLost) return overwritten(whose, fromUs)
  if (isLost === undefined) {
    const at = toUs === undefined ? `at ${time(fromUs)} or later` : `at ${time(fromUs)}`
    const when = toUs === undefined || toUs === fromUs ? at : `between ${time(fromUs)} and ${time(toUs)}`
    const otherwise = answeredUs === undefined ? silence : "it hasn't ended, or is still on its way"
    return unknown(`${it} was asked when its history began ${when}: this was overwritten, or ${otherwise}`)
  }
  // What was overwritten meanwhile, nobody knows.
  const asOf = toldUs < keptUs ? ` (its history was long enough at ${time(toldUs)}, the last that is known)` : ''
  return { why: 'unsent', detail: `${it} was asked${asOf}, but ${silence}` }
}

/** Says of a half of which only the machine is known whose it may be. @param processes those that may have it */
export function whoOf(processes: SeenRing[], gap: Gap, asked: Asked, senders: Senders): Why {
  const there = processes.filter(ring => wasThere(ring, gap, unseen(asked)))
  return there.length < 2 ? whyOf(processes, gap, asked, senders, false) : oneOf(there, gap, asked, senders)
}

/** Says that it may have been any of several. */
function oneOf(there: SeenRing[], gap: Gap, asked: Asked, senders: Senders): Why {
  const names = [...new Set(there.map(ring => `${nameOf(ring)}${lossOf(ring, gap, asked, senders)}`))]
  const others = names.length > MAX_NAMED ? `, or of ${names.length - MAX_NAMED} others` : ''
  return unknown(
    `it isn't known whose this is: of ${names.slice(0, MAX_NAMED).join(', or of ')}${others}, or of a process without a history`,
  )
}

export function unknown(detail: string): Why {
  return { why: 'unknown', detail }
}

/** Whether the process could have sent it no more, or perhaps not. */
export function hasLost(ring: SeenRing, gap: Gap, asked: Asked, senders: Senders): boolean {
  return wasThere(ring, gap, unseen(asked)) && lossOf(ring, gap, asked, senders) !== ''
}

export function overwritten(whose: string, beganUs: number): Why {
  return { why: 'overwritten', detail: `${whose} began at ${time(beganUs)}, after this` }
}

export function time(us: number): string {
  return new Date(us / 1000).toISOString()
}

function lossOf(ring: SeenRing, gap: Gap, asked: Asked, { histories }: Pick<Senders, 'histories'>): string {
  const isLost = isOverwritten(histories.of(ring, gap), gap)
  if (isLost) return ' (overwritten)'
  const fate = fateOf(ring, asked)
  if (fate === 'gone') return ' (ended)'
  if (fate === 'lost') return ' (perhaps ended)'
  return isLost === false ? '' : ' (perhaps overwritten)'
}

function endedOf(ring: SeenRing, isOne: boolean): Why {
  const what = ring.ended ? 'ended, or lost its connection,' : 'was last there'
  const detail = `${subject(ring, isOne)} ${what} at ${time(ring.seenUs)}, before it had sent this`
  return { why: 'ended', detail }
}

function lostOf(ring: SeenRing, isOne: boolean): Why {
  const { ended, seenUs } = ring
  const was = ended ? `lost its connection at ${time(seenUs)}` : `was last there at ${time(seenUs)}`
  return unknown(`${subject(ring, isOne)} ${was}, before it had sent this: it has ended, unless it comes back`)
}

function silence(service: string | null, { sent, leftOut }: Senders): string {
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

function subject(ring: SeenRing, isOne: boolean): string {
  return isOne ? nameOf(ring) : `if this was ${nameOf(ring)}: it`
}

function nameOf({ service, host, address }: SeenRing): string {
  return `${service || 'a service without a name'} on ${host || address}`
}
