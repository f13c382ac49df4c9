import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildTrace } from '../../../collector/src/trace'
import { client, custom, half, server } from './records'

describe("a trace's JSON in docs/api.md", () => {
  it('is what buildTrace returns for the records there', () => {
    const page = readFileSync(join(__dirname, '../../../docs/api.md'), 'utf8')
    const at = 1_700_000_000_000_000
    const ahead = at + 90_000_000
    const common = { traceId: 0xa1n, probability: 0.5 }
    const trace = buildTrace([
      half(server, 1n, {
        ...common,
        name: 'GET /cart',
        service: 'web',
        serverHost: 'web-1',
        from: at,
        to: at + 5000,
        annotations: new Map([['user', 'ann']]),
      }),
      half(client, 2n, {
        ...common,
        parentId: 1n,
        name: 'Cart.total',
        service: 'web',
        clientHost: 'web-1',
        from: at + 500,
        to: at + 4500,
      }),
      half(server, 2n, {
        ...common,
        parentId: 1n,
        name: 'Cart.total',
        service: 'cart',
        serverHost: 'cart-1',
        from: ahead + 1000,
        to: ahead + 4000,
        events: [custom(ahead + 2000, 'cache miss')],
        counters: new Map([['rows', 3n]]),
      }),
    ])
    assert.deepEqual(JSON.parse(/^```json trace\n(.*?)\n```$/ms.exec(page)![1]!), trace)
  })
})
