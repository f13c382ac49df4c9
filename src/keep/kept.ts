import { randomLow } from '../trace/id'
import type { LiveSpan } from '../trace/span'
import type { ByteBucket } from './tokens'

/** How long a trace is remembered at most: what ends of it meanwhile is sent as well. A request may take minutes. */
const KEPT_S = 600
/** How long it is remembered that a trace was refused. */
const REFUSED_S = 60
const SETS = 512
const WAYS = 8
/** What leaves so many bits that they count the sets. */
const SHIFT = 32 - Math.log2(SETS)
const SECRET = randomLow()

/** A span for which a trace is kept. */
export interface Cause {
  readonly idHi: number
  readonly idLo: number
  readonly name: string
  /** Whether the trace came into this process with it, or began there. */
  readonly isEntry: boolean
}

/** A span with which a trace came into this process, or began here, and which has ended. */
export interface Entry extends Pick<Cause, 'idHi' | 'idLo' | 'name'> {
  readonly trace: { readonly hi: number; readonly lo: number }
  readonly endUs: number
}

/** A trace that is kept. */
export interface Kept {
  /** Why, in a word; ASKED when the feed said so. Spans that don't say otherwise say this. */
  reason: string
  /** The span that kept it, by its id and name; undefined where the collector asked for it. */
  cause: Cause | undefined
  /** Whether a span has said which one that is. */
  isCauseTold: boolean
  /** The span that failed, was slow, or has a word of the application's: not one for the sake of which others want the trace. */
  symptom: Cause | undefined
  /** What was found wrong in it, and what of it all spans that were sent have said; some at most. */
  reasons: string[]
  said: string[]
  /** With what it came into this process, or began here, if that was sent before there was a symptom. */
  entry: Entry | undefined
  /** Whether the collector wants it, and not this process: what is sent of it is limited apart. */
  isForeign: boolean
  /** Whether the first of its spans has been sent, which says when the history began. */
  begun: boolean
  /** Whether the last traces of its operation have been kept as well. */
  hasLateral: boolean
  /** There were no bytes for any of its spans, so it isn't kept any more. */
  isGivenUp: boolean
  /** What has ended of it since it was kept, while the history has yet to be searched; undefined from then on. */
  held: LiveSpan[] | undefined
  /** How many bytes may end of it from then on before it is a giant; undefined while nothing has. */
  later: ByteBucket | undefined
  /** Whether spans of it were left out, and how many of those the next span that is sent has to tell. */
  isPartial: boolean
  untold: number
  /** One of those in short, which tells it if no other comes. */
  outline: LiveSpan | undefined
}

/** The reason of what is kept because the feed asks for it. */
export const ASKED = 'asked'

/**
 * The ids of the last 4,096 traces, each for some time. Every span that ends is looked for here, so ids are in sets of eight in an array: a
 * look takes some nanoseconds, and nothing grows. A full set loses its oldest trace.
 */
export class TraceIds {
  /** hi, lo, and when it is forgotten, in seconds since the epoch: 0 for a free place. */
  private readonly ids = new Int32Array(SETS * WAYS * 3)
  /** When all are forgotten. */
  private emptyAtS = 0
  private readonly rememberedS: number
  private readonly secret: number

  /** @param secret by which ids are spread over the sets */
  constructor(rememberedS = REFUSED_S, secret = SECRET) {
    this.rememberedS = rememberedS
    this.secret = secret
  }

  /** @returns its place; -1 if it isn't there */
  find(hi: number, lo: number, nowS: number): number {
    if (nowS >= this.emptyAtS) return -1
    const { ids } = this
    const first = this.setOf(hi, lo)
    for (let i = first; i < first + WAYS; i++) {
      const at = i * 3
      if (ids[at + 1] === lo && ids[at] === hi && ids[at + 2]! > nowS) return i
    }
    return -1
  }

  /** @returns its place, which another trace may have had */
  add(hi: number, lo: number, nowS: number): number {
    const { ids } = this
    const first = this.setOf(hi, lo)
    let place = first
    for (let i = first; i < first + WAYS; i++) {
      if (ids[i * 3] === hi && ids[i * 3 + 1] === lo) {
        place = i
        break
      }
      if (ids[i * 3 + 2]! < ids[place * 3 + 2]!) place = i
    }
    const until = Math.ceil(nowS) + this.rememberedS
    ids[place * 3] = hi
    ids[place * 3 + 1] = lo
    ids[place * 3 + 2] = until
    this.emptyAtS = Math.max(this.emptyAtS, until)
    return place
  }

  /**
   * The first place of an id's set. Nobody can choose which ids share one, and ids that count up, or have the same bits somewhere, are
   * spread like random ones: hence three steps, since of what is multiplied once, those that count up meet for some secrets.
   */
  private setOf(hi: number, lo: number): number {
    const { secret } = this
    let hash = Math.imul(hi ^ secret, 0x9e3779b1)
    hash = Math.imul(hash ^ (hash >>> 15) ^ lo, 0x85ebca6b)
    return (Math.imul(hash ^ (hash >>> 13), secret | 1) >>> SHIFT) * WAYS
  }

  remove(hi: number, lo: number): void {
    const first = this.setOf(hi, lo)
    for (let i = first; i < first + WAYS; i++)
      if (this.ids[i * 3] === hi && this.ids[i * 3 + 1] === lo) this.ids[i * 3 + 2] = 0
  }
}

/** The traces that were kept in the last ten minutes, 4,096 at most. */
export class KeptTraces {
  private readonly ids = new TraceIds(KEPT_S)
  private readonly kept: (Kept | undefined)[] = new Array(SETS * WAYS).fill(undefined)

  find(hi: number, lo: number, nowS: number): Kept | undefined {
    const place = this.ids.find(hi, lo, nowS)
    return place === -1 ? undefined : this.kept[place]
  }

  add(hi: number, lo: number, reason: string, isForeign: boolean, nowS: number, cause?: Cause): Kept {
    const kept: Kept = {
      reason,
      cause,
      isCauseTold: false,
      symptom: undefined,
      reasons: [reason],
      said: [],
      entry: undefined,
      isForeign,
      begun: false,
      hasLateral: false,
      isGivenUp: false,
      held: [],
      later: undefined,
      isPartial: false,
      untold: 0,
      outline: undefined,
    }
    return (this.kept[this.ids.add(hi, lo, nowS)] = kept)
  }

  remove(hi: number, lo: number): void {
    this.ids.remove(hi, lo)
  }
}
