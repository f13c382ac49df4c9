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

/** What the stores implement; folder.ts is its only writer. */
export interface ActivityTable {
  progress(): Promise<Progress>
  /** Deltas after a seq, oldest first, of at most so many bytes, but at least one if there is one. */
  settledAfter(seq: bigint, maxBytes: number): Promise<Settled[]>
  /** The bodies of these rows, undefined where there is none. */
  bodies(rows: RowId[]): Promise<(Buffer | undefined)[]>
  /** The rows of a grain with from ≤ time < to, by service and kind. */
  rowsOf(grain: Grain, from: number, to: number): Promise<RowId[]>
  /**
   * Replaces rows and moves the progress, in one transaction.
   * @returns false, and changes nothing, if the progress isn't `expected` anymore: another collector has folded
   */
  commit(expected: Progress, rows: Row[], next: Progress): Promise<boolean>
  /** Removes settlings that are folded and older than `beforeUs`, and rows that are over before these times (microseconds). */
  expire(settledBeforeUs: number, fineBeforeUs: number, coarseBeforeUs: number): Promise<void>
}

/** What a store reads for read.ts, all from one snapshot. */
export interface ActivityRead {
  rows: Row[]
  /** Not folded yet, of any time and service. */
  deltas: Buffer[]
}

export interface ReadPart {
  grain: Grain
  /** In units of the grain; `to` is exclusive. */
  from: number
  to: number
}

export interface ActivityQuery {
  fromUs: number
  toUs: number
  /** The step of the series that is made of it: no coarser rows are read. At least a minute. */
  stepUs: number
  kinds: RowKind[]
  /** Only rows of this service. */
  service?: string
}
