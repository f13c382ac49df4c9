import assert from 'node:assert/strict'
import { createNamespace, destroyNamespace, type Namespace } from '../../src/cls/namespaces'
import { current, init, shutdown } from '../../src/index'
import { client, closeAll, serve, traced, WIRES, wireName } from '../helpers/thrift'

/** A processor whose requests each run in a namespace's context, as applications make them to know who calls. */
function inContext(Processor: any, method: string, within: (process: () => unknown) => unknown): any {
  return class extends Processor {
    [method](...args: unknown[]) {
      return within(() => super[method](...args))
    }
  }
}

describe('a Thrift server whose requests run in a context of milo/cls', () => {
  let outer: Namespace<{ caller?: string }>
  let inner: Namespace

  before(() => {
    // Not while files are loaded: tests of namespaces destroy all that there are.
    outer = createNamespace('outer')
    inner = createNamespace('inner')
    init({ scribe: '127.0.0.1:1', sampler: 'always', logLevel: 'silent', exitTimeoutMs: 0 })
  })
  after(async () => {
    await shutdown(0)
    for (const name of ['outer', 'inner']) destroyNamespace(name)
  })
  afterEach(closeAll)

  const run = (process: () => unknown) =>
    outer.runAndReturn(() => {
      outer.set('caller', 'ann')
      return inner.runAndReturn(process)
    })
  const enter = (process: () => unknown) => {
    outer.enter(outer.createContext())
    outer.set('caller', 'ann')
    return process()
  }

  for (const wire of WIRES) {
    for (const method of ['process', 'process_add']) {
      for (const [how, within] of Object.entries({ run, enter })) {
        it(`has both in its handler, then and later: ${how} around ${method}, ${wireName(wire)}`, async () => {
          const seen: unknown[] = []
          const see = () => seen.push(current().name, outer.get('caller'))
          const handler = {
            async add(a: number, b: number) {
              see()
              await null
              see()
              await new Promise(resolve => setTimeout(resolve, 1))
              see()
              return a + b
            },
          }
          const service = { ...traced.Calculator, Processor: inContext(traced.Calculator.Processor, method, within) }
          const { port } = await serve(traced, service, handler, wire)
          const c = client(traced, traced.Calculator, port, wire)
          assert.equal(await c.add(1, 2), 3)
          const once = ['Calculator.add', 'ann']
          assert.deepEqual(seen, [...once, ...once, ...once])
        })
      }
    }
  }
})
