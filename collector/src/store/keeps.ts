/** What is kept after the fact, and which processes have a history to keep it from. Times are microseconds since the epoch. */

/** They are stored as the feed has them. */
export { KEEP_OPERATION as OPERATION, KEEP_TRACE as TRACE } from 'milo/codec/keeps'

/**
 * A trace that all processes were asked for, or an operation whose next traces they were. What a trace was kept for in several processes has
 * a row each, and may have several where it came several times.
 */
export interface Keep {
  /** TRACE or OPERATION. */
  kind: number
  /** The trace id's low 64 bits, or the operation's number. */
  id: bigint
  /** Of an operation: how many traces each process should keep. */
  n: number
  /** error, slow, lateral, requested, or a word of the application's; empty while it isn't known for which span the trace was kept. */
  reason: string
  /** The span that made its process keep the trace, or the operation. */
  service: string
  name: string
  /** Who asked for it, if a person did. */
  by: string
  atUs: number
  /** The collector that has told it, and a random number of its process. */
  collector: string
  origin: bigint
}

export interface StoredKeep extends Keep {
  /** Rises, but becomes visible out of order. */
  seq: bigint
}

/** How many traces were kept for a reason at an operation, in a range of time: each once, however many rows it has. */
export interface Caught {
  reason: string
  service: string
  name: string
  traces: number
  firstUs: number
  lastUs: number
}

/** A process that has a history and asks what to keep. */
export interface Ring {
  service: string
  host: string
  /** A random number. */
  process: bigint
  /** Since when its history had all of its spans, as it said at `toldUs`. */
  historyUs: number
  toldUs: number
  /** When its history was made, after its start: nothing in it was overwritten before; 0 if it doesn't say. */
  madeUs: number
  /** When it was last there. */
  seenUs: number
  /** Whether it closed its connection then: it ended, lost it, or asks elsewhere. */
  ended: boolean
  /** Where it asks from; '' when a relay told it. */
  address: string
  /** Where it takes calls, as `placeOf` writes it; empty if it doesn't say. */
  listening: string[]
  /** How far its own clock is ahead, by which its spans have their times; the times here aren't. Not stored. */
  aheadUs?: number
}

/** How `listening` is stored: each place is found with its commas. */
export function listed(places: string[]): string {
  return places.length === 0 ? '' : `,${places.join(',')},`
}

export function unlisted(text: string): string[] {
  return text.split(',').filter(place => place !== '')
}

/** A process in an hour, as it was first and last seen in that hour. */
export interface SeenRing extends Ring {
  firstUs: number
  firstHistoryUs: number
  /** What it has told in between, the earliest first, as far as it is remembered. Not stored. */
  tellings?: Telling[]
}

/** A process told at a time since when its history had all of its spans. */
export interface Telling {
  us: number
  historyUs: number
}

/** Which keeps are wanted, of a range of time that includes both its ends. */
export interface KeepQuery {
  fromUs: number
  toUs: number
  kind?: number
  reason?: string
  service?: string
  name?: string
  limit: number
}

/** Which processes are wanted: seen in hours of the range, and of these services, hosts or addresses, or taking calls at these places, if they are given. */
export interface RingQuery {
  fromUs: number
  toUs: number
  of?: { services: string[]; hosts: string[]; places: string[] }
}

/** What is written while spans are taken. */
export interface KeepLog {
  /** The time, in microseconds since the epoch, by a clock that all collectors on these databases have in common. */
  nowUs(): number
  addKeeps(keeps: Keep[]): Promise<void>
  /** Returns rows with higher numbers that aren't older, the lowest numbers first; MAX_KEEPS_READ at most. */
  keepsAfter(seq: bigint, fromUs: number): Promise<StoredKeep[]>
  /** Notes for the hour in which each process was last seen how its history was then. */
  saveRings(rings: Ring[]): Promise<void>
}

/** What says why a trace was kept, and what it lacks. */
export interface KeepReader {
  /** Returns the keeps of a trace, the latest first; 100 at most. @param traceId its low 64 bits */
  keepsOf(traceId: bigint): Promise<StoredKeep[]>
  /** Returns a row for each hour, the latest first; MAX_RINGS_READ at most. */
  rings(query: RingQuery): Promise<SeenRing[]>
}

export interface Keeps extends KeepLog, KeepReader {
  /** Returns what was kept, those with the most traces first. */
  caught(query: KeepQuery): Promise<Caught[]>
  /** Returns keeps, the latest first. */
  keeps(query: KeepQuery): Promise<StoredKeep[]>
}

/** Characters of a service, a name, a host: as many as the name of a span has. */
export const MAX_NAME = 256
export const MAX_KEEPS_READ = 20_000
export const MAX_RINGS_READ = 10_000
/** Above that, the oldest keeps are removed. */
export const MAX_KEEPS = 250_000
export const HOUR_US = 3_600_000_000
