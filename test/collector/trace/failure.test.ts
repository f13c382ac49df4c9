import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Reading, type Spans } from '../../../collector/src/formats/fields'
import { readJaegerJson } from '../../../collector/src/formats/jaeger/read'
import { readOtlpJson } from '../../../collector/src/formats/otlp/read'
import { arose, buildTrace, failureOf, foldMessage, roseThrough, summarize } from '../../../collector/src/trace'
import type { SpanRecord } from '../../../src/codec/span'
import { client, custom, half, local, server } from './records'

function failure(annotations: Record<string, string>, events: string[] = []) {
  const own = { annotations: new Map(Object.entries(annotations)), events: events.map((value, i) => custom(i, value)) }
  const found = failureOf(buildTrace([local(1n, { to: 9, ...own })]).spans[0]!)
  return found && [found.type, found.message, found.stack]
}

/** The first span of a document that another sender made. */
function firstOf(spans: Spans) {
  return buildTrace([...spans].map(make => make() as SpanRecord)).spans[0]!
}

describe('the failure of a span', () => {
  const senders: [string, Record<string, string>, (string | null)[] | null][] = [
    ['nothing of a span that did not fail', { 'exception.message': 'handled' }, null],
    ["Milo's", { 'error.type': 'OutOfStock', 'error.message': 'no roses' }, ['OutOfStock', 'no roses', null]],
    ["a code of Milo's", { 'error.type': 'ECONNREFUSED' }, ['ECONNREFUSED', null, null]],
    ['a sentence with which a span was failed', { 'error.type': 'no more roses' }, [null, 'no more roses', null]],
    ["Zipkin's message", { error: 'no roses' }, [null, 'no roses', null]],
    ["Zipkin's class", { error: 'java.io.IOException' }, ['java.io.IOException', null, null]],
    ["Zipkin's class and message", { error: 'IOException: broken pipe' }, ['IOException', 'broken pipe', null]],
    ["Zipkin's status", { error: '503', 'http.status_code': '503' }, ['503', null, null]],
    ['a mark alone', { error: 'true' }, [null, null, null]],
    ['a mark and a status', { error: 'true', 'http.response.status_code': '502' }, ['502', null, null]],
    ['no status of success', { error: 'true', 'http.response.status_code': '200' }, [null, null, null]],
    ["gRPC's number", { error: 'true', 'rpc.grpc.status_code': '14' }, ['UNAVAILABLE', null, null]],
    ["gRPC's message", { error: 'no roses', 'rpc.grpc.status_code': '5' }, ['NOT_FOUND', 'no roses', null]],
    ["a database's code", { error: 'dup', 'db.response.status_code': '23505' }, ['23505', 'dup', null]],
    ['no error without a name', { 'error.type': '_OTHER', error: 'lost' }, [null, 'lost', null]],
    [
      'a stack alone',
      { error: 'true', 'error.stack': 'TypeError: no roses\n  at shop.js:1' },
      ['TypeError', 'no roses', 'TypeError: no roses\n  at shop.js:1'],
    ],
    [
      "Python's stack alone",
      { error: 'true', 'exception.stacktrace': 'Traceback (…):\n  File "a.py"\nValueError: no roses' },
      ['ValueError', 'no roses', 'Traceback (…):\n  File "a.py"\nValueError: no roses'],
    ],
    [
      'the message without the type',
      { 'exception.type': 'shop.stock.OutOfStock', error: 'OutOfStock: no roses' },
      ['shop.stock.OutOfStock', 'no roses', null],
    ],
    ['no type twice', { 'error.type': 'TIMEOUT', error: 'TIMEOUT' }, ['TIMEOUT', null, null]],
    [
      'the last exception among events',
      {
        error: 'boom',
        'error.type': '500',
        'otel.events': JSON.stringify({
          0: { attributes: { 'exception.type': 'Caught', 'exception.message': 'first' } },
          1: {
            attributes: { 'exception.type': 'Thrown', 'exception.message': 'boom', 'exception.stacktrace': 'at a' },
          },
          2: { attributes: { message: 'a log' } },
        }),
      },
      ['Thrown', 'boom', 'at a'],
    ],
    ['an error beside events that nobody can read', { error: 'boom', 'otel.events': '{"0":' }, [null, 'boom', null]],
    ['an error beside events of another shape', { error: 'boom', 'otel.events': '[null,1]' }, [null, 'boom', null]],
  ]
  for (const [what, annotations, expected] of senders) {
    it(`is ${what}`, () => assert.deepEqual(failure(annotations), expected))
  }

  it("is an exception as OpenTelemetry's exporters write it for Zipkin", () => {
    const event = '"exception": {"exception.type":"Bad","exception.message":"no roses","exception.stacktrace":"at a"}'
    assert.deepEqual(failure({ error: 'x' }, ['paid', event]), ['Bad', 'no roses', 'at a'])
    assert.deepEqual(failure({ error: 'x' }, ['"exception": {']), [null, 'x', null])
  })

  it("is an OpenTelemetry span's own event and status", () => {
    const attribute = (key: string, stringValue: string) => ({ key, value: { stringValue } })
    const span = {
      traceId: '5b8efff798038103d269b633813fc60c',
      spanId: 'eee19b7ec3c1b174',
      status: { code: 2, message: 'no roses' },
      events: [
        { name: 'paid', attributes: [attribute('exception.type', 'Earlier')] },
        {
          name: 'exception',
          attributes: [
            attribute('exception.type', 'shop.OutOfStock'),
            attribute('exception.message', 'no roses'),
            attribute('exception.stacktrace', 'shop.OutOfStock: no roses\n\tat Shop.java:7'),
          ],
        },
      ],
    }
    assert.deepEqual(failureOf(firstOf(readOtlpJson({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }))), {
      type: 'shop.OutOfStock',
      message: 'no roses',
      stack: 'shop.OutOfStock: no roses\n\tat Shop.java:7',
    })
  })

  it("is a log of Jaeger's", () => {
    const field = (key: string, value: string) => ({ key, type: 'string', value })
    const span = {
      traceID: '1',
      spanID: '2',
      operationName: 'buy',
      tags: [{ key: 'error', type: 'bool', value: true }],
      logs: [
        { timestamp: 1, fields: [field('event', 'cache'), field('message', 'missed')] },
        {
          timestamp: 2,
          fields: [field('event', 'error'), field('error.kind', 'OutOfStock'), field('message', 'no roses')],
        },
      ],
    }
    const { type, message } = failureOf(firstOf(readJaegerJson({ data: [{ spans: [span] }] }, new Reading())))!
    assert.deepEqual([type, message], ['OutOfStock', 'no roses'])
  })

  it('is found whatever annotations hold, in time that grows with their length', () => {
    const long = ['a.'.repeat(300_000), ' '.repeat(600_000), 'Error'.repeat(100_000), '\u0000\ud800']
    for (const value of long) assert.equal(failure({ 'error.type': value, 'error.message': `${value}x` })?.length, 3)
    const keys = fc.constantFrom(
      ...['error', 'error.type', 'error.message', 'exception.type', 'exception.message', 'otel.events', 'stack'],
    )
    const values = fc.oneof(fc.string({ unit: 'binary' }), fc.json(), fc.constantFrom('IOError: ', ': x', '__proto__'))
    fc.assert(
      fc.property(fc.dictionary(keys, values), annotations => {
        const found = failure(annotations)
        assert.equal(found !== null, 'error' in annotations || 'error.type' in annotations)
        for (const text of found ?? []) assert.ok(text === null || text.trim() !== '')
      }),
    )
  })
})

describe('where errors arose', () => {
  const failed = { annotations: new Map([['error', 'x']]) }
  //  1 ✗ ─┬─ 2 ✗ ─── 3 ✗ ─── 4
  //       ├─ 5 ─── 6 ✗
  //       └─ 7 ✗
  const trace = buildTrace([
    half(server, 1n, { from: 0, to: 100, service: 'web', ...failed }),
    half(client, 2n, { parentId: 1n, from: 30, to: 60, service: 'web', ...failed }),
    half(server, 3n, { parentId: 2n, from: 31, to: 59, service: 'cart', ...failed }),
    half(server, 4n, { parentId: 3n, from: 35, to: 40, service: 'stock' }),
    local(5n, { parentId: 1n, from: 62, to: 70, service: 'web' }),
    local(6n, { parentId: 5n, from: 63, to: 69, service: 'web', ...failed }),
    local(7n, { parentId: 1n, from: 10, to: 20, service: 'web', ...failed }),
  ])
  const ids = (spans: { spanId: string }[]) => spans.map(({ spanId }) => Number(`0x${spanId}`))

  it('is in failed spans with no failed one below, the earliest first', () => {
    assert.deepEqual(ids(arose(trace)), [7, 3, 6])
    assert.deepEqual(summarize(trace).failure, {
      ...{ type: null, message: 'x', service: 'web', name: 'span 7', spanId: '0000000000000007' },
    })
  })

  it('rises through failed callers, up to one that did not fail', () => {
    assert.deepEqual(
      arose(trace).map(span => ids(roseThrough(trace, span))),
      [[1], [2, 1], []],
    )
  })

  it('is once in a chain of any length', () => {
    const chain = Array.from({ length: 20_000 }, (_, i) =>
      local(BigInt(i + 1), { parentId: BigInt(i), from: i, to: 40_000 - i, ...failed }),
    )
    assert.deepEqual(ids(arose(buildTrace(chain))), [20_000])
  })

  it('agrees with looking at the descendants of every span', () => {
    const shape = fc.array(fc.record({ parent: fc.nat(), from: fc.nat(50), failed: fc.boolean() }), { maxLength: 30 })
    fc.assert(
      fc.property(shape, spans => {
        const records = spans.map((span, i) =>
          local(BigInt(i + 1), {
            parentId: i === 0 ? 0n : BigInt((span.parent % i) + 1),
            from: span.from,
            to: span.from,
            ...(span.failed && failed),
          }),
        )
        const built = buildTrace(records)
        const byId = new Map(built.spans.map(span => [span.spanId, span]))
        const below = (id: string, span: { parentId: string }): boolean => {
          const parent = byId.get(span.parentId)
          return parent !== undefined && (parent.spanId === id || below(id, parent))
        }
        const expected = built.spans.filter(
          ({ error, spanId }) => error && !built.spans.some(other => other.error && below(spanId, other)),
        )
        assert.deepEqual(ids(arose(built)).sort(), ids(expected).sort())
      }),
    )
  })
})

describe('a folded message', () => {
  const alike: [string, string][] = [
    ['no stock of item 4711 for user ada@example.com', 'no stock of item … for user …'],
    ['timeout after 1.5s (limit 900ms)', 'timeout after … (limit …)'],
    ['timeout after 1m30.5s (limit 2 s)', 'timeout after … (limit … s)'],
    ['connect ECONNREFUSED 10.0.0.17:5432', 'connect ECONNREFUSED …'],
    ['trace 5b8efff798038103d269b633813fc60c', 'trace …'],
    ['order 123e4567-e89b-12d3-a456-426614174000 is gone', 'order … is gone'],
    ["key 'user:42:name' at 0x7ffe12ab", "key '…' at …"],
    ["can't find it, don't ask 3 times", "can't find it, don't ask … times"],
    ["Unknown column 'price' in 'field list'", "Unknown column 'price' in 'field list'"],
    ['/users/42/orders/7: not found', '/users/…/orders/…: not found'],
    ['ids 1, 2, 3 and -4 are taken', 'ids … and … are taken'],
    ['node-17 is down', 'node-… is down'],
    ['session 01ARZ3NDEKTSV4RRFFQ69G5FAV expired', 'session … expired'],
    ['two\n\tlines \u0007 ', 'two lines'],
    ['', ''],
  ]
  for (const [message, folded] of alike) {
    it(`of ${JSON.stringify(message)} is ${JSON.stringify(folded)}`, () => assert.equal(foldMessage(message), folded))
  }

  it('is the same for any numbers and ids', () => {
    const id = fc.oneof(
      fc.nat().map(String),
      fc.uuid(),
      fc
        .bigInt({ min: 2n ** 60n, max: 2n ** 64n - 1n })
        .map(n => n.toString(16))
        .filter(hex => /\d/.test(hex)),
      fc.ipV4(),
      fc.double({ noNaN: true, noDefaultInfinity: true, min: 0.001, max: 1e15 }).map(String),
    )
    fc.assert(fc.property(id, id, (a, b) => assert.equal(foldMessage(`no ${a} for ${b}.`), foldMessage('no 1 for 2.'))))
  })

  it('is short, and folding it again changes nothing, whatever was sent', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), fc.string(), (a, b) => {
        const folded = foldMessage(a + b)
        assert.ok(folded.length <= 200)
        assert.equal(foldMessage(folded), folded)
      }),
    )
    for (const noise of ['1', 'a1', '"', "'1", 'a@', '…1', '-', ' ', '1ms', '\ud83d']) {
      assert.ok(foldMessage(noise.repeat(1_000_000)).length <= 200)
    }
  })
})
