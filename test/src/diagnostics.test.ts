import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { init, shutdown, span } from '../../src/index'
import { clock } from '../../src/process/genuine'
import { logRarely } from '../../src/process/log'
import { start, stop, tree } from '../../src/testing'
import { ROOT, runNode } from '../helpers/child'

describe('the start-up line', () => {
  let folder: string

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-start-'))
    for (const [name, version] of [
      ['thrift', '2.0.0'],
      ['q', '1.5.1'],
    ] as const) {
      const library = join(folder, 'node_modules', name)
      mkdirSync(library, { recursive: true })
      writeFileSync(join(library, 'package.json'), JSON.stringify({ name, version }))
      writeFileSync(join(library, 'index.js'), `require('./lib/nodejs/lib/thrift/server')`)
      mkdirSync(join(library, 'lib/nodejs/lib/thrift'), { recursive: true })
      writeFileSync(join(library, 'lib/nodejs/lib/thrift/server.js'), '')
    }
  })

  after(() => rmSync(folder, { recursive: true }))

  async function lines(application: string, env: Record<string, string>, args: string[] = []): Promise<string[]> {
    writeFileSync(join(folder, 'app.cjs'), application)
    const register = join(ROOT, 'dist/register.js')
    const { status, stdout, stderr } = await runNode([...args, '-r', register, 'app.cjs'], env, folder)
    assert.deepEqual([status, stdout], [0, ''])
    return stderr.split('\n').slice(0, -1)
  }

  const own = `require(${JSON.stringify(join(ROOT, 'node_modules/thrift'))})`

  it('says at level info what was patched', async () => {
    const { version } = require('thrift/package.json')
    assert.deepEqual(await lines(own, { MILO_LOG_LEVEL: 'info' }), [
      `milo info: patched: undici, thrift ${version}, http`,
    ])
  })

  it('is not shown by default: a healthy start is silent', async () => {
    assert.deepEqual(await lines(own, {}), [])
  })

  it('says what couldn’t be patched and why, which is shown by default', async () => {
    const warning = "milo warn: thrift 2.0.0 is outside >=0.9.3 <1 and isn't traced"
    assert.deepEqual(await lines(`require('thrift')`, {}), [warning])
    assert.deepEqual(await lines(`require('thrift')`, { MILO_LOG_LEVEL: 'info' }), [
      warning,
      'milo info: patched: undici, http; not patched: thrift 2.0.0 (is outside >=0.9.3 <1)',
    ])
  })

  it('says what was loaded before Milo', async () => {
    const early = ['-r', './node_modules/q/index.js']
    const warning = /^milo warn: q was loaded before Milo and isn't traced: load milo\/register first/
    const [first, second, ...more] = await lines('', { MILO_LOG_LEVEL: 'info' }, early)
    assert.match(first!, warning)
    assert.equal(second, 'milo info: patched: undici, http; not patched: q (was loaded before Milo)')
    assert.deepEqual(more, [])
  })

  it('comes again when something is patched later, and not for what is patched already', async () => {
    const application = `require('http'); setTimeout(() => ${own}, 5); setTimeout(() => ${own}, 10)`
    const said = await lines(application, { MILO_LOG_LEVEL: 'info' })
    assert.deepEqual(
      said.map(line => line.replace(/\d+\.\d+\.\d+/, 'X')),
      ['milo info: patched: undici, http', 'milo info: patched: undici, http, thrift X'],
    )
  })
})

describe('diagnostics_channel', () => {
  const heard: [string, any][] = []
  const hear = (message: any, name: string | symbol) => heard.push([String(name), message])
  const NAMES = ['milo:span:start', 'milo:span:end', 'milo:span:drop']

  beforeEach(() => {
    heard.length = 0
    for (const name of NAMES) subscribe(name, hear)
  })

  afterEach(async () => {
    for (const name of NAMES) unsubscribe(name, hear)
    await shutdown()
    stop()
  })

  it('tells of each sampled span when it starts and when it ends', () => {
    start()
    span('x', s => {
      assert.deepEqual(heard, [['milo:span:start', { span: s }]])
      s.annotate('a', 1)
    })
    span('y')
    assert.deepEqual(
      heard.map(([name, message]) => [name, message.span.name, message.span.endUs > 0]),
      [
        ['milo:span:start', 'x', true],
        ['milo:span:end', 'x', true],
        ['milo:span:start', 'y', false],
      ],
    )
  })

  it('tells nothing of traces that aren’t kept', () => {
    start({ sampler: 'never' })
    span('x', () => span('y', () => {}))
    assert.deepEqual(heard, [])
  })

  it('tells how many spans are lost, and why', async () => {
    init({ scribe: '127.0.0.1:1', sampler: 'always', maxBufferedSpans: 2, logLevel: 'silent', exitTimeoutMs: 0 })
    for (let i = 0; i < 5; i++) span('x', () => {})
    await shutdown()
    const drops = heard.filter(([name]) => name === 'milo:span:drop').map(([, message]) => message)
    const sum = (reason: string) => drops.filter(d => d.reason === reason).reduce((n, d) => n + d.count, 0)
    assert.deepEqual([sum('buffer_full'), sum('shutdown')], [3, 2])
  })

  it('tells nothing of the spans that a subscriber makes', () => {
    start()
    let calls = 0
    const make = () => {
      calls++
      span('of the subscriber', () => {})
    }
    for (const name of NAMES) subscribe(name, make)
    span('x', () => {})
    for (const name of NAMES) unsubscribe(name, make)
    assert.equal(calls, 2)
    assert.equal(tree().split('\n').length, 3)
  })
})

describe('a warning', () => {
  it('is said once in 30 s, however often it happens, and whatever becomes of the wall clock', () => {
    const { now, wallMs } = clock
    const { write } = process.stderr
    const said: string[] = []
    let ms = 0
    try {
      clock.now = () => now() + ms
      process.stderr.write = ((line: string) => said.push(line)) as never
      for (ms of [1e6, 1e6 + 1, 1e6 + 25_000, 1e6 + 30_000, 1e6 + 55_000]) {
        clock.wallMs = () => (ms % 2) * 1e12
        for (let i = 0; i < 10; i++) logRarely('test', 'warn', `at ${ms}`)
      }
    } finally {
      Object.assign(clock, { now, wallMs })
      process.stderr.write = write
    }
    assert.deepEqual(said, ['milo warn: at 1000000\n', 'milo warn: at 1030000\n'])
  })
})
