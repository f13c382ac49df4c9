import assert from 'node:assert/strict'
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import * as cls from '../../src/cls/namespaces'
import { current, span } from '../../src/index'
import { assertTree, start, stop } from '../../src/testing'
import { ended } from '../helpers/ended'
import { npmPackages } from '../servers/npm'

/*
 * A thread's answer is a message: its listener runs in the context in which the thread was started, by whichever request
 * came first. A pool that makes each task an AsyncResource, or a promise that is awaited, brings it back to who asked.
 */

const storage = new AsyncLocalStorage<string>()
const namespace = cls.createNamespace<{ name: string }>('worker pools')

interface Task {
  n: number
  done: (result: number) => void
}

/** Two threads, and a queue before them: as short as pools are written by hand. */
class Pool {
  private readonly idle: Worker[] = []
  private readonly waiting: Task[] = []
  private readonly busy = new Map<Worker, Task>()
  private readonly threads: Worker[] = []

  run(n: number, done: (result: number) => void): void {
    this.waiting.push({ n, done })
    // Within the request that comes first.
    if (this.threads.length < 2) this.grow()
    this.next()
  }

  private grow(): void {
    const worker = new Worker(
      `const { parentPort } = require('node:worker_threads'); parentPort.on('message', n => parentPort.postMessage(n * 2))`,
      { eval: true },
    )
    worker.on('message', result => {
      const { done } = this.busy.get(worker)!
      this.busy.delete(worker)
      this.idle.push(worker)
      done(result)
      this.next()
    })
    this.threads.push(worker)
    this.idle.push(worker)
  }

  private next(): void {
    const worker = this.idle.pop()
    const task = worker && this.waiting.shift()
    if (task === undefined) {
      if (worker) this.idle.push(worker)
      return
    }
    this.busy.set(worker!, task)
    worker!.postMessage(task.n)
  }

  async close(): Promise<void> {
    await Promise.all(this.threads.map(worker => worker.terminate()))
  }
}

type Look = () => void
type Ask = (n: number, look: Look, name: string) => void

/** Asks in twelve contexts at once; what each finds where its answer is, as [storage, namespace, whether the span is its own]. */
async function found(ask: Ask): Promise<unknown[][]> {
  start()
  try {
    return await Promise.all(
      Array.from({ length: 12 }, (_, i) => {
        const name = `request ${i}`
        return storage.run(name, () =>
          namespace.runAndReturn(() => {
            namespace.set('name', name)
            return span(name, own => {
              const { spanId } = own
              return new Promise<unknown[]>(resolve =>
                ask(i, () => resolve([storage.getStore(), namespace.get('name'), current().spanId === spanId]), name),
              )
            })
          }),
        )
      }),
    )
  } finally {
    stop()
  }
}

const names = Array.from({ length: 12 }, (_, i) => `request ${i}`)
const everybodysOwn = names.map(name => [name, name, true])

describe('a context comes back from a pool of worker threads', () => {
  let pool: Pool
  beforeEach(() => {
    pool = new Pool()
  })
  afterEach(() => pool.close())

  it('that knows nothing of contexts: not in the callback by itself, which is why the rest of this is needed', async () => {
    const seen = await found((n, look) => pool.run(n, look))
    assert.notDeepEqual(seen, everybodysOwn)
  })

  it('through an AsyncResource for each task', async () => {
    const seen = await found((n, look) => {
      const resource = new AsyncResource('task')
      pool.run(n, () => resource.runInAsyncScope(look))
    })
    assert.deepEqual(seen, everybodysOwn)
  })

  it('through AsyncResource.bind around the callback', async () => {
    assert.deepEqual(await found((n, look) => pool.run(n, AsyncResource.bind(look))), everybodysOwn)
  })

  it('through a promise that is awaited', async () => {
    const seen = await found(async (n, look) => {
      await new Promise<number>(resolve => pool.run(n, resolve))
      look()
    })
    assert.deepEqual(seen, everybodysOwn)
  })

  it('through a namespace’s bind, the namespace’s own', async () => {
    const seen = await found((n, look) => pool.run(n, namespace.bind(look)))
    assert.deepEqual(
      seen.map(([, name]) => name),
      names,
    )
  })

  it('through a span with a callback, which ends when the answer is there', async () => {
    start()
    await Promise.all(
      [1, 2, 3].map(n =>
        span(
          `request ${n}`,
          () =>
            new Promise<void>(resolve => {
              span(
                'task',
                (task, done) => pool.run(n, result => done(null, task.annotate('result', result))),
                AsyncResource.bind(() => {
                  span('after', () => {})
                  resolve()
                }),
              )
            }),
        ),
      ),
    )
    await ended(9)
    assertTree([1, 2, 3].map(n => `"request ${n}"\n  task result=${n * 2}\n  after`).join('\n'))
    stop()
  })

  for (const pack of ['piscina@5.3.2', 'piscina@4.9.2', 'workerpool@10.0.3']) {
    it(`that ${pack} makes, by await, and by then where its promises are native`, async () => {
      const folder = mkdtempSync(join(tmpdir(), 'milo-pool-'))
      const file = join(folder, 'worker.js')
      writeFileSync(file, 'module.exports = n => n * 2')
      const installed = createRequire(join(await npmPackages(pack), 'node_modules/x.js'))
      const [run, close] = pack.startsWith('piscina')
        ? piscina(installed('piscina'), file)
        : workerpool(installed('workerpool'))
      try {
        const awaited = await found(async (n, look) => {
          assert.equal(await run(n), n * 2)
          look()
        })
        assert.deepEqual(awaited, everybodysOwn)
        // workerpool's own promises call back in the context of whoever settles them: nothing tells whose that should be.
        const native = run(1) instanceof Promise
        assert.equal(native, pack.startsWith('piscina'))
        const then = (n: number, look: Look) => void run(n).then(native ? look : AsyncResource.bind(look))
        assert.deepEqual(await found(then), everybodysOwn)
      } finally {
        await close()
        rmSync(folder, { recursive: true })
      }
    })
  }
})

type PackagedPool = [run: (n: number) => Promise<number>, close: () => unknown]

function piscina({ Piscina }: any, filename: string): PackagedPool {
  const pool = new Piscina({ filename, maxThreads: 2, minThreads: 0 })
  return [n => pool.run(n), () => pool.destroy()]
}

function workerpool({ pool: make }: any): PackagedPool {
  const pool = make({ maxWorkers: 2, workerType: 'thread' })
  return [n => pool.exec((x: number) => x * 2, [n]), () => pool.terminate()]
}
