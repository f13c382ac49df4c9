import assert from 'node:assert/strict'
import { AsyncResource } from 'node:async_hooks'
import { EventEmitter, once } from 'node:events'
import { stat } from 'node:fs'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import {
  createNamespace,
  destroyNamespace,
  ERROR_SYMBOL,
  getNamespace,
  type Namespace,
  reset,
} from '../../../src/cls/namespaces'
import { currentFrame, enterFrame, frameWith, runInFrame } from '../../../src/trace/context'
import type { PluginSpan as Span } from '../../../src/trace/span'

const namespaces = () => (process as unknown as { namespaces: Record<string, unknown> }).namespaces

/** What isn't a promise, and can be awaited. */
function thenable(then: (resolve: () => void) => unknown): PromiseLike<void> {
  return { then } as PromiseLike<void>
}

describe('cls', () => {
  let ns: Namespace
  let other: Namespace

  beforeEach(() => {
    ns = createNamespace('test')
    other = createNamespace('other')
  })

  afterEach(() => {
    // What a test has entered and left so would be there in the next.
    enterFrame(undefined)
    reset()
  })

  describe('the registry', () => {
    it('finds a namespace by its name, and in process.namespaces', () => {
      assert.equal(getNamespace('test'), ns)
      assert.equal(namespaces().test, ns)
      assert.equal(ns.name, 'test')
    })

    it('knows nothing of names that were never given, even those of Object', () => {
      assert.equal(getNamespace('nobody'), undefined)
      assert.equal(getNamespace('toString'), undefined)
    })

    it('needs a name', () => {
      assert.throws(() => createNamespace(''), /namespace must be given a name/)
      assert.throws(() => (createNamespace as any)(), /namespace must be given a name/)
    })

    it('replaces a namespace of the same name, which goes on working by itself', () => {
      const again = createNamespace('test')
      assert.notEqual(again, ns)
      assert.equal(getNamespace('test'), again)
      ns.run(() => {
        ns.set('key', 1)
        assert.equal(ns.get('key'), 1)
        assert.equal(again.active, null)
      })
    })

    it('has null for a destroyed namespace, and refuses to destroy it again', () => {
      destroyNamespace('test')
      assert.equal(getNamespace('test'), null)
      assert.throws(() => destroyNamespace('test'), /can't delete nonexistent namespace! "test"/)
      assert.throws(() => destroyNamespace('nobody'), /can't delete nonexistent namespace! "nobody"/)
    })

    it('refuses to destroy what someone has put into process.namespaces', () => {
      namespaces().foreign = {}
      assert.throws(() => destroyNamespace('foreign'), /don't assign to process.namespaces directly/)
      delete namespaces().foreign
    })

    it('leaves a destroyed namespace usable to those who hold it', async () => {
      await ns.runAndReturn(async () => {
        ns.set('key', 'value')
        destroyNamespace('test')
        await nextTurn()
        assert.equal(ns.get('key'), 'value')
      })
    })

    it('resets to an empty registry, also after a namespace was destroyed', () => {
      destroyNamespace('other')
      const before = namespaces()
      reset()
      assert.deepEqual(Object.keys(namespaces()), [])
      assert.equal(before.test, null)
      assert.equal(getNamespace('test'), undefined)
    })

    it('keeps the namespaces of a copy of itself that was loaded before', () => {
      const path = require.resolve('../../../src/cls/namespaces')
      const loaded = require.cache[path]
      delete require.cache[path]
      try {
        const copy: typeof import('../../../src/cls/namespaces') = require('../../../src/cls/namespaces')
        assert.equal(copy.getNamespace('test'), ns)
      } finally {
        require.cache[path] = loaded
      }
    })
  })

  describe('a context', () => {
    it('inherits from the active one, live, and what is written in it stays in it', () => {
      ns.run(outer => {
        ns.set('a', 1)
        ns.run(inner => {
          assert.equal(Object.getPrototypeOf(inner), outer)
          assert.equal(ns.get('a'), 1)
          outer.a = 2
          assert.equal(ns.get('a'), 2)
          ns.set('a', 3)
          assert.equal(outer.a, 2)
          outer.a = 4
          assert.equal(ns.get('a'), 3)
        })
        assert.equal(ns.get('a'), 4)
      })
    })

    it("has its namespace's name and an id of its own, counted from 1", () => {
      const first = ns.createContext()
      const second = ns.createContext()
      assert.ok(Object.hasOwn(first, '_ns_name') && Object.hasOwn(first, 'id'))
      assert.equal(first._ns_name, 'test')
      assert.ok(Number.isInteger(first.id) && first.id >= 1)
      assert.ok(second.id > first.id)
      assert.ok(ns.id >= 1)
      assert.equal(Object.getPrototypeOf(first), Object.prototype)
    })

    it('is not active by having been created', () => {
      ns.createContext()
      assert.equal(ns.active, null)
    })

    it("is its namespace's alone", () => {
      ns.run(() => {
        ns.set('key', 'mine')
        assert.equal(other.get('key'), undefined)
        other.run(() => {
          other.set('key', 'yours')
          assert.equal(ns.get('key'), 'mine')
        })
        assert.equal(other.active, null)
      })
    })

    it('returns the value that was set', () => {
      ns.run(() => assert.equal(ns.set('key', 'value'), 'value'))
    })
  })

  describe('outside of any context', () => {
    it('gets undefined, and setting throws', () => {
      assert.equal(ns.active, null)
      assert.equal(ns.get('key'), undefined)
      assert.throws(
        () => ns.set('key', 1),
        new Error('No context available. ns.run() or ns.bind() must be called first.'),
      )
    })

    it('has an empty _set', () => {
      assert.deepEqual(ns._set, [])
    })
  })

  describe('run', () => {
    it('calls the function with a new active context and returns that context', () => {
      let seen: unknown
      const context = ns.run(given => {
        seen = given
        assert.equal(ns.active, given)
        return 'ignored'
      })
      assert.equal(context, seen)
      assert.equal(ns.active, null)
    })

    it('puts the outer context back, also when the function throws', () => {
      ns.run(outer => {
        assert.throws(() =>
          ns.run(() => {
            throw new Error('inside')
          }),
        )
        assert.equal(ns.active, outer)
      })
    })

    it('keeps what the function has entered, in this namespace and in others', () => {
      const mine = ns.createContext()
      const yours = other.createContext()
      ns.run(() => {
        ns.enter(mine)
        other.enter(yours)
      })
      assert.equal(ns.active, mine)
      assert.equal(other.active, yours)
      assert.deepEqual(ns._set, [null])
    })

    it('fails when the function has left the context that it was called in', () => {
      assert.throws(() => ns.run(context => ns.exit(context)), /context not currently entered/)
      assert.equal(ns.active, null)
    })

    it('throws for what is no function', () => {
      assert.throws(() => ns.run(undefined as never), TypeError)
      assert.equal(ns.active, null)
    })
  })

  describe('runAndReturn', () => {
    it("returns the function's value", () => {
      const value = {}
      assert.equal(
        ns.runAndReturn(context => {
          assert.equal(ns.active, context)
          return value
        }),
        value,
      )
      assert.equal(ns.active, null)
    })
  })

  describe('runPromise', () => {
    it('resolves to the value, and the function lives in its context until then', async () => {
      const value = await ns.runPromise(async context => {
        ns.set('key', 'value')
        await nextTurn()
        assert.equal(ns.active, context)
        return ns.get('key')
      })
      assert.equal(value, 'value')
    })

    it('leaves the caller outside, before the promise has settled and after', async () => {
      const promise = ns.runPromise(() => nextTurn())
      assert.equal(ns.active, null)
      await promise
      assert.equal(ns.active, null)
    })

    it('keeps concurrent ones apart', async () => {
      const work = (id: number) =>
        ns.runPromise(async () => {
          ns.set('user', id)
          await nextTurn()
          await ns.runPromise(async () => {
            await nextTurn()
            assert.equal(ns.get('user'), id)
            ns.set('user', -1)
          })
          assert.equal(ns.get('user'), id)
          return id
        })
      const ids = Array.from({ length: 50 }, (_, id) => id)
      assert.deepEqual(await Promise.all(ids.map(work)), ids)
    })

    it('rejects with the same error, which carries the context', async () => {
      const error = new Error('inside')
      let seen: unknown
      await assert.rejects(
        ns.runPromise(async context => {
          seen = context
          await nextTurn()
          throw error
        }),
        caught => caught === error,
      )
      assert.equal(ns.fromException(error), seen)
    })

    it('rejects with null where that is the reason', async () => {
      await assert.rejects(
        ns.runPromise(() => Promise.reject(null)),
        reason => reason === null,
      )
    })

    it('throws when the function returns no promise, or throws itself, and puts the context back', () => {
      for (const returned of [undefined, 5, thenable(() => {})]) {
        assert.throws(() => ns.runPromise(() => returned as never), new Error('fn must return a promise.'))
      }
      assert.throws(
        () =>
          ns.runPromise(() => {
            throw new Error('at once')
          }),
        /at once/,
      )
      assert.equal(ns.active, null)
    })
  })

  describe('bind', () => {
    it('calls the function in the context that was active, with this, arguments and result', () => {
      const receiver = {}
      const context = ns.createContext()
      ns.enter(context)
      const bound = ns.bind(function (this: unknown, ...args: number[]) {
        assert.equal(this, receiver)
        assert.equal(ns.active, context)
        return args
      })
      ns.exit(context)
      assert.deepEqual(bound.call(receiver, 1, 2, 3), [1, 2, 3])
      assert.equal(ns.active, null)
    })

    it('takes a context of your own', () => {
      const context = ns.createContext()
      context.key = 'value'
      assert.equal(ns.bind(() => ns.get('key'), context)(), 'value')
    })

    it('makes one context for all calls where none is active', () => {
      const next = ns.bind(() => ns.set('n', (ns.get('n') ?? 0) + 1))
      assert.equal(next(), 1)
      assert.equal(next(), 2)
      assert.equal(ns.active, null)
    })

    it('keeps other namespaces as they are where it is called, and what the function leaves in them', () => {
      const context = other.createContext()
      const bound = ns.bind(() => {
        const seen = other.active
        other.exit(context)
        return seen
      })
      other.enter(context)
      assert.equal(bound(), context)
      assert.equal(other.active, null)
    })

    it('can call itself', () => {
      const deep = ns.bind((n: number): number => (n === 0 ? ns._set.length : deep(n - 1)))
      assert.equal(deep(3), 4)
      assert.deepEqual(ns._set, [])
    })
  })

  describe('enter and exit', () => {
    it('nest', () => {
      const [first, second] = [ns.createContext(), ns.createContext()]
      ns.enter(first)
      ns.enter(second)
      assert.equal(ns.active, second)
      assert.deepEqual(ns._set, [null, first])
      ns.exit(second)
      assert.equal(ns.active, first)
      ns.exit(first)
      assert.equal(ns.active, null)
    })

    it('may be staggered', () => {
      const [first, second] = [ns.createContext(), ns.createContext()]
      ns.enter(first)
      ns.enter(second)
      ns.exit(first)
      assert.equal(ns.active, second)
      ns.exit(second)
      assert.equal(ns.active, null)
    })

    it('counts what was entered twice', () => {
      const context = ns.createContext()
      ns.enter(context)
      ns.enter(context)
      ns.exit(context)
      assert.equal(ns.active, context)
      ns.exit(context)
      assert.equal(ns.active, null)
      assert.throws(() => ns.exit(context), /context not currently entered/)
    })

    it('keep an outer context left, when it is left inside of run', () => {
      const context = ns.createContext()
      ns.enter(context)
      ns.run(() => {
        assert.equal(ns._set.length, 2)
        ns.exit(context)
        assert.equal(ns._set.length, 1)
      })
      assert.equal(ns.active, null)
    })

    it('need a context, and exit one that was entered', () => {
      assert.throws(() => ns.enter(undefined), /context must be provided for entering/)
      assert.throws(() => ns.exit(null), /context must be provided for exiting/)
      assert.throws(() => ns.exit(ns.createContext()), /context not currently entered; can't exit/)
    })

    it('says nothing of what is in the context when it fails', () => {
      const context = ns.createContext()
      context.password = 'secret'
      assert.throws(
        () => ns.exit(context),
        (error: Error) => !error.message.includes('secret'),
      )
    })

    it('last for what the flow starts, and for the rest of an async function', async () => {
      const context = ns.createContext()
      const work = async () => {
        await nextTurn()
        ns.enter(context)
        await nextTurn()
        assert.equal(ns.active, context)
        assert.equal(ns._set.length, 1)
        ns.exit(context)
        assert.equal(ns.active, null)
      }
      await work()
    })

    it('let a context be left that another flow has entered, once', async () => {
      const context = ns.createContext()
      await (async () => {
        await nextTurn()
        ns.enter(context)
      })()
      assert.equal(ns.active, null)
      ns.exit(context)
      assert.equal(ns.active, null)
      assert.throws(() => ns.exit(context), /context not currently entered/)
    })

    it('let it be left there also when a bound function has run in it meanwhile', async () => {
      const context = ns.createContext()
      await Promise.resolve().then(() => ns.enter(context))
      ns.bind(() => ns.enter(context), context)()
      assert.equal(ns.active, context)
      ns.exit(context)
      assert.equal(ns.active, null)
      ns.exit(context)
      assert.throws(() => ns.exit(context), /context not currently entered/)
    })

    it('let a timer leave the context that it was started in', async () => {
      const seen = await new Promise(resolve => {
        ns.run(context => {
          setTimeout(() => {
            ns.exit(context)
            resolve(ns.active)
          })
        })
      })
      assert.equal(seen, null)
    })
  })

  describe('active', () => {
    it('can be written, and lasts like an entered context', async () => {
      const context = ns.createContext()
      context.key = 'value'
      ns.active = context
      assert.equal(ns.get('key'), 'value')
      await nextTurn()
      assert.equal(ns.active, context)
      ns.active = null
      assert.equal(ns.get('key'), undefined)
    })

    it('is put back by the run that it was written in', () => {
      ns.run(outer => {
        assert.throws(() => {
          ns.run(() => {
            ns.active = ns.createContext()
          })
        }, /context not currently entered/)
        assert.notEqual(ns.active, outer)
      })
    })
  })

  describe('_set', () => {
    it('has 2 contexts inside of enter and run, and 1 after any asynchronous step', async () => {
      const context = ns.createContext()
      const lengths: Promise<number>[] = []
      ns.enter(context)
      ns.run(() => {
        assert.equal(ns._set.length, 2)
        const later = (start: (done: () => void) => void) =>
          lengths.push(new Promise(resolve => start(() => resolve(ns._set.length))))
        later(done => process.nextTick(done))
        later(done => queueMicrotask(done))
        later(done => Promise.resolve().then(done))
        later(done => setImmediate(done))
        later(done => setTimeout(done))
      })
      ns.exit(context)
      assert.deepEqual(await Promise.all(lengths), [1, 1, 1, 1, 1])
    })

    for (const from of ['a timer', 'a promise']) {
      it(`has 1 after any step from two contexts that ${from} has entered`, async () => {
        const [first, second] = [ns.createContext(), ns.createContext()]
        const lengths: Promise<number>[] = []
        if (from === 'a timer') await new Promise(resolve => setTimeout(() => resolve(enterAndLeave())))
        else await Promise.resolve().then(enterAndLeave)
        assert.deepEqual(await Promise.all(lengths), [1, 1, 1, 1])

        function enterAndLeave() {
          ns.enter(first)
          ns.enter(second)
          assert.equal(ns._set.length, 2)
          for (const start of [process.nextTick, queueMicrotask, setImmediate, setTimeout]) {
            lengths.push(new Promise(resolve => (start as (f: () => void) => void)(() => resolve(ns._set.length))))
          }
          ns.exit(second)
          ns.exit(first)
        }
      })
    }

    it('is empty after a step from where active was set to null', async () => {
      ns.enter(ns.createContext())
      ns.active = null
      assert.equal(ns._set.length, 1)
      await nextTurn()
      assert.deepEqual(ns._set, [])
    })
  })

  describe('an error', () => {
    it('carries the context of the outermost run that it left, enumerably', () => {
      const error = new Error('inside')
      let outermost: unknown
      assert.throws(() =>
        ns.run(context => {
          outermost = context
          ns.run(
            ns.bind(() => {
              throw error
            }, ns.createContext()),
          )
        }),
      )
      assert.equal(ERROR_SYMBOL, 'error@context')
      assert.equal(ns.fromException(error), outermost)
      assert.ok(Object.keys(error).includes(ERROR_SYMBOL))
    })

    it('crosses run as it is when it can carry nothing', () => {
      const refusing = new Proxy(
        {},
        {
          set() {
            throw new Error('no')
          },
        },
      )
      for (const thrown of ['text', null, undefined, 0, 5n, Object.freeze(new Error('frozen')), refusing]) {
        let caught: unknown = 'nothing'
        try {
          ns.run(() => {
            throw thrown
          })
        } catch (error) {
          caught = error
        }
        assert.equal(caught, thrown)
        assert.equal(ns.active, null)
      }
    })

    it('has no context when it has left none', () => {
      assert.equal(ns.fromException(new Error('outside')), undefined)
      assert.equal(ns.fromException(null), undefined)
    })

    it('is reported as an unhandled rejection in its context', async () => {
      // Mocha's own listeners would end the run.
      const listeners = process.rawListeners('unhandledRejection') as NodeJS.UnhandledRejectionListener[]
      process.removeAllListeners('unhandledRejection')
      try {
        const seen = new Promise(resolve => process.once('unhandledRejection', () => resolve(ns.get('key'))))
        ns.run(() => {
          ns.set('key', 'value')
          void (async () => {
            throw new Error('nobody awaits it')
          })()
        })
        assert.equal(await seen, 'value')
      } finally {
        for (const listener of listeners) process.on('unhandledRejection', listener)
      }
    })
  })

  describe('survives', () => {
    /** Starts something in a context, and returns what the context's value is when it calls back. */
    function through(start: (done: () => void) => unknown): Promise<unknown> {
      return new Promise((resolve, reject) => {
        ns.run(() => {
          ns.set('key', 'value')
          Promise.resolve(start(() => resolve(ns.get('key')))).catch(reject)
        })
      })
    }

    const ways: Record<string, (done: () => void) => unknown> = {
      promises: done =>
        Promise.resolve()
          .then(() => nextTurn())
          .then(done),
      'rejected promises': done => Promise.reject(new Error('no')).catch(done),
      'async functions': async done => {
        await nextTurn()
        await null
        done()
      },
      thenables: async done => {
        await thenable(resolve => setImmediate(resolve))
        done()
      },
      "a thenable's then": async done => {
        await thenable(done)
      },
      timeouts: done => setTimeout(done),
      intervals: done => {
        const timer = setInterval(() => {
          clearInterval(timer)
          done()
        })
      },
      immediates: done => setImmediate(done),
      'process.nextTick': done => process.nextTick(done),
      queueMicrotask: done => queueMicrotask(done),
      'the worker pool': done => stat(__filename, done),
      AsyncResource: done => {
        const resource = new AsyncResource('POOL')
        ns.run(() => setImmediate(() => resource.runInAsyncScope(done)))
      },
      'async iterators': async done => {
        async function* numbers() {
          yield 1
          await nextTurn()
          yield 2
        }
        const seen: unknown[] = []
        for await (const n of numbers()) seen.push(n, ns.get('key'))
        assert.deepEqual(seen, [1, 'value', 2, 'value'])
        done()
      },
      'async iteration over a stream': async done => {
        for await (const _ of Readable.from(['a', 'b'])) await nextTurn()
        done()
      },
      'stream pipelines': async done => {
        const seen: unknown[] = []
        const upper = new Transform({
          transform(chunk, _, next) {
            seen.push(ns.get('key'))
            setImmediate(next, null, String(chunk).toUpperCase())
          },
        })
        await pipeline(Readable.from(['a', 'b']), upper, async chunks => {
          for await (const chunk of chunks) seen.push(String(chunk), ns.get('key'))
        })
        assert.deepEqual(seen.filter(each => each !== 'value').join(''), 'AB')
        assert.equal(seen.length, 6)
        done()
      },
      'events.once': async done => {
        const emitter = new EventEmitter()
        // Emitted from outside.
        enterFrame(undefined)
        setImmediate(() => emitter.emit('event'))
        enterFrame(inside)
        await once(emitter, 'event')
        done()
      },
    }
    let inside: ReturnType<typeof currentFrame>

    for (const [way, start] of Object.entries(ways)) {
      it(way, async () => {
        const seen = await through(done => {
          inside = currentFrame()
          return start(done)
        })
        assert.equal(seen, 'value')
        assert.equal(ns.active, null)
      })
    }

    it('is where a continuation was registered, not where its promise was resolved', async () => {
      let resolve!: () => void
      const promise = new Promise<void>(done => {
        resolve = done
      })
      const seen = through(done => promise.then(done))
      ns.run(() => {
        ns.set('key', 'resolver')
        resolve()
      })
      assert.equal(await seen, 'value')
    })

    it('is kept apart in a hundred concurrent flows', async () => {
      const flows = Array.from({ length: 100 }, (_, id) =>
        ns.runAndReturn(async () => {
          ns.set('user', id)
          for (let i = 0; i < 10; i++) {
            await (i % 2 ? nextTurn() : null)
            assert.equal(ns.get('user'), id)
          }
        }),
      )
      await Promise.all(flows)
    })
  })

  describe("Milo's current span", () => {
    const span = {} as Span
    const seen = () => currentFrame()?.span

    it('stays current through every operation of a namespace', () => {
      runInFrame(frameWith(span), () => {
        ns.run(context => {
          assert.equal(seen(), span)
          ns.bind(() => assert.equal(seen(), span), ns.createContext())()
          ns.enter(ns.createContext())
          assert.equal(seen(), span)
          ns.exit(ns.active)
          assert.equal(seen(), span)
          assert.equal(ns.active, context)
        })
        assert.equal(seen(), span)
        ns.active = ns.createContext()
        assert.equal(seen(), span)
        ns.active = null
        assert.equal(seen(), span)
        assert.throws(() => ns.run(() => assert.fail()))
        assert.equal(seen(), span)
      })
      assert.equal(seen(), undefined)
    })

    it('stays current across the steps of a promise in a namespace', async () => {
      await runInFrame(frameWith(span), () =>
        ns.runPromise(async () => {
          await nextTurn()
          assert.equal(seen(), span)
          ns.enter(ns.createContext())
          await nextTurn()
          assert.equal(seen(), span)
        }),
      )
    })

    it('is the one of the call, not of the binding', () => {
      const bound = runInFrame(frameWith(span), () => ns.bind(seen))
      assert.equal(bound(), undefined)
      const later = {} as Span
      assert.equal(
        runInFrame(frameWith(later), () => bound()),
        later,
      )
    })

    it('is seen in a context that is derived after it was filled in', () => {
      const frame = frameWith(undefined)
      runInFrame(frame, () => {
        ns.run(() => assert.equal(seen(), undefined))
        frame.span = span
        ns.run(() => assert.equal(seen(), span))
        assert.equal(seen(), span)
      })
    })

    it('is put back after run, when something inside has made another current', () => {
      runInFrame(frameWith(span), () => {
        const entered = ns.createContext()
        ns.run(() => {
          enterFrame(frameWith({} as Span))
        })
        assert.equal(seen(), span)
        ns.run(() => {
          enterFrame(frameWith({} as Span))
          ns.enter(entered)
        })
        assert.equal(seen(), span)
        assert.equal(ns.active, entered)
      })
    })

    it('changes nothing about the contexts', async () => {
      await ns.runAndReturn(async context => {
        ns.set('key', 'value')
        await runInFrame(frameWith(span), async () => {
          assert.equal(ns.active, context)
          await nextTurn()
          assert.equal(ns.get('key'), 'value')
          assert.equal(seen(), span)
        })
        assert.equal(ns.active, context)
        assert.equal(seen(), undefined)
      })
    })

    it('lets what is entered or left under it stay so, as it would without Milo', () => {
      const context = ns.createContext()
      runInFrame(frameWith(span), () => ns.enter(context))
      assert.equal(ns.active, context)
      assert.equal(seen(), undefined)
      runInFrame(frameWith(span), () => runInFrame(frameWith(span), () => ns.exit(context)))
      assert.equal(ns.active, null)
    })

    it('leaves nothing behind of a frame that came from elsewhere', () => {
      const context = ns.createContext()
      const elsewhere = ns.runAndReturn(() => frameWith(span))
      runInFrame(elsewhere, () => ns.enter(context))
      assert.equal(ns.active, null)
    })
  })

  describe('the heap', () => {
    setFlagsFromString('--expose_gc')
    const gc = runInNewContext('gc') as () => void

    /** How much more is used at the last of so many steps than at the thousandth; each step starts the next. */
    function growth(steps: number, step: (next: () => void) => () => void): Promise<number> {
      return new Promise(resolve => {
        let done = 0
        let before = 0
        const next = step(() => {
          if (++done === 1000) {
            gc()
            before = process.memoryUsage().heapUsed
          }
          if (done < steps) return void setImmediate(next)
          gc()
          resolve(process.memoryUsage().heapUsed - before)
        })
        next()
      })
    }

    // One object a step, kept, would be 2 MB and more.
    const STEPS = 50_000
    const FLAT = 1_000_000

    it('stays flat under a bound function that reschedules itself', async () => {
      const grown = await growth(STEPS, next => ns.bind(next))
      assert.ok(grown < FLAT, `${grown} bytes`)
    })

    it('stays flat under a function that enters its context at every step and never leaves', async () => {
      const context = ns.createContext()
      const grown = await growth(STEPS, next => () => {
        ns.enter(context)
        next()
      })
      assert.ok(grown < FLAT, `${grown} bytes`)
    })

    it('stays flat under many namespaces that come and go', async () => {
      let n = 0
      const grown = await growth(5_000, next => () => {
        const name = `passing ${n++ % 10}`
        const passing = createNamespace(name)
        const context = passing.createContext()
        passing.enter(context)
        passing.run(() => {})
        passing.exit(context)
        destroyNamespace(name)
        next()
      })
      assert.ok(grown < FLAT, `${grown} bytes`)
    })
  })
})
