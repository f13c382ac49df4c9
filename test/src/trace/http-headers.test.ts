import assert from 'node:assert/strict'
import fc from 'fast-check'
import { baggage, init, shutdown, stats, withBaggage } from '../../../src/index'
import type { Options } from '../../../src/start/options'
import { changeBaggage, limitBaggage, readBaggage } from '../../../src/trace/baggage'
import { frameWith, runInFrame } from '../../../src/trace/context'
import {
  baggageOfHeaders,
  contextOfHeaders,
  type HeaderTarget,
  HTTP_HEADERS,
  writeHeaders,
} from '../../../src/trace/http-headers'
import { Kind } from '../../../src/trace/span'
import { currentSpan, startServerSpan, startSpan } from '../../../src/trace/tracer'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'
const TRACEPARENT = `00-${TRACE}-${SPAN}-01`
const ALL = new Set(['*'])

const start = (options: Options = {}) =>
  init({ sampler: 'always', scribe: '127.0.0.1:1', logLevel: 'silent', ...options })

const TARGET: HeaderTarget<Map<string, string>> = {
  has: (headers, name) => headers.has(name),
  add: (headers, name, value) => headers.set(name, value),
  host: () => 'shop.example.com',
  port: () => 80,
}

/** What a call that is made here writes, beside the application's own headers. */
function written(own: Record<string, string> = {}): Record<string, string> {
  const headers = new Map(Object.entries(own))
  writeHeaders(headers, TARGET, startSpan(Kind.CLIENT, 'call'))
  return Object.fromEntries([...headers].filter(([name]) => !(name in own)))
}

/** Runs `work` as the handler of a request with these headers. */
function served<R>(raw: string[], work: () => R, caller?: { remoteAddress?: string }): R {
  const frame = frameWith(startServerSpan('GET /', contextOfHeaders(raw, caller)))
  frame.baggage = baggageOfHeaders(raw, caller)
  return runInFrame(frame, work)
}

describe('headers over HTTP', () => {
  afterEach(() => shutdown(0))

  const ids = (raw: string[], caller?: { remoteAddress?: string }) =>
    served(
      raw,
      () => {
        const { traceId, parentId, sampled, trace } = currentSpan()!
        return { traceId, parentId, sampled, debug: trace.debug, probability: trace.probability }
      },
      caller,
    )
  const CHILD = { traceId: TRACE, parentId: SPAN, sampled: true, debug: false, probability: Number.NaN }
  const NOBODYS = '0'.repeat(16)

  const multi = (...more: string[]) => ['X-B3-TraceId', TRACE, 'x-b3-spanid', SPAN, ...more]
  const read: [what: string, raw: string[], expected: object][] = [
    ['traceparent, in any case', ['Host', 'x', 'TraceParent', TRACEPARENT], CHILD],
    ['b3', ['b3', `${TRACE}-${SPAN}-1`], CHILD],
    ['x-b3 headers', multi('X-B3-Sampled', '1'), CHILD],
    ['x-b3 headers whose decision is a word', multi('X-B3-Sampled', 'true'), CHILD],
    ['x-b3-flags for debug', multi('X-B3-Flags', '1'), { ...CHILD, debug: true }],
    ['x-b3 headers without a decision, which is the sampler’s', multi(), { ...CHILD, probability: 1 }],
    ['b3 without a decision, which is the sampler’s', ['b3', `${TRACE}-${SPAN}`], { ...CHILD, probability: 1 }],
    ['traceparent before b3', ['b3', `${SPAN}-${SPAN}-0`, 'traceparent', TRACEPARENT], CHILD],
    ['b3 before x-b3 headers', [...multi('X-B3-Sampled', '0'), 'b3', `${TRACE}-${SPAN}-1`], CHILD],
    ['b3 beside a traceparent that isn’t valid', ['traceparent', '00-x', 'b3', `${TRACE}-${SPAN}-1`], CHILD],
  ]
  for (const [what, raw, expected] of read) {
    it(`reads ${what}`, () => {
      start()
      assert.deepEqual(ids(raw), expected)
    })
  }

  it('obeys a decision that comes without ids', () => {
    start({ sampler: 'never' })
    for (const raw of [
      ['b3', '1'],
      ['b3', 'd'],
      ['x-b3-sampled', '1'],
      ['x-b3-flags', '1'],
    ]) {
      const { parentId, ...rest } = ids(raw)
      assert.deepEqual([rest.sampled, rest.debug, rest.probability, parentId], [true, true, 0, NOBODYS])
    }
    start()
    for (const raw of [
      ['b3', '0'],
      ['x-b3-sampled', 'false'],
    ])
      assert.equal(ids(raw).sampled, false)
  })

  it('lets the sampler decide for a caller that doesn’t, and counts that', () => {
    start({ sampler: 'never' })
    const before = stats().tracesNotKept
    assert.equal(ids(multi()).sampled, false)
    assert.equal(stats().tracesNotKept, before + 1)
    assert.match(served(multi(), written).traceparent!, new RegExp(`^00-${TRACE}-${SPAN}-00$`))
  })

  const repeated: [what: string, raw: string[]][] = [
    ['two traceparents', ['traceparent', TRACEPARENT, 'traceparent', TRACEPARENT.replace('4bf9', '4bf8')]],
    ['two b3', ['b3', `${TRACE}-${SPAN}-1`, 'b3', `${TRACE}-${SPAN}-1`]],
    ['two x-b3-traceids', multi('x-b3-traceid', TRACE)],
    ['a joined traceparent', ['traceparent', `${TRACEPARENT}, ${TRACEPARENT}`]],
    ['x-b3 headers without a span', ['x-b3-traceid', TRACE, 'x-b3-sampled', '1']],
  ]
  for (const [what, raw] of repeated) {
    it(`begins a trace where ${what} came`, () => {
      start()
      const { traceId, parentId } = ids(raw)
      assert.notEqual(traceId, TRACE)
      assert.equal(parentId, NOBODYS)
    })
  }

  it('takes a repeated tracestate as one', () => {
    start()
    const raw = ['traceparent', TRACEPARENT, 'tracestate', 'a=1,b=2', 'Tracestate', 'c=3,a=4']
    assert.equal(served(raw, written).tracestate, 'a=1,b=2,c=3')
    assert.equal(
      served([...raw.slice(0, 2), 'tracestate', '', ...raw.slice(2), 'tracestate', ''], written).tracestate,
      'a=1,b=2,c=3',
    )
    assert.equal(served([...raw, 'tracestate', 'bad'], written).tracestate, undefined)
    assert.equal(served(raw.slice(2), written).tracestate, undefined)
  })

  it('writes W3C’s by default, and B3 where it is wanted', () => {
    const of = (propagation: string) => {
      start({ propagation })
      return served(['traceparent', TRACEPARENT], () => {
        const made = written()
        const trace = made['x-b3-traceid'] ?? made.b3?.slice(0, 32) ?? made.traceparent?.slice(3, 35)
        if (trace !== undefined) assert.equal(trace, TRACE)
        return Object.keys(made)
      })
    }
    const all = ['x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid', 'x-b3-sampled']
    assert.deepEqual(of('field'), ['traceparent'])
    assert.deepEqual(of('b3'), ['b3'])
    assert.deepEqual(of('b3multi'), all)
    assert.deepEqual(of('b3multi+w3c+b3'), ['traceparent', 'b3', ...all])
    assert.deepEqual(of('off'), [])
    assert.deepEqual(of('*.example.com=off'), [])
    assert.deepEqual(of('*.com=off,shop.example.com:80=b3'), ['b3'])
    assert.deepEqual(of('off,*.example.com=w3c'), ['traceparent'])
  })

  it('tells the callee in each of them that a trace isn’t kept', () => {
    start({ sampler: 'never', propagation: 'w3c+b3+b3multi' })
    const made = written()
    assert.match(made.traceparent!, /-00$/)
    assert.deepEqual([made.b3, made['x-b3-sampled'], made['x-b3-traceid']], ['0', '0', undefined])
  })

  it('says debug where it came', () => {
    start({ propagation: 'b3+b3multi' })
    const made = served(multi('x-b3-flags', '1'), written)
    assert.match(made.b3!, new RegExp(`^${TRACE}-[0-9a-f]{16}-d-[0-9a-f]{16}$`))
    assert.deepEqual([made['x-b3-flags'], made['x-b3-sampled']], ['1', undefined])
  })

  it('leaves what the application has set, and writes nothing that would contradict it', () => {
    start({ propagation: 'w3c+b3+b3multi', baggage: '*' })
    const raw = ['traceparent', TRACEPARENT, 'tracestate', 'a=1', 'baggage', 'k=v']
    served(raw, () => {
      assert.equal(written({ traceparent: 'mine' }).tracestate, undefined)
      assert.equal(written({ tracestate: 'mine=1' }).tracestate, undefined)
      assert.equal(written({ b3: '0' }).b3, undefined)
      assert.equal(written({ 'x-b3-sampled': '0' })['x-b3-traceid'], undefined)
      assert.equal(written({ baggage: 'mine=1' }).baggage, undefined)
      assert.equal(written().baggage, 'k=v')
    })
  })

  it('believes callers whose address is trusted', () => {
    const believed = (trustedCallers: string, remoteAddress?: string) => {
      start({ trustedCallers, baggage: '*' })
      const raw = ['traceparent', TRACEPARENT, 'baggage', 'k=v']
      const caller = remoteAddress === undefined ? {} : { remoteAddress }
      const both = [ids(raw, caller).traceId === TRACE, served(raw, () => baggage().k, caller) === 'v']
      assert.equal(both[0], both[1])
      // The second verdict is a remembered one.
      return both[0]
    }
    const addresses = [undefined, '10.1.2.3', '::ffff:10.1.2.3', '11.0.0.1', '::1', 'fe80::1%eth0', 'no address']
    const of = (trusted: string) => addresses.filter(address => believed(trusted, address))
    assert.deepEqual(of('all'), addresses)
    assert.deepEqual(of('none'), [])
    assert.deepEqual(of('10.0.0.0/8, ::1'), ['10.1.2.3', '::ffff:10.1.2.3', '::1'])
    assert.deepEqual(of('11.0.0.1,fe80::/10'), ['11.0.0.1', 'fe80::1%eth0'])
  })

  it('carries baggage only where the settings name its keys', () => {
    const raw = ['baggage', 'tenant=acme;p=1, user=ada', 'Baggage', 'secret=x']
    start()
    served(raw, () => assert.deepEqual([baggage(), written().baggage], [{}, undefined]))
    start({ baggage: 'tenant,plan' })
    served(raw, () => {
      assert.deepEqual(baggage(), { tenant: 'acme' })
      assert.equal(written().baggage, 'tenant=acme;p=1')
      withBaggage({ plan: 'größer, "gut"', local: '1' }, () => {
        assert.deepEqual(baggage(), { tenant: 'acme', plan: 'größer, "gut"', local: '1' })
        assert.equal(written().baggage, 'tenant=acme;p=1,plan=gr%C3%B6%C3%9Fer%2C%20%22gut%22')
        withBaggage({ tenant: undefined }, () => assert.equal(baggage().tenant, undefined))
      })
      assert.deepEqual(baggage(), { tenant: 'acme' })
    })
  })

  it('carries baggage in a trace that isn’t kept, and after awaits', async () => {
    start({ sampler: 'never', baggage: '*' })
    await served(['baggage', 'k=v'], async () => {
      await null
      assert.deepEqual([baggage(), written().baggage], [{ k: 'v' }, 'k=v'])
    })
  })

  it('takes values of any kind, and calls the function in any case', () => {
    start({ baggage: '*' })
    const thrown = Object.defineProperty({}, 'k', {
      enumerable: true,
      get() {
        throw new Error('mine')
      },
    })
    const values: any[] = [
      null,
      undefined,
      5,
      'text',
      { k: Symbol('x') },
      { k: {} },
      { k: '\ud800' },
      { 'a b': '1' },
      thrown,
    ]
    for (const value of values)
      assert.deepEqual(withBaggage(value, baggage), value === 'text' ? readBaggage('0=t,1=e,2=x,3=t') : {})
    assert.equal(
      withBaggage({ __proto__: 'x' } as any, () => 7),
      7,
    )
    assert.deepEqual(withBaggage({ n: 5 as any }, baggage), { n: '5' })
  })

  it('keeps baggage within 180 members and 8,192 bytes', () => {
    const many = Array.from({ length: 300 }, (_, i) => `k${i}=v`)
    assert.equal(limitBaggage(many.join(), ALL)!.split(',').length, 180)
    assert.equal(limitBaggage(`a=${'x'.repeat(8190)}`, ALL)!.length, 8192)
    assert.equal(limitBaggage(`a=${'x'.repeat(8191)},b=1`, ALL), 'b=1')
    assert.equal(limitBaggage(`a=${'x'.repeat(8000)},b=${'y'.repeat(200)},c=1`, ALL)!.length, 8002 + 4)
    assert.equal(limitBaggage(`a=1,${'x'.repeat(1_000_000)}`, ALL), undefined)
    assert.equal(limitBaggage('a=1,b,=2,c=ü,d=4\r\nx: y,a=5', ALL), 'a=5')
    assert.equal(changeBaggage('a=1', { 'b\r\nx': '1', c: '\r\nx: y' }), 'a=1,c=%0D%0Ax%3A%20y')
  })

  it('reads and writes what fits a header, whatever comes', () => {
    start({ propagation: 'w3c+b3+b3multi', baggage: '*' })
    const piece = fc.constantFrom(
      TRACEPARENT,
      `${TRACE}-${SPAN}-1`,
      TRACE,
      SPAN,
      '1',
      'd',
      'a=1',
      ',',
      ';',
      '\r\n',
      '\0',
      ' ',
    )
    const value = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(piece, { maxLength: 40 }).map(pieces => pieces.join('')),
      fc.constantFrom(
        'x'.repeat(1 << 20),
        'a=1,'.repeat(1 << 18),
        '-'.repeat(600),
        ' '.repeat(1 << 20),
        ','.repeat(1 << 20),
      ),
    )
    const name = fc.oneof(
      fc.constantFrom(...HTTP_HEADERS).map(text => (text.length % 2 ? text : text.toUpperCase())),
      fc.string({ maxLength: 12 }),
    )
    const seed = Number(process.env.MILO_TEST_SEED ?? Date.now() % 2 ** 31)
    const headers = fc.array(fc.tuple(name, value), { maxLength: 10 })
    fc.assert(
      fc.property(headers, pairs => {
        const made = served(pairs.flat(), written)
        for (const [key, text] of Object.entries(made)) {
          assert.match(key, /^[a-z0-9-]+$/)
          assert.match(text, /^[\x20-\x7e]+$/)
          assert.ok(text.length <= (key === 'baggage' ? 8192 : 512), key)
        }
        // What is written can be read, and says the same.
        served(Object.entries(made).flat(), () => {
          assert.deepEqual([written().tracestate, written().baggage], [made.tracestate, made.baggage])
        })
      }),
      { seed, numRuns: 300 },
    )
  })
})
