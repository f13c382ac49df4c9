import assert from 'node:assert/strict'
import { runInNewContext } from 'node:vm'
import { flush, init, shutdown, span, stats } from '../../../src'
import { Connection } from '../../../src/export/connection'
import { start, stop } from '../../../src/testing'
import type { LiveSpan } from '../../../src/trace/span'
import { bench } from '../../helpers/emitter'
import { ScribePeer } from '../../helpers/scribe-peer'
import { until } from '../../helpers/until'

describe('the barrier between Milo and the application', () => {
  afterEach(() => shutdown(0))

  const quiet = { scribe: '127.0.0.1:1', logLevel: 'silent' } as const

  const answers: Record<string, unknown> = {
    ...{ NaN: Number.NaN, 'more than 1': 2, infinity: Number.POSITIVE_INFINITY, 'less than 0': -7, 'a bigint': 1n },
    ...{ 'a symbol': Symbol('x'), 'a promise': Promise.resolve(1), nothing: undefined, 'a text': '1', zero: 0 },
    'an object that can’t be compared': {
      valueOf() {
        throw new Error('mine')
      },
    },
  }
  for (const [what, answer] of Object.entries(answers)) {
    it(`keeps no trace when a sampler answers ${what}`, () => {
      init({ ...quiet, sampler: { sample: () => answer as number } })
      const { tracesNotKept } = stats()
      assert.equal(
        span('x', () => 'mine'),
        'mine',
      )
      assert.equal(stats().tracesNotKept - tracesNotKept, 1)
    })
  }

  it('doesn’t ask a sampler about spans that it makes itself', () => {
    let asked = 0
    const make = () => {
      asked++
      return span('of the sampler', () => span('and below', () => 1))
    }
    init({ ...quiet, sampler: { sample: make, adjust: make } })
    span('x', () => {})
    assert.ok(asked <= 2)
  })

  it('ends a span within the text of its own annotation once, and changes it no more', () => {
    const spans = start()
    for (const use of ['annotate', 'record', 'count'] as const) {
      const s = span(use) as LiveSpan
      const ends = {
        toString() {
          s.end()
          return 'late'
        },
      } as never
      if (use === 'annotate') s.annotate('k', ends)
      else s[use](ends)
      assert.deepEqual([s.annotations, s.events, s.counters], [undefined, undefined, undefined])
    }
    assert.equal(spans.length, 3)
    stop()
  })

  it('knows an error of another realm', () => {
    const [s] = start()
    assert.equal(s, undefined)
    const failed = span('x') as LiveSpan
    failed.fail(runInNewContext(`new TypeError('mine')`))
    assert.deepEqual(failed.annotations, ['error.type', 'TypeError', 'error.message', 'mine'])
    stop()
  })

  it('takes any time to flush in, and neither rejects nor warns', async () => {
    init({ ...quiet, sampler: 'always' })
    const warned: unknown[] = []
    const hear = (warning: unknown) => warned.push(warning)
    process.on('warning', hear)
    span('x', () => {})
    const times = [Number.NaN, -1, '5', Symbol('x'), 1n, null, {}] as never[]
    const all = Promise.all(times.map(ms => flush(ms)))
    const endless = flush(Number.POSITIVE_INFINITY)
    await shutdown(0)
    assert.deepEqual([...(await all), await endless], Array(8).fill(false))
    await new Promise(resolve => setImmediate(resolve))
    process.removeListener('warning', hear)
    assert.deepEqual(warned, [])
  })

  it('lets no error out of a turn of the loop that is Milo’s own, and goes on after it', async () => {
    const peer = await ScribePeer.listen()
    const uncaught: unknown[] = []
    const hear = (error: unknown) => uncaught.push(error)
    const others = process.rawListeners('uncaughtException') as NodeJS.UncaughtExceptionListener[]
    process.removeAllListeners('uncaughtException').on('uncaughtException', hear)
    const { emitter, buffer, work, addsUp } = bench(peer.address, { delayMs: 1 })
    try {
      for (const [owner, method] of [
        [buffer, 'take'],
        [buffer.ledger, 'settle'],
      ] as [any, string][]) {
        const real = owner[method].bind(owner)
        let threw = false
        owner[method] = () => {
          threw = true
          throw new Error('of Milo’s own')
        }
        work(40)
        await until(`${method} has thrown`, () => threw)
        owner[method] = real
      }
      work(1)
      await until('it sends again', () => peer.spans.length > 0)
      addsUp()
      assert.deepEqual(uncaught, [])
    } finally {
      process.removeListener('uncaughtException', hear)
      for (const other of others) process.on('uncaughtException', other)
      emitter.close()
      await peer.close()
    }
  })

  it('answers a call on a connection that could not even be begun', async () => {
    const answers: unknown[] = []
    const connection = new Connection({ host: '127.0.0.1', port: 99_999 }, 1000, 1000)
    connection.send({ parts: [Buffer.alloc(4)], read: () => undefined }, answer => answers.push(answer.code))
    await until('it is answered', () => answers.length > 0)
    assert.deepEqual([answers, connection.isClosed], [['failed'], true])
  })
})
