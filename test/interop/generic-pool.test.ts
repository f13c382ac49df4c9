import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { genericPool } from '../../plugins/generic-pool'
import { current, span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { start, stop } from '../../src/testing'
import { ended } from '../helpers/ended'
import { npmPackages } from '../servers/npm'

describe('generic-pool', () => {
  before(() => {
    start({ logLevel: 'error' })
    install([genericPool])
  })

  beforeEach(() => {
    start()
  })

  afterEach(() => stop())

  for (const version of ['2.5.4', '3.0.0', '3.9.0']) {
    it(`${version} tells how long each request waited, in its own context`, async () => {
      const library = createRequire(join(await npmPackages(`generic-pool@${version}`), 'app.js'))('generic-pool')
      const is2 = version.startsWith('2')
      const pool = is2
        ? new library.Pool({ create: (done: any) => setImmediate(done, null, {}), destroy() {}, max: 1 })
        : library.createPool({ create: async () => ({}), destroy: async () => {} }, { max: 1 })
      const wrong: string[] = []
      const acquire = (own: unknown, name: string) =>
        is2
          ? new Promise<unknown>(resolve =>
              pool.acquire((_error: unknown, item: unknown) => {
                if (current() !== own) wrong.push(name)
                resolve(item)
              }),
            )
          : pool.acquire()
      const names = ['first', 'second', 'third']
      await Promise.all(
        names.map(name =>
          span(name, async own => {
            const item = await acquire(own, name)
            if (current() !== own) wrong.push(name)
            const untilMs = performance.now() + 5
            while (performance.now() < untilMs) await new Promise(setImmediate)
            pool.release(item)
          }),
        ),
      )
      assert.deepEqual(wrong, [])
      const spans = await ended(3)
      for (const name of ['second', 'third']) {
        const events = spans.find(one => one.name === name)!.events.map(({ value }) => value)
        assert.equal(events.length, 1)
        assert.match(events[0]!, /^generic-pool: waited [1-9]\d* ms$/)
      }
    })
  }
})
