import assert from 'node:assert/strict'
import fc from 'fast-check'
import { buildTrace, type Trace } from '../../../collector/src/trace'
import { client, half, local, server } from './records'

const by = (trace: Trace, what: 'selfTime' | 'criticalTime' | 'networkTime') =>
  Object.fromEntries(trace.spans.map(span => [Number(span.spanId), span[what]]))

describe('self time', () => {
  it('is the time that no child covers: children side by side count once, and only within the span', () => {
    const trace = buildTrace([
      local(1n, { from: 100, to: 200 }),
      local(2n, { parentId: 1n, from: 90, to: 120 }),
      local(3n, { parentId: 1n, from: 110, to: 130 }),
      local(4n, { parentId: 1n, from: 115, to: 116 }),
      local(5n, { parentId: 1n, from: 190, to: 900 }),
      local(6n, { parentId: 3n, from: 150, to: 160 }),
      { id: 7n, parentId: 1n },
    ])
    assert.deepEqual(by(trace, 'selfTime'), { 1: 60, 2: 30, 3: 20, 4: 1, 5: 710, 6: 10, 7: null })
  })
})

describe('network time', () => {
  it("is the time that the client waited beyond the server's work, whether they are one span or two", () => {
    const trace = buildTrace([
      half(client, 1n, { from: 0, to: 100 }),
      half(server, 1n, { from: 10, to: 80 }),
      half(client, 2n, { parentId: 1n, from: 20, to: 60 }),
      half(server, 3n, { parentId: 2n, from: 25, to: 55 }),
    ])
    assert.deepEqual(by(trace, 'networkTime'), { 1: 30, 2: 10, 3: null })
  })

  it('is unknown for half a call, a client that did not wait, and a client that two servers answered', () => {
    const trace = buildTrace([
      half(client, 1n, { from: 0, to: 100 }),
      half(server, 2n, { parentId: 1n, from: 10, to: 30 }),
      half(server, 3n, { parentId: 1n, from: 40, to: 60 }),
      half(client, 4n, { parentId: 3n, from: 41, to: 42 }),
      half(server, 4n, { parentId: 3n, from: 45, to: 50 }),
      half(client, 5n, { parentId: 3n, from: 41, to: 42 }),
    ])
    assert.deepEqual(by(trace, 'networkTime'), { 1: null, 2: null, 3: null, 4: null, 5: null })
  })
})

describe('the critical path', () => {
  it('goes back from the end through the child that finished last, and counts the time of a span that waited for no child as its own', () => {
    const trace = buildTrace([
      local(1n, { from: 0, to: 100 }),
      local(2n, { parentId: 1n, from: 10, to: 40 }),
      local(3n, { parentId: 1n, from: 20, to: 50 }),
      local(4n, { parentId: 1n, from: 60, to: 90 }),
      local(5n, { parentId: 4n, from: 70, to: 85 }),
    ])
    assert.deepEqual(by(trace, 'criticalTime'), { 1: 40, 2: 0, 3: 30, 4: 15, 5: 15 })
  })

  it("leaves out a child that outlives its parent, but for a server's last moments", () => {
    const trace = buildTrace([
      half(server, 1n, { from: 0, to: 100 }),
      local(2n, { parentId: 1n, from: 5, to: 500 }),
      half(client, 3n, { parentId: 1n, from: 20, to: 60 }),
      half(server, 4n, { parentId: 3n, from: 30, to: 62 }),
      local(5n, { parentId: 4n, from: 50, to: 61 }),
      // One-way: the client went on at once.
      half(client, 6n, { parentId: 1n, from: 80, to: 81 }),
      half(server, 6n, { parentId: 1n, from: 82, to: 300 }),
    ])
    assert.deepEqual(by(trace, 'criticalTime'), { 1: 59, 2: 0, 3: 10, 4: 20, 5: 10, 6: 1 })
  })

  it('goes on through spans without times to the calls that they made', () => {
    const trace = buildTrace([
      { id: 1n, name: 'root' },
      half(client, 2n, { parentId: 1n, from: 10, to: 30 }),
      half(client, 3n, { parentId: 1n, from: 35, to: 50 }),
    ])
    assert.deepEqual(by(trace, 'criticalTime'), { 1: 5, 2: 20, 3: 15 })
  })

  it('covers the first root alone', () => {
    const trace = buildTrace([
      local(1n, { from: 0, to: 10 }),
      local(2n, { from: 5, to: 90 }),
      local(3n, { parentId: 77n, from: 1, to: 20 }),
    ])
    assert.deepEqual(by(trace, 'criticalTime'), { 1: 10, 2: 0, 3: 0 })
  })
})

describe('totals', () => {
  it('add up spans by service and by name, with an entry for spans without a service', () => {
    const { totals } = buildTrace([
      half(server, 1n, { name: 'GET /', service: 'web', from: 0, to: 100 }),
      half(client, 2n, { parentId: 1n, name: 'Cart.add', service: 'web', from: 10, to: 40 }),
      half(server, 2n, { parentId: 1n, name: 'Cart.add', service: 'cart', from: 15, to: 35 }),
      half(client, 3n, { parentId: 1n, name: 'Cart.add', service: 'web', from: 50, to: 60 }),
      half(server, 3n, {
        parentId: 1n,
        name: 'Cart.add',
        service: 'cart',
        from: 52,
        to: 58,
        annotations: new Map([['error', 'x']]),
      }),
      half(client, 4n, { parentId: 2n, name: 'SELECT', service: 'cart', from: 20, to: 30 }),
      local(5n, { parentId: 2n, name: '', from: 31, to: 32 }),
    ])
    const cart = { count: 3, errors: 1, total: 50, max: 30, self: 39, critical: 39 }
    const added = { count: 2, errors: 1, total: 40, max: 30, self: 29, critical: 29 }
    const select = { count: 1, errors: 0, total: 10, max: 10, self: 10, critical: 10 }
    const get = { count: 1, errors: 0, total: 100, max: 100, self: 60, critical: 60 }
    const nobody = { count: 1, errors: 0, total: 1, max: 1, self: 1, critical: 1 }
    assert.deepEqual(totals, {
      services: [
        { service: 'cart', reported: 3, ...cart },
        { service: 'web', reported: 3, ...get },
        { service: null, reported: 0, ...nobody },
      ],
      names: [
        { service: 'cart', name: 'Cart.add', ...added },
        { service: 'cart', name: 'SELECT', ...select },
        { service: 'web', name: 'GET /', ...get },
        { service: null, name: '', ...nobody },
      ],
    })
  })
})

describe('any tree of times', () => {
  const span = fc.record({
    parent: fc.nat(),
    from: fc.integer({ min: 0, max: 60 }),
    length: fc.integer({ min: 0, max: 60 }),
    side: fc.constantFrom('client', 'server', 'local'),
    service: fc.constantFrom('a', 'b', undefined),
  })
  const traces = fc.array(span, { minLength: 1, maxLength: 25 }).map(list =>
    buildTrace(
      list.map(({ parent, from, length, side, service }, i) => {
        const what = { parentId: i === 0 ? 0n : BigInt(parent % i) + 1n, from, to: from + length, service }
        return side === 'local'
          ? local(BigInt(i + 1), what)
          : half(side === 'client' ? client : server, BigInt(i + 1), what)
      }),
    ),
  )

  it('gives the same self times as counting single microseconds', () => {
    fc.assert(
      fc.property(traces, ({ spans }) => {
        for (const { spanId, start, duration, selfTime } of spans) {
          const children = spans.filter(({ parentId }) => parentId === spanId)
          let own = 0
          for (let us = start!; us < start! + duration!; us++) {
            if (!children.some(c => c.start! <= us && us < c.start! + c.duration!)) own++
          }
          assert.equal(selfTime, own)
        }
      }),
    )
  })

  it("gives critical times that add up to the root's duration, each within its span's duration", () => {
    fc.assert(
      fc.property(traces, ({ spans, totals }) => {
        const all = spans.reduce((sum, { criticalTime }) => sum + criticalTime, 0)
        assert.equal(all, spans[0]!.duration)
        for (const { criticalTime, duration } of spans) assert.ok(criticalTime >= 0 && criticalTime <= duration!)
        assert.equal(
          totals.services.reduce((sum, { critical }) => sum + critical, 0),
          all,
        )
      }),
    )
  })

  it('gives totals by service and by name that each count every span once', () => {
    fc.assert(
      fc.property(traces, ({ spans, totals }) => {
        for (const list of [totals.services, totals.names]) {
          assert.equal(
            list.reduce((sum, { count }) => sum + count, 0),
            spans.length,
          )
          assert.equal(
            list.reduce((sum, { self }) => sum + self, 0),
            spans.reduce((sum, { selfTime }) => sum + selfTime!, 0),
          )
        }
      }),
    )
  })
})
