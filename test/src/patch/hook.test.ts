import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inRange } from '../../../src/patch/range'
import { type Options, readSettings } from '../../../src/start/options'
import { ROOT, runNode } from '../../helpers/child'

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

  it('patches copies that the patch recognizes; one that can’t be patched stays as it is, and no other', async () => {
    const copy = (where: string, code: string) => {
      mkdirSync(join(folder, where), { recursive: true })
      writeFileSync(join(folder, where, 'inner.js'), code)
    }
    const inner = `module.exports = class Inner { value(x) { return 'inner' } }`
    copy('vendor', inner)
    copy('node_modules/fork/deep', inner)
    copy('other', `module.exports = { Inner: 1 }`)
    copy(
      'changed',
      `module.exports = Object.freeze(class Inner { value(x) { return 'inner' } }); Object.freeze(module.exports.prototype)`,
    )
    writeFileSync(join(folder, 'node_modules/fork/package.json'), '{"name":"fork","version":"3.0.0"}')
    const result = await run(
      `[{ module: 'library', versions: '>=1 <2', file: 'lib/inner.js', copies: exports => exports.name === 'Inner',
        patch(Inner, plugin) { plugin.wrap(Inner.prototype, 'value', o => function () { return 'outer ' + o.call(this) }) } }]`,
      `const value = file => new (require(file))().value()
       console.log(value('./changed/inner'), value('./vendor/inner'), value('fork/deep/inner'), new (require('library').inner)().value(), require('./other/inner').Inner)`,
    )
    assert.equal(result.stdout, 'inner outer inner outer inner outer inner 1\n')
    assert.equal(
      result.stderr.replace(/ \(.*\)/, ' (why)'),
      `milo warn: the copy of library in ${join(folder, 'changed')} couldn't be patched by the plugin mine (why) and isn't traced\n`,
    )
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

  describe('whatever a plugin or a module is like', () => {
    const init = (plugins: unknown) => () => readSettings({ plugins } as Options, {})
    const patch = { module: 'library', patch() {} }

    for (const [what, plugins, message] of [
      [
        'a patch that is empty',
        [{ name: 'x', patches: [{}] }],
        /^MILO_BAD_PLUGINS: plugins\[0\] \('x'\) must have a package/,
      ],
      ['a patch that is null', [{ name: 'x', patches: [null] }], /must have an object, got null, in patches\[0\]/],
      [
        'no function',
        [{ name: 'x', patches: [{ module: 'l' }] }],
        /a function as patch, got undefined, in patches\[0\]/,
      ],
      [
        'a range that can’t be read',
        [{ name: 'x', patches: [{ ...patch, versions: 'latest' }] }],
        /such as '>=1.2 <2' as versions, got 'latest'/,
      ],
      [
        'a number as a version',
        [{ name: 'x', patches: [{ ...patch, versions: 1 }] }],
        /as versions, got 1, in patches/,
      ],
      ['a file that isn’t a string', [{ name: 'x', patches: [{ ...patch, file: 7 }] }], /as file, got 7/],
      [
        'a key that is misspelled',
        [{ name: 'x', patches: [{ ...patch, version: '^1' }] }],
        /versions, file, esm, sign, copies and patch, got 'version'/,
      ],
      [
        'copies of no file',
        [{ name: 'x', patches: [{ ...patch, copies: () => true }] }],
        /a function as copies, and a file/,
      ],
      [
        'an ES module without a file',
        [{ name: 'x', patches: [{ ...patch, esm: true }] }],
        /as esm, and a file, got true/,
      ],
      ['a sign that is a string', [{ name: 'x', patches: [], sign: 'x' }], /a regular expression as sign, got 'x'/],
      ['an empty name', [{ name: '', patches: [] }], /a name of 1 to 256 characters, got ''/],
      ['an onLoad that is no function', [{ name: 'x', patches: [], onLoad: true }], /a function as onLoad, got true/],
      ['null', [null], /must be an object with name and patches, got null/],
      [
        'two of one name',
        [
          { name: 'x', patches: [] },
          { name: 'x', patches: [] },
        ],
        /plugins\[1\] must have a name of its own, got 'x'/,
      ],
      [
        'one that can’t be read',
        [
          new Proxy(
            {},
            {
              get() {
                throw new Error('no')
              },
            },
          ),
        ],
        /plugins\[0\] .* can't be read: Error: no/,
      ],
    ] as [string, unknown, RegExp][]) {
      it(`refuses ${what} at init`, () => assert.throws(init(plugins), { code: 'MILO_BAD_PLUGINS', message }))
    }

    it('takes the same plugin twice for one', () => {
      const one = { name: 'x', patches: [{ ...patch, versions: '^1.0.0 || 3.x' }] }
      assert.deepEqual(readSettings({ plugins: [one, one] }, {}).plugins, [one])
    })

    it('gives the application the module that it would have without Milo, whatever goes wrong', async () => {
      const module = (name: string, text: string, version: unknown = '1.2.3') => {
        const target = join(folder, 'node_modules', name)
        mkdirSync(target, { recursive: true })
        writeFileSync(join(target, 'package.json'), JSON.stringify({ name, version }))
        writeFileSync(join(target, 'index.js'), text)
      }
      const throws = `new Proxy({}, Object.fromEntries(Object.getOwnPropertyNames(Reflect).map(trap => [trap, () => { throw new Error('trap ' + trap) }])))`
      module('proxy', `module.exports = ${throws}`)
      module('frozen', `module.exports = Object.freeze({ hello() { return 'hello' } })`)
      module('getter', `module.exports = { get hello() { throw new Error('getter') } }`)
      module('late', `exports.hello = async () => 'hello'`)
      module('returns', `exports.hello = () => 'hello'`)
      module('odd', `exports.hello = () => 'hello'`, 'workspace:*')
      module('none', `exports.hello = () => 'hello'`, null)
      module('fine', `exports.hello = () => 'hello'`)
      const wrap = (more = '') =>
        `patch(exports, plugin) { plugin.wrap(exports, 'hello', original => function () { return original() + ' patched' }); ${more} }`
      const plugin = (name: string, body: string, more = '') =>
        `{ name: '${name}', patches: [{ module: '${name}', ${more} ${body} }] }`
      writeFileSync(
        join(folder, 'houses.cjs'),
        `require(${JSON.stringify(join(ROOT, 'dist/index.js'))}).init({ sampler: 'never', plugins: [
          ${plugin('proxy', wrap())}, ${plugin('frozen', wrap())}, ${plugin('getter', wrap())},
          ${plugin('late', `async ${wrap('await null; throw new Error("late")')}`)},
          ${plugin('returns', wrap('return 5'))},
          ${plugin('odd', wrap(), "versions: '>=0',")}, ${plugin('none', wrap(), "versions: '>=0',")},
          { name: 'looks', patches: [], onLoad(exports) { Object.keys(exports); if ('hello' in exports) void exports.hello } },
          ${plugin('fine', wrap())} ] })
        const get = name => { try { const m = require(name); return require.cache[require.resolve(name)].exports === m } catch (error) { return error } }
        console.log(['proxy', 'frozen', 'getter', 'late', 'returns', 'odd', 'none', 'fine'].map(get).join(' '))
        console.log(require('frozen').hello(), require('returns').hello(), require('odd').hello(), require('fine').hello())
        require('late').hello().then(console.log)`,
      )
      const { status, stdout, stderr } = await runNode([join(folder, 'houses.cjs')])
      assert.equal(stdout, `${'true '.repeat(8).trim()}\nhello hello patched hello hello patched\nhello\n`)
      assert.equal(status, 0)
      for (const said of [
        /the plugin proxy failed and is off/,
        /the plugin frozen failed and is off/,
        /the plugin getter failed and is off/,
        /the plugin late failed and is off .*the patch of late 1.2.3 must not be asynchronous/,
        /odd workspace:\* is outside >=0 and isn't traced/,
        /none of an unknown version is outside >=0 and isn't traced/,
        /proxy.index.js couldn't be patched by the plugin looks \(Error: trap ownKeys\)/,
      ])
        assert.match(stderr, said)
      assert.equal(stderr.match(/plugin looks/g)?.length, 2)
      assert.doesNotMatch(stderr, /plugin (returns|fine)/)
    })

    it('takes back from a module what onLoad had wrapped before it threw, and from no other', async () => {
      writeFileSync(join(folder, 'one.cjs'), `exports.hello = () => 'one'`)
      writeFileSync(join(folder, 'two.cjs'), `exports.hello = () => 'two'; exports.strange = true`)
      writeFileSync(
        join(folder, 'looks.cjs'),
        `require(${JSON.stringify(join(ROOT, 'dist/index.js'))}).init({ sampler: 'never', plugins: [{ name: 'looks', patches: [], onLoad(exports, plugin, file) {
          if (typeof exports.hello !== 'function') return
          plugin.wrap(exports, 'hello', original => () => original() + ' from ' + require('path').basename(file))
          if (exports.strange) throw new Error('strange')
        } }] }); console.log(require('./two.cjs').hello(), require('./one.cjs').hello())`,
      )
      const { stdout, stderr } = await runNode([join(folder, 'looks.cjs')])
      assert.equal(stdout, 'two one from one.cjs\n')
      assert.match(
        stderr,
        /^milo warn: .*two.cjs couldn't be patched by the plugin looks \(Error: strange\) and isn't traced\n$/,
      )
    })

    it('says that a package is within a bundle, and what to do', async () => {
      writeFileSync(join(folder, 'bundle.cjs'), `console.log('runs') // pino.chindings ${'x'.repeat(70_000)}`)
      const { stdout, stderr } = await runNode(['-r', join(ROOT, 'dist/register.js'), join(folder, 'bundle.cjs')], {
        MILO_LOG_CORRELATION: '1',
      })
      assert.equal(stdout, 'runs\n')
      assert.match(
        stderr,
        /^milo warn: pino is within the bundle .*bundle.cjs and isn't traced: build it with the plugin of milo\/bundler, or leave it out, as an external package\n$/,
      )
    })

    it('says so also where Milo is within it, and it is a part, or started as a folder or without its ending', async () => {
      const bundled = join(folder, 'bundled')
      mkdirSync(bundled)
      const init = `require(${JSON.stringify(join(ROOT, 'dist/index.js'))}).init({ sampler: 'never', plugins: [{ name: 'p', patches: [{ module: 'pino', sign: /pino\\.chindings/, patch() {} }] }] })`
      writeFileSync(join(bundled, 'index.js'), `${init} // pino.chindings ${'x'.repeat(70_000)}`)
      writeFileSync(join(bundled, 'main.js'), `require('./index')`)
      for (const started of ['', 'index', 'main']) {
        const { stderr } = await runNode([join(bundled, started)])
        assert.match(stderr, /^milo warn: pino is within the bundle .*index.js and isn't traced: build it with .*\n$/)
      }
    })

    it('reads a bundle once, however often it is loaded, and anew for another plugin', async () => {
      writeFileSync(join(folder, 'again.cjs'), `module.exports = 1 // ${'x'.repeat(70_000)}`)
      writeFileSync(
        join(folder, 'loads.cjs'),
        `const fs = require('fs'); const read = fs.readFileSync; const file = require.resolve('./again.cjs'); let reads = 0
        fs.readFileSync = function (path, encoding) { if (path === file && encoding === 'latin1') reads++; return read.apply(this, arguments) }
        const { init } = require(${JSON.stringify(join(ROOT, 'dist/index.js'))})
        const plugin = name => ({ name, patches: [{ module: name, sign: /never there/, patch() {} }] })
        const load = () => { for (let i = 0; i < 3; i++) { delete require.cache[file]; require(file) } return reads }
        init({ sampler: 'never', plugins: [plugin('one')] })
        const before = load()
        init({ sampler: 'never', plugins: [plugin('two')] })
        console.log(before, load())`,
      )
      assert.deepEqual(await runNode([join(folder, 'loads.cjs')]), {
        status: 0,
        signal: null,
        stdout: '1 2\n',
        stderr: '',
      })
    })

    it('starts also where the first argument is a large folder or a link to itself', async () => {
      const many = join(folder, 'many')
      mkdirSync(many)
      symlinkSync('loop', join(folder, 'loop'))
      // What a file system calls the size of a folder differs: the folder is told to be large.
      const text = `const fs = require('fs'); const stat = fs.statSync
        fs.statSync = (path, ...more) => { const stats = stat(path, ...more); if (path === ${JSON.stringify(many)}) stats.size = 100_000; return stats }
        require(${JSON.stringify(join(ROOT, 'dist/index.js'))}).init({ sampler: 'never', plugins: [{ name: 'one', patches: [{ module: 'one', sign: /never there/, patch() {} }] }] })
        console.log('runs')`
      for (const argument of [many, join(folder, 'loop')]) {
        assert.deepEqual(await runNode(['-e', text, argument]), {
          status: 0,
          signal: null,
          stdout: 'runs\n',
          stderr: '',
        })
      }
    })

    it('patches built-in modules and packages from within a bundle', async () => {
      const { build } = await import('esbuild')
      const entry = join(folder, 'entry.cjs')
      writeFileSync(
        entry,
        `const milo = require(${JSON.stringify(join(ROOT, 'dist/index.js'))})
         milo.init({ sampler: 'never', plugins: [{ name: 'mine', patches: [
           { module: 'node:http', patch(exports, plugin) { plugin.wrap(exports, 'get', () => () => 'got') } },
           { module: 'library', versions: '^1', patch(exports, plugin) { ${wrapHello} } }] }] })
         console.log(require('http').get(), require('library').hello())`,
      )
      const outfile = join(folder, 'bundled.cjs')
      await build({
        entryPoints: [entry],
        bundle: true,
        minify: true,
        platform: 'node',
        external: ['library'],
        outfile,
        logLevel: 'error',
      })
      assert.deepEqual(await runNode([outfile]), { status: 0, signal: null, stdout: 'got hello patched\n', stderr: '' })
    })
  })

  it('reads ranges as npm does', () => {
    for (const [version, range, expected] of [
      ['0.24.0', '>=0.9.3 <1', true],
      ['0.9.2', '>=0.9.3 <1', false],
      ['0.10.0', '>0.9.3', true],
      ['1.0.0', '<1', false],
      ['1.0.0-beta', '>=1', true],
      ['2.1.3', '=2.1.3', true],
      ['2.1.3', '<=2.1', true],
      ['2.2.0', '<=2.1', false],
      ['2.1.3', '>2.1', false],
      ['2.2.0', '>2.1', true],
      ['1.9.9', '^1.2.3', true],
      ['1.2.2', '^1.2.3', false],
      ['2.0.0', '^1.2.3', false],
      ['0.2.9', '^0.2.3', true],
      ['0.3.0', '^0.2.3', false],
      ['0.0.4', '^0.0.3', false],
      ['0.9.0', '^0', true],
      ['1.2.9', '~1.2.3', true],
      ['1.3.0', '~1.2.3', false],
      ['1.9.0', '~1', true],
      ['1.2.9', '1.2', true],
      ['1.2.9', '1.2.x', true],
      ['1.3.0', '1.2.*', false],
      ['7.0.0', '*', true],
      ['7.0.0', '', true],
      ['2.3.9', '1.2.3 - 2.3', true],
      ['1.2.2', '1.2.3 - 2.3', false],
      ['3.1.0', '^1 || >= 3', true],
      ['2.1.0', '^1 || >= 3', false],
      ['v1.2.3', '^v1.0.0-rc.1', true],
      ['workspace:*', '*', false],
      [undefined, '*', false],
    ] as const) {
      assert.equal(inRange(version, range), expected, `${version} in ${range}`)
    }
    for (const range of ['latest', '>=', '1.2.3.4', '^1 |', '=>1'])
      assert.throws(() => inRange('1.0.0', range), /isn't a comparator/)
  })
})
