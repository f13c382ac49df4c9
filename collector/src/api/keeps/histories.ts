import type { SpanRecord } from 'milo/codec/span'
import { ASKS_US } from '../../keep/rings'
import type { SeenRing } from '../../store/keeps'
import { HISTORY_KEY, SERVER, sideOf } from '../../trace'
import type { Clocks } from './clocks'
import type { Gap } from './gaps'
import { type Processes, tellingsOf } from './processes'

/**
 * Since when histories had all of their spans when their processes were asked for a trace. A process that has sent spans of it has said so
 * with the first of them. Of another one, only what it told with its questions is known: a history's beginning moves on as the process
 * is busy, so it may have been anywhere between what was told before it was searched and what was told after. All times are by the
 * collectors' clock.
 *
 *     a question waits ──▶ "keep this" ──▶ the next question, at once ──▶ 20 ms later, the search ──▶ the one after it, 50 ms or more later
 *                                          tells what it has at least                                 tells what it had at most
 */

export interface Began {
  /** Then or later. */
  fromUs: number
  /** Then or earlier; undefined: the process has told nothing since it was searched. */
  toUs: number | undefined
  /** When the process told it last. */
  toldUs: number
  /** When the process had sent what it had: what ended later was sent as well. Undefined where it isn't known that it has. */
  answeredUs: number | undefined
}

interface Answer extends Began {
  service: string
}

/** A process tells it as soon as it has been asked for something. */
const AT_ONCE_US = 2_000_000
/** A process that has just asked waits so long until it asks again, and may search its history meanwhile. */
const PACE_US = 50_000
/** How many questions after a trace was kept may come before the search: the one whose answer says so, and the next one. */
const BEFORE_SEARCH = 2

/** How long a process may hold what ends after a trace was kept, until its history is searched, and a busy one longer. */
export const HELD_US = 10_000_000

export class Histories {
  private readonly askedUs: number
  private readonly processes: Processes
  /** What services have said on their hosts, the earliest. */
  private readonly answers = new Map<string, Answer>()
  private readonly told = new Map<SeenRing, Began>()

  /** @param askedUs when processes were asked */
  constructor(records: SpanRecord[], clocks: Clocks, askedUs: number, processes: Processes) {
    this.askedUs = askedUs
    this.processes = processes
    for (const record of records) {
      const { annotations, events = [], service = '' } = record
      const us = Number(annotations?.get(HISTORY_KEY))
      if (!(us > 0)) continue
      const endUs = Math.max(0, ...events.map(({ timestamp }) => Number(timestamp ?? 0)))
      // What was sent had ended after that: a clock was set in between.
      if (endUs < us - HELD_US) continue
      const host = hostOf(record)
      const beganUs = clocks.of(us, service, host)
      const answeredUs = Math.max(askedUs, clocks.of(endUs, service, host))
      const key = keyOf(service, host)
      const known = this.answers.get(key)
      // Later ones say no more of what had ended before the first.
      if (known === undefined || beganUs < known.fromUs)
        this.answers.set(key, { service, fromUs: beganUs, toUs: beganUs, toldUs: answeredUs, answeredUs })
    }
  }

  /** Of one of the processes that were there at the time of a call. */
  of(ring: SeenRing, gap: Gap): Began {
    const answer = this.answers.get(keyOf(ring.service, ring.host))
    // Spans don't say which of several processes on a host they are of; one that had gone has left it to its successor to answer.
    if (answer !== undefined && ring.seenUs >= this.askedUs && this.processes.isAlone(ring, gap)) return answer
    let told = this.told.get(ring)
    if (told === undefined) this.told.set(ring, (told = toldBy(ring, this.askedUs)))
    return told
  }

  /** Of a service of which no process is known; the earliest, if several have answered. */
  ofService(service: string): Began | undefined {
    const answers = [...this.answers.values()].filter(answer => answer.service === service)
    return answers.sort((a, b) => a.fromUs - b.fromUs)[0]
  }
}

/** Whether a span was overwritten, or wasn't; undefined: it may have been. */
export function isOverwritten({ fromUs, toUs, answeredUs }: Began, { startUs, endedUs }: Gap): boolean | undefined {
  if (endedUs < fromUs) return true
  // It had ended when the process answered, and would have been sent.
  if (answeredUs !== undefined && startUs < fromUs && endedUs <= answeredUs) return true
  return toUs !== undefined && startUs >= toUs ? false : undefined
}

function toldBy(ring: SeenRing, askedUs: number): Began {
  const { madeUs, toldUs } = ring
  // The rows of hours say some of it again.
  const told = new Map(tellingsOf(ring).map(telling => [telling.us, telling]))
  const inOrder = [...told.values()].sort((a, b) => a.us - b.us)
  const before = inOrder.findLast(({ us }) => us <= askedUs)
  const after = inOrder.filter(({ us }) => us >= askedUs)
  const searched = after.find(({ us }, i) => i >= BEFORE_SEARCH || us >= askedUs + ASKS_US)
  const hasWaited = before === undefined || before.us <= askedUs - PACE_US
  const isAtOnce = hasWaited && after[0] !== undefined && after[0].us <= askedUs + AT_ONCE_US
  const fromUs = (isAtOnce ? after[0] : before)?.historyUs ?? madeUs
  // One that had lost nothing when it told last is taken to have all.
  const last = inOrder.at(-1)!.historyUs
  const toUs = searched?.historyUs ?? (madeUs > 0 && last <= madeUs ? madeUs : undefined)
  return { fromUs: Math.min(fromUs, toUs ?? fromUs), toUs, toldUs, answeredUs: undefined }
}

/** The host of the process that has sent it. */
export function hostOf({ events = [], clientHost, serverHost }: SpanRecord): string {
  return (sideOf(events) === SERVER ? serverHost : clientHost || serverHost) ?? ''
}

function keyOf(service: string, host: string): string {
  return JSON.stringify([service, host])
}
