import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { bluebird as plugin } from '../../plugins/bluebird'
import { current, span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { start, stop, type TestSpan } from '../../src/testing'
import { ended } from '../helpers/ended'
import { until } from '../helpers/until'
import { npmPackages } from '../servers/npm'

/*
 * Promises that aren't Node's. bluebird runs what is ready from one queue, cancels what nobody waits for any more, and tells
 * of rejections that nobody handles: none of that may be otherwise under Milo, but for the context of what it runs.
 */

const VERSIONS = ['3.5.5', '3.7.2']

for (const version of VERSIONS) {
  describe(`bluebird ${version}`, () => {
    let Bluebird: any
    let spans: TestSpan[]

    before(async () => {
      start({ logLevel: 'error' })
      install([plugin])
      const folder = await npmPackages(`bluebird@${version}`)
      Bluebird = createRequire(join(folder, 'app.js'))('bluebird')
      Bluebird.config({ cancellation: true, warnings: false })
    })

    beforeEach(() => {
      spans = start()
    })

    afterEach(() => stop())

    /** Runs in three requests at once whatever waits for one thing that comes for all of them. */
    async function inRequests(way: (ready: any, look: () => void) => any): Promise<void> {
      const open: (() => void)[] = []
      const wrong: string[] = []
      let seen = 0
      const all = [1, 2, 3].map(i =>
        span(`request ${i}`, own => {
          const look = () => {
            seen++
            if (current() !== own) wrong.push(`request ${i}`)
          }
          return way(
            new Bluebird((resolve: () => void) => {
              open.push(resolve)
            }),
            look,
          )
        }),
      )
      setImmediate(() => {
        for (const resolve of open) resolve()
      })
      await Promise.all(all)
      assert.deepEqual(wrong, [])
      assert.ok(seen >= 3)
      await ended(3)
    }

    const ways: Record<string, (ready: any, look: () => void) => any> = {
      'then, twice': (ready, look) => ready.then(look).then(look),
      'catch and finally': (ready, look) =>
        ready
          .then(() => Bluebird.reject(new Error('x')))
          .catch(look)
          .finally(look),
      'then of what has been settled': (ready, look) => ready.then(() => Bluebird.resolve().then(look)),
      'a coroutine': (ready, look) =>
        Bluebird.coroutine(function* () {
          yield ready
          look()
          yield Bluebird.resolve()
          look()
        })(),
      all: (ready, look) => Bluebird.all([ready, ready]).then(look),
      'a node’s callback': (ready, look) =>
        Bluebird.fromCallback((done: () => void) => ready.asCallback(done)).then(look),
      delay: (ready, look) => ready.delay(1).then(look),
      'a promisified function': (ready, look) =>
        ready.then(() => Bluebird.promisify((done: () => void) => setImmediate(done))().then(look)),
      await: async (ready, look) => {
        await ready
        look()
      },
      ...(version === '3.7.2' && {
        map: (ready: any, look: () => void) => Bluebird.map([ready, 1], look),
        each: (ready: any, look: () => void) => Bluebird.each([ready, 1], look),
        'the promise of a copy': (ready: any, look: () => void) => {
          const Copy = Bluebird.getNewLibraryCopy()
          return new Copy((resolve: () => void) => ready.then(resolve)).then(look)
        },
      }),
    }
    for (const [how, way] of Object.entries(ways)) {
      it(`keeps each request’s context in ${how}`, () => inRequests(way))
    }

    it('cancels what a span returned when what was chained on it is cancelled', async () => {
      let cancelled = 0
      const job = () =>
        new Bluebird((_a: unknown, _b: unknown, onCancel: (f: () => void) => void) => onCancel(() => cancelled++))
      const inner = span('job', job)
      const chained = span('outer', () => inner).then(() => {})
      chained.cancel()
      await until('it is cancelled', () => cancelled === 1)
      assert.equal(inner.isCancelled(), true)
      await ended(2)
      const reflected = span('reflected', job)
      const inspected = reflected.reflect()
      reflected.cancel()
      assert.equal((await inspected).isCancelled(), true)
    })

    it('ends the span with its promise, also if nobody waits for that', async () => {
      span('fulfilled', () => Bluebird.delay(1))
      span('settled', () => Bluebird.resolve(1))
      span('rejected', () => Bluebird.reject(new RangeError('no'))).catch(() => {})
      span('later', () => Bluebird.delay(1).then(() => Bluebird.reject(new TypeError('no')))).catch(() => {})
      await ended(4)
      assert.deepEqual(spans.map(one => `${one.name} ${one.annotations['error.type']}`).sort(), [
        'fulfilled undefined',
        'later TypeError',
        'rejected RangeError',
        'settled undefined',
      ])
    })

    it('tells of each rejection that nobody handles once, with the application’s promise, and of no other', async () => {
      const told: unknown[] = []
      const before = process.listeners('unhandledRejection')
      process.removeAllListeners('unhandledRejection')
      process.on('unhandledRejection', (reason, promise) => told.push([(reason as Error).message, promise]))
      try {
        const later = (message: string) => Bluebird.delay(1).then(() => Bluebird.reject(new Error(message)))
        const bare = span('a', () => later('bare'))
        const nested = span('b', () => span('c', () => later('nested')))
        const settled = span('d', () => Bluebird.reject(new Error('settled')))
        span('e', () => later('handled')).catch(() => {})
        span('f', () => span('g', () => later('handled'))).catch(() => {})
        span('h', () => Bluebird.reject(new Error('handled'))).catch(() => {})
        await ended(8)
        await until('they have been told', () => told.length >= 3)
        await Bluebird.delay(5)
        const expected = [
          ['bare', bare],
          ['nested', nested],
          ['settled', settled],
        ]
        assert.deepEqual(told.map(one => (one as [string])[0]).sort(), ['bare', 'nested', 'settled'])
        for (const [message, promise] of expected) {
          assert.ok(told.some(one => (one as unknown[])[0] === message && (one as unknown[])[1] === promise))
        }
      } finally {
        process.removeAllListeners('unhandledRejection')
        for (const listener of before) process.on('unhandledRejection', listener)
      }
    })
  })
}
