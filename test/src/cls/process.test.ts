import assert from 'node:assert/strict'
import { runNode } from '../../helpers/child'

/** Runs a script that has the cls module as `cls`, after `before`. */
async function script(before: string, text: string): Promise<string> {
  const source = `${before}\nconst assert = require('node:assert/strict')\nconst cls = require('./src/cls.ts')\n${text}`
  const result = await runNode(['--require', 'tsx/cjs', '--eval', source])
  assert.equal(result.stderr, '')
  assert.equal(result.status, 0)
  return result.stdout.trim()
}

describe('cls in a process of its own', () => {
  it('never calls async_hooks.createHook, in whatever one does with it', async () => {
    const out = await script(
      `const hooks = require('node:async_hooks')
       hooks.createHook = () => { throw new Error('createHook was called') }
       require('node:module').syncBuiltinESMExports()`,
      `assert.throws(() => require('async_hooks').createHook({}), /was called/)
       const ns = cls.createNamespace('n')
       const emitter = new (require('node:events'))()
       ns.bindEmitter(emitter)
       const context = ns.createContext()
       ns.enter(context)
       ns.exit(context)
       ns.run(() => emitter.on('event', ns.bind(() => {
         ns.runPromise(async () => {
           ns.set('key', 'value')
           await new Promise(setImmediate)
           ns.active = ns.createContext()
           await null
           console.log(ns.get('key'), ns.runAndReturn(() => ns._set.length))
           cls.destroyNamespace('n')
           cls.reset()
         })
       })))
       emitter.emit('event')`,
    )
    assert.equal(out, 'value 2')
  })

  it('survives that a timer leaves a context twice: the error is thrown where it happens', async () => {
    const out = await script(
      '',
      `const ns = cls.createNamespace('n')
       ns.run(context => setTimeout(() => {
         ns.exit(context)
         try { ns.exit(context) } catch (error) { console.log(error.name) }
         setTimeout(() => console.log('alive', ns.active))
       }))`,
    )
    assert.equal(out, 'AssertionError\nalive null')
  })

  it('reports an uncaught error with the context that it left', async () => {
    const out = await script(
      '',
      `const ns = cls.createNamespace('n')
       process.on('uncaughtException', error => console.log(error[cls.ERROR_SYMBOL].key))
       ns.run(() => { ns.set('key', 'value'); setTimeout(ns.bind(() => { throw new Error('uncaught') })) })`,
    )
    assert.equal(out, 'value')
  })
})
