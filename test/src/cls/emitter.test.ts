import assert from 'node:assert/strict'
import { EventEmitter, errorMonitor, once } from 'node:events'
import { createServer, get } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createNamespace, type Namespace, reset } from '../../../src/cls/namespaces'
import { currentFrame, enterFrame, frameWith, runInFrame } from '../../../src/trace/context'
import type { PluginSpan as Span } from '../../../src/trace/span'

describe('bindEmitter', () => {
  let ns: Namespace
  let emitter: EventEmitter
  let seen: unknown[]
  const see = () => seen.push(ns.get('key'))

  /** Calls `fn` in a context in which key is this. */
  function within<T>(key: string, fn: () => T): T {
    return ns.runAndReturn(() => {
      ns.set('key', key)
      return fn()
    })
  }

  beforeEach(() => {
    ns = createNamespace('test')
    emitter = new EventEmitter()
    ns.bindEmitter(emitter)
    seen = []
  })

  afterEach(() => {
    enterFrame(undefined)
    reset()
  })

  it('runs a listener in the context that it was added in', () => {
    within('adding', () => emitter.on('event', see))
    emitter.emit('event')
    within('emitting', () => emitter.emit('event'))
    assert.deepEqual(seen, ['adding', 'adding'])
    assert.equal(ns.active, null)
  })

  it('does so for on, addListener and once', () => {
    within('on', () => emitter.on('event', see))
    within('addListener', () => emitter.addListener('event', () => see()))
    within('once', () => emitter.once('event', see))
    emitter.emit('event')
    emitter.emit('event')
    assert.deepEqual(seen, ['on', 'addListener', 'once', 'on', 'addListener'])
  })

  it("runs a listener in the emit's context when it was added outside of any, or before the emitter was bound", () => {
    const unbound = new EventEmitter()
    unbound.on('event', see)
    ns.bindEmitter(unbound)
    unbound.on('event', () => see())
    within('emitting', () => unbound.emit('event'))
    assert.deepEqual(seen, ['emitting', 'emitting'])
  })

  it('lets a listener that was added outside of any set values, for itself alone', () => {
    emitter.on('event', () => seen.push(ns.get('n'), ns.set('n', 1)))
    emitter.emit('event')
    emitter.emit('event')
    assert.deepEqual(seen, [undefined, 1, undefined, 1])
  })

  it('keeps arguments, this, the order and the results of emit', () => {
    within('adding', () => {
      emitter.on('event', function (this: unknown, ...args) {
        seen.push(this === emitter, ...args)
      })
    })
    emitter.on('event', () => seen.push('second'))
    assert.equal(emitter.emit('event', 1, 'two'), true)
    assert.equal(emitter.emit('nothing'), false)
    assert.deepEqual(seen, [true, 1, 'two', 'second'])
    assert.throws(() => emitter.emit('error', new Error('nobody listens')), /nobody listens/)
  })

  it('leaves the listeners themselves in the emitter', () => {
    const listener = () => {}
    within('adding', () => emitter.on('event', listener).once('event', see))
    assert.equal(emitter.rawListeners('event')[0], listener)
    assert.deepEqual(emitter.listeners('event'), [listener, see])
    emitter.emit('event')
    assert.deepEqual(emitter.rawListeners('event'), [listener])
    emitter.off('event', listener)
    assert.deepEqual(emitter.eventNames(), [])
  })

  it('shows where cls-hooked shows it: wrapped functions, and the contexts of a listener', () => {
    const fresh = new EventEmitter() as any
    assert.equal(fresh.emit.__wrapped, undefined)
    ns.bindEmitter(fresh)
    assert.ok(fresh.emit.__wrapped && fresh.on.__wrapped && fresh.addListener.__wrapped)
    assert.equal(new EventEmitter().emit, EventEmitter.prototype.emit)
    const listener: any = () => {}
    const context = ns.run(() => fresh.on('event', listener))
    assert.deepEqual({ ...listener['cls@contexts'] }, { 'context@test': { namespace: ns, context } })
    assert.deepEqual(
      Object.keys(fresh).filter(key => !key.startsWith('_')),
      Object.keys(new EventEmitter()).filter(key => !key.startsWith('_')),
    )
  })

  it('serves several namespaces, each once however often it is bound', () => {
    const other = createNamespace('other')
    other.bindEmitter(emitter)
    ns.bindEmitter(emitter)
    const { emit } = emitter
    ns.bindEmitter(emitter)
    assert.equal(emitter.emit, emit)
    other.run(() => {
      other.set('key', 'theirs')
      within('mine', () => emitter.on('event', () => seen.push(ns.get('key'), other.get('key'), ns._set.length)))
    })
    emitter.emit('event')
    assert.deepEqual(seen, ['mine', 'theirs', 1])
  })

  it('keeps one function on two emitters apart', () => {
    const second = new EventEmitter()
    ns.bindEmitter(second)
    within('first', () => emitter.on('event', see))
    within('second', () => second.on('event', see))
    emitter.emit('event')
    second.emit('event')
    assert.deepEqual(seen, ['first', 'second'])
  })

  it('keeps one function apart that listens for two events, and twice for one', () => {
    within('a', () => emitter.on('event', see))
    within('b', () => emitter.on('event', see))
    within('c', () => emitter.on('else', see))
    emitter.emit('event')
    emitter.emit('else')
    // As removeListener does, it takes the latest.
    emitter.off('event', see)
    emitter.emit('event')
    within('d', () => emitter.on('event', see))
    emitter.emit('event')
    assert.deepEqual(seen, ['a', 'b', 'c', 'a', 'a', 'd'])
  })

  it('gives a listener that was there before the emitter was bound no context of a later addition', () => {
    const unbound = new EventEmitter()
    unbound.on('event', see)
    ns.bindEmitter(unbound)
    within('adding', () => unbound.on('event', see))
    within('emitting', () => unbound.emit('event'))
    assert.deepEqual(seen, ['emitting', 'adding'])
  })

  describe('when listeners change during emit', () => {
    it('a removed one still runs this time, and never again', () => {
      within('adding', () => {
        emitter.on('event', () => emitter.off('event', see))
        emitter.on('event', see)
      })
      emitter.emit('event')
      emitter.emit('event')
      assert.deepEqual(seen, ['adding'])
      assert.equal(emitter.listenerCount('event'), 1)
    })

    it('one that removes itself is gone', () => {
      within('adding', () => {
        emitter.on('event', function self() {
          see()
          emitter.off('event', self)
        })
      })
      emitter.emit('event')
      emitter.emit('event')
      assert.deepEqual(seen, ['adding'])
      assert.deepEqual(emitter.eventNames(), [])
    })

    it('an added one runs from the next time, in its own context', () => {
      within('adding', () => emitter.once('event', () => within('later', () => emitter.on('event', see))))
      emitter.emit('event')
      assert.deepEqual(seen, [])
      emitter.emit('event')
      assert.deepEqual(seen, ['later'])
    })

    it('all stay removed when a listener removes all', () => {
      within('adding', () => {
        emitter.on('event', () => emitter.removeAllListeners('event'))
        emitter.on('event', see)
      })
      emitter.emit('event')
      emitter.emit('event')
      assert.deepEqual(seen, ['adding'])
      emitter.on('event', see)
      assert.equal(emitter.listenerCount('event'), 1)
    })

    it('an emit within emit sees the listeners as they are', () => {
      within('adding', () => {
        emitter.once('event', () => {
          emitter.emit('event')
        })
        emitter.on('event', see)
      })
      emitter.emit('event')
      assert.deepEqual(seen, ['adding', 'adding'])
      assert.deepEqual(emitter.rawListeners('event'), [see])
    })

    it('each listener sees the list as it is, also the first that has no context', () => {
      const unbound = new EventEmitter()
      unbound.on('event', () => seen.push(unbound.rawListeners('event')[1] === see))
      ns.bindEmitter(unbound)
      within('adding', () => unbound.on('event', see))
      unbound.emit('event')
      assert.deepEqual(seen, [true, 'adding'])
    })

    it('a listener that throws leaves the emitter and the caller as they were', () => {
      const kaboom = () => {
        throw new Error('kaboom')
      }
      const context = ns.run(() => emitter.on('event', kaboom))
      assert.throws(
        () => emitter.emit('event'),
        (error: Error) => error.message === 'kaboom' && ns.fromException(error) === context,
      )
      assert.deepEqual(emitter.rawListeners('event'), [kaboom])
      assert.equal(ns.active, null)
    })

    it('a listener of newListener may remove itself', () => {
      emitter.on('newListener', function handler() {
        emitter.off('newListener', handler)
      })
      within('adding', () => emitter.on('event', see))
      emitter.emit('event')
      assert.deepEqual(seen, ['adding'])
      assert.equal(emitter.listenerCount('newListener'), 0)
    })

    it('a listener of events.errorMonitor may change who gets the error', () => {
      const added = () => see()
      within('adding', () => {
        emitter.on('error', see)
        emitter.on('error', see)
        emitter.on(errorMonitor, () => {
          emitter.off('error', see)
          within('monitor', () => emitter.on('error', added))
        })
      })
      emitter.emit('error', new Error('an error'))
      assert.deepEqual(emitter.rawListeners('error'), [see, added])
      emitter.removeAllListeners(errorMonitor)
      seen = []
      emitter.emit('error', new Error('an error'))
      assert.deepEqual(seen, ['adding', 'monitor'])
    })

    it("a class's own emit may withhold the event", () => {
      class Silent extends EventEmitter {
        override emit(): boolean {
          return false
        }
      }
      const silent = new Silent()
      ns.bindEmitter(silent)
      within('adding', () => silent.on('event', see))
      assert.equal(silent.emit(), false)
      assert.deepEqual(silent.rawListeners('event'), [see])
    })
  })

  it("finds the listener that a class's own on has put around the one it was given", () => {
    class Wrapping extends EventEmitter {
      override on(name: string, listener: (...args: any[]) => void): this {
        return super.on(name, (...args) => listener('wrapped', ...args))
      }
    }
    const wrapping = new Wrapping()
    ns.bindEmitter(wrapping)
    within('adding', () => wrapping.on('event', (...args) => seen.push(...args, ns.get('key'))))
    wrapping.emit('event', 1)
    assert.deepEqual(seen, ['wrapped', 1, 'adding'])
  })

  it('binds all that inherit from a prototype', () => {
    class Base extends EventEmitter {}
    ns.bindEmitter(Base.prototype)
    const other = createNamespace('other')
    const [one, two] = [new Base(), new Base()]
    other.bindEmitter(two)
    other.run(() => {
      other.set('key', 'theirs')
      for (const each of [one, two]) {
        within('adding', () => each.on('event', () => seen.push(ns.get('key'), other.get('key'))))
      }
    })
    one.emit('event')
    two.emit('event')
    assert.deepEqual(seen, ['adding', undefined, 'adding', 'theirs'])
  })

  it('forgets events that nobody listens for any more', () => {
    setFlagsFromString('--expose_gc')
    const gc = runInNewContext('gc') as () => void
    const listen = (from: number, to: number) => {
      for (let i = from; i < to; i++) emitter.on(`reply ${i}`, see).off(`reply ${i}`, see)
      gc()
      return process.memoryUsage().heapUsed
    }
    within('adding', () => {
      emitter.on('event', see)
      const before = listen(0, 1000)
      const grown = listen(1000, 21_000) - before
      assert.ok(grown < 1_000_000, `${grown} bytes`)
    })
    emitter.emit('event')
    assert.deepEqual(seen, ['adding'])
  })

  it('refuses what is no emitter', () => {
    for (const nothing of [{}, { on() {} }, { on() {}, addListener() {} }]) {
      assert.throws(() => ns.bindEmitter(nothing as never), /can only bind real EEs/)
    }
  })

  it("keeps Milo's current span that of the emit", () => {
    const [adding, emitting] = [{}, {}] as Span[]
    runInFrame(frameWith(adding), () =>
      within('adding', () => emitter.on('event', () => seen.push(currentFrame()?.span))),
    )
    runInFrame(frameWith(emitting), () => emitter.emit('event'))
    assert.equal(seen[0], emitting)
  })

  it('keeps the rejections of async listeners captured', async () => {
    const capturing = new EventEmitter({ captureRejections: true })
    ns.bindEmitter(capturing)
    const error = new Error('rejected')
    within('adding', () =>
      capturing.on('event', async () => {
        throw error
      }),
    )
    const caught = once(capturing, 'error')
    capturing.emit('event')
    assert.deepEqual(await caught, [error])
  })

  describe('on real streams', () => {
    it('carries the context to the listeners of a stream that is filled elsewhere', async () => {
      const stream = new PassThrough()
      ns.bindEmitter(stream)
      const ended = within('adding', () => {
        stream.on('data', chunk => seen.push(String(chunk), ns.get('key')))
        return new Promise<void>(resolve => {
          stream.on('end', () => {
            see()
            resolve()
          })
        })
      })
      stream.write('a')
      within('writing', () => stream.end('b'))
      await ended
      assert.deepEqual(seen, ['a', 'adding', 'b', 'adding', 'adding'])
    })

    it('leaves async iteration and pipes as they are', async () => {
      const source = Readable.from(['a', 'b', 'c'])
      const sink = new PassThrough({ objectMode: true })
      ns.bindEmitter(source)
      ns.bindEmitter(sink)
      await within('adding', async () => {
        for await (const chunk of source.pipe(sink)) seen.push(chunk, ns.get('key'))
      })
      assert.deepEqual(seen, ['a', 'adding', 'b', 'adding', 'c', 'adding'])
    })

    it('carries it to the data of a socket that a server has accepted', async () => {
      const server = createTcpServer(socket => {
        ns.bindEmitter(socket)
        within('connection', () => {
          socket.on('data', () => {
            see()
            socket.end('bye')
          })
        })
      }).listen(0, '127.0.0.1')
      await once(server, 'listening')
      const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
      client.write('hello')
      client.resume()
      await once(client, 'close')
      server.close()
      assert.deepEqual(seen, ['connection'])
    })

    it("keeps the requests of an HTTP server apart, as express's middleware does", async () => {
      const server = createServer((request, response) => {
        ns.bindEmitter(request)
        ns.bindEmitter(response)
        within(request.url!, () => {
          request.resume().on('end', () => {
            setImmediate(() => response.end(String(ns.get('key'))))
          })
          response.on('finish', () => seen.push(`${request.url} ${ns.get('key')}`))
        })
      }).listen(0, '127.0.0.1')
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      const paths = Array.from({ length: 20 }, (_, i) => `/${i}`)
      const bodies = await Promise.all(
        paths.map(async path => {
          const [response] = await once(get({ port, host: '127.0.0.1', path }), 'response')
          return (await response.toArray()).join('')
        }),
      )
      server.close()
      assert.deepEqual(bodies, paths)
      assert.deepEqual(seen.sort(), paths.map(path => `${path} ${path}`).sort())
    })
  })
})
