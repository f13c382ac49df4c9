import { setImmediate } from 'node:timers/promises'
import {
  type Caught,
  HOUR_US,
  type Keep,
  type KeepQuery,
  listed,
  MAX_KEEPS,
  MAX_KEEPS_READ,
  MAX_RINGS_READ,
  type Ring,
  type RingQuery,
  type SeenRing,
  type StoredKeep,
  unlisted,
} from '../keeps'
import type { EmbeddedFile } from './file'

/** What is kept after the fact, in the file. */

/** Rows of a transaction: acknowledgments wait for each. */
const ROWS_AT_ONCE = 500
/** How often it is looked for what is too old. */
const EXPIRE_MS = 60_000

/** The owner's part. */
export class EmbeddedKeeps {
  private readonly file: EmbeddedFile
  private nextMs = Number.NEGATIVE_INFINITY

  constructor(file: EmbeddedFile) {
    this.file = file
  }

  addKeeps(keeps: Keep[]): Promise<void> {
    const { insertKeep } = this.file.sql
    return this.inPieces(keeps, ({ atUs, kind, id, n, reason, service, name, by, collector, origin }) => {
      const numbers = [BigInt(atUs), BigInt(kind), BigInt.asIntN(64, id), BigInt(n)]
      insertKeep.run([...numbers, reason, service, name, by, collector, origin])
    })
  }

  saveRings(rings: Ring[]): Promise<void> {
    const { writeRing } = this.file.sql
    return this.inPieces(
      rings,
      ({ process, service, host, address, listening, madeUs, seenUs, toldUs, historyUs, ended }) => {
        const times = [seenUs, toldUs, historyUs, madeUs].map(us => BigInt(Math.floor(us)))
        const of = [hourOf(seenUs), process, service, host, address]
        writeRing.run([...of, ...times, ended ? 1n : 0n, listed(listening)])
      },
    )
  }

  /** Removes what was kept before this time, and the oldest of too many, now and then. */
  async expire(beforeUs: bigint): Promise<void> {
    if (performance.now() < this.nextMs) return
    this.nextMs = performance.now() + EXPIRE_MS
    const { deleteKeeps, deleteRings } = this.file.sql
    const rows = BigInt(ROWS_AT_ONCE)
    const remove = async (some: () => number) => {
      for (let removed = ROWS_AT_ONCE; removed === ROWS_AT_ONCE; ) {
        this.file.background(() => {
          removed = some()
        })
        await setImmediate()
      }
    }
    await remove(() => deleteKeeps.run([beforeUs, BigInt(MAX_KEEPS), rows]).changes)
    await remove(() => deleteRings.run([hourOf(Number(beforeUs)), rows]).changes)
  }

  private async inPieces<T>(all: T[], write: (one: T) => void): Promise<void> {
    for (let i = 0; i < all.length; i += ROWS_AT_ONCE) {
      if (i > 0) await setImmediate()
      this.file.background(() => {
        for (const one of all.slice(i, i + ROWS_AT_ONCE)) write(one)
      })
    }
  }
}

export function readKeepsAfter({ sql }: EmbeddedFile, seq: bigint, fromUs: number): StoredKeep[] {
  return storedKeeps(sql.selectKeepsAfter.all([seq, BigInt(Math.floor(fromUs)), BigInt(MAX_KEEPS_READ)]))
}

export function readKeeps({ sql }: EmbeddedFile, query: KeepQuery): StoredKeep[] {
  return storedKeeps(sql.selectKeeps.all(wanted(query)))
}

export function readKeepsOf({ sql }: EmbeddedFile, traceId: bigint): StoredKeep[] {
  return storedKeeps(sql.selectKeepsOf.all([traceId]))
}

export function readCaught({ sql }: EmbeddedFile, query: KeepQuery): Caught[] {
  const rows = sql.selectCaught.all(wanted(query)) as [Buffer, Buffer, Buffer, bigint, bigint, bigint][]
  return rows.map(([reason, service, name, traces, firstUs, lastUs]) => ({
    ...{ reason: `${reason}`, service: `${service}`, name: `${name}` },
    ...{ traces: Number(traces), firstUs: Number(firstUs), lastUs: Number(lastUs) },
  }))
}

export function readRings({ sql }: EmbeddedFile, { fromUs, toUs, of }: RingQuery): SeenRing[] {
  const rows = sql.selectRings.all([
    ...[hourOf(fromUs), hourOf(toUs)],
    ...[of?.services, of?.hosts, of?.places.map(place => listed([place]))].map(list =>
      list ? JSON.stringify(list) : null,
    ),
    BigInt(MAX_RINGS_READ),
  ]) as [bigint, Buffer, Buffer, Buffer, bigint, bigint, bigint, bigint, bigint, bigint, Buffer, bigint][]
  return rows.map(
    ([process, service, host, address, first, firstHistory, seen, told, history, ended, listening, made]) => ({
      ...{ process, service: `${service}`, host: `${host}`, address: `${address}` },
      ...{ firstUs: Number(first), firstHistoryUs: Number(firstHistory), seenUs: Number(seen) },
      ...{ toldUs: Number(told || seen), historyUs: Number(history), ended: ended === 1n, madeUs: Number(made) },
      listening: unlisted(`${listening}`),
    }),
  )
}

function wanted({ fromUs, toUs, kind, reason, service, name, limit }: KeepQuery) {
  const range = [BigInt(Math.floor(fromUs)), BigInt(Math.floor(toUs)), kind === undefined ? null : BigInt(kind)]
  return [...range, reason ?? null, service ?? null, name ?? null, BigInt(limit)]
}

type Row = [bigint, bigint, bigint, bigint, bigint, Buffer, Buffer, Buffer, Buffer, Buffer, bigint]

function storedKeeps(rows: unknown[]): StoredKeep[] {
  return (rows as Row[]).map(([seq, atUs, kind, id, n, reason, service, name, by, collector, origin]) => ({
    ...{ seq, atUs: Number(atUs), kind: Number(kind), id, n: Number(n) },
    ...{ reason: `${reason}`, service: `${service}`, name: `${name}`, by: `${by}`, collector: `${collector}`, origin },
  }))
}

function hourOf(us: number): bigint {
  return BigInt(Math.floor(us / HOUR_US))
}
