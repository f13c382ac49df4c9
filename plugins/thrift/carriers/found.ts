import type { RemoteContext } from 'milo/plugin'

/** What of a transport's input has been received, and how far it has been read. */
export interface Input {
  buf: Buffer
  readIndex: number
  writeIndex: number
}

/** What a field turned out to be. Milo's own takes precedence, then 8888, then 3333. */
export interface Found {
  remote: RemoteContext
  rank: number
  /** How many bytes the field has in the input, if it was read whole and needn't be skipped again; otherwise 0. */
  bytes: number
}

export const RANK_FIELD = 3
export const RANK_CALLTRACE = 2.5
export const RANK_COMPAT = 2
export const RANK_OPENTRACING = 1

export function found(remote: RemoteContext | undefined, rank: number, bytes = 0): Found | undefined {
  return remote === undefined ? undefined : { remote, rank, bytes }
}
