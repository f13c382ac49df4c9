import type { Side } from 'milo/codec/events'

/**
 * What services did: counters of operations and of calls between them, by stretches of time. activity/ has the way of the
 * numbers: meter.ts counts what is settled, folder.ts adds that up into rows, read.ts answers from both.
 */

/** The stretches by which rows are stored, in minutes, from fine to coarse. */
export const GRAINS = [1, 10, 60, 1440] as const
export type Grain = (typeof GRAINS)[number]
export const MINUTE_US = 60_000_000

/** The service, name or caller that stands for all beyond the limits. */
export const OTHER = '(other)'

/** 'calls' are the edges whose caller is the row's service, 'callers' those whose callee is: each edge is in both. */
export const ROW_KINDS = ['operations', 'calls', 'callers'] as const
export type RowKind = (typeof ROW_KINDS)[number]

export interface OperationKey {
  service: string
  name: string
  side: Side
}

/** A call between two operations. A name is '' if it isn't known. */
export interface EdgeKey {
  caller: string
  callerName: string
  callee: string
  calleeName: string
}

/** Which row it is: start = time × grain minutes since the epoch. */
export interface RowId {
  grain: Grain
  time: number
  kind: RowKind
  service: string
}

export interface Row extends RowId {
  body: Buffer
}

/** What one settling counted; a row of activity_settled. */
export interface Settled {
  /** In the order of all settlings of all collectors. */
  seq: bigint
  delta: Buffer
}

/** How far folding and rolling have come. */
export interface Progress {
  /** Deltas up to this seq are in the rows. */
  folded: bigint
  /** Of each grain: rows before this time (in units of the grain) are complete. The first is unused. */
  rolled: [number, number, number, number]
}

/** Stretches of time of one grain: rows with from ≤ time < to. */
export interface ReadPart {
  grain: Grain
  /** In units of the grain; `to` is exclusive. */
  from: number
  to: number
}

/** What the stores implement; folder.ts is its only writer. */
export interface ActivityTable {
  /** The largest body that a row may have. */
  readonly maxRowBytes: number
  progress(): Promise<Progress>
  /** Deltas after a seq, oldest first, of at most so many bytes, but at least one if there is one. */
  settledAfter(seq: bigint, maxBytes: number): Promise<Settled[]>
  /** The bodies of these rows, undefined where there is none. */
  bodies(rows: RowId[]): Promise<(Buffer | undefined)[]>
  /** The oldest rows of some stretches, at most so many, by time, service and kind. */
  rowsOf(part: ReadPart, most: number): Promise<RowId[]>
  /**
   * Replaces rows and moves the progress, in one transaction.
   * @returns false, and changes nothing, if the progress isn't `expected` anymore: another collector has folded
   */
  commit(expected: Progress, rows: Row[], next: Progress): Promise<boolean>
  /** Removes what is too old. */
  expire(what: Expiry): Promise<void>
}

export interface Expiry {
  /** Settlings up to this one, if they are older than `settledBeforeUs`. */
  settled: bigint
  settledBeforeUs: number
  /** Rows of minutes and ten minutes, and of hours and days, that begin before these times (microseconds). */
  fineBeforeUs: number
  coarseBeforeUs: number
}

export interface ActivityQuery {
  fromUs: number
  toUs: number
  /** The step of the series that is made of it, which begins at a multiple of it; Infinity for one sum. At least a minute. */
  stepUs: number
  kinds: RowKind[]
  /** Only what is in rows of this service. */
  service?: string
  /** For the next page of deltas alone: those after this one. */
  deltasAfter?: bigint
}

/** A part of what a query asks for: a store answers with as much as fits into memory. All of it is from one snapshot. */
export interface ActivityRead {
  rows: Row[]
  /** What isn't in the rows yet: of any time, service and kind. */
  deltas: Settled[]
  /** Whether there are more deltas after these. */
  moreDeltas: boolean
  /** The minutes since the epoch that are answered; from `to` on, another query has the rest. */
  from: number
  to: number
}

export interface MeterStats {
  /** Records that are counted as calls of their operations. */
  counted: number
  /** Records that have been counted before. */
  repeated: number
  /** Records of traces that were forced: these stand for no others, not even themselves. */
  forced: number
  /** Of the counted ones: how many have no sampling probability, and count once. */
  unknown: number
  /** Records that weren't counted, because they are older than spans are kept, or of the future. */
  outOfTime: number
  /** Records that weren't counted, because the settling had too many minutes. */
  overrun: number
  /** Records that don't wait for others of their traces any longer, because too many do. */
  waitingDropped: number
}

export const NO_STATS: Readonly<MeterStats> = {
  counted: 0,
  repeated: 0,
  forced: 0,
  unknown: 0,
  outOfTime: 0,
  overrun: 0,
  waitingDropped: 0,
}
export const METER_STATS = Object.keys(NO_STATS) as (keyof MeterStats)[]
