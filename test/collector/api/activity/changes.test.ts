import assert from 'node:assert/strict'
import { changes } from '../../../../collector/src/api/activity/changes'
import type { Change, ChangesAnswer } from '../../../../collector/src/http/answers'
import { type Call, MemoryActivity } from '../../../helpers/memory-activity'
import { dice, normal } from '../../store/activity/dice'

const MINUTE_US = 60_000_000
const WINDOW = 30 * MINUTE_US
const before = { from: 0, to: WINDOW }
const after = { from: WINDOW, to: 2 * WINDOW }

/** What a shop does in a minute: who calls whom, how often and for how long. Times include those of the calls within. */
interface Route {
  caller: [service: string, name: string]
  callee: [service: string, name: string]
  /** Calls of the callee by one of the caller. */
  calls: number
}

const OWN_US: Record<string, number> = {
  'web GET /checkout': 9_000,
  'web GET /product': 5_000,
  'orders Orders.create': 12_000,
  'catalog Catalog.get': 3_000,
  'stock Stock.reserve': 6_000,
  'stock Stock.look': 2_000,
  'payments Payments.charge': 40_000,
  'prices Prices.of': 1_500,
}
const ROUTES: Route[] = [
  { caller: ['web', 'GET /checkout'], callee: ['orders', 'Orders.create'], calls: 1 },
  { caller: ['web', 'GET /product'], callee: ['catalog', 'Catalog.get'], calls: 2 },
  { caller: ['orders', 'Orders.create'], callee: ['stock', 'Stock.reserve'], calls: 3 },
  { caller: ['orders', 'Orders.create'], callee: ['payments', 'Payments.charge'], calls: 1 },
  { caller: ['orders', 'Orders.create'], callee: ['prices', 'Prices.of'], calls: 4 },
  { caller: ['catalog', 'Catalog.get'], callee: ['prices', 'Prices.of'], calls: 2 },
  { caller: ['catalog', 'Catalog.get'], callee: ['stock', 'Stock.look'], calls: 1 },
  { caller: ['payments', 'Payments.charge'], callee: ['bank:443', ''], calls: 1 },
]
const ROOTS: [string, string, number][] = [
  ['web', 'GET /checkout', 20],
  ['web', 'GET /product', 60],
]

interface Fault {
  /** Whether a call by this caller takes longer, and how much; without a caller, whoever calls. */
  caller?: string
  callee?: string
  /** In the caller's part of the call alone: the callee doesn't see it. */
  network?: boolean
  slowerUs?: number
  /** The share of calls that fail besides. */
  fails?: number
}

/** Counts an hour of a shop; a fault begins in the middle. Traces are sampled with probability p. */
function shop(seed: number, fault: Fault, p = 1): MemoryActivity {
  const memory = new MemoryActivity()
  const roll = dice(seed)
  const bell = normal(roll)
  const around = (us: number) => us * Math.exp(0.4 * bell())
  let trace = 0
  for (let minute = 0; minute < 60; minute++) {
    for (const [service, name, times] of ROOTS) {
      for (let i = 0; i < times; i++) {
        trace = Math.floor(roll() * 2 ** 31)
        if (p < 1 && roll() >= p) continue
        work(service, name, undefined, { at: minute * MINUTE_US, p, trace, isRoot: true })
      }
    }
  }
  return memory

  function work(
    service: string,
    name: string,
    caller: string | undefined,
    call: Call,
  ): { us: number; failed: boolean } {
    const of = `${service} ${name}`
    const isFault = call.at! >= WINDOW && fault.callee === of && (fault.caller === undefined || fault.caller === caller)
    let us = around(OWN_US[of] ?? 8_000)
    let failed = roll() < 0.001
    for (const { caller: from, callee, calls } of ROUTES) {
      if (from[0] !== service || from[1] !== name) continue
      for (let i = 0; i < calls; i++) {
        const called = work(callee[0], callee[1], of, { ...call, isRoot: false })
        us += called.us
        failed ||= called.failed
        const edge = { caller: service, callerName: name, callee: callee[0], calleeName: callee[1] }
        memory.edge(edge, { ...call, durationUs: called.us, failed: called.failed })
        memory.operation(
          { service, name: callee[1], side: 'client' },
          { ...call, durationUs: called.us, failed: called.failed },
        )
      }
    }
    if (isFault && !fault.network) us += fault.slowerUs ?? 0
    if (isFault && roll() < (fault.fails ?? 0)) failed = true
    const isTraced = OWN_US[of] !== undefined
    if (isTraced) memory.operation({ service, name, side: 'server' }, { ...call, durationUs: us, failed })
    return { us: us + (isFault && fault.network ? (fault.slowerUs ?? 0) : 0), failed }
  }
}

function titleOf(change: Change): string {
  if (change.kind === 'operation') return `${change.service} ${change.name}`
  return `${change.from} ${change.fromName} → ${change.to} ${change.toName}`
}

async function compare(memory: MemoryActivity, service?: string): Promise<ChangesAnswer> {
  return changes(memory.read, { before, after }, service)
}

const origins = ({ changes }: ChangesAnswer) => changes.filter(({ origin }) => origin).map(titleOf)

describe('a comparison of two times', () => {
  it('finds a slow regression of one edge first, though all its callers are slower too', async () => {
    for (const p of [1, 0.2]) {
      const fault = { caller: 'catalog Catalog.get', callee: 'prices Prices.of', slowerUs: 4_000 }
      const answer = await compare(shop(1, fault, p))
      assert.equal(titleOf(answer.changes[0]!), 'catalog Catalog.get → prices Prices.of', `p = ${p}`)
      assert.deepEqual(origins(answer), ['catalog Catalog.get → prices Prices.of'])
      const found = new Set(answer.changes.map(titleOf))
      for (const caller of ['web GET /product', 'catalog Catalog.get', 'prices Prices.of']) {
        assert.ok(found.has(caller), `${caller} changed too`)
      }
      const [{ before, after, changes, cost }] = answer.changes as [Change]
      assert.ok(changes.mean!.beyondChance)
      const { value, low, high } = changes.mean!.change
      assert.ok(low! < 4_000 && 4_000 < high!, JSON.stringify(changes.mean))
      assert.ok(Math.abs(value - (after.mean!.value - before.mean!.value)) < 0.2)
      // 60 product pages a minute, two catalog entries each, two prices each, 4 ms each.
      const costs = (60 * 2 * 2 * 0.004) / 60
      assert.ok(Math.abs(cost.secondsPerSecond - costs) < costs / 3, `${cost.secondsPerSecond}`)
    }
  })

  it('takes the operation for the origin if it is slower whoever calls it', async () => {
    const answer = await compare(shop(2, { callee: 'prices Prices.of', slowerUs: 2_000 }))
    assert.deepEqual(origins(answer), ['prices Prices.of'])
    assert.equal(titleOf(answer.changes[0]!), 'prices Prices.of')
  })

  it('takes the edge for the origin if the called operation doesn’t see it, or isn’t traced', async () => {
    const network = { caller: 'orders Orders.create', callee: 'stock Stock.reserve', network: true, slowerUs: 5_000 }
    assert.deepEqual(origins(await compare(shop(3, network))), ['orders Orders.create → stock Stock.reserve'])
    const untraced = { callee: 'bank:443 ', slowerUs: 15_000 }
    assert.deepEqual(origins(await compare(shop(4, untraced))), ['payments Payments.charge → bank:443 '])
  })

  it('finds where errors begin', async () => {
    const answer = await compare(shop(5, { callee: 'stock Stock.reserve', fails: 0.05 }))
    assert.deepEqual(origins(answer), ['stock Stock.reserve'])
    const [{ changes, cost }] = answer.changes as [Change]
    assert.ok(changes.errorShare!.beyondChance && !changes.mean!.beyondChance)
    const costs = (20 * 3 * 0.05) / 60
    assert.ok(Math.abs(cost.errorsPerSecond - costs) < costs / 3, `${cost.errorsPerSecond}`)
  })

  it('finds no change where there is none', async () => {
    for (let seed = 10; seed < 15; seed++) {
      const { changed, changes, compared } = await compare(shop(seed, {}, 0.3))
      assert.deepEqual([changed, changes, compared], [0, [], 16])
    }
  })

  it('tells what is new or gone, and what a new call costs', async () => {
    const memory = new MemoryActivity()
    for (let minute = 0; minute < 60; minute++) {
      const at = minute * MINUTE_US
      const isAfter = at >= WINDOW
      memory.operation({}, { at, times: 50, durationUs: isAfter ? 31_000 : 11_000 + (minute % 3) })
      if (!isAfter) memory.operation({ name: 'Shop.old' }, { at, times: 9 })
      if (isAfter)
        memory.edge({ caller: 'shop', callerName: 'Shop.buy', callee: 'db' }, { at, times: 50, durationUs: 20_000 })
    }
    const { changes } = await compare(memory)
    assert.deepEqual(
      changes.map(change => [titleOf(change), change.isNew, change.isGone, change.origin]),
      [
        ['shop Shop.buy → db Shop.buy', true, undefined, true],
        ['shop Shop.buy', undefined, undefined, undefined],
        ['shop Shop.old', undefined, true, undefined],
      ],
    )
    assert.ok(Math.abs(changes[0]!.cost.secondsPerSecond - (50 * 0.02) / 60) < 1e-3)
    assert.equal(changes[0]!.changes.mean, null)
  })

  it('doesn’t call new what was among the others before', async () => {
    const memory = new MemoryActivity()
    for (let minute = 0; minute < 60; minute++) {
      const name = minute < 30 ? '(other)' : 'Shop.look'
      memory
        .operation({}, { at: minute * MINUTE_US, times: 5 })
        .operation({ name }, { at: minute * MINUTE_US, times: 5 })
    }
    const { changes, compared } = await compare(memory)
    assert.deepEqual([changes, compared], [[], 1])
  })

  it('compares one service with what it calls and who calls it', async () => {
    const answer = await compare(shop(6, { callee: 'prices Prices.of', slowerUs: 2_000 }), 'prices')
    assert.equal(answer.compared, 3)
    assert.deepEqual(origins(answer), ['prices Prices.of'])
  })
})
