import assert from 'node:assert/strict'
import { type AddressInfo, connect } from 'node:net'
import fastify from 'fastify'
import { createReads, type Grant, ReadBudget } from '../../../collector/src/api/read-budget'
import { traceRoutes } from '../../../collector/src/api/traces'
import { Rings } from '../../../collector/src/keep/rings'
import { until } from '../../helpers/until'
import { span } from '../support'

describe('the read budget', () => {
  it('is given out in the order in which it was asked for, also when a smaller part would fit earlier', async () => {
    const budget = new ReadBudget({ maxBytes: 100 })
    const [first, second] = [await budget.take(60), await budget.take(30)]
    const order: string[] = []
    const take = async (bytes: number, name: string) => {
      await budget.take(bytes)
      order.push(name)
    }
    const large = take(80, 'large')
    const small = take(10, 'small')
    await new Promise(setImmediate)
    assert.deepEqual(order, [])
    first.shrink(20)
    await new Promise(setImmediate)
    assert.deepEqual(order, [])
    second.release()
    await large
    await new Promise(setImmediate)
    assert.deepEqual(order, ['large'])
    first.release()
    await small
    assert.deepEqual(order, ['large', 'small'])
  })

  it('refuses a reader that has waited too long, or while too many wait, and says when to try again', async () => {
    const budget = new ReadBudget({ maxBytes: 100, waitMs: 20, maxWaiting: 2 })
    const grant = await budget.take(100)
    const refused = { status: 503, code: 'MILO_TOO_MANY_READS', retryAfterSeconds: 1 }
    await Promise.all([1, 2, 3].map(() => assert.rejects(budget.take(1), refused)))
    grant.release()
    await budget.take(100)
  })

  it('counts a part that is given back twice once, and gives the whole budget to a reader that asks for more', async () => {
    const budget = new ReadBudget({ maxBytes: 100 })
    const grant = await budget.take(1000)
    grant.release()
    grant.release()
    const held: Grant[] = []
    for (let i = 0; i < 10; i++) void budget.take(50).then(grant => held.push(grant))
    await until('two have theirs', () => held.length === 2)
    await new Promise(setImmediate)
    assert.equal(held.length, 2)
  })

  it('is free again after work that has failed', async () => {
    const budget = new ReadBudget({ maxBytes: 100 })
    await assert.rejects(
      budget.during(100, () => Promise.reject(new Error('no'))),
      /no/,
    )
    assert.equal(await budget.during(100, async () => 'yes'), 'yes')
  })

  it('is free again when a reader takes nothing of an answer, which is then given up', async () => {
    const [megabyte, megabytes] = [2 ** 20, 40]
    const bytes = Buffer.alloc(megabytes * megabyte)
    const records = Array.from({ length: megabytes }, () => span({ traceId: 1n, name: 'x'.repeat(megabyte) }))
    const app = fastify()
    const reads = createReads(2 * megabytes * megabyte, megabytes * megabyte, 500)
    const store = {
      readTrace: async (id: bigint) => ({ records: id === 1n ? records : [], bytes, truncated: false }),
      keepsOf: async () => [],
      rings: async () => [],
    }
    traceRoutes(app, reads, question => question(store), new Rings())
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = app.server.address() as AddressInfo
    const reader = connect(port, '127.0.0.1').on('error', () => {})
    try {
      reader.write('GET /api/traces/0000000000000001?form=records HTTP/1.1\r\nhost: x\r\n\r\n')
      await new Promise(resolve => reader.once('readable', resolve).once('close', resolve))
      const { status } = await fetch(`http://127.0.0.1:${port}/api/traces/0000000000000002`)
      assert.equal(status, 404)
    } finally {
      reader.destroy()
      await app.close()
    }
  }).timeout(20_000)
})
