import assert from 'node:assert/strict'
import { flush, init, keep, type Span, shutdown, span, stats } from '../../../src'
import type { SpanRecord } from '../../../src/codec/span'
import { frameWith, parseTraceparent, runInFrame, startServerSpan } from '../../../src/plugin'
import { clock, setImmediate } from '../../../src/process/genuine'
import { History } from '../../../src/ring/history'
import { runNode } from '../../helpers/child'
import { entry, type Poll, ScribePeer } from '../../helpers/scribe-peer'
import { seeded } from '../../helpers/seeded'
import { until } from '../../helpers/until'

const genuineNow = clock.now
const SEED = Number(process.env.MILO_TEST_SEED ?? 1)

const hex = (n: bigint | number, digits: number) => n.toString(16).padStart(digits, '0')

/** How many spans of each trace came, and how many it says were left out. */
function countsOf(spans: SpanRecord[]): Map<string, { came: number; leftOut: number }> {
  const counts = new Map<string, { came: number; leftOut: number }>()
  const seen = new Set<string>()
  for (const { traceId, id, annotations } of spans) {
    const key = hex(traceId!, 16)
    const count = counts.get(key) ?? { came: 0, leftOut: 0 }
    counts.set(key, count)
    assert.ok(!seen.has(`${key} ${id}`), 'no span comes twice')
    seen.add(`${key} ${id}`)
    count.came++
    count.leftOut += Number(annotations!.get('milo.left_out') ?? 0)
  }
  return counts
}

describe('what is left out of traces that are kept after the fact', () => {
  let peer: ScribePeer

  const start = (more: object = {}) =>
    init({
      scribe: peer.address,
      service: 'test',
      host: 'here',
      sampler: 'never',
      logLevel: 'silent',
      retroactive: { bytes: 2 ** 26 },
      maxBufferedSpans: 100_000,
      maxBufferedBytes: 2 ** 29,
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

  const turn = () => new Promise<void>(resolve => setImmediate(resolve))
  const value = 'x'.repeat(4096)
  const fill = (one: Span, values: number) => {
    for (let i = 0; i < values; i++) one.annotate(`key ${i}`, value)
  }

  /** A caller's id that comes before all others, or after them. */
  const idOf = (isFirst: boolean, n: number) => `${isFirst ? '00ffffff' : '00000000'}${hex(n + 1, 8)}`
  const begin = (id: string, name: string) =>
    startServerSpan(name, parseTraceparent(`00-${'0'.repeat(16)}${id}-00f067aa0ba902b7-00`)!)
  const within = <R>(root: Span, fn: () => R): R => runInFrame(frameWith(root as never), fn)
  /** Ends a trace that is whole with so many children of some 20 KB. @returns its id */
  const end = (root: Span, children: number, fails: boolean) => {
    within(root, () => {
      for (let i = 0; i < children; i++) span('child', child => fill(child, 5))
    })
    if (fails) root.fail('bad')
    root.end()
    return root.traceId
  }

  for (const [what, settings] of Object.entries({
    'bytes a second': {},
    'room in the buffer': { maxBufferedSpans: 300 },
    'memory of the buffer': { maxBufferedBytes: 2 ** 21 },
  })) {
    it(`is told by each trace, whatever there is of it and whenever it ends: limited by ${what}`, async () => {
      // Ids that are kept already are kept again after a new init.
      const next = seeded(SEED + 1_000 * what.length)
      start(settings)
      const recorded = new Map<string, number>()
      const open: { root: Span; run<R>(fn: () => R): R; left: number; failsAt: number }[] = []
      const beginOne = () => {
        const id = [next(), next()].map(part => hex(Math.floor(part * 2 ** 31), 8)).join('')
        const remote = parseTraceparent(`00-${'0'.repeat(16)}${id}-00f067aa0ba902b7-00`)!
        const root = startServerSpan(`root ${recorded.size}`, remote)
        const run = <R>(fn: () => R): R => runInFrame(frameWith(root), fn)
        const left = Math.floor(next() ** 3 * 200)
        // Some fail in their root, and some not at all.
        const failsAt = Math.floor(next() * 1.3 * (left + 1))
        open.push({ root, run, left, failsAt })
        recorded.set(root.traceId, 0)
      }
      // This one is too large in any case, and none is refused less.
      const giant = begin(idOf(true, what.length), 'giant')
      within(giant, () => {
        for (let i = 0; i < 1_300; i++) span('child', child => fill(child, 1))
      })
      giant.fail('bad').end()
      recorded.set(giant.traceId, 1_301)
      for (let made = 0; made < 120 || open.length > 0; ) {
        if (made < 120 && (open.length === 0 || next() < 0.05)) {
          beginOne()
          made++
        }
        const at = Math.floor(next() * open.length)
        const one = open[at]!
        const { root, run, left, failsAt } = one
        const ending = left === 0 ? root : run(() => span(`child ${left}`))
        fill(ending, next() < 0.003 ? 100 : Math.floor(next() ** 6 * 8))
        if (failsAt === left) ending.fail('bad')
        ending.end()
        recorded.set(root.traceId, recorded.get(root.traceId)! + 1)
        if (left === 0) open.splice(at, 1)
        one.left--
        if (next() < 0.01) await turn()
        if (next() < 0.002) void flush(0)
      }
      assert.equal(await flush(20_000), true)
      assert.equal(stats().dropped, 0, 'what is kept pushes nothing out of the buffer')
      const counts = countsOf(peer.spans)
      const wrong = [...counts]
        .filter(([id, { came, leftOut }]) => came + leftOut !== recorded.get(id))
        .map(([id, one]) => ({ ...one, recorded: recorded.get(id) }))
      assert.deepEqual(wrong, [], `of ${counts.size} traces, with MILO_TEST_SEED=${SEED}`)
      const all = [...counts.values()]
      const { kept, partial, leftOut } = stats().retroactive!
      assert.deepEqual(
        { kept, partial, leftOut },
        {
          kept: { error: counts.size },
          partial: all.filter(one => one.leftOut > 0).length,
          leftOut: all.reduce((sum, one) => sum + one.leftOut, 0),
        },
      )
      assert.ok(partial > 0, `${partial}`)
    })
  }

  it('is all of a trace, or nothing: one for which there are no bytes is refused, with the span that failed', async () => {
    const now = genuineNow()
    clock.now = () => now
    start()
    const roots = Array.from({ length: 12 }, (_, i) => span(`root ${i}`))
    for (let i = 0; i < 15; i++) for (const root of roots) within(root, () => span('child', one => fill(one, 10)))
    for (const root of roots) within(root, () => span('bad', bad => void bad.fail('bad')))
    for (const root of roots) root.end()
    await flush()
    const counts = countsOf(peer.spans)
    for (const count of counts.values()) assert.deepEqual(count, { came: 17, leftOut: 0 })
    const { kept, refused, partial } = stats().retroactive!
    assert.deepEqual([kept.error! + refused, partial], [12, 0])
    assert.ok(refused > 0 && kept.error! > 0, `${refused}`)
  })

  it('is said by what is left of the trace’s own span, if that is the last one', async () => {
    let now = genuineNow()
    clock.now = () => now
    start()
    const root = span('root')
    within(root, () => span('bad', bad => void bad.fail('bad')))
    await flush()
    // All bytes are another's.
    for (let i = 0; i < 200; i++)
      span(`other ${i}`, other => {
        fill(other, 30)
        other.fail('bad')
      })
    await flush()
    within(root, () => {
      for (let i = 0; i < 40; i++) span('late', late => fill(late, 100))
    })
    fill(root, 100)
    root.fail(new RangeError('all of it')).end()
    // Nobody flushes: it says so by itself.
    const mine = () => peer.spans.filter(one => one.traceId === BigInt(`0x${root.traceId}`))
    now += 1_000
    const told = await until('it has told', () => mine().find(({ name }) => name === 'root'))
    const { 'milo.too_large': bytes, ...annotations } = Object.fromEntries(told.annotations!)
    assert.deepEqual(annotations, {
      'error.type': 'RangeError',
      'milo.keep': 'error',
      'milo.left_out': annotations['milo.left_out'],
    })
    assert.ok(Number(bytes) > 400_000)
    assert.equal(mine().length + Number(annotations['milo.left_out']), 42)
  })

  it('is of a trace that goes on with too much, and not of the others, whatever their ids', async () => {
    let now = genuineNow()
    clock.now = () => now
    start()
    const giant = begin(idOf(true, 0), 'giant')
    within(giant, () => span('bad', bad => void bad.fail('bad')))
    const others: string[] = []
    for (let second = 0; second < 10; second++) {
      for (let i = 0; i < 100; i++) {
        within(giant, () => span('late', late => fill(late, 4)))
        now += 10
        if (i % 10 === 0) await flush(20_000)
      }
      others.push(end(begin(idOf(false, second), `other ${second}`), 10, true))
      assert.equal(await flush(20_000), true)
    }
    giant.end()
    now += 1_000
    const mine = await until('the giant has told what was left out', async () => {
      await flush(20_000)
      const count = countsOf(peer.spans).get(giant.traceId)!
      return count.came + count.leftOut === 1_002 ? count : undefined
    })
    assert.ok(mine.came > 500 && mine.leftOut > 100, `${mine.came} ${mine.leftOut}`)
    const counts = countsOf(peer.spans)
    for (const id of others) assert.deepEqual(counts.get(id), { came: 11, leftOut: 0 })
    const { kept, refused, partial } = stats().retroactive!
    assert.deepEqual([kept, refused, partial], [{ error: 11 }, 0, 1])
  })

  it('is told in few bytes, however many traces go on with too much and however long their texts are', async () => {
    let now = genuineNow()
    clock.now = () => now
    start()
    const roots = Array.from({ length: 300 }, (_, i) => begin(idOf(false, i), `root ${i} ${'x'.repeat(200)}`))
    for (const [i, root] of roots.entries()) within(root, () => span(`bad ${i}`, bad => void bad.fail('bad')))
    await flush(20_000)
    const SECONDS = 10
    for (let second = 0; second < SECONDS; second++) {
      for (const root of roots)
        within(root, () =>
          span('late', late => {
            fill(late, 16)
            for (let i = 0; i < 100; i++) late.annotate(`milo.${i}`, value)
            late.annotate('error.type', value)
          }),
        )
      now += 1_000
      await flush(20_000)
    }
    const bytes = peer.spans
      .filter(({ name }) => name === 'late')
      .reduce((sum, { annotations }) => sum + [...annotations!].reduce((all, [, text]) => all + text.length, 0), 0)
    assert.ok(bytes < (4 + SECONDS + 2) * 2 ** 20, `${bytes} bytes`)
    now += 60_000
    for (const root of roots) root.end()
    await flush(20_000)
    const { leftOut } = stats().retroactive!
    assert.ok(leftOut > 100, `${leftOut}`)
    for (const { came, leftOut } of countsOf(peer.spans).values()) assert.equal(came + leftOut, SECONDS + 2)
  })

  it('is of a trace that goes on while the collector is away: it leaves room in the buffer for others', async () => {
    const now = genuineNow()
    clock.now = () => now
    start({ maxBufferedSpans: 10_000 })
    await peer.close()
    const giant = begin(idOf(true, 1_000), 'giant')
    within(giant, () => span('bad', bad => void bad.fail('bad')))
    await flush(0)
    within(giant, () => {
      for (let i = 0; i < 12_000; i++) span('late', () => {})
    })
    const root = begin(idOf(false, 1_000), 'other')
    within(root, () => {
      for (let i = 0; i < 1_000; i++) span('child', () => {})
    })
    root.fail('bad')
    root.end()
    await flush(0)
    const { kept, refused } = stats().retroactive!
    assert.deepEqual([kept, refused, stats().dropped], [{ error: 2 }, 0, 0])
  })

  it('is nothing of what is asked for while that can be sent, whatever the process has used up for its own traces', async () => {
    const polls: Poll[] = []
    peer.keeps = poll => polls.push(poll)
    const next = () => until('it asks', () => polls.shift())
    const now = genuineNow()
    clock.now = () => now
    start()
    for (let i = 0; i < 50; i++) end(begin(idOf(true, 2_000 + i), `own ${i}`), 10, true)
    assert.equal(await flush(20_000), true)
    assert.ok(stats().retroactive!.refused > 20)
    const wanted = Array.from({ length: 10 }, (_, i) => end(begin(idOf(false, 2_000 + i), 'wanted'), 10, false))
    const { refused } = stats().retroactive!
    ;(await next()).answer(1n, Buffer.concat(wanted.map(id => entry(0, BigInt(`0x${id}`)))))
    await next()
    assert.equal(await flush(20_000), true)
    const counts = countsOf(peer.spans)
    for (const id of wanted) assert.deepEqual(counts.get(id), { came: 11, leftOut: 0 })
    assert.deepEqual([stats().retroactive!.asked, stats().retroactive!.refused - refused], [10, 0])
  })

  it('is nothing of a trace that is kept again after a fault of Milo’s own, none of which comes out of init, flush or shutdown', async () => {
    start()
    const { collect } = History.prototype
    const fail = (name: string) =>
      span(name, root => {
        span('before', () => {})
        root.fail('bad')
        return root
      })
    try {
      History.prototype.collect = () => {
        throw new Error('no such page')
      }
      fail('first')
      assert.equal(await flush(), true)
      span('second', second => {
        assert.equal(keep('why'), true)
        second.annotate('key', 1)
        init({ scribe: peer.address, sampler: 'never', logLevel: 'silent', retroactive: { bytes: 2 ** 26 } })
        History.prototype.collect = collect
        // The same trace is kept again.
        assert.equal(keep('again'), true)
        span('within', () => {})
      })
      assert.equal(await flush(), true)
      assert.deepEqual(peer.spans.map(({ name }) => name).sort(), ['second', 'within'])
      History.prototype.collect = () => {
        throw new Error('no such page')
      }
      fail('third')
      assert.equal(await shutdown(), true)
    } finally {
      History.prototype.collect = collect
    }
  })

  it('is nothing at a new init right after the symptom', async () => {
    start()
    span('root', () => {
      for (let i = 0; i < 10; i++) span('before', () => {})
      span('bad', bad => void bad.fail('bad'))
      start({ host: 'there' })
    })
    assert.equal(await flush(), true)
    assert.equal(peer.spans.length, 12)
    // Nor where the next one has no history, or nothing at all.
    span('second', root => void root.fail('bad'))
    start({ retroactive: false })
    assert.equal(await flush(), true)
    assert.equal(peer.spans.at(-1)!.name, 'second')
  })

  it('is nothing of a trace that is asked for again after such a fault', async () => {
    const polls: Poll[] = []
    peer.keeps = poll => polls.push(poll)
    const next = () => until('it asks', () => polls.shift())
    start()
    const wanted = span('wanted', root => entry(0, BigInt(`0x${root.traceId}`)))
    const { collect } = History.prototype
    try {
      History.prototype.collect = () => {
        throw new Error('no such page')
      }
      ;(await next()).answer(1n, wanted)
      const again = await next()
      assert.equal(await flush(), true)
      assert.equal(peer.spans.length, 0)
      History.prototype.collect = collect
      again.answer(2n, wanted)
      await until('it has come', () => peer.spans.length === 1)
    } finally {
      History.prototype.collect = collect
    }
  })

  describe('at the end of a process', () => {
    // Twelve interleaved traces of 600 KB each fail at one moment: several are refused as a whole.
    const BODY = `
      const milo = require('milo')
      const value = 'x'.repeat(4000)
      let go
      const gate = new Promise(resolve => (go = resolve))
      const traces = Array.from({ length: 12 }, (_, i) => milo.span('trace ' + i, async () => {
        for (let k = 0; k < 150; k++) {
          milo.span('before', one => one.annotate('v', value))
          await null
        }
        await gate
        milo.span('bad ' + i, bad => void bad.fail('bad'))
      }))
      process.on('exit', code => console.log('exit', code))
      setTimeout(async () => { go(); await Promise.all(traces); end() }, 50)
    `
    // How it ends, and whether Milo may keep it until its spans are sent.
    const ends: [string, string, number | null, boolean][] = [
      ['by itself', `const end = () => {}`, 0, true],
      ['by process.exit', `const end = () => process.exit(5)`, 5, false],
      [
        'by SIGTERM to which the application listens',
        `process.on('SIGTERM', () => { console.log('mine'); process.exit(6) })
         const end = () => { process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 10_000) }`,
        6,
        false,
      ],
      [
        'by SIGTERM to which nobody listens',
        `const end = () => { process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 10_000) }`,
        null,
        true,
      ],
      [
        'by shutdown',
        `const end = async () => console.log(await milo.flush(20_000), await milo.shutdown(20_000), milo.stats().retroactive?.partial)`,
        0,
        true,
      ],
    ]
    beforeEach(() => {
      peer.keeps = () => {}
    })
    const run = (text: string, env = {}, register = ['-r', 'milo/register']) =>
      runNode([...register, '-e', text], {
        MILO_SCRIBE: peer.address,
        MILO_SAMPLER: 'never',
        MILO_RETROACTIVE: '1',
        ...env,
      })
    for (const [what, end, status, isSent] of ends) {
      it(`costs the application nothing: ${what}`, async () => {
        const plain = `const milo = { span: (n, f) => f({ annotate() {}, fail() {} }), flush: () => true, shutdown: () => true, stats: () => ({ retroactive: { partial: 0 } }) }`
        const [ended, without] = await Promise.all([
          run(BODY + end),
          run(BODY.replace(`const milo = require('milo')`, plain) + end, { MILO_ENABLED: '0' }),
        ])
        assert.deepEqual(ended, without)
        assert.equal(ended.status, status)
        for (const count of countsOf(peer.spans).values()) assert.equal(count.came + count.leftOut, 152)
        if (isSent) assert.ok(peer.spans.length > 0)
      })
    }

    it('costs the application nothing if something in Milo is at fault', async () => {
      const term = ends[2]!
      const body = `require('./src/keep').Retroactive.prototype.send = () => { throw new Error('a fault') }
        ${BODY.replace("'milo'", "'./src'")} ${term[1]}`
      const ended = await run(body, { MILO_LOG_LEVEL: 'silent' }, ['-r', 'tsx/cjs', '-r', './src/register.ts'])
      assert.deepEqual(ended, { status: 6, signal: null, stdout: 'mine\nexit 6\n', stderr: '' })
    })
  })
})
