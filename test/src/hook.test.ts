import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inRange } from '../../src/hook'
import { ROOT, runNode } from '../helpers/child'

describe('the hook', () => {
  let folder: string

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-hook-'))
    const library = join(folder, 'node_modules', 'library')
    mkdirSync(join(library, 'lib'), { recursive: true })
    writeFileSync(join(library, 'package.json'), '{"name":"library","version":"1.4.0-rc.1","main":"main.js"}')
    writeFileSync(
      join(library, 'main.js'),
      `exports.inner = require('./lib/inner'); exports.hello = function hello(a, b) { return 'hello' }`,
    )
    writeFileSync(join(library, 'lib', 'inner.js'), `module.exports = class Inner { value(x) { return 'inner' } }`)
  })

  after(() => rmSync(folder, { recursive: true }))

  /** Runs an application with one plugin whose patches are given as source text. */
  async function run(patches: string, application: string, file = 'app.cjs') {
    const plugin = join(folder, 'plugin.cjs')
    writeFileSync(
      plugin,
      `require(${JSON.stringify(join(ROOT, 'dist/index.js'))}).init({ sampler: 'never', plugins: [{ name: 'mine', patches: ${patches} }] })`,
    )
    writeFileSync(join(folder, file), application)
    return runNode(['-r', plugin, join(folder, file)])
  }

  const wrapHello = `plugin.wrap(exports, 'hello', original => function () { return original.apply(this, arguments) + ' patched' })`
  const app = `const l = require('library'); console.log(l.hello(), l.hello.length, l.hello.name, new l.inner().value())`

  it('patches a package’s main file and its internal ones, keeping length and name', async () => {
    const result = await run(
      `[{ module: 'library', versions: '>=1 <2', patch(exports, plugin) { ${wrapHello} } },
        { module: 'library', file: 'lib/inner.js', patch(Inner, plugin) { plugin.wrap(Inner.prototype, 'value', o => function () { return 'outer ' + o.call(this) }) } }]`,
      app,
    )
    assert.deepEqual(result, { status: 0, signal: null, stdout: 'hello patched 2 hello outer inner\n', stderr: '' })
  })

  it('reaches an ESM application, by default and by name', async () => {
    const result = await run(
      `[{ module: 'library', file: 'lib/inner.js', patch(Inner, plugin) { plugin.wrap(Inner.prototype, 'value', o => function () { return 'outer' }) } }]`,
      `import library, { inner } from 'library'; console.log(new inner().value(), new library.inner().value())`,
      'app.mjs',
    )
    assert.equal(result.stdout, 'outer outer\n')
  })

  it('leaves a version outside the range as it is, and says so', async () => {
    const result = await run(`[{ module: 'library', versions: '>=2', patch(exports, plugin) { ${wrapHello} } }]`, app)
    assert.equal(result.stdout, 'hello 2 hello inner\n')
    assert.match(result.stderr, /library 1\.4\.0-rc\.1 is outside >=2/)
  })

  it('switches a plugin that throws off, takes back what it wrapped, and says so once', async () => {
    const result = await run(
      `[{ module: 'library', file: 'lib/inner.js', patch(Inner, plugin) { plugin.wrap(Inner.prototype, 'value', o => function () { return 'outer' }) } },
        { module: 'library', patch(exports, plugin) { ${wrapHello}; throw new Error('broken') } }]`,
      app,
    )
    assert.equal(result.stdout, 'hello 2 hello inner\n')
    assert.equal(result.stderr.match(/the plugin mine failed and is off/g)?.length, 1)
  })

  it('installs a plugin once, however often init is given it', async () => {
    const plugin = `{ name: 'mine', patches: [{ module: 'library', patch(exports, plugin) { ${wrapHello} } }] }`
    writeFileSync(
      join(folder, 'twice.cjs'),
      `const milo = require(${JSON.stringify(join(ROOT, 'dist/index.js'))}); for (let i = 0; i < 2; i++) milo.init({ sampler: 'never', plugins: [${plugin}] }); ${app}`,
    )
    assert.equal((await runNode([join(folder, 'twice.cjs')])).stdout, 'hello patched 2 hello inner\n')
  })

  it('says when a package was loaded before Milo', async () => {
    const result = await runNode([
      '-e',
      `require(${JSON.stringify(join(folder, 'node_modules/library/main.js'))}); require(${JSON.stringify(join(ROOT, 'dist/index.js'))}).init({ sampler: 'never', plugins: [{ name: 'mine', patches: [{ module: 'library', patch() {} }] }] })`,
    ])
    assert.match(result.stderr, /library was loaded before Milo and isn't traced/)
  })

  it('compares versions as numbers', () => {
    for (const [version, range, expected] of [
      ['0.24.0', '>=0.9.3 <1', true],
      ['0.9.2', '>=0.9.3 <1', false],
      ['0.10.0', '>0.9.3', true],
      ['1.0.0', '<1', false],
      ['1.0.0-beta', '>=1', true],
      ['2.1.3', '=2.1.3', true],
      ['2.1.3', '<=2.1', false],
    ] as const) {
      assert.equal(inRange(version, range), expected, `${version} in ${range}`)
    }
    assert.throws(() => inRange('1.0.0', '^1.0.0'), /is no comparator/)
  })
})
