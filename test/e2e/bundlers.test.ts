import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { finished, ROOT, runNode, startNode } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'
import { npmPackages } from '../servers/npm'

const PACKAGES = [
  ...['webpack@5', '@vercel/ncc@0.45', 'rollup@4', '@rollup/plugin-commonjs@29', '@rollup/plugin-node-resolve@16'],
  ...['@rollup/plugin-json@6', 'esbuild@0.28', 'thrift@0.24.0', 'mysql2@3'],
]

/** A server and two calls: by a client that thrift makes, and by one that only generated code knows. */
const APP = `
  import thrift from 'thrift'
  import Calculator from './gen-nodejs/Calculator.js'
  thrift.setLogFunc(() => {})
  const server = thrift.createServer(Calculator, { add: async (a, b) => a + b })
  server.listen(0, '127.0.0.1', async () => {
    const connection = thrift.createConnection('127.0.0.1', server.address().port, {})
    const one = await thrift.createClient(Calculator, connection).add(1, 2)
    const write = (buffer, seqid) => connection.write(buffer, seqid)
    const client = (connection.client = new Calculator.Client(new thrift.TBufferedTransport(undefined, write), thrift.TBinaryProtocol))
    console.log(one, await client.add(3, 4))
    connection.end()
    server.close()
  })`

/** Builds as applications do. */
const BUILD = `
  import { createRequire } from 'node:module'
  import { basename, dirname } from 'node:path'
  import { esbuildPlugin, rollupPlugin, WebpackPlugin } from ${JSON.stringify(join(ROOT, 'dist/bundler.mjs'))}
  const [bundler, entry, outfile] = process.argv.slice(2), load = createRequire(import.meta.url)
  if (bundler === 'esbuild' || bundler === 'bare') {
    const options = { bundle: true, platform: 'node', minify: true, logLevel: 'error' }
    await load('esbuild').build({ ...options, entryPoints: [entry], outfile, plugins: bundler === 'bare' ? [] : [esbuildPlugin()] })
  } else if (bundler === 'webpack') {
    const output = { path: dirname(outfile), filename: basename(outfile) }
    const externals = { bufferutil: 'commonjs bufferutil', 'utf-8-validate': 'commonjs utf-8-validate' }
    const optimization = { minimize: false }
    const options = { mode: 'production', optimization, target: 'node', entry, output, externals, plugins: [new WebpackPlugin()] }
    load('webpack')(options, (error, stats) => {
      if (error || stats.hasErrors()) throw error ?? new Error(String(stats))
    })
  } else {
    const plugins = [
      rollupPlugin(),
      load('@rollup/plugin-node-resolve').nodeResolve({ preferBuiltins: true }),
      load('@rollup/plugin-commonjs')({ ignoreDynamicRequires: true, ignore: ['bufferutil', 'utf-8-validate'] }),
      load('@rollup/plugin-json')(),
    ]
    const bundle = await load('rollup').rollup({ input: entry, plugins, onwarn() {} })
    await bundle.write({ file: outfile, format: 'cjs', inlineDynamicImports: true })
  }`

describe('bundlers', () => {
  let project: string
  /** Where nothing is but the bundle. */
  let alone: string
  let load: NodeJS.Require

  before(async function () {
    this.timeout(120_000)
    project = mkdtempSync(join(tmpdir(), 'milo-bundlers-'))
    alone = mkdtempSync(join(tmpdir(), 'milo-bundle-'))
    symlinkSync(join(await npmPackages(...PACKAGES), 'node_modules'), join(project, 'node_modules'))
    cpSync(join(ROOT, 'test/gen/es6'), join(project, 'gen-nodejs'), { recursive: true })
    writeFileSync(join(project, 'calls.js'), APP)
    writeFileSync(join(project, 'app.js'), `import 'mysql2'\nimport './calls.js'`)
    writeFileSync(join(project, 'build.mjs'), BUILD)
    writeFileSync(
      join(project, 'inside.js'),
      `import ${JSON.stringify(join(ROOT, 'dist/register.js'))}\nimport './calls.js'`,
    )
    load = createRequire(join(project, 'app.js'))
  })
  after(() => {
    for (const folder of [project, alone]) rmSync(folder, { recursive: true })
  })

  async function build(bundler: string, entry: string, outfile: string) {
    const { status, stderr } = await runNode(['build.mjs', bundler, `./${entry}`, outfile], {}, project)
    assert.equal(status, 0, stderr)
  }

  async function run(file: string, flags: string[], level = 'warn', cwd = alone) {
    const scribe = await ScribePeer.listen()
    try {
      const env = { MILO_SCRIBE: scribe.address, MILO_SAMPLER: 'always', MILO_LOG_LEVEL: level }
      const { status, stdout, stderr } = await runNode(['--no-deprecation', ...flags, file], env, cwd)
      assert.deepEqual([status, stdout], [0, '3 7\n'], stderr)
      return {
        stderr,
        all: scribe.spans,
        spans: scribe.spans.map(({ name }) => name),
        traces: new Set(scribe.spans.map(s => s.traceId)).size,
      }
    } finally {
      await scribe.close()
    }
  }
  const RESULT = ['thrift.result', 'error.type']
  const OUTSIDE = ['-r', join(ROOT, 'dist/register.js')]

  const CASES: [string, string, string[]][] = [
    ['esbuild', 'app', OUTSIDE],
    ['esbuild', 'inside', []],
    ['webpack', 'inside', []],
    ['rollup', 'inside', []],
  ]
  for (const [name, entry, flags] of CASES) {
    it(`${name}: what is within is traced by a Milo ${entry === 'app' ? 'outside' : 'within'}`, async () => {
      const file = join(alone, `${name}-${entry}.js`)
      await build(name, `${entry}.js`, file)
      const { stderr, spans, traces } = await run(file, flags, 'info')
      assert.deepEqual([spans, traces], [Array(4).fill('Calculator.add'), 2])
      assert.match(stderr, /patched: .*\bthrift 0\.24\.0/)
      if (entry === 'app') assert.match(stderr, /patched: .*\bmysql2 3\./)
      assert.doesNotMatch(stderr, /not patched|warn|error/)
    }).timeout(60_000)
  }

  it('says which package was within the bundle before Milo', async () => {
    writeFileSync(
      join(project, 'late.js'),
      `import './calls.js'\nimport ${JSON.stringify(join(ROOT, 'dist/register.js'))}`,
    )
    await build('esbuild', 'late.js', join(alone, 'late.js'))
    const { stderr, spans } = await run(join(alone, 'late.js'), [])
    assert.deepEqual(spans, [])
    assert.match(stderr, /^milo warn: thrift was loaded before Milo and isn't traced: import 'milo\/register' first/m)
  })

  it('ThriftInstrumentation within a bundle: traces what is in it, and says so where it can’t', async () => {
    const own = (file: string) => JSON.stringify(join(ROOT, file))
    writeFileSync(
      join(project, 'setup.js'),
      `import { trace } from ${own('node_modules/@opentelemetry/api')}
       import { ThriftInstrumentation } from ${own('dist/otel-instrumentation.js')}
       const span = trace.wrapSpanContext({ traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: 0 })
       const startSpan = name => (process.stderr.write(name + '\\n'), span)
       new ThriftInstrumentation().setTracerProvider({ getTracer: () => ({ startSpan }) })`,
    )
    const calls = Array(4).fill('Calculator/add\n').join('')
    const left =
      /^milo warn: thrift is within the bundle \S+ and isn't traced: build it with the plugin of milo\/bundler/
    const early = /^milo warn: thrift was loaded before ThriftInstrumentation and isn't traced: import what sets Open/
    for (const [bundler, imports, said] of [
      ['esbuild', ['setup', 'calls'], new RegExp(`^${calls}$`)],
      ['bare', ['setup', 'calls'], left],
      ['esbuild', ['calls', 'setup'], early],
    ] as const) {
      writeFileSync(join(project, 'otel.js'), imports.map(name => `import './${name}.js'`).join('\n'))
      await build(bundler, 'otel.js', join(alone, 'otel.js'))
      assert.match((await run(join(alone, 'otel.js'), [])).stderr, said)
    }
  })

  it('minified: exceptions keep their names on both sides, and a reply that comes in parts is one', async () => {
    writeFileSync(
      join(project, 'errors.js'),
      `import ${JSON.stringify(join(ROOT, 'dist/register.js'))}
       import net from 'node:net'
       import thrift from 'thrift'
       import Calculator from './gen-nodejs/Calculator.js'
       import { Oops } from './gen-nodejs/calculator_types.js'
       const handler = { divide: (_a, _b) => Promise.reject(new Oops({ why: 'x' })), touch: () => Promise.reject(new TypeError('x')), add: async (_a, _b) => 3 }
       const server = thrift.createServer(Calculator, handler)
       // Passes each reply on in two parts.
       const proxy = net.createServer(async near => {
         const far = net.connect(server.address().port, '127.0.0.1').setNoDelay()
         near.pipe(far)
         for await (const reply of far) for (const part of [reply.subarray(0, 9), reply.subarray(9)]) {
           near.write(part)
           await new Promise(resolve => waiting = resolve)
         }
         near.end()
       })
       let waiting
       server.listen(0, '127.0.0.1', () => proxy.listen(0, '127.0.0.1', async () => {
         const connection = thrift.createConnection('127.0.0.1', proxy.address().port, {})
         const client = thrift.createClient(Calculator, connection)
         connection.connection.on('data', () => setImmediate(() => waiting()))
         await client.divide(1, 0).catch(error => process.stdout.write(error instanceof Oops ? '3' : ''))
         await client.touch().catch(() => process.stdout.write(' '))
         console.log((await client.add(3, 4)) + 4)
         connection.end()
         for (const one of [server, proxy]) one.close()
       }))`,
    )
    await build('esbuild', 'errors.js', join(alone, 'errors.js'))
    const { all } = await run(join(alone, 'errors.js'), [])
    assert.deepEqual(
      all.map(({ name, annotations }) => [name, ...RESULT.map(key => annotations!.get(key))].join(' ')).sort(),
      [
        ...Array(2).fill('Calculator.add ok '),
        ...Array(2).fill('Calculator.divide exception Oops'),
        ...Array(2).fill('Calculator.touch application_exception TApplicationException'),
      ],
    )
  }).timeout(60_000)

  it('minified: reflect of a promise of bluebird’s that is cancelled settles', async () => {
    const own = (path: string) => JSON.stringify(path)
    const bluebird = join(await npmPackages('bluebird@3.7.2'), 'node_modules/bluebird')
    writeFileSync(
      join(project, 'cancels.js'),
      `import milo from ${own(join(ROOT, 'dist/index.js'))}
       import ${own(join(ROOT, 'dist/register.js'))}
       import Bluebird from ${own(bluebird)}
       Bluebird.config({ cancellation: true })
       const job = new Bluebird(() => {})
       milo.span('own', () => job.reflect().then(one => console.log(one.isCancelled() ? 3 : 0, milo.current().recording ? 7 : 0)))
       job.cancel()`,
    )
    await build('esbuild', 'cancels.js', join(alone, 'cancels.js'))
    await run(join(alone, 'cancels.js'), [])
  }).timeout(60_000)

  it('runs without Milo as it would have', async () => {
    assert.deepEqual((await run(join(alone, 'esbuild-app.js'), [])).spans, [])
  })

  it('ncc, which has no plugins: what is left out is traced', async () => {
    const args = ['build', join(project, 'app.js'), '-q', '-o', join(project, 'out'), '-e', 'thrift', '-e', 'mysql2']
    const ncc = startNode([load.resolve('@vercel/ncc/dist/ncc/cli.js'), ...args], {}, project)
    const { status, stderr } = await finished(ncc, 60_000)
    assert.equal(status, 0, stderr)
    const ran = await run(join(project, 'out/index.js'), OUTSIDE, 'warn', project)
    assert.deepEqual([ran.stderr, ran.spans.length], ['', 4])
  }).timeout(60_000)
})
