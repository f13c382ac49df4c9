import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { MySql } from '../../collector/src/store/cassandra-mysql/mysql'
import { BLOCK_PLACES, blocksOf } from '../../collector/src/store/cassandra-mysql/mysql-blocks'
import { countOf, ListWalk, placesOfValues, readList } from '../../collector/src/store/cassandra-mysql/mysql-list'
import { durationHex, ordered } from '../../collector/src/store/cassandra-mysql/mysql-terms'
import { migrate } from '../../collector/src/store/open'
import { comparePlaces, I64_MAX, I64_MIN, type Place } from '../../collector/src/store/search/place'
import { type Databases, newDatabases } from './databases'

/** A place as it is written: the longest duration is in its tail. */
interface Written extends Place {
  durationUs: number
}

const DAY = 20_000

describe("lists of places in MySQL's index", () => {
  let databases: Databases
  let mysql: MySql

  before(async function () {
    this.timeout(300_000)
    databases = await newDatabases()
    await migrate(databases.config)
    mysql = new MySql(databases.config.mysql)
  })
  after(async () => {
    await mysql?.close()
    await databases?.drop()
  })

  /** Writes what is settled together, of a new term. @param kind the first byte of the term */
  async function write(groups: Written[][], kind = '01', tailOf = (at: Written) => durationHex(at.durationUs)) {
    const term = kind + randomBytes(6).toString('hex')
    const hexOf = (at: Written) => ordered(at.startUs) + ordered(at.traceId) + tailOf(at)
    const rows = groups.flatMap(group => {
      const sorted = [...new Set(group.map(hexOf))].sort().reverse()
      const blocks = [...blocksOf(Buffer.from(sorted.join(''), 'hex'), (sorted[0]?.length ?? 0) / 2)]
      return blocks.map(({ place, older }) => `(x'${term}',x'${place}',${DAY},x'${older}')`)
    })
    if (rows.length > 0) await mysql.write(`INSERT IGNORE INTO post (term, place, day, older) VALUES ${rows}`)
    return term
  }

  const distinct = (places: Place[]) => {
    const sorted = [...places].sort((a, b) => comparePlaces(b, a))
    return sorted
      .filter((place, i) => i === 0 || comparePlaces(place, sorted[i - 1]!) !== 0)
      .map(({ startUs, traceId }) => ({ startUs, traceId }))
  }

  const startUs = fc.oneof(
    { weight: 9, arbitrary: fc.bigInt(-(2n ** 21n), 2n ** 21n) },
    { weight: 1, arbitrary: fc.constantFrom(I64_MIN, I64_MAX, 2n ** 20n, 2n ** 20n - 1n) },
  )
  const written = fc.record({ startUs, traceId: fc.bigInt(-3n, 3n), durationUs: fc.integer({ min: -1, max: 9 }) })
  const groups = fc.array(fc.array(written, { maxLength: 8 }), { maxLength: 40 })

  it('are the same whatever was settled together, in steps and pages of any size, in any range, by any duration', async () => {
    const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined })
    const property = fc.asyncProperty(
      groups,
      fc.record({ fromUs: maybe(startUs), toUs: maybe(startUs) }),
      fc.constantFrom(-1, -1, 0, 5),
      fc.array(fc.record({ size: fc.integer({ min: 1, max: 9 }), isNewPage: fc.boolean() }), { minLength: 1 }),
      async (groups, range, minDurationUs, steps) => {
        const list = { term: await write(groups), minDurationUs }
        const { fromUs = I64_MIN, toUs = I64_MAX } = range
        const expected = groups
          .flat()
          .filter(at => at.startUs >= fromUs && at.startUs <= toUs && at.durationUs >= minDurationUs)
        const read: Place[] = []
        let walk = new ListWalk(mysql, list, range, undefined)
        for (let i = 0; ; i++) {
          const { size, isNewPage } = steps[i % steps.length]!
          const { places, resume } = await walk.next(size)
          assert.ok(places.length <= size)
          read.push(...places)
          if (resume === undefined) break
          if (isNewPage) walk = new ListWalk(mysql, list, range, resume)
        }
        assert.deepEqual(
          read,
          [...read].sort((a, b) => comparePlaces(b, a)),
        )
        assert.deepEqual(distinct(read), distinct(expected))
      },
    )
    await fc.assert(property, { numRuns: 60 })
  })

  it('are counted, read at once, and shown by the view, place by place', async () => {
    const property = fc.asyncProperty(groups, fc.boolean(), async (groups, isValue) => {
      const spanTail = ({ durationUs }: Written) => `${ordered(BigInt(durationUs))}01aabbccddeeff`
      const term = isValue ? await write(groups, '1a', spanTail) : await write(groups)
      const all = distinct(groups.flat())
      const count = await countOf(mysql, { term, minDurationUs: -1 })
      assert.ok(count >= all.length && count <= groups.flat().length)
      const read = isValue
        ? await placesOfValues(mysql, DAY, [term], count)
        : await readList(mysql, { term, minDurationUs: -1 })
      assert.equal(read?.length, count)
      assert.deepEqual(distinct(read), all)
      if (count > 0) assert.equal(await placesOfValues(mysql, DAY, [term], count - 1), undefined)
      const rows = await mysql.read(
        `SELECT start_us, trace_id, duration_us, span_id, HEX(name_term) FROM places WHERE term = x'${term}' AND day = ${DAY}`,
      )
      const shown = rows.map(([start, trace, us, spanId, name]) => [start, trace, us ?? null, spanId, name].join())
      const expected = groups.flat().map(({ startUs, traceId, durationUs }) => {
        const spanId = BigInt.asIntN(64, BigInt(durationUs) + 2n ** 63n)
        return [startUs, traceId, ...(isValue ? [null, spanId, '01AABBCCDDEEFF'] : [durationUs, null, ''])].join()
      })
      assert.deepEqual(new Set(shown), new Set(expected))
      assert.equal(shown.length, count)
    })
    await fc.assert(property, { numRuns: 30 })
  })

  it('begin with their newest place although other rows of its window have older and newer ones', async () => {
    // Several collectors settle the same second in turns.
    const place = (i: number): Written => ({ startUs: BigInt(i), traceId: BigInt(i), durationUs: i % 50 })
    const all = Array.from({ length: 4 * BLOCK_PLACES }, (_, i) => place(i))
    const term = await write([0, 1, 2, 3].map(n => all.filter((_, i) => i % 4 === n)))
    for (const minDurationUs of [-1, 49]) {
      const walk = new ListWalk(mysql, { term, minDurationUs }, { fromUs: undefined, toUs: 500n }, undefined)
      const { places, resume } = await walk.next(3)
      const expected = minDurationUs === -1 ? [500n, 499n, 498n] : [499n, 449n, 399n]
      assert.deepEqual(
        places.map(({ startUs }) => startUs),
        expected,
      )
      const after = new ListWalk(mysql, { term, minDurationUs }, { fromUs: undefined, toUs: undefined }, resume)
      assert.equal((await after.next(1)).places[0]!.startUs, expected[2]! - (minDurationUs === -1 ? 1n : 50n))
    }
  })
})
