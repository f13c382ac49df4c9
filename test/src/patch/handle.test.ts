import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { EventEmitter, errorMonitor } from 'node:events'
import { Handle } from '../../../src/patch/handle'
import { start, stop } from '../../../src/testing'

describe("a plugin's handle", () => {
  let plugin: Handle
  beforeEach(() => {
    start({ logLevel: 'silent' })
    plugin = new Handle('test')
  })
  afterEach(() => stop())

  it('isn’t taken for OpenTelemetry’s instrumentations, which unwrap what they find to be wrapped', () => {
    const target: any = { query: () => 1 }
    plugin.wrap(target, 'query', original => () => original() + 1)
    // This is how they tell.
    const { __original, __unwrap, __wrapped } = target.query
    assert.ok(!(typeof __original === 'function' && typeof __unwrap === 'function' && __wrapped === true))
    assert.equal(target.query(), 2)
  })

  describe('intercept', () => {
    const make = () => ({
      add(a: number, b: number) {
        if (Number.isNaN(a)) throw new RangeError('not a number')
        return a + b
      },
    })

    it('gives the original, this and the arguments, and keeps name and length', () => {
      const target = make()
      plugin.intercept(target, 'add', (original, self, args) => {
        assert.equal(self, target)
        return original.apply(self, args)
      })
      assert.deepEqual([target.add(1, 2), target.add.name, target.add.length], [3, 'add', 2])
    })

    it('lets the errors of the original through, and stays on', () => {
      const target = make()
      plugin.intercept(target, 'add', (original, self, args) => {
        try {
          return original.apply(self, args)
        } catch (error) {
          plugin.bind(() => {})
          throw error
        }
      })
      assert.throws(() => target.add(Number.NaN, 1), RangeError)
      assert.equal(plugin.enabled, true)
    })

    it('leaves a class a class, and those that are derived from it theirs, also once the plugin is off', () => {
      const target = {
        Point: class Point {
          constructor(readonly x: number) {
            if (x < 0) throw new RangeError('below 0')
          }
        },
      }
      const made: number[] = []
      plugin.intercept(target, 'Point', (original, self, args) => {
        made.push(args[0])
        return original.apply(self, args)
      })
      const { Point } = target
      class Named extends Point {
        name = 'n'
      }
      for (const enabled of [true, false]) {
        plugin.enabled = enabled
        const [point, named] = [new Point(3), new Named(4)]
        assert.deepEqual(
          [point.x, point instanceof Point, named.x, named.name, named instanceof Named],
          [3, true, 4, 'n', true],
        )
        assert.throws(() => new Point(-1), RangeError)
        assert.throws(() => (Point as any)(1), TypeError)
      }
      assert.deepEqual(made, [3, 4, -1, 1])
    })

    const mistakes: Record<string, (original: any, self: any, args: any[]) => unknown> = {
      'before the original is called': () => {
        throw new Error('mine')
      },
      'after it has returned': (original, self, args) => {
        original.apply(self, args)
        throw new Error('mine')
      },
      'in the place of what it threw': (original, self, args) => {
        try {
          return original.apply(self, args)
        } finally {
          // biome-ignore lint/correctness/noUnsafeFinally: a plugin's mistake
          throw new Error('mine')
        }
      },
    }
    for (const [when, mistake] of Object.entries(mistakes)) {
      it(`gives the application the original's outcome, once, when the plugin throws ${when}`, () => {
        let calls = 0
        const target = {
          twice(n: number) {
            calls++
            if (n < 0) throw new RangeError('negative')
            return 2 * n
          },
        }
        plugin.intercept(target, 'twice', mistake)
        assert.equal(target.twice(2), 4)
        assert.deepEqual([calls, plugin.enabled], [1, false])
        plugin.enabled = true
        assert.throws(() => target.twice(-1), RangeError)
        assert.equal(calls, 2)
      })
    }

    it('calls the original alone while the plugin is off, or nothing is traced', () => {
      const target = make()
      let seen = 0
      plugin.intercept(target, 'add', (original, self, args) => {
        seen++
        return original.apply(self, args)
      })
      plugin.enabled = false
      target.add(1, 2)
      plugin.enabled = true
      stop()
      target.add(1, 2)
      assert.equal(seen, 0)
    })
  })

  describe('watchEmit', () => {
    it('stands before the listeners, and adds none', () => {
      const emitter = new EventEmitter()
      const order: unknown[] = []
      emitter.on('data', (...args) => order.push(args))
      plugin.watchEmit(emitter, (self, event, args, emit) => {
        order.push(event)
        return emit(self, event, args)
      })
      assert.equal(emitter.emit('data', 1, 2), true)
      assert.equal(emitter.emit('other'), false)
      assert.deepEqual([order, emitter.listenerCount('data')], [['data', [1, 2], 'other'], 1])
      assert.equal(Object.keys(emitter).includes('emit'), false)
    })

    it('sees the emitters of a whole prototype, by the emit that it inherits at that time', () => {
      class Parent extends EventEmitter {}
      class Child extends Parent {}
      let seen = 0
      plugin.watchEmit(Child.prototype, (self, event, args, emit) => {
        seen++
        return emit(self, event, args)
      })
      Parent.prototype.emit = () => true
      assert.equal(new Child().emit('data'), true)
      assert.equal(seen, 1)
    })

    it('hands on what nobody wants: the same arguments, the same this', () => {
      const emitter = new EventEmitter()
      const seen: unknown[] = []
      plugin.watchEmit(
        emitter,
        (self, event, args, emit) => {
          seen.push(event)
          return emit(self, event, args)
        },
        (self, event) => self === emitter && event === 'wanted',
      )
      for (const event of ['wanted', 'other'])
        emitter.on(event, function (this: unknown, ...args) {
          seen.push([this === emitter, ...args])
        })
      for (const event of ['wanted', 'other', 'unheard']) seen.push(emitter.emit(event, 1, 2))
      assert.deepEqual(seen, ['wanted', [true, 1, 2], true, [true, 1, 2], true, false])
    })

    it('throws an error that nobody hears, as Node does', () => {
      const emitter = new EventEmitter()
      plugin.watchEmit(
        emitter,
        () => true,
        () => false,
      )
      assert.throws(() => emitter.emit('error', new Error('unheard')), /unheard/)
      emitter.on(errorMonitor, () => {})
      assert.throws(() => emitter.emit('error', new Error('monitored')), /monitored/)
    })

    it('calls an emit that somebody had put in the place of Node’s before Milo came, for every event', () => {
      const { emit: own } = EventEmitter.prototype
      const through: unknown[] = []
      const file = require.resolve('../../../src/patch/handle')
      const module = require.cache[file]
      try {
        // Of the same shape as Node's own.
        EventEmitter.prototype.emit = function emit(type: string | symbol, ...args: any) {
          through.push(type)
          return own.call(this, type, ...args)
        }
        delete require.cache[file]
        const late: typeof import('../../../src/patch/handle') = require('../../../src/patch/handle')
        const emitter = new EventEmitter()
        new late.Handle('late').watchEmit(
          emitter,
          () => true,
          () => false,
        )
        assert.equal(emitter.emit('unheard'), false)
      } finally {
        EventEmitter.prototype.emit = own
        require.cache[file] = module
      }
      assert.deepEqual(through, ['unheard'])
    })

    it('leaves a frozen emitter as it is', () => {
      const emitter = Object.freeze({ emit: () => true })
      plugin.watchEmit(emitter, () => false)
      assert.equal(emitter.emit(), true)
    })
  })

  describe('bind', () => {
    it('runs a callback where it was bound, with its own this and arguments', () => {
      const storage = new AsyncLocalStorage<string>()
      const bound = storage.run('there', () =>
        plugin.bind(function (this: unknown, ...args: unknown[]) {
          return [storage.getStore(), this, args]
        }),
      )
      assert.deepEqual(bound.call('self', 1, 2), ['there', 'self', [1, 2]])
    })

    it('gives back what is no function, and everything while the plugin is off or nothing is traced', () => {
      const callback = () => {}
      assert.equal(plugin.bind(undefined), undefined)
      plugin.enabled = false
      assert.equal(plugin.bind(callback), callback)
      plugin.enabled = true
      stop()
      assert.equal(plugin.bind(callback), callback)
    })
  })
})
