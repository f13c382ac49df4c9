import assert from 'node:assert/strict'
import fc from 'fast-check'
import { buildTrace, type Trace } from '../../../collector/src/trace'
import type { SpanRecord } from '../../../src/codec/span'
import { client, custom, half, local, server } from './records'

const hour = 3_600_000_000
const web = { service: 'web', clientHost: 'a', serverHost: 'a' }
const cart = { service: 'cart', clientHost: 'b', serverHost: 'b' }
const skews = (trace: Trace) => Object.fromEntries(trace.clocks.map(c => [c.host ?? `of ${c.service}`, c.skewUs]))

describe('clocks that differ', () => {
  it("corrects a server's clock by its client's, and keeps the reported times", () => {
    const trace = buildTrace([
      half(client, 1n, { ...web, from: 1000, to: 1500 }),
      half(server, 1n, { ...cart, from: 1100 + hour, to: 1400 + hour, events: [custom(1200 + hour, 'miss')] }),
      local(2n, { ...cart, parentId: 1n, from: 1150 + hour, to: 1160 + hour }),
    ])
    assert.deepEqual(trace.clocks, [
      { host: 'a', service: null, skewUs: 0, pairs: 1 },
      { host: 'b', service: null, skewUs: hour, pairs: 1 },
    ])
    const [call, work] = trace.spans
    assert.deepEqual([call!.start, call!.clientStart, call!.serverStart, call!.serverDuration], [1000, 1000, 1100, 300])
    assert.deepEqual([call!.rawStart, call!.rawClientStart, call!.rawServerStart], [1000, 1000, 1100 + hour])
    assert.deepEqual(call!.events, [{ time: 1200, rawTime: 1200 + hour, value: 'miss', side: 'server' }])
    assert.deepEqual([work!.start, work!.rawStart, work!.rawClientStart], [1150, 1150 + hour, null])
    assert.deepEqual([trace.start, trace.duration], [1000, 500])
  })

  it('moves nothing where the halves nest already, though not in the middle', () => {
    const trace = buildTrace([
      half(client, 1n, { ...web, from: 1000, to: 1500 }),
      half(server, 1n, { ...cart, from: 1001, to: 1100 }),
    ])
    assert.deepEqual(skews(trace), { a: 0, b: 0 })
    assert.equal(trace.spans[0]!.serverStart, 1001)
    assert.ok(!('rawStart' in trace.spans[0]!))
  })

  it('narrows the skew down with all calls together, where one call alone leaves it open', () => {
    const call = (id: bigint, from: number, to: number, serverFrom: number, serverTo: number) => [
      half(client, id, { ...web, from, to }),
      half(server, id, { ...cart, from: serverFrom + hour, to: serverTo + hour }),
    ]
    // The first call spent 10 µs before the server's work, and the second none after it.
    const trace = buildTrace([...call(1n, 0, 1000, 10, 500), ...call(2n, 2000, 3000, 2500, 3000)])
    assert.equal(skews(trace).b, hour + 5)
    assert.deepEqual(
      trace.clocks.map(({ pairs }) => pairs),
      [2, 2],
    )
  })

  it('moves nothing by a call whose client also reported from an unnamed host, whichever came first', () => {
    const calls = [
      half(client, 1n, { from: 1000, to: 1500 }),
      half(client, 1n, { ...web, from: 1000, to: 1500 }),
      half(server, 1n, { ...cart, from: 1100 + hour, to: 1400 + hour }),
    ]
    for (const records of [calls, [...calls].reverse()]) assert.deepEqual(skews(buildTrace(records)), { a: 0, b: 0 })
  })

  it('handles as many clocks as there are spans', () => {
    const records = Array.from({ length: 150_000 }, (_, i) =>
      local(BigInt(i + 1), { clientHost: `h${i}`, from: i, to: i }),
    )
    assert.equal(buildTrace(records).clocks.length, records.length)
  })

  it('follows the majority of calls when one contradicts them', () => {
    const calls = Array.from({ length: 9 }, (_, i) => [
      half(client, BigInt(i + 1), { ...web, from: i * 1000, to: i * 1000 + 500 }),
      half(server, BigInt(i + 1), { ...cart, from: i * 1000 + hour + 100, to: i * 1000 + hour + 400 }),
    ])
    const odd = [
      half(client, 99n, { ...web, from: 0, to: 500 }),
      half(server, 99n, { ...cart, from: 100 - 3 * hour, to: 200 - 3 * hour }),
    ]
    const trace = buildTrace([...odd, ...calls.flat()])
    assert.equal(skews(trace).b, hour)
    assert.equal(trace.clocks.find(({ host }) => host === 'b')!.pairs, 9)
  })

  it('learns from a client that did not wait only that the server cannot have begun before', () => {
    const oneway = (from: number, annotations?: Map<string, string>) =>
      buildTrace([
        half(client, 1n, { ...web, from: 1000, to: 1050 }),
        half(server, 1n, { ...cart, from, to: from + (annotations ? 20 : 900), annotations }),
      ])
    assert.equal(skews(oneway(5000)).b, 0)
    assert.equal(skews(oneway(400)).b, -600)
    // A short one looks like a call that was waited for.
    assert.equal(skews(oneway(5000, new Map([['thrift.oneway', 'true']]))).b, 0)
  })

  it("joins a server span with its own id to its client-only parent, as OpenTelemetry's are, and learns from both", () => {
    const trace = buildTrace([
      half(client, 1n, { ...web, from: 1000, to: 1500 }),
      half(server, 2n, { ...cart, parentId: 1n, from: 1100 - hour, to: 1400 - hour }),
      local(3n, { ...cart, parentId: 2n, from: 1200 - hour, to: 1300 - hour }),
    ])
    assert.deepEqual(
      trace.spans.map(s => [s.kind, s.depth, s.start, s.networkTime]),
      [
        ['client', 0, 1000, 200],
        ['server', 1, 1100, null],
        ['local', 2, 1200, null],
      ],
    )
  })

  it('carries a correction on to hosts that only the corrected one has called', () => {
    const db = { service: 'db', serverHost: 'c' }
    const trace = buildTrace([
      half(client, 1n, { ...web, from: 0, to: 1000 }),
      half(server, 1n, { ...cart, from: hour + 100, to: hour + 900 }),
      half(client, 2n, { ...cart, parentId: 1n, from: hour + 200, to: hour + 800 }),
      half(server, 2n, { ...db, parentId: 1n, from: hour + 300, to: hour + 700 }),
    ])
    assert.deepEqual(skews(trace), { a: 0, b: hour, c: hour })
    assert.equal(trace.spans[1]!.serverStart, 300)
  })

  it("tells clocks apart by service if every host's name is localhost, and corrects none that has no name at all", () => {
    const records = (who: (name: string) => Partial<SpanRecord>) => [
      half(client, 1n, { ...who('web'), from: 1000, to: 1500 }),
      half(server, 1n, { ...who('cart'), from: 1100 + hour, to: 1400 + hour }),
    ]
    const local = (service: string) => ({ service, clientHost: 'localhost', serverHost: '127.0.0.1' })
    assert.deepEqual(skews(buildTrace(records(local))), { 'of web': 0, 'of cart': hour })
    assert.deepEqual(skews(buildTrace(records(service => ({ service })))), { 'of web': 0, 'of cart': hour })
    for (const host of [
      'LOCALHOST.',
      '[::1]',
      '::ffff:127.0.0.1',
      '0.0.0.0',
      'pod.localhost',
      'localhost.localdomain',
      '127.0.1.1',
    ]) {
      const everyMachines = (service: string) => ({ service, clientHost: host, serverHost: host })
      assert.deepEqual(skews(buildTrace(records(everyMachines))), { 'of web': 0, 'of cart': hour }, host)
    }
    for (const host of ['localhost-5.example', '127.shop.example', '::1:2', 'localhost/5']) {
      const named = (service: string) => ({ service, clientHost: host, serverHost: host })
      assert.deepEqual(skews(buildTrace(records(named))), { [host]: 0 }, host)
    }
    const nameless = buildTrace(records(() => ({})))
    assert.deepEqual(nameless.clocks, [])
    assert.equal(nameless.spans[0]!.serverStart, 1100 + hour)
  })

  it('corrects each half of a repeated call by its own clock', () => {
    const [call] = buildTrace([
      half(client, 1n, { ...web, from: 0, to: 10_000 }),
      half(server, 1n, { service: 'cart', serverHost: 'b', from: hour + 1000, to: hour + 2000 }),
      half(server, 1n, { service: 'cart', serverHost: 'c', from: 8000 - hour, to: 9000 - hour }),
      half(client, 2n, { ...web, from: 20_000, to: 20_100 }),
      half(server, 2n, { service: 'cart', serverHost: 'b', from: hour + 20_000, to: hour + 20_100 }),
      half(client, 3n, { ...web, from: 30_000, to: 30_100 }),
      half(server, 3n, { service: 'cart', serverHost: 'c', from: 30_000 - hour, to: 30_100 - hour }),
    ]).spans
    assert.deepEqual([call!.serverStart, call!.serverDuration, call!.rawServerStart], [1000, 8000, hour + 1000])
    assert.deepEqual(
      call!.repeats.map(({ host, start, rawStart }) => [host, start, rawStart]),
      [
        ['b', 1000, hour + 1000],
        ['c', 8000, 8000 - hour],
      ],
    )
  })
})

// ── True traces, told by clocks that are off ──────────────────────────────────────────────────────────────────────────

interface Call {
  parent: number
  host: number
  /** Of the parent's server half, in thousandths. */
  from: number
  length: number
  /** Of the call, in thousandths: the way there and the way back. */
  there: number
  back: number
}

const HOSTS = 5
const call: fc.Arbitrary<Call> = fc.record({
  parent: fc.nat(),
  host: fc.nat(HOSTS - 1),
  from: fc.integer({ min: 0, max: 600 }),
  length: fc.integer({ min: 50, max: 400 }),
  there: fc.integer({ min: 0, max: 300 }),
  back: fc.integer({ min: 0, max: 300 }),
})
const offsets = fc.array(fc.integer({ min: -1_000_000_000, max: 1_000_000_000 }), {
  minLength: HOSTS,
  maxLength: HOSTS,
})

interface Window {
  host: number
  from: number
  to: number
}

/** What really happened: the client's and the server's window of each call. The first call is the root's. */
function happened(calls: Call[]): Array<{ parent: number; client: Window; server: Window }> {
  const truth: Array<{ parent: number; client: Window; server: Window }> = []
  for (const [i, { parent: p, host, from, length, there, back }] of calls.entries()) {
    const parent = i === 0 ? -1 : p % i
    const caller: Window = i === 0 ? { host: 0, from: 5e9, to: 6e9 } : truth[parent]!.server
    const part = (of: number, whole: number) => Math.floor((whole * of) / 1000)
    const start = caller.from + part(from, caller.to - caller.from)
    const client = { host: caller.host, from: start, to: start + part(length, caller.to - caller.from) }
    const whole = client.to - client.from
    truth.push({
      parent,
      client,
      server: { host, from: start + part(there, whole), to: client.to - part(back, whole) },
    })
  }
  return truth
}

function told(truth: ReturnType<typeof happened>, clocks: number[], w3c: boolean): SpanRecord[] {
  return truth.flatMap(({ parent, client: c, server: s }, i) => {
    const id = (n: number) => (w3c ? 2n * BigInt(n) : BigInt(n)) + 1n
    const parentId = parent === -1 ? 0n : w3c ? id(parent) + 1n : id(parent)
    const at = ({ host, from, to }: Window) => ({ from: from + clocks[host]!, to: to + clocks[host]! })
    return [
      half(client, id(i), { parentId, service: 's', clientHost: `h${c.host}`, ...at(c) }),
      half(server, w3c ? id(i) + 1n : id(i), {
        parentId: w3c ? id(i) : parentId,
        service: 's',
        serverHost: `h${s.host}`,
        ...at(s),
      }),
    ]
  })
}

describe('any true trace, reported by clocks that are off', () => {
  const traces = fc.tuple(fc.array(call, { minLength: 1, maxLength: 40 }), offsets, fc.boolean())

  it('is shown with each server half within its client half', () => {
    fc.assert(
      fc.property(traces, ([calls, clocks, w3c]) => {
        const trace = buildTrace(told(happened(calls), clocks, w3c))
        const spans = new Map(trace.spans.map(span => [span.spanId, span]))
        for (const span of trace.spans) {
          if (span.serverStart === null) continue
          const caller = w3c ? spans.get(span.parentId)! : span
          const { clientStart, clientDuration } = caller
          assert.ok(span.serverStart >= clientStart!)
          assert.ok(span.serverStart + span.serverDuration! <= clientStart! + clientDuration!)
        }
      }),
    )
  })

  it('is off by no more than the time that the calls on the way there spent on the network', () => {
    fc.assert(
      fc.property(traces, ([calls, clocks, w3c]) => {
        const truth = happened(calls)
        const trace = buildTrace(told(truth, clocks, w3c))
        // By how much a host's clock may be misjudged against the root's: along the calls from there, as found first.
        const slack = new Map([[truth[0]!.client.host, 0]])
        for (let grown = true; grown; ) {
          grown = false
          for (const { client: c, server: s } of truth) {
            const network = c.to - c.from - (s.to - s.from)
            for (const [one, other] of [
              [c.host, s.host],
              [s.host, c.host],
            ] as const) {
              if (one === other || !slack.has(one)) continue
              const least = slack.get(one)! + network
              if (least >= (slack.get(other) ?? Infinity)) continue
              slack.set(other, least)
              grown = true
            }
          }
        }
        for (const { host, skewUs } of trace.clocks) {
          const h = Number(host!.slice(1))
          const real = clocks[h]! - clocks[truth[0]!.client.host]!
          assert.ok(Math.abs(skewUs - real) <= slack.get(h)!, `${host}: ${skewUs}, really ${real} ± ${slack.get(h)}`)
        }
      }),
    )
  })

  it('is shown as it was reported when the clocks agree', () => {
    fc.assert(
      fc.property(traces, ([calls, , w3c]) => {
        const trace = buildTrace(told(happened(calls), new Array(HOSTS).fill(7), w3c))
        for (const { skewUs } of trace.clocks) assert.equal(skewUs, 0)
      }),
    )
  })

  it('is shown the same in whatever order its records arrive', () => {
    fc.assert(
      fc.property(traces, ([calls, clocks, w3c]) => {
        const records = told(happened(calls), clocks, w3c)
        const shown = (trace: Trace) => [trace.spans, new Set(trace.clocks)]
        assert.deepEqual(shown(buildTrace(records)), shown(buildTrace([...records].reverse())))
      }),
    )
  })
})
