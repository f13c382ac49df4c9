import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import type { Cursor, Message, MessageRecord, SearchPage, SearchQuery, Store } from '../../collector/src/store/store'
import { EventType, encodeRecord, RECORD_HEADER, type SpanRecord } from '../../src/codec/span'

/** What every store does, whatever it is made of. */

/** An empty place of its own for each call. */
export type NewPlace = () => Promise<Place>

export interface Place {
  /** Opens the store there; only one at a time. */
  open(): Promise<Store>
  /** After close: removes what was kept. */
  remove(): Promise<void>
}

type Record = MessageRecord['record']

const I64_MIN = -(2n ** 63n)
const I64_MAX = 2n ** 63n - 1n
/** What the store promises: searchable so soon after append. */
const SEARCHABLE_MS = 1_000

export function randomId(): bigint {
  return randomBytes(8).readBigInt64BE()
}

/** A name that no other test has used. */
export function unique(word: string): string {
  return `${word}-${randomBytes(8).toString('hex')}`
}

export function messageOf(records: Record[]): Message {
  const parts = records.map(encodeRecord)
  let end = 0
  return {
    body: Buffer.concat(parts),
    records: records.map((record, i) => {
      const start = end
      end += parts[i]!.length
      return { start, end, record }
    }),
  }
}

export function append(store: Store, ...records: Record[]): Promise<void> {
  return store.append([messageOf(records)])
}

/** A server half with two events, unless told otherwise. */
export function span(fields: Partial<Record> & { startUs?: bigint; tags?: { [key: string]: string } }): Record {
  const { startUs = 1_700_000_000_000_000n, tags, ...rest } = fields
  return {
    traceId: randomId(),
    id: randomId(),
    name: 'Service.method',
    events: [
      { timestamp: startUs, eventType: EventType.SERVER_RECV },
      { timestamp: startUs + 1_000n, eventType: EventType.SERVER_SEND },
    ],
    ...(tags === undefined ? {} : { annotations: new Map(Object.entries(tags)) }),
    ...rest,
  }
}

/** The struct's bytes of each, in an order that doesn't depend on the store's. */
export function structs(records: { bytes: Buffer }[] | Record[]): string[] {
  return records.map(r => ('bytes' in r ? r.bytes : encodeRecord(r).subarray(RECORD_HEADER)).toString('hex')).sort()
}

/** Every trace that the query finds, page by page. */
export async function searchAll(store: Store, query: Omit<SearchQuery, 'limit'>, limit = 100): Promise<Cursor[]> {
  const traces: Cursor[] = []
  let before = query.before
  for (;;) {
    const page: SearchPage = await store.search({ ...query, limit, before })
    assert.ok(page.traces.length <= limit, `a page of ${page.traces.length} where ${limit} were asked for`)
    traces.push(...page.traces)
    if (page.next === undefined) return traces
    before = page.next
  }
}

export async function found(store: Store, query: Omit<SearchQuery, 'limit'>, limit?: number): Promise<bigint[]> {
  return (await searchAll(store, query, limit)).map(({ traceId }) => traceId)
}

/** Runs the check until it passes, for as long as the index may take. */
export async function soon(check: () => Promise<void>, deadlineMs = SEARCHABLE_MS): Promise<void> {
  const endMs = Date.now() + deadlineMs
  for (;;) {
    try {
      return await check()
    } catch (error) {
      if (Date.now() > endMs) throw error
      await sleep(20)
    }
  }
}

/** Newest first, as the store orders: by start, then by id. */
function newestFirst(a: Cursor, b: Cursor): number {
  if (a.startUs !== b.startUs) return a.startUs > b.startUs ? -1 : 1
  return a.traceId > b.traceId ? -1 : a.traceId < b.traceId ? 1 : 0
}

export function storeContract(name: string, newPlace: NewPlace): void {
  describe(`${name} store, contract`, function () {
    this.timeout(60_000)
    let place: Place
    let store: Store

    before(async function () {
      this.timeout(300_000)
      place = await newPlace()
      store = await place.open()
    })
    after(async () => {
      await store?.close()
      await place?.remove()
    })

    async function reopen(): Promise<void> {
      await store.close()
      store = await place.open()
    }

    describe('reading', () => {
      it('gives every record back byte for byte, in full and decoded', async () => {
        const traceId = randomId()
        const full = span({
          traceId,
          parentId: randomId(),
          clientHost: 'client-1',
          serverHost: 'server-1',
          service: 'orders',
          traceIdHigh: randomId(),
          probability: 0.125,
          tags: { 'http.url': '/orders/1?q=ü', empty: '' },
          counters: new Map([
            ['rows', I64_MAX],
            ['delta', -1n],
          ]),
        })
        const bare: Record = { traceId, id: randomId() }
        await append(store, full, span({}), bare)
        const records = await store.readTrace(traceId)
        assert.deepEqual(structs(records), structs([full, bare]))
        assert.deepEqual(records.find(r => r.record.id === full.id)?.record, full)
        assert.deepEqual(records.find(r => r.record.id === bare.id)?.record, bare)
      })

      it('keeps bytes that no encoder of ours would write', async () => {
        const record = span({ name: 'odd' })
        // Field 99, a bool, before the stop byte; and a name that isn't UTF-8.
        const struct = encodeRecord(record).subarray(RECORD_HEADER)
        const odd = Buffer.concat([struct.subarray(0, -1), Buffer.from([2, 0, 99, 1, 0])])
        odd[odd.indexOf('odd')] = 0xff
        const header = Buffer.from('8badf00d00000000', 'hex')
        header.writeInt32BE(odd.length, 4)
        const body = Buffer.concat([header, odd])
        await store.append([
          { body, records: [{ start: 0, end: body.length, record: { ...record, name: '\ufffddd' } }] },
        ])
        const [read, ...rest] = await store.readTrace(record.traceId)
        assert.deepEqual(rest, [])
        assert.deepEqual(read?.bytes, odd)
        assert.equal(read?.record.name, '\ufffddd')
      })

      it('knows nothing of a trace that nobody wrote', async () => {
        assert.deepEqual(await store.readTrace(randomId()), [])
      })

      it('gives a trace together that came in several messages of several traces', async () => {
        const [a, b] = [randomId(), randomId()]
        const records = Array.from({ length: 12 }, (_, i) => span({ traceId: i % 2 ? a : b }))
        for (let i = 0; i < 12; i += 4) await append(store, ...records.slice(i, i + 4))
        for (const traceId of [a, b]) {
          const own = records.filter(r => r.traceId === traceId)
          assert.deepEqual(structs(await store.readTrace(traceId)), structs(own))
        }
      })

      it('gives a record once that came twice in a message, in two messages, at the same time, and after reopening', async () => {
        const record = span({ tags: { once: 'yes' } })
        await append(store, record, record)
        await append(store, record)
        await append(store, span({}), record, span({ traceId: record.traceId, id: record.id }))
        await Promise.all(Array.from({ length: 20 }, () => append(store, record)))
        await reopen()
        await append(store, record)
        assert.equal((await store.readTrace(record.traceId)).length, 2)
      })

      it('keeps two records of one span apart that differ in a byte', async () => {
        const record = span({ tags: { n: '1' } })
        const other = { ...record, annotations: new Map([['n', '2']]) }
        await append(store, record, other)
        assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record, other]))
      })

      it('takes ids from one end of 64 bits to the other', async () => {
        const ids = [I64_MIN, I64_MIN + 1n, -1n, 0n, 1n, 2n ** 53n + 1n, I64_MAX]
        const name = unique('extremes')
        const records = ids.flatMap(traceId => ids.map(id => span({ traceId, id, name, startUs: traceId })))
        await append(store, ...records)
        for (const traceId of ids) {
          const read = (await store.readTrace(traceId)).filter(r => r.record.name === name)
          assert.deepEqual(structs(read), structs(records.filter(r => r.traceId === traceId)))
        }
        await soon(async () => {
          assert.deepEqual(
            await searchAll(store, { name }, 2),
            [...ids].reverse().map(id => ({ startUs: id, traceId: id })),
          )
        })
      })

      it('keeps the high halves of 128-bit trace ids, and finds the trace by its low one', async () => {
        const traceId = randomId()
        const records = [I64_MIN, -1n, 1n, undefined].map(traceIdHigh => span({ traceId, traceIdHigh }))
        await append(store, ...records)
        const read = await store.readTrace(traceId)
        const high = (r: SpanRecord | undefined) => r?.traceIdHigh
        for (const { id } of records) {
          assert.equal(high(read.find(r => r.record.id === id)?.record), high(records.find(r => r.id === id)))
        }
      })

      it('gives a trace of 10,000 spans back whole, and finds it once', async () => {
        const traceId = randomId()
        const name = unique('big')
        const records = Array.from({ length: 10_000 }, (_, i) =>
          span({ traceId, name, tags: { number: String(i), even: String(i % 2 === 0) } }),
        )
        const messages = Array.from({ length: 100 }, (_, i) => messageOf(records.slice(i * 100, i * 100 + 100)))
        await Promise.all(messages.map(message => store.append([message])))
        assert.deepEqual(structs(await store.readTrace(traceId)), structs(records))
        await soon(async () => {
          assert.deepEqual(await found(store, { name }), [traceId])
          assert.deepEqual(await found(store, { name, key: 'even', value: 'true' }), [traceId])
          assert.deepEqual(await found(store, { name, key: 'number', value: '9999' }), [traceId])
        })
      })

      it('takes a record of a mebibyte among small ones', async () => {
        const traceId = randomId()
        const records = [10, 300_000, 1_000_000, 200_000, 10].map((length, i) =>
          span({ traceId, tags: { large: String(i).repeat(length) } }),
        )
        await append(store, ...records)
        assert.deepEqual(structs(await store.readTrace(traceId)), structs(records))
      })
    })

    describe('writing', () => {
      it('can be read at once when append has resolved', async () => {
        for (let i = 0; i < 20; i++) {
          const record = span({})
          await append(store, record)
          assert.equal((await store.readTrace(record.traceId)).length, 1)
        }
      })

      it('takes many appends at once, each whole', async () => {
        const name = unique('many')
        const writers = Array.from({ length: 200 }, () => {
          const traceId = randomId()
          return Array.from({ length: 5 }, (_, i) => span({ traceId, name, tags: { i: String(i) } }))
        })
        await Promise.all(writers.map(records => append(store, ...records)))
        await Promise.all(
          writers.map(async records => {
            assert.deepEqual(structs(await store.readTrace(records[0]!.traceId)), structs(records))
          }),
        )
        await soon(async () => {
          const expected = new Set(writers.map(([first]) => first!.traceId))
          assert.deepEqual(new Set(await found(store, { name, key: 'i', value: '4' })), expected)
        })
      })

      it('takes several messages, and none, in one append', async () => {
        const records = [span({}), span({}), span({})]
        await store.append(records.map(record => messageOf([record])))
        await store.append([])
        for (const record of records) assert.equal((await store.readTrace(record.traceId)).length, 1)
      })

      it('has kept everything after reopening, for reading and for searching', async () => {
        const record = span({ name: unique('kept'), tags: { where: 'disk' } })
        await append(store, record)
        await reopen()
        assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
        await soon(async () => {
          assert.deepEqual(await found(store, { name: record.name, key: 'where' }), [record.traceId])
        })
      })

      it('is healthy', async () => {
        await store.check()
      })
    })

    describe('closing', () => {
      it('finishes what was accepted, and rejects what comes after', async () => {
        const records = Array.from({ length: 50 }, () => span({}))
        const appends = records.map(record => append(store, record))
        const closing = store.close()
        await assert.rejects(append(store, span({})), { code: 'MILO_STORE_CLOSED' })
        await Promise.all(appends)
        await closing
        await assert.rejects(append(store, span({})), { code: 'MILO_STORE_CLOSED' })
        await assert.rejects(store.append([]))
        await assert.rejects(store.check())
        await store.close()
        store = await place.open()
        for (const record of records) assert.equal((await store.readTrace(record.traceId)).length, 1)
      })
    })

    describe('searching', () => {
      it('finds by name, key, value, key and value, and all three', async () => {
        const [name, key, value] = [unique('name'), unique('key'), unique('value')]
        const record = span({ name, tags: { [key]: value, other: 'x' } })
        await append(store, record, span({ name: unique('name'), tags: { [unique('key')]: unique('value') } }))
        const hits: Omit<SearchQuery, 'limit'>[] = [
          { name },
          { key },
          { value },
          { key, value },
          { name, key },
          { name, value },
          { name, key, value },
          { name, key: 'other', value: 'x' },
        ]
        const misses: Omit<SearchQuery, 'limit'>[] = [
          { name: key },
          { key: name },
          { value: key },
          { key: value, value: key },
          { key, value: 'x' },
          { name, key: 'other', value },
          { name: 'Service.method', key },
        ]
        await soon(async () => {
          for (const query of hits) assert.deepEqual(await found(store, query), [record.traceId], JSON.stringify(query))
        })
        for (const query of misses) assert.deepEqual(await found(store, query), [], JSON.stringify(query))
      })

      it('wants all conditions on the same span, whose halves are one', async () => {
        const [name, key] = [unique('name'), unique('key')]
        const apart = randomId()
        const halves = span({ name, tags: {} })
        await append(store, span({ traceId: apart, name }), span({ traceId: apart, tags: { [key]: 'v' } }), halves, {
          ...halves,
          name: undefined,
          annotations: new Map([[key, 'v']]),
          events: [],
        })
        await soon(async () => {
          assert.deepEqual(await found(store, { name, key }), [halves.traceId])
          assert.deepEqual(await found(store, { name, key, value: 'v' }), [halves.traceId])
          assert.deepEqual(new Set(await found(store, { name })), new Set([apart, halves.traceId]))
        })
      })

      it('is exact about case, spaces, accents, quotes, emoji, markup, NUL and length', async () => {
        const [base, key] = [unique('exact'), unique('key')]
        const texts = [
          ...['', 'a', 'A', 'a ', ' a', 'a\0', '\0a', 'ä', 'a\u0308', 'ﬀ', 'ff', 'ß', 'ss', 'SS', 'ı', 'i', 'I'],
          ...['"', "'", "''", "' OR 1=1 --", '%', '_', '\\', '\\\\', '`', ';', '\n', '\r\n', '<b>', '&lt;b&gt;'],
          ...['<script>alert(1)</script>', "Robert'); DROP TABLE posting;--", '😀', '😁', '\ud83d\ude00\ufe0f'],
          ...['\u200b', '\ufeff', '١', '1', '01', '1.0', 'null', 'NULL', 'undefined', 'x'.repeat(10_000)],
          ...['x'.repeat(10_001), `${'x'.repeat(9_999)}y`, `${'é'.repeat(10_000)}`],
        ]
        const traces = new Map(texts.map(text => [text, randomId()]))
        await store.append([
          messageOf(
            [...traces].map(([text, traceId]) =>
              span({ traceId, name: `${base}${text}`, tags: { [`${base}${text}`]: text, [key]: `${base}${text}` } }),
            ),
          ),
        ])
        await soon(async () => {
          for (const [text, traceId] of traces) {
            const odd = `${base}${text}`
            const shown = JSON.stringify(text.slice(0, 40))
            assert.deepEqual(await found(store, { name: odd }), [traceId], `name ${shown}`)
            assert.deepEqual(await found(store, { value: odd }), [traceId], `value ${shown}`)
            assert.deepEqual(await found(store, { key, value: odd }), [traceId], `key and value ${shown}`)
            assert.deepEqual(await found(store, { key: odd, value: text }), [traceId], `odd key and value ${shown}`)
            assert.deepEqual(await found(store, { key: odd }), [traceId], `key ${shown}`)
          }
        })
      })

      it('tells where a key ends and its value begins', async () => {
        const base = unique('k')
        const [first, second] = [span({ tags: { [`${base}a`]: 'b' } }), span({ tags: { [base]: 'ab' } })]
        const [third, fourth] = [span({ tags: { [`${base}\0c`]: 'd' } }), span({ tags: { [base]: 'c\0d' } })]
        await append(store, first, second, third, fourth)
        await soon(async () => {
          assert.deepEqual(await found(store, { key: `${base}a`, value: 'b' }), [first.traceId])
          assert.deepEqual(await found(store, { key: base, value: 'ab' }), [second.traceId])
          assert.deepEqual(await found(store, { key: `${base}\0c`, value: 'd' }), [third.traceId])
          assert.deepEqual(await found(store, { key: base, value: 'c\0d' }), [fourth.traceId])
        })
      })

      it('lists the newest first, by the trace that started last', async () => {
        const name = unique('newest')
        const starts = [5n, 1n, 9n, 3n, 7n].map(n => 1_700_000_000_000_000n + n)
        const records = starts.map(startUs => span({ name, startUs }))
        for (const record of records) await append(store, record)
        const expected = records.map(({ traceId }, i) => ({ traceId, startUs: starts[i]! })).sort(newestFirst)
        await soon(async () => assert.deepEqual(await searchAll(store, { name }), expected))
      })

      it('starts a trace with its earliest span, also when that one arrives last', async () => {
        const name = unique('early')
        const [moved, still] = [randomId(), randomId()]
        await append(
          store,
          span({ traceId: moved, name, startUs: 3_000n }),
          span({ traceId: still, name, startUs: 2_000n }),
        )
        await soon(async () => assert.deepEqual(await found(store, { name }), [moved, still]))
        await append(store, span({ traceId: moved, startUs: 1_000n }), span({ traceId: still, startUs: 9_000n }))
        await soon(async () => {
          assert.deepEqual(await searchAll(store, { name }), [
            { traceId: still, startUs: 2_000n },
            { traceId: moved, startUs: 1_000n },
          ])
        })
      })

      it("starts a record with its side's first event, in whatever order they are, and without one with any", async () => {
        const name = unique('events')
        const cases: [bigint, SpanRecord['events']][] = [
          // As the original's Python client labelled them.
          [
            20n,
            [
              { timestamp: 30n, eventType: EventType.CLIENT_SEND },
              { timestamp: 20n, eventType: EventType.CLIENT_RECV },
              { timestamp: 10n, eventType: EventType.CUSTOM, value: 'before' },
            ],
          ],
          [
            11n,
            [
              { timestamp: 12n, eventType: EventType.CUSTOM, value: 'milo.end' },
              { timestamp: 11n, eventType: EventType.CUSTOM, value: 'milo.start' },
            ],
          ],
          [5n, [{ eventType: EventType.SERVER_RECV }, { timestamp: 5n, eventType: 99 }]],
          [-7n, [{ timestamp: -7n, eventType: EventType.SERVER_SEND }]],
        ]
        const records = cases.map(([, events]) => span({ name, events }))
        await append(store, ...records)
        const expected = records.map(({ traceId }, i) => ({ traceId, startUs: cases[i]![0] })).sort(newestFirst)
        await soon(async () => assert.deepEqual(await searchAll(store, { name }), expected))
      })

      it('starts a span without events when it was received', async () => {
        const name = unique('eventless')
        const beforeUs = BigInt(Date.now()) * 1000n
        const records = [span({ name, events: [] }), span({ name, events: undefined }), span({ name, startUs: 1n })]
        await append(store, ...records)
        await soon(async () => {
          const traces = await searchAll(store, { name })
          assert.equal(traces.length, 3)
          assert.deepEqual(traces[2], { traceId: records[2]!.traceId, startUs: 1n })
          for (const { startUs } of traces.slice(0, 2)) {
            assert.ok(startUs >= beforeUs && startUs <= BigInt(Date.now() + 1) * 1000n, String(startUs))
          }
        })
      })

      it('visits every trace once, page by page, also where many start at the same time', async () => {
        const name = unique('pages')
        const expected = Array.from({ length: 60 }, (_, i) => ({
          traceId: randomId(),
          startUs: 1_700_000_000_000_000n + BigInt(Math.floor(i / 25)),
        })).sort(newestFirst)
        await append(store, ...expected.flatMap(t => [span({ ...t, name }), span({ ...t, name })]))
        await soon(async () => assert.equal((await found(store, { name })).length, 60))
        for (const limit of [1, 7, 20, 59, 60, 61, 1000]) {
          assert.deepEqual(await searchAll(store, { name }, limit), expected, `pages of ${limit}`)
        }
      })

      it('has no next on the last page, full or not', async () => {
        const name = unique('last')
        await append(store, ...Array.from({ length: 10 }, () => span({ name })))
        await soon(async () => assert.equal((await found(store, { name })).length, 10))
        const page = (limit: number) => store.search({ name, limit })
        assert.equal((await page(11)).next, undefined)
        assert.equal((await page(10)).next, undefined)
        assert.deepEqual((await page(9)).next, (await page(9)).traces.at(-1))
        assert.equal((await store.search({ name: unique('nobody'), limit: 10 })).next, undefined)
      })

      it('goes on after a place that is no trace', async () => {
        const name = unique('place')
        const records = [1n, 2n, 3n].map(startUs => span({ name, startUs }))
        await append(store, ...records)
        await soon(async () => assert.equal((await found(store, { name })).length, 3))
        const after = (startUs: bigint, traceId: bigint) => found(store, { name, before: { startUs, traceId } })
        assert.deepEqual(await after(3n, I64_MIN), [records[1]!.traceId, records[0]!.traceId])
        assert.equal((await after(I64_MAX, I64_MAX)).length, 3)
        assert.deepEqual(await after(I64_MIN, I64_MIN), [])
      })

      it('lists what has no annotations and no name only without conditions', async () => {
        const trace = { traceId: randomId(), startUs: randomId() }
        const events = [{ timestamp: trace.startUs, eventType: EventType.SERVER_RECV }]
        await append(store, { traceId: trace.traceId, id: 1n, events })
        await soon(async () => {
          const page = await store.search({ limit: 1, before: { ...trace, traceId: trace.traceId + 1n } })
          assert.deepEqual(page.traces, [trace])
        })
      })

      it('finds what is frequent, what is rare, and what is both, among thousands of traces', async () => {
        const [name, key] = [unique('frequent'), unique('key')]
        const startUs = 1_600_000_000_000_000n
        const records = Array.from({ length: 8_000 }, (_, i) =>
          span({
            name: i % 2 ? name : undefined,
            startUs: startUs + BigInt(i),
            tags: { [key]: i % 4_000 === 0 ? 'rare, elsewhere' : i % 4_000 === 1 ? 'rare' : 'usual' },
          }),
        )
        for (let i = 0; i < records.length; i += 500) await append(store, ...records.slice(i, i + 500))
        const wanted = (matches: (r: Record) => boolean) =>
          records
            .filter(matches)
            .reverse()
            .map(r => r.traceId)
        const value = (r: Record) => r.annotations?.get(key)
        await soon(async () => {
          assert.deepEqual(
            await found(store, { key }, 1000),
            wanted(() => true),
          )
          assert.deepEqual(
            await found(store, { name, key, value: 'usual' }, 700),
            wanted(r => !!r.name && value(r) === 'usual'),
          )
          assert.deepEqual(
            await found(store, { name, key, value: 'rare' }),
            wanted(r => !!r.name && value(r) === 'rare'),
          )
          assert.deepEqual(await found(store, { name, key, value: 'rare, elsewhere' }), [])
          const page = await store.search({ key, limit: 25 })
          assert.deepEqual(
            page.traces.map(t => t.traceId),
            wanted(() => true).slice(0, 25),
          )
        })
      })

      it('agrees with a search of every span by hand', async () => {
        const word = fc.constantFrom('', 'a', 'A', 'b', 'a ', '\0')
        const small = fc.bigInt({ min: -3n, max: 3n })
        const spans = fc.array(
          fc.record(
            {
              traceId: fc.integer({ min: 0, max: 5 }),
              id: small,
              name: word,
              annotations: fc.array(fc.tuple(word, word), { maxLength: 3 }),
              times: fc.array(small, { maxLength: 3 }),
            },
            { requiredKeys: ['traceId', 'id', 'annotations', 'times'] },
          ),
          { minLength: 1, maxLength: 20 },
        )
        const queries = fc.array(fc.record({ name: word, key: word, value: word }, { requiredKeys: [] }), {
          minLength: 1,
          maxLength: 8,
        })
        const property = fc.asyncProperty(
          spans,
          queries,
          fc.integer({ min: 1, max: 4 }),
          fc.integer({ min: 1, max: 4 }),
          async (drawn, asked, limit, messages) => {
            // Words and ids of this run alone, so that what earlier runs wrote doesn't match.
            const nonce = unique('')
            const traceIds = Array.from({ length: 6 }, randomId)
            const records = drawn.map(
              ({ traceId, id, name, annotations, times }): Record => ({
                traceId: traceIds[traceId]!,
                id,
                ...(name === undefined ? {} : { name: nonce + name }),
                annotations: new Map(annotations.map(([key, value]) => [nonce + key, nonce + value])),
                // At least one, or the time of receipt decides.
                events: [...times, 0n].map(timestamp => ({ timestamp, eventType: EventType.SERVER_RECV })),
              }),
            )
            const size = Math.ceil(records.length / messages)
            for (let i = 0; i < records.length; i += size) await append(store, ...records.slice(i, i + size))
            for (const words of asked) {
              if (Object.keys(words).length === 0) continue
              const query = Object.fromEntries(Object.entries(words).map(([part, text]) => [part, nonce + text]))
              const expected = bruteForce(records, query)
              await soon(async () => assert.deepEqual(await searchAll(store, query, limit), expected))
            }
          },
        )
        // On failure fast-check prints the seed and the smallest case.
        await fc.assert(property, { numRuns: 60 })
      })
    })
  })
}

/** What search should say, by going through all spans. */
export function bruteForce(records: Record[], { name, key, value }: Omit<SearchQuery, 'limit'>): Cursor[] {
  const traces = new Map<bigint, { startUs: bigint; spans: Map<bigint, Record[]> }>()
  for (const record of records) {
    const times = record.events!.map(event => event.timestamp!)
    const startUs = times.sort((a, b) => Number(a - b))[0]!
    const trace = traces.get(record.traceId) ?? { startUs, spans: new Map() }
    traces.set(record.traceId, trace)
    if (startUs < trace.startUs) trace.startUs = startUs
    trace.spans.set(record.id, [...(trace.spans.get(record.id) ?? []), record])
  }
  const matches = (halves: Record[]) => {
    const annotations = halves.flatMap(half => [...(half.annotations ?? [])])
    const named = name === undefined || halves.some(half => half.name === name)
    const annotated =
      (key === undefined && value === undefined) ||
      annotations.some(([k, v]) => (key === undefined || k === key) && (value === undefined || v === value))
    return named && annotated
  }
  return [...traces]
    .filter(([, trace]) => [...trace.spans.values()].some(matches))
    .map(([traceId, { startUs }]) => ({ traceId, startUs }))
    .sort(newestFirst)
}
