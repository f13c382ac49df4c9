import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { annotate, current, flush, ids, init, keep, type Span, shutdown, span, stats } from '../../../src'
import type { SpanRecord } from '../../../src/codec/span'
import { frameWith, Kind, parseB3, parseTraceparent, runInFrame, startServerSpan, startSpan } from '../../../src/plugin'
import { clock } from '../../../src/process/genuine'
import * as testing from '../../../src/testing'
import { entry, type Poll, ScribePeer } from '../../helpers/scribe-peer'
import { until } from '../../helpers/until'
import { freePort } from '../../servers/process'

const genuineNow = clock.now

describe('retroactive sampling', () => {
  let peer: ScribePeer

  const start = (more: object = {}) =>
    init({
      scribe: peer.address,
      service: 'test',
      host: 'here',
      sampler: 'never',
      logLevel: 'silent',
      retroactive: true,
      ...more,
    })

  beforeEach(async () => {
    peer = await ScribePeer.listen()
  })

  afterEach(async () => {
    clock.now = genuineNow
    await shutdown(0)
    await peer.close()
  })

  async function sent(): Promise<SpanRecord[]> {
    assert.equal(await flush(20_000), true)
    return peer.spans
  }

  const names = (spans: SpanRecord[]) => spans.map(({ name }) => name).sort()
  const reasons = (spans: SpanRecord[]) => spans.map(({ annotations }) => annotations?.get('milo.keep'))

  /** A trace of three spans. @param fails the innermost one fails, and nobody else */
  function trace(name: string, fails = false): { traceId: string } {
    return span(name, root => {
      span('middle', () => {
        span('inner', inner => {
          if (fails) inner.fail(new TypeError('no such thing'))
        })
      })
      return { traceId: root.traceId }
    })
  }

  it('records what isn’t sampled, with ids and annotations, and sends nothing of it', async () => {
    start()
    span('work', work => {
      assert.deepEqual([work.sampled, work.recording], [false, true])
      annotate('key', 'value')
      assert.deepEqual(ids(), { traceId: work.traceId, spanId: work.spanId, sampled: false })
      span('below', below => {
        assert.equal(below.traceId, work.traceId)
        assert.equal(below.parentId, work.spanId)
      })
    })
    assert.deepEqual(await sent(), [])
    const { retroactive, ended, tracesNotKept } = stats()
    assert.equal(retroactive!.spans, 2)
    assert.ok(retroactive!.bytes > 0 && retroactive!.seconds >= 0)
    assert.deepEqual([retroactive!.kept, ended, tracesNotKept >= 1], [{}, 0, true])
  })

  it('doesn’t exist without the option', async () => {
    start({ retroactive: false })
    span('work', work => {
      assert.deepEqual([work.sampled, work.recording, keep('why')], [false, false, false])
      work.fail(new Error('bad'))
    })
    assert.deepEqual(await sent(), [])
    assert.equal(stats().retroactive, undefined)
  })

  it('sends the whole trace when one of its spans has failed: what was before, that span, and what ends later', async () => {
    start()
    trace('fine')
    const { traceId } = trace('failing', true)
    const spans = await sent()
    assert.deepEqual(names(spans), ['failing', 'inner', 'middle'])
    for (const one of spans) {
      assert.equal(one.traceId!.toString(16).padStart(16, '0'), traceId)
      assert.equal(one.probability, 0)
      assert.equal(one.annotations!.get('milo.keep'), 'error')
    }
    const [began, ...others] = spans.flatMap(({ annotations }) => annotations!.get('milo.history') ?? [])
    assert.deepEqual(others, [])
    assert.ok(Number(began) > 1e15 && Number(began) <= Date.now() * 1000)
    assert.deepEqual(stats().retroactive!.kept, { error: 1 })
  })

  it('collects what ended before the symptom, once', async () => {
    start()
    span('root', root => {
      for (let i = 0; i < 3; i++) span(`before ${i}`, () => {})
      root.fail('late')
    })
    assert.deepEqual(names(await sent()), ['before 0', 'before 1', 'before 2', 'root'])
    assert.equal(await flush(), true)
    assert.equal(peer.spans.length, 4)
  })

  it('keeps what annotates error.type or error as well, which plugins and OpenTelemetry’s API do', async () => {
    start()
    span('one', one => void one.annotate('error.type', '503'))
    span('two', two => void two.annotate('error', true))
    assert.deepEqual(names(await sent()), ['one', 'two'])
  })

  it('sends of a span what would be sent if it were sampled, in the same order, whatever lists it shares', async () => {
    const operation = ['rpc.system', 'thrift', 'rpc.method', 'get']
    const remote = ['network.peer.address', 'éa', 'network.peer.port', '9090']
    const trace = (fails: boolean) => {
      const root = startSpan(Kind.SERVER, 'root')
      for (let i = 0; i < 5; i++) {
        const one = runInFrame(frameWith(root), startSpan, Kind.CLIENT, 'one')
        if (i === 1) one.annotate('before', 1)
        if (i < 4) one.share(operation, i === 2 ? undefined : remote)
        if (i === 0) one.annotate('own', 2)
        if (i === 3) one.annotate('rpc.method', 'put').annotate('own', true).annotate('network.peer.port', 1)
        one.adopt(['thrift.result', 'ok'], ['n', 1, 'm', 2 ** 40])
        one.end()
        one.share(remote)
      }
      root.share(operation, remote)
      if (fails) root.fail('late')
      root.end()
    }
    const told = (spans: SpanRecord[]) =>
      spans
        .toSorted((a, b) => (a.name! < b.name! ? -1 : a.name === b.name ? 0 : 1))
        .map(({ name, annotations, counters }) => [
          name,
          [...annotations!].filter(([key]) => !key.startsWith('milo.')),
          [...(counters ?? [])],
        ])
    start({ sampler: 'always' })
    trace(true)
    const sampled = told(await sent())
    start()
    trace(false)
    trace(true)
    assert.equal(sampled.length, 6)
    assert.deepEqual(told((await sent()).slice(6)), sampled)
    assert.deepEqual([operation.length, remote.length], [4, 4])
  })

  it('keeps a server’s request that takes longer than 99 % of its kind, and no local work for that', async () => {
    let now = genuineNow()
    clock.now = () => now
    start({ retroactive: { triggers: 'slow' } })
    const request = (name: string, ms: number) => {
      const server = startServerSpan(name, undefined)
      runInFrame(frameWith(server), () => span('local', () => {}))
      now += ms
      server.end()
    }
    for (let i = 0; i < 200; i++) request('GET /', 1 + (i % 3))
    request('GET /', 50)
    request('GET /other', 50)
    const spans = await sent()
    assert.deepEqual(names(spans), ['GET /', 'local'])
    assert.deepEqual(reasons(spans), ['slow', 'slow'])
    assert.deepEqual(stats().retroactive!.kept, { slow: 1 })
  })

  it('knows what is slow in a busy operation, however many other names there are', async () => {
    let now = genuineNow()
    clock.now = () => now
    start({ retroactive: { triggers: 'slow' } })
    const request = (name: string, ms: number) => {
      const server = startServerSpan(name, undefined)
      now += ms
      server.end()
    }
    for (let i = 0; i < 3_000; i++) {
      request(`job ${i}`, 1)
      if (i % 15 === 0) request('busy', 1)
    }
    request('busy', 50)
    assert.deepEqual(names(await sent()), ['busy'])
  })

  it('keeps the trace of a span that an application has filled before it failed', async () => {
    start()
    span('full', full => {
      for (let i = 0; i < 200; i++) full.annotate(`key ${i}`, i)
      full.fail(new TypeError('bad'))
    })
    const [full] = await sent()
    assert.deepEqual(
      [full!.annotations!.get('error.type'), full!.annotations!.get('milo.keep')],
      ['TypeError', 'error'],
    )
  })

  it('has triggers that can be left out', async () => {
    start({ retroactive: { triggers: 'none' } })
    trace('failing', true)
    assert.deepEqual(await sent(), [])
  })

  it('keeps the current trace when the application says so, with its word', async () => {
    start()
    span('checkout', () => {
      span('pay', () => {})
      assert.equal(keep('big order'), true)
      assert.equal(keep('again'), true)
    })
    assert.equal(keep('nothing is current'), false)
    const spans = await sent()
    assert.deepEqual(names(spans), ['checkout', 'pay'])
    // Of two words in one span, the last one stays, as in a trace that is sampled.
    assert.deepEqual(reasons(spans), ['again', 'again'])
  })

  /** What each span says it was kept for, and whether it is itself the one for which the trace is kept, by its name at the end. */
  const told = (spans: SpanRecord[]) =>
    spans
      .map(({ name, id, annotations }) => {
        const cause = annotations!.get('milo.keep_span')
        const isCause = cause === `${id!.toString(16).padStart(16, '0')} ${name}`
        return `${name} ${annotations!.get('milo.keep')}${isCause ? ' itself' : ''}`
      })
      .sort()
  const failing = () => span('inner', inner => void inner.fail('bad'))

  it('keeps each word in a trace that is kept already: of an error, of another word, or asked for', async () => {
    const polls: Poll[] = []
    peer.keeps = poll => polls.push(poll)
    start()
    span('after an error', () => {
      failing()
      assert.equal(keep('refund'), true)
    })
    span('before an error', () => {
      assert.equal(keep('early'), true)
      failing()
    })
    span('twice', root => {
      span('child', () => keep('first'))
      keep('second')
      assert.equal(keep('third'), true)
      root.name = 'thrice'
    })
    let end = () => {}
    const asked = span('asked', (root, done) => {
      end = () => {
        assert.equal(keep('late'), true)
        done()
      }
      end = runInFrame.bind(undefined, frameWith(root as never), end) as () => void
      span('early', () => {})
      return root.traceId
    })
    const poll = await until('it asks', () => polls.shift())
    poll.answer(1n, entry(0, BigInt(`0x${asked}`)))
    await until('the trace is kept', async () => (await sent()).some(({ name }) => name === 'early'))
    end()
    assert.deepEqual(told(await sent()), [
      'after an error refund itself',
      'asked late itself',
      'before an error early itself',
      'child first itself',
      'early asked',
      'inner error itself',
      'inner error itself',
      'thrice third itself',
    ])
    const { kept, asked: n } = stats().retroactive!
    assert.deepEqual([kept, n], [{ error: 2, refund: 1, early: 1, first: 1, third: 1, late: 1 }, 1])
  })

  it('says of a trace that is kept for the sake of another what is wrong with itself, and keeps the traces before it', async () => {
    start({ retroactive: { lateral: 1, triggers: 'error' } })
    const late: Span[] = []
    const open = (name: string) =>
      span(name, root => {
        late.push(startSpan(Kind.LOCAL, 'inner'))
        return root.traceId
      })
    trace('this')
    open('this')
    span('this', root => void root.fail('bad'))
    await sent()
    late[0]!.fail('bad').end()
    const spans = await sent()
    assert.deepEqual(told(spans), [
      'inner error itself',
      'inner lateral',
      'middle lateral',
      'this error itself',
      'this lateral itself',
      'this lateral itself',
    ])
    assert.deepEqual(stats().retroactive!.kept, { error: 2, lateral: 2 })
  })

  it('takes any word: cut to 64 characters, and not the collector’s own', async () => {
    start()
    for (const word of ['x'.repeat(100), 'asked', '', undefined, { toString: () => assert.fail() }] as string[])
      span('work', () => keep(word))
    const words = reasons(await sent()).sort()
    assert.equal(words.length, 5)
    assert.deepEqual(words.slice(0, 3), ['application', 'application', 'application'])
    assert.equal(words[4], 'x'.repeat(64))
  })

  it('marks a trace that is sampled anyway, and leaves its probability', async () => {
    start({ sampler: 'always' })
    span('work', () => assert.equal(keep('why'), true))
    const [work] = await sent()
    assert.deepEqual([work!.probability, work!.annotations!.get('milo.keep')], [1, 'why'])
    assert.deepEqual(stats().retroactive!.kept, {})
  })

  it('accepts no word that nothing can say any more: the span has ended, and its trace is sampled', async () => {
    start({ sampler: 'always' })
    const ended = span('work', root => root)
    assert.equal(runInFrame(frameWith(ended as never), keep, 'late'), false)
    assert.deepEqual(reasons(await sent()), [undefined])
  })

  it('keeps the traces before of the same operation as well, if that is wanted', async () => {
    start({ retroactive: { lateral: 2 } })
    for (const name of ['a', 'b', 'a', 'a', 'a']) trace(name)
    span('a', a => void a.fail('bad'))
    const spans = await sent()
    assert.deepEqual(
      spans.map(s => `${s.name} ${s.annotations!.get('milo.keep')}`).sort(),
      ['a error', ...['a', 'a', 'inner', 'inner', 'middle', 'middle'].map(name => `${name} lateral`)].sort(),
    )
    assert.deepEqual(stats().retroactive!.kept, { error: 1, lateral: 2 })
  })

  it('says for which span it keeps a trace: at that one, and at the first that is sent', async () => {
    start({ retroactive: { lateral: 1 } })
    const causes = (spans: SpanRecord[]) => {
      const told = spans.flatMap(({ annotations }) => annotations!.get('milo.keep_span') ?? [])
      const [cause, ...others] = new Set(told)
      assert.deepEqual(others, [])
      const span = spans.find(({ id }) => cause === `${id!.toString(16).padStart(16, '0')} ${cause!.slice(17)}`)
      assert.deepEqual(span!.annotations!.get('milo.keep_span'), cause)
      const first = spans.find(({ annotations }) => annotations!.has('milo.history'))
      assert.deepEqual(first!.annotations!.get('milo.keep_span'), cause)
      assert.ok(told.length <= 2)
      return cause!.slice(17)
    }
    span('checkout', root => {
      span('select', () => {})
      span('pay', () => keep('big order'))
      root.name = 'checkout, paid'
    })
    trace('failing')
    trace('failing', true)
    const spans = await sent()
    const caused = (reason: string) => causes(spans.filter(one => reasons([one])[0] === reason))
    assert.deepEqual(['big order', 'error', 'lateral'].map(caused), ['pay', 'inner', 'failing'])
  })

  for (const [what, symptom] of Object.entries<(root: Span, late: (() => void)[]) => unknown>({
    'it fails': root => root.fail('bad'),
    'something in it fails': () => span('inner', inner => void inner.fail('bad')),
    'the application says so': () => keep('why'),
    'the application says so further inside': () => span('inner', () => keep('why')),
    'the application says so, and then calls itself': ({ traceId, spanId }) => {
      keep('why')
      startServerSpan('other', parseTraceparent(`00-${traceId.padStart(32, '0')}-${spanId}-00`)).end()
    },
    'something fails once it has ended': (_, late) => {
      const inner = startSpan(Kind.LOCAL, 'inner')
      late.push(() => inner.fail('bad').end())
    },
  })) {
    it(`keeps the last traces of an operation when ${what}`, async () => {
      start({ retroactive: { lateral: 2, triggers: 'error' } })
      for (const name of ['other', 'this', 'this', 'this', 'other']) trace(name)
      // No trace of an operation of that name.
      span('root', () => span('this', () => {}))
      const late: (() => void)[] = []
      span('this', root => void symptom(root, late))
      for (const one of late) one()
      const lateral = (await sent()).filter(({ annotations }) => annotations!.get('milo.keep') === 'lateral')
      assert.deepEqual(names(lateral), ['inner', 'inner', 'middle', 'middle', 'this', 'this'])
    })
  }

  it('keeps the traces that ended before one that is kept later, and none of those that came after', async () => {
    start({ retroactive: { lateral: 2, triggers: 'error' } })
    const made = () => span('this', ({ traceId }) => traceId)
    const before = [made(), made(), made()]
    let late: Span | undefined
    span('this', () => {
      late = startSpan(Kind.LOCAL, 'inner')
    })
    made()
    made()
    late!.fail('bad').end()
    made()
    const lateral = (await sent()).filter(({ annotations }) => annotations!.get('milo.keep') === 'lateral')
    assert.deepEqual(
      new Set(lateral.map(({ traceId }) => traceId!.toString(16).padStart(16, '0'))),
      new Set(before.slice(1)),
    )
  })

  it('keeps ten traces of an operation at once at most, and then one a second: the rest is counted', async () => {
    let now = genuineNow()
    clock.now = () => now
    start()
    const fail = async (name: string, n: number) => {
      const before = stats().retroactive!.kept.error ?? 0
      for (let i = 0; i < n; i++) span(name, s => s.fail('bad').sampled)
      await flush()
      return stats().retroactive!.kept.error! - before
    }
    assert.equal(await fail('few', 5), 5)
    // The first five for certain, and then those with the highest ids.
    const many = await fail('many', 100)
    assert.ok(many >= 5 && many <= 10, `${many}`)
    assert.equal(stats().retroactive!.refused, 100 - many)
    now += 60_000
    const more = await fail('many', 100)
    assert.ok(more >= 5 && more <= 10, `${more}`)
  })

  it('sends no more bytes at once than its limit, whatever fails, in any script', async () => {
    const now = genuineNow()
    clock.now = () => now
    start({ maxBufferedBytes: 2 ** 29, maxBufferedSpans: 1_000_000 })
    for (let i = 0; i < 1_000; i++) {
      span(`failing ${i}`, s => {
        for (let j = 0; j < 10; j++) s.annotate(`key ${j}`, (i % 2 ? 'x' : '漢').repeat(4096))
        s.fail('bad')
      })
    }
    let bytes = 0
    for (const { annotations } of await sent())
      for (const text of annotations!.values()) bytes += Buffer.byteLength(text)
    assert.ok(bytes > 3 * 2 ** 20 && bytes <= 4 * 2 ** 20, `${bytes}`)
    assert.ok(stats().retroactive!.refused > 500)
  })

  it('accepts by `keep` what is refused once it is known how many bytes it has: all is either sent or counted', async () => {
    start({ retroactive: { triggers: 'none' } })
    const accepted: string[] = []
    for (let i = 0; i < 12; i++)
      span(`op ${i}`, ({ traceId }) => {
        for (let j = 0; j < 120; j++) span('part', part => void part.annotate('value', 'x'.repeat(4000)))
        if (keep('why')) accepted.push(traceId)
      })
    const whole = new Set((await sent()).map(({ traceId }) => traceId!.toString(16).padStart(16, '0')))
    const { kept, refused } = stats().retroactive!
    assert.equal(accepted.length, 12)
    assert.ok(refused > 0 && whole.size === kept.why, `${refused} ${whole.size}`)
    assert.equal(kept.why! + refused, 12)
  })

  it('counts a trace as refused once, however many of its spans fail', async () => {
    const now = genuineNow()
    clock.now = () => now
    start()
    for (let i = 0; i < 300; i++)
      span('root', root => {
        for (let j = 0; j < 5; j++) span('child', child => void child.fail('bad'))
        root.fail('bad')
      })
    await flush()
    const { kept, refused, partial } = stats().retroactive!
    // A root may be kept though none of its children was: they have tokens of their own.
    assert.ok(refused >= 300 - 20 && refused <= 300 - 5 && kept.error! + refused >= 300, `${kept.error} ${refused}`)
    assert.equal(partial, 0)
  })

  const value = 'x'.repeat(4096)
  /** A child of some 40 KiB, or of a few bytes. */
  const child = (name: string, isLarge: boolean) =>
    span(name, one => {
      for (let i = 0; isLarge && i < 10; i++) one.annotate(`key ${i}`, value)
    })

  it('sends of a trace with too many bytes what is nearest to the symptom, and says how much is left out', async () => {
    const now = genuineNow()
    clock.now = () => now
    start({ retroactive: { bytes: 2 ** 26 }, maxBufferedBytes: 2 ** 29 })
    span('root', () => {
      for (let i = 0; i < 200; i++) child(`child ${i}`, true)
      span('symptom', symptom => void symptom.fail('bad'))
    })
    const spans = await sent()
    const children = spans.flatMap(({ name }) => (name!.startsWith('child') ? Number(name!.slice(6)) : []))
    const n = children.length
    assert.ok(n * 41_000 > 3 * 2 ** 20 && n * 40_000 < 4 * 2 ** 20, `${n}`)
    assert.deepEqual(
      children,
      Array.from({ length: n }, (_, i) => 200 - n + i),
    )
    // Those that end later have bytes as well.
    assert.ok(spans.some(({ name }) => name === 'root') && spans.some(({ name }) => name === 'symptom'))
    const said = spans.flatMap(({ annotations }) => annotations!.get('milo.left_out') ?? [])
    assert.deepEqual(said, [String(200 - n)])
    const { kept, refused, partial, leftOut } = stats().retroactive!
    assert.deepEqual([kept, refused, partial, leftOut], [{ error: 1 }, 0, 1, 200 - n])
  })

  it('sends of a trace with too many spans for the buffer what is nearest to the symptom, and drops nothing', async () => {
    start({ maxBufferedSpans: 400 })
    span('root', root => {
      for (let i = 0; i < 1_000; i++) child(`child ${i}`, false)
      root.fail('bad')
    })
    const spans = await sent()
    assert.ok(spans.length > 300 && spans.length < 400, `${spans.length}`)
    assert.deepEqual(names(spans).slice(-2), ['child 999', 'root'])
    assert.equal(stats().dropped, 0)
    const { partial, leftOut } = stats().retroactive!
    assert.deepEqual([partial, leftOut], [1, 1_001 - spans.length])
  })

  it('has of a span that is too large for the history that it was there', async () => {
    start({ retroactive: { bytes: 65_536 } })
    span('root', root => {
      child('large', true)
      root.fail('bad')
    })
    const large = (await sent()).find(({ name }) => name === 'large')
    assert.ok(Number(large!.annotations!.get('milo.too_large')) > 40_000)
    assert.deepEqual([...large!.annotations!.keys()], ['milo.too_large', 'milo.keep', 'milo.keep_span', 'milo.history'])
    assert.equal(stats().retroactive!.tooLarge, 1)
  })

  it('sends of a span that is too large for the collector that it was there', async () => {
    start()
    span('root', root => {
      span('large', large => {
        for (let i = 0; i < 120; i++) large.annotate(`key ${i}`, '漢'.repeat(4096))
      })
      root.fail('bad')
    })
    const spans = await sent()
    assert.deepEqual(names(spans), ['large', 'root'])
    const { annotations } = spans.find(({ name }) => name === 'large')!
    assert.deepEqual(
      [...annotations!.keys()].sort(),
      ['milo.history', 'milo.keep', 'milo.keep_span', 'milo.too_large'].slice(-annotations!.size),
    )
    assert.ok(Number(annotations!.get('milo.too_large')) > 120 * 3 * 4096)
    assert.equal(stats().dropped, 0)
  })

  it('goes on with a caller’s trace that isn’t sampled, and begins one where the caller has no ids', async () => {
    start()
    const remote = parseTraceparent('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00')!
    const server = startServerSpan('GET /', remote)
    assert.deepEqual([server.sampled, server.recording], [false, true])
    assert.deepEqual([server.traceId, server.parentId], ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7'])
    runInFrame(frameWith(server), () => startSpan(Kind.CLIENT, 'call').fail('bad').end())
    server.end()
    assert.deepEqual(names(await sent()), ['GET /', 'call'])
    const rootless = startServerSpan('GET /', parseB3('0')!)
    assert.deepEqual([rootless.recording, rootless.parentId], [true, '0'.repeat(16)])
    assert.notEqual(rootless.traceId, '0'.repeat(16))
  })

  it('goes on across a new init: what was recorded is kept all the same, and a history of another size begins anew', async () => {
    start()
    const done: (() => void)[] = []
    const open = () =>
      span('root', (root, end) => {
        done.push(() => {
          root.fail('bad')
          end()
        })
        span('before', () => {})
      })
    open()
    start({ host: 'there' })
    done.pop()!()
    assert.deepEqual(names(await sent()), ['before', 'root'])
    open()
    start({ retroactive: { bytes: 2 ** 20 } })
    done.pop()!()
    assert.deepEqual(names((await sent()).slice(2)), ['root'])
    open()
    start({ retroactive: false })
    done.pop()!()
    assert.equal((await sent()).length, 3)
  })

  it('sends nothing of the history at the end', async () => {
    start()
    trace('fine')
    assert.equal(await shutdown(), true)
    assert.deepEqual(peer.spans, [])
  })

  describe('with a collector that says what to keep', () => {
    const polls: Poll[] = []
    const next = () => until('it asks', () => polls.shift())
    const id = (traceId: string) => BigInt(`0x${traceId.slice(-16)}`)

    beforeEach(() => {
      polls.length = 0
      peer.keeps = poll => polls.push(poll)
    })

    it('asks once something is recorded, and sends what it has of the traces that it is told, and what still ends of them', async () => {
      // What was recorded before may be asked for at once.
      start({ retroactive: false })
      start()
      assert.equal(stats().retroactive!.feed, 'off')
      trace('other')
      const done: (() => void)[] = []
      const { traceId } = span('wanted', (root, end) => {
        span('early', () => {})
        done.push(end)
        return { traceId: root.traceId }
      })
      const first = await next()
      assert.deepEqual([first.service, first.host, first.waitMs], ['test', 'here', 20_000])
      assert.ok(first.since > 10n ** 15n && first.historyUs > 10n ** 15n && first.process > 0n)
      assert.equal(first.madeUs, first.historyUs, 'nothing is overwritten yet')
      first.answer(77n, Buffer.concat([entry(9, 5n), entry(0, id(traceId)), entry(0, 12345n)]))
      const second = await next()
      assert.deepEqual([second.since, second.process], [77n, first.process])
      assert.equal(stats().retroactive!.feed, 'connected')
      done[0]!()
      const spans = await sent()
      assert.deepEqual(names(spans), ['early', 'wanted'])
      assert.deepEqual(reasons(spans), ['asked', 'asked'])
      // Of the other one it has nothing.
      assert.deepEqual([stats().retroactive!.asked, stats().retroactive!.kept], [1, {}])
      // Told again, as another collector does: it has been sent.
      second.answer(78n, entry(0, id(traceId)))
      await next()
      await sent()
      assert.equal(peer.spans.length, 2)
    })

    it('keeps the next traces of an operation', async () => {
      start()
      trace('before')
      const hash = createHash('sha256').update('test\0wanted').digest().readBigInt64BE(0)
      ;(await next()).answer(1n, Buffer.concat([entry(1, hash, 2), entry(1, 99n, 200)]))
      await next()
      for (const name of ['wanted', 'other', 'wanted', 'wanted']) trace(name)
      const spans = await sent()
      assert.deepEqual(names(spans), ['inner', 'inner', 'middle', 'middle', 'wanted', 'wanted'])
      assert.deepEqual([...new Set(reasons(spans))], ['requested'])
    })

    it('keeps twice as many if two people want them, however often each is told', async () => {
      start()
      trace('before')
      const id = createHash('sha256').update('test\0wanted').digest().readBigInt64BE(0)
      // As a collector tells it, for processes of any age.
      const request = (number: bigint) => Buffer.concat([entry(2, ((id >> 16n) << 16n) | number, 2), entry(1, id, 2)])
      ;(await next()).answer(1n, request(5n))
      ;(await next()).answer(2n, Buffer.concat([request(6n), request(5n)]))
      await next()
      for (let i = 0; i < 6; i++) trace('wanted')
      assert.equal((await sent()).length, 3 * 4)
      assert.deepEqual(stats().retroactive!.kept, { requested: 4 })
    })

    it('counts those of an operation’s next traces that are refused', async () => {
      start({ retroactive: { bytes: 2 ** 26, triggers: 'none' }, maxBufferedSpans: 100_000 })
      trace('before')
      const id = createHash('sha256').update('test\0wanted').digest().readBigInt64BE(0)
      const request = (number: bigint) => entry(2, ((id >> 16n) << 16n) | number, 255)
      ;(await next()).answer(1n, Buffer.concat([1n, 2n, 3n].map(request)))
      await next()
      for (let i = 0; i < 700; i++) trace('wanted')
      await sent()
      const { kept, refused } = stats().retroactive!
      assert.ok(refused > 0 && kept.requested! > 0, `${refused}`)
      assert.equal(kept.requested! + refused, 700)
    })

    it('goes on across a new init with what it was told: no request is forgotten, or counts twice', async () => {
      start()
      trace('before')
      const hash = createHash('sha256').update('test\0ordered').digest().readBigInt64BE(0)
      const request = entry(2, ((hash >> 16n) << 16n) | 9n, 3)
      ;(await next()).answer(77n, request)
      await next()
      trace('ordered')
      start({ host: 'there' })
      const poll = await until('the new one asks', () => polls.splice(0).find(({ host }) => host === 'there'))
      assert.equal(poll.since, 77n)
      poll.answer(78n, request)
      await next()
      for (let i = 0; i < 5; i++) trace('ordered')
      assert.equal((await sent()).length, 3 * 3)
      // Another service's operations are others.
      start({ service: 'other' })
      trace('ordered')
      assert.equal((await sent()).length, 3 * 3)
    })

    it('is asked for everything at once, and sends no more than its bucket', async () => {
      start({ retroactive: { bytes: 2 ** 26 }, maxBufferedSpans: 100_000 })
      const all = Array.from({ length: 3_000 }, (_, i) => id(trace(`t${i}`).traceId))
      for (let i = 0; i < all.length; i += 1_000)
        (await next()).answer(BigInt(i + 1), Buffer.concat(all.slice(i, i + 1_000).map(one => entry(0, one))))
      await next()
      const spans = await sent()
      const { asked, refused } = stats().retroactive!
      assert.equal(asked + refused, 3_000)
      assert.ok(asked >= 250 && asked < 1_500, `${asked}`)
      assert.equal(spans.length, asked * 3)
    })

    it('is asked for more bytes than it may send: the traces that it sends are whole', async () => {
      start({ retroactive: { bytes: 2 ** 26 }, maxBufferedSpans: 100_000, maxBufferedBytes: 2 ** 28 })
      const children = (n: number) => {
        for (let i = 0; i < n; i++)
          span('child', child => {
            for (let j = 0; j < 10; j++) child.annotate(`key ${j}`, 'x'.repeat(4096))
          })
      }
      const small = (name: string) =>
        span(name, root => {
          children(10)
          return id(root.traceId)
        })
      // Its id comes before all others.
      const giant = startServerSpan(
        'giant',
        parseTraceparent(`00-000000000000000000ffffffffffffff-0000000000000001-00`),
      )
      runInFrame(frameWith(giant), () => children(200))
      giant.end()
      const all = [...Array.from({ length: 20 }, (_, i) => small(`t${i}`)), id(giant.traceId)]
      ;(await next()).answer(1n, Buffer.concat(all.map(one => entry(0, one))))
      await next()
      const spans = await sent()
      const counts = new Map<bigint, number>()
      for (const { traceId } of spans) counts.set(traceId!, (counts.get(traceId!) ?? 0) + 1)
      assert.ok(spans.length > 11 && spans.length * 40_000 < 5 * 2 ** 20, `${spans.length}`)
      // The giant is cut, so that others have room, and says so.
      const ofGiant = counts.get(id('00ffffffffffffff'))!
      counts.delete(id('00ffffffffffffff'))
      assert.ok(ofGiant > 20 && ofGiant < 201, `${ofGiant}`)
      assert.ok(counts.size >= 5)
      assert.deepEqual([...new Set(counts.values())], [11])
      const { refused, asked, partial, leftOut } = stats().retroactive!
      assert.deepEqual([refused, asked, partial, leftOut], [20 - counts.size, 1 + counts.size, 1, 201 - ofGiant])
    })

    for (const [what, react] of Object.entries<(poll: Poll) => void>({
      'bytes that are no reply': poll => poll.socket.write('HTTP/1.1 200 OK\r\n\r\n'),
      'the length of a huge reply': poll => poll.socket.write(Buffer.from('7fffffff', 'hex')),
      'a reply to another call': poll => poll.answer(1n, Buffer.alloc(0), 99),
      'half an entry and a cursor from the future': poll => poll.answer(2n ** 63n - 1n, Buffer.alloc(7)),
      'the end of the connection': poll => poll.socket.resetAndDestroy(),
    })) {
      it(`survives ${what}, and asks again`, async () => {
        start()
        trace('fine')
        react(await next())
        await next()
        assert.equal(trace('failing', true).traceId.length, 16)
        assert.equal((await sent()).length, 3)
      })
    }
  })

  it('is there to be asked from the first trace on, also if that is kept at once, and after another init', () => {
    start({ retroactive: { bytes: 2 ** 20 } })
    assert.equal(stats().retroactive!.feed, 'off')
    trace('failing', true)
    assert.notEqual(stats().retroactive!.feed, 'off')
    trace('fine')
    start({ retroactive: { bytes: 2 ** 20 } })
    assert.notEqual(stats().retroactive!.feed, 'off')
  })

  it('knows a genuine Scribe, whose traces have the spans of this process alone', async () => {
    start()
    trace('fine')
    await until('it has asked', () => stats().retroactive!.feed === 'unavailable')
    trace('failing', true)
    assert.equal((await sent()).length, 3)
  })

  it('notices that a Milo collector has taken the place of a genuine Scribe', async () => {
    start()
    trace('fine')
    await until('it has asked', () => stats().retroactive!.feed === 'unavailable')
    const port = Number(peer.address.split(':')[1])
    await peer.close()
    peer = await ScribePeer.listen(port)
    peer.keeps = ({ answer }) => answer(1n, Buffer.alloc(0))
    await until('it asks the new one', () => stats().retroactive!.feed === 'connected')
  })

  it('asks again at once where a question that waited was cut off, as proxies do, however often', async () => {
    let [asked, passedMs] = [0, 0]
    clock.now = () => genuineNow() + passedMs
    const proxy = createTcpServer(socket => {
      socket.on('error', () => {})
      socket.once('data', () => {
        asked++
        passedMs += 5_000
        socket.destroy()
      })
    }).listen(0, '127.0.0.1')
    try {
      await once(proxy, 'listening')
      start({ scribe: `127.0.0.1:${(proxy.address() as AddressInfo).port}` })
      trace('fine')
      await until('it has asked ten times, whose pauses would take a minute if they grew', () => asked >= 10, 15_000)
    } finally {
      proxy.close()
    }
  })

  it('knows a genuine Scribe beside an address where nobody is', async () => {
    start({ scribe: `127.0.0.1:${await freePort()},${peer.address}` })
    trace('fine')
    await until('it has asked', () => stats().retroactive!.feed === 'unavailable')
  })

  describe('with exporters over HTTP alone', () => {
    // A stand-in for what else takes OTLP; test/e2e/retroactive.test.ts has a Milo collector there.
    let server: Server
    const asked: string[] = []
    let react = (res: ServerResponse): unknown => res.writeHead(404).end('no such page')

    beforeEach(async () => {
      asked.length = 0
      server = createServer((req, res) => {
        asked.push(`${req.method} ${req.url!.replace(/\?.*/, '')} ${req.headers.authorization}`)
        react(res)
      })
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
    })

    afterEach(async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    })

    const begin = (path: string) => {
      const { port } = server.address() as AddressInfo
      start({
        export: [{ to: `${path.replace(' ', `:http://127.0.0.1:${port}`)}`, headers: { authorization: 'Bearer x' } }],
      })
      trace('fine')
    }

    for (const [path, feed] of Object.entries({
      'otlp ': '/api/keeps/feed',
      'otlp /base/': '/base/api/keeps/feed',
      'zipkin /base/api/v2/spans': '/base/api/keeps/feed',
      'zipkin /ingest': '/api/keeps/feed',
    })) {
      it(`asks there (${path}), once where it isn’t a Milo collector`, async () => {
        begin(path)
        await until('it has asked', () => stats().retroactive!.feed === 'unavailable')
        assert.deepEqual(asked, [`GET ${feed} Bearer x`])
      })
    }

    for (const [what, answer] of Object.entries<(res: ServerResponse) => unknown>({
      'a page that says nothing': res => res.end('<html>'),
      'a number that is none': res => res.setHeader('milo-next', 'x').end(),
    })) {
      it(`takes ${what} for another’s`, async () => {
        react = answer
        begin('otlp ')
        await until('it has asked', () => stats().retroactive!.feed === 'unavailable')
      })
    }

    it('takes from a collector that lies no more than it can read, and asks it again after a refusal', async () => {
      const answers: ((res: ServerResponse) => unknown)[] = [
        res => res.setHeader('milo-next', '5').end(Buffer.alloc(10_000_000)),
        res => res.writeHead(503).end(),
        res => res.writeHead(200, { 'milo-next': '5', 'content-length': '999999999999' }).write('x'),
        res => res.setHeader('milo-next', '7').end(Buffer.alloc(15)),
      ]
      // On a busy machine a connection may be given up just as it is answered: the last answer stays.
      react = res => (answers.length > 1 ? answers.shift() : answers[0])!(res)
      begin('otlp ')
      await until('it has asked for the fifth time', () => asked.length >= 5)
      await until('it has taken an answer', () => stats().retroactive!.feed === 'connected')
    })
  })

  it('keeps traces for milo/testing too, and asks nobody there', async () => {
    testing.start({ sampler: 'never', retroactive: true })
    trace('fine')
    span('failing', () => current().fail('bad'))
    await flush()
    assert.match(testing.tree({ annotations: ['error.type'] }), /^failing error.type=string$/)
    testing.stop()
  })

  it('goes on after milo/testing where it was before, and knows nothing of what a test has recorded', async () => {
    const done: (() => void)[] = []
    start()
    span('root', (root, end) => {
      done.push(() => {
        root.fail('bad')
        end()
      })
      span('before', () => {})
    })
    testing.start({ sampler: 'never', retroactive: true })
    trace('fine')
    testing.start()
    testing.stop()
    assert.equal(stats().retroactive!.spans, 1)
    assert.notEqual(stats().retroactive!.feed, 'off')
    done.pop()!()
    assert.deepEqual(names(await sent()), ['before', 'root'])
  })
})
