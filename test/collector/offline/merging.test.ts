import assert from 'node:assert/strict'
import fc from 'fast-check'
import { ExactSums } from '../../../collector/src/offline/exact-sums'
import { FairMap } from '../../../collector/src/offline/fair-map'
import { encodeRecord, type SpanRecord } from '../../../src/codec/span'
import { generateTrace } from '../../helpers/generated-trace'
import { seeded } from '../../helpers/seeded'
import { record } from '../trace/arbitrary-records'
import { lineOf, merge, reduce } from './programs'

/** Puts a list into another order. */
function shuffled<V>(list: readonly V[], random: () => number): V[] {
  const copy = [...list]
  for (let i = copy.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[copy[i], copy[j]] = [copy[j]!, copy[i]!]
  }
  return copy
}

/** A weight that isn't a sum of powers of two, as adaptive sampling makes them, or a special one. */
const probability = fc.oneof(
  fc.double({ min: 1e-4, max: 1, noNaN: true }),
  fc.constantFrom(0, undefined, 1, 0.1, 1 / 3),
)

const traces = fc.array(
  fc.oneof(
    // As services report them, with clocks that are wrong, and some records lost.
    fc
      .record({
        spans: fc.integer({ min: 1, max: 30 }),
        skewUs: fc.constantFrom(0, 5e6),
        lost: fc.nat(8),
        p: probability,
      })
      .map(({ spans, skewUs, lost, p }) => (traceId: bigint) => {
        const records = generateTrace({ traceId, spans, startUs: 1_700_000_000_000_000, skewUs })
        const left = lost === 0 ? records : records.filter((_, i) => i % (lost + 1) !== 0)
        return (left.length === 0 ? records : left).map(({ probability: _, ...record }) => ({
          ...record,
          ...(p !== undefined && { probability: p }),
        }))
      }),
    // As nobody would write them.
    fc.array(record, { minLength: 1, maxLength: 12 }).map(list => (traceId: bigint) => {
      return list.map(record => ({ ...record, traceId }))
    }),
  ),
  { minLength: 1, maxLength: 8 },
)

describe('the results', () => {
  it('are the same to the last byte, however traces are divided among reducers, and in whichever order all comes', () => {
    fc.assert(
      fc.property(traces, fc.integer({ min: 1, max: 10 }), fc.integer(), (make, reducers, seed) => {
        const random = seeded(seed)
        const all: SpanRecord[][] = make.map((of, i) => of(BigInt(i + 1) * 0x123456789abcdefn))
        const maxSpans = 25
        const whole = merge(
          reduce(
            all.map(records => lineOf(records)),
            { maxSpans },
          ),
        )
        const parts: string[][] = Array.from({ length: reducers }, () => [])
        for (const records of shuffled(all, random)) {
          const lines: string[] = []
          // Some records come twice, and a trace in any number of lines.
          const again = records.filter(() => random() < 0.1)
          for (let left = shuffled([...records, ...again], random); left.length > 0; ) {
            lines.push(lineOf(left.splice(0, 1 + Math.floor(random() * left.length))))
          }
          parts[Math.floor(random() * reducers)]!.push(...lines)
        }
        const partials = parts.flatMap(lines => reduce(lines, { maxSpans }))
        const merged = merge(shuffled(partials, random))
        // How the input was divided into lines and copies is another thing.
        const comparable = ([window, ...results]: string[]) => {
          const { unsortedLines, repeatedRecords, cutRecords, records, ...rest } = JSON.parse(window!)
          return [rest, ...results]
        }
        assert.deepEqual(comparable(merged), comparable(whole))
      }),
      { numRuns: 60 },
    )
  })
})

describe('exact sums', () => {
  it('are the same in any order and in any parts, and within 2^-33 for each addend', () => {
    const addend = fc.oneof(
      fc.double({ min: 0, max: 1e12, noNaN: true }),
      fc.double({ min: 0, max: 10, noNaN: true }),
      fc.constantFrom(2 ** 20, 2 ** 20 - 2 ** -40, 2 ** 60, 0, 1 / 3),
    )
    fc.assert(
      fc.property(fc.array(addend, { maxLength: 50 }), fc.integer(), fc.nat(50), (addends, seed, cut) => {
        const sum = (list: number[]) => {
          const sums = new ExactSums()
          for (const addend of list) sums.add(7, addend)
          return sums
        }
        const whole = sum(addends)
        const other = shuffled(addends, seeded(seed))
        const parts = sum(other.slice(0, cut))
        parts.merge(ExactSums.read(JSON.parse(JSON.stringify(sum(other.slice(cut))))))
        assert.equal(parts.get(7), whole.get(7))
        assert.deepEqual(parts.toJSON(), whole.toJSON())
        // By integers of 2^-60, which hold every double from 2^-8 up.
        const exact = addends.reduce(
          (sum, n) => sum + BigInt(Math.floor(n)) * 2n ** 60n + BigInt(Math.floor((n % 1) * 2 ** 60)),
          0n,
        )
        const difference = Math.abs(whole.get(7) - Number(exact) / 2 ** 60)
        assert.ok(difference <= addends.length * 2 ** -33 + whole.get(7) * 2 ** -52, `${difference}`)
      }),
    )
  })

  it('refuse what they have not written', () => {
    for (const list of [
      {},
      [1],
      [1, 2],
      ['a', 0, 0],
      [0, 0.5, 0],
      [0, 0, 2 ** 20],
      [-1, 0, 0],
      [2 ** 16, 0, 0],
      [0, -1, 0],
    ]) {
      assert.throws(() => ExactSums.read(list), RangeError, JSON.stringify(list))
    }
  })
})

describe('a fair map', () => {
  interface Sum {
    sum: number
  }
  const fairMap = (bounds = { maxKeys: 12, maxGroups: 5 }) =>
    new FairMap<Sum>(
      bounds,
      () => ({ sum: 0 }),
      (to, from) => {
        to.sum += from.sum
      },
    )
  const entries = (map: FairMap<Sum>) => [...map.entries()].map(([group, key, { sum }]) => `${group} ${key} ${sum}`)
  const keys = (groups: number, perGroup: number) =>
    fc.array(fc.tuple(fc.nat(groups - 1), fc.nat(perGroup - 1)), { maxLength: 60 })

  const isTheSame = (pairs: [number, number][], seed: number, parts: number) => {
    const random = seeded(seed)
    const whole = fairMap()
    for (const [group, key] of pairs) whole.get(`g${group}`, `k${key}`).sum++
    const maps = Array.from({ length: parts }, () => fairMap())
    for (const [group, key] of shuffled(pairs, random)) {
      maps[Math.floor(random() * parts)]!.get(`g${group}`, `k${key}`).sum++
    }
    const merged = fairMap()
    for (const map of maps) {
      for (const [group, key, { sum }] of shuffled([...map.entries()], random)) {
        merged.lower(map.limit)
        merged.get(group, key).sum += sum
      }
    }
    assert.deepEqual(entries(merged), entries(whole))
    const named = [...whole.entries()].filter(([, key]) => key !== '(other)')
    assert.ok(named.length <= 12)
    assert.equal(
      [...whole.entries()].reduce((all, [, , { sum }]) => all + sum, 0),
      pairs.length,
    )
  }

  it('keeps the same names in any order and in any parts: with too many keys', () => {
    fc.assert(fc.property(keys(4, 20), fc.integer(), fc.integer({ min: 1, max: 4 }), isTheSame), { numRuns: 500 })
  })

  it('keeps the same names in any order and in any parts: with too many groups', () => {
    fc.assert(fc.property(keys(20, 2), fc.integer(), fc.integer({ min: 1, max: 4 }), isTheSame), { numRuns: 500 })
  })

  it('lets a group with endless keys push no other out', () => {
    const map = fairMap()
    for (const group of ['a', 'b']) for (const key of ['1', '2', '3']) map.get(group, key).sum++
    for (let i = 0; i < 5_000; i++) map.get('endless', `${i}`).sum++
    const named = entries(map)
    for (const group of ['a', 'b']) for (const key of ['1', '2', '3']) assert.ok(named.includes(`${group} ${key} 1`))
    assert.ok(named.length <= 13)
    assert.match(named.at(-1)!, /^endless /)
  })
})

it('reduce and merge read hostile records without an error', () => {
  fc.assert(
    fc.property(fc.array(record, { minLength: 1, maxLength: 20 }), list => {
      const records = list.map(record => ({ ...record, traceId: 5n }))
      const results = merge(reduce([lineOf(records)])).map(line => JSON.parse(line))
      assert.equal(results[0].records, records.length)
      assert.equal(results[0].brokenLines, 0)
      assert.ok(encodeRecord(records[0]!).length > 0)
    }),
    { numRuns: 200 },
  )
})
