import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { fieldLength, putField, readField } from '../../../plugins/thrift/carriers/field'
import { flush, init, type Sampler, shutdown, span, stats } from '../../../src'
import { ResultCode } from '../../../src/codec/scribe'
import { AdaptiveSampler, type OperationSampling } from '../../../src/trace/adaptive'
import { withProbability } from '../../../src/trace/sampler'
import type { LiveSpan, PluginSpan } from '../../../src/trace/span'
import { startServerSpan } from '../../../src/trace/tracer'
import { ScribePeer } from '../../helpers/scribe-peer'
import { seeded } from '../../helpers/seeded'
import { until } from '../../helpers/until'

/** An operation that is called at random times, so often per second; the rate may change with each second. */
interface Load {
  name: string | ((call: number) => string)
  rate: (second: number) => number
}

class Tally {
  calls = 0
  kept = 0
  /** Σ 1/p over the kept ones. */
  estimate = 0
  /** What the estimate's variance is, by the same traces. */
  variance = 0

  get error(): number {
    return this.estimate / this.calls - 1
  }
}

interface Simulation {
  loads: Load[]
  seconds: number
  seed: number
  target?: number
  operations?: Record<string, OperationSampling>
  /** The sampler's clock in ms, by the true one. */
  clock?: (ms: number) => number
  /** Is called at every tenth of a second. */
  every100Ms?: (sampler: AdaptiveSampler, second: number) => void
}

/** Runs a process on a clock and randomness of its own: what was kept in each second, and of each load. */
function simulate({ loads, seconds, seed, target = 10, operations, clock = ms => ms, every100Ms }: Simulation) {
  const times = seeded(seed)
  const coins = seeded(seed ^ 0x5bd1e995)
  let now = 0
  const sampler = new AdaptiveSampler({ tracesPerSecond: target, operations, now: () => clock(now * 1000) })
  const tallies = loads.map(() => new Tally())
  const perSecond = new Array<number>(seconds).fill(0)

  const following = ({ rate }: Load, after: number): number => {
    for (let from = after; from < seconds; from = Math.floor(from) + 1) {
      const gap = -Math.log(1 - times()) / rate(Math.floor(from))
      if (from + gap < Math.floor(from) + 1) return from + gap
    }
    return Number.POSITIVE_INFINITY
  }
  const next = loads.map(load => following(load, 0))
  let nextTenth = 0
  for (;;) {
    let i = 0
    for (let j = 1; j < next.length; j++) if (next[j]! < next[i]!) i = j
    if (next[i]! >= seconds) break
    for (; nextTenth <= next[i]!; nextTenth += 0.1) {
      now = nextTenth
      every100Ms?.(sampler, now)
    }
    now = next[i]!
    next[i] = following(loads[i]!, now)
    const tally = tallies[i]!
    const { name } = loads[i]!
    const p = sampler.sample(typeof name === 'string' ? name : name(tally.calls), coins())
    tally.calls++
    if (p === -1) continue
    assert.ok(p > 0 && p <= 1 && p === Math.fround(p), `${p}`)
    tally.kept++
    tally.estimate += 1 / p
    tally.variance += (1 - p) / p ** 2
    perSecond[Math.floor(now)]!++
  }
  return { sampler, tallies, perSecond }
}

const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0)
const mean = (numbers: number[]) => sum(numbers) / numbers.length
const constant = (name: Load['name'], rate: number): Load => ({ name, rate: () => rate })
const seeds = (n: number) => Array.from({ length: n }, (_, i) => (i + 1) * 7919)

/** How many standard deviations the estimates of all runs together are off: a true p gives less than 4. */
function deviation(tallies: Tally[]): number {
  return sum(tallies.map(t => t.estimate - t.calls)) / Math.sqrt(sum(tallies.map(t => t.variance)))
}

describe('the adaptive sampler', () => {
  describe('in the simulation of the design: 500, then 10,000, then 50 calls/s beside 20, 20, 5 and six times 0.05', () => {
    const loads: Load[] = [
      { name: 'busy', rate: second => (second < 60 ? 500 : second < 120 ? 10_000 : 50) },
      constant('20 a', 20),
      constant('20 b', 20),
      constant('5', 5),
      ...Array.from({ length: 6 }, (_, i) => constant(`rare ${i}`, 0.05)),
    ]
    let runs: ReturnType<typeof simulate>[]
    before(() => {
      runs = seeds(20).map(seed => simulate({ loads, seconds: 180, seed }))
    })
    const of = (load: number) => runs.map(run => run.tallies[load]!)

    it('keeps ten traces a second', () => {
      const kept = mean(runs.map(run => mean(run.perSecond)))
      assert.ok(kept > 9.5 && kept < 10.6, `${kept}`)
    })

    it('keeps no more than 40 in the worst second of an hour', () => {
      const worst = Math.max(...runs.flatMap(run => run.perSecond))
      assert.ok(worst <= 40, `${worst}`)
    })

    it('keeps every call of a rare operation while a busy one floods the process', () => {
      const rare = [4, 5, 6, 7, 8, 9].flatMap(of)
      const share = sum(rare.map(t => t.kept)) / sum(rare.map(t => t.calls))
      assert.ok(share >= 0.998, `${share}`)
    })

    it('lets each operation’s calls be counted by 1/p, without bias and as exactly as its share allows', () => {
      for (let load = 0; load < 4; load++)
        assert.ok(Math.abs(deviation(of(load))) < 4, `${load}: ${deviation(of(load))}`)
      const busy = mean(of(0).map(t => t.error))
      assert.ok(Math.abs(busy) < 0.04, `${busy}`)
      const rms = Math.sqrt(mean(of(3).map(t => t.error ** 2)))
      assert.ok(rms <= 0.04, `${rms}`)
    })
  })

  for (const target of [0.5, 100]) {
    it(`keeps ${target} a second when that is the target`, () => {
      const loads = [constant('busy', 2000), constant('other', 200), constant('rare', 0.01)]
      const runs = seeds(5).map(seed => simulate({ loads, seconds: 120, seed, target }))
      const kept = mean(runs.map(run => mean(run.perSecond.slice(5))))
      assert.ok(kept > 0.9 * target && kept < 1.1 * target, `${kept}`)
      const worst = Math.max(...runs.flatMap(run => run.perSecond))
      assert.ok(worst <= 2 * target + 5 * Math.sqrt(target) + 10, `${worst}`)
    })
  }

  it('keeps everything, with p = 1, when that is well below the target', () => {
    const { tallies } = simulate({ loads: [constant('a', 2), constant('b', 2)], seconds: 200, seed: 1 })
    for (const tally of tallies) assert.deepEqual([tally.kept, tally.estimate], [tally.calls, tally.calls])
  })

  it('keeps at most 35 in the first second of a process that starts at 10,000 calls/s, and ten in the next ones', () => {
    for (const seed of seeds(20)) {
      const { perSecond, tallies } = simulate({ loads: [constant('busy', 10_000)], seconds: 6, seed })
      assert.ok(perSecond[0]! >= 10 && perSecond[0]! <= 35, `${perSecond}`)
      assert.ok(mean(perSecond.slice(1)) > 6 && mean(perSecond.slice(1)) < 16, `${perSecond}`)
      assert.ok(Math.abs(deviation(tallies)) < 4)
    }
  })

  it('keeps at most 45 of each second of 10,000 calls that comes every ten seconds', () => {
    const spikes = { name: 'busy', rate: (second: number) => (second % 10 === 5 ? 10_000 : 10) }
    const runs = seeds(20).map(seed => simulate({ loads: [spikes], seconds: 60, seed }))
    const worst = runs.map(run => Math.max(...run.perSecond))
    assert.ok(Math.max(...worst) <= 45, `${worst}`)
    assert.ok(Math.abs(deviation(runs.flatMap(run => run.tallies))) < 4)
  })

  it('bounds a burst in which two hundred quiet operations awake at once', () => {
    const loads = Array.from({ length: 190 }, (_, i) => ({
      name: `quiet ${i}`,
      rate: (second: number) => (second < 40 ? 0.04 : 50),
    }))
    const { perSecond } = simulate({ loads, seconds: 60, seed: 5 })
    assert.ok(Math.max(...perSecond) <= 60, `${perSecond}`)
    assert.ok(mean(perSecond.slice(45)) > 8 && mean(perSecond.slice(45)) < 12, `${perSecond}`)
  })

  it('spares the first calls of what is rare from the burst of a start', () => {
    const busy = [constant('500', 500), constant('20 a', 20), constant('20 b', 20)]
    const rare = constant('rare', 1)
    const tallies = seeds(100).map(seed => simulate({ loads: [...busy, rare], seconds: 1, seed }).tallies[3]!)
    // A second call within the second is a known operation's, and of those too many have come.
    const once = tallies.filter(tally => tally.calls === 1)
    assert.ok(once.length > 20)
    assert.deepEqual(
      once.filter(tally => tally.kept === 0),
      [],
    )
  })

  describe('in a flood of a million names', () => {
    const flood: Load = {
      name: call => `GET /item/${call}`,
      rate: second => (second >= 5 && second < 105 ? 10_000 : 0),
    }
    const beside = [constant('known', 1), { name: 'new', rate: (second: number) => (second >= 110 ? 1 : 0) }]

    it('keeps some of it in each second, the known operations beside it, and what comes after it', () => {
      const { perSecond, tallies, sampler } = simulate({ loads: [flood, ...beside], seconds: 180, seed: 3 })
      assert.ok(tallies[0]!.calls > 990_000)
      assert.ok(Math.max(...perSecond) <= 45, `${perSecond}`)
      assert.ok(Math.min(...perSecond.slice(6, 105)) >= 1, `${perSecond}`)
      assert.ok(Math.abs(mean(perSecond.slice(6, 105)) - 10) < 1.5, `${mean(perSecond.slice(6, 105))}`)
      assert.ok(Math.abs(deviation([tallies[0]!])) < 4)
      assert.ok(tallies[1]!.kept >= 0.95 * tallies[1]!.calls, `${tallies[1]!.kept} of ${tallies[1]!.calls}`)
      assert.ok(tallies[2]!.kept >= 0.95 * tallies[2]!.calls, `${tallies[2]!.kept} of ${tallies[2]!.calls}`)
      // The flood's names, which came once each, are forgotten again.
      assert.equal(sampler.rates().operations, 2)
    })

    it('remembers at most 200 names, none of them longer than 256 characters', () => {
      setFlagsFromString('--expose-gc')
      const gc: () => void = runInNewContext('gc')
      let now = 0
      const sampler = new AdaptiveSampler({ tracesPerSecond: 10, now: () => now })
      gc()
      const before = process.memoryUsage().heapUsed
      for (let i = 0; i < 1_000_000; i++) {
        now = i / 10
        sampler.sample(i < 1000 ? `${'long'.repeat(1000)}${i}` : `name ${i}`, (i % 997) / 997)
      }
      gc()
      const grown = process.memoryUsage().heapUsed - before
      assert.ok(sampler.rates().operations <= 200)
      assert.ok(grown < 1_000_000, `${grown} bytes`)
    })
  })

  describe('with a clock that is set', () => {
    for (const [how, clock] of [
      ['back by an hour', (ms: number) => (ms < 30_000 ? ms : ms - 3_600_000)],
      ['forward by an hour', (ms: number) => (ms < 30_000 ? ms : ms + 3_600_000)],
      ['back by half a second, every second', (ms: number) => ms - 500 * Math.floor(ms / 1000)],
    ] as const) {
      it(`${how}: keeps to the target, and to the truth`, () => {
        const loads = [constant('busy', 3000), constant('rare', 0.5)]
        const runs = seeds(5).map(seed => simulate({ loads, seconds: 60, seed, clock }))
        for (const { perSecond } of runs) {
          assert.ok(Math.max(...perSecond) <= 60, `${perSecond}`)
          assert.ok(mean(perSecond.slice(35)) > 4 && mean(perSecond.slice(35)) < 21, `${perSecond}`)
        }
        assert.ok(Math.abs(deviation(runs.map(run => run.tallies[0]!))) < 4)
      })
    }

    it('bounds what is kept while the clock stands still, and isn’t harmed by one that tells no number', () => {
      const coins = seeded(1)
      const sampler = new AdaptiveSampler({ tracesPerSecond: 10, now: () => 0 })
      let kept = 0
      for (let i = 0; i < 100_000; i++) if (sampler.sample('busy', coins()) > 0) kept++
      assert.ok(kept >= 10 && kept < 50, `${kept}`)
      const confused = new AdaptiveSampler({ tracesPerSecond: 10, now: () => Number.NaN })
      for (let i = 0; i < 1000; i++) assert.equal(confused.sample('busy', 0.5), 1)
    })
  })

  it('decides as every process does that knows p', () => {
    let now = 0
    const coins = seeded(7)
    const sampler = new AdaptiveSampler({ tracesPerSecond: 10, now: () => now })
    const seen = new Set<number>()
    for (let i = 0; i < 50_000; i++) {
      now = i / 2
      const r = coins()
      const p = sampler.sample('busy', r)
      if (p === -1) continue
      seen.add(p)
      assert.equal(withProbability(p).sample('busy', r), p)
      assert.ok(withProbability(Math.min(1, p * 2)).sample('busy', r) > 0)
    }
    assert.ok(seen.size > 5, 'p has moved')
  })

  describe('under pressure from downstream', () => {
    const loads = [constant('busy', 1000), constant('rare', 0.1)]

    it('keeps less within a second, comes back by itself, and stays true all the while', () => {
      const runs = seeds(20).map(seed =>
        simulate({
          loads,
          seconds: 60,
          seed,
          every100Ms: (sampler, second) => sampler.adjust(second >= 20 && second < 30 ? 1 : 0.01),
        }),
      )
      const kept = (from: number, to: number) => mean(runs.map(run => mean(run.perSecond.slice(from, to))))
      assert.ok(kept(5, 20) > 9, `${kept(5, 20)}`)
      assert.ok(kept(21, 30) < 1, `${kept(21, 30)}`)
      assert.ok(kept(45, 60) > 9, `${kept(45, 60)}`)
      assert.ok(Math.abs(deviation(runs.map(run => run.tallies[0]!))) < 4, `${deviation(runs.map(r => r.tallies[0]!))}`)
    })

    it('keeps the more the emptier the buffer is, and never nothing', () => {
      let previous = 1.01
      for (const fullness of [0.2, 0.5, 0.8, 0.95, 1]) {
        const sampler = new AdaptiveSampler({ tracesPerSecond: 10, now: () => 0 })
        for (let i = 0; i < 20; i++) sampler.adjust(fullness)
        const { share } = sampler.rates()
        assert.ok(share < previous && share > 0.01, `${fullness}: ${share}`)
        previous = share
      }
    })

    it('lowers p before the coin is tossed, for overrides as well', () => {
      const sampler = new AdaptiveSampler({
        tracesPerSecond: 10,
        operations: { half: { probability: 0.5 } },
        now: () => 0,
      })
      assert.equal(sampler.sample('half', 0.6), 0.5)
      sampler.adjust(1)
      assert.equal(sampler.sample('half', 0.6), -1)
      assert.equal(sampler.sample('half', 0.8), 0.25)
    })

    it('takes nothing for pressure that isn’t: a buffer at work, or no number', () => {
      const sampler = new AdaptiveSampler({ tracesPerSecond: 10, now: () => 0 })
      for (const pressure of [0, 0.2, -1, Number.NaN, Number.NEGATIVE_INFINITY]) sampler.adjust(pressure)
      assert.equal(sampler.rates().share, 1)
      for (let i = 0; i < 100; i++) sampler.adjust(Number.POSITIVE_INFINITY)
      assert.equal(sampler.rates().share, 1 / 64)
    })
  })

  describe('with overrides', () => {
    it('gives an operation its own probability or its own target, beside everybody else’s', () => {
      const loads = [constant('fixed', 100), constant('own', 1000), constant('never', 50), constant('busy', 1000)]
      const operations = {
        fixed: { probability: 0.5 },
        own: { probability: undefined, tracesPerSecond: 3 },
        never: { probability: 0 },
      }
      const { tallies } = simulate({ loads, operations, seconds: 120, seed: 11 })
      const perSecond = tallies.map(tally => tally.kept / 120)
      assert.ok(Math.abs(perSecond[0]! - 50) < 3, `${perSecond}`)
      assert.ok(Math.abs(perSecond[1]! - 3) < 0.6, `${perSecond}`)
      assert.equal(perSecond[2], 0)
      assert.ok(Math.abs(perSecond[3]! - 10) < 1.3, `${perSecond}`)
      assert.ok(Math.abs(deviation(tallies.slice(0, 2))) < 4)
    })

    it('never forgets them, nor counts them among the 200', () => {
      let now = 0
      const operations = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`own ${i}`, { probability: 1 }]))
      const sampler = new AdaptiveSampler({ tracesPerSecond: 10, operations, now: () => now })
      for (let i = 0; i < 500; i++) sampler.sample(`other ${i}`, 0.999)
      assert.equal(sampler.rates().operations, 500)
      for (now = 0; now < 1_000_000; now += 1000) sampler.sample('other 0', 0.999)
      assert.equal(sampler.rates().operations, 301)
    })

    it('takes any name for one, those of Object.prototype too', () => {
      const sampler = new AdaptiveSampler({ tracesPerSecond: 10, now: () => 0 })
      for (const name of ['', '__proto__', 'constructor', 'toString']) assert.equal(sampler.sample(name, 0.5), 1)
    })
  })

  it('tells its rates', () => {
    const { sampler } = simulate({ loads: [constant('busy', 1000), constant('rare', 0.5)], seconds: 30, seed: 2 })
    const { operations, level, share, startedPerSecond, keptPerSecond } = sampler.rates()
    assert.deepEqual([operations, share], [2, 1])
    assert.ok(level! > 8 && level! < 10, `${level}`)
    assert.ok(Math.abs(startedPerSecond - 1000) < 150, `${startedPerSecond}`)
    assert.ok(keptPerSecond > 1 && keptPerSecond < 25, `${keptPerSecond}`)
    assert.equal(new AdaptiveSampler({ tracesPerSecond: 10 }).rates().level, null)
  })
})

describe('sampling in a process', () => {
  let peer: ScribePeer
  const start = (more: object = {}) => init({ scribe: peer.address, service: 'test', logLevel: 'silent', ...more })

  beforeEach(async () => {
    peer = await ScribePeer.listen()
  })

  afterEach(async () => {
    await shutdown(0)
    await peer.close()
  })

  it('is adaptive by default, puts p into every span, and tells its rates in stats()', async () => {
    start({ tracesPerSecond: 5 })
    for (let i = 0; i < 2000; i++) span('busy', () => span('within', () => {}))
    assert.equal(await flush(20_000), true)
    const kept = peer.spans.filter(s => s.name === 'busy')
    assert.ok(kept.length >= 5 && kept.length < 100, `${kept.length}`)
    assert.ok(kept.some(s => s.probability! < 1))
    for (const s of peer.spans) {
      const root = kept.find(r => r.traceId === s.traceId)!
      assert.ok(s.probability! > 0 && s.probability === root.probability)
    }
    const { sampling } = stats()
    assert.equal(sampling!.operations, 1)
    assert.equal(sampling!.share, 1)
  })

  it('keeps the first traces of a process, however fast they come, so that a first try of Milo shows each call', () => {
    for (const more of [{}, { operations: { 'call 1': { tracesPerSecond: 3 } } }]) {
      start(more)
      const before = stats()
      for (let i = 0; i < 3; i++) for (const name of ['call 0', 'call 1', 'call 2']) span(name, () => {})
      const { tracesKept, buffered } = stats()
      assert.deepEqual([tracesKept - before.tracesKept, buffered - before.buffered], [9, 9])
    }
  })

  it('keeps less while Scribe says TRY_LATER, and more again when it takes spans', async () => {
    let reply: ResultCode = ResultCode.TRY_LATER
    peer.react = () => ({ reply })
    start()
    const lowered = await until('the target is lowered', () => {
      span('work', () => {})
      const { share } = stats().sampling!
      return share < 0.5 ? share : undefined
    })
    reply = ResultCode.OK
    await until('it has grown again', () => {
      span('work', () => {})
      return stats().sampling!.share > lowered
    })
  })

  it('keeps less when the buffer fills', async () => {
    peer.react = () => 'silence'
    start({ maxBufferedSpans: 100 })
    await until('the target is lowered', () => {
      span('work', () => {
        for (let i = 0; i < 10; i++) span('part', () => {})
      })
      return stats().sampling!.share < 0.5
    })
  })

  it('asks the emitter every 100 ms at most, and lives with a sampler that throws', () => {
    const pressures: number[] = []
    const sampler: Sampler = {
      sample: () => 1,
      adjust: pressure => {
        pressures.push(pressure)
        throw new Error('no')
      },
      rates: () => {
        throw new Error('no')
      },
    }
    start({ sampler })
    const began = performance.now()
    // The first poll may belong to the test before: so this goes on until there is one.
    while (pressures.length === 0) assert.equal(span('work').sampled, true)
    for (let i = 0; i < 1000; i++) assert.equal(span('work').sampled, true)
    assert.ok(pressures.length <= 1 + (performance.now() - began) / 100, `${pressures.length}`)
    assert.deepEqual(new Set(pressures), new Set([0]))
    assert.equal(stats().sampling, undefined)
  })

  describe('by force', () => {
    it('keeps a trace that the sampler wouldn’t, with all below it, as debug and of probability 0', async () => {
      start({ sampler: 'never' })
      const before = stats()
      assert.equal(
        span('forced', { force: true }, s => {
          assert.equal((s as LiveSpan).trace.debug, true)
          return span('child', child => (child.parentId === s.spanId ? 'both' : 'one'))
        }),
        'both',
      )
      span('forced alone', { force: true }).end()
      span('not forced', { force: false }, () => {})
      span('not forced', {}).end()
      assert.equal(await flush(20_000), true)
      assert.deepEqual(
        peer.spans.map(s => [s.name, s.probability]),
        [
          ['child', 0],
          ['forced', 0],
          ['forced alone', 0],
        ],
      )
      const after = stats()
      assert.equal(after.tracesForced - before.tracesForced, 2)
      assert.equal(after.tracesNotKept - before.tracesNotKept, 2)
      assert.equal(after.tracesKept, before.tracesKept)
    })

    it('begins a new trace within one that isn’t kept, and is a child of one that is', () => {
      start({ sampler: { sample: (name: string) => (name === 'kept' ? 0.5 : -1) } })
      span('not kept', () => {
        const forced = span('forced', { force: true })
        assert.deepEqual([forced.sampled, forced.parentId], [true, '0000000000000000'])
      })
      span('kept', parent => {
        const child = span('forced', { force: true }) as LiveSpan
        assert.equal(child.trace, (parent as LiveSpan).trace)
        assert.deepEqual([child.trace.debug, child.trace.probability], [false, 0.5])
      })
    })

    it('travels in Milo’s field and is obeyed by the callee', () => {
      start({ sampler: 'never' })
      const field = (s: PluginSpan) => {
        const bytes = Buffer.alloc(fieldLength(s))
        putField(bytes, 0, s, bytes.length)
        return readField(bytes, 0, bytes.length)
      }
      const forced = span('call', { force: true }) as LiveSpan
      const callee = startServerSpan('call', field(forced))
      assert.deepEqual([callee.sampled, callee.trace.debug, callee.trace.probability], [true, true, 0])
      assert.equal(callee.traceId, forced.traceId)
      assert.equal(field(callee)!.debug, true)
      assert.equal(startServerSpan('call', field(span('call') as LiveSpan)).sampled, false)
    })

    it('does nothing when Milo is off', () => {
      init({ enabled: false })
      assert.equal(
        span('forced', { force: true }, s => s.sampled),
        false,
      )
    })
  })
})
