import assert from 'node:assert/strict'
import { createContext, runInContext } from 'node:vm'
import { span, wrap } from '../../src/index'
import { ended, start, stop, type TestSpan } from '../../src/testing'

describe('what a traced function returns', () => {
  let spans: TestSpan[]

  beforeEach(() => {
    spans = start()
  })

  afterEach(() => stop())

  const names = () => spans.map(one => `${one.name} ${one.annotations['error.type'] ?? 'ok'}`)
  const turn = () => new Promise(setImmediate)

  /** As a query of postgres.js: a promise that does its work once it is asked for the outcome. */
  class Query extends Promise<unknown> {
    static sent = 0
    #settle: [(value: unknown) => void, (error: unknown) => void]
    #outcome: () => unknown
    constructor(outcome: () => unknown) {
      let settle!: [(value: unknown) => void, (error: unknown) => void]
      super((...both) => {
        settle = both
      })
      this.#settle = settle
      this.#outcome = outcome
    }
    static override get [Symbol.species]() {
      return Promise
    }
    #send() {
      Query.sent++
      try {
        this.#settle[0](this.#outcome())
      } catch (error) {
        this.#settle[1](error)
      }
    }
    // biome-ignore lint/suspicious/noThenProperty: it is what the test is about
    override then(...both: any[]): any {
      this.#send()
      return super.then(...both)
    }
    override catch(rejected: any): any {
      return this.then(undefined, rejected)
    }
  }

  it('isn’t started by Milo, when it is a promise with a `then` of its own, and ends the span once it was awaited', async () => {
    Query.sent = 0
    const fine: any = span('fine', () => new Query(() => 1))
    const wrong: any = wrap(
      () =>
        new Query(() => {
          throw new RangeError('no')
        }),
      'wrong',
    )()
    span('fragment', () => new Query(() => 2))
    await turn()
    assert.deepEqual([Query.sent, names()], [0, []])
    assert.equal(await fine, 1)
    await assert.rejects(async () => wrong, RangeError)
    assert.deepEqual(names(), ['fine ok', 'wrong RangeError'])
    // The `then` of the class is back.
    assert.equal(Object.hasOwn(fine, 'then'), false)
    assert.equal(Query.sent, 2)
  })

  it('isn’t started by Milo, when its class has a `resolve` as Promise has', async () => {
    let started = 0
    class Lazy {
      static resolve() {}
      // biome-ignore lint/suspicious/noThenProperty: it is what the test is about
      then(done: (value: unknown) => void) {
        started++
        done(1)
      }
    }
    const lazy: any = span('lazy', () => new Lazy())
    await turn()
    assert.equal(started, 0)
    assert.equal(await lazy, 1)
    assert.deepEqual([started, names()], [1, ['lazy ok']])
  })

  it('ends the span with it, whoever waits, when its `then` is Promise’s: a subclass’s, another realm’s', async () => {
    class Plain extends Promise<unknown> {}
    span('subclass', () => new Plain(resolve => setImmediate(resolve)))
    span('realm', () => runInContext('Promise.reject(new TypeError("no"))', createContext()))
    await ended(2)
    assert.deepEqual(names().sort(), ['realm TypeError', 'subclass ok'].sort())
  })

  it('ends the span with it when another library’s Promise is the global one', async () => {
    const genuine = globalThis.Promise
    globalThis.Promise = class Other {
      static resolve() {}
      // biome-ignore lint/suspicious/noThenProperty: it is what the test is about
      then() {}
    } as any
    try {
      span('async', async () => {})
    } finally {
      globalThis.Promise = genuine
    }
    await ended(1)
    assert.deepEqual(names(), ['async ok'])
  })
})
