import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, runNode } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'
import { npmPackages } from '../servers/npm'

/** The last version of thrift that jest can load on Node 20: the next one needs a package that is ESM alone. */
const THRIFT = 'thrift@0.20.0'

/** As an application has it: a server, a client, one call. */
const CALC = `
  const thrift = require('thrift'), Calculator = require('./gen-nodejs/Calculator')
  exports.add = (a, b) => new Promise((done, fail) => {
    const server = thrift.createServer(Calculator, { add: async (a, b) => a + b }).on('error', fail)
    server.listen(0, '127.0.0.1', () => {
      const connection = thrift.createConnection('127.0.0.1', server.address().port, {})
      thrift.createClient(Calculator, connection).add(a, b).then(done, fail).finally(() => { connection.end(); server.close() })
    })
  })`
const JEST = `const { add } = require('./calc')
  test('adds', async () => expect(await add(1, 2)).toBe(3))
  test('adds again', async () => expect(await add(2, 2)).toBe(4))`
const VITEST = `import { expect, test } from 'vitest'
  import { add } from './calc'
  test('adds', async () => expect(await add(1, 2)).toBe(3))
  test('adds again', async () => expect(await add(2, 2)).toBe(4))`
/** Says how large the heap is after ten files, and after twenty, once it no longer shrinks: the last files' connections end late. */
const REPORTER = `let files = 0
  module.exports = class {
    async onTestResult() {
      if (++files % 10 !== 0) return
      let least = Infinity
      for (let same = 0; same < 10; same++) {
        await new Promise(done => setTimeout(done, 50))
        gc()
        const { heapUsed } = process.memoryUsage()
        if (heapUsed < least - 1e5) [least, same] = [heapUsed, 0]
      }
      console.log(least)
    }
  }`

describe('test runners', () => {
  const folders: string[] = []
  after(() => {
    for (const folder of folders) rmSync(folder, { recursive: true })
  })

  async function project(packages: string[], files: Record<string, string>): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), 'milo-runners-'))
    folders.push(folder)
    symlinkSync(join(await npmPackages(...packages), 'node_modules'), join(folder, 'node_modules'))
    cpSync(join(ROOT, 'test/gen/es6'), join(folder, 'gen-nodejs'), { recursive: true })
    mkdirSync(join(folder, 'tests'))
    const all = { 'package.json': '{"name":"tested"}', 'calc.js': CALC, ...files }
    for (const [path, text] of Object.entries(all)) writeFileSync(join(folder, path), text)
    return folder
  }

  /** The spans that a run sends with Milo before everything; nothing may be said of them. */
  async function traced(folder: string, args: string[]) {
    const scribe = await ScribePeer.listen()
    try {
      const NODE_OPTIONS = `-r ${join(ROOT, 'dist/register.js')}`
      const env = { NODE_OPTIONS, MILO_SCRIBE: scribe.address, MILO_SAMPLER: 'always' }
      const { status, stdout, stderr } = await runNode(args, env, folder)
      assert.equal(status, 0, stdout + stderr)
      assert.doesNotMatch(stdout + stderr, /milo \w+:/)
      const spans = scribe.spans.map(({ service, name }) => `${service} ${name}`)
      return { stdout, spans, traces: new Set(scribe.spans.map(({ traceId }) => traceId)).size }
    } finally {
      await scribe.close()
    }
  }
  const EIGHT = Array(8).fill('tested Calculator.add')

  it('jest: calls of its own registries are traced, in workers', async () => {
    const folder = await project(['jest@30', THRIFT], { 'a.test.js': JEST, 'b.test.js': JEST })
    const { spans, traces } = await traced(folder, ['node_modules/jest/bin/jest.js', '--maxWorkers=2'])
    assert.deepEqual([spans, traces], [EIGHT, 4])
  }).timeout(120_000)

  it('jest: the same in band, and nothing of a test file’s is kept', async () => {
    const one = JEST.split('\n').slice(0, 2).join('\n').replace('./', '../')
    const tests = Array.from({ length: 20 }, (_, i) => [`tests/${i}.test.js`, one])
    // jest begins with the longest: this one collects its own spans, and leaves Milo as it was.
    const collects =
      `const testing = require(${JSON.stringify(join(ROOT, 'dist/testing'))}), { add } = require('../calc')
      test('collects', async () => {
        testing.start()
        await add(1, 2)
        expect((await testing.ended(2)).map(({ kind }) => kind).sort()).toEqual(['client', 'server'])
        testing.stop()
      })`.padEnd(1000)
    const files = { ...Object.fromEntries(tests.slice(1)), 'tests/collects.test.js': collects, 'heap.js': REPORTER }
    const folder = await project(['jest@30', THRIFT], files)
    const jest = ['--expose-gc', 'node_modules/jest/bin/jest.js', '-i', '--reporters=./heap.js']
    const { stdout, spans, traces } = await traced(folder, jest)
    assert.deepEqual([spans.length, traces], [38, 19])
    const [bytes, bytesLater] = stdout.trim().split('\n').map(Number) as [number, number]
    // What Thrift alone takes for each file is half a megabyte.
    assert.ok(bytesLater - bytes < 2e6, stdout)
  }).timeout(120_000)

  it('jest: what is sent once a test file has ended needs no further module, with a history and without, and the last file’s is sent', async () => {
    const scribe = await ScribePeer.listen()
    scribe.keeps = () => {}
    try {
      // It ends before anything has been connected, and before this machine’s name has been asked for.
      const file = (sampler: string) => `const milo = require(${JSON.stringify(join(ROOT, 'dist'))})
        milo.init({ scribe: '${scribe.address}', sampler: '${sampler}', retroactive: true })
        test('works', () => milo.span('fails', span => void span.fail('bad')))`
      const wait = `${' '.repeat(300)}test('waits', () => new Promise(done => setTimeout(done, 700)))`
      // jest begins with the longest.
      const longest = (text: string) => text.padEnd(500)
      const files = { 'a.test.js': longest(file('always')), 'b.test.js': longest(file('never')), 'c.test.js': wait }
      const folder = await project(['jest@30', THRIFT], { ...files, 'd.test.js': file('never') })
      async function sent(...args: string[]) {
        const { status, stdout, stderr } = await runNode(['node_modules/jest/bin/jest.js', ...args], {}, folder)
        assert.equal(status, 0, stderr)
        assert.doesNotMatch(stdout + stderr, /milo \w+:|torn down|open handle|did not exit/)
        return scribe.spans.splice(0).map(({ name }) => name)
      }
      assert.deepEqual(await sent('--detectOpenHandles'), Array(3).fill('fails'))
      for (const name of ['a', 'c']) rmSync(join(folder, `${name}.test.js`))
      assert.deepEqual(await sent('--maxWorkers=2'), ['fails', 'fails'])
    } finally {
      await scribe.close()
    }
  }).timeout(120_000)

  it('jest: ThriftInstrumentation says to load OpenTelemetry’s setup before jest, and traces what it loads then', async () => {
    const milo = JSON.stringify(join(ROOT, 'dist/otel-instrumentation.js'))
    const api = JSON.stringify(join(ROOT, 'node_modules/@opentelemetry/api'))
    const setup = `const { trace } = require(${api}), { ThriftInstrumentation } = require(${milo})
      const span = trace.wrapSpanContext({ traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: 0 })
      const startSpan = name => (require('fs').writeSync(2, 'started ' + name + '\\n'), span)
      new ThriftInstrumentation().setTracerProvider({ getTracer: () => ({ startSpan }) })`
    const files = { 'setup.cjs': setup, 'a.test.js': JEST }
    const folder = await project(['jest@30', THRIFT], files)
    const jest = ['node_modules/jest/bin/jest.js', '-i']
    const inside = [...jest, '--setupFiles', './setup.cjs']
    assert.match(
      (await runNode(inside, {}, folder)).stderr,
      /^milo warn: what jest loads \(thrift, .* ThriftInstrumentation can't see .*: start jest with the file that sets OpenTelemetry up/m,
    )
    const { stderr, status } = await runNode(jest, { NODE_OPTIONS: '-r ./setup.cjs' }, folder)
    assert.equal(status, 0, stderr)
    assert.equal(stderr.match(/started Calculator\/add/g)?.length, 4)
    assert.doesNotMatch(stderr, /milo \w+:/)
  }).timeout(120_000)

  it('vitest’s vm pools: says that packages aren’t traced there', async () => {
    const folder = await project(['vitest@4', THRIFT], { 'a.test.js': VITEST })
    const args = ['node_modules/vitest/vitest.mjs', 'run', '--pool=vmThreads']
    const NODE_OPTIONS = `-r ${join(ROOT, 'dist/register.js')}`
    const { status, stderr } = await runNode(args, { NODE_OPTIONS, MILO_SCRIBE: '127.0.0.1:1' }, folder)
    assert.equal(status, 0, stderr)
    assert.match(
      stderr,
      /^milo warn: what vitest's vm pools load \(.*\bthrift\b.*and isn't traced: run vitest with --pool=forks/m,
    )
  }).timeout(120_000)

  for (const version of ['3', '4']) {
    it(`vitest ${version}: calls are traced in processes and in threads, the last ones too`, async () => {
      const files = { 'a.test.js': VITEST, 'b.test.js': VITEST }
      const folder = await project([`vitest@${version}`, THRIFT], files)
      for (const pool of ['forks', 'threads']) {
        const { spans, traces } = await traced(folder, ['node_modules/vitest/vitest.mjs', 'run', `--pool=${pool}`])
        assert.deepEqual([pool, spans, traces], [pool, EIGHT, 4])
      }
    }).timeout(120_000)
  }
})
