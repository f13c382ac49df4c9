import assert from 'node:assert/strict'
import { createContext, runInContext } from 'node:vm'
import { span, wrap } from '../../../src'
import { observeThen } from '../../../src/patch/observe'
import { start, stop, type TestSpan } from '../../../src/testing'
import { ended } from '../../helpers/ended'
import { until } from '../../helpers/until'

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

  it('ends the span with it when somebody has put a `then` on a promise of Node’s, which `await` doesn’t call', async () => {
    const bound = Promise.resolve(1)
    // As OpenTelemetry's instrumentation of the AWS SDK does, to have handlers run in a context.
    // biome-ignore lint/suspicious/noThenProperty: it is what the test is about
    bound.then = (...both: any[]) => Promise.prototype.then.apply(bound, both as any) as any
    assert.equal(await span('await', () => bound), 1)
    span('then', () => bound).then(() => {})
    await ended(2)
    assert.deepEqual(names(), ['await ok', 'then ok'])
  })

  it('ends the spans of those that are too many for one promise at once, and the others with it', async () => {
    const query = new Query(() => 1)
    for (let i = 0; i < 150; i++) span('query', () => query)
    assert.equal(names().length, 50)
    assert.equal(await (query as any), 1)
    await ended(150)
  })

  it('ends the span with it, whatever code waits, when its `then` is Promise’s: a subclass’s, another realm’s', async () => {
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

  it('is what the application can freeze before it waits', async () => {
    // biome-ignore lint/suspicious/noThenProperty: it is what the test is about
    const lazy = Object.freeze(span('frozen', () => ({ then: (done: (value: unknown) => void) => done(1) })))
    assert.equal(lazy.then.length, 1)
    assert.deepEqual([await lazy, await lazy], [1, 1])
    assert.deepEqual(names(), ['frozen ok'])
  })

  it('keeps the callers in the stack of an async function’s error', async () => {
    async function work() {
      await null
      throw new Error('no')
    }
    async function caller(way: () => Promise<unknown>) {
      await way()
    }
    for (const way of [() => span('x', work), wrap(work)]) {
      await assert.rejects(caller(way), (error: Error) => /at work .*at async caller /s.test(error.stack!))
    }
    assert.deepEqual(names(), ['x Error', 'work Error'])
  })

  it('is told of by Node when an async function’s is rejected and nobody handles it, and not when somebody does', async () => {
    const told: unknown[] = []
    const before = process.listeners('unhandledRejection')
    process.removeAllListeners('unhandledRejection')
    process.on('unhandledRejection', (_reason, promise) => told.push(promise))
    try {
      const work = async () => {
        throw new Error('no')
      }
      const later = async () => {
        await null
        throw new Error('no')
      }
      const bare = [span('a', work), span('b', later), wrap(work)(), span('c', async () => span('d', later))]
      span('e', work).catch(() => {})
      wrap(later)().catch(() => {})
      await ended(7)
      await until('they have been told', () => told.length >= bare.length)
      assert.deepEqual(new Set(told), new Set(bare))
    } finally {
      process.removeAllListeners('unhandledRejection')
      for (const listener of before) process.on('unhandledRejection', listener)
    }
  })
})

describe('a promise that is watched until the application asks for its outcome', () => {
  it('is asked as ever, and tells a hundred, when many calls have returned it: the others are told at once that it is over', async () => {
    for (const shared of [Promise.resolve(1), Promise.reject(new Error('no'))]) {
      let heard = 0
      const hear = () => heard++
      for (let i = 0; i < 20_000; i++) observeThen(shared, hear, hear)
      assert.equal(heard, 19_900)
      assert.equal(shared.then.length, 2)
      const outcome = await shared.then(
        value => value,
        error => error.message,
      )
      assert.ok(outcome === 1 || outcome === 'no')
      assert.equal(heard, 20_000)
      assert.equal(Object.hasOwn(shared, 'then'), false)
    }
  })

  it('tells whoever watches it anew, and through what others have put there', async () => {
    const promise = Promise.resolve(1)
    const heard: string[] = []
    const watch = (name: string) =>
      observeThen(
        promise,
        () => heard.push(name),
        () => {},
      )
    watch('a')
    const { then } = promise
    // biome-ignore lint/suspicious/noThenProperty: it is what the test is about
    promise.then = function (this: any, ...given: any[]) {
      heard.push('theirs')
      return then.apply(this, given as any)
    } as any
    watch('b')
    watch('c')
    await promise.then(value => value)
    assert.deepEqual(heard, ['theirs', 'a', 'b', 'c'])
    watch('d')
    await promise.then(value => value)
    assert.deepEqual(heard.slice(4), ['theirs', 'd'])
  })
})
