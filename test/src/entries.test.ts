import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, runNode } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'

/** A folder in which the package is installed as npm would: from `npm pack`, with its dependencies. */
describe('the package', () => {
  let folder: string
  let files: string[]

  before(function () {
    this.timeout(30_000)
    folder = mkdtempSync(join(tmpdir(), 'milo-pack-'))
    const packed = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const [{ filename, files: listed }] = JSON.parse(packed.toString())
    files = listed.map((f: { path: string }) => f.path)
    const target = join(folder, 'node_modules', 'milo')
    mkdirSync(target, { recursive: true })
    execFileSync('tar', ['xzf', join(folder, filename), '-C', target, '--strip-components=1'])
    // Its dependencies, as they are installed here.
    for (const name of ['shimmer']) {
      execFileSync('cp', ['-r', join(ROOT, 'node_modules', name), join(folder, 'node_modules', name)])
    }
  })

  after(() => rmSync(folder, { recursive: true }))

  const run = async (name: string, text: string, args: string[] = [], env: Record<string, string> = {}) => {
    writeFileSync(join(folder, name), text)
    const result = await runNode([...args, join(folder, name)], env)
    assert.equal(result.stderr, '')
    return result.stdout.trim()
  }

  it('holds what it exports, the IDL and nothing of the tests', () => {
    const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    for (const entry of Object.values<any>(exports)) {
      if (typeof entry === 'string') continue
      for (const path of Object.values<string>(entry)) {
        for (const one of path.includes('*')
          ? [
              'thrift',
              'http',
              'undici',
              'mysql2',
              'pg',
              'express',
              'fastify',
              'koa',
              'cassandra-driver',
              'pino',
              'winston',
            ].map(name => path.replace('*', name))
          : [path]) {
          assert.ok(files.includes(one.slice(2)), `${one} isn't in the package`)
        }
      }
    }
    assert.ok(files.includes('src/idl/milo.thrift') && files.includes('LICENSE') && files.includes('README.md'))
    assert.deepEqual(
      files.filter(f => /^(test|collector|examples|docs)\//.test(f)),
      [],
    )
  })

  it('has no line that would fill the screen when Node prints it for an error that passes through', () => {
    const code = readFileSync(join(folder, 'node_modules/milo/dist/bundle.js'), 'utf8')
    assert.ok(Math.max(...code.split('\n').map(line => line.length)) < 1000)
  })

  it('is one copy of its state, whether required or imported', async () => {
    const text = `
      import { createRequire } from 'node:module'
      import assert from 'node:assert'
      const require = createRequire(import.meta.url)
      import milo, { init, span, stats, current } from 'milo'
      import { startSpan, currentSpan, Kind } from 'milo/plugin'
      import { createNamespace, getNamespace } from 'milo/cls'
      import { thrift } from 'milo/plugins/thrift'
      import { http } from 'milo/plugins/http'
      import { pino } from 'milo/plugins/pino'
      import { winston } from 'milo/plugins/winston'
      import { start, stop } from 'milo/testing'
      const required = require('milo')
      assert.equal(required.span, span); assert.equal(milo.span, span)
      assert.equal(require('milo/plugins/thrift').thrift, thrift); assert.equal(require('milo/plugins/http').http, http)
      required.init({ sampler: 'always', scribe: '127.0.0.1:1', logLevel: 'silent', exitTimeoutMs: 0 })
      span('x', s => { assert.equal(currentSpan(), s); assert.equal(require('milo/plugin').currentSpan(), s); assert.equal(required.current(), s) })
      assert.equal(stats().ended, 1); assert.equal(required.stats().ended, 1)
      assert.equal(require('milo/plugins/pino').pino, pino); assert.equal(require('milo/plugins/winston').winston, winston)
      const spans = start(); span('y', () => {}); assert.equal(spans[0].name, 'y'); assert.equal(require('milo/testing').tree(), 'y'); stop()
      const ns = createNamespace('n'); assert.equal(require('milo/cls').getNamespace('n'), ns)
      console.log('one')`
    assert.equal(await run('one.mjs', text), 'one')
  })

  it('has the public functions under both loaders', async () => {
    const names = 'init span wrap annotate record count current ids stats flush shutdown MiloError'.split(' ')
    const list = JSON.stringify(names)
    assert.equal(
      await run('a.cjs', `const m = require('milo'); console.log(${list}.every(n => typeof m[n] === 'function'))`),
      'true',
    )
    assert.equal(
      await run('a.mjs', `import * as m from 'milo'; console.log(${list}.every(n => typeof m[n] === 'function'))`),
      'true',
    )
  })

  for (const [flag, name] of [
    ['-r', 'b.cjs'],
    ['--import', 'b.cjs'],
    ['-r', 'b.mjs'],
    ['--import', 'b.mjs'],
  ] as const) {
    it(`starts by ${flag} milo/register for a ${name.slice(-4)} application, once`, async () => {
      const peer = await ScribePeer.listen()
      const load = name.endsWith('mjs')
        ? `import milo from 'milo'; import 'milo/register';`
        : `const milo = require('milo'); require('milo/register');`
      writeFileSync(join(folder, name), `${load} milo.span('x', s => console.log(s.sampled))`)
      const result = await runNode([flag, 'milo/register', name], { MILO_SCRIBE: peer.address }, folder)
      assert.deepEqual([result.stdout, result.stderr], ['true\n', ''])
      assert.deepEqual(
        peer.spans.map(s => s.name),
        ['x'],
      )
      await peer.close()
    })
  }

  it('says what milo/otel needs where OpenTelemetry’s API isn’t installed', async () => {
    writeFileSync(join(folder, 'otel.cjs'), `console.log(require('milo/otel').register())`)
    const { status, stdout, stderr } = await runNode([join(folder, 'otel.cjs')], {}, folder)
    assert.deepEqual([status, stdout], [0, 'false\n'])
    assert.match(stderr, /^milo warn: milo\/otel doesn't find @opentelemetry\/api[^\n]*\n$/)
  })

  it('has types for each entry', () => {
    writeFileSync(
      join(folder, 'types.mts'),
      `import milo, { init, span, type Span, type Options, type Stats } from 'milo'
       import type { Plugin } from 'milo/plugin'
       import { createNamespace } from 'milo/cls'
       import { thrift } from 'milo/plugins/thrift'
       import { pino } from 'milo/plugins/pino'
       import { winston } from 'milo/plugins/winston'
       import { start, tree, assertTree, ended, type TestSpan } from 'milo/testing'
       import 'milo/register'
       import otel, { register, unregister } from 'milo/otel'
       import 'milo/otel/register'
       const options: Options = { sampler: 'always' }
       init(options)
       const n: number = span('x', (s: Span) => s.annotate('a', 1).traceId.length)
       const stats: Stats = milo.stats()
       const plugin: Plugin = thrift
       const f: (a: number) => Promise<string> = milo.wrap(async (a: number) => String(a), 'f')
       const r: number = span('x', (s, done) => { setTimeout(done, 1); return 1 }, (error: Error | null) => {})
       const id: string | undefined = milo.ids()?.traceId
       const spans: TestSpan[] = start({ plugins: [pino, winston] })
       createNamespace('x'); void [n, stats, plugin, f, r, id, spans, tree(), assertTree, ended(1), otel, register() satisfies boolean, unregister]`,
    )
    execFileSync(
      join(ROOT, 'node_modules/.bin/tsc'),
      [
        '--noEmit',
        '--strict',
        '--module',
        'nodenext',
        '--moduleResolution',
        'nodenext',
        '--target',
        'es2022',
        '--types',
        'node',
        '--typeRoots',
        join(ROOT, 'node_modules/@types'),
        join(folder, 'types.mts'),
      ],
      { cwd: folder, stdio: 'pipe' },
    )
  }).timeout(60_000)

  it('is small: 2 MB with its dependencies, at most 10 packages', () => {
    const size = (path: string): number =>
      statSync(path).isDirectory()
        ? readdirSync(path).reduce((sum, f) => sum + size(join(path, f)), 0)
        : statSync(path).size
    const packages = readdirSync(join(folder, 'node_modules'))
    assert.ok(packages.length <= 10)
    const total = packages.reduce((sum, name) => sum + size(join(folder, 'node_modules', name)), 0)
    assert.ok(total <= 2_000_000, `${total} bytes`)
    assert.ok(existsSync(join(folder, 'node_modules/milo/dist/bundle.js')))
  })
})
