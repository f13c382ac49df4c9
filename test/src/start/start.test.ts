import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readSettings } from '../../../src/start/options'
import { ROOT, runNode } from '../../helpers/child'
import { ScribePeer } from '../../helpers/scribe-peer'

const MILO = JSON.stringify(join(ROOT, 'dist/index.js'))
const TESTING = JSON.stringify(join(ROOT, 'dist/testing.js'))

describe('a start', () => {
  let folder: string

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-start-'))
    const pino = join(folder, 'node_modules', 'pino', 'lib')
    mkdirSync(pino, { recursive: true })
    writeFileSync(join(pino, '..', 'package.json'), '{"name":"pino","version":"9.0.0","main":"lib/tools.js"}')
    writeFileSync(join(pino, 'symbols.js'), 'exports.chindingsSym = Symbol()')
    writeFileSync(
      join(pino, 'tools.js'),
      `require('./symbols'); exports.asJson = (obj, msg, num, time) => '{' + time + '}'`,
    )
  })

  after(() => rmSync(folder, { recursive: true }))

  const register = (text: string, env: Record<string, string>) =>
    runNode(
      ['-r', join(ROOT, 'dist/register.js'), '-e', text],
      { MILO_SAMPLER: 'always', MILO_SCRIBE: '127.0.0.1:1', ...env },
      folder,
    )

  it('traces nothing when MILO_PLUGINS names an unknown plugin, as it says', async () => {
    const { stdout, stderr } = await register(
      `const milo = require(${MILO}); milo.span('x', span => console.log(span.sampled, process.listenerCount('exit'), '__wrapped' in require('http').ClientRequest.prototype._storeHeader))`,
      { MILO_PLUGINS: 'htp' },
    )
    assert.equal(stdout, 'false 0 false\n')
    assert.match(stderr, /^milo error: MILO_BAD_PLUGINS: .*got 'htp' — the application runs untraced\n$/)
  })

  it('adds the plugins and leaves what init was given when milo/register comes after init, and says so', async () => {
    const register = JSON.stringify(join(ROOT, 'dist/register.js'))
    const program = (enabled: boolean) => `const milo = require(${MILO})
      milo.init({ enabled: ${enabled}, sampler: 'always', scribe: '127.0.0.1:1', maxBufferedSpans: 1 })
      milo.span('one', () => {})
      require(${register})
      milo.span('two', () => {})
      const { ended, buffered, dropped, drops } = milo.stats()
      console.log(ended, buffered + dropped, drops.buffer_full, '__wrapped' in require('http').ClientRequest.prototype._storeHeader)
      process.exit()`
    const env = { MILO_SAMPLER: 'never' }
    const on = await runNode(['-e', program(true)], env, folder)
    assert.equal(on.stdout, '2 2 1 true\n')
    assert.match(on.stderr, /milo warn: milo\/register came after init: what init was given stays/)
    assert.equal((await runNode(['-e', program(false)], env, folder)).stdout, '0 0 0 false\n')
  })

  it('runs the application untraced when a variable can’t be used, also by init, which throws for an option', async () => {
    const program = `const milo = require(${MILO})
      milo.init({ enabled: true })
      milo.span('x', span => console.log(span.sampled))
      try { milo.init({ sampler: 'x', propagation: 'field' }) } catch (error) { console.log(error.code) }`
    const { stdout, stderr } = await runNode(['-e', program], { MILO_PROPAGATION: 'compactt' }, folder)
    assert.equal(stdout, 'false\nMILO_BAD_SAMPLER\n')
    assert.match(
      stderr,
      /^milo error: MILO_BAD_PROPAGATION: .* got 'compactt', in MILO_PROPAGATION — the application runs untraced\n$/,
    )
  })

  it('survives samplers and plugins of the application’s that are async, and reject', async () => {
    const program = `const milo = require(${MILO})
      const fail = async () => { throw new Error('mine') }
      const init = sampler => milo.init({ sampler, scribe: '127.0.0.1:1', plugins: [{ name: 'p', patches: [], onLoad: fail }] })
      init({ sample: fail })
      milo.span('x', () => {})
      init({ sample: () => 1, adjust: fail })
      milo.span('x', () => {})
      require('./node_modules/pino/lib/symbols')
      setTimeout(() => { console.log('runs'); process.exit() }, 20)`
    const { stdout, stderr } = await runNode(['-e', program], {}, folder)
    assert.equal(stdout, 'runs\n', stderr)
    assert.match(stderr, /symbols.js couldn't be patched by the plugin p \(Error: mine\) and isn't traced$/m)
  })

  it('names a variable that is misspelled, once, with the one that was meant', async () => {
    const { stdout, stderr } = await register(`require(${MILO}).init(); console.log('runs')`, {
      MILO_SAMPLR: 'never',
      MILO_SERVICE_NAME: 'x',
      milo_log_level: 'debug',
      MILO_XYZZY: '1',
      MILO_COLLECTOR_PORT: '1',
      ...{ MILO_COLLECTOR: 'x', MILO_LOAD_TOKEN: 'x', MILO_HDFS_TOKEN: 'x', MILO_EXPORT_TOKEN: 'x' },
      MILO_LOG_LEVEL: '',
    })
    assert.equal(stdout, 'runs\n')
    const said = (name: string) => `milo warn: ${name} isn't a variable of Milo's and is ignored: `
    const lines = stderr.trim().split('\n').sort()
    assert.deepEqual(lines.slice(0, 2), [
      `${said('MILO_SAMPLR')}did you mean MILO_SAMPLER?`,
      `${said('MILO_SERVICE_NAME')}did you mean MILO_SERVICE?`,
    ])
    assert.ok(lines[2]!.startsWith(`${said('MILO_XYZZY')}there are MILO_ENABLED, `))
    assert.equal(lines[3], `${said('milo_log_level')}did you mean MILO_LOG_LEVEL?`)
    assert.equal(lines.length, 4)
  })

  it('names a variable that has no effect without another one, and none that has', () => {
    const said = (env: NodeJS.ProcessEnv, options = {}) => readSettings(options, env).oddVariables
    const alone = { MILO_RETROACTIVE_LATERAL: '3', MILO_SPOOL_MAX_BYTES: '5', MILO_EXPORT_HEADERS: 'a=b' }
    assert.deepEqual(said(alone), [
      'MILO_RETROACTIVE_LATERAL has no effect without MILO_RETROACTIVE=1',
      'MILO_SPOOL_MAX_BYTES has no effect without MILO_SPOOL',
      'MILO_EXPORT_HEADERS has no effect without an exporter over HTTP in MILO_EXPORT',
    ])
    const all = { ...alone, MILO_SPOOL_MAX_BYTES: '5000000' }
    assert.deepEqual(
      said(all, { retroactive: true, spool: { directory: tmpdir() }, export: 'scribe,otlp:http://127.0.0.1:4318' }),
      [],
    )
    assert.deepEqual(said({ MILO_RETROACTIVE: '1', MILO_RETROACTIVE_BYTES: '10000000', MILO_SPOOL_MAX_BYTES: '' }), [])
  })

  it('knows each variable that it reads', () => {
    const read = [...readFileSync(join(ROOT, 'src/start/options.ts'), 'utf8').matchAll(/env\.(MILO_\w+)/g)].map(
      ([, name]) => name!,
    )
    assert.ok(read.length >= 10)
    assert.deepEqual(readSettings({}, Object.fromEntries(read.map(name => [name, '']))).oddVariables, [])
  })

  it('is the same for milo/testing: ids in logs, milo/cls, and no plugin twice', async () => {
    const { stdout, stderr } = await runNode(
      [
        '-e',
        `const milo = require(${MILO}), testing = require(${TESTING})
         const { pino } = require(${JSON.stringify(join(ROOT, 'dist/plugins/pino.js'))})
         testing.start({ logCorrelation: true, clsHooked: true, plugins: [pino] })
         testing.start({ logCorrelation: true, plugins: [pino] })
         console.log(require('cls-hooked').createNamespace === require(${JSON.stringify(join(ROOT, 'dist/cls.js'))}).createNamespace)
         milo.span('x', () => console.log(require('pino').asJson.call({}, {}, '', 0, '"time":1').match(/trace_id/g).length))`,
      ],
      {},
      folder,
    )
    assert.deepEqual([stdout, stderr], ['true\n1\n', ''])
  })

  it('says that a plugin isn’t installed when another has its name', async () => {
    const { stdout, stderr } = await register(
      `require(${MILO}).init({ plugins: [{ name: 'http', patches: [{ module: 'path', patch() { console.log('patched') } }] }] })`,
      {},
    )
    assert.equal(stdout, '')
    assert.equal(stderr, "milo warn: the plugin http was given after another one of that name and isn't installed\n")
  })

  it('leaves the other plugins in place when it fails within one’s patch, and everything off with MILO_ENABLED=0', async () => {
    const text = `const milo = require(${MILO}); const broken = { name: 'broken', patches: [{ module: 'http', patch() { throw new Error('no') } }] }
      milo.init({ plugins: [broken] }); require('http'); milo.span('x', span => console.log(span.sampled))`
    const on = await register(text, {})
    assert.equal(on.stdout, 'true\n')
    assert.match(on.stderr, /^milo error: the plugin broken failed and is off for this process: Error: no/)
    assert.deepEqual(await register(text, { MILO_ENABLED: '0' }), {
      status: 0,
      signal: null,
      stdout: 'false\n',
      stderr: '',
    })
  })

  it('sends what is on its way when another exporter takes the place of one', async () => {
    const scribe = await ScribePeer.listen()
    try {
      const { stdout, stderr } = await runNode([
        '-e',
        `const milo = require(${MILO})
        milo.init({ scribe: '${scribe.address}', sampler: 'always', logLevel: 'silent' })
        for (let i = 0; i < 600; i++) milo.span('before', () => {})
        // A batch is on its way, and its connection has yet to be made.
        void milo.flush(10_000)
        milo.init({ export: 'otlp:http://127.0.0.1:1', sampler: 'always', logLevel: 'silent', exitTimeoutMs: 5000 })`,
      ])
      assert.deepEqual([stdout, stderr], ['', ''])
      assert.equal(scribe.spans.filter(({ name }) => name === 'before').length, 500)
    } finally {
      await scribe.close()
    }
  })

  it('forgets no span of the start before it: what waits, flies or is open goes on, and the counts add up', async () => {
    const scribe = await ScribePeer.listen()
    try {
      const { stdout, stderr } = await runNode([
        '-e',
        `const milo = require(${MILO})
        const sane = () => { const s = milo.stats(); return s.ended === s.sent + s.buffered + s.inFlight + s.spooled + s.dropped }
        const init = (scribe, more) => milo.init({ scribe, sampler: 'always', logLevel: 'silent', ...more })
        init('127.0.0.1:1')
        const open = milo.span('open')
        for (let i = 0; i < 600; i++) milo.span('before', () => {})
        const flying = milo.flush(5)
        setImmediate(async () => {
          init('127.0.0.1:1', { maxBufferedSpans: 700 })
          milo.span('between', () => {})
          await flying
          init('${scribe.address}')
          open.end()
          milo.span('after', () => {})
          const all = await milo.flush(10_000), { ended, sent, dropped } = milo.stats()
          console.log(all, sane(), ended, sent, dropped)
        })`,
      ])
      assert.deepEqual([stdout, stderr], ['true true 603 603 0\n', ''])
      const names = scribe.spans.map(({ name }) => name)
      for (const [name, count] of [
        ['before', 600],
        ['between', 1],
        ['open', 1],
        ['after', 1],
      ] as const)
        assert.equal(names.filter(one => one === name).length, count, name)
    } finally {
      await scribe.close()
    }
  })
})
