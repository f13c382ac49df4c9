import type { RemoteContext } from 'milo/plugin'

/** What of a transport's input has been received, and how far it has been read. */
export interface Input {
  buf: Buffer
  readIndex: number
  writeIndex: number
}

/** What a field turned out to be. Milo's own takes precedence, then 8888, then 3333. */
export interface Found {
  remote: RemoteContext | undefined
  rank: number
  /** W3C's header, as it came. It counts whichever field the trace is taken from. */
  baggage: string | undefined
  /** How many bytes the field has in the input, if it was read whole and needn't be skipped again; otherwise 0. */
  bytes: number
}

export const RANK_FIELD = 3
export const RANK_CALLTRACE = 2.5
export const RANK_COMPAT = 2
export const RANK_OPENTRACING = 1

export function found(remote: RemoteContext | undefined, rank: number, bytes = 0, baggage?: string): Found | undefined {
  return remote === undefined && baggage === undefined ? undefined : { remote, rank, baggage, bytes }
}
