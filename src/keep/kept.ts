/** How long a trace is remembered at most: what ends of it meanwhile is sent as well. A request may take minutes. */
const KEPT_S = 600
/** How long it is remembered that a trace was refused. */
const REFUSED_S = 60
const SETS = 512
const WAYS = 8

/** A trace that is kept. */
export interface Kept {
  /** Why, in a word; ASKED when the feed said so. */
  reason: string
  /** Whether the collector wants it, and not this process: what is sent of it is limited apart. */
  isForeign: boolean
  /** Whether the first of its spans has been sent, which says when the history began. */
  begun: boolean
  /** Whether the last traces of its operation have been kept as well. */
  hasLateral: boolean
  /** There were no bytes for any of its spans, so it isn't kept any more. */
  isGivenUp: boolean
  /** Whether spans of it were left out, and how many of those the next span that is sent has to tell. */
  isPartial: boolean
  untold: number
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

  constructor(rememberedS = REFUSED_S) {
    this.rememberedS = rememberedS
  }

  /** @returns its place; -1 if it isn't there */
  find(hi: number, lo: number, nowS: number): number {
    if (nowS >= this.emptyAtS) return -1
    const { ids } = this
    const first = setOf(lo)
    for (let i = first; i < first + WAYS; i++) {
      const at = i * 3
      if (ids[at + 1] === lo && ids[at] === hi && ids[at + 2]! > nowS) return i
    }
    return -1
  }

  /** @returns its place, which another trace may have had */
  add(hi: number, lo: number, nowS: number): number {
    const { ids } = this
    const first = setOf(lo)
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

  remove(hi: number, lo: number): void {
    const first = setOf(lo)
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

  add(hi: number, lo: number, reason: string, isForeign: boolean, nowS: number): Kept {
    const kept: Kept = {
      reason,
      isForeign,
      begun: false,
      hasLateral: false,
      isGivenUp: false,
      isPartial: false,
      untold: 0,
    }
    return (this.kept[this.ids.add(hi, lo, nowS)] = kept)
  }

  remove(hi: number, lo: number): void {
    this.ids.remove(hi, lo)
  }
}

function setOf(lo: number): number {
  return (lo & (SETS - 1)) * WAYS
}
