import assert from 'node:assert/strict'
import fc from 'fast-check'
import { pagesByTurns, partsOf, type Search } from '../../../collector/src/api/survey/parts'
import { roundStep } from '../../../collector/src/api/survey/steps'
import { type Survey, surveyOf } from '../../../collector/src/api/survey/survey'
import {
  callsOf,
  matchingOf,
  quantileOf,
  sampleOf,
  storedOf,
  typicalWeight,
} from '../../../collector/src/api/survey/totals'
import type { Estimate } from '../../../collector/src/store/activity/estimates'
import type { TraceSummary } from '../../../collector/src/trace'
import { Turns } from '../../../collector/src/turns'
import { dice } from '../store/activity/dice'

const MINUTE = 60e6
const FROM = 28_333_333 * MINUTE
const TO = FROM + 48 * MINUTE - 1

interface Load {
  start: number
  duration: number
  /** When its spans begin that match. */
  matches: number[]
  p: number | null
  failed?: boolean
}

/** A store's search over some traces: each is listed by its newest match in the time range. */
function searchOf(loads: Load[]): { search: Search; asked: () => number } {
  const all = loads.map((load, i) => ({ ...load, id: String(i).padStart(16, '0') }))
  const byMinute = new Map<number, Set<(typeof all)[number]>>()
  for (const load of all) {
    for (const us of load.matches) {
      const minute = Math.floor(us / MINUTE)
      const those = byMinute.get(minute)
      if (those === undefined) byMinute.set(minute, new Set([load]))
      else those.add(load)
    }
  }
  let asked = 0
  const search: Search = async ({ fromUs = 0, toUs = Infinity, limit, after }) => {
    asked++
    const minute = Math.floor(fromUs / MINUTE)
    const some = minute === Math.floor(toUs / MINUTE) ? [...(byMinute.get(minute) ?? [])] : all
    const places = some
      .map(load => ({ load, within: load.matches.filter(us => us >= fromUs && us <= toUs) }))
      .filter(({ within }) => within.length > 0)
      .map(({ load, within }) => ({ load, place: Math.max(...within), matchedUs: Math.min(...within) }))
      .sort((a, b) => b.place - a.place || (a.load.id < b.load.id ? 1 : -1))
    const from = after === undefined ? 0 : Number(after)
    const page = places.slice(from, from + limit)
    const summaries = page.map(({ load }) => {
      const { id: traceId, start, duration, p: probability, failed: error = false } = load
      return { traceId, start, duration, probability, error } as TraceSummary
    })
    const more = places.length > from + limit
    return {
      traces: summaries,
      matchedUs: page.map(({ matchedUs }) => matchedUs),
      read: page.length,
      cost: 'index',
      ...(more && { next: String(from + limit), reachedUs: page.at(-1)!.place }),
    }
  }
  return { search, asked: () => asked }
}

function survey(loads: Load[], { step = MINUTE, sample = 300 } = {}): Promise<Survey> {
  const query = { annotations: [], fromUs: FROM, toUs: TO }
  return surveyOf(searchOf(loads).search, query, { step, sample, deadlineMs: Infinity, turns: new Turns() })
}

/** Traces of one span each that come independently. */
function poisson(roll: () => number, count: number, p: number, failedShare = 0): Load[] {
  return Array.from({ length: count }, () => {
    const start = FROM + Math.floor(roll() * (TO - FROM))
    return { start, duration: 1_000, matches: [start], p, failed: roll() < failedShare }
  })
}

const covers = ({ low, high }: Estimate, truth: number) => low <= truth && truth <= high
const bucketOf = ({ start }: { start: number }) => Math.floor((start - FROM) / MINUTE)

describe('a survey of a search', () => {
  it('has every trace where it belongs, exactly, when there are few', async () => {
    const loads = fc.array(fc.record({ at: fc.nat(TO - FROM), duration: fc.nat(1e6), failed: fc.boolean() }), {
      maxLength: 300,
    })
    await fc.assert(
      fc.asyncProperty(loads, fc.constantFrom(50, 1000), async (some, sample) => {
        const all = some.map(({ at, ...load }) => ({ ...load, start: FROM + at, matches: [FROM + at], p: 1 }))
        const { buckets, read, complete, clumping } = await survey(all, { sample })
        if (!complete) return
        assert.equal(read, all.length)
        for (const [i, bucket] of buckets.entries()) {
          const own = all.filter(load => bucketOf(load) === i)
          const exactly = (value: number) => ({ value, low: value, high: value })
          assert.deepEqual(storedOf([bucket], clumping), exactly(own.length))
          assert.deepEqual(callsOf([bucket], clumping, 1), exactly(own.length))
          const failed = own.filter(({ failed }) => failed).length
          assert.deepEqual(
            callsOf([bucket], clumping, 1, ({ error }) => error),
            exactly(failed),
          )
          const sorted = own.map(({ duration }) => duration).sort((a, b) => a - b)
          for (const q of [0.5, 0.95]) {
            assert.equal(quantileOf([bucket], q), sorted[Math.max(0, Math.ceil(q * sorted.length - 1e-9) - 1)] ?? null)
          }
        }
      }),
      { numRuns: 50 },
    )
  })

  it('asks once when there are few traces', async () => {
    const { search, asked } = searchOf(poisson(dice(1), 90, 1))
    const query = { annotations: [], fromUs: FROM, toUs: TO }
    await surveyOf(search, query, { step: MINUTE, sample: 300, deadlineMs: Infinity, turns: new Turns() })
    assert.equal(asked(), 1)
  })

  for (const p of [1, 0.1, 0.01]) {
    it(`says how many there are and were, if ${p} of them are kept, within its intervals`, async () => {
      let [matching, calls, errors, stored, buckets] = [0, 0, 0, 0, 0]
      let [sumOfCalls, truth] = [0, 0]
      const runs = 20
      for (let run = 0; run < runs; run++) {
        const roll = dice(1000 * run + 7)
        const all = poisson(roll, 100_000 * Math.min(1, 0.02 / p), p, 0.1)
        const kept = all.filter(() => roll() < p)
        const found = await survey(kept)
        assert.ok(!found.complete && found.read <= 360, `${found.read} read`)
        if (covers(matchingOf(found), kept.length)) matching++
        const typical = typicalWeight(found)
        const per = (loads: Load[]) => {
          const counts = Array(48).fill(0)
          for (const load of loads) counts[bucketOf(load)]++
          return counts
        }
        const [ofAll, ofKept, ofFailed] = [all, kept, all.filter(({ failed }) => failed)].map(per)
        for (const [i, bucket] of found.buckets.entries()) {
          buckets++
          const estimate = callsOf([bucket], found.clumping, typical)
          if (covers(estimate, ofAll![i])) calls++
          if (covers(storedOf([bucket], found.clumping), ofKept![i])) stored++
          if (
            covers(
              callsOf([bucket], found.clumping, typical, ({ error }) => error),
              ofFailed![i],
            )
          )
            errors++
          sumOfCalls += estimate.value
          truth += ofAll![i]
        }
      }
      const shares = [matching / runs, stored / buckets, calls / buckets, errors / buckets]
      for (const share of shares) assert.ok(share >= 0.9, `covered: ${shares}`)
      assert.ok(Math.abs(sumOfCalls / truth - 1) < 0.03, `${sumOfCalls} of ${truth}`)
    })
  }

  it('reads on where traces stand for nothing, and so is as certain of the others', async () => {
    const roll = dice(9)
    const sampled = poisson(roll, 10_000, 0.1)
    const without = await survey(sampled)
    for (const more of [1, 3]) {
      const found = await survey([...sampled, ...poisson(roll, more * 10_000, 0)])
      assert.ok(found.read <= 660, `${found.read} read`)
      const counting = (of: Survey) =>
        of.buckets.flatMap(({ found }) => found).filter(({ trace }) => trace.probability !== 0).length
      // Of four traces of which three are kept, twice as many aren't enough.
      const least = more === 1 ? 0.9 : 0.4
      assert.ok(counting(found) >= least * counting(without), `${counting(found)} of ${counting(without)}`)
    }
  })

  it('counts long traces once, and no more often than they are', async () => {
    const [roll, runs] = [dice(3), 8]
    let [sum, truth, long, sampled] = [0, 0, 0, 0]
    for (let run = 0; run < runs; run++) {
      // One of fifty takes 20 s and has a span every 20 ms: at any moment, most of the traces at work are such.
      const loads = poisson(roll, 20_000, 1).map((load, i): Load => {
        if (i % 50 !== 0) return load
        const matches = Array.from({ length: 1000 }, (_, n) => load.start + n * 20_000)
        return { ...load, duration: 20e6, matches }
      })
      const found = await survey(loads)
      sum += matchingOf(found).value
      truth += loads.length
      for (const { duration } of sampleOf(found, 300)) {
        sampled++
        if (duration! > 1e6) long++
      }
    }
    assert.ok(Math.abs(sum / truth - 1) < 0.1, `${sum} of ${truth}`)
    assert.ok(long / sampled < 0.06, `${long} long ones of ${sampled}`)
  })

  it('is less certain of traces that come in clumps', async () => {
    const roll = dice(5)
    const clumps = poisson(roll, 1_000, 1).flatMap(load =>
      Array.from({ length: 10 }, (_, i) => ({ ...load, start: load.start + i, matches: [load.start + i] })),
    )
    const even = await survey(poisson(roll, 10_000, 1))
    const clumped = await survey(clumps.filter(({ start }) => start <= TO))
    assert.ok(even.clumping < 1.2, `${even.clumping}`)
    assert.ok(clumped.clumping > 1.5, `${clumped.clumping}`)
    const width = ({ low, high }: Estimate) => high - low
    assert.ok(width(matchingOf(clumped)) > 1.2 * width(matchingOf(even)))
  })

  it('finds out that traces are dense in a small part of a bucket, and rare before it', async () => {
    for (const seed of [21, 22, 23]) {
      const roll = dice(seed)
      // One trace long ago, and 3,000 in the last half minute of a range of two buckets.
      const loads: Load[] = Array.from({ length: 3000 }, () => {
        const start = TO - Math.floor(roll() * 30e6)
        return { start, duration: 1_000, matches: [start], p: 1 }
      })
      loads.push({ start: FROM, duration: 1_000, matches: [FROM], p: 1 })
      const found = await survey(loads, { step: 48 * MINUTE })
      const { value, low, high } = matchingOf(found)
      assert.ok(low <= 3001 && high >= 3001, `${low}–${high}`)
      assert.ok(value > 1500 && value < 6000, `${value}`)
      assert.equal(new Set(found.buckets.map(({ time }) => time)).size, 2)
    }
  })

  it('takes a forced trace for stored, and not for a call', async () => {
    const loads = poisson(dice(6), 20, 0).concat(poisson(dice(7), 10, 0.5), poisson(dice(8), 5, 1))
    const unknown = poisson(dice(9), 3, 1).map(load => ({ ...load, p: null }))
    const found = await survey([...loads, ...unknown])
    const sum = (of: (bucket: Survey['buckets'][number]) => Estimate) =>
      found.buckets.reduce((sum, bucket) => sum + of(bucket).value, 0)
    assert.equal(
      sum(bucket => storedOf([bucket], 1)),
      38,
    )
    assert.equal(
      sum(bucket => callsOf([bucket], 1, 1)),
      28,
    )
  })

  it('knows no upper limit where it had no time to look, and looks in all parts first', async () => {
    const { search } = searchOf(poisson(dice(10), 20_000, 1))
    const query = { annotations: [], fromUs: FROM, toUs: TO }
    const found = await surveyOf(search, query, { step: MINUTE, sample: 300, deadlineMs: -1, turns: new Turns() })
    const read = found.buckets.filter(({ found }) => found.length > 0)
    assert.equal(read.length, 1)
    assert.equal(matchingOf(found).high, Infinity)
    assert.ok(matchingOf(found).value > 1000)
    const unread = found.buckets.find(({ found }) => found.length === 0)!
    assert.deepEqual(storedOf([unread], 1), { value: 0, low: 0, high: Infinity })
    assert.deepEqual(callsOf([unread], 1, 1), { value: 0, low: 0, high: Infinity })
    let pages = 0
    const slow: Search = async asked => {
      pages++
      return search(asked)
    }
    const turns = new Turns(() => {
      if (pages === 13) throw new Error('gone')
    })
    await assert.rejects(surveyOf(slow, query, { step: MINUTE, sample: 300, deadlineMs: Infinity, turns }), /gone/)
    assert.equal(pages, 13)
  })

  it('shows what it has found where the search does not say how far it has come', async () => {
    const { search } = searchOf(poisson(dice(14), 5_000, 1))
    const silent: Search = async query => {
      const { reachedUs: _, ...page } = await search(query)
      return page
    }
    const query = { annotations: [], fromUs: FROM, toUs: TO }
    const found = await surveyOf(silent, query, { step: MINUTE, sample: 300, deadlineMs: Infinity, turns: new Turns() })
    assert.ok(sampleOf(found, 300).length > 250)
    const { low, high } = matchingOf(found)
    assert.deepEqual([low, high], [found.read, Infinity])
  })

  it('samples all parts of the range', async () => {
    const found = await survey(poisson(dice(11), 50_000, 1), { sample: 200 })
    const sample = sampleOf(found, 200)
    assert.ok(sample.length >= 140 && sample.length <= 200, `${sample.length}`)
    const quarters = [0, 0, 0, 0]
    for (const { start } of sample) quarters[Math.floor(((start! - FROM) * 4) / (TO + 1 - FROM))]!++
    for (const quarter of quarters) assert.ok(quarter > sample.length / 6, `${quarters}`)
    assert.deepEqual(
      sample.map(({ start }) => start),
      sample.map(({ start }) => start).sort((a, b) => a! - b!),
    )
    assert.equal(sampleOf(found, 10).length, 10)
  })

  it('has no p95 of a handful of traces, unless these are all', async () => {
    const few = await survey(poisson(dice(12), 20_000, 1))
    assert.ok(few.buckets.every(bucket => quantileOf([bucket], 0.5) === 1000 && quantileOf([bucket], 0.95) === null))
    const all = await survey(poisson(dice(13), 60, 1))
    assert.ok(all.buckets.some(bucket => quantileOf([bucket], 0.99) === 1000))
  })
})

describe('parts of a time range', () => {
  it('have every microsecond once, and as many as fit', () => {
    fc.assert(
      fc.property(
        fc.nat(1e6),
        fc.integer({ min: 1, max: 1e7 }),
        fc.integer({ min: 1, max: 9 }),
        (from, length, most) => {
          const parts = partsOf({ fromUs: from, toUs: from + length }, most, 100).reverse()
          assert.ok(parts.length <= most)
          assert.equal(parts[0]!.fromUs, from)
          assert.equal(parts.at(-1)!.toUs, from + length)
          for (const [i, { fromUs }] of parts.entries()) if (i > 0) assert.equal(fromUs, parts[i - 1]!.toUs + 1)
        },
      ),
    )
  })

  it('are read by turns, each to its end', async () => {
    const { search } = searchOf(poisson(dice(2), 500, 1))
    const parts = partsOf({ fromUs: FROM, toUs: TO }, 4, 1)
    const turns = new Turns()
    const order: number[] = []
    const ids = new Set<string>()
    for await (const { part, page } of pagesByTurns(search, { annotations: [] }, parts, () => 50, turns)) {
      order.push(parts.indexOf(part))
      for (const { traceId } of page.traces) ids.add(traceId)
    }
    assert.deepEqual(order.slice(0, 8), [0, 1, 2, 3, 0, 1, 2, 3])
    assert.equal(ids.size, 500)
  })
})

describe('the steps of an overview', () => {
  it('are round, and make 24 to 60 of a range', () => {
    assert.equal(roundStep({ fromUs: 0, toUs: 3600e6 }, 58), 120e6)
    assert.equal(roundStep({ fromUs: 0, toUs: 900e6 }, 58), 20e6)
    fc.assert(
      fc.property(fc.integer({ min: 60, max: 30 * 86_400 * 1e6 }), length => {
        const buckets = length / roundStep({ fromUs: 0, toUs: length }, 58)
        assert.ok(buckets <= 58 && buckets >= 23, `${buckets}`)
      }),
    )
  })
})
