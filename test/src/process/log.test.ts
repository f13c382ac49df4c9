import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { log, setLogLevel } from '../../../src/process/log'
import { ROOT, runNode } from '../../helpers/child'
import { until } from '../../helpers/until'

describe('what Milo says', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-log-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  /** Says more than a pipe or a socket holds, and reports to the file `out` that it lives on. */
  const program = (before = '') => `
    const fs = require('node:fs')
    const out = process.argv[1]
    const say = text => fs.appendFileSync(out, text + '\\n')
    process.on('uncaughtExceptionMonitor', error => say('uncaught ' + error.message))
    const milo = require('milo/plugin')
    ${before}
    for (let i = 0; i < 200; i++) milo.logRarely('key ' + i, 'warn', 'x'.repeat(3900))
    say('errors listened to: ' + process.stderr.listenerCount('error'))
    setTimeout(() => { say('alive'); process.exit() }, 50)`

  async function speak(script: string, stderr: number | 'pipe', whenItRuns: (child: any) => void = () => {}) {
    const out = join(folder, 'out')
    const child = spawn(process.execPath, ['-e', script, out], { cwd: ROOT, stdio: ['ignore', 'ignore', stderr] })
    whenItRuns(child)
    await once(child, 'exit')
    const said = readFileSync(out, 'utf8').trim().split('\n')
    rmSync(out)
    return said
  }
  const WELL = ['errors listened to: 0', 'alive']

  it('costs the application nothing when nobody reads standard error any more', async () => {
    assert.deepEqual(await speak(program(), 'pipe', child => child.stderr.destroy()), WELL)
  })

  it('doesn’t keep the application waiting when standard error is full and nobody reads it', async () => {
    assert.deepEqual(await speak(program(), 'pipe', child => child.stderr.pause()), WELL)
  })

  it('costs the application nothing when the disk is full', async function () {
    if (process.platform !== 'linux') this.skip()
    const full = openSync('/dev/full', 'w')
    assert.deepEqual(await speak(program(), full), WELL)
    closeSync(full)
  })

  it('goes nowhere once the application has closed standard error, also where it has a file of that number', async () => {
    const mine = join(folder, 'mine')
    const reuse = `fs.closeSync(2); fs.openSync(${JSON.stringify(mine)}, 'w')`
    assert.deepEqual(await speak(program('fs.closeSync(2)'), 'pipe'), WELL)
    assert.deepEqual(await speak(program(reuse), 'pipe'), WELL)
    assert.equal(readFileSync(mine, 'utf8'), '')
  })

  it('leaves the application its own errors of a broken standard error', async () => {
    const script = program(`setTimeout(() => process.stderr.write('mine'), 1)`)
    const said = await speak(script, 'pipe', child => child.stderr.destroy())
    assert.match(said.join(), /uncaught write EPIPE/)
  })

  it('goes to what the application has put in the place of process.stderr.write, and leaves no listener', async () => {
    // Tests before this one may have silenced Milo.
    setLogLevel('warn')
    const before = process.stderr.listenerCount('error')
    const { write } = process.stderr
    const heard: string[] = []
    process.stderr.write = ((line: string) => heard.push(line)) as never
    try {
      log('warn', 'one')
    } finally {
      process.stderr.write = write
    }
    assert.deepEqual(heard, ['milo warn: one\n'])
    await until('the listener is gone', () => process.stderr.listenerCount('error') === before)
  })

  it('costs nothing where that throws, or passes it on to a stream that is broken', async () => {
    const throwing = `process.stderr.write = () => { throw new Error('mine') }`
    const passing = `const { write } = process.stderr; process.stderr.write = function (...args) { return write.apply(this, args) }`
    const noStream = `Object.defineProperty(process, 'stderr', { configurable: true, get() { if (new Error().stack.includes('log')) throw new Error('mine'); return { listenerCount: () => 0 } } })`
    for (const before of [throwing, passing, noStream]) {
      const said = await speak(program(before), 'pipe', child => child.stderr.destroy())
      assert.equal(said.at(-1), 'alive', said.join())
    }
  })

  it('costs neither a worker nor the main thread anything when it comes from a worker', async () => {
    const inWorker =
      "const { logRarely } = require('milo/plugin'); for (let i = 0; i < 10; i++) logRarely('w' + i, 'warn', 'x')"
    const worker = `new (require('node:worker_threads').Worker)(${JSON.stringify(inWorker)}, { eval: true })`
    // It is alive once the worker has ended, rather than after a while.
    const script = program(`const worker = ${worker}.on('exit', code => say('worker ' + code))`)
    const said = await speak(script.replace('setTimeout(', "worker.on('exit', "), 'pipe', child =>
      child.stderr.destroy(),
    )
    assert.deepEqual(said.slice(1), ['worker 0', 'alive'])
  })

  it('is a line of no more than a pipe takes whole', async () => {
    const run = await runNode(['-e', `require('milo/plugin').logRarely('x', 'warn', 'y'.repeat(1e6))`])
    assert.ok(run.stderr.length < 4096 && run.stderr.endsWith('y\n'))
  })
})
