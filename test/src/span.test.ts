import assert from 'node:assert/strict'
import { annotate, count, current, flush, init, record, shutdown, span, stats } from '../../src/index'
import { ScribePeer } from '../helpers/scribe-peer'

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
    assert.equal(await flush(5000), true)
    return peer.spans
  }

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
