import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, runNode } from '../../helpers/child'
import { npmPackages } from '../../servers/npm'

describe('MILO_CLS_HOOKED', () => {
  let folder: string
  let bare: string

  before(async function () {
    this.timeout(180_000)
    const installed = await npmPackages('cls-hooked@4.2.2', 'express-http-context@1.2.4')
    folder = mkdtempSync(join(tmpdir(), 'milo-cls-hooked-'))
    bare = mkdtempSync(join(tmpdir(), 'milo-cls-hooked-'))
    symlinkSync(join(installed, 'node_modules'), join(folder, 'node_modules'))
  })

  after(() => {
    for (const one of [folder, bare]) if (one) rmSync(one, { recursive: true })
  })

  const REGISTER = join(ROOT, 'dist/register.js')
  const CLS = JSON.stringify(join(ROOT, 'dist/cls.js'))

  async function run(
    file: string,
    text: string,
    env: Record<string, string> = { MILO_CLS_HOOKED: '1' },
    where = folder,
  ) {
    writeFileSync(join(where, file), text)
    const result = await runNode(['-r', REGISTER, file], env, where)
    assert.equal(result.stderr, '')
    assert.equal(result.status, 0)
    return result.stdout.trim()
  }

  /** Counts the hooks that are made from here on. */
  const COUNT = `
    const hooks = require('node:async_hooks'); let made = 0; const { createHook } = hooks
    hooks.createHook = (...args) => { made++; return createHook(...args) }
    require('node:module').syncBuiltinESMExports();`

  it('gives milo/cls to code that requires cls-hooked or its context, and makes no hook', async () => {
    const text = `${COUNT}
      const cls = require('cls-hooked')
      const milo = require(${CLS})
      const ns = cls.createNamespace('n')
      console.log(cls.createNamespace === milo.createNamespace, require('cls-hooked/context') === cls,
        milo.getNamespace('n') === ns, made, Object.keys(milo).every(name => cls[name] === milo[name]))`
    assert.equal(await run('a.cjs', text), 'true true true 0 true')
  })

  it('leaves cls-hooked as it is unless asked', async () => {
    const text = `${COUNT}
      const { createNamespace } = require('cls-hooked'); createNamespace('n')
      console.log(createNamespace === require(${CLS}).createNamespace, made)`
    for (const env of [{}, { MILO_CLS_HOOKED: '0' }, { MILO_CLS_HOOKED: '1', MILO_ENABLED: '0' }]) {
      assert.match(await run('b.cjs', text, env as Record<string, string>), /^false [1-9]/)
    }
  })

  it('works where cls-hooked isn’t installed', async () => {
    const text = `console.log(typeof require('cls-hooked').createNamespace, typeof require('cls-hooked/context').reset)`
    assert.equal(await run('c.cjs', text, undefined, bare), 'function function')
  })

  it('reaches an ES module that imports it, by default and by name', async () => {
    const text = `
      import cls, { createNamespace } from 'cls-hooked'
      import * as context from 'cls-hooked/context.js'
      import { createRequire } from 'node:module'
      const milo = createRequire(import.meta.url)(${CLS})
      console.log([cls.createNamespace, createNamespace, context.createNamespace].every(f => f === milo.createNamespace))`
    assert.equal(await run('d.mjs', text), 'true')
  })

  it('is given by init as well, and says when it comes too late', async () => {
    const init = `require(${JSON.stringify(ROOT)}).init({ clsHooked: true, sampler: 'never' })`
    const check = `console.log(require('cls-hooked').createNamespace === require(${CLS}).createNamespace)`
    writeFileSync(join(folder, 'e.cjs'), `${init}; ${check}`)
    assert.deepEqual(await runNode(['e.cjs'], {}, folder), { status: 0, signal: null, stdout: 'true\n', stderr: '' })
    writeFileSync(join(folder, 'f.cjs'), `require('cls-hooked'); ${init}; ${check}`)
    const late = await runNode(['f.cjs'], {}, folder)
    assert.equal(late.stdout, 'true\n')
    assert.match(late.stderr, /^milo warn: cls-hooked was loaded before Milo/)
  })

  it('carries express-http-context, which requires cls-hooked itself', async () => {
    const text = `${COUNT}
      const context = require('express-http-context')
      const http = require('node:http')
      const server = http.createServer((req, res) => context.middleware(req, res, async () => {
        context.set('path', req.url)
        await new Promise(resolve => setTimeout(resolve, req.url === '/a' ? 10 : 1))
        res.end(context.get('path'))
      })).listen(0, '127.0.0.1', async () => {
        const get = path => fetch('http://127.0.0.1:' + server.address().port + path).then(res => res.text())
        console.log(...await Promise.all([get('/a'), get('/b'), get('/c')]), made, context.get('path'))
        server.close(); server.closeAllConnections()
      })`
    const env = { MILO_CLS_HOOKED: '1', MILO_SAMPLER: 'never' }
    assert.equal(await run('g.cjs', text, env), '/a /b /c 0 undefined')
  })
})
