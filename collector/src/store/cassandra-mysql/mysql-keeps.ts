import { chunksBySize } from '../chunks'
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
import type { Clock } from '../pipeline/clock'
import type { MySql, Row } from './mysql'

/** What is kept after the fact, in MySQL: for all collectors on it. */

const REMOVED_AT_ONCE = 1_000
const EVERY_MS = 60_000
const DAY_US = 86_400_000_000
/** More than a row takes in a statement, besides its strings. */
const ROW_BYTES = 200

const KEEP = 'SELECT seq, at_us, kind, id, n, reason, service, name, asker, collector, origin FROM keeps'

/** Those of MySQL. */
export class MySqlKeeps {
  private readonly db: MySql

  constructor(db: MySql) {
    this.db = db
  }

  async addKeeps(keeps: Keep[]): Promise<void> {
    const bytesOf = ({ service, name, by }: Keep) => ROW_BYTES + 8 * (service.length + name.length + by.length)
    for (const some of chunksBySize(keeps, this.db.statementBytes, bytesOf)) {
      const rows = some.map(({ atUs, kind, id, n, reason, service, name, by, collector, origin }) => {
        return [Math.floor(atUs), kind, BigInt.asIntN(64, id), n, reason, service, name, by, collector, origin]
      })
      await this.db.write(
        'INSERT INTO keeps (at_us, kind, id, n, reason, service, name, asker, collector, origin) VALUES ?',
        [rows],
      )
    }
  }

  async keepsAfter(seq: bigint, fromUs: number): Promise<StoredKeep[]> {
    const where = `seq > ? AND at_us >= ? ORDER BY seq LIMIT ${MAX_KEEPS_READ}`
    return (await this.db.read(`${KEEP} WHERE ${where}`, [seq, Math.floor(fromUs)])).map(storedKeep)
  }

  async keeps(query: KeepQuery): Promise<StoredKeep[]> {
    const { where, parameters } = wanted(query)
    const sql = `${KEEP} WHERE ${where} ORDER BY at_us DESC, seq DESC LIMIT ?`
    return (await this.db.read(sql, [...parameters, query.limit])).map(storedKeep)
  }

  async keepsOf(traceId: bigint): Promise<StoredKeep[]> {
    const sql = `${KEEP} WHERE kind = 0 AND id = ? ORDER BY seq DESC LIMIT 100`
    return (await this.db.read(sql, [traceId])).map(storedKeep)
  }

  async caught(query: KeepQuery): Promise<Caught[]> {
    const { where, parameters } = wanted(query)
    const rows = await this.db.read(
      `SELECT reason, service, name, COUNT(DISTINCT id) AS traces, MIN(at_us), MAX(at_us) AS last_us FROM keeps WHERE ${where} AND reason <> ''
       GROUP BY reason, service, name ORDER BY traces DESC, last_us DESC LIMIT ?`,
      [...parameters, query.limit],
    )
    return rows.map(([reason, service, name, traces, firstUs, lastUs]) => ({
      ...{ reason: `${reason}`, service: `${service}`, name: `${name}` },
      ...{ traces: Number(traces), firstUs: Number(firstUs), lastUs: Number(lastUs) },
    }))
  }

  async saveRings(rings: Ring[]): Promise<void> {
    const bytesOf = ({ service, host, listening }: Ring) =>
      ROW_BYTES + 8 * (service.length + host.length + listed(listening).length)
    for (const some of chunksBySize(rings, this.db.statementBytes, bytesOf)) {
      const rows = some.map(
        ({ process, service, host, address, listening, madeUs, seenUs, toldUs, historyUs, ended }) => {
          const [seen, told, history] = [Math.floor(seenUs), Math.floor(toldUs), Math.floor(historyUs)]
          const last = [seen, told, history, ended ? 1 : 0, listed(listening), Math.floor(madeUs)]
          return [hourOf(seenUs), process, service, host, address, seen, history, ...last]
        },
      )
      // What another collector saw later stays. MySQL assigns from left to right: seen_us last.
      const later = (column: string, value = `VALUES(${column})`) =>
        `${column} = IF(VALUES(seen_us) >= seen_us, ${value}, ${column})`
      await this.db.write(
        `INSERT INTO ring (hour, process, service, host, address, first_us, first_history_us, seen_us, told_us, history_us, ended, listening, made_us)
         VALUES ? ON DUPLICATE KEY UPDATE ${later('service')}, ${later('host')},
           ${later('address', "IF(VALUES(address) = '', address, VALUES(address))")},
           ${later('told_us')}, ${later('history_us')}, ${later('ended')}, ${later('listening')}, ${later('made_us')}, seen_us = GREATEST(seen_us, VALUES(seen_us))`,
        [rows],
      )
    }
  }

  async rings({ fromUs, toUs, of }: RingQuery): Promise<SeenRing[]> {
    // An empty list isn't SQL, and no process is called like this.
    const list = (names: string[]) => (names.length === 0 ? ['\0'] : names)
    const { services = [], hosts = [], places = [] } = of ?? {}
    const isThere = places.map(() => ' OR INSTR(listening, ?)').join('')
    const which = of === undefined ? '' : `AND (service IN (?) OR host IN (?) OR address IN (?)${isThere})`
    const names = [list(services), list(hosts), list(hosts), ...places.map(place => listed([place]))]
    const parameters = of === undefined ? [] : names
    const rows = await this.db.read(
      `SELECT process, service, host, address, first_us, first_history_us, seen_us, told_us, history_us, ended, listening, made_us FROM ring
       WHERE hour >= ? AND hour <= ? ${which}
       ORDER BY hour DESC LIMIT ${MAX_RINGS_READ}`,
      [hourOf(fromUs), hourOf(toUs), ...parameters],
    )
    return rows.map(
      ([process, service, host, address, first, firstHistory, seen, told, history, ended, listening, made]) => ({
        ...{ process: BigInt(process!), service: `${service}`, host: `${host}`, address: `${address}` },
        ...{ firstUs: Number(first), firstHistoryUs: Number(firstHistory), seenUs: Number(seen) },
        ...{
          toldUs: Number(told) || Number(seen),
          historyUs: Number(history),
          ended: ended === 1,
          madeUs: Number(made),
        },
        listening: unlisted(`${listening}`),
      }),
    )
  }

  /** Removes what is too old, and the oldest of too many keeps. */
  async expire(retentionDays: number, nowUs: number): Promise<void> {
    const beforeUs = nowUs - retentionDays * DAY_US
    const [last] = await this.db.read(`SELECT seq FROM keeps ORDER BY seq DESC LIMIT ${MAX_KEEPS}, 1`)
    if (last !== undefined) await this.remove('keeps WHERE seq <= ?', last[0])
    await this.remove('keeps WHERE at_us < ?', beforeUs)
    await this.remove('ring WHERE hour < ?', hourOf(beforeUs))
  }

  /** Expires while the collector runs. @returns a function that stops it */
  keepTidy(retentionDays: number, clock: Clock, onError: (error: unknown) => void): () => void {
    const run = async () => {
      // A clock that is ahead for a while removes nothing.
      const nowUs = Math.min(Number(clock.wallUs()), Date.now() * 1000)
      await this.expire(retentionDays, nowUs).catch(onError)
    }
    const timer = setInterval(() => void run(), EVERY_MS).unref()
    void run()
    return () => clearInterval(timer)
  }

  private async remove(rows: string, value: unknown): Promise<void> {
    let removed = REMOVED_AT_ONCE
    while (removed === REMOVED_AT_ONCE) {
      removed = await this.db.write(`DELETE FROM ${rows} LIMIT ${REMOVED_AT_ONCE}`, [value])
    }
  }
}

function wanted({ fromUs, toUs, limit, ...conditions }: KeepQuery): { where: string; parameters: unknown[] } {
  const given = Object.entries(conditions).filter(([, value]) => value !== undefined)
  return {
    where: ['at_us >= ?', 'at_us <= ?', ...given.map(([column]) => `${column} = ?`)].join(' AND '),
    parameters: [Math.floor(fromUs), Math.floor(toUs), ...given.map(([, value]) => value)],
  }
}

function storedKeep([seq, atUs, kind, id, n, reason, service, name, by, collector, origin]: Row): StoredKeep {
  return {
    ...{ seq: BigInt(seq!), atUs: Number(atUs), kind: Number(kind), id: BigInt(id!), n: Number(n) },
    ...{ reason: `${reason}`, service: `${service}`, name: `${name}`, by: `${by}`, collector: `${collector}` },
    origin: BigInt(origin!),
  }
}

function hourOf(us: number): number {
  return Math.floor(us / HOUR_US)
}
