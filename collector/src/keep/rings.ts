import { IdMap } from '../record/ids'
import { MAX_NAME, type Ring, type SeenRing, type Telling } from '../store/keeps'

const MAX_RINGS = 20_000
const MAX_LISTENING = 64
/** So much of what a process has told is remembered, less of what is older. */
const MAX_TELLINGS = 32
/** A process that has been answered asks again within a second, or after a pause of half a minute if it was cut off. */
export const ASKS_US = 35_000_000
/** Who hasn't asked for so long is gone; a question takes 30 s at most. */
const GONE_US = 120_000_000

/** Whether a process asks, or has just asked. */
export function isPresent({ ended, seenUs }: Ring, nowUs: number): boolean {
  return !ended && seenUs >= nowUs - ASKS_US
}

/** Less than that is the way that a question takes. */
const APART_US = 2_000_000

/** How far a clock is ahead that shows `theirUs`; undefined or 0: it doesn't say, but what has passed isn't in the future. */
function aheadOf(theirUs: number | undefined, nowUs: number, ...pastUs: number[]): number {
  const aheadUs = theirUs ? theirUs - nowUs : Math.max(0, ...pastUs.map(us => us - nowUs))
  return Number.isSafeInteger(aheadUs) && Math.abs(aheadUs) >= APART_US ? aheadUs : 0
}

function timeOf(us: number, nowUs: number): number {
  return Math.max(0, Math.min(us || 0, nowUs))
}

/** Returns what a process says of its history by a clock that is behind its own. */
function shifted<R extends Pick<Ring, 'historyUs' | 'madeUs'>>(ring: R, aheadUs: number): R {
  const { historyUs, madeUs } = ring
  return { ...ring, historyUs: historyUs - aheadUs, madeUs: madeUs > 0 ? madeUs - aheadUs : 0 }
}

/** Adds what a process tells. What says the same at three times or more is there at the first and the last of them. */
function withTelling(known: Telling[] = [], telling: Telling): Telling[] {
  const [last, before] = [known.at(-1), known.at(-2)]
  if (last !== undefined && telling.us <= last.us) return known
  const isSame = last?.historyUs === telling.historyUs && before?.historyUs === telling.historyUs
  const all = [...(isSame ? known.slice(0, -1) : known), telling]
  return all.length <= MAX_TELLINGS ? all : all.filter((_, i) => i % 2 === 0 || i >= MAX_TELLINGS / 2)
}

/** `address:port`, in lower case. */
const PLACE = /^[^\s,]{1,64}:\d{1,5}$/

/** The processes that ask what to keep. */
export class Rings {
  readonly nowUs: () => number
  /** Since when processes could ask. */
  readonly sinceUs: number
  /** Called when a process has come or gone. */
  onNews: () => void = () => {}
  private readonly known = new IdMap<SeenRing & { asking: number; changed: boolean }>()

  constructor(nowUs: () => number = () => Date.now() * 1000) {
    this.nowUs = nowUs
    this.sinceUs = nowUs()
  }

  /** How many ask. */
  get size(): number {
    return this.present().length
  }

  /** Returns those that ask, and those that did so a moment ago. */
  present(): SeenRing[] {
    const nowUs = this.nowUs()
    return this.all().filter(ring => isPresent(ring, nowUs))
  }

  /** Returns all that are remembered, as they are known now. */
  all(): SeenRing[] {
    const nowUs = this.nowUs()
    return [...this.known].map(([, { asking, changed, ...ring }]) => ({
      ...ring,
      seenUs: asking > 0 ? nowUs : ring.seenUs,
    }))
  }

  /**
   * Notes that a process asks.
   * @param theirUs what time it is by the process's clock; undefined or 0: it doesn't say
   * @returns called when it has been answered
   */
  asks(ring: Omit<Ring, 'seenUs' | 'toldUs' | 'ended'>, theirUs?: number): () => void {
    const nowUs = this.nowUs()
    const aheadUs = aheadOf(theirUs, nowUs, ring.historyUs, ring.madeUs)
    const found = this.put({ ...shifted(ring, aheadUs), aheadUs, seenUs: nowUs, toldUs: nowUs, ended: false })
    if (found === undefined) return () => {}
    found.asking++
    return () => {
      found.asking--
      found.seenUs = this.nowUs()
      found.changed = true
    }
  }

  /** Notes that a process has closed its connection. */
  left(process: bigint): void {
    const found = this.known.get(process)
    if (found === undefined || found.asking > 0 || found.ended) return
    Object.assign(found, { ended: true, seenUs: this.nowUs(), changed: true })
    this.onNews()
  }

  /**
   * Notes what a relay tells of a process.
   * @param theirUs what time it is by the relay's clock; undefined: by this one
   */
  told(ring: Ring, theirUs?: number): void {
    const nowUs = this.nowUs()
    const ahead = theirUs === undefined ? 0 : theirUs - nowUs
    const seenUs = Math.min(ring.seenUs - ahead, nowUs)
    if (!(seenUs > nowUs - GONE_US)) return
    const toldUs = Math.min((ring.toldUs || ring.seenUs) - ahead, nowUs)
    const apartUs = aheadOf(theirUs, nowUs)
    const aheadUs = ring.aheadUs === undefined ? undefined : ring.aheadUs + apartUs
    this.put({ ...shifted(ring, apartUs), aheadUs, seenUs, toldUs: toldUs > nowUs - GONE_US ? toldUs : seenUs })
  }

  /** Returns those that have changed since the last call, and forgets those that are gone. */
  take(): Ring[] {
    const nowUs = this.nowUs()
    const changed: Ring[] = []
    for (const [process, ring] of [...this.known]) {
      if (ring.asking > 0) ring.seenUs = nowUs
      if (ring.asking > 0 || ring.changed) {
        const { asking, changed: _, firstUs, firstHistoryUs, tellings, ...rest } = ring
        changed.push(rest)
      }
      ring.changed = false
      if (ring.asking === 0 && (ring.ended || ring.seenUs < nowUs - GONE_US)) this.known.delete(process)
    }
    return changed
  }

  /** What can't be stored now is told by the next `take` again. */
  putBack(rings: Ring[]): void {
    for (const ring of rings) {
      const known = this.known.get(ring.process)
      if (known !== undefined) known.changed = true
      // One that has ended was forgotten with it.
      else this.put(ring)
    }
  }

  private put(ring: Ring) {
    const nowUs = this.nowUs()
    let found = this.known.get(ring.process)
    const isNew = found === undefined
    if (found === undefined) {
      if (this.known.size >= MAX_RINGS) return undefined
      found = { ...ring, firstUs: ring.seenUs, firstHistoryUs: ring.historyUs, asking: 0, changed: true }
      this.known.set(ring.process, found)
      this.onNews()
    }
    if (found.ended !== ring.ended) this.onNews()
    const { service, host, address, historyUs, madeUs, listening } = ring
    Object.assign(found, ring, {
      service: service.slice(0, MAX_NAME),
      host: host.slice(0, MAX_NAME),
      address: address.slice(0, MAX_NAME),
      historyUs: timeOf(historyUs, nowUs),
      madeUs: timeOf(madeUs, nowUs),
      listening: listening.filter(place => PLACE.test(place)).slice(0, MAX_LISTENING),
      changed: true,
    })
    if (isNew) found.firstHistoryUs = found.historyUs
    found.tellings = withTelling(found.tellings, { us: found.toldUs, historyUs: found.historyUs })
    return found
  }
}
