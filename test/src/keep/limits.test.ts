import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { Durations } from '../../../src/keep/durations'
import { KeptTraces } from '../../../src/keep/kept'
import { Rules } from '../../../src/keep/rules'
import { ByteBucket, ByteOrder, OrderedBucket, SharedBucket } from '../../../src/keep/tokens'
import { seeded } from '../../helpers/seeded'

/** A number from 0 to 1 for each n, spread evenly. */
const spread = (n: number) => (n * 0.6180339887498949) % 1

describe('a bucket of traces', () => {
  it('lets a burst pass, and then so many a second', () => {
    const bucket = new OrderedBucket(1, 10)
    const passed = (ms: number) => bucket.take(0.999, ms)
    for (let i = 0; i < 10; i++) assert.ok(passed(0), `${i}`)
    assert.ok(!passed(0) && !passed(500))
    assert.ok(passed(1_000) && !passed(1_001))
  })

  it('lets no more pass than it says, whatever comes, and doesn’t go back with the clock', () => {
    const bucket = new OrderedBucket(100, 500)
    let passed = 0
    for (let i = 0; i < 100_000; i++) if (bucket.take(spread(i), i / 10)) passed++
    assert.ok(passed <= 500 + 10 * 100, `${passed}`)
    for (let i = 0; i < 10_000; i++) if (bucket.take(spread(i), 0)) passed++
    assert.ok(passed <= 500 + 10 * 100, `${passed}`)
  })

  it('refuses the lowest ids, at ten times its rate: processes that see the same agree without a word', () => {
    // Each sees the traces at its own moments, in another order, and has been through something else before.
    const processes = Array.from({ length: 10 }, (_, p) => {
      const bucket = new OrderedBucket(100, 500)
      for (let i = 0; i < p * 40; i++) bucket.take(spread(i), 0)
      return { bucket, delayMs: spread(p + 7) * 300 }
    })
    const traces = Array.from({ length: 20_000 }, (_, i) => ({ f: spread(i), atMs: 1_000 + i }))
    const verdicts = processes.map(({ bucket, delayMs }, p) =>
      traces
        .map(({ f, atMs }, i) => ({ f, i, atMs: atMs + delayMs + spread(i * (p + 2)) * 50 }))
        .sort((a, b) => a.atMs - b.atMs)
        .filter(({ f, atMs }) => bucket.take(f, atMs))
        .map(({ i }) => i),
    )
    const counts = new Map<number, number>()
    for (const kept of verdicts) for (const i of kept) counts.set(i, (counts.get(i) ?? 0) + 1)
    const whole = [...counts.values()].filter(n => n === processes.length).length
    assert.ok(whole / counts.size >= 0.9, `${whole} of ${counts.size} that any process keeps are kept by all`)
    for (const kept of verdicts) assert.ok(kept.length > 1_500, `${kept.length} of 2,500 that may pass`)
  })

  it('forgets the overload when it is over', () => {
    const bucket = new OrderedBucket(1, 10)
    for (let i = 0; i < 1_000; i++) bucket.take(spread(i), i)
    assert.ok(bucket.floor(1_000) > 0.9)
    // Also if nobody asks any more.
    assert.equal(bucket.floor(20_000), 0)
    for (let s = 0; s < 20; s++) bucket.take(0.5, 20_000 + s * 5_000)
    assert.equal(bucket.floor(120_000), 0)
  })

  it('of bytes gives whole amounts or nothing', () => {
    const bucket = new ByteBucket(100, 1_000)
    assert.ok(bucket.take(900, 0) && !bucket.take(200, 0) && bucket.take(100, 0))
    assert.ok(!bucket.take(200, 1_000) && bucket.take(200, 2_000) && !bucket.take(1, 2_000))
    assert.ok(!bucket.take(1_001, 1e9))
  })
})

describe('the bucket of all traces that a process keeps', () => {
  /** Random as rain, and the same each time. */
  const chance = () => {
    let seed = 1
    return () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647
  }

  /**
   * Each process has symptoms of its own; what it keeps, all others are asked for a moment later.
   * @param rates of symptoms, a second
   * @returns the traces that any process has kept in 15 s, and of those from the third second on, which part all have
   */
  function simulate(rates: number[]): { kept: number; whole: number } {
    const next = chance()
    const processes = rates.map(() => new SharedBucket(100, 500))
    const traces: { f: number; atMs: number; keepers: Set<number> }[] = []
    const STEP_MS = 5
    const steps: { trace: number; process: number; isAsked: boolean }[][] = []
    const at = (ms: number, trace: number, process: number, isAsked: boolean) =>
      (steps[Math.ceil(ms / STEP_MS)] ??= []).push({ trace, process, isAsked })
    for (const [process, rate] of rates.entries()) {
      for (let ms = 0; ; ) {
        ms -= (Math.log(next()) * 1_000) / rate
        if (!(ms < 15_000)) break
        const trace = traces.push({ f: next(), atMs: ms, keepers: new Set() }) - 1
        at(ms, trace, process, false)
        // A failure spreads, sometimes.
        if (next() < 0.2) at(ms + next() * 50, trace, Math.floor(next() * rates.length), false)
      }
    }
    for (let step = 0; step < steps.length; step++) {
      for (const { trace, process, isAsked } of steps[step] ?? []) {
        const { f, keepers } = traces[trace]!
        const nowMs = step * STEP_MS
        if (keepers.has(process) || !processes[process]!.take(f, nowMs, isAsked)) continue
        keepers.add(process)
        if (isAsked) continue
        for (let other = 0; other < rates.length; other++)
          if (other !== process) at(nowMs + STEP_MS + 50 + next() * 300, trace, other, true)
      }
    }
    const kept = traces.filter(({ keepers }) => keepers.size > 0)
    const later = kept.filter(({ atMs }) => atMs > 2_000)
    const whole = later.filter(({ keepers }) => keepers.size === rates.length)
    return { kept: kept.length, whole: whole.length / later.length }
  }

  const none = [0, 0, 0, 0, 0, 0, 0]
  for (const [what, rates] of [
    ['one process', [1_000, 0, 0, ...none]],
    ['two processes', [150, 0, 150, ...none]],
    ['all processes', new Array(10).fill(150)],
    ['some processes, each with another load', [500, 50, 5, 0, 0, 120, 0, 30, 0, 1]],
    ['nearly too many', [60, 0, 50, ...none]],
  ] as [string, number[]][]) {
    it(`refuses the same in ten processes, when symptoms show in ${what}`, () => {
      const { kept, whole } = simulate(rates)
      assert.ok(whole >= 0.98, `${whole} of those that any process keeps are kept by all`)
      assert.ok(kept >= 15 * 75 && kept <= 700 + 15 * 100, `${kept}`)
    })
  }

  it('lets no more pass than it says, whatever a collector asks for', () => {
    const bucket = new SharedBucket(100, 500)
    let passed = 0
    for (let i = 0; i < 100_000; i++) if (bucket.take(i % 2 ? 1 : spread(i), i / 10, i % 3 > 0)) passed++
    for (let i = 0; i < 10_000; i++) if (bucket.take(spread(i), 0, true)) passed++
    assert.ok(passed >= 10 * 75 && passed <= 500 + 10 * 100, `${passed}`)
  })

  it('lets a burst pass, and all again when the overload is over', () => {
    const bucket = new SharedBucket(100, 500)
    for (let i = 0; i < 80; i++) assert.ok(bucket.take(spread(i), 0, false), `${i}`)
    for (let i = 0; i < 10_000; i++) bucket.take(spread(i), i, false)
    assert.ok(!bucket.take(0.1, 10_000, false))
    assert.ok(bucket.take(0, 20_000, false) && bucket.take(0, 20_000, true))
  })
})

describe('the order in which traces with too many bytes are refused', () => {
  const PER_SECOND = 1_000_000
  const SECONDS = 40

  /** Traces of this size begin in each process at this rate, and all others have as much of them. @returns shares of all, and of those that any sends */
  function simulate(rates: number[], bytes: number) {
    const next = seeded(9)
    const processes = rates.map(() => ({
      order: new ByteOrder(PER_SECOND),
      own: new ByteBucket(PER_SECOND, 4 * PER_SECOND),
      asked: new ByteBucket(PER_SECOND, 4 * PER_SECOND),
    }))
    const asks = (process: number, f: number, size: number, isAsked: boolean, nowMs: number) => {
      const { order, own, asked } = processes[process]!
      order.note(f, size, nowMs)
      const floor = order.floor(isAsked, asked.left(nowMs) / (4 * PER_SECOND))
      return f >= floor && (isAsked ? asked : own).take(size, nowMs)
    }
    const steps: (() => void)[][] = []
    const at = (ms: number, act: () => void) => (steps[Math.ceil(ms)] ??= []).push(act)
    const senders: number[] = []
    for (const [process, rate] of rates.entries()) {
      for (let ms = 0; ; ) {
        ms -= (Math.log(next()) * 1_000) / rate
        if (!(ms < SECONDS * 1_000)) break
        const [f, size, startMs] = [next(), bytes * (0.5 + next()), ms]
        at(ms, () => {
          if (!asks(process, f, size, false, Math.ceil(startMs))) return
          // What began at first is for the burst.
          const trace = startMs > 10_000 ? senders.push(1) - 1 : -1
          for (let other = 0; other < rates.length; other++) {
            const laterMs = Math.ceil(startMs + 50 + next() * 300)
            if (other !== process)
              at(laterMs, () => void (asks(other, f, size, true, laterMs) && trace >= 0 && senders[trace]!++))
          }
        })
      }
    }
    for (let ms = 0; ms < steps.length; ms++) for (const act of steps[ms] ?? []) act()
    const whole = senders.filter(n => n === rates.length).length
    const seconds = SECONDS - 10
    return { bytes: (whole * bytes) / seconds, part: (whole * rates.length) / senders.reduce((sum, n) => sum + n, 0) }
  }

  for (const [what, rates, bytes] of [
    ['four processes, each with its symptoms', [20, 20, 20, 20], 40_000],
    ['ten processes, each with its symptoms', new Array(10).fill(10), 20_000],
    ['one of four processes', [80, 0, 0, 0], 40_000],
    ['some of ten processes, ten times too many', [500, 5, 50, 0, 0, 0, 200, 0, 0, 1], 15_000],
  ] as [string, number[], number][]) {
    it(`is the same everywhere, when symptoms show in ${what}: what is sent is of whole traces`, () => {
      const { part, bytes: sent } = simulate(rates, bytes)
      assert.ok(part >= 0.95, `${part} of the bytes that are sent`)
      assert.ok(sent >= 0.6 * PER_SECOND, `${sent} bytes a second`)
    })
  }

  it('is none while there are enough', () => {
    const order = new ByteOrder(PER_SECOND)
    for (let i = 0; i < 1_000; i++) {
      order.note(spread(i), 5_000, i * 10)
      assert.equal(order.floor(i % 2 > 0, 0), 0)
    }
    for (let i = 0; i < 1_000; i++) order.note(spread(i), 50_000, 10_000)
    assert.equal(order.floor(true, 0.5), 0)
    assert.ok(order.floor(false, 1) > 0.9 && order.floor(true, 0) > 0.9)
    order.note(1, 1, 60_000)
    assert.equal(order.floor(false, 1), 0)
  })
})

describe('the durations of an operation', () => {
  it('are none that would say what is slow before there are a hundred', () => {
    const durations = new Durations()
    for (let i = 0; i < 99; i++) assert.ok(!durations.add(i === 50 ? 1e6 : 100, 60))
    assert.ok(!durations.add(1e6, 60))
    assert.ok(durations.add(2e6, 60))
  })

  it('make slow what is above 99 % of them, within an eighth', () => {
    const durations = new Durations()
    for (let i = 0; i < 10_000; i++) durations.add(i % 66 === 0 ? 50_000 : 1_000 + (i % 100), 60)
    assert.ok(!durations.add(40_000, 60))
    assert.ok(durations.add(60_000, 60))
    let slow = 0
    const even = new Durations()
    for (let i = 0; i < 100_000; i++) if (even.add(Math.floor(100 + spread(i) * 1e6), 60)) slow++
    assert.ok(slow > 0 && slow <= 1_100, `${slow}`)
  })

  it('make no more slow than may be kept, however often it is called: so the slowest are', () => {
    const durations = new Durations()
    let slow = 0
    // 100,000 in each minute: 1 % takes fifty times the median, 0.1 % five hundred times.
    for (let i = 0; i < 600_000; i++) {
      const us = 1_000 / Math.max(spread(i), 1e-6)
      if (durations.add(us, 60 + i / 1_667)) slow++
    }
    assert.ok(slow <= 6 * 60 + 100, `${slow}`)
    assert.ok(durations.add(60e6, 420))
  })

  it('make all slow that take the same long time, while they are fewer than 1 %', () => {
    const durations = new Durations()
    let slow = 0
    // One in two hundred, at five hundred a second: 2.5 each second.
    for (let i = 0; i < 200_000; i++) {
      const isLong = i % 200 === 199
      const us = isLong ? 150_000 : 1_000 / Math.max(spread(i), 1e-2)
      if (durations.add(us, 60 + i / 500) && isLong) slow++
    }
    assert.ok(slow >= 999, `${slow}`)
  })

  it('make nothing slow that takes less than twice as long as half of them', () => {
    const durations = new Durations()
    for (let i = 0; i < 1_000; i++) durations.add(1_000 + (i % 10), 60)
    assert.ok(!durations.add(1_900, 60))
    assert.ok(durations.add(2_400, 60))
  })

  it('are those of this minute and the one before', () => {
    const durations = new Durations()
    for (let i = 0; i < 200; i++) durations.add(1_000, 60)
    assert.ok(durations.add(5_000, 179))
    for (let i = 0; i < 200; i++) durations.add(100_000, 180)
    // The minute of 1 ms is gone: those of 100 ms are what is usual.
    assert.ok(!durations.add(150_000, 240))
    // Nothing is known after minutes of silence.
    assert.ok(!durations.add(1e9, 6_000))
  })

  it('take any number', () => {
    const durations = new Durations()
    for (const us of [0, 0.5, 7, 8, 2 ** 31, 1e300, Number.POSITIVE_INFINITY]) durations.add(us, 60)
  })
})

describe('the rules that people make', () => {
  const [pay, list] = ['pay', 'list'].map(name =>
    createHash('sha256').update(`shop\0${name}`).digest('hex').slice(0, 16),
  )
  const left = (rules: Rules, name: string, nowMs: number) => rules.find(name, nowMs)?.left ?? 0

  it('add up, each for itself; the same request is told by several collectors, and by older ones without a number', () => {
    const rules = new Rules('shop')
    rules.add(pay!, 3, 0, 1)
    rules.add(pay!, 3, 1)
    rules.add(pay!, 2, 2, 2)
    rules.add(pay!, 2, 3)
    assert.deepEqual([left(rules, 'pay', 4), left(rules, 'list', 4)], [5, 0])
    // A collector that begins to be asked tells what was told half a minute ago.
    rules.add(pay!, 3, 30_000, 1)
    rules.add(pay!, 3, 30_001)
    assert.equal(left(rules, 'pay', 30_002), 5)
    rules.add(list!, 4, 30_002)
    rules.add(list!, 4, 30_003)
    rules.add(list!, 4, 60_000)
    assert.deepEqual([left(rules, 'pay', 60_000), left(rules, 'list', 60_000)], [5, 8])
  })

  it('end when they are used up, or an hour old', () => {
    const rules = new Rules('shop')
    assert.equal(rules.any, false)
    rules.add(pay!, 2, 0, 1)
    rules.add(list!, 1, 0, 1)
    rules.use(rules.find('pay', 1)!)
    rules.use(rules.find('pay', 1)!)
    assert.deepEqual([left(rules, 'pay', 1), rules.any], [0, true])
    assert.equal(left(rules, 'list', 3_600_001), 0)
    rules.add(list!, 1, 3_600_001, 2)
    assert.equal(left(rules, 'list', 3_600_001), 1)
    rules.use(rules.find('list', 3_600_001)!)
    assert.equal(rules.any, false)
  })

  it('are bounded, whatever is told', () => {
    const rules = new Rules('shop')
    for (let i = 0; i < 100; i++) rules.add(pay!, 255, i, i)
    assert.equal(left(rules, 'pay', 100), 1_000)
    for (let i = 0; i < 10_000; i++) rules.add(`${i.toString(16).padStart(12, '0')}0000`, 255, 100, i)
    assert.equal(left(rules, 'pay', 100), 0)
  })
})

describe('the kept traces', () => {
  it('are remembered for ten minutes, with the reason', () => {
    const kept = new KeptTraces()
    kept.add(1, -2, 'error', false, 1_000)
    assert.equal(kept.find(1, -2, 1_599)?.reason, 'error')
    assert.equal(kept.find(1, 2, 1_000), undefined)
    assert.equal(kept.find(0, -2, 1_000), undefined)
    assert.equal(kept.find(1, -2, 1_601), undefined)
    kept.add(1, -2, 'slow', false, 1_000)
    kept.remove(1, -2)
    assert.equal(kept.find(1, -2, 1_000), undefined)
  })

  it('are bounded: the oldest go first, even of ids that somebody has chosen', () => {
    const kept = new KeptTraces()
    for (let i = 0; i < 100_000; i++) kept.add(i, 512 * i, 'error', false, 1_000 + i / 10_000)
    assert.equal(kept.find(0, 0, 1_010), undefined)
    assert.equal(kept.find(99_999, 512 * 99_999, 1_010)?.reason, 'error')
    // Ids that count up, by whatever step, leave no sets empty.
    for (const step of [1, 3, 512, 2 ** 12, 2 ** 16, 2 ** 22]) {
      const counting = new KeptTraces()
      for (let i = 0; i < 500; i++) counting.add(7, (step * i) | 0, 'error', false, 1_000)
      const found = Array.from({ length: 500 }, (_, i) => counting.find(7, (step * i) | 0, 1_000)).filter(Boolean)
      assert.ok(found.length > 250, `${found.length} of 500 in steps of ${step}`)
    }
    const random = new KeptTraces()
    const lows = Array.from({ length: 2_000 }, (_, i) => Math.floor(spread(i) * 2 ** 32) | 0)
    for (const lo of lows) random.add(1, lo, 'error', false, 1_000)
    assert.ok(lows.filter(lo => random.find(1, lo, 1_000)).length > 1_900)
  })
})
