import assert from 'node:assert/strict'
import type { AlikeAnswer, CompareGroupsAnswer, GroupNode } from '../../../collector/src/http/answers'
import { EventType, type SpanRecord } from '../../../src/codec/span'
import { sendSpans } from '../../helpers/send'
import { until } from '../../helpers/until'
import { collector, type TestCollector, undo } from '../support'

const NOW_US = Date.now() * 1000
const ID = 0x6e00000000000000n
const idOf = (n: number) => (ID + BigInt(n)).toString(16).padStart(16, '0')

/** A trace of `ms`: web calls `cart` once, and `pricing` so often; what is left is web's own. */
function checkout(n: number, ms: number, quotes: number, error?: string): SpanRecord[] {
  const start = NOW_US - (60 + n) * 1e6
  const served = (id: number, name: string, service: string, from: number, to: number): SpanRecord => ({
    ...{ traceId: ID + BigInt(n), id: BigInt(id), name, service, probability: 1 },
    events: [
      { timestamp: BigInt(Math.round(start + from * 1000)), eventType: EventType.SERVER_RECV },
      { timestamp: BigInt(Math.round(start + to * 1000)), eventType: EventType.SERVER_SEND },
    ],
  })
  const last = ms - 1
  const step = (last - 5) / Math.max(1, quotes)
  return [
    served(1, 'POST /checkout', 'web', 0, ms),
    {
      ...served(2, 'Cart.total', 'cart', 1, 4),
      parentId: 1n,
      ...(error !== undefined && {
        annotations: new Map([
          ['error.type', 'Timeout'],
          ['error.message', error],
        ]),
      }),
    },
    ...Array.from({ length: quotes }, (_, i) => ({
      ...served(10 + i, 'Pricing.quote', 'pricing', 5 + i * step, 5 + (i + 1) * step),
      parentId: 1n,
    })),
  ]
}

describe('the HTTP API of comparisons', () => {
  let c: TestCollector

  before(async () => {
    c = await collector()
    // Every fourth is slow: it asks ten times for a price, rather than once. Traces of another operation are faster than all.
    const traces = Array.from({ length: 80 }, (_, n) =>
      n % 4 === 3 ? checkout(n, 200 + n, 10, n % 8 === 3 ? `after ${n} ms` : undefined) : checkout(n, 20 + (n % 7), 1),
    )
    const pings = Array.from({ length: 12 }, (_, i) => ({ ...checkout(100 + i, 2, 0)[0]!, name: 'Ping.ping' }))
    await sendSpans(`127.0.0.1:${c.scribePorts[0]}`, [...traces.flat(), ...pings])
    await until('all are found', async () => (await c.get('/api/search?limit=1000')).body.traces?.length === 92)
  })
  after(undo)

  const ask = async <A>(path: string): Promise<A> => {
    const { status, body } = await c.get(path)
    assert.equal(status, 200, JSON.stringify(body))
    return body
  }

  describe('with others of the same operation', () => {
    it('finds a typical one, which is of median duration and has no error, and the fastest, slowest and newest', async () => {
      const answer = await ask<AlikeAnswer>(`/api/compare/alike?trace=${idOf(3)}`)
      assert.equal(answer.trace.traceId, idOf(3))
      assert.equal(answer.found, 79)
      const others = Array.from({ length: 80 }, (_, n) => n).filter(n => n !== 3)
      const good = others.filter(n => n % 8 !== 3)
      const duration = (n: number) => 1000 * (n % 4 === 3 ? 200 + n : 20 + (n % 7))
      const sorted = good.map(duration).sort((a, b) => a - b)
      assert.equal(answer.typical!.duration, sorted[(sorted.length - 1) >> 1])
      assert.equal(answer.typical!.error, false)
      assert.deepEqual(
        answer.slowest.map(({ traceId }) => traceId),
        [79, 75, 71, 67, 63].map(idOf),
      )
      assert.deepEqual(
        answer.newest.map(({ traceId }) => traceId),
        [0, 1, 2, 4, 5].map(idOf),
      )
      assert.ok(answer.fastest.every(trace => trace.duration === 20_000 && trace.name === 'POST /checkout'))
    })

    it('takes a forced trace for typical only if there is no other', async () => {
      const send = (n: number, ms: number, probability: number) => {
        const record = { ...checkout(n, ms, 0)[0]!, name: 'Forced.op', probability }
        return sendSpans(`127.0.0.1:${c.scribePorts[0]}`, [record])
      }
      const typical = async () => {
        const { found, typical } = await ask<AlikeAnswer>(`/api/compare/alike?trace=${idOf(300)}`)
        return [found, typical?.traceId]
      }
      await send(300, 10, 1)
      for (const n of [301, 302, 303]) await send(n, n, 0)
      await until('the forced ones are found', async () => (await typical())[0] === 3)
      assert.deepEqual(await typical(), [3, idOf(302)])
      await send(304, 9, 0.5)
      await until('the sampled one is found', async () => (await typical())[0] === 4)
      assert.deepEqual(await typical(), [4, idOf(304)])
    })

    it('finds none for a trace that is alone, and says so of one that is not there', async () => {
      const alone = { ...checkout(200, 9, 0)[0]!, name: 'Once.only' }
      await sendSpans(`127.0.0.1:${c.scribePorts[0]}`, [alone])
      const answer = await ask<AlikeAnswer>(`/api/compare/alike?trace=${idOf(200)}`)
      assert.deepEqual([answer.found, answer.typical, answer.newest], [0, null, []])
      for (const [query, status, code] of [
        [`trace=${idOf(999)}`, 404, 'MILO_NO_SUCH_TRACE'],
        ['trace=what', 400, 'MILO_BAD_TRACE_ID'],
        ['', 400, 'MILO_BAD_PARAMETER'],
      ] as const) {
        const answer = await c.get(`/api/compare/alike?${query}`)
        assert.deepEqual([answer.status, answer.body.code], [status, code])
      }
    })
  })

  describe('of fast and slow traces', () => {
    const row = ({ depth, name, fast, slow, beyondChance }: GroupNode) => [
      depth,
      name,
      fast.calls,
      slow.calls,
      beyondChance,
    ]

    it('compares a quarter of each by their means, and tells what is beyond chance', async () => {
      const answer = await ask<CompareGroupsAnswer>('/api/compare/groups?name=POST%20/checkout')
      assert.deepEqual(answer.operation, { service: 'web', name: 'POST /checkout', traces: 80 })
      assert.equal(answer.complete, true)
      assert.deepEqual([answer.fast.traces, answer.slow.traces, answer.fast.of, answer.slow.of], [20, 20, 20, 20])
      assert.ok(answer.fast.max! < 30_000 && answer.slow.min! > 200_000)
      assert.deepEqual(answer.nodes.map(row), [
        [0, 'POST /checkout', 1, 1, { calls: false, time: true }],
        [1, 'Cart.total', 1, 1, { calls: false, time: false }],
        [1, 'Pricing.quote', 1, 10, { calls: true, time: true }],
      ])
      const quote = answer.nodes[2]!
      assert.ok(Math.abs(quote.change.time - (quote.slow.time - quote.fast.time)) < 1e-6)
      // On the critical path, all parts add up to the root's.
      const parts = answer.nodes.reduce((sum, { change }) => sum + change.critical, 0)
      assert.ok(Math.abs(parts - answer.nodes[0]!.change.time) < 1)
      const [error, ...more] = answer.errors
      assert.deepEqual(more, [])
      assert.deepEqual(
        [error!.name, error!.type, error!.fast, error!.slow, error!.beyondChance],
        ['Cart.total', 'Timeout', 0, 10, true],
      )
      assert.equal(error!.exampleFast, null)
      assert.equal(error!.exampleSlow!.spanId, '0000000000000002')
    })

    it('takes traces of one operation: the most frequent one, or the one that is given', async () => {
      const answer = await ask<CompareGroupsAnswer>('/api/compare/groups?groups=fast-slow&q=last%201h')
      assert.deepEqual(
        answer.operations.slice(0, 2).map(({ name, traces }) => [name, traces]),
        [
          ['POST /checkout', 80],
          ['Ping.ping', 12],
        ],
      )
      assert.equal(answer.operation!.name, 'POST /checkout')
      const ping = await ask<CompareGroupsAnswer>('/api/compare/groups?rootService=web&rootName=Ping.ping')
      assert.deepEqual([ping.operation!.name, ping.fast.traces, ping.slow.traces], ['Ping.ping', 5, 5])
      assert.deepEqual(ping.nodes.map(row), [[0, 'Ping.ping', 1, 1, { calls: false, time: false }]])
    })

    it('says nothing about chance where there are few traces, and compares nothing where there are none', async () => {
      const few = await ask<CompareGroupsAnswer>('/api/compare/groups?name=Pricing.quote&sample=6')
      assert.equal(few.complete, false)
      assert.ok(few.fast.traces <= 3)
      assert.ok(few.nodes.every(({ beyondChance }) => beyondChance.time === null && beyondChance.calls === null))
      const none = await ask<CompareGroupsAnswer>('/api/compare/groups?name=Nothing')
      assert.deepEqual(
        [none.operation, none.nodes, none.errors, none.fast.traces, none.fast.min],
        [null, [], [], 0, null],
      )
      const other = await ask<CompareGroupsAnswer>('/api/compare/groups?rootName=Nothing')
      assert.deepEqual([other.operation, other.fast.traces], [null, 0])
    })

    it('refuses what it does not know', async () => {
      for (const [query, text] of [
        ['groups=slow-fast', /groups is "slow-fast": give fast-slow/],
        ['sample=5000', /sample/],
        ['from=now&to=-1h', /from is not before to/],
        ['before=x', /unknown parameter "before"/],
      ] as const) {
        const { status, body } = await c.get(`/api/compare/groups?${query}`)
        assert.equal(status, 400)
        assert.match(body.error, text)
      }
    })
  })

  it('lists the errors of two traces beside their calls', async () => {
    const { body } = await c.get(`/api/compare?a=${idOf(0)}&b=${idOf(3)}`)
    assert.deepEqual(body.errors, [
      {
        ...{ service: 'cart', name: 'Cart.total', type: 'Timeout', message: 'after 3 ms' },
        ...{ a: 0, b: 1, spanA: null, spanB: '0000000000000002' },
      },
    ])
    assert.equal(body.nodes.length, 3)
  })
})
