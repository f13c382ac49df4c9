import assert from 'node:assert/strict'
import { parse, withTimes } from '../../../collector/src/query'
import { isError, recordStartUs } from '../../../collector/src/record/half'
import { holds, holdsNumber, isHalf } from '../../../collector/src/store/search/match'
import { comparePlaces, type Place } from '../../../collector/src/store/search/place'
import { each, search } from '../../../collector/src/store/search/search'
import type { IndexQuery, Places, SpanIndex, Term } from '../../../collector/src/store/search/span-index'
import type { SearchPage } from '../../../collector/src/store/store'
import { encodeRecord, type SpanRecord } from '../../../src/codec/span'
import { bruteForce } from '../../contract/search-by-hand'
import { dice } from './activity/dice'

type Record = SpanRecord & { traceId: bigint; id: bigint }

function span(traceId: number, id: number, us: number, tags: { [key: string]: string }, parentId?: number): Record {
  return {
    traceId: BigInt(traceId),
    id: BigInt(id),
    ...(parentId !== undefined && { parentId: BigInt(parentId) }),
    service: `s${id}`,
    events: [{ timestamp: BigInt(us), eventType: 3 }],
    annotations: new Map(Object.entries(tags)),
  }
}

function hasTerm(record: SpanRecord, term: Term): boolean {
  switch (term.kind) {
    case 'half':
      return isHalf(record, term)
    case 'error':
      return isError(record)
    case 'key':
      return record.annotations!.has(term.key)
    case 'value':
      return holds(record, term)
    case 'number':
      return holdsNumber(record, term)
  }
}

function groupBy<T>(items: T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const group = groups.get(key(item))
    if (group === undefined) groups.set(key(item), [item])
    else group.push(item)
  }
  return groups
}

/** An index of a list of records, which may omit what a store's index may. */
class ListIndex implements SpanIndex {
  readonly windowBits: number
  private readonly records: Record[]
  /** The records of each span or, in windows, of each trace. */
  private readonly together: Map<string, Record[]>
  private readonly keyOf: (record: Record) => string
  /** Whether the index omits records that lack a query's other terms: a store's does so when that is cheap. */
  private readonly sieves: () => boolean
  asked: IndexQuery[] = []

  constructor(records: Record[], sieves: () => boolean, windowBits = 0) {
    this.records = records
    this.keyOf = ({ traceId, id }) => (windowBits === 0 ? `${traceId} ${id}` : String(traceId))
    this.together = groupBy(records, this.keyOf)
    this.sieves = sieves
    this.windowBits = windowBits
  }

  async count(term: Term, max: number): Promise<number> {
    return Math.min(max, this.records.filter(record => hasTerm(record, term)).length)
  }

  async places(query: IndexQuery, after: Place | undefined, max: number): Promise<Places> {
    const { driver, others, fromUs = -(2n ** 63n), toUs = 2n ** 63n } = query
    this.asked.push(query)
    const isSieved = this.sieves()
    const newest = new Map<string, Place>()
    for (const record of this.records) {
      const startUs = recordStartUs(record)!
      if (!hasTerm(record, driver) || startUs < fromUs || startUs > toUs) continue
      if (isSieved && !others.every(term => this.together.get(this.keyOf(record))!.some(half => hasTerm(half, term))))
        continue
      const place = { startUs, traceId: record.traceId }
      const window = `${record.traceId} ${startUs >> BigInt(this.windowBits)}`
      const before = newest.get(window)
      if (before === undefined || comparePlaces(place, before) > 0) newest.set(window, place)
    }
    const left = [...newest.values()]
      .filter(place => after === undefined || comparePlaces(place, after) < 0)
      .sort((a, b) => comparePlaces(b, a))
    const places = left.slice(0, max)
    return { places, resume: left.length > max ? places.at(-1) : undefined }
  }
}

/** Every trace that a query finds, page by page. */
async function pages(index: SpanIndex, records: Record[], q: string, limit: number) {
  const { query, problems } = parse(q)
  assert.deepEqual(problems, [], q)
  const timed = withTimes(query, 0)
  const traces = groupBy(records, ({ traceId }) => String(traceId))
  const readTrace = async (traceId: bigint) => {
    const own = traces.get(String(traceId))!
    return { bytes: Buffer.concat(own.map(encodeRecord)), truncated: false }
  }
  const found: bigint[] = []
  const read: SearchPage[] = []
  let after: string | undefined
  do {
    const page: SearchPage = await search(
      { index, readTraces: each(readTrace) },
      { ...timed, limit, ...(after && { after }) },
    )
    assert.ok(page.traces.length <= limit)
    found.push(...page.traces.map(({ traceId }) => BigInt(`0x${traceId}`)))
    read.push(page)
    after = page.next
  } while (after !== undefined)
  const expected = [...bruteForce(records, timed)].sort((a, b) => Number(a - b))
  return { found, expected, pages: read }
}

function sameTraces(found: bigint[], expected: bigint[], message: string): void {
  assert.deepEqual(
    [...found].sort((a, b) => Number(a - b)),
    expected,
    message,
  )
}

describe('pages of a search', () => {
  const roll = dice(7)
  const between = (from: number, to: number) => from + Math.floor(roll() * (to - from))
  const START_US = 2 ** 40
  // More traces than a cursor remembers, over some ten windows; spans of a trace are up to three windows apart.
  const records = Array.from({ length: 1_200 }, (_, trace) => {
    const startUs = START_US + between(0, 10_000_000)
    return Array.from({ length: between(1, 5) }, (_, i) => {
      const tags: { [key: string]: string } = { user: String(between(1, 4)), n: String(between(0, 8)) }
      if (roll() < 0.4) tags.error = 'x'
      return span(trace + 1, i + 1, startUs + between(0, 3_000_000), tags, i > 0 ? between(0, i + 1) : undefined)
    })
  }).flat()

  for (const windowBits of [0, 20]) {
    for (const q of [
      'user=1 error',
      '(user=1 error) OR user=2 n>5 OR service:s4',
      'user=1 error OR NOT user=2',
      'NOT user=3 > n>=1',
      '(user=1 OR n>=2) >> NOT n=7 from:0',
      `(user=1 OR n<5) error from:${START_US + 1_000_000} to:${START_US + 9_000_000}`,
    ]) {
      it(`have each trace once by ${q}, whatever the index omits, in windows of 2^${windowBits} µs`, async () => {
        const index = new ListIndex(records, () => roll() < 0.5, windowBits)
        const { found, expected } = await pages(index, records, q, 50)
        assert.ok(expected.length > 320, `${expected.length} traces`)
        sameTraces(found, expected, q)
      })
    }
  }

  it('show a trace by its matching span, if another one with the same term was passed over 300 traces before', async () => {
    const others = Array.from({ length: 350 }, (_, i) => span(i + 1, 1, 2_000 + i, { user: '1', error: 'x' }))
    const late = [span(1_000, 1, 9_000, { user: '1' }), span(1_000, 2, 1_000, { user: '1', error: 'x' })]
    for (const sieves of [() => true, () => false]) {
      const { found, expected } = await pages(
        new ListIndex([...others, ...late], sieves),
        [...others, ...late],
        'user=1 error',
        50,
      )
      assert.equal(found.at(-1), 1_000n)
      sameTraces(found, expected, 'user=1 error')
    }
  })

  it('are in order of the newest matching spans of all alternatives', async () => {
    const mixed = [
      span(1, 1, 400, { a: '1' }),
      span(2, 1, 300, { b: '1' }),
      span(3, 1, 200, { a: '1' }),
      span(4, 1, 100, { b: '1' }),
    ]
    const { found, pages: read } = await pages(new ListIndex(mixed, () => true), mixed, 'a=1 OR b=1', 1)
    assert.deepEqual(found, [1n, 2n, 3n, 4n])
    assert.equal(read.length, 4)
  })

  it('drive by the rarest term of each alternative, and by the rarest span of a chain', async () => {
    const some = [
      ...Array.from({ length: 20 }, (_, i) => span(i + 1, 1, 1_000 + i, { user: String(i), common: 'x' })),
      span(1, 2, 1_500, { common: 'x', rare: 'y' }, 1),
    ]
    const driversOf = async (q: string) => {
      const index = new ListIndex(some, () => true)
      const { found, expected, pages: read } = await pages(index, some, q, 50)
      sameTraces(found, expected, q)
      return [index.asked.map(({ driver }) => ('key' in driver ? driver.key : driver.kind)), read[0]!.cost]
    }
    assert.deepEqual(await driversOf('common=x user=3'), [['user'], 'index'])
    assert.deepEqual(await driversOf('(user=3 OR rare=y) common=x'), [['user', 'rare'], 'index'])
    assert.deepEqual(await driversOf('common=x > rare=y'), [['rare'], 'index'])
    assert.deepEqual(await driversOf('user=0 > common=x'), [['user'], 'index'])
    assert.deepEqual(await driversOf('user=0 > NOT key:user'), [['user'], 'index'])
    // Whatever the others are, all is read for the one: it finds them as well.
    assert.deepEqual(await driversOf('user=3 OR NOT key:user'), [['half'], 'all'])
    assert.deepEqual(await driversOf('NOT error'), [['half'], 'all'])
    assert.deepEqual(await driversOf(''), [['half'], 'index'])
    assert.deepEqual(await driversOf('from:0'), [['half'], 'index'])
  })

  it('tell how many traces were read, and refuse to go on after what they never said', async () => {
    const some = Array.from({ length: 30 }, (_, i) => span(i + 1, 1, 1_000 + i, { user: String(i % 2) }))
    const { pages: read } = await pages(new ListIndex(some, () => false), some, 'key:user NOT user=1', 100)
    assert.deepEqual([read[0]!.read, read[0]!.traces.length], [30, 15])
    const index = new ListIndex(some, () => false)
    const readTrace = async () => ({ bytes: Buffer.alloc(0), truncated: false })
    const { query } = parse('user=1 OR user=2')
    for (const after of ['', 'AA', Buffer.alloc(18, 9).toString('base64url'), Buffer.alloc(19).toString('base64url')]) {
      await assert.rejects(search({ index, readTraces: each(readTrace) }, { ...query, limit: 1, after } as never), {
        code: 'MILO_BAD_CURSOR',
      })
    }
  })
})
