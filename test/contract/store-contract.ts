import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { parse, withTimes } from '../../collector/src/query'
import { decodeRecords, type IdentifiedRecord, type RawTrace, scanRecords } from '../../collector/src/record/records'
import { sumActivity } from '../../collector/src/store/activity/read'
import { type Load, newLoad } from '../../collector/src/store/analysis/model'
import { type Keep, MAX_NAME, OPERATION, type Ring, type StoredKeep, TRACE } from '../../collector/src/store/keeps'
import type { IndexSettings } from '../../collector/src/store/search/index-policy'
import type {
  CompletionQuery,
  HourSource,
  Match,
  Message,
  SearchPage,
  SearchQuery,
  Store,
} from '../../collector/src/store/store'
import type { TraceSummary } from '../../collector/src/trace/model'
import { EventType, encodeRecord, RECORD_HEADER, type SpanEvent, type SpanRecord } from '../../src/codec/span'
import { until } from '../helpers/until'
import { drawnQueries, drawnQuery, drawnRecord, drawnSpans } from './drawn-searches'
import { bruteForce } from './search-by-hand'

/** What every store does, whatever it is made of. */

/** An empty place of its own for each call. */
export type NewPlace = () => Promise<Place>

export interface Place {
  /** Opens the store there; only one at a time. */
  open(index?: IndexSettings): Promise<Store>
  /** After close: removes what was kept. */
  remove(): Promise<void>
}

type Record = IdentifiedRecord
/** A query without what pages are about; no conditions on annotations unless there are some. */
type Conditions = Partial<Omit<SearchQuery, 'limit' | 'after'>>

const I64_MIN = -(2n ** 63n)
const I64_MAX = 2n ** 63n - 1n
/** Longer than that, and it hangs. That what is appended is found within a second is for the benches to measure. */
const HANGING_MS = 30_000

export function randomId(): bigint {
  return randomBytes(8).readBigInt64BE()
}

/** A name that no other test has used. */
export function unique(word: string): string {
  return `${word}-${randomBytes(8).toString('hex')}`
}

export function messageOf(records: Record[]): Message {
  return { body: Buffer.concat(records.map(encodeRecord)), spans: records.length }
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
export function structs(of: RawTrace | Record[]): string[] {
  const bytes = Array.isArray(of) ? Buffer.concat(of.map(encodeRecord)) : of.bytes
  const found: string[] = []
  scanRecords(bytes, (start, end) => found.push(bytes.toString('hex', start + RECORD_HEADER, end)))
  return found.sort()
}

/** A condition on annotations. */
export function tag(key: string | undefined, value?: string, match: Match = 'exact') {
  return { ...(key === undefined ? {} : { key }), ...(value === undefined ? {} : { value }), match }
}

/** Every trace that the query finds, page by page. */
export async function searchAll(store: Store, conditions: Conditions, limit = 100): Promise<TraceSummary[]> {
  const traces: TraceSummary[] = []
  let after: string | undefined
  for (;;) {
    const query: SearchQuery = { annotations: [], ...conditions, limit }
    if (after !== undefined) query.after = after
    const page: SearchPage = await store.search(query)
    assert.ok(page.traces.length <= limit, `a page of ${page.traces.length} where ${limit} were asked for`)
    assert.deepEqual(page.traces, [...page.traces].sort(byStart), 'a page begins with its newest trace')
    traces.push(...page.traces)
    if (page.next === undefined) return traces
    assert.notEqual(page.next, after, 'a page whose next is itself')
    after = page.next
  }
}

/** Newest first; stable for those that start together. */
function byStart(a: TraceSummary, b: TraceSummary): number {
  return (b.start ?? 0) - (a.start ?? 0)
}

/** The low 64 bits, as records have them. */
export function idOf({ traceId }: TraceSummary): bigint {
  return BigInt.asIntN(64, BigInt(`0x${traceId}`))
}

/** Trace ids, in the order in which pages give them. */
export async function found(store: Store, conditions: Conditions, limit?: number): Promise<bigint[]> {
  return (await searchAll(store, conditions, limit)).map(idOf)
}

function ascending(ids: Iterable<bigint>): bigint[] {
  return [...ids].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
}

/** Each once, whatever the order. */
export function sameIds(actual: bigint[], expected: Iterable<bigint>, message?: string): void {
  sameOrder(ascending(actual), ascending(expected), message)
}

/** Says where they part: a comparison of thousands of lines would take minutes to write. */
function sameOrder(actual: bigint[], expected: bigint[], message = 'trace ids'): void {
  const at = expected.findIndex((id, i) => id !== actual[i])
  const parted = at === -1 ? expected.length : at
  const rest = (ids: bigint[]) => ({ count: ids.length, from: parted, ids: ids.slice(parted, parted + 5) })
  assert.deepEqual(rest(actual), rest(expected), message)
}

/** Runs the check until it passes, for as long as the index may take. */
export async function soon(check: () => Promise<void>, deadlineMs = HANGING_MS): Promise<void> {
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

export function storeContract(name: string, newPlace: NewPlace): void {
  describe(`${name} store, contract`, () => {
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

    async function reopen(index?: IndexSettings): Promise<void> {
      await store.close()
      store = await place.open(index)
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
        const trace = await store.readTrace(traceId)
        assert.deepEqual(structs(trace), structs([full, bare]))
        for (const record of [full, bare])
          assert.deepEqual(
            trace.records.find(({ id }) => id === record.id),
            record,
          )
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
        await store.append([{ body, spans: 1 }])
        const trace = await store.readTrace(record.traceId)
        assert.deepEqual(structs(trace), [odd.toString('hex')])
        assert.deepEqual(
          trace.records.map(({ name }) => name),
          ['\ufffddd'],
        )
      })

      it('knows nothing of a trace that nobody wrote', async () => {
        assert.deepEqual((await store.readTrace(randomId())).records, [])
      })

      it('reads of a trace no more than it is asked for, and says that there is more', async () => {
        const traceId = randomId()
        const records = Array.from({ length: 40 }, () => span({ traceId, tags: { filler: 'x'.repeat(100) } }))
        await append(store, ...records.slice(0, 20))
        await append(store, ...records.slice(20))
        const all = await store.readTrace(traceId)
        assert.deepEqual([all.records.length, all.truncated], [40, false])
        for (const again of [async () => {}, reopen]) {
          await again()
          const { bytes, records, truncated } = await store.readTrace(traceId, 3000)
          assert.ok(truncated && records.length > 0)
          assert.ok(bytes.length <= 3000, `${bytes.length} bytes`)
        }
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
        assert.equal((await store.readTrace(record.traceId)).records.length, 2)
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
        const records = ids.flatMap(traceId =>
          ids.map(id => span({ traceId, id, name, events: [{ timestamp: traceId, eventType: EventType.CUSTOM }] })),
        )
        await append(store, ...records)
        for (const traceId of ids) {
          const read = (await store.readTrace(traceId)).records.filter(record => record.name === name)
          assert.deepEqual(structs(read as Record[]), structs(records.filter(r => r.traceId === traceId)))
        }
        await soon(async () => sameIds(await found(store, { name }, 2), ids))
      })

      it('keeps the high halves of 128-bit trace ids, and finds the trace by its low one', async () => {
        const traceId = randomId()
        const records = [I64_MIN, -1n, 1n, undefined].map(traceIdHigh => span({ traceId, traceIdHigh }))
        await append(store, ...records)
        const read = (await store.readTrace(traceId)).records
        const high = (r: SpanRecord | undefined) => r?.traceIdHigh
        for (const { id } of records) {
          assert.equal(high(read.find(r => r.id === id)), high(records.find(r => r.id === id)))
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
          assert.deepEqual(await found(store, { name, annotations: [tag('even', 'true')] }), [traceId])
          assert.deepEqual(await found(store, { name, annotations: [tag('number', '9999')] }), [traceId])
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
          assert.equal((await store.readTrace(record.traceId)).records.length, 1)
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
          const expected = writers.map(([first]) => first!.traceId)
          sameIds(await found(store, { name, annotations: [tag('i', '4')] }), expected)
        })
      })

      it('takes several messages, and none, in one append', async () => {
        const records = [span({}), span({}), span({})]
        await store.append(records.map(record => messageOf([record])))
        await store.append([])
        for (const record of records) assert.equal((await store.readTrace(record.traceId)).records.length, 1)
      })

      it('has kept everything after reopening, for reading and for searching', async () => {
        const record = span({ name: unique('kept'), tags: { where: 'disk' } })
        await append(store, record)
        await reopen()
        assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
        await soon(async () => {
          assert.deepEqual(await found(store, { name: record.name!, annotations: [tag('where')] }), [record.traceId])
        })
      })

      it('is healthy', async () => {
        await store.check()
      })

      it('counts as backlog what is not settled yet, down to nothing', async () => {
        const records = Array.from({ length: 50 }, () => span({}))
        await append(store, ...records)
        await soon(async () => {
          const { spans, bytes } = store.backlog()
          assert.deepEqual({ spans, bytes }, { spans: 0, bytes: 0 })
        }, 10_000)
        for (const record of records) assert.equal((await store.readTrace(record.traceId)).records.length, 1)
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
        for (const record of records) assert.equal((await store.readTrace(record.traceId)).records.length, 1)
      })
    })

    describe('searching', () => {
      it('finds by name, service, key, value, key and value, and all of them', async () => {
        const [name, service, key, value] = [unique('name'), unique('service'), unique('key'), unique('value')]
        const record = span({ name, service, tags: { [key]: value, other: 'x' } })
        await append(
          store,
          record,
          span({ name: unique('name'), service: unique('service'), tags: { [unique('key')]: unique('value') } }),
        )
        const hits: Conditions[] = [
          { name },
          { service },
          { name, service },
          { annotations: [tag(key)] },
          { annotations: [tag(undefined, value)] },
          { annotations: [tag(key, value)] },
          { name, annotations: [tag(key)] },
          { service, annotations: [tag(undefined, value)] },
          { name, service, annotations: [tag(key, value)] },
          { name, annotations: [tag('other', 'x')] },
          { name, annotations: [tag('other', 'x'), tag(key, value), tag(undefined, 'x'), tag(key)] },
        ]
        const misses: Conditions[] = [
          { name: key },
          { name: service },
          { service: name },
          { annotations: [tag(name)] },
          { annotations: [tag(undefined, key)] },
          { annotations: [tag(undefined, service)] },
          { annotations: [tag(value, key)] },
          { annotations: [tag(key, 'x')] },
          { annotations: [tag(key, value), tag('other', 'y')] },
          { name, annotations: [tag('other', value)] },
          { name: 'Service.method', annotations: [tag(key)] },
        ]
        await soon(async () => {
          for (const query of hits) assert.deepEqual(await found(store, query), [record.traceId], JSON.stringify(query))
        })
        for (const query of misses) assert.deepEqual(await found(store, query), [], JSON.stringify(query))
      })

      it('wants all conditions on the same span, whose halves are one, though they come apart', async () => {
        const [name, key] = [unique('name'), unique('key')]
        const apart = randomId()
        const halves = span({ name, tags: {} })
        await append(store, span({ traceId: apart, name }), span({ traceId: apart, tags: { [key]: 'v', more: 'x' } }))
        await append(store, halves)
        await soon(async () => sameIds(await found(store, { name }), [apart, halves.traceId]))
        await append(store, {
          ...halves,
          name: undefined,
          annotations: new Map([
            [key, 'v'],
            ['more', 'x'],
          ]),
          events: [],
        })
        await soon(async () => {
          assert.deepEqual(await found(store, { name, annotations: [tag(key)] }), [halves.traceId])
          assert.deepEqual(await found(store, { name, annotations: [tag(key, 'v')] }), [halves.traceId])
          assert.deepEqual(await found(store, { name, annotations: [tag(key, 'v'), tag('more')] }), [halves.traceId])
          sameIds(await found(store, { name }), [apart, halves.traceId])
        })
      })

      it('finds values by how they begin and by what they contain, of a key and of any', async () => {
        const [key, word] = [unique('key'), unique('w')]
        const values = [
          '',
          word,
          `${word}a`,
          `${word}ab`,
          `a${word}`,
          `ab ${word} ba`,
          `é${word}😀`,
          word.toUpperCase(),
        ]
        const records = values.map(value => span({ tags: { [key]: value, also: 'x' } }))
        await append(store, ...records)
        const ids = (matches: (value: string) => boolean) =>
          records.filter((_, i) => matches(values[i]!)).map(({ traceId }) => traceId)
        await soon(async () =>
          sameIds(
            await found(store, { annotations: [tag(key)] }),
            ids(() => true),
          ),
        )
        for (const [text, of] of [
          [word, undefined],
          [`${word}a`, undefined],
          [word, key],
          [`${word}ab`, key],
          [word.slice(0, -3), key],
          [`${word}z`, key],
          ['é', key],
          ['ab ', key],
          ['', key],
        ] as const) {
          const annotations = (match: Match) => ({ annotations: [tag(of, text, match)] })
          const shown = JSON.stringify([of, text])
          sameIds(
            await found(store, annotations('prefix')),
            ids(v => v.startsWith(text)),
            `prefix ${shown}`,
          )
          sameIds(
            await found(store, annotations('contains')),
            ids(v => v.includes(text)),
            `contains ${shown}`,
          )
          sameIds(
            await found(store, annotations('exact')),
            ids(v => v === text && (of !== undefined || v !== '')),
            shown,
          )
        }
        for (const text of ['😀', 'ba', word.slice(1)]) {
          const query = { annotations: [tag(key, text, 'contains'), tag('also', 'x')] }
          sameIds(
            await found(store, query),
            ids(v => v.includes(text)),
            `contains ${text}`,
          )
        }
      })

      it('finds and completes values by a beginning whatever character comes after it', async () => {
        const [key, other] = [unique('key'), unique('key')]
        const after = [
          '',
          '😀',
          '😀😀',
          '\u{10ffff}',
          '\u{10ffff}'.repeat(9),
          '\uffff',
          '\0',
          '\0'.repeat(9),
          '\t',
          ' ',
          '%',
          '_',
        ]
        const values = after.map(text => `v${text}`)
        const records = values.map(value => span({ tags: { [key]: value } }))
        await append(store, ...records, span({ tags: { [key]: 'u😀' } }), span({ tags: { [other]: 'w' } }))
        const ids = records.map(({ traceId }) => traceId)
        await soon(async () => sameIds(await found(store, { annotations: [tag(key, 'v', 'prefix')] }), ids))
        sameIds(await found(store, { annotations: [tag(undefined, 'v', 'prefix'), tag(key)] }), ids)
        const complete = await store.complete({ field: 'value', key, prefix: 'v', limit: 100 })
        assert.deepEqual(complete, [...values].sort())
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
            [...traces].map(([text, traceId]) => {
              const odd = `${base}${text}`
              return span({ traceId, name: odd, service: odd, tags: { [odd]: text, [key]: odd } })
            }),
          ),
        ])
        await soon(async () => {
          for (const [text, traceId] of traces) {
            const odd = `${base}${text}`
            const shown = JSON.stringify(text.slice(0, 40))
            assert.deepEqual(await found(store, { name: odd }), [traceId], `name ${shown}`)
            assert.deepEqual(await found(store, { service: odd }), [traceId], `service ${shown}`)
            for (const [of, value] of [
              [undefined, odd],
              [key, odd],
              [odd, text],
              [odd, undefined],
            ]) {
              const hits = await found(store, { annotations: [tag(of, value)] })
              assert.deepEqual(hits, [traceId], `${of?.slice(0, 20)} ${value === undefined ? '' : shown}`)
            }
          }
        })
      })

      it('tells where a key ends and its value begins', async () => {
        const base = unique('k')
        const [first, second] = [span({ tags: { [`${base}a`]: 'b' } }), span({ tags: { [base]: 'ab' } })]
        const [third, fourth] = [span({ tags: { [`${base}\0c`]: 'd' } }), span({ tags: { [base]: 'c\0d' } })]
        await append(store, first, second, third, fourth)
        await soon(async () => {
          for (const [key, value, { traceId }] of [
            [`${base}a`, 'b', first],
            [base, 'ab', second],
            [`${base}\0c`, 'd', third],
            [base, 'c\0d', fourth],
          ] as const) {
            assert.deepEqual(await found(store, { annotations: [tag(key, value)] }), [traceId])
          }
        })
      })

      it('finds spans by how long they took, each half for itself at least, the longest at most', async () => {
        const name = unique('long')
        const lasting = (us: bigint, fields: Partial<Record> = {}) =>
          span({
            name,
            events: [0n, us].map(after => ({ timestamp: 5_000_000n + after, eventType: EventType.CLIENT_SEND })),
            ...fields,
          })
        const [short, middle, long] = [lasting(0n), lasting(1_000n), lasting(4_000_000_000_000n)]
        const other = lasting(3_000n, { traceId: middle.traceId, id: middle.id, name: unique('other') })
        const timeless = span({ name, events: [] })
        await append(store, short, middle, long, timeless, other)
        const between = async (minDurationUs: number | undefined, maxDurationUs: number | undefined, of = name) => {
          const query: Conditions = { name: of }
          if (minDurationUs !== undefined) query.minDurationUs = minDurationUs
          if (maxDurationUs !== undefined) query.maxDurationUs = maxDurationUs
          return found(store, query)
        }
        const ids = (...records: Record[]) => records.map(({ traceId }) => traceId)
        await soon(async () => sameIds(await between(undefined, undefined), ids(short, middle, long, timeless)))
        sameIds(await between(0, undefined), ids(short, middle, long))
        sameIds(await between(1_000, undefined), ids(middle, long))
        sameIds(await between(1_001, undefined), ids(long))
        sameIds(await between(1_001, undefined, other.name), ids(other))
        sameIds(await between(4_000_000_000_000, undefined), ids(long))
        sameIds(await between(4_000_000_000_001, undefined), [])
        sameIds(await between(undefined, 2_999), ids(short))
        sameIds(await between(undefined, 3_000), ids(short, middle))
        sameIds(await between(1, 4e12), ids(middle, long))
        sameIds(await between(1, 0), [])
        const all = await found(store, { minDurationUs: 3_999_999_999_999 })
        assert.ok(all.includes(long.traceId) && !all.includes(middle.traceId))
      })

      it('finds what failed, on either half, and what did not', async () => {
        const name = unique('error')
        const good = span({ name })
        const typed = span({ name, tags: { 'error.type': 'timeout' } })
        const said = span({ name, tags: { error: '' } })
        const half = span({ name })
        const otherHalf = { ...half, name: undefined, annotations: new Map([['error', 'true']]) }
        await append(store, good, typed, said, half)
        await append(store, otherHalf)
        await soon(async () => {
          sameIds(await found(store, { name, error: true }), [typed.traceId, said.traceId, half.traceId])
        })
        sameIds(await found(store, { name, error: false }), [good.traceId])
        const newest = await store.search({ annotations: [tag('error.type')], error: true, limit: 100 })
        assert.ok(newest.traces.some(trace => idOf(trace) === typed.traceId))
      })

      it('finds what began in a stretch of time, both its ends included', async () => {
        const name = unique('time')
        const starts = [10n, 20n, 30n, 40n].map(n => 1_500_000_000_000_000n + n * 1_000_000n)
        const records = starts.map(startUs => span({ name, startUs }))
        await append(store, ...records)
        const within = (from: number | undefined, to: number | undefined, more: Conditions = {}) => {
          const query: Conditions = { name, ...more }
          if (from !== undefined) query.fromUs = 1_500_000_000_000_000 + from * 1e6
          if (to !== undefined) query.toUs = 1_500_000_000_000_000 + to * 1e6
          return found(store, query, 2)
        }
        const ids = (...at: number[]) => at.map(i => records[i]!.traceId)
        await soon(async () => assert.deepEqual(await within(undefined, undefined), ids(3, 2, 1, 0)))
        assert.deepEqual(await within(20, 30), ids(2, 1))
        assert.deepEqual(await within(20.000001, 29.999999), [])
        assert.deepEqual(await within(30, undefined), ids(3, 2))
        assert.deepEqual(await within(undefined, 20), ids(1, 0))
        assert.deepEqual(await within(41, 9), [])
        const query = { fromUs: 1_500_000_009_000_000, toUs: 1_500_000_050_000_000, annotations: [] }
        const everything = await found(store, query)
        for (const { traceId } of records) assert.ok(everything.includes(traceId))
      })

      it('lists the newest first, by their start', async () => {
        const name = unique('newest')
        const starts = [5n, 1n, 9n, 3n, 7n].map(n => 1_700_000_000_000_000n + n)
        const records = starts.map(startUs => span({ name, startUs }))
        for (const record of records) await append(store, record)
        const expected = [...records].sort((a, b) => Number(b.events![0]!.timestamp! - a.events![0]!.timestamp!))
        for (const limit of [1, 2, 10]) {
          await soon(async () => {
            assert.deepEqual(
              await found(store, { name }, limit),
              expected.map(({ traceId }) => traceId),
            )
          })
        }
      })

      it('tells of each trace what lists show', async () => {
        const name = unique('summary')
        const traceId = randomId()
        const startUs = 1_700_000_000_000_000n
        const root = span({ traceId, name, service: 'front', startUs })
        const child = span({
          traceId,
          name: 'Back.end',
          service: 'back',
          parentId: root.id,
          startUs: startUs + 100n,
          tags: { error: 'x' },
        })
        await append(store, child, root)
        await soon(async () => {
          const { traces, next } = await store.search({ name, annotations: [], limit: 10 })
          assert.equal(next, undefined)
          const [{ traceId: id, start, duration, name: shown, services, spanCount, error }] = traces as [TraceSummary]
          assert.deepEqual(
            { id, start, duration, shown, services, spanCount, error },
            {
              id: BigInt.asUintN(64, traceId).toString(16).padStart(16, '0'),
              start: Number(startUs),
              duration: 1_100,
              shown: name,
              services: ['back', 'front'],
              spanCount: 2,
              error: true,
            },
          )
        })
      })

      it("starts a record with its side's first event, in whatever order they are, and without one with any", async () => {
        const name = unique('events')
        const cases: [bigint, SpanEvent[]][] = [
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
        await soon(async () => {
          for (const [i, [startUs]] of cases.entries()) {
            const atUs = Number(startUs)
            assert.deepEqual(await found(store, { name, fromUs: atUs, toUs: atUs }), [records[i]!.traceId])
          }
        })
      })

      it('finds what began in a stretch of time also by its other half, whose trace goes on', async () => {
        const name = unique('goes on')
        const traceId = randomId()
        const startUs = 1_500_000_000n * 2n ** 20n
        const server = span({ traceId, name, startUs: startUs + 1_900_000n })
        const client = {
          ...span({ traceId, id: server.id }),
          events: [{ timestamp: startUs, eventType: EventType.CLIENT_SEND }],
        }
        // In the same second as the server half, or the next one.
        const later = [150_000n, 400_000n, 800_000n, 1_500_000n].map(us =>
          span({ traceId, name, startUs: server.events![0]!.timestamp! + us }),
        )
        for (let shift = 0n; shift < 2n ** 20n; shift += 131_071n) {
          const shifted = (record: Record): Record => ({
            ...record,
            traceId: traceId + shift,
            events: record.events!.map(event => ({ ...event, timestamp: event.timestamp! + shift })),
          })
          await append(store, ...[client, server, ...later].map(shifted))
          const atUs = Number(startUs + shift)
          await soon(async () => {
            assert.deepEqual(await found(store, { name, fromUs: atUs, toUs: atUs }), [traceId + shift], `${shift}`)
          })
        }
      })

      it('finds what began at any time of 64 bits, in a stretch that ends anywhere', async () => {
        const name = unique('any time')
        const starts = [
          I64_MIN,
          I64_MIN + 1n,
          -(2n ** 62n),
          -(2n ** 20n) - 1n,
          -1n,
          0n,
          2n ** 62n,
          I64_MAX - 1n,
          I64_MAX,
        ]
        const records = starts.map(startUs =>
          span({ name, events: [{ timestamp: startUs, eventType: EventType.CUSTOM }] }),
        )
        await append(store, ...records)
        const ids = (from: number, to: number) => records.slice(from, to).map(({ traceId }) => traceId)
        await soon(async () => assert.deepEqual(await found(store, { name }, 1), ids(0, 9).reverse()))
        const within = (fromUs: number, toUs: number) => found(store, { name, fromUs, toUs })
        sameIds(await within(-(2 ** 63), 2 ** 63), ids(0, 9))
        sameIds(await within(-(2 ** 62), 0), ids(2, 6))
        sameIds(await within(-(2 ** 20) - 1, -(2 ** 20) - 1), ids(3, 4))
        sameIds(await within(-1, -1), ids(4, 5))
        sameIds(await within(1, 2 ** 63), ids(6, 9))
        sameIds(await within(-(2 ** 64), -(2 ** 61)), ids(0, 3))
      })

      it('lists a trace once, at its newest span that has what is looked for, in whatever messages they came', async () => {
        for (const together of [true, false]) {
          const name = unique('order')
          const [a, b, c, d] = Array.from({ length: 4 }, randomId) as [bigint, bigint, bigint, bigint]
          const startUs = 1_700_000_000_000_000n
          const at = (traceId: bigint, ms: number, more: Partial<Record> = { name }) =>
            span({ traceId, startUs: startUs + BigInt(ms) * 1_000n, ...more })
          const records = [
            ...[at(a, 1), at(a, 900), at(a, 5)],
            ...[at(b, 2), at(b, 700), at(b, 990, { name: 'another' })],
            ...[at(c, 800)],
            ...[at(d, 600), at(d, 3), at(d, -4_000)],
          ]
          if (together) await append(store, ...records)
          else for (const record of records) await append(store, record)
          for (const limit of [1, 2, 3, 4, 5]) {
            await soon(async () => {
              const pages: bigint[] = []
              for (let after: string | undefined; ; ) {
                const page = await store.search({ name, annotations: [], limit, ...(after && { after }) })
                pages.push(...page.traces.map(idOf))
                after = page.next
                if (after === undefined) break
              }
              if (limit === 1) assert.deepEqual(pages, [a, c, b, d])
              sameIds(pages, [a, b, c, d])
            })
          }
        }
      })

      it('wants a name, a service and a duration of one record, and not of several', async () => {
        const [name, service] = [unique('name'), unique('service')]
        const startUs = 1_700_000_000_000_000n
        const lasting = (us: number, fields: Partial<Record>) =>
          span({
            ...fields,
            events: [0, us].map(us => ({ timestamp: startUs + BigInt(us), eventType: EventType.SERVER_RECV })),
          })
        const [both, apart, short, old] = Array.from({ length: 4 }, randomId) as [bigint, bigint, bigint, bigint]
        await append(
          store,
          lasting(500, { traceId: both, name, service }),
          lasting(900, { traceId: apart, name, service: 'another' }),
          lasting(900, { traceId: apart, name: 'another', service }),
          lasting(100, { traceId: short, name, service }),
          lasting(900, { traceId: short, name: 'another', service }),
          lasting(900, { traceId: short, name, service: 'another' }),
          span({ traceId: old, name, service, startUs: startUs + 10n, events: [] }),
          lasting(500, { traceId: old, name, service }),
        )
        await soon(async () => sameIds(await found(store, { name, service }), [both, short, old]))
        sameIds(await found(store, { name, service, minDurationUs: 500 }), [both, old])
        sameIds(await found(store, { name, service, minDurationUs: 0 }), [both, short, old])
        sameIds(await found(store, { name, service, minDurationUs: 501 }), [])
        sameIds(await found(store, { name, minDurationUs: 500 }), [both, apart, short, old])
        sameIds(await found(store, { service, minDurationUs: 900 }), [apart, short])
        const other = { annotations: [tag(unique('key'))] }
        await append(store, span({ traceId: both, tags: { [other.annotations[0]!.key!]: 'x' } }))
        sameIds(await found(store, { ...other, name, service }), [])
      })

      it('lists a span without times among those of its receipt', async () => {
        const name = unique('eventless')
        const fromUs = Date.now() * 1000
        const records = [span({ name, events: [] }), span({ name, events: undefined }), span({ name, startUs: 1n })]
        await append(store, ...records)
        const [first, second, timed] = records.map(({ traceId }) => traceId)
        await soon(async () => {
          sameIds(await found(store, { name }, 1), [first!, second!, timed!])
          sameIds(await found(store, { name, fromUs }), [first!, second!])
          sameIds(await found(store, { name, toUs: 1 }), [timed!])
        })
      })

      it('visits every trace once, page by page, also where many start at the same time', async () => {
        const name = unique('pages')
        const traces = Array.from({ length: 60 }, (_, i) => ({
          traceId: randomId(),
          startUs: 1_700_000_000_000_000n + BigInt(Math.floor(i / 25)),
        }))
        // Each trace has a newer span without the name, and an older one with it in a message of its own.
        await append(store, ...traces.flatMap(t => [span({ ...t, name }), span({ ...t, startUs: t.startUs + 500n })]))
        await append(store, ...traces.map(t => span({ ...t, startUs: t.startUs - 9_000_000n, name })))
        await soon(async () => assert.equal((await found(store, { name })).length, 60))
        for (const limit of [1, 7, 20, 59, 60, 61, 1000]) {
          const pages = await found(store, { name }, limit)
          sameIds(
            pages,
            traces.map(({ traceId }) => traceId),
            `pages of ${limit}`,
          )
          const startOf = new Map(traces.map(({ traceId, startUs }) => [traceId, startUs]))
          const starts = pages.map(traceId => startOf.get(traceId)!)
          const sorted = [...starts].sort((a, b) => Number(b - a))
          assert.deepEqual(starts, sorted, `order with pages of ${limit}`)
        }
      })

      it('says how far a page has come, and when the earliest span of each trace began that matches', async () => {
        const name = unique('reached')
        const traces = Array.from({ length: 20 }, (_, i) => ({
          traceId: randomId(),
          startUs: 1_700_000_000_000_000n + BigInt(i) * 7_000_000n,
        }))
        // Every other one has a second span with the name, which is in the time of the traces after it.
        const later = traces.filter((_, i) => i % 2 === 0).map(t => ({ ...t, startUs: t.startUs + 15_000_000n }))
        await append(store, ...[...traces, ...later].map(t => span({ ...t, name })))
        await soon(async () => assert.equal((await found(store, { name })).length, 20))
        const startOf = new Map(traces.map(({ traceId, startUs }) => [traceId, Number(startUs)]))
        const seen = new Set<bigint>()
        let after: string | undefined
        do {
          const page = await store.search({ name, annotations: [], limit: 3, ...(after !== undefined && { after }) })
          assert.deepEqual(
            page.matchedUs,
            page.traces.map(trace => startOf.get(idOf(trace))),
          )
          for (const trace of page.traces) seen.add(idOf(trace))
          after = page.next
          assert.equal(page.reachedUs === undefined, after === undefined)
          for (const { traceId, startUs } of [...traces, ...later]) {
            if (Number(startUs) > (page.reachedUs ?? Infinity)) assert.ok(seen.has(traceId), `${page.reachedUs}`)
          }
        } while (after !== undefined)
        assert.equal(seen.size, 20)
      })

      it('shows no trace twice on however many pages, if another of its records is listed first', async () => {
        const [name, service] = [unique('pages'), unique('pages')]
        const [traceId, us] = [randomId(), 1_600_000_000_000_000n]
        const others = Array.from({ length: 400 }, (_, i) => span({ name, service, startUs: us + 1_000n * BigInt(i) }))
        const record = span({ traceId, name, service, startUs: us - 9_000_000n })
        await append(store, span({ traceId, name, startUs: us + 900_000_000n }), record, ...others)
        const ids = [record, ...others].map(({ traceId }) => traceId)
        await soon(async () => assert.equal((await found(store, { name, service }, 1_000)).length, ids.length))
        sameIds(await found(store, { name, service }, 100), ids)
      })

      it('shows a trace that gains a newer span between two pages, and no trace twice', async () => {
        const name = unique('grows')
        const traces = Array.from({ length: 8 }, (_, i) => ({
          traceId: randomId(),
          startUs: 1_700_000_000_000_000n - BigInt(i) * 1_000_000n,
        }))
        await append(store, ...traces.map(t => span({ ...t, name })))
        await soon(async () => assert.equal((await found(store, { name })).length, 8))
        const first = await store.search({ name, annotations: [], limit: 4 })
        // One that the first page has shown, and one that the next page is to show.
        const grown = [traces[1]!, traces[6]!]
        await append(store, ...grown.map(t => span({ ...t, startUs: 1_700_000_100_000_000n, name })))
        await soon(async () => {
          const newer = await found(store, { name, fromUs: 1_700_000_050_000_000 })
          sameIds(
            newer,
            grown.map(({ traceId }) => traceId),
          )
        })
        const second = await store.search({ name, annotations: [], limit: 4, after: first.next! })
        sameIds(
          [...first.traces, ...second.traces].map(idOf),
          traces.map(({ traceId }) => traceId),
        )
      })

      it('has no next on the last page, full or not', async () => {
        const name = unique('last')
        await append(store, ...Array.from({ length: 10 }, () => span({ name })))
        await soon(async () => assert.equal((await found(store, { name })).length, 10))
        const page = (limit: number) => store.search({ name, annotations: [], limit })
        assert.equal((await page(11)).next, undefined)
        assert.equal((await page(10)).next, undefined)
        assert.equal(typeof (await page(9)).next, 'string')
        const none = await store.search({ name: unique('nobody'), annotations: [], limit: 10 })
        assert.deepEqual(none, { traces: [], matchedUs: [], read: 0, cost: 'index' })
      })

      it('refuses to go on after what it never said', async () => {
        for (const after of [
          '',
          'x',
          'MC4x',
          '0.1.1',
          'a'.repeat(1000),
          '\0',
          '😀',
          Buffer.from('9.1.1').toString('hex'),
        ]) {
          await assert.rejects(store.search({ annotations: [], limit: 1, after }), { code: 'MILO_BAD_CURSOR' }, after)
        }
      })

      it('lists what has no annotations, no name and no service among everything', async () => {
        const timestamp = 1_300_000_000_000_000n + BigInt(Math.floor(Math.random() * 1e12))
        const record: Record = {
          traceId: randomId(),
          id: 1n,
          events: [{ timestamp, eventType: EventType.SERVER_RECV }],
        }
        await append(store, record)
        const atUs = Number(timestamp)
        await soon(async () => assert.deepEqual(await found(store, { fromUs: atUs, toUs: atUs }), [record.traceId]))
      })

      it('finds what is frequent, what is rare, and what is both, among thousands of traces', async () => {
        const [name, key] = [unique('frequent'), unique('key')]
        const startUs = BigInt(Date.now() - 3_600_000) * 1000n
        const records = Array.from({ length: 6_000 }, (_, i) =>
          span({
            ...(i % 2 ? { name } : {}),
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
        const isNamed = (r: Record) => r.name === name
        const having = (text: string) => ({ name, annotations: [tag(key, text)] })
        const last = span({ tags: { last: key } })
        await append(store, last)
        const isLast = { annotations: [tag('last', key)] }
        await soon(async () => assert.deepEqual(await found(store, isLast), [last.traceId]))
        sameOrder(
          await found(store, { annotations: [tag(key)] }, 1000),
          wanted(() => true),
        )
        sameOrder(
          await found(store, having('usual'), 700),
          wanted(r => isNamed(r) && value(r) === 'usual'),
        )
        const rare = wanted(r => isNamed(r) && value(r) === 'rare')
        sameOrder(await found(store, having('rare')), rare)
        sameOrder(await found(store, having('rare, elsewhere')), [])
        const begun = { name, annotations: [tag(key, 'ar', 'contains'), tag(key, 'ra', 'prefix')] }
        sameOrder(await found(store, begun), rare)
        const page = await store.search({ annotations: [tag(key)], limit: 25 })
        sameOrder(page.traces.map(idOf), wanted(() => true).slice(0, 25))
      })

      it('finds alternatives, numbers and structure among thousands of traces, page by page, and says what it costs', async function () {
        this.timeout(300_000)
        const [service, key, number] = [unique('service'), unique('key'), unique('number')]
        const startUs = BigInt(Date.now() - 3_600_000) * 1000n
        const traces = Array.from({ length: 700 }, (_, i) => {
          const traceId = randomId()
          const at = startUs + BigInt(i) * 1_000n
          const parent = span({ traceId, service, startUs: at, tags: { [key]: i % 3 === 0 ? 'a' : 'b' } })
          const child = span({
            traceId,
            parentId: parent.id,
            // Before its parent, as by another clock.
            startUs: at - 5n,
            tags: { [number]: String(i), ...(i % 2 === 0 && { error: 'x' }) },
          })
          const grandchild = span({ traceId, parentId: child.id, startUs: at + 10n, tags: { [number]: `${i}.5` } })
          return [parent, child, grandchild]
        })
        const records = traces.flat()
        for (let i = 0; i < records.length; i += 300) await append(store, ...records.slice(i, i + 300))
        const last = span({ tags: { last: key } })
        await append(store, last)
        await soon(async () =>
          assert.deepEqual(await found(store, { annotations: [tag('last', key)] }), [last.traceId]),
        )
        const query = (q: string) => withTimes(parse(q).query, Date.now() * 1000)
        for (const [q, cost] of [
          [`${key}=a OR ${number}>=690`, 'index'],
          [`(${key}=a OR ${key}=b) NOT ${key}=a`, 'index'],
          [`${number}<5.5`, 'index'],
          [`${number}>=300 NOT error`, 'index'],
          [`${key}=b > error`, 'index'],
          [`service:${service} >> ${number}>10 NOT error last 2h`, 'index'],
          [`service:${service} > ${number}>10 > ${number}<400 from:-2h`, 'index'],
          [`root: ${key}=a`, 'index'],
        ]) {
          const expected = bruteForce(records, query(q!))
          assert.ok(expected.size > 0, q)
          sameIds(await found(store, query(q!), 40), expected, q)
          const page = await store.search({ ...query(q!), limit: 10 })
          assert.equal(page.cost, cost, q)
          assert.ok(page.read >= page.traces.length, q)
        }
        const all = await store.search({ ...query('NOT error last 2h'), limit: 10 })
        assert.equal(all.cost, 'all')
      })

      it('agrees with a search of every span by hand', async function () {
        this.timeout(300_000)
        // On failure fast-check prints the seed and the smallest case.
        await fc.assert(
          fc.asyncProperty(drawnSpans, drawnQueries, fc.nat(4), fc.nat(3), async (drawn, asked, pages, messages) => {
            // Words, ids and times of this run alone, so that what earlier runs wrote doesn't match.
            const nonce = unique('')
            const traceIds = Array.from({ length: 6 }, randomId)
            const baseUs = 1_000_000_000_000_000n + BigInt(Math.floor(Math.random() * 1e14)) * 4n
            const records = drawn.map(span => drawnRecord(span, nonce, traceIds, baseUs))
            const size = Math.ceil(records.length / (messages + 1))
            for (let i = 0; i < records.length; i += size) await append(store, ...records.slice(i, i + size))
            for (const conditions of asked) {
              const query = drawnQuery(conditions, nonce, Number(baseUs))
              const expected = bruteForce(records, query)
              const shown = JSON.stringify(query)
              await soon(async () => sameIds(await found(store, query, pages + 1), expected, shown))
            }
          }),
          { numRuns: 80 },
        )
      })
    })

    describe('searching for a trace that is too long to be read for its summary', () => {
      const name = unique('long')
      const traceId = randomId()
      // 5 MB, of which 4 MiB are read; and in the rest the one span that has the tag.
      const records = Array.from({ length: 52 }, (_, i) =>
        span({ traceId, name, tags: { filler: 'x'.repeat(100_000), ...(i === 51 && { last: name }) } }),
      )
      before(async () => {
        for (const record of records) await append(store, record)
      })

      it('lists it with a summary of a part, which says so', async () => {
        await soon(async () => {
          const [trace, ...others] = await searchAll(store, { name })
          assert.deepEqual(others, [])
          assert.equal(trace!.truncated, true)
          assert.ok(trace!.spanCount > 30 && trace!.spanCount < 52, `${trace!.spanCount} spans`)
        })
        const short = span({ name: unique('short') })
        await append(store, short)
        await soon(async () => {
          const [trace] = await searchAll(store, { name: short.name! })
          assert.equal(trace && 'truncated' in trace, false)
        })
      })

      it('lists it on the word of the index where what is looked for is in the rest', async () => {
        await soon(async () => assert.deepEqual(await found(store, { annotations: [tag('last', name)] }), [traceId]))
      })

      it('lists it on one page only', async () => {
        const others = Array.from({ length: 3 }, () => span({ name }))
        await append(store, ...others)
        await soon(async () => {
          const listed = (await searchAll(store, { name }, 1)).map(idOf)
          sameIds(listed, [traceId, ...others.map(record => record.traceId)])
        })
      })
    })

    describe('completion', () => {
      it('gives names, services, keys and values by how they begin: sorted, each once, so many', async () => {
        const nonce = unique('complete')
        const words = ['b', 'a', 'ab', 'abc', 'ä', 'B', '😀', 'a b'].map(word => nonce + word)
        const key = unique('key')
        for (const word of words) {
          const record = span({ name: word, service: word, tags: { [word]: 'x', [key]: word } })
          await append(store, record, { ...record, id: randomId() })
        }
        const other = unique('other')
        await append(store, span({ tags: { [other]: `${nonce}elsewhere`, [`${nonce}z`]: 'x' } }))
        const sorted = [...words].sort()
        const complete = (query: Partial<CompletionQuery>) =>
          store.complete({ field: 'name', prefix: nonce, limit: 100, ...query })
        await soon(async () => {
          for (const field of ['name', 'service'] as const) assert.deepEqual(await complete({ field }), sorted)
          assert.deepEqual(await complete({ field: 'key' }), [...sorted, `${nonce}z`].sort())
          assert.deepEqual(await complete({ field: 'value', key }), sorted)
          assert.deepEqual(await complete({ field: 'value', key: other }), [`${nonce}elsewhere`])
        })
        assert.deepEqual(await complete({ prefix: `${nonce}a` }), [...['a', 'a b', 'ab', 'abc'].map(w => nonce + w)])
        assert.deepEqual(await complete({ field: 'value', key, limit: 2 }), sorted.slice(0, 2))
        assert.deepEqual(await complete({ field: 'key', prefix: `${nonce}A` }), [])
        assert.deepEqual(await complete({ field: 'value', key: unique('nobody'), prefix: '' }), [])
        assert.ok((await complete({ field: 'service', prefix: '' })).length > 0)
      })
    })

    describe('activity', () => {
      it('counts what was settled once, by the minute, also what was sent twice, and after reopening', async () => {
        const service = unique('service')
        const startUs = BigInt(Date.now() - 3_600_000) * 1000n
        const records = Array.from({ length: 30 }, (_, i) =>
          span({ service, name: `operation ${i % 2}`, startUs: startUs + BigInt(i) * 6_000_000n, probability: 0.5 }),
        )
        const counts = async () => {
          const range = { fromUs: Number(startUs), toUs: Number(startUs) + 600_000_000, stepUs: 60_000_000 }
          const minutes = await sumActivity(query => store.activity(query), {
            ...range,
            kinds: ['operations'],
            service,
          })
          return [...minutes.values()].map(({ operations }) =>
            [...operations.values()].reduce((sum, { calls }) => sum + calls, 0),
          )
        }
        const message = messageOf(records)
        await store.append([message])
        await until('all is settled', () => store.backlog().spans === 0)
        await store.append([message])
        await until('all is settled', () => store.backlog().spans === 0)
        const once = await counts()
        assert.equal(
          once.reduce((a, b) => a + b, 0),
          60,
        )
        assert.ok(once.length >= 3, `${once}`)
        await reopen()
        assert.deepEqual(await counts(), once)
      })
    })

    describe('hours', () => {
      it('have every record that was accepted in them, as lines of its trace, once it is settled', async () => {
        const records = Array.from({ length: 30 }, (_, i) => span({ tags: { n: String(i) } }))
        const began = Date.now() * 1000
        for (let i = 0; i < 30; i += 3) await append(store, ...records.slice(i, i + 3))
        const [first, last] = [began, Date.now() * 1000 + 60e6].map(us => Math.floor(us / 3600e6) * 3600e6)
        const [{ collector, fromUs, toUs }, ...others] = (await store.hourSources()) as [HourSource]
        assert.deepEqual(others, [])
        // Nothing of this minute is complete.
        assert.ok(fromUs <= began && toUs < began, `${fromUs} to ${toUs}`)
        await soon(async () => {
          const found: string[] = []
          for (let hourUs = first!; hourUs <= last!; hourUs += 3600e6) {
            for await (const { lines, damaged } of await store.readHour(collector, hourUs)) {
              assert.deepEqual(damaged, [])
              for (const line of String(lines).split('\n').slice(0, -1)) {
                const [id, base64] = line.split('\t') as [string, string]
                for (const record of decodeRecords(Buffer.from(base64, 'base64'))) {
                  if (records.some(({ traceId }) => traceId === record.traceId)) found.push(`${id} ${record.id}`)
                }
              }
            }
          }
          const digits = (id: bigint) => BigInt.asUintN(64, id).toString(16).padStart(16, '0')
          assert.deepEqual(found.sort(), records.map(({ traceId, id }) => `${digits(traceId)} ${id}`).sort())
        })
      })
    })

    describe('saved searches', () => {
      it('are created, replaced, listed, deleted, and kept', async () => {
        const first = { id: unique('s'), name: 'Slow', query: 'name=a&min=5', createdUs: 1_700_000_000_000_001 }
        const second = { id: unique('s'), name: "Robert'); --\0 é", query: 'key=é😀', createdUs: 1_700_000_000_000_000 }
        const listed = async () => (await store.savedSearches()).filter(({ id }) => id === first.id || id === second.id)
        assert.deepEqual(await listed(), [])
        await store.saveSearch(first)
        await store.saveSearch(second)
        const byId = (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1)
        assert.deepEqual((await listed()).sort(byId), [first, second].sort(byId))
        const renamed = { ...first, name: 'Slower' }
        await store.saveSearch(renamed)
        await reopen()
        assert.deepEqual((await listed()).sort(byId), [renamed, second].sort(byId))
        assert.equal(await store.deleteSearch(first.id), true)
        assert.equal(await store.deleteSearch(first.id), false)
        assert.deepEqual(await listed(), [second])
      })
    })

    describe('results of analyses', () => {
      const HOUR_US = 3_600_000_000
      const window = { fromUs: 480_000 * HOUR_US, toUs: 480_002 * HOUR_US }
      const earlier = { fromUs: 479_999 * HOUR_US, toUs: 480_001 * HOUR_US }
      /** Pieces of 100 KB that hardly shrink, of two root operations and of none. */
      const load = (of: typeof window, word: string, loadedUs = 1_800_000_000_000_000): Load => ({
        ...of,
        load: newLoad(loadedUs),
        loadedUs,
        summary: `{"kind":"window","word":"${word}"}`,
        pieces: [0n, 7n, -(2n ** 63n)].flatMap(root =>
          ['edge', 'path'].flatMap(kind =>
            [0, 1].map(piece => ({ kind, root, piece, body: bodyOf(`${word} ${kind} ${root} ${piece}`) })),
          ),
        ),
      })
      const bodyOf = (words: string) => Buffer.concat([Buffer.from(words), Buffer.alloc(100_000, words)])
      const wordsOf = (bodies: Buffer[]) => bodies.map(body => body.toString('utf8', 0, body.length - 100_000))
      const read = async (of: typeof window, kinds: string[], root?: bigint) => {
        const found = await store.readAnalysis({ ...of, kinds, ...(root !== undefined && { root }) })
        return found && wordsOf(found.bodies)
      }

      after(async () => {
        for (const of of [window, earlier]) await store.deleteAnalysis(of)
      })

      it('are there by window, kind and root operation, in order, after reopening too', async () => {
        assert.equal(await read(window, ['edge']), undefined)
        await store.saveAnalysis(load(earlier, 'a'))
        await store.saveAnalysis(load(window, 'b'))
        await reopen()
        const listed = await store.analyses()
        const { pieces, load: _, ...first } = load(window, 'b')
        assert.deepEqual(listed, [first, { ...first, ...earlier, summary: load(earlier, 'a').summary }])
        assert.deepEqual(await read(window, ['edge'], 7n), ['b edge 7 0', 'b edge 7 1'])
        assert.deepEqual(
          await read(window, ['path'], -(2n ** 63n)),
          [0, 1].map(i => `b path ${-(2n ** 63n)} ${i}`),
        )
        assert.deepEqual(await read(earlier, ['edge', 'path'], 0n), [
          'a edge 0 0',
          'a edge 0 1',
          'a path 0 0',
          'a path 0 1',
        ])
        assert.equal((await read(window, ['edge', 'path']))!.length, pieces.length)
        assert.deepEqual(await read(window, ['nothing']), [])
        assert.deepEqual(await read(window, ['edge'], 8n), [])
      })

      it('take the place of those that the window had, at once: no reader sees a part', async () => {
        let done = false
        const reading = (async () => {
          while (!done) {
            const words = await read(window, ['edge', 'path'])
            assert.equal(words?.length, 12)
            assert.equal(new Set(words.map(([letter]) => letter)).size, 1, `${words}`)
          }
        })()
        for (const word of ['c', 'd', 'e']) await store.saveAnalysis(load(window, word))
        // Two at the same time: one of them wins.
        await Promise.all(['f', 'g'].map(word => store.saveAnalysis(load(window, word))))
        done = true
        await reading
        assert.match((await read(window, ['edge'], 7n))![0]!, /^[fg] edge 7 0$/)
        assert.deepEqual(wordsOf((await store.readAnalysis({ ...earlier, kinds: ['edge'], root: 7n }))!.bodies), [
          'a edge 7 0',
          'a edge 7 1',
        ])
      })

      it('are deleted', async () => {
        assert.equal(await store.deleteAnalysis(earlier), true)
        assert.equal(await store.deleteAnalysis(earlier), false)
        assert.equal(await read(earlier, ['edge']), undefined)
        assert.equal((await read(window, ['edge']))!.length, 6)
        assert.equal((await store.analyses()).length, 1)
      })

      it('may be none', async () => {
        await store.saveAnalysis({ ...load(window, 'h'), pieces: [] })
        assert.deepEqual(await read(window, ['edge']), [])
      })
    })

    describe('what is kept after the fact', () => {
      const US = 1_800_000_000_000_000
      const service = unique('shop')
      const keep = (fields: Partial<Keep> = {}): Keep => ({
        ...{ kind: TRACE, id: randomId(), n: 0, reason: 'error', service, name: 'Shop.order', by: '', atUs: US },
        ...{ collector: 'front-1:2100', origin: -(2n ** 63n) },
        ...fields,
      })
      const bare = (keeps: StoredKeep[]) => keeps.map(({ seq, ...rest }) => rest)
      const range = { fromUs: US, toUs: US + 100, service, limit: 100 }
      const all = [
        keep(),
        keep({ reason: "a word's \0 é😀", name: '', by: 'ann', atUs: US + 1 }),
        keep({ reason: 'slow', atUs: US + 2 }),
        keep({ reason: 'slow', atUs: US + 3, name: 'Shop.list' }),
        keep({ reason: 'slow', atUs: US + 4 }),
        keep({ kind: OPERATION, id: 2n ** 64n - 1n, n: 255, reason: 'requested', atUs: US + 5 }),
        keep({ reason: 'too late', atUs: US + 101 }),
      ]
      const stored = all.map(one => ({ ...one, id: BigInt.asIntN(64, one.id) }))
      const newest = stored.slice(0, 6).reverse()

      it('is there in the order in which it was added, by time, reason, service and name, and by trace, after reopening too', async () => {
        await store.addKeeps(all.slice(0, 3))
        const [, second] = (await store.keepsAfter(0n, US)).filter(({ service: of }) => of === service)
        await store.addKeeps(all.slice(3))
        await store.addKeeps([])
        await reopen()
        const after = async (seq: bigint, fromUs: number) =>
          (await store.keepsAfter(seq, fromUs)).filter(({ service: of }) => of === service)
        assert.deepEqual(bare(await after(0n, US)), stored)
        assert.deepEqual(bare(await after(second!.seq, 0)), stored.slice(2))
        assert.deepEqual(bare(await after(0n, US + 4)), stored.slice(4))
        assert.deepEqual(bare(await store.keeps(range)), newest)
        assert.deepEqual(bare(await store.keeps({ ...range, limit: 2 })), newest.slice(0, 2))
        assert.deepEqual(bare(await store.keeps({ ...range, kind: OPERATION })), newest.slice(0, 1))
        assert.deepEqual(bare(await store.keeps({ ...range, reason: 'slow', name: 'Shop.list' })), [stored[3]])
        assert.deepEqual(bare(await store.keeps({ ...range, name: '' })), [stored[1]])
        assert.deepEqual(bare(await store.keepsOf(stored[2]!.id)), [stored[2]])
        // An operation's number is no trace's.
        assert.deepEqual(await store.keepsOf(-1n), [])
        const [long, name] = ['s', 'é'].map(letter => letter.repeat(MAX_NAME))
        await store.addKeeps([keep({ service: long!, name: name!, by: name! })])
        const [{ by } = { by: '' }] = await store.keeps({ ...range, service: long!, name: name! })
        assert.equal(by, name)
      })

      it('is counted by reason, service and name, each trace once', async () => {
        // Another collector has been told it as well.
        await store.addKeeps([{ ...all[2]!, atUs: US + 6, origin: 5n }])
        const found = await store.caught({ ...range, kind: TRACE })
        const row = (one: Keep, traces: number, firstUs: number, lastUs: number) => {
          return { reason: one.reason, service, name: one.name, traces, firstUs, lastUs }
        }
        assert.deepEqual(found, [
          row(all[2]!, 2, US + 2, US + 6),
          row(all[3]!, 1, US + 3, US + 3),
          row(all[1]!, 1, US + 1, US + 1),
          row(all[0]!, 1, US, US),
        ])
        assert.equal((await store.caught({ ...range, reason: 'slow', limit: 1 })).length, 1)
        assert.deepEqual(await store.caught({ ...range, service: unique('nobody') }), [])
      })

      it('names the processes that asked, by the hour, as they were first and last', async () => {
        const hour = 500_000 * 3_600_000_000
        const host = unique('host')
        const ring = (fields: Partial<Ring>): Ring => ({
          ...{ service, host, process: 7n, historyUs: hour - 50, seenUs: hour, ended: false, address: '10.0.0.1' },
          ...{ toldUs: hour - 5, madeUs: hour - 60, listening: ['10.0.0.1:80', '[::]:80'] },
          ...fields,
        })
        const last = { seenUs: hour + 9, toldUs: hour + 8, historyUs: hour - 20, ended: true, listening: ['[::1]:81'] }
        await store.saveRings([
          ring({}),
          ring({ process: -(2n ** 63n), service: 'other', address: host, listening: [] }),
        ])
        await store.saveRings([ring({ ...last, address: '' })])
        // Another collector knows less.
        await store.saveRings([ring({ seenUs: hour + 5, historyUs: hour - 40, ended: false })])
        await store.saveRings([ring({ seenUs: hour + 3_600_000_000, historyUs: hour + 1 })])
        await store.saveRings([])
        const of = { services: [service], hosts: [] as string[], places: [] as string[] }
        const first = { firstUs: hour, firstHistoryUs: hour - 50 }
        const second = { firstUs: hour + 3_600_000_000, firstHistoryUs: hour + 1 }
        const later = ring({ seenUs: hour + 3_600_000_000, historyUs: hour + 1 })
        assert.deepEqual(await store.rings({ fromUs: hour, toUs: hour + 1, of }), [{ ...ring(last), ...first }])
        assert.deepEqual(await store.rings({ fromUs: hour, toUs: hour + 3_600_000_000, of }), [
          { ...later, ...second },
          { ...ring(last), ...first },
        ])
        assert.deepEqual(await store.rings({ fromUs: hour - 2, toUs: hour - 1, of }), [])
        const names = { services: [], hosts: [host], places: [] }
        assert.equal((await store.rings({ fromUs: hour, toUs: hour, of: names })).length, 2)
        assert.deepEqual(await store.rings({ fromUs: hour, toUs: hour, of: { ...of, services: [] } }), [])
        const at = (...places: string[]) =>
          store.rings({ fromUs: hour, toUs: hour, of: { services: [], hosts: [], places } })
        assert.deepEqual(await at('[::1]:81', '10.0.0.1:80'), [{ ...ring(last), ...first }])
        assert.deepEqual(await at('[::1]:8', '::1]:81', '10.0.0.1:80'), [])
        const hosts = (await store.rings({ fromUs: hour, toUs: hour })).filter(found => found.host === host)
        assert.equal(hosts.length, 2)
        const long = host + 'x'.repeat(MAX_NAME - host.length)
        await store.saveRings([ring({ process: 8n, service: long, host: long, address: long })])
        const [named] = await store.rings({ fromUs: hour, toUs: hour, of: { ...of, services: [long] } })
        assert.deepEqual([named!.host, named!.address], [long, long])
      })

      it('shows in lists why a trace was kept', async () => {
        const traceId = randomId()
        const name = unique('kept')
        const half = (reason: string | undefined, id: bigint) =>
          span({ traceId, id, name, probability: 0, ...(reason && { tags: { 'milo.keep': reason } }) })
        await append(
          store,
          half('asked', 1n),
          half('error', 2n),
          half('slow', 3n),
          half(undefined, 4n),
          half('slow', 5n),
        )
        await soon(async () => {
          const [trace] = await searchAll(store, { name })
          assert.deepEqual(trace?.kept, ['error', 'slow'])
          sameIds(await found(store, { name, annotations: [tag('milo.keep', 'error')] }), [traceId])
        })
      })
    })

    describe('what is indexed', () => {
      after(() => reopen())

      it('leaves keys out that are denied, or not among the allowed, and says so to who searches for them', async () => {
        for (const index of [{ deny: ['secret'] }, { allow: ['open', 'error'] }] satisfies IndexSettings[]) {
          await reopen(index)
          const name = unique('policy')
          const word = unique('v')
          const record = span({ name, tags: { secret: word, open: word } })
          const hidden = span({ name, tags: { secret: `${word}x`, error: 'x' } })
          await append(store, record, hidden)
          await soon(async () => {
            assert.deepEqual(await found(store, { annotations: [tag('open', word)] }), [record.traceId])
            assert.deepEqual(await found(store, { name, annotations: [tag('secret', word)] }), [record.traceId])
            assert.deepEqual(await found(store, { name, annotations: [tag('secret')], error: true }), [hidden.traceId])
            assert.deepEqual(await found(store, { annotations: [tag(undefined, word, 'prefix')] }), [record.traceId])
          })
          for (const annotations of [[tag('secret')], [tag('secret', word), tag('secret', 'w', 'contains')]]) {
            const refused = { code: 'MILO_NOT_INDEXED', message: /secret.*index\./ }
            await assert.rejects(store.search({ annotations, limit: 10 }), refused)
          }
          const where = { kind: 'number', key: 'secret', compare: '>', number: 1 } as const
          const refused = { code: 'MILO_NOT_INDEXED', message: /secret.*index\./ }
          await assert.rejects(store.search({ annotations: [], where, limit: 10 }), refused)
          // What isn't so, or is beside something else, is decided by the records.
          const not = { kind: 'not', of: { kind: 'annotation', ...tag('secret', word) } } as const
          assert.deepEqual(await found(store, { name, annotations: [], where: not }), [hidden.traceId])
          // The records are whole.
          assert.deepEqual(structs(await store.readTrace(hidden.traceId)), structs([hidden]))
        }
      })

      it('takes other settings while it runs: for what comes from then on, and for searches at once', async () => {
        await reopen({ deny: ['secret'] })
        const name = unique('policy')
        const word = unique('v')
        const older = span({ name, tags: { secret: word, open: word, long: `${word} and more` } })
        const younger = span({ ...older, traceId: randomId() })
        const by = (key: string, value = word, match: Match = 'exact') =>
          found(store, { annotations: [tag(key, value, match)] })
        const refused = { code: 'MILO_NOT_INDEXED' }
        await append(store, older)
        await soon(async () => assert.deepEqual(await by('open'), [older.traceId]))
        await assert.rejects(by('secret'), refused)

        store.setIndex({ deny: ['open'], value_length: word.length })
        await assert.rejects(by('open'), refused)
        assert.deepEqual(await found(store, { name, annotations: [tag('open', word)] }), [older.traceId])
        assert.deepEqual(await by('secret'), [])
        await append(store, younger)
        await soon(async () => assert.deepEqual(await by('secret'), [younger.traceId]))
        sameIds(await by('long', word, 'prefix'), [older.traceId, younger.traceId])
        assert.deepEqual(await by('long', `${word} and more`), [younger.traceId])
        await assert.rejects(by('open'), refused)
        sameIds(await found(store, { name }), [older.traceId, younger.traceId])

        store.setIndex({})
        assert.deepEqual(await by('open'), [older.traceId])
        assert.deepEqual(await by('secret'), [younger.traceId])
      })

      it('cuts long values, and yet is exact about them', async () => {
        await reopen({ value_length: 20 })
        const [key, start] = [unique('key'), unique('v').slice(0, 18)]
        const values = [`${start}ab`, `${start}abc`, `${start}abd`, start, `${start}x`, `${start}😀b`]
        const records = values.map(value => span({ tags: { [key]: value } }))
        await append(store, ...records)
        const ids = (matches: (value: string) => boolean) =>
          records.filter((_, i) => matches(values[i]!)).map(({ traceId }) => traceId)
        const search = (text: string, match: Match) => found(store, { annotations: [tag(key, text, match)] })
        await soon(async () =>
          sameIds(
            await found(store, { annotations: [tag(key)] }),
            ids(() => true),
          ),
        )
        for (const text of [...values, `${start}abcd`]) {
          sameIds(
            await search(text, 'exact'),
            ids(v => v === text),
          )
          sameIds(
            await search(text, 'prefix'),
            ids(v => v.startsWith(text)),
          )
        }
        sameIds(
          await search(start.slice(3), 'contains'),
          ids(() => true),
        )
        const large = span({ tags: { [key]: `1${'0'.repeat(24)}` } })
        await append(store, large, span({ tags: { [key]: '1'.repeat(20) } }))
        const where = { kind: 'number', key, compare: '>=', number: 1e24 } as const
        await soon(async () => assert.deepEqual(await found(store, { annotations: [], where }), [large.traceId]))
        // Words that are cut can't be completed: they would find nothing.
        assert.deepEqual(await store.complete({ field: 'value', key, prefix: start, limit: 10 }), [start, `${start}x`])
      })
    })
  })
}
