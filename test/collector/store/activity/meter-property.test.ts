import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Counter } from '../../../../collector/src/store/activity/counter'
import { Meter } from '../../../../collector/src/store/activity/meter'
import { type Delta, readDelta } from '../../../../collector/src/store/activity/rows'
import { EventType, encodeRecord, type SpanRecord } from '../../../../src/codec/span'

/**
 * Traces of all shapes, in any order and settlings, at two collectors that restart: what they have counted in the end must be
 * what follows from the set of all records, by simple maps and with the whole of it at hand.
 */

const START_US = 1_700_000_040_000_000n
const PROBABILITIES = [1, 0.5, 0.1, 0.01, 0, undefined, Number.NaN, 2, -1]
const PEERS = ['zipkin.remote.service', 'peer.service', 'db.system.name', 'db.system', 'messaging.system']
const ADDRESSES = ['server.address', 'net.peer.name']

const shapeOf = fc.record({
  /** Below which earlier span; or a root, if there is none. */
  up: fc.nat(12),
  style: fc.constantFrom(
    'shared',
    'shared',
    'separate',
    'separate',
    'local',
    'local',
    'nested',
    'producer',
    'consumer',
  ),
  service: fc.constantFrom('a', 'b', 'c'),
  name: fc.constantFrom('', 'get', 'put'),
  /** Which half was lost. */
  lost: fc.constantFrom('none', 'none', 'none', 'none', 'client', 'server'),
  p: fc.constantFrom(...PROBABILITIES),
  minute: fc.nat(2),
  durationUs: fc.nat(5_000_000),
  noTimes: fc.nat(15),
  error: fc.nat(4),
  peer: fc.option(
    fc.tuple(fc.constantFrom(...PEERS, ...ADDRESSES), fc.constantFrom('', 'mysql', 'a', '10.0.0.1', 'localhost')),
  ),
  /** The half was reported in two ways. */
  twice: fc.nat(6),
  /** Its parent isn't what it should be: a circle, itself, nothing. */
  stray: fc.option(fc.nat(14), { freq: 12 }),
})
type Shape = typeof shapeOf extends fc.Arbitrary<infer S> ? S : never

const TYPES = {
  client: [EventType.CLIENT_SEND, EventType.CLIENT_RECV],
  server: [EventType.SERVER_RECV, EventType.SERVER_SEND],
  local: [EventType.CUSTOM, EventType.CUSTOM],
}

/** Returns the records of a trace. */
function traceOf(traceId: bigint, shapes: Shape[]): SpanRecord[] {
  const records: SpanRecord[] = []
  /** What a span's children have as their parent and service. */
  const spans: { id: bigint; service: string }[] = []
  for (const [i, shape] of shapes.entries()) {
    const above = spans[spans.length - 1 - shape.up] ?? (i % 3 === 2 ? spans[0] : undefined)
    const service = above?.service ?? shape.service
    let parentId = above?.id ?? 0n
    const id = BigInt(100 + i)
    const make = (side: keyof typeof TYPES, own: Partial<SpanRecord>) => {
      const annotations = new Map<string, string>()
      if (shape.error === 0) annotations.set('error', '')
      if (shape.peer && side !== 'server') annotations.set(...shape.peer)
      if (shape.peer && side === 'server' && shape.up > 6) annotations.set(...shape.peer)
      if (shape.style === 'producer') annotations.set('otel.kind', 'PRODUCER')
      if (shape.style === 'consumer') annotations.set('zipkin.kind', 'consumer')
      for (let n = 0; n < (shape.twice === 0 ? 2 : 1); n++) {
        const startUs = START_US + BigInt(shape.minute) * 60_000_000n + BigInt(n)
        const times = [startUs, startUs + BigInt(shape.durationUs + n)]
        records.push({
          traceId,
          id,
          parentId,
          name: shape.name,
          events: TYPES[side].map((eventType, e) => ({
            ...(shape.noTimes === 0 ? {} : { timestamp: times[e]! }),
            eventType,
          })),
          annotations,
          ...(shape.p === undefined ? {} : { probability: shape.p }),
          ...own,
        })
      }
    }
    if (shape.stray !== null && shape.style !== 'shared' && shape.style !== 'separate')
      parentId = BigInt(100 + shape.stray)
    if (shape.style === 'shared') {
      if (shape.lost !== 'client') make('client', { service })
      if (shape.lost !== 'server') make('server', { service: shape.service })
      spans.push({ id, service: shape.service })
    } else if (shape.style === 'separate') {
      if (shape.lost !== 'client') make('client', { service })
      if (shape.lost !== 'server') make('server', { service: shape.service, id: id + 1000n, parentId: id })
      spans.push({ id: id + 1000n, service: shape.service })
    } else {
      make(shape.style === 'nested' ? 'client' : 'local', { service })
      spans.push({ id, service })
    }
  }
  return records
}

/** What is compared of a counter. */
interface Sums {
  records: number
  calls: number
  errors: number
  roots: number
  unknown: number
  spread: number
  timed: number
  duration: number
  groups: number[]
}

class Ambiguous extends Error {}

/** The truth, by simple maps. */
function expected(all: SpanRecord[], receivedUs: bigint): Map<string, Sums> {
  const sums = new Map<string, Sums>()
  const distinct = [...new Map(all.map(record => [encodeRecord(record).toString('latin1'), record])).values()]
  const sideOf = ({ events }: SpanRecord) => {
    const type = events![0]!.eventType
    return type === EventType.CUSTOM ? 'local' : type === EventType.CLIENT_SEND ? 'client' : 'server'
  }
  const add = (record: SpanRecord, key: (minute: number) => string, isRoot: boolean) => {
    const p = record.probability
    if (p === 0) return
    const known = p !== undefined && p > 0 && p <= 1
    const times = record.events!.map(({ timestamp }) => timestamp)
    const minute = Number((times[0] ?? receivedUs) / 60_000_000n)
    const none = { records: 0, calls: 0, errors: 0, roots: 0, unknown: 0, spread: 0, timed: 0, duration: 0 }
    const to = sums.get(key(minute)) ?? { ...none, groups: new Array(32).fill(0) }
    sums.set(key(minute), to)
    const w = known ? 1 / p : 1
    to.records++
    to.calls += w
    if (record.annotations!.has('error')) to.errors += w
    if (isRoot) to.roots += w
    if (!known) to.unknown++
    to.spread += w * (w - 1)
    to.groups[Number(BigInt.asUintN(64, record.traceId!) % 32n)] += w
    if (times[0] === undefined) return
    to.timed += w
    to.duration += w * Number(times[1]! - times[0])
  }
  const peerOf = (record: SpanRecord) => {
    const said = (keys: string[]) => keys.map(key => record.annotations!.get(key)).find(peer => peer)
    const host = sideOf(record) === 'client' ? said(ADDRESSES) : undefined
    return said(PEERS) ?? (host !== undefined && !['10.0.0.1', 'localhost'].includes(host) ? host : '')
  }
  const kindOf = (record: SpanRecord) =>
    (record.annotations!.get('otel.kind') ?? record.annotations!.get('zipkin.kind') ?? '').toLowerCase()
  const one = <K extends string>(found: SpanRecord[], what: (record: SpanRecord) => K): K => {
    if (new Set(found.map(what)).size > 1) throw new Ambiguous()
    return what(found[0]!)
  }

  for (const record of distinct) {
    const { service, name, parentId } = record
    const side = sideOf(record)
    add(
      record,
      minute => `${minute} op ${service} ${name} ${side}`,
      parentId === 0n || (side === 'local' && kindOf(record) === 'consumer'),
    )
    const trace = distinct.filter(({ traceId }) => traceId === record.traceId)
    const withId = (id: bigint) => trace.filter(other => other.id === id)
    const clientsWith = (id: bigint) => withId(id).filter(other => sideOf(other) === 'client')

    /** The name of the operation to which a record of the caller belongs. */
    const operation = (from: SpanRecord, path: SpanRecord[]): string => {
      if (path.includes(from)) return ''
      if (sideOf(from) === 'server' || kindOf(from) === 'consumer' || from.parentId === 0n) return from.name!
      const parents = withId(from.parentId!)
      if (parents.length === 0) return ''
      const own = parents.filter(parent => parent.service === service)
      if (own.length === 0) return from.name!
      return above(own, [...path, from])
    }
    const above = (parents: SpanRecord[], path: SpanRecord[]): string => {
      const servers = parents.filter(parent => sideOf(parent) === 'server')
      const candidates = servers.length > 0 ? servers : parents
      const names = new Set(candidates.map(parent => operation(parent, path)))
      if (names.size > 1) throw new Ambiguous()
      return [...names][0]!
    }
    const own = withId(parentId!).filter(parent => parent.service === service)
    const caller = parentId === 0n || own.length === 0 ? '' : above(own, [])
    const edge = (key: string) => add(record, minute => `${minute} edge ${key}`, false)
    const peer = peerOf(record)
    if (side === 'client') {
      let servers = withId(record.id!).filter(other => sideOf(other) === 'server')
      if (servers.length === 0) {
        servers = trace.filter(
          other => sideOf(other) === 'server' && other.parentId === record.id && clientsWith(other.id!).length === 0,
        )
      }
      if (servers.length > 0) {
        edge(`${service} ${caller} ${one(servers, server => `${server.service} ${server.name}`)}`)
      } else if (peer !== '') edge(`${service} ${caller} ${peer} ${name}`)
    } else if (side === 'server') {
      if (parentId === 0n && peer !== '' && clientsWith(record.id!).length === 0) edge(`${peer}  ${service} ${name}`)
    } else if (kindOf(record) === 'producer' && peer !== '') edge(`${service} ${caller} ${peer} ${name}`)
    else if (kindOf(record) === 'consumer' && peer !== '') edge(`${peer}  ${service} ${name}`)
  }
  return sums
}

function sumsOf(delta: Delta): Map<string, Sums> {
  const sums = new Map<string, Sums>()
  const add = (key: string, counter: Counter) => {
    if (counter.isNothing()) return
    const { records, calls, errors, roots, unknown, spread, durations, callGroups } = counter
    const groups = [...(callGroups ?? new Array(32).fill(0))]
    const rest = { timed: durations.total, duration: durations.sum, groups }
    sums.set(key, { records, calls, errors, roots, unknown, spread, ...rest })
  }
  for (const [minute, { operations, edges }] of delta) {
    for (const [key, counter] of operations) add(`${minute} op ${key.replaceAll('\0', ' ')}`, counter)
    for (const [key, counter] of edges) add(`${minute} edge ${key.replaceAll('\0', ' ')}`, counter)
  }
  return sums
}

const isNear = (a: number, b: number) => Math.abs(a - b) <= 1e-4 * Math.max(1, Math.abs(a), Math.abs(b))

function assertSame(found: Map<string, Sums>, truth: Map<string, Sums>): void {
  assert.deepEqual([...found.keys()].sort(), [...truth.keys()].sort())
  for (const [key, sums] of truth) {
    const other = found.get(key)!
    const numbers = ({ groups, ...rest }: Sums) => [...Object.values(rest), ...groups]
    const same = numbers(sums).every((value, i) => isNear(value, numbers(other)[i]!))
    if (!same) assert.deepEqual(other, sums, key)
  }
}

const settlingOf = fc.record({
  records: fc.integer({ min: 0, max: 8 }),
  meter: fc.nat(1),
  restart: fc.nat(9),
  failed: fc.nat(9),
})

describe('the meter, compared with a count over the set of all records', () => {
  it('counts the same in any order, in any settlings, with repetitions, at two collectors that restart', async () => {
    let compared = 0
    const property = fc.asyncProperty(
      fc.array(fc.array(shapeOf, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 3 }),
      fc.array(settlingOf, { minLength: 1, maxLength: 30 }),
      fc.infiniteStream(fc.nat(2 ** 31 - 1)),
      async (traces, settlings, chance) => {
        const records = traces.flatMap((shapes, i) => traceOf(BigInt(i) * 0x1234567890abcdefn + 7n, shapes))
        let truth: Map<string, Sums>
        try {
          truth = expected(records, START_US)
        } catch (error) {
          // Two different reports of one half: either may be believed.
          if (error instanceof Ambiguous) return
          throw error
        }
        compared++
        const pick = (n: number) => chance.next().value! % n
        const queue = [...records, ...records.filter(() => pick(4) === 0)]
        for (let i = queue.length - 1; i > 0; i--) {
          const j = pick(i + 1)
          ;[queue[i], queue[j]] = [queue[j]!, queue[i]!]
        }
        const settled: Buffer[] = []
        const fresh = () => ({ meter: new Meter({ retentionDays: 7, maxWaiting: 10_000 }), learnt: 0 })
        const meters = [fresh(), fresh()]
        const total: Delta = new Map()
        for (let i = 0; queue.length > 0; i++) {
          const { records, meter: m, restart, failed } = settlings[i % settlings.length]!
          if (restart === 0) meters[m] = fresh()
          const at = meters[m]!
          while (at.learnt < settled.length) await at.meter.learn(settled[at.learnt++]!, START_US)
          const part = queue.splice(0, Math.max(records, i > 100 ? 10 : 0))
          const cut = pick(part.length + 1)
          const entries = [part.slice(0, cut), part.slice(cut)].map(some => {
            const body = Buffer.concat(some.map(encodeRecord))
            return { id: 1n, receivedUs: START_US, body, start: 0, end: body.length, spans: some.length }
          })
          const counted = await at.meter.count(entries, START_US)
          if (failed === 0) assert.deepEqual(await at.meter.count(entries, START_US), counted)
          settled.push(counted.recent)
          readDelta(counted.delta, total)
        }
        assertSame(sumsOf(total), truth)
      },
    )
    await fc.assert(property, { seed: 20251130, numRuns: Number(process.env.MILO_TEST_RUNS ?? 300) })
    assert.ok(compared > 200, `${compared}`)
  })
})
