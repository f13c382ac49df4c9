import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { readFile } from 'node:fs'
import { promisify } from 'node:util'
import {
  annotate,
  count,
  current,
  flush,
  ids,
  init,
  record,
  type Span,
  shutdown,
  span,
  stats,
  wrap,
} from '../../../src'
import { createNamespace } from '../../../src/cls/namespaces'
import { frameWith, Kind, parseTraceparent, runInFrame, startServerSpan, startSpan } from '../../../src/plugin'
import { clock } from '../../../src/process/genuine'
import { ScribePeer } from '../../helpers/scribe-peer'
import { until } from '../../helpers/until'

describe('span', () => {
  let peer: ScribePeer

  beforeEach(async () => {
    peer = await ScribePeer.listen()
    init({ scribe: peer.address, service: 'test', host: 'here', sampler: 'always' })
  })

  afterEach(async () => {
    await shutdown()
    await peer.close()
  })

  async function sent() {
    assert.equal(await flush(20_000), true)
    return peer.spans
  }

  it('takes a plugin’s own annotations and counters as they are, and none after its end', async () => {
    const s = startSpan(Kind.CLIENT, 'call')
    s.adopt(['a', '1'], ['n', 1])
    s.annotate('b', 2).count('n')
    s.adopt(['c', '3'], ['m', 4])
    s.end()
    s.adopt(['d', '5'], ['o', 6])
    s.end()
    const [{ annotations, counters }, ...others] = (await sent()) as [any]
    assert.deepEqual(
      [[...annotations], [...counters], others],
      [
        [
          ['a', '1'],
          ['b', '2'],
          ['c', '3'],
        ],
        [
          ['n', 2n],
          ['m', 4n],
        ],
        [],
      ],
    )
  })

  it('reports a local span with its name, host, service, ids, times and probability', async () => {
    const before = BigInt(Date.now()) * 1000n
    span('work', () => {})
    const [s] = await sent()
    assert.equal(s!.name, 'work')
    assert.equal(s!.clientHost, 'here')
    assert.equal(s!.service, 'test')
    assert.equal(s!.parentId, 0n)
    assert.ok(s!.id! > 0n && s!.traceId! > 0n)
    assert.equal(s!.probability, 1)
    assert.deepEqual(
      s!.events!.map(e => [e.eventType, e.value]),
      [
        [5, 'milo.start'],
        [5, 'milo.end'],
      ],
    )
    const [start, end] = s!.events!.map(e => e.timestamp!)
    assert.ok(start! >= before - 2000n && start! <= end! && end! <= BigInt(Date.now() + 2) * 1000n)
  })

  it('nests: a span within a span is its child, in the same trace, across promises and timers', async () => {
    await span('outer', async () => {
      await new Promise(resolve => setTimeout(resolve, 1))
      span('inner', () => {})
    })
    const spans = await sent()
    const inner = spans.find(s => s.name === 'inner')!
    const outer = spans.find(s => s.name === 'outer')!
    assert.equal(inner.parentId, outer.id)
    assert.equal(inner.traceId, outer.traceId)
  })

  it('returns what the function returns: the same value, the same promise, the same error', async () => {
    const value = {}
    assert.equal(
      span('x', () => value),
      value,
    )
    const promise = Promise.resolve(1)
    assert.equal(
      span('x', () => promise),
      promise,
    )
    const error = new Error('mine')
    assert.throws(
      () =>
        span('x', () => {
          throw error
        }),
      e => e === error,
    )
    const rejected = Promise.reject(error)
    assert.equal(
      span('x', () => rejected),
      rejected,
    )
    await assert.rejects(rejected, e => e === error)
    const spans = await sent()
    const errors = spans.map(s => s.annotations?.get('error.type'))
    assert.deepEqual(errors.sort(), ['Error', 'Error', undefined, undefined])
  })

  it('has the kind of what was thrown, and not its text, as the type of an error', async () => {
    const text = 'user 123 not found'
    for (const thrown of [text, '', 42, { code: 'E1' }]) {
      assert.throws(() =>
        span('throws', () => {
          throw thrown
        }),
      )
      await assert.rejects(span('rejects', () => Promise.reject(thrown)))
      span('fails').fail(thrown).end()
    }
    const spans = await sent()
    assert.deepEqual(
      spans.map(s => ['error.type', 'error.message'].map(key => s.annotations!.get(key))),
      [
        ...Array(3).fill(['string', text]),
        ...Array(3).fill(['string', undefined]),
        ...Array(3).fill(['number', undefined]),
        ...Array(3).fill(['object', undefined]),
      ],
    )
  })

  it('carries annotations, events and counters, from the API and from the span itself', async () => {
    span('x', s => {
      annotate('user', 'Zoë')
      annotate('user', 'Ann')
      annotate('n', 42)
      s.annotate('ok', true)
      record('cache miss')
      count('rows')
      count('rows', 4)
      assert.equal(current(), s)
    })
    const [s] = await sent()
    assert.deepEqual(
      s!.annotations,
      new Map([
        ['user', 'Ann'],
        ['n', '42'],
        ['ok', 'true'],
      ]),
    )
    assert.deepEqual(s!.counters, new Map([['rows', 5n]]))
    assert.equal(s!.events![1]!.value, 'cache miss')
  })

  it('is safe with anything as a key or a value', async () => {
    const evil = {
      toString() {
        throw new Error('no')
      },
    }
    span('x', s => {
      for (const value of [evil, Symbol('s'), null, undefined, Number.NaN, {}, [], () => {}, 10n] as any[]) {
        s.annotate('k', value).annotate(value, 'v').record(value).count(value, 1).count('c', value)
      }
      s.fail(evil)
        .fail(null)
        .fail(Object.create(Error.prototype, { name: { get: () => evil.toString() } }))
    })
    const [s] = await sent()
    assert.equal(s!.annotations!.get('error.type'), 'unreadable')
    const hostile = new Proxy({}, { get: () => evil.toString() })
    for (const options of [hostile, evil, null, 5, Symbol('s'), 'x'] as any[]) {
      assert.equal(
        span('x', options, () => 1),
        1,
      )
      const s: Span = span('x', options)
      s.end()
    }
  })

  it('cuts what is too long and leaves out what is too much, and counts it', async () => {
    const before = stats().truncated
    span('x', s => {
      s.annotate('long', 'y'.repeat(10_000))
      for (let i = 0; i < 1000; i++) s.annotate(`k${i}`, i).record('e').count(`c${i}`)
    })
    const [s] = await sent()
    assert.equal(s!.annotations!.get('long')!.length, 4096)
    assert.equal(s!.annotations!.size, 128)
    assert.equal(s!.events!.length, 2 + 256)
    assert.equal(s!.counters!.size, 128)
    assert.equal(stats().truncated - before, 1 + (1000 - 127) + (1000 - 256) + (1000 - 128))
  })

  it('says how it ended, however full an application has made it', async () => {
    span('full', s => {
      for (let i = 0; i < 128; i++) s.annotate(`k${i}`, i)
      s.fail(new TypeError('bad'))
        .annotate('http.response.status_code', 503)
        .annotate('http.route', '/a')
        .annotate('other', 1)
      // That has a limit too.
      for (let i = 0; i < 100; i++) s.annotate(`error.${i}`, i)
    })
    span('overfull', s => {
      for (let i = 0; i < 128; i++) s.annotate(`k${i}`, i)
      for (let i = 0; i < 100; i++) s.annotate(`http.request.header.${i}`, i).annotate(`milo.${i}`, i)
      s.annotate('http.response.status_code', 502).annotate('http.response.status_code', 503).fail(new TypeError('bad'))
    })
    const [{ annotations } = assert.fail(), overfull = assert.fail()] = await sent()
    const said = ['error.type', 'error.message', 'http.response.status_code', 'http.route', 'other']
    assert.deepEqual(
      said.map(key => annotations!.get(key)),
      ['TypeError', 'bad', '503', '/a', undefined],
    )
    assert.equal(annotations!.size, 128 + 16)
    assert.deepEqual(
      said.map(key => overfull.annotations!.get(key)),
      ['TypeError', 'bad', '503', undefined, undefined],
    )
    assert.equal(overfull.annotations!.size, 128 + 16 + 3)
  })

  it('keeps its durations when the wall clock is set back, which the traces that begin a second later tell', async () => {
    const { wallMs } = clock
    const before: Span = span('before')
    const during: Span = span('during')
    try {
      clock.wallMs = () => wallMs() - 3_600_000
      during.record('set back')
      during.end()
      const later = await until('a new trace has the new time', () => {
        const s: Span = span('later')
        s.end()
        return s.startUs < before.startUs - 3_590_000_000 ? s : undefined
      })
      before.end()
      assert.ok(later.startUs > before.startUs - 3_610_000_000 && later.endUs >= later.startUs)
    } finally {
      clock.wallMs = wallMs
    }
    assert.ok(before.endUs >= before.startUs && during.endUs >= during.startUs)
    await sent()
    for (const { events } of peer.spans) {
      const times = events!.map(event => event.timestamp!)
      assert.deepEqual(
        times,
        [...times].sort((a, b) => Number(a - b)),
      )
    }
  })

  it('gives a span to end by hand, which ends once and then changes no more', async () => {
    const s = span('by hand')
    s.annotate('a', 1)
    s.end()
    s.annotate('b', 2)
    s.end()
    assert.equal((await sent()).length, 1)
    assert.deepEqual(peer.spans[0]!.annotations, new Map([['a', '1']]))
    assert.match(s.traceId, /^[0-9a-f]{16}$/)
  })

  it('does not keep a huge text in memory for what is left of it, and sends a cut pair of surrogates as U+FFFD', async () => {
    const huge = 'é'.repeat(4095) + '\u{1f600}'.repeat(50_000)
    const before = stats().truncated
    span(huge, s => s.annotate('k', huge).annotate(huge, 'v').record(huge).count(huge).fail(new Error(huge)))
    const [s] = await sent()
    assert.equal(s!.name, 'é'.repeat(256))
    assert.equal(s!.annotations!.get('k'), 'é'.repeat(4095) + '\ufffd')
    assert.equal(s!.annotations!.get('é'.repeat(256)), 'v')
    assert.equal(stats().truncated - before, 6)
  })

  it('takes anything as a name, and says what it was', async () => {
    const names: any[] = [Symbol('s'), 42, null, undefined, Object.create(null)]
    for (const name of names)
      assert.equal(
        span(name, s => s.sampled),
        true,
      )
    assert.deepEqual(
      (await sent()).map(s => s.name),
      ['Symbol(s)', '42', 'null', 'undefined', 'something that has no text'],
    )
  })

  it('keeps a span that never ends to itself', async () => {
    span('never')
    span('done never called', (_span, _done) => {})
    span('ended', () => {})
    assert.deepEqual(
      (await sent()).map(s => s.name),
      ['ended'],
    )
    assert.equal(stats().ended, 1)
  })

  it('ends when the application asks a lazy thenable for its outcome, and starts none', async () => {
    let queries = 0
    const query = {
      // As a query builder: sends when it is awaited.
      // biome-ignore lint/suspicious/noThenProperty: a thenable is what is tested
      then(fulfilled: (rows: number) => void) {
        queries++
        setImmediate(fulfilled, queries)
      },
    }
    const own = Object.getOwnPropertyDescriptor(query, 'then')
    assert.equal(
      span('query', () => query as any),
      query,
    )
    assert.equal(queries, 0)
    assert.equal(await query, 1)
    assert.equal(queries, 1)
    assert.deepEqual(Object.getOwnPropertyDescriptor(query, 'then'), own)
    // biome-ignore lint/suspicious/noThenProperty: a thenable is what is tested
    const failing = { then: (_: unknown, rejected: (error: Error) => void) => rejected(new RangeError('no')) }
    await assert.rejects(async () => await span('failing', () => failing as any), RangeError)
    assert.deepEqual(
      (await sent()).map(s => [s.name, s.annotations?.get('error.type')]),
      [
        ['query', undefined],
        ['failing', 'RangeError'],
      ],
    )
  })

  it('ends at once with an emitter whose then is there to complain, as mysql2’s queries have', async () => {
    const query = Object.assign(new EventEmitter(), {
      // biome-ignore lint/suspicious/noThenProperty: a thenable is what is tested
      then() {
        throw new Error('never call me')
      },
    })
    assert.equal(
      span('query', () => query as any),
      query,
    )
    assert.equal((await sent()).length, 1)
  })

  it('survives results that throw when looked at, and frozen ones', async () => {
    const evil = {
      // biome-ignore lint/suspicious/noThenProperty: a thenable is what is tested
      get then() {
        throw new Error('mine')
      },
    }
    // biome-ignore lint/suspicious/noThenProperty: a thenable is what is tested
    const frozen = Object.freeze({ then: (fulfilled: (value: number) => void) => fulfilled(7) })
    assert.equal(
      span('evil', () => evil),
      evil,
    )
    assert.equal(await span('frozen', () => frozen), 7)
    assert.equal((await sent()).length, 2)
  })

  describe('with a callback', () => {
    it('ends when done is called, and calls the callback outside of it with the same arguments', async () => {
      const text = await new Promise((resolve, reject) => {
        span('outer', outer => {
          const result = span(
            'read',
            (inner, done) => {
              assert.equal(current(), inner)
              readFile(__filename, 'utf8', done)
              return 'returned'
            },
            (error, data) => {
              assert.equal(current(), outer)
              if (error) reject(error)
              else resolve(data)
            },
          )
          assert.equal(result, 'returned')
        })
      })
      assert.match(String(text), /ends when done is called/)
      const spans = await sent()
      assert.deepEqual(spans.map(s => s.name).sort(), ['outer', 'read'])
      assert.equal(spans.find(s => s.name === 'read')!.annotations, undefined)
    })

    it('knows by two declared parameters that done will be called, and notes an error as its first argument', async () => {
      await new Promise<void>(resolve => {
        span('read', (_span, done) => {
          readFile('/does/not/exist', error => {
            done(error)
            resolve()
          })
        })
      })
      const [s] = await sent()
      assert.equal(s!.annotations!.get('error.type'), 'Error')
      assert.match(s!.annotations!.get('error.message')!, /ENOENT/)
    })

    it('keeps this, the result and further calls of the callback; a result that comes first is no error', async () => {
      const seen: unknown[] = []
      const self = {}
      let done: any
      span(
        'x',
        (_span, given) => {
          done = given
        },
        function (this: unknown, ...args) {
          seen.push(this, args)
          return 'back'
        },
      )
      assert.equal(done.call(self, { statusCode: 200 }), 'back')
      assert.equal(done.call(self, 2), 'back')
      assert.deepEqual(seen, [self, [{ statusCode: 200 }], self, [2]])
      const spans = await sent()
      assert.deepEqual([spans.length, spans[0]!.annotations], [1, undefined])
    })

    it('ends when the function throws or its promise rejects, and not when that resolves', async () => {
      const error = new TypeError('mine')
      assert.throws(
        () =>
          span('throws', (_span, _done) => {
            throw error
          }),
        e => e === error,
      )
      await assert.rejects(
        span('rejects', async (_span, _done) => {
          throw error
        }),
        e => e === error,
      )
      await span('resolves', async (_span, _done) => {})
      assert.deepEqual(
        (await sent()).map(s => [s.name, s.annotations!.get('error.type')]),
        [
          ['throws', 'TypeError'],
          ['rejects', 'TypeError'],
        ],
      )
    })

    it('calls the callback in every case: off, and in a trace that isn’t sampled', () => {
      for (const options of [{ enabled: false }, { sampler: 'never' }]) {
        init({ scribe: peer.address, ...options })
        const seen: unknown[] = []
        span('outer', () =>
          span(
            'x',
            (_span, done) => done(null, 1),
            (...args) => seen.push(...args),
          ),
        )
        assert.deepEqual(seen, [null, 1])
      }
    })

    it('leaves a namespace’s context to the callback', () => {
      const namespace = createNamespace('callback')
      namespace.run(() => {
        namespace.set('user', 'ann')
        span(
          'x',
          (_span, done) => {
            namespace.run(() => {
              namespace.set('user', 'bob')
              done()
            })
          },
          () => assert.equal(namespace.get('user'), 'ann'),
        )
      })
    })
  })

  describe('wrap', () => {
    it('runs a function in a span each time, with the same length, name, properties, this, arguments and result', async () => {
      function add(this: { base: number }, a: number, b: number) {
        return this.base + a + b
      }
      add.note = 'mine'
      const wrapped = wrap(add, 'sum')
      assert.deepEqual([wrapped.length, wrapped.name, wrapped.note], [2, 'add', 'mine'])
      assert.equal(wrapped.call({ base: 1 }, 2, 3), 6)
      assert.equal(wrapped.call({ base: 2 }, 2, 3), 7)
      assert.deepEqual(
        (await sent()).map(s => s.name),
        ['sum', 'sum'],
      )
    })

    it('keeps an async function one, with its promise, its error and its span’s time', async () => {
      const promise = Promise.resolve(1)
      const same = wrap(function give() {
        return promise
      })
      assert.equal(same(), promise)
      const failing = wrap(async () => {
        await null
        throw new RangeError('no')
      }, 'failing')
      assert.equal(Object.prototype.toString.call(failing), '[object AsyncFunction]')
      await assert.rejects(failing(), RangeError)
      assert.deepEqual(
        (await sent()).map(s => [s.name, s.annotations?.get('error.type')]),
        [
          ['give', undefined],
          ['failing', 'RangeError'],
        ],
      )
    })

    it('gives back as they are generators and what is no function', () => {
      function* generate() {}
      async function* generateLater() {}
      for (const one of [generate, generateLater, null, undefined, 'text'] as any[]) assert.equal(wrap(one, 'x'), one)
    })

    it('constructs, and keeps what promisify looks for', async () => {
      class Point {
        static origin = 0
        x: number
        constructor(x: number) {
          this.x = x
        }
      }
      const Wrapped: any = wrap(Point as any, 'new Point')
      assert.deepEqual([new Wrapped(3).x, Wrapped.origin, new Wrapped(1) instanceof Point], [3, 0, true])
      class Further extends Wrapped {}
      assert.ok(new (Further as any)(1) instanceof Further)
      assert.throws(() => Wrapped(1), TypeError)
      assert.equal(await promisify(wrap(setTimeout) as any)(1, 'later'), 'later')
      assert.equal((await sent()).filter(s => s.name === 'new Point').length, 4)
    })

    it('keeps what decorators have said of a function, and what it looks like', () => {
      // The part of reflect-metadata that decorators use: it keeps its data by function, in a WeakMap.
      const metadata = new WeakMap<object, Map<unknown, unknown>>()
      const reflect = Reflect as any
      reflect.getOwnMetadataKeys = (target: object) => [...(metadata.get(target)?.keys() ?? [])]
      reflect.getOwnMetadata = (key: unknown, target: object) => metadata.get(target)?.get(key)
      reflect.defineMetadata = (key: unknown, value: unknown, target: object) =>
        metadata.set(target, (metadata.get(target) ?? new Map()).set(key, value))
      try {
        class Orders {
          static #count = 1
          static total() {
            return Orders.#count
          }
          list(first: number, last: number) {
            return [first, last]
          }
        }
        const { list } = Orders.prototype
        const key = Symbol('path')
        reflect.defineMetadata('path', '/orders', list)
        reflect.defineMetadata(key, 1, list)
        const wrapped = wrap(list)
        assert.deepEqual(
          ['path', key].map(one => reflect.getOwnMetadata(one, wrapped)),
          ['/orders', 1],
        )
        assert.equal(wrapped.toString(), list.toString())
        // A method is no constructor, and has no prototype.
        assert.deepEqual(Object.keys(Object.getOwnPropertyDescriptors(wrapped)), ['length', 'name', 'toString'])
        assert.throws(() => new (wrapped as any)(1, 2), TypeError)
        const Wrapped: any = wrap(Orders as any)
        assert.deepEqual([Wrapped.total(), /^class/.test(`${Wrapped}`)], [1, true])
      } finally {
        for (const name of ['getOwnMetadataKeys', 'getOwnMetadata', 'defineMetadata']) delete reflect[name]
      }
    })

    it('wraps what is bound, frozen, a Proxy, or has a name that is none', () => {
      class Point {
        constructor(readonly x: number) {}
      }
      const Bound: any = wrap(Point.bind(null, 3) as any)
      assert.deepEqual([new Bound().x, new Bound() instanceof Point], [3, true])
      const frozen = wrap(
        Object.freeze(function one() {
          return 1
        }),
      )
      assert.deepEqual([frozen(), frozen.name], [1, 'one'])
      const trap = () => {
        throw new Error('trap')
      }
      const traps = Object.fromEntries(Object.getOwnPropertyNames(Reflect).map(name => [name, trap]))
      const proxy = new Proxy(() => 2, { ...traps, apply: () => 2 })
      assert.equal(wrap(proxy)(), 2)
      const named = Object.defineProperty(() => 3, 'name', { get: trap })
      assert.equal(wrap(named)(), 3)
    })
  })

  describe('ids', () => {
    it('are those of the current span, for a log line', () => {
      assert.equal(ids(), undefined)
      span('x', s => assert.deepEqual(ids(), { traceId: s.traceId, spanId: s.spanId, sampled: true }))
    })

    it('are none in a trace that began here and isn’t kept: nobody knows it', () => {
      init({ scribe: peer.address, sampler: 'never' })
      span('x', () => assert.equal(ids(), undefined))
    })

    it('are the caller’s in a trace that the caller didn’t keep', () => {
      const remote = parseTraceparent('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00', undefined)
      runInFrame(frameWith(startServerSpan('x', remote)), () =>
        assert.deepEqual(ids(), {
          traceId: '0af7651916cd43dd8448eb211c80319c',
          spanId: 'b7ad6b7169203331',
          sampled: false,
        }),
      )
    })
  })

  it('always has a current span: one that does nothing where there is none', () => {
    const none = current()
    assert.equal(none.sampled, false)
    assert.equal(none.traceId, '0000000000000000')
    none.annotate('a', 'b').record('c').count('d').end()
    annotate('a', 'b')
    assert.equal(stats().ended, 0)
  })

  it('inherits the decision not to sample, without asking the sampler again', async () => {
    let asked = 0
    init({
      scribe: peer.address,
      sampler: {
        sample: () => {
          asked++
          return -1
        },
      },
    })
    span('outer', () => span('inner', s => assert.equal(s.sampled, false)))
    assert.equal(asked, 1)
    assert.deepEqual([stats().ended, stats().tracesNotKept >= 1], [0, true])
  })

  it('keeps running when the sampler throws: the trace isn’t kept', () => {
    init({
      scribe: peer.address,
      logLevel: 'silent',
      sampler: {
        sample: () => {
          throw new Error('broken')
        },
      },
    })
    assert.equal(
      span('x', s => s.sampled),
      false,
    )
  })

  it('records nothing when it is off', () => {
    init({ enabled: false })
    assert.equal(
      span('x', s => s.sampled),
      false,
    )
    assert.equal(stats().ended, 0)
  })
})
