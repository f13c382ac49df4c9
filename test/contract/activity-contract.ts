import assert from 'node:assert/strict'
import type { Folder } from '../../collector/src/store/activity/folder'
import {
  type ActivityQuery,
  type ActivityRead,
  type ActivityTable,
  GRAINS,
  MINUTE_US,
  type RowKind,
} from '../../collector/src/store/activity/model'
import { sumActivity } from '../../collector/src/store/activity/read'
import { edgeKey, operationKey } from '../../collector/src/store/activity/rows'
import type { Backlog, Message } from '../../collector/src/store/store'
import { EventType } from '../../src/codec/span'
import { seeded } from '../helpers/seeded'
import { HostileClock } from './hostile-clock'
import { messageOf, span, unique } from './store-contract'

/** What every store makes of what services did, whatever it is made of. */

/** A store whose settling, folding and rolling the test has in its hands. */
export interface ActivityStore {
  /** Resolves when the message is settled. */
  settle(message: Message): Promise<void>
  readonly folder: Folder
  readonly table: ActivityTable
  activity(query: ActivityQuery): Promise<ActivityRead>
  backlog(): Backlog
  /** Ends without folding what isn't folded yet. */
  close(): Promise<void>
}

export interface ActivityPlace {
  open(clock: HostileClock, collector?: string): Promise<ActivityStore>
  remove(): Promise<void>
}

type Record = ReturnType<typeof span>
type Figures = { [key: string]: [calls: number, errors: number] }

const SECOND_US = 1_000_000n
const DAY_US = 86_400n * SECOND_US
const OPERATIONS: RowKind[] = ['operations']
const EDGES: RowKind[] = ['calls', 'callers']
const WHOLE = Number.POSITIVE_INFINITY

/** A call that one service makes and another answers, within an operation of the caller. */
interface Call {
  records: Record[]
  startUs: bigint
  probability: number
  failed: boolean
  caller: string
  callee: string
  operation: string
  name: string
}

export function activityContract(name: string, newPlace: () => Promise<ActivityPlace>, shared: boolean): void {
  describe(`${name} store, what services did`, function () {
    this.timeout(120_000)
    let place: ActivityPlace
    let clock: HostileClock
    let store: ActivityStore
    const opened = new Set<ActivityStore>()

    before(async function () {
      this.timeout(300_000)
      place = await newPlace()
    })
    after(() => place?.remove())
    beforeEach(async () => {
      clock = new HostileClock()
      store = await open()
    })
    afterEach(async () => {
      clock.restore()
      for (const store of opened) await store.close()
      opened.clear()
    })

    async function open(collector?: string): Promise<ActivityStore> {
      const store = await place.open(clock, collector)
      opened.add(store)
      return store
    }
    async function restart(): Promise<void> {
      opened.delete(store)
      await store.close()
      store = await open()
    }
    async function foldAll(of = store): Promise<void> {
      while (await of.folder.fold());
    }
    async function rollAll(of = store): Promise<void> {
      while (await of.folder.roll());
    }

    function callOf(random: () => number, service: string, aboutUs: bigint): Call {
      // The halves begin within 200 µs: from a whole millisecond on they are of one minute.
      const startUs = aboutUs - (aboutUs % 1000n)
      const pick = (n: number) => Math.floor(random() * n)
      const [caller, callee] = [`${service}-web`, `${service}-stock${pick(2)}`]
      const [operation, name] = [`page ${pick(3)}`, `Stock.get${pick(3)}`]
      const probability = [1, 0.5, 0.125][pick(3)]!
      const failed = pick(4) === 0
      const traceId = idFrom(random)
      const [rootId, callId] = [idFrom(random), idFrom(random)]
      const times = (first: number, last: number, from: bigint, to: bigint) => [
        { timestamp: startUs + from, eventType: first },
        { timestamp: startUs + to, eventType: last },
      ]
      const tags = failed ? { error: 'true' } : undefined
      const half = (fields: Partial<Record>) => span({ traceId, probability, ...fields, ...(tags && { tags }) })
      const { SERVER_RECV, SERVER_SEND, CLIENT_SEND, CLIENT_RECV } = EventType
      const records = [
        half({ id: rootId, name: operation, service: caller, events: times(SERVER_RECV, SERVER_SEND, 0n, 900n) }),
        half({
          id: callId,
          parentId: rootId,
          name,
          service: caller,
          events: times(CLIENT_SEND, CLIENT_RECV, 100n, 800n),
        }),
        half({
          id: callId,
          parentId: rootId,
          name,
          service: callee,
          events: times(SERVER_RECV, SERVER_SEND, 200n, 700n),
        }),
      ]
      return { records, startUs, probability, failed, caller, callee, operation, name }
    }

    /** What there must be, by counting calls one by one. */
    function truth(calls: Call[], kinds: RowKind[], stepUs: number): Figures {
      const figures: Figures = {}
      const count = ({ startUs, probability, failed }: Call, kind: RowKind, key: string) => {
        if (!kinds.includes(kind)) return
        const minute = Math.floor(Number(startUs) / MINUTE_US)
        const step = stepUs === WHOLE ? 0 : Math.floor((minute * MINUTE_US) / stepUs)
        const sums = (figures[`${step} ${kind} ${key}`] ??= [0, 0])
        sums[0] += 1 / probability
        if (failed) sums[1] += 1 / probability
      }
      for (const call of calls) {
        const { caller, callee, operation, name } = call
        count(call, 'operations', operationKey({ service: caller, name: operation, side: 'server' }))
        count(call, 'operations', operationKey({ service: caller, name, side: 'client' }))
        count(call, 'operations', operationKey({ service: callee, name, side: 'server' }))
        const edge = edgeKey({ caller, callerName: operation, callee, calleeName: name })
        count(call, 'calls', edge)
        count(call, 'callers', edge)
      }
      return figures
    }

    async function figures(
      service: string,
      kinds: RowKind[],
      stepUs: number,
      range: { fromUs: bigint; toUs: bigint },
      of = store,
    ): Promise<Figures> {
      const query = { fromUs: Number(range.fromUs), toUs: Number(range.toUs), stepUs, kinds }
      const found: Figures = {}
      for (const [startUs, sums] of await sumActivity(part => of.activity(part), query)) {
        const step = stepUs === WHOLE ? 0 : startUs / stepUs
        for (const kind of kinds) {
          for (const [key, { calls, errors }] of sums[kind]) {
            if (key.startsWith(service)) found[`${step} ${kind} ${key}`] = [round(calls), round(errors)]
          }
        }
      }
      return found
    }

    const lastDay = () => ({ fromUs: clock.wallUs() - DAY_US, toUs: clock.wallUs() + 600n * SECOND_US })
    const minutesAgo = (minutes: number) => clock.wallUs() - BigInt(Math.floor(minutes * MINUTE_US))

    it('says the same after settling, folding, rolling, and a restart after each', async () => {
      const random = seeded(1)
      const service = unique('s')
      const calls = Array.from({ length: 60 }, () => callOf(random, service, minutesAgo(3 + random() * 300)))
      const steps = [MINUTE_US, 15 * MINUTE_US, 30 * MINUTE_US, 60 * MINUTE_US, 1440 * MINUTE_US, WHOLE]
      const check = async (when: string) => {
        for (const stepUs of steps) {
          const kinds = [...OPERATIONS, ...EDGES]
          const expected = truth(calls, kinds, stepUs)
          assert.deepEqual(
            sorted(await figures(service, kinds, stepUs, lastDay())),
            sorted(expected),
            `${when}, ${stepUs}`,
          )
        }
      }
      for (const some of [calls.slice(0, 20), calls.slice(20, 40), calls.slice(40)]) {
        await store.settle(messageOf(some.flatMap(({ records }) => records)))
      }
      await check('settled')
      await restart()
      await check('settled, restarted')
      await foldAll()
      assert.equal(store.backlog().activity.unfolded, 0)
      await check('folded')
      await restart()
      await rollAll()
      const { rolled } = await store.table.progress()
      assert.ok(rolled.slice(1).every(time => time > 0))
      await check('rolled')
      await restart()
      await check('rolled, restarted')
    })

    it('adds late spans to what is rolled up, and to minutes before it', async () => {
      const random = seeded(2)
      const service = unique('s')
      await foldAll()
      await rollAll()
      const calls = Array.from({ length: 30 }, () => callOf(random, service, minutesAgo(130 + random() * 1200)))
      await store.settle(messageOf(calls.flatMap(({ records }) => records)))
      for (const again of ['settled', 'folded']) {
        for (const stepUs of [MINUTE_US, 10 * MINUTE_US, 60 * MINUTE_US, WHOLE]) {
          const kinds = [...OPERATIONS, ...EDGES]
          assert.deepEqual(
            sorted(await figures(service, kinds, stepUs, lastDay())),
            sorted(truth(calls, kinds, stepUs)),
            `${again}, ${stepUs}`,
          )
        }
        await foldAll()
      }
      for (const grain of GRAINS.slice(0, 3)) {
        const to = Math.ceil(Number(clock.wallUs()) / MINUTE_US / grain)
        const rows = await store.table.rowsOf({ grain, from: to - 1440 / grain, to }, 100_000)
        assert.ok(
          rows.some(row => row.service.startsWith(service)),
          `rows of ${grain} minutes`,
        )
      }
    })

    it('counts once what comes again: in the message, in another one, after a restart, and after a failure', async () => {
      const random = seeded(3)
      const service = unique('s')
      const call = callOf(random, service, minutesAgo(5))
      const message = messageOf([...call.records, ...call.records])
      await store.settle(message)
      await store.settle(messageOf(call.records))
      await restart()
      await store.settle(message)
      await foldAll()
      await restart()
      await store.settle(message)
      const kinds = [...OPERATIONS, ...EDGES]
      assert.deepEqual(await figures(service, kinds, WHOLE, lastDay()), truth([call], kinds, WHOLE))
      assert.deepEqual(
        [store.backlog().activity.counted, store.backlog().activity.repeated, store.backlog().activity.forced],
        [0, 6, 0],
      )
    })

    it('makes one edge of halves that come apart, whichever comes first and however often it is restarted', async () => {
      const random = seeded(4)
      const service = unique('s')
      const calls: Call[] = []
      for (const order of [
        [0, 1, 2],
        [2, 1, 0],
        [1, 0, 2],
        [2, 0, 1],
      ]) {
        const call = callOf(random, service, minutesAgo(4))
        calls.push(call)
        for (const i of order) {
          await store.settle(messageOf([call.records[i]!]))
          clock.pass(5n * SECOND_US)
          if (random() < 0.5) await foldAll()
          await restart()
        }
      }
      assert.deepEqual(sorted(await figures(service, EDGES, WHOLE, lastDay())), sorted(truth(calls, EDGES, WHOLE)))
    })

    it('says the truth whatever happens in whichever order', async () => {
      const random = seeded(5)
      const service = unique('s')
      const calls: Call[] = []
      const steps: string[] = []
      for (let i = 0; i < 60; i++) {
        const x = random()
        const step = x < 0.45 ? 'settle' : x < 0.6 ? 'fold' : x < 0.75 ? 'roll' : x < 0.85 ? 'restart' : 'pass'
        steps.push(step)
        if (step === 'settle') {
          const some = Array.from({ length: 5 }, () => callOf(random, service, minutesAgo(random() ** 3 * 1000)))
          calls.push(...some)
          await store.settle(messageOf(some.flatMap(({ records }) => records)))
        } else if (step === 'fold') await store.folder.fold()
        else if (step === 'roll') await store.folder.roll()
        else if (step === 'restart') await restart()
        else clock.pass(BigInt(Math.floor(random() * 400)) * SECOND_US)
        const kinds = [...OPERATIONS, ...EDGES]
        const stepUs = [MINUTE_US, 10 * MINUTE_US, 60 * MINUTE_US, WHOLE][Math.floor(random() * 4)]!
        const range = { fromUs: clock.wallUs() - 2n * DAY_US, toUs: clock.wallUs() + 60n * SECOND_US }
        assert.deepEqual(
          sorted(await figures(service, kinds, stepUs, range)),
          sorted(truth(calls, kinds, stepUs)),
          steps.join(', '),
        )
      }
    })

    it('answers for a part of the time, and for one service', async () => {
      const random = seeded(6)
      const service = unique('s')
      const calls = Array.from({ length: 80 }, () => callOf(random, service, minutesAgo(10 + random() * 400)))
      await store.settle(messageOf(calls.flatMap(({ records }) => records)))
      for (let i = 0; i < 30; i++) {
        if (i === 10) await foldAll()
        if (i === 20) await rollAll()
        const [from, to] = [300 * random(), 400 * random()].map(minutes => minutesAgo(10 + minutes))
        if (from! >= to!) continue
        const minuteOf = (us: bigint) => us / (60n * SECOND_US)
        const range = { fromUs: minuteOf(from!) * 60n * SECOND_US, toUs: minuteOf(to!) * 60n * SECOND_US }
        const inside = calls.filter(({ startUs }) => startUs >= range.fromUs && startUs < range.toUs)
        for (const stepUs of [10 * MINUTE_US, WHOLE]) {
          const expected = sorted(truth(inside, OPERATIONS, stepUs))
          assert.deepEqual(sorted(await figures(service, OPERATIONS, stepUs, range)), expected)
        }
        const query = { fromUs: Number(range.fromUs), toUs: Number(range.toUs), stepUs: WHOLE, kinds: EDGES }
        const stock = `${service}-stock1`
        const [sums] = (await sumActivity(part => store.activity(part), { ...query, service: stock })).values()
        const of = inside.filter(({ callee }) => callee === stock).reduce((n, { probability: p }) => n + 1 / p, 0)
        assert.equal(sums?.calls.size ?? 0, 0, 'it calls nobody')
        assert.equal(round([...(sums?.callers.values() ?? [])].reduce((n, { calls }) => n + calls, 0)), of)
      }
    })

    it('takes 8,000 minutes in a message, and microseconds that are nanoseconds, without growing', async () => {
      const service = unique('s')
      const before = await rowCount()
      const records = Array.from({ length: 8_000 }, (_, i) => span({ service, startUs: minutesAgo(i + 1) }))
      const wrong = Array.from({ length: 50 }, (_, i) => span({ service, startUs: minutesAgo(i) * 1000n }))
      await store.settle(messageOf([...records, ...wrong]))
      const { counted, overrun, outOfTime } = store.backlog().activity
      assert.equal(outOfTime, 50)
      assert.equal(counted + overrun, 8_000)
      assert.ok(counted >= 500 && counted < 600, `${counted}`)
      await foldAll()
      await rollAll()
      assert.ok((await rowCount()) - before < 4 * 600)
      const week = { fromUs: minutesAgo(9_000), toUs: clock.wallUs() }
      const [[calls]] = Object.values(await figures(service, OPERATIONS, WHOLE, week)) as [[number, number]]
      assert.equal(calls, counted)
    })

    async function rowCount(): Promise<number> {
      let count = 0
      for (const grain of GRAINS) {
        const to = Math.ceil(Number(clock.wallUs()) / MINUTE_US / grain) + 100
        count += (await store.table.rowsOf({ grain, from: 0, to }, 1_000_000)).length
      }
      return count
    }

    it('catches up after a standstill, in steps', async () => {
      const service = unique('s')
      for (let i = 0; i < 5; i++) {
        const name = (n: number) => `operation ${i} ${n}`
        const records = Array.from({ length: 5_000 }, (_, n) =>
          span({ service, name: name(n), startUs: minutesAgo(3 + (n % 5)) }),
        )
        await store.settle(messageOf(records))
      }
      let steps = 0
      while (await store.folder.fold()) steps++
      assert.ok(steps > 1, `${steps} steps`)
      const all = await figures(service, OPERATIONS, WHOLE, lastDay())
      assert.equal(
        Object.values(all).reduce((n, [calls]) => n + calls, 0),
        25_000,
      )
      assert.ok(Object.keys(all).length <= 501 * 5)
    })

    it('leaves out what is damaged, and goes on', async () => {
      const service = unique('s')
      const [one, two] = [callOf(seeded(8), service, minutesAgo(15)), callOf(seeded(9), service, minutesAgo(15))]
      await store.settle(messageOf(one.records))
      await foldAll()
      const progress = await store.table.progress()
      const time = Math.floor(Number(one.startUs) / MINUTE_US)
      const rows = await store.table.rowsOf({ grain: 1, from: time, to: time + 1 }, 10_000)
      const damaged = rows.filter(row => row.service.startsWith(service))
      const body = Buffer.from('nonsense')
      await store.table.commit(
        progress,
        damaged.map(row => ({ ...row, body })),
        progress,
      )
      await assert.rejects(figures(service, OPERATIONS, MINUTE_US, lastDay()), { code: 'MILO_STORE_DAMAGED' })
      await store.settle(messageOf(two.records))
      await foldAll()
      await rollAll()
      assert.deepEqual(
        sorted(await figures(service, OPERATIONS, MINUTE_US, lastDay())),
        sorted(truth([two], OPERATIONS, MINUTE_US)),
      )
    })

    if (shared) {
      it('counts once what two collectors were sent, and joins halves that went to two', async () => {
        const random = seeded(10)
        const service = unique('s')
        const other = await open('other')
        const calls = Array.from({ length: 12 }, () => callOf(random, service, minutesAgo(4)))
        for (const { records } of calls) {
          await Promise.all([store.settle(messageOf([records[1]!])), other.settle(messageOf([records[2]!]))])
          await other.settle(messageOf([records[0]!]))
          // A sender that had no answer asks another collector.
          await Promise.all([store.settle(messageOf(records)), other.settle(messageOf(records))])
        }
        const kinds = [...OPERATIONS, ...EDGES]
        for (const of of [store, other]) {
          assert.deepEqual(
            sorted(await figures(service, kinds, WHOLE, lastDay(), of)),
            sorted(truth(calls, kinds, WHOLE)),
          )
        }
      })

      it('folds and rolls once, whichever collectors do it at the same time', async () => {
        const random = seeded(11)
        const service = unique('s')
        const other = await open('other')
        const calls: Call[] = []
        for (let i = 0; i < 10; i++) {
          const some = Array.from({ length: 6 }, () => callOf(random, service, minutesAgo(3 + random() * 300)))
          calls.push(...some)
          await (i % 2 ? store : other).settle(messageOf(some.flatMap(({ records }) => records)))
          await Promise.all([store, other].flatMap(({ folder }) => [folder.fold(), folder.roll()]))
        }
        await Promise.all([foldAll(store), foldAll(other)])
        await Promise.all([rollAll(store), rollAll(other)])
        const kinds = [...OPERATIONS, ...EDGES]
        for (const stepUs of [MINUTE_US, WHOLE]) {
          assert.deepEqual(
            sorted(await figures(service, kinds, stepUs, lastDay())),
            sorted(truth(calls, kinds, stepUs)),
          )
        }
      })
    }

    it('gives 500 services of a stretch rows of their own, and counts the rest together', async () => {
      const service = unique('s')
      // Three days ago, where no other test has services.
      const startUs = minutesAgo(3 * 1440)
      const records = Array.from({ length: 620 }, (_, i) => span({ service: `${service} ${i}`, startUs }))
      await store.settle(messageOf(records.slice(0, 510)))
      await foldAll()
      await store.settle(messageOf(records.slice(510)))
      await foldAll()
      const own = async (stepUs: number) => {
        const range = { fromUs: startUs - 3600n * SECOND_US, toUs: startUs + 3600n * SECOND_US }
        const all = await figures('', OPERATIONS, stepUs, range)
        const keys = Object.keys(all)
        const others = keys.filter(key => key.includes('(other)\0(other)'))
        return {
          own: keys.filter(key => key.includes(service)).length,
          others: others.reduce((n, key) => n + all[key]![0], 0),
        }
      }
      const first = await own(MINUTE_US)
      assert.equal(first.own + first.others, 620)
      assert.ok(first.own <= 500 && first.own > 400, `${first.own}`)
      await rollAll()
      const second = await own(WHOLE)
      assert.equal(second.own + second.others, 620)
    })

    it('keeps minutes for as long as spans, hours for longer, and then nothing', async () => {
      const service = unique('s')
      const call = callOf(seeded(7), service, minutesAgo(30))
      await store.settle(messageOf(call.records))
      await foldAll()
      const at = clock.wallUs()
      const around = { fromUs: call.startUs - 7200n * SECOND_US, toUs: call.startUs + 7200n * SECOND_US }
      const rows = async (grain: (typeof GRAINS)[number]) => {
        const to = Math.ceil(Number(at) / MINUTE_US / grain)
        const part = { grain, from: to - Math.ceil(2880 / grain), to }
        return (await store.table.rowsOf(part, 100_000)).filter(row => row.service.startsWith(service)).length
      }
      const passDays = async (days: bigint) => {
        // As a process does that runs: see Ages.
        for (let hour = 0n; hour < 24n * days; hour += 24n) clock.pass(DAY_US)
        await foldAll()
        await rollAll()
        await store.folder.expire()
      }
      await passDays(6n)
      assert.ok((await rows(1)) > 0)
      await passDays(2n)
      assert.deepEqual([await rows(1), await rows(10)], [0, 0])
      assert.ok((await rows(60)) > 0)
      assert.deepEqual(
        sorted(await figures(service, OPERATIONS, WHOLE, around)),
        sorted(truth([call], OPERATIONS, WHOLE)),
      )
      assert.equal(Object.keys(await figures(service, OPERATIONS, MINUTE_US, around)).length, 3)
      await restart()
      await passDays(393n)
      assert.deepEqual([await rows(60), await rows(1440)], [0, 0])
      const table = await store.table.settledAfter(0n, 1e9)
      assert.deepEqual(table, [], 'nor what was settled')
    })
  })
}

function sorted(figures: Figures): Figures {
  return Object.fromEntries(Object.entries(figures).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function round(n: number): number {
  return Math.round(n * 1e4) / 1e4
}

function idFrom(random: () => number): bigint {
  return BigInt(Math.floor(random() * 2 ** 31)) * 2n ** 31n + BigInt(Math.floor(random() * 2 ** 31)) + 1n
}
