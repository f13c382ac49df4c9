import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, runNode } from '../../helpers/child'

const REGISTER = ['-r', join(ROOT, 'dist/register.js')]

describe('a module of Node’s', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-builtins-'))
  })
  after(() => rmSync(folder, { recursive: true }))

  const run = async (name: string, text: string, args = REGISTER) => {
    const file = join(folder, name)
    writeFileSync(file, text)
    const { stdout, stderr } = await runNode([...args, file])
    assert.equal(stderr, '')
    return stdout
  }

  // Before the module is loaded, at once when it has been, and whether only once.
  const SAY = `
    const say = http => {
      const { _storeHeader } = http.ClientRequest.prototype
      console.log(before, typeof _storeHeader.__original, '__original' in _storeHeader.__original)
    }
    const before = process.moduleLoadList.includes('NativeModule http');`

  for (const [name, text] of [
    ['require.cjs', `say(require('http'))`],
    ['node.cjs', `say(require('node:http'))`],
    // Another module of Node's loads it.
    ['https.cjs', `require('https'); say(require('http'))`],
    ['dynamic.cjs', `import('http').then(say)`],
    ['dynamic.mjs', `say(await import('node:http'))`],
    ['builtin.cjs', `say(process.getBuiltinModule?.('http') ?? require('http'))`],
    ['cleared.cjs', `for (const file in require.cache) delete require.cache[file]; say(require('http'))`],
  ] as const) {
    it(`is patched when it is loaded, and not before: ${name}`, async () => {
      assert.equal(await run(name, SAY + text), 'false function false\n')
    })
  }

  it('is patched when an ES module imports it', async () => {
    const text = `import * as http from 'http'; import { ClientRequest } from 'node:http'
      console.log(typeof http.ClientRequest.prototype._storeHeader.__original, ClientRequest === http.default.ClientRequest)`
    assert.equal(await run('import.mjs', text), 'function true\n')
  })

  it('is patched at once where Node doesn’t tell what it loads', async () => {
    // The probe has been loaded; the list is a copy, as in a test runner's `process`.
    const copy = `Object.defineProperty(process, 'moduleLoadList', { value: [...process.moduleLoadList] })`
    for (const [text, isLoaded] of [
      [`require('path/posix')`, true],
      [copy, false],
    ] as const) {
      const untold = join(folder, 'untold.cjs')
      writeFileSync(untold, text)
      const said = await run('late.cjs', `${SAY} say(require('http'))`, ['-r', untold, ...REGISTER])
      assert.equal(said, `${isLoaded} function false\n`)
    }
  })

  it('leaves the list as a list', async () => {
    const text = `const { moduleLoadList: list } = process; const { length } = list; require('http')
      console.log(Array.isArray(list), list.length > length, list.at(-1), list.every(name => typeof name === 'string'), Object.keys(list).length === list.length)`
    assert.equal(await run('list.cjs', text), 'true true NativeModule http true true\n')
  })
})
