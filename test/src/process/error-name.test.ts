import assert from 'node:assert/strict'
import { runInNewContext } from 'node:vm'
import { errorName, noteError, noteErrors } from '../../../src/process/error-name'

describe('the name of an error', () => {
  class a extends Error {
    override name = this.constructor.name
  }
  class b {}
  noteErrors({ TimedOut: a, helper: () => {}, version: 1 })
  noteError(b, 'Oops')

  for (const [what, error, name] of [
    ['its own', new TypeError('x'), 'TypeError'],
    ['that which its class is exported by, where it takes that of its class', new a(), 'TimedOut'],
    ['one that it was given', Object.assign(new a(), { name: 'Other' }), 'Other'],
    ['its own, in a class that nobody has noted', new (class c extends Error {})(), 'Error'],
    ['Error where it has none', Object.assign(new Error('x'), { name: '' }), 'Error'],
    ['that of another realm', runInNewContext('new RangeError()'), 'RangeError'],
    ['that of its class, noted or not, where it is no error', new b(), 'Oops'],
    ['that of its class where it is no error', Object.assign(new Date(), { name: 'x' }), 'Date'],
    ['object where it has no class', Object.create(null), 'object'],
    ['its type where it is no object', 'text', 'string'],
  ] as const) {
    it(`is ${what}`, () => {
      assert.equal(errorName(error), name)
    })
  }
})
