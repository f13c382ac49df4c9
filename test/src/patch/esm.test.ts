import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { append } from '../../../src/patch/source'
import { ROOT, runNode } from '../../helpers/child'
import { NODE_VERSIONS, nodeOfVersion } from '../../servers/node-versions'

/** A package that is ESM alone, with all that is hard about it: a cycle, a top-level await, live bindings, names that differ. */
const INDEX = `import { twice } from './other.js'
  export { twice }
export const greet = name => 'hello ' + name
export function shout(name) { return greet(name).toUpperCase() }
class Inner { run() { return 'ran' } }
let count = 0
const later = await Promise.resolve(() => 'later')
export { Inner as Runner, later, count }
export function add() { count++ }
export default function main() { return 'main ' + twice('x') }`
const OTHER = `import * as lib from './index.js'
export const twice = x => x + x + typeof lib.shout`
const APP = `import main, * as lib from 'lib'
import { greet, shout, later, Runner, add, count, twice } from 'lib'
const before = count
add()
console.log([greet('a'), shout('a'), later(), new Runner().run(), main(), twice('z'), before, count, greet.name, lib.greet === greet].join())`
const MINE = `module.exports = { name: 'mine', patches: [
  { module: 'lib', versions: '1.x', file: 'index.js', esm: true, patch(exports, plugin) {
    for (const [target, name] of [[exports, 'greet'], [exports, 'shout'], [exports, 'later'], [exports, 'default'], [exports.Runner.prototype, 'run']])
      plugin.intercept(target, name, (original, self, args) => '<' + original.apply(self, args) + '>')
  } }] }`
const PLUGIN = `require(${JSON.stringify(join(ROOT, 'dist/index.js'))}).init({ sampler: 'never', plugins: [require('./mine.cjs')] })`

describe('packages that are ESM alone', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-esm-'))
    mkdirSync(join(folder, 'node_modules/lib'), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules/tsx'), join(folder, 'node_modules/tsx'))
    const files = {
      'node_modules/lib/package.json': '{"name":"lib","version":"1.2.3","type":"module","exports":"./index.js"}',
      'node_modules/lib/index.js': INDEX,
      'node_modules/lib/other.js': OTHER,
      'mine.cjs': MINE,
      'plugin.cjs': PLUGIN,
      'app.mjs': APP,
      'app.mts': APP,
      'thread.mjs': `import { Worker } from 'node:worker_threads'\nnew Worker('./app.mjs')`,
    }
    for (const [path, text] of Object.entries(files)) writeFileSync(join(folder, path), text)
  })
  after(() => rmSync(folder, { recursive: true }))

  const run = async (args: string[], node?: string) => {
    const { stdout, stderr } = await runNode(args, {}, folder, node)
    return stdout.trim() + stderr
  }
  const PLAIN = 'hello a,HELLO A,later,ran,main xxfunction,zzfunction,0,1,greet,true'
  const PATCHED = '<hello a>,<<HELLO A>>,<later>,<ran>,<main xxfunction>,zzfunction,0,1,greet,true'

  it('are patched where a plugin names their file, however Milo and the application are loaded', async () => {
    assert.equal(await run(['app.mjs']), PLAIN)
    for (const args of [
      ['-r', './plugin.cjs', 'app.mjs'],
      ['--import', './plugin.cjs', 'app.mjs'],
      ['-r', './plugin.cjs', 'thread.mjs'],
      ['-r', './plugin.cjs', '--import', 'tsx', 'app.mts'],
      ['--import', 'tsx', '--import', './plugin.cjs', 'app.mts'],
    ])
      assert.equal(await run(args), PATCHED, args.join(' '))
  })

  it('are patched on newer versions of Node', async () => {
    for (const version of NODE_VERSIONS)
      assert.equal(await run(['--import', './plugin.cjs', 'app.mjs'], await nodeOfVersion(version)), PATCHED, version)
  }).timeout(120_000)

  it('are patched within a bundle that knows of the plugin', async () => {
    const { build } = require('esbuild') as typeof import('esbuild')
    const { esbuildPlugin } = require(join(ROOT, 'dist/bundler.js'))
    const options = { bundle: true, platform: 'node', format: 'esm', minify: true, keepNames: true } as const
    const plugins = [esbuildPlugin({ plugins: [require(join(folder, 'mine.cjs'))] })]
    await build({ ...options, entryPoints: [join(folder, 'app.mjs')], outfile: join(folder, 'out.mjs'), plugins })
    assert.equal(await run(['-r', './plugin.cjs', 'out.mjs']), PATCHED)
    assert.equal(await run(['out.mjs']), PLAIN)
  })

  it('keep every export that has no name of its own, and text that only looks like one', () => {
    const source = `export * from 'x'\nexport { a } from 'y'\nexport default () => 1\nconst text = \`export {\`\nexport const b = 2, c = 3`
    const made = append(source, 'x.mjs', ['x.mjs'], true)
    assert.ok(made.startsWith(source.replace('const b', 'let   b')))
    assert.match(made, /var e=\{"b":b\};milo\.patch\("x\.mjs",e\);if\(e\["b"\]!==b\)b=e\["b"\];/)
    assert.equal(append(made, 'x.mjs', ['x.mjs'], true), made)
  })
})
