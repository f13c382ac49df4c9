import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, runNode } from '../../helpers/child'
import { ScribePeer } from '../../helpers/scribe-peer'

describe('several copies of Milo in one process', () => {
  let folder: string

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-copies-'))
    const copy = (at: string) => {
      const modules = join(folder, at, 'node_modules')
      mkdirSync(modules, { recursive: true })
      cpSync(join(ROOT, 'dist'), join(modules, 'milo', 'dist'), { recursive: true })
      cpSync(join(ROOT, 'package.json'), join(modules, 'milo', 'package.json'))
      cpSync(join(ROOT, 'node_modules', 'shimmer'), join(modules, 'shimmer'), { recursive: true })
      return join(modules, 'milo', 'dist', 'bundle.js')
    }
    copy('one')
    copy('same')
    const other = copy('other')
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    writeFileSync(other, readFileSync(other, 'utf8').replaceAll(`"${version}"`, '"99.0.0"'))
  })

  after(() => rmSync(folder, { recursive: true }))

  /** One request, within spans of both copies; prints what the application can see of Milo. */
  const program = (second: string) => `
    const http = require('node:http')
    const one = require('./one/node_modules/milo'), two = require('./${second}/node_modules/milo')
    require('./${second}/node_modules/milo/dist/register.js')
    two.init({ sampler: 'always' })
    const seen = new Set(process.rawListeners('exit').map(f => f.toString()))
    const server = http.createServer((req, res) => two.span('by two', span => { one.annotate('from', 'one'); res.end(String(two.ids()?.spanId === one.ids()?.spanId)) }))
    server.listen(0, '127.0.0.1', () => one.span('by one', () => http.get(server.address(), res => {
      res.setEncoding('utf8').on('data', same => console.log(same, process.listenerCount('exit'), '__original' in http.ClientRequest.prototype._storeHeader.__original))
      server.close()
    })))`

  async function run(second: string, flags: string[]) {
    const scribe = await ScribePeer.listen()
    try {
      writeFileSync(join(folder, 'app.cjs'), program(second))
      const env = { MILO_SCRIBE: scribe.address, MILO_SAMPLER: 'always' }
      const result = await runNode([...flags, 'app.cjs'], env, folder)
      assert.equal(result.status, 0, result.stderr)
      const spans = scribe.spans.map(({ name, annotations }) => [name, annotations?.get('from')]).sort()
      return { ...result, spans, traces: new Set(scribe.spans.map(({ traceId }) => traceId)).size }
    } finally {
      await scribe.close()
    }
  }

  for (const flags of [
    ['-r', './one/node_modules/milo/dist/register.js'],
    ['--import', './one/node_modules/milo/dist/register.mjs'],
  ]) {
    it(`is one for all of the same version, with ${flags[0]}`, async () => {
      const { stdout, stderr, spans, traces } = await run('same', flags)
      assert.equal(stdout, 'true 0 false\n')
      assert.deepEqual(spans, [
        ['GET /', undefined],
        ['GET /', undefined],
        ['by one', undefined],
        ['by two', 'one'],
      ])
      assert.equal(traces, 1)
      assert.equal(
        stderr,
        `milo warn: the copy of Milo in ${join(folder, 'same/node_modules/milo/dist')} stands back, and gives its calls to the one that runs, in ${join(folder, 'one/node_modules/milo/dist')}\n`,
      )
    })
  }

  it('leaves the process to the first when the versions differ, and says so once, with both places', async () => {
    const { stdout, stderr, spans, traces } = await run('other', ['-r', './one/node_modules/milo/dist/register.js'])
    assert.equal(stdout, 'false 0 false\n')
    assert.deepEqual(spans, [
      ['GET /', undefined],
      ['GET /', 'one'],
      ['by one', undefined],
    ])
    assert.equal(traces, 1)
    assert.match(
      stderr,
      /^milo warn: Milo 99\.0\.0 in \S+other\S+ stands back and traces nothing: Milo \S+ in \S+one\S+ runs already; install one version for all\n$/,
    )
  })

  it('lets the newest of realms that come and go take over, with one wrapper for all and nothing kept of the others', async () => {
    writeFileSync(
      join(folder, 'realms.cjs'),
      `const vm = require('node:vm'), http = require('node:http'), { readFileSync } = require('node:fs'), { dirname } = require('node:path')
      const { createRequire } = require('node:module')
      const file = require.resolve('./one/node_modules/milo/dist/bundle.js')
      const text = readFileSync(file, 'utf8')
      // As jest does for each test file: only what is built in is shared.
      function evaluate() {
        const context = vm.createContext({ process, Buffer, setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate, performance, queueMicrotask })
        const load = createRequire(file), module = { exports: {} }, own = {}
        const require = id => id === 'shimmer' ? (own[id] ??= (() => { const m = { exports: {} }; run(load.resolve(id), m); return m.exports })()) : load(id)
        const run = (path, m) => vm.runInContext('(function (exports, require, module, __dirname) {' + readFileSync(path, 'utf8') + '\\n})', context)(m.exports, require, m, dirname(path))
        run(file, module)
        return module.exports.milo
      }
      const emits = () => { let n = 0; for (let f = http.ClientRequest.prototype._storeHeader; f.__original; f = f.__original) n++; return n }
      async function request(milo) {
        const spans = milo.testing.start({ plugins: [milo.http] })
        const server = http.createServer((req, res) => res.end()).listen(0, '127.0.0.1')
        await new Promise(done => server.once('listening', done))
        await milo.index.span('outer', () => new Promise(done => http.get({ ...server.address(), agent: false }, res => res.resume().on('end', done))))
        await new Promise(done => server.close(done))
        await milo.testing.ended(3, 20_000)
        return spans.map(span => span.name).sort().join()
      }
      const realms = []
      async function file_() { const milo = evaluate(); realms.push(new WeakRef(milo)); return request(milo) }
      (async () => {
        const seen = new Set()
        for (let i = 0; i < 8; i++) seen.add(await file_() + ' ' + emits())
        console.log([...seen].join('; '))
        const kept = () => realms.filter(one => one.deref()).length
        // What has been looked at is kept until the turn ends.
        for (let i = 0; i < 500 && kept() > 2; i++) { await new Promise(go => setTimeout(go, 20)); gc() }
        console.log(kept() <= 2)
        // A copy that stays isn't taken over: what comes later is this one.
        const stays = require('./one/node_modules/milo/dist/bundle.js').milo
        console.log(await request(stays), emits(), evaluate() === stays)
      })()`,
    )
    const { stdout, stderr } = await runNode(['--expose-gc', 'realms.cjs'], {}, folder)
    assert.deepEqual([stdout, stderr], ['GET /,GET /,outer 1\ntrue\nGET /,GET /,outer 1 true\n', ''])
  })
})
