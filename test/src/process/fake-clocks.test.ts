import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mock } from 'node:test'
import { flush, init, type Span, shutdown, span, stats } from '../../../src'
import { ended, start, stop } from '../../../src/testing'
import { runNode } from '../../helpers/child'
import { ScribePeer } from '../../helpers/scribe-peer'
import { until } from '../../helpers/until'
import { npmPackages } from '../../servers/npm'

/** What sinon can replace. */
const ALL = [
  ...['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate', 'clearImmediate'],
  ...['Date', 'hrtime', 'nextTick', 'performance', 'queueMicrotask'],
]
const GLOBALS = [
  'setTimeout',
  'setInterval',
  'setImmediate',
  'clearTimeout',
  'clearInterval',
  'clearImmediate',
] as const

describe('under the fake clock of an application’s tests', () => {
  let sinon: any
  let folder: string
  let peer: ScribePeer
  let restore: () => void

  before(async function () {
    this.timeout(120_000)
    folder = await npmPackages('sinon@21.1.2')
    sinon = createRequire(join(folder, 'x.js'))('sinon')
  })
  beforeEach(async () => {
    restore = () => {}
    peer = await ScribePeer.listen()
    init({ scribe: peer.address, sampler: 'always', logLevel: 'silent' })
  })
  afterEach(async () => {
    restore()
    await shutdown(0)
    await peer.close()
  })

  const CLOCKS: Record<string, () => () => void> = {
    'sinon’s': () => {
      const clock = sinon.useFakeTimers()
      return () => clock.restore()
    },
    'sinon’s, with everything that it can replace': () => {
      const clock = sinon.useFakeTimers({ now: 0, toFake: ALL })
      return () => clock.restore()
    },
    'node:test’s': () => {
      mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'setImmediate'] })
      return () => mock.timers.reset()
    },
    'a browser’s, whose timers are numbers': () => {
      const real = GLOBALS.map(name => globalThis[name])
      for (const name of GLOBALS) (globalThis as any)[name] = () => 1
      return () => {
        for (const [i, name] of GLOBALS.entries()) (globalThis as any)[name] = real[i]
      }
    },
    'one whose promises never settle': () => {
      const real = globalThis.Promise
      globalThis.Promise = class extends real<unknown> {
        constructor() {
          super(() => {})
        }
      } as PromiseConstructor
      return () => {
        globalThis.Promise = real
      }
    },
  }

  for (const [what, put] of Object.entries(CLOCKS)) {
    it(`spans are sent all the same, and by flush, and at their real times (${what})`, async () => {
      const began = Date.now()
      span('before', () => {})
      // Node's own connecting needs process.nextTick, which sinon may hold back: the connection is there already.
      assert.equal(await flush(10_000), true)
      restore = put()
      const during: Span = span('during')
      during.end()
      for (let i = 0; i < 600; i++) span('more', () => {})
      const flushed = flush(10_000)
      restore()
      assert.equal(await flushed, true)
      restore = put()
      for (let i = 0; i < 40; i++) span('after', () => {})
      restore()
      await until('all is sent without a flush', () => stats().sent === stats().ended)
      assert.equal(peer.spans.length, 642)
      assert.ok(during.startUs >= (began - 5) * 1000 && during.endUs <= (Date.now() + 5) * 1000)
    })
  }

  it('milo/testing waits for spans by the real clock', async () => {
    start()
    restore = CLOCKS['sinon’s, with everything that it can replace']!()
    const none = ended(1, 1)
    restore()
    await assert.rejects(none, /0 of 1 spans have ended/)
    stop()
  })

  it('a spool works on', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'milo-fake-'))
    try {
      restore = CLOCKS['sinon’s, with everything that it can replace']!()
      init({ scribe: '127.0.0.1:1', sampler: 'always', logLevel: 'silent', spool: { directory } })
      span('spooled', () => {})
      restore()
      await until('it is in the spool', () => stats().spooled === 1)
      await shutdown(0)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })

  it('Milo may be loaded: it takes what the clock has replaced', async () => {
    const program = `
      const sinon = require(${JSON.stringify(folder)} + '/node_modules/sinon')
      const clock = sinon.useFakeTimers({ toFake: ${JSON.stringify(ALL)} })
      const milo = require('milo')
      milo.init({ sampler: 'always' })
      const s = milo.span('early')
      s.end()
      clock.restore()
      setTimeout(() => milo.flush().then(() => console.log(milo.stats().sent, Math.abs(s.endUs / 1000 - Date.now()) < 60_000)), 1)`
    const run = await runNode(['-e', program], { MILO_SCRIBE: peer.address })
    assert.deepEqual([run.stdout, run.stderr, run.status], ['1 true\n', '', 0])
  })
})
