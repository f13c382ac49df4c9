import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type Context,
  context,
  createContextKey,
  diag,
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import { createNamespace } from '../../src/cls'
import * as milo from '../../src/index'
import { register, unregister } from '../../src/otel'
import { assertTree, start, stop, type TestSpan, tree } from '../../src/testing'

const SUPPRESS = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING')
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const CALLER = '00f067aa0ba902b7'

/** Obtained before any registration, as libraries do. */
const tracer = trace.getTracer('test')

/** @returns the context of a caller elsewhere, as headers bring it */
function extracted(flags = '01', more: Record<string, string> = {}): Context {
  return propagation.extract(ROOT_CONTEXT, { traceparent: `00-${TRACE}-${CALLER}-${flags}`, ...more })
}

function injected(): Record<string, string> {
  const carrier = {}
  propagation.inject(context.active(), carrier)
  return carrier
}

describe('milo/otel', () => {
  let spans: TestSpan[]

  beforeEach(() => {
    spans = start({ logLevel: 'silent' })
    assert.equal(register(), true)
  })

  afterEach(() => {
    unregister()
    stop()
  })

  it('records spans of a trace that isn’t sampled where there is a history, and tells others that it isn’t sampled', async () => {
    spans = start({ logLevel: 'silent', sampler: 'never', retroactive: true })
    tracer.startActiveSpan('fine', span => span.end())
    const outer = tracer.startActiveSpan('request', span => {
      assert.deepEqual([span.isRecording(), span.spanContext().traceFlags], [true, 0])
      assert.match(injected().traceparent!, new RegExp(`^00-${span.spanContext().traceId}-.*-00$`))
      tracer.startActiveSpan('query', query => {
        assert.equal(query.spanContext().traceId, span.spanContext().traceId)
        query.setAttribute('rows', 3).setStatus({ code: SpanStatusCode.ERROR }).end()
      })
      span.end()
      return span.spanContext()
    })
    context.with(extracted('00'), () => {
      const server = tracer.startSpan('GET /', { kind: SpanKind.SERVER })
      assert.deepEqual([server.isRecording(), server.spanContext().traceId], [true, TRACE])
      server.end()
    })
    await milo.flush()
    assert.deepEqual(spans.map(({ name, annotations }) => [name, annotations['milo.keep'], annotations.rows]).sort(), [
      ['query', 'error', '3'],
      ['request', 'error', undefined],
    ])
    assert.ok(outer.traceId.endsWith(spans[0]!.traceId))
  })

  it('has the spans of both APIs in one tree, each the current one of the other', async () => {
    await milo.span('request', async outer => {
      assert.equal(trace.getActiveSpan()?.spanContext().spanId, outer.spanId)
      trace.getActiveSpan()?.setAttribute('user', 'ann')
      await tracer.startActiveSpan('query', { kind: SpanKind.CLIENT }, async span => {
        assert.equal(trace.getActiveSpan(), span)
        assert.equal(milo.current().spanId, span.spanContext().spanId)
        await sleep(1)
        milo.annotate('rows', 3)
        await milo.span('parse', async inner => {
          assert.equal(trace.getActiveSpan()?.spanContext().spanId, inner.spanId)
          assert.equal(trace.getActiveSpan(), trace.getActiveSpan())
          tracer.startSpan('row').end()
        })
        assert.equal(trace.getActiveSpan(), span)
        span.end()
      })
      assert.equal(milo.current(), outer)
    })
    assert.equal(trace.getActiveSpan(), undefined)
    assert.equal(context.active(), ROOT_CONTEXT)
    assertTree(`
      request user=ann
        query (client) otel.scope.name=test rows=3
          parse
            row otel.scope.name=test
    `)
  })

  it('gives ids that other processes and logs can use: 32 and 16 digits', () => {
    const span = tracer.startSpan('x')
    const { traceId, spanId, traceFlags } = span.spanContext()
    assert.ok(isSpanContextValid(span.spanContext()))
    assert.equal(traceFlags, 1)
    assert.equal(span.spanContext(), span.spanContext())
    span.end()
    assert.deepEqual([traceId, spanId], [spans[0]!.traceId.padStart(32, '0'), spans[0]!.spanId])
    context.with(trace.setSpan(ROOT_CONTEXT, span), () => {
      assert.deepEqual(injected(), { traceparent: `00-${traceId}-${spanId}-01` })
    })
  })

  it('keeps kinds: queues have an annotation, as by OTLP', () => {
    for (const kind of [undefined, ...Object.values(SpanKind).filter(one => typeof one === 'number')]) {
      tracer.startSpan(`k${kind}`, kind === undefined ? undefined : { kind: kind as SpanKind }).end()
    }
    assert.deepEqual(
      spans.map(span => [span.name, span.kind, span.annotations['otel.kind']]),
      [
        ['kundefined', 'local', undefined],
        ['k0', 'local', undefined],
        ['k1', 'server', undefined],
        ['k2', 'client', undefined],
        ['k3', 'local', 'producer'],
        ['k4', 'local', 'consumer'],
      ],
    )
  })

  it('writes attributes of every type as text, and leaves out those that have none', () => {
    const circular: Record<string, unknown> = {}
    circular.self = circular
    const throwing = {
      get boom(): string {
        throw new Error('boom')
      },
    }
    const span = tracer.startSpan('x', { attributes: { given: 'at start', number: 1.5 } }) as any
    span
      .setAttribute('bool', false)
      .setAttribute('int', 7)
      .setAttribute('big', 10n)
      .setAttribute('list', ['a', 'b'])
      .setAttribute('mixed', [1, null, true])
      .setAttribute('map', { a: { b: [1n] } })
      .setAttribute('bytes', Buffer.from('milo'))
      .setAttribute('date', new Date(0))
      .setAttribute('given', 'again')
    for (const none of [undefined, null, () => {}, Symbol('s'), circular, throwing, new Array(5000).fill(0)])
      span.setAttribute('none', none)
    span
      .setAttribute('', 'no key')
      .setAttribute('error', false)
      .setAttributes(null)
      .setAttributes({ ...{ a: 1 } })
    span.setAttributes(
      new Proxy(
        {},
        {
          ownKeys() {
            throw new Error('boom')
          },
        },
      ),
    )
    span.setAttribute('long', 'x'.repeat(10_000)).end()
    span.setAttribute('late', 1)
    const { long, ...rest } = spans[0]!.annotations
    assert.equal(long!.length, 4096)
    assert.deepEqual(rest, {
      'otel.scope.name': 'test',
      given: 'again',
      number: '1.5',
      bool: 'false',
      int: '7',
      big: '10',
      list: '["a","b"]',
      mixed: '[1,null,true]',
      map: '{"a":{"b":["1"]}}',
      bytes: 'bWlsbw==',
      date: '"1970-01-01T00:00:00.000Z"',
      a: '1',
    })
    assert.ok(milo.stats().truncated > 0)
  })

  it('takes times as the API lets them be given', () => {
    const epochMs = 1_700_000_000_000
    tracer.startSpan('ms', { startTime: epochMs }).end(epochMs + 5)
    tracer.startSpan('date', { startTime: new Date(epochMs) }).end(new Date(epochMs + 5))
    tracer.startSpan('hr', { startTime: [1_700_000_000, 0] }).end([1_700_000_000, 5_000_000])
    const now = performance.now()
    tracer.startSpan('performance', { startTime: now - 5 }).end(now)
    for (const { name, startUs, endUs } of spans.slice(0, 3))
      assert.deepEqual([name, startUs, endUs], [name, epochMs * 1000, epochMs * 1000 + 5000])
    assert.ok(Math.abs(spans[3]!.endUs - spans[3]!.startUs - 5000) < 1)
    assert.ok(Math.abs(spans[3]!.endUs / 1000 - Date.now()) < 60_000)
    // Not before its start; and what is no time is now.
    tracer.startSpan('back', { startTime: epochMs }).end(epochMs - 5)
    assert.deepEqual([spans[4]!.startUs, spans[4]!.endUs], [epochMs * 1000, epochMs * 1000])
    for (const none of [Number.NaN, Number.POSITIVE_INFINITY, new Date(Number.NaN), [], ['a', 'b'], 'soon', {}, null])
      tracer.startSpan('none', { startTime: none as any }).end(none as any)
    for (const { startUs, endUs } of spans.slice(5)) {
      assert.ok(Math.abs(startUs / 1000 - Date.now()) < 60_000 && endUs >= startUs)
    }
    assert.equal(spans.length, 13)
  })

  it('notes events with their attributes and times, exceptions, statuses and links', () => {
    const other = tracer.startSpan('other')
    const span = tracer.startSpan('x', { links: [{ context: other.spanContext(), attributes: { why: 'retry' } }] })
    span
      .addEvent('one')
      .addEvent('two', { n: 1, ok: true, list: ['a'] }, 1_700_000_000_000)
      .addEvent('three', [1_700_000_000, 0])
    span.recordException(Object.assign(new TypeError('wrong'), { stack: 'TypeError: wrong\n    at here' }))
    span.setStatus({ code: SpanStatusCode.ERROR, message: 'it failed' })
    span.updateName('renamed')
    span.end()
    other.recordException('handled')
    other.end()
    const [{ name, events, annotations }, handled] = spans as [TestSpan, TestSpan]
    assert.equal(name, 'renamed')
    assert.deepEqual(
      events.map(event => event.value),
      ['one', 'two', 'three', 'exception'],
    )
    assert.deepEqual([events[1]!.timeUs, events[2]!.timeUs], [1_700_000_000_000_000, 1_700_000_000_000_000])
    assert.deepEqual(JSON.parse(annotations['otel.events']!), {
      1: { attributes: { n: 1, ok: true, list: '["a"]' } },
      3: {
        attributes: {
          'exception.type': 'TypeError',
          'exception.message': 'wrong',
          'exception.stacktrace': 'TypeError: wrong\n    at here',
        },
      },
    })
    const { traceId, spanId } = other.spanContext()
    assert.deepEqual(JSON.parse(annotations['otel.links']!), [{ traceId, spanId, attributes: { why: 'retry' } }])
    assert.equal(annotations['error.type'], 'TypeError')
    assert.equal(annotations['error.message'], 'it failed')
    // An exception alone may have been handled: the status says whether the span has failed.
    assert.equal(handled.annotations['error.type'], undefined)
  })

  it('takes OK as the last word, and any error type that a library has set', () => {
    const ERROR = { code: SpanStatusCode.ERROR }
    tracer.startSpan('fine').setStatus(ERROR).setStatus({ code: SpanStatusCode.OK }).setStatus(ERROR).end()
    tracer.startSpan('typed').setStatus(ERROR).setAttribute('error.type', '500').end()
    tracer.startSpan('untyped').setStatus(ERROR).setStatus({ code: SpanStatusCode.UNSET }).end()
    milo.span('milo', () => trace.getActiveSpan()!.setStatus(ERROR))
    assert.deepEqual(
      spans.map(span => span.annotations['error.type']),
      [undefined, '500', '_OTHER', '_OTHER'],
    )
  })

  it('is bounded: events, links, attributes, and what they say', () => {
    const span = tracer.startSpan('x'.repeat(1000))
    for (let i = 0; i < 1000; i++) {
      span.setAttribute(`key${i}`, i).addEvent('e', { text: 'y'.repeat(1000) })
      span.addLink({ context: span.spanContext(), attributes: { text: 'y'.repeat(10) } })
    }
    span.end()
    const { name, events, annotations } = spans[0]!
    assert.equal(name.length, 256)
    assert.equal(events.length, 256)
    assert.ok(Object.keys(annotations).length <= 130)
    assert.ok(JSON.stringify(annotations).length < 64 * 1024)
    assert.ok(Object.keys(JSON.parse(annotations['otel.events']!)).length > 10)
  })

  it('records nothing where the trace isn’t kept, and says so to others by valid ids', () => {
    start({ sampler: 'never' })
    tracer.startActiveSpan('x', span => {
      assert.equal(span.isRecording(), false)
      const { traceId, traceFlags } = span.spanContext()
      assert.ok(isSpanContextValid(span.spanContext()))
      assert.equal(traceFlags, 0)
      assert.match(injected().traceparent!, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
      span
        .setAttribute('a', 1)
        .addEvent('b')
        .setStatus({ code: 2 })
        .updateName('y')
        .addLink({ context: span.spanContext() })
      span.recordException(new Error('c'))
      tracer.startActiveSpan('child', child => assert.equal(child.spanContext().traceId, traceId))
      milo.span('of milo', () => assert.equal(trace.getActiveSpan()?.spanContext().traceId, traceId))
      assert.equal(milo.ids(), undefined)
      span.end()
    })
    milo.span('of milo', () => {
      assert.equal(trace.getActiveSpan()!.isRecording(), false)
      assert.ok(isSpanContextValid(trace.getActiveSpan()!.spanContext()))
      assert.equal(trace.getActiveSpan()!.spanContext().traceId, trace.getActiveSpan()!.spanContext().traceId)
    })
  })

  it('asks the sampler once a trace, by the name of its first span', () => {
    const asked: string[] = []
    const collected = start({
      sampler: {
        sample(name) {
          asked.push(name)
          return name === 'kept' ? 1 : -1
        },
      },
    })
    for (const name of ['kept', 'other'])
      tracer.startActiveSpan(name, span => {
        tracer.startSpan('child').end()
        milo.span('milo', () => {})
        span.end()
      })
    assert.deepEqual(asked, ['kept', 'other'])
    assert.deepEqual(collected.map(span => span.name).sort(), ['child', 'kept', 'milo'])
  })

  it('goes on with a caller’s trace, its decision and its tracestate', () => {
    const caller = extracted('01', { tracestate: 'a=1,b=2' })
    assert.deepEqual(
      { ...trace.getSpanContext(caller), traceState: undefined },
      { traceId: TRACE, spanId: CALLER, traceFlags: 1, isRemote: true, traceState: undefined },
    )
    const span = tracer.startSpan('server', { kind: SpanKind.SERVER }, caller)
    assert.equal(span.spanContext().traceId, TRACE)
    assert.equal(span.spanContext().traceState?.serialize(), 'a=1,b=2')
    context.with(trace.setSpan(caller, span), () => {
      assert.equal(injected().tracestate, 'a=1,b=2')
      milo.span('work', () => {})
    })
    span.end()
    // The caller itself may be current, for Milo too.
    context.with(caller, () => {
      assert.deepEqual([milo.current().traceId, milo.current().spanId], [TRACE, CALLER])
      milo.annotate('nobody', 'sees this')
      trace.getActiveSpan()!.setAttribute('nor', 'this')
      milo.span('child', () => {})
      assert.deepEqual(injected(), { traceparent: `00-${TRACE}-${CALLER}-01`, tracestate: 'a=1,b=2' })
    })
    assert.deepEqual(
      spans.map(one => [one.name, one.traceId, one.parentId]),
      [
        ['work', TRACE, span.spanContext().spanId],
        ['server', TRACE, CALLER],
        ['child', TRACE, CALLER],
      ],
    )
    // Not sampled by the caller: nothing is kept, and callees hear of it.
    context.with(extracted('00'), () => {
      tracer.startActiveSpan('server', one => {
        assert.equal(one.isRecording(), false)
        assert.equal(injected().traceparent, `00-${TRACE}-${CALLER}-00`)
      })
      milo.span('work', () => {})
    })
    assert.equal(spans.length, 3)
  })

  it('takes spans of others as parents: wrapped ids, and broken ones', () => {
    const remote = trace.setSpanContext(ROOT_CONTEXT, { traceId: TRACE, spanId: CALLER, traceFlags: 1 })
    tracer.startSpan('wrapped', {}, remote).end()
    context.with(remote, () => milo.span('within', () => {}))
    const invalid = trace.setSpanContext(ROOT_CONTEXT, { traceId: 'x', spanId: '', traceFlags: 1 })
    tracer.startSpan('root', {}, invalid).end()
    const throwing = {
      spanContext() {
        throw new Error('boom')
      },
    } as unknown as Span
    const broken = trace.setSpan(ROOT_CONTEXT, throwing)
    assert.doesNotThrow(() => tracer.startSpan('lost', {}, broken).end())
    assert.equal(
      context.with(broken, () => milo.span('apart', () => 1)),
      1,
    )
    assert.deepEqual(
      spans.map(span => [span.name, span.traceId === TRACE, span.parentId === CALLER]),
      [
        ['wrapped', true, true],
        ['within', true, true],
        ['root', false, false],
        ['apart', false, false],
      ],
    )
  })

  it('ignores what isn’t W3C’s in headers', () => {
    for (const bad of ['', 'x', `00-${'0'.repeat(32)}-${CALLER}-01`, `ff-${TRACE}-${CALLER}-01`, 'y'.repeat(1_000_000)])
      assert.equal(propagation.extract(ROOT_CONTEXT, { traceparent: bad }), ROOT_CONTEXT)
    const twice = { traceparent: [`00-${TRACE}-${CALLER}-01`, 'x'] }
    assert.equal(propagation.extract(ROOT_CONTEXT, twice), ROOT_CONTEXT)
    const lists = { traceparent: [`00-${TRACE}-${CALLER}-01`], tracestate: ['a=1', 'b=2'] }
    const sent = trace.getSpanContext(propagation.extract(ROOT_CONTEXT, lists))
    assert.equal(sent?.traceState?.serialize(), 'a=1,b=2')
    const crlf = propagation.extract(ROOT_CONTEXT, {
      traceparent: `00-${TRACE}-${CALLER}-01`,
      tracestate: 'a=1\r\nx: y',
    })
    context.with(crlf, () => assert.equal(injected().tracestate, undefined))
  })

  it('carries traces and baggage as the settings say for HTTP, and one baggage is both APIs’', () => {
    assert.deepEqual(propagation.fields(), ['traceparent', 'tracestate'])
    spans = start({ propagation: 'b3', baggage: 'tenant,plan' })
    assert.deepEqual(propagation.fields(), ['b3', 'baggage'])
    // Outside of a trace, too, as what comes in.
    milo.withBaggage({ plan: 'a', mine: 'x' }, () => assert.deepEqual(injected(), { baggage: 'plan=a' }))
    const baggage = 'tenant=acme,secret=1'
    context.with(propagation.extract(ROOT_CONTEXT, { b3: `${TRACE}-${CALLER}-1`, baggage }), () => {
      assert.deepEqual(milo.baggage(), { tenant: 'acme' })
      assert.equal(propagation.getActiveBaggage()?.getEntry('tenant')?.value, 'acme')
      assert.deepEqual(injected(), { b3: `${TRACE}-${CALLER}-1`, baggage: 'tenant=acme' })
      milo.withBaggage({ plan: 'a b' }, () => {
        assert.equal(propagation.getActiveBaggage()?.getEntry('plan')?.value, 'a b')
        const more = propagation.getActiveBaggage()!.setEntry('mine', { value: 'x' }).removeEntry('tenant')
        context.with(propagation.setBaggage(context.active(), more), () => {
          assert.deepEqual(milo.baggage(), { plan: 'a b', mine: 'x' })
          assert.equal(injected().baggage, 'plan=a%20b')
        })
      })
      milo.span('child', () => assert.deepEqual(milo.baggage(), { tenant: 'acme' }))
    })
    assert.deepEqual([spans[0]!.traceId, spans[0]!.parentId], [TRACE, CALLER])
  })

  it('begins a trace with root: true, and traces nothing where tracing is suppressed', () => {
    milo.span('outer', () => {
      tracer.startSpan('apart', { root: true }).end()
      const parent = trace.getActiveSpan()
      context.with(context.active().setValue(SUPPRESS, true), () => {
        tracer.startActiveSpan('hidden', span => {
          assert.equal(span.isRecording(), false)
          assert.ok(!isSpanContextValid(span.spanContext()))
          milo.span('of milo', () => {})
          tracer.startSpan('root', { root: true }).end()
          assert.deepEqual(injected(), {})
        })
        assert.equal(trace.getActiveSpan(), parent)
      })
      assert.equal(trace.getActiveSpan(), parent)
    })
    assertTree(`
      outer
      apart otel.scope.name=test
    `)
  })

  describe('contexts', () => {
    const KEY = createContextKey('a value')

    it('carries values through promises, timers, and Milo’s own spans', async () => {
      const value = ROOT_CONTEXT.setValue(KEY, 1)
      await context.with(value, async () => {
        assert.equal(context.active(), value)
        await sleep(1)
        assert.equal(context.active(), value)
        await milo.span('x', async () => {
          assert.equal(context.active().getValue(KEY), 1)
          await null
          assert.equal(context.active().getValue(KEY), 1)
          assert.equal(context.active(), context.active())
        })
        assert.equal(context.active(), value)
      })
      assert.equal(context.active().getValue(KEY), undefined)
      milo.span('y', () => {
        context.with(ROOT_CONTEXT, () => {
          assert.equal(trace.getActiveSpan(), undefined)
          milo.span('root', () => {})
        })
      })
      assertTree(`
        x
        y
        root
      `)
    })

    it('gives `with` this, arguments, results and errors', () => {
      const error = new Error('mine')
      const self = { n: 1 }
      function add(this: typeof self, a: number, b: number): number {
        return this.n + a + b
      }
      assert.equal(context.with(ROOT_CONTEXT, add, self, 2, 3), 6)
      assert.throws(
        () =>
          context.with(ROOT_CONTEXT, () => {
            throw error
          }),
        (thrown: unknown) => thrown === error,
      )
      assert.equal(
        context.with(undefined as any, () => trace.getActiveSpan()),
        undefined,
      )
    })

    it('leaves the namespaces of cls as they are', () => {
      const namespace = createNamespace('otel-test')
      namespace.run(() => {
        namespace.set('user', 'ann')
        const value = context.active().setValue(KEY, 1)
        context.with(value, () => {
          assert.equal(namespace.get('user'), 'ann')
          namespace.run(() => {
            namespace.set('user', 'bob')
            assert.equal(context.active(), value)
          })
          namespace.set('seen', true)
        })
        assert.equal(namespace.get('seen'), true)
        assert.equal(namespace.get('user'), 'ann')
        const bound = context.bind(value, () => [namespace.get('user'), context.active().getValue(KEY)])
        namespace.run(() => {
          namespace.set('user', 'eve')
          assert.deepEqual(bound(), ['eve', 1])
        })
      })
    })

    it('binds functions with their length, name and `this`', () => {
      const value = ROOT_CONTEXT.setValue(KEY, 2)
      function named(this: unknown, _a: number, _b: number): unknown[] {
        return [this, context.active().getValue(KEY)]
      }
      const bound = context.bind(value, named)
      assert.deepEqual([bound.length, bound.name], [2, 'named'])
      const self = {}
      assert.deepEqual(bound.call(self, 1, 2), [self, 2])
      assert.equal(context.bind(value, 'text'), 'text')
    })

    it('binds emitters, without a change to their listeners', () => {
      const emitter = context.bind(ROOT_CONTEXT.setValue(KEY, 3), new EventEmitter())
      const seen: unknown[] = []
      const listener = (): void => void seen.push(context.active().getValue(KEY))
      emitter.on('a', listener).once('a', listener)
      context.bind(ROOT_CONTEXT.setValue(KEY, 4), emitter)
      assert.equal(emitter.emit('a'), true)
      assert.deepEqual(emitter.listeners('a'), [listener])
      emitter.off('a', listener)
      assert.equal(emitter.emit('a'), false)
      assert.deepEqual(seen, [3, 3])
      assert.throws(() => emitter.emit('error', new Error('unheard')), /unheard/)
    })
  })

  describe('registration', () => {
    it('may be repeated, and is taken back whole', () => {
      assert.equal(register(), true)
      const span = tracer.startSpan('open')
      unregister()
      unregister()
      assert.equal(tracer.startSpan('late').isRecording(), false)
      milo.span('milo', () => assert.equal(trace.getActiveSpan(), undefined))
      span.end()
      assert.equal(tree({ annotations: [] }), 'open\nmilo')
      assert.equal(register(), true)
      trace.getTracer('test').startSpan('again').end()
      assert.equal(spans.at(-1)!.name, 'again')
    })

    it('leaves what another SDK has registered', () => {
      unregister()
      const other = { getTracer: () => tracer }
      trace.setGlobalTracerProvider(other)
      try {
        assert.equal(register(), false)
        milo.span('milo', () => assert.equal(context.active(), ROOT_CONTEXT))
        unregister()
        assert.equal((trace.getTracerProvider() as any).getDelegate(), other)
      } finally {
        trace.disable()
      }
    })

    it('leaves a propagator of the application’s', () => {
      unregister()
      const own = { inject() {}, extract: (ctx: Context) => ctx, fields: () => ['mine'] }
      propagation.setGlobalPropagator(own)
      try {
        assert.equal(register(), true)
        assert.deepEqual(propagation.fields(), ['mine'])
        unregister()
        assert.deepEqual(propagation.fields(), ['mine'])
      } finally {
        propagation.disable()
      }
    })

    it('does nothing where Milo is off', () => {
      unregister()
      stop()
      assert.equal(register(), false)
      assert.equal(trace.getTracer('x').startSpan('y').isRecording(), false)
    })

    it('says nothing to the application’s diag logger', () => {
      const said: unknown[] = []
      const note = (...args: unknown[]) => void said.push(args)
      diag.setLogger({ error: note, warn: note, info: note, debug() {}, verbose() {} })
      try {
        register()
        unregister()
        register()
        assert.deepEqual(said, [])
      } finally {
        diag.disable()
      }
    })
  })

  it('never throws, whatever it is given', () => {
    const throwing = new Proxy(
      {},
      {
        get() {
          throw new Error('boom')
        },
      },
    ) as any
    for (const bad of [undefined, null, 1, 'x', {}, [], Symbol('s'), throwing]) {
      const span = tracer.startSpan(bad as any, bad as any)
      const s = span as any
      s.setAttribute(bad, bad).setAttributes(bad).addEvent(bad, bad, bad).addLink(bad).addLinks([bad]).setStatus(bad)
      s.updateName(bad)
      s.recordException(bad, bad)
      s.end(bad)
      trace
        .getTracer(bad as any)
        .startSpan('x', { links: bad as any, attributes: bad as any, kind: bad as any })
        .end()
      assert.equal(
        (trace.getTracer('x') as any).startActiveSpan('x', bad, () => 1),
        1,
      )
    }
  })
})
