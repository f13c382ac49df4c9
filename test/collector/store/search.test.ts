import assert from 'node:assert/strict'
import { search } from '../../../collector/src/store/search'

describe('a search', () => {
  it('is given up when the index takes too long to find any places', async () => {
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
})
