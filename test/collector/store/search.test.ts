import assert from 'node:assert/strict'
import { each, search } from '../../../collector/src/store/search/search'
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
    await assert.rejects(
      search({ index, readTraces: each(readTrace) }, { annotations: [], limit: 1 }, { giveUpMs: 5 }),
      {
        code: 'MILO_SEARCH_TOO_LONG',
        message: /^the search took more than 0.005 s: give a name/,
      },
    )
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
      const { traces } = await search(
        { index, readTraces: each(readTrace) },
        { annotations: [], limit, ...(name && { name }) },
      )
      return [traces.length, reads]
    }
    assert.deepEqual(await page(25), [25, 26])
    assert.deepEqual(await page(4), [4, 5])
    // One that doesn't match: others may not either.
    assert.deepEqual(await page(25, 'a'), [25, 28])
  })

  it('shows no trace twice whose other record was listed, by a term that is wider than what is looked for', async () => {
    const us = [1_000, ...Array.from({ length: 400 }, (_, i) => 900 - i), 1].map(BigInt)
    const placeOf = (startUs: bigint) => ({ startUs, traceId: startUs === 1_000n ? 1n : startUs })
    const recordOf = (traceId: bigint, us: bigint, value: string) =>
      encodeRecord({
        traceId,
        id: us,
        events: [{ timestamp: us, eventType: 4 }],
        annotations: new Map([['key', value]]),
      })
    const index = {
      count: async () => 1,
      async places(_query: object, after: { startUs: bigint } | undefined, max: number) {
        const left = us.filter(startUs => after === undefined || startUs < after.startUs).slice(0, max)
        const of = { kind: 'key', key: 'key' } as const
        return { places: left.map(placeOf), of, resume: left.length < max ? undefined : placeOf(left.at(-1)!) }
      },
    }
    const readTrace = async (traceId: bigint) => ({
      bytes: Buffer.concat([
        recordOf(traceId, traceId, 'part'),
        ...(traceId === 1n ? [recordOf(1n, 1_000n, 'x')] : []),
      ]),
      truncated: false,
    })
    const shown: string[] = []
    let after: string | undefined
    do {
      const annotations = [{ key: 'key', value: 'part', match: 'contains' as const }]
      const page = await search(
        { index, readTraces: each(readTrace) },
        { annotations, limit: 50, ...(after && { after }) },
      )
      shown.push(...page.traces.map(({ traceId }) => traceId))
      after = page.next
    } while (after !== undefined)
    assert.equal(shown.length, 401)
    assert.equal(new Set(shown).size, 401)
  })

  it('finds a trace of a record that alone is too long to be read for a summary', async () => {
    const bytes = encodeRecord({ traceId: 1n, id: 1n, name: 'x'.repeat(1_000) })
    const index = {
      count: async () => 1,
      places: async () => ({ places: [{ startUs: 1n, traceId: 1n }], resume: undefined }),
    }
    const readTrace = async (_traceId: bigint, maxBytes: number) =>
      bytes.length > maxBytes ? { bytes: Buffer.alloc(0), truncated: true } : { bytes, truncated: false }
    const query = { annotations: [], limit: 1, name: 'x'.repeat(1_000) }
    const { traces } = await search({ index, readTraces: each(readTrace) }, query, { summaryBytes: 500 })
    assert.deepEqual(
      traces.map(({ spanCount }) => spanCount),
      [1],
    )
  })

  it('says how far back it has come, and when the earliest matching span of each trace began', async () => {
    const at = (id: bigint, us: bigint, traceId: bigint, name: string) =>
      encodeRecord({ traceId, id, name, events: [{ timestamp: us, eventType: 4 }] })
    const stored = new Map([
      [1n, [at(1n, 70n, 1n, 'b'), at(2n, 75n, 1n, 'a'), at(3n, 90n, 1n, 'a')]],
      [2n, [at(1n, 60n, 2n, 'a')]],
      [3n, [at(1n, 50n, 3n, 'a')]],
      [4n, [encodeRecord({ traceId: 4n, id: 1n, name: 'a' })]],
    ])
    const all = [90n, 60n, 50n, 40n].map((startUs, i) => ({ startUs, traceId: BigInt(i + 1) }))
    const index = {
      count: async () => 1,
      async places(_query: object, after: { startUs: bigint } | undefined) {
        const places = all.filter(({ startUs }) => after === undefined || startUs < after.startUs)
        return { places, resume: undefined }
      },
    }
    const readTrace = async (id: bigint) => ({ bytes: Buffer.concat(stored.get(id)!), truncated: false })
    const query = { annotations: [], name: 'a', limit: 2 }
    const first = await search({ index, readTraces: each(readTrace) }, query)
    assert.deepEqual([first.traces.length, first.matchedUs, first.reachedUs], [2, [75, 60], 60])
    const { next, ...second } = await search({ index, readTraces: each(readTrace) }, { ...query, after: first.next! })
    assert.deepEqual(
      [second.traces.length, second.matchedUs, next, second.reachedUs],
      [...[2, [50, Number.POSITIVE_INFINITY]], ...[undefined, undefined]],
    )
  })

  it('looks beyond the time range for halves whose clocks are apart, unless it is told that they agree', async () => {
    const asked: unknown[] = []
    const index = {
      count: async () => 1,
      async places({ fromUs, toUs }: { fromUs: bigint | undefined; toUs: bigint | undefined }) {
        asked.push([fromUs, toUs])
        return { places: [], resume: undefined }
      },
    }
    const readTrace = async () => ({ bytes: Buffer.alloc(0), truncated: false })
    const query = { annotations: [], limit: 1, fromUs: 5_000_000, toUs: 9_000_000 }
    await search({ index, readTraces: each(readTrace) }, query)
    await search({ index, readTraces: each(readTrace) }, { ...query, clocksAgree: true })
    await search({ index: { ...index, windowBits: 20 }, readTraces: each(readTrace) }, { ...query, clocksAgree: true })
    assert.deepEqual(asked, [
      [3_000_000n, 11_000_000n],
      [5_000_000n, 9_000_000n],
      [5_000_000n, 9_437_183n],
    ])
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
      const page = await search(
        { index, readTraces: each(readTrace) },
        { annotations: [], limit: 1000, ...(after && { after }) },
      )
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
