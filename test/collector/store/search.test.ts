import assert from 'node:assert/strict'
import { search } from '../../../collector/src/store/search/search'
import { encodeRecord } from '../../../src/codec/span'

describe('a search', () => {
  it('is aborted when the index takes too long to find any places', async () => {
    const index = {
      count: async () => 1,
      async places(_query: object, _after: unknown, _most: number, mayGoOn: () => void) {
        for (;;) {
          mayGoOn()
          await new Promise(setImmediate)
        }
      },
    }
    const readTrace = async () => ({ bytes: Buffer.alloc(0), truncated: false })
    await assert.rejects(search({ index, readTrace }, { annotations: [], limit: 1 }, { giveUpMs: 5 }), {
      code: 'MILO_SEARCH_TOO_LONG',
      message: /^the search took more than 0.005 s: give a name/,
    })
  })

  it('reads one trace more than it shows, if all of them match', async () => {
    const index = {
      count: async () => 1,
      places: async () => ({
        places: Array.from({ length: 50 }, (_, i) => ({ startUs: BigInt(50 - i), traceId: BigInt(50 - i) })),
        resume: undefined,
      }),
    }
    let reads = 0
    const readTrace = async (traceId: bigint) => {
      reads++
      return { bytes: encodeRecord({ traceId, id: 1n, name: traceId === 45n ? 'b' : 'a' }), truncated: false }
    }
    const page = async (limit: number, name?: string) => {
      reads = 0
      const { traces } = await search({ index, readTrace }, { annotations: [], limit, ...(name && { name }) })
      return [traces.length, reads]
    }
    assert.deepEqual(await page(25), [25, 26])
    assert.deepEqual(await page(4), [4, 5])
    // One that doesn't match: others may not either, so as many as ever are read at once.
    assert.deepEqual(await page(25, 'a'), [25, 32])
  })

  it('limits a page in bytes, whatever the names in its summaries are', async () => {
    const service = 'x'.repeat(1024 * 1024)
    const ids = Array.from({ length: 20 }, (_, i) => BigInt(20 - i))
    const index = {
      count: async () => 1,
      async places(_query: object, after: { traceId: bigint } | undefined) {
        const left = ids.filter(traceId => after === undefined || traceId < after.traceId)
        return { places: left.map(traceId => ({ startUs: traceId, traceId })), resume: undefined }
      },
    }
    const readTrace = async (traceId: bigint) => ({
      bytes: encodeRecord({ traceId, id: 1n, service, events: [{ timestamp: traceId, eventType: 4 }] }),
      truncated: false,
    })
    const seen: string[] = []
    let after: string | undefined
    do {
      const page = await search({ index, readTrace }, { annotations: [], limit: 1000, ...(after && { after }) })
      assert.ok(page.traces.length <= 5, `${page.traces.length} traces of a megabyte each`)
      seen.push(...page.traces.map(({ traceId }) => traceId))
      after = page.next
    } while (after !== undefined)
    assert.deepEqual(
      seen.map(id => BigInt(`0x${id}`)),
      ids,
    )
  })
})
