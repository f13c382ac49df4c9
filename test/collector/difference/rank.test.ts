import assert from 'node:assert/strict'
import { type FeatureLimits, FeatureTable } from '../../../collector/src/difference/features'
import { type RankOptions, rank } from '../../../collector/src/difference/rank'
import { jointProbability, weightOf } from '../../../collector/src/trace'
import { Turns } from '../../../collector/src/turns'
import type { SpanRecord } from '../../../src/codec/span'
import { seeded } from '../../helpers/seeded'

type Span = Omit<SpanRecord, 'annotations'> & { annotations?: Record<string, string> }

class Traces {
  readonly table: FeatureTable
  readonly turns = new Turns()
  constructor(limits?: Partial<FeatureLimits>) {
    this.table = new FeatureTable(key => key === 'skipped', limits)
  }

  async add(selected: boolean, ...spans: Span[]): Promise<void> {
    const records = spans.map(({ annotations = {}, ...span }) => ({
      ...span,
      annotations: new Map(Object.entries(annotations)),
    }))
    await this.table.add(records, String(this.table.traces.length), selected, this.turns)
  }

  rank(options: Partial<RankOptions> = {}) {
    return rank(this.table, { order: 'score', limit: 50, ...options }, this.turns)
  }
}

const summaryOf = ({ kind, service, name, key, value }: any) =>
  `${kind} ${[service, name, key && (value === null ? key : `${key}=${value}`)].filter(Boolean).join(' ')}`

describe('what tells selected traces from others', () => {
  it('is ranked by how much it tells: what nearly all selected traces have, before what a few of them have', async () => {
    const traces = new Traces()
    for (let i = 0; i < 200; i++) {
      const annotations = { cause: i < 190 ? 'yes' : 'no', rare: i < 30 ? 'yes' : 'no', common: i < 199 ? 'yes' : 'no' }
      await traces.add(true, { service: 'a', name: 'x', annotations })
    }
    for (let i = 0; i < 200; i++) {
      const annotations = { cause: i < 10 ? 'yes' : 'no', rare: 'no', common: i < 150 ? 'yes' : 'no' }
      await traces.add(false, { service: 'a', name: 'x', annotations })
    }
    const { more, less } = await traces.rank()
    assert.deepEqual(more.map(summaryOf), [
      'annotation a cause=yes',
      'annotation a common=yes',
      'annotation a rare=yes',
    ])
    assert.deepEqual(less.map(summaryOf), ['annotation a cause=no', 'annotation a common=no', 'annotation a rare=no'])
    const [cause] = more
    assert.deepEqual(
      [cause!.selected, cause!.others],
      [
        { traces: 190, share: 0.95, example: '0' },
        { traces: 10, share: 0.05, example: '200' },
      ],
    )
    assert.equal(cause!.lift, 18.14)
    // By lift, rare comes first: none of the others has it.
    assert.equal(summaryOf((await traces.rank({ order: 'lift' })).more[0]), 'annotation a rare=yes')
    assert.equal((await traces.rank({ limit: 1 })).more.length, 1)
  })

  it('is not what chance makes of thousands of values', async () => {
    const random = seeded(6)
    let listed = 0
    for (let run = 0; run < 20; run++) {
      const traces = new Traces()
      for (let i = 0; i < 300; i++) {
        const annotations: Record<string, string> = {}
        for (let key = 0; key < 60; key++) annotations[`k${key}`] = `v${Math.floor(random() ** 2 * (2 + key))}`
        annotations.size = String(Math.floor(random() * 10_000))
        await traces.add(i < 100, { service: `s${i % 3}`, name: `n${Math.floor(random() * 10)}`, annotations })
      }
      const { more, less, tested } = await traces.rank()
      assert.ok(tested > 1000)
      if (more.length + less.length > 0) listed++
    }
    // With a seed of its own: one in twenty may have something by chance.
    assert.ok(listed <= 2, `${listed} of 20 comparisons of equal groups list something`)
  })

  it('names the service where an annotation tells more in its spans than in those of others', async () => {
    const traces = new Traces()
    for (let i = 0; i < 100; i++) {
      const slow = i < 30
      // Both services know the key, and the other one misses at random.
      await traces.add(
        slow,
        { service: 'cart', annotations: { cache: slow ? 'miss' : 'hit', user: `u${i % 2}` } },
        { service: 'web', annotations: { cache: i % 2 === 0 ? 'miss' : 'hit', user: `u${i % 2}` } },
      )
    }
    const { more } = await traces.rank()
    assert.deepEqual(more.map(summaryOf), ['annotation cart cache=miss'])
  })

  it('is one finding where several features are in exactly the same traces, the simplest first', async () => {
    const traces = new Traces()
    for (let i = 0; i < 80; i++) {
      const spans: Span[] = [{ service: 'web', name: 'GET /', annotations: { plan: 'a' } }]
      if (i < 20) spans.push({ service: 'mail', name: 'Mail.send', annotations: { region: 'eu', plan: 'a' } })
      await traces.add(i < 20, ...spans)
    }
    const { more } = await traces.rank()
    assert.equal(more.length, 1)
    assert.equal(summaryOf(more[0]), 'service mail')
    assert.deepEqual(more[0]!.also.map(summaryOf), [
      'name mail Mail.send',
      'annotation mail plan=a',
      'annotation mail region=eu',
    ])
  })

  it('is a failed span with its name, or any failed span of a service', async () => {
    const traces = new Traces()
    for (let i = 0; i < 100; i++) {
      const failed: Record<string, string> = i < 40 && i !== 7 ? { 'error.type': `E${i}` } : {}
      await traces.add(i < 40, { service: 'cart', name: i % 2 === 0 ? 'add' : 'drop', annotations: failed })
    }
    const { more } = await traces.rank()
    assert.equal(summaryOf(more[0]), 'error cart')
    assert.deepEqual(more.slice(1).map(summaryOf), ['error cart add', 'error cart drop'])
  })

  it('is a range of numbers where a key has many, and a key where its values differ', async () => {
    const traces = new Traces()
    for (let i = 0; i < 200; i++) {
      const slow = i % 5 === 0
      const annotations = {
        rows: String(slow ? 900 + i : i),
        ...(slow && { retry: `of-${i}` }),
        skipped: String(slow),
      }
      await traces.add(slow, { service: 'db', annotations })
    }
    const { more } = await traces.rank()
    const range = more.find(({ kind }) => kind === 'range')!
    assert.equal(range.key, 'rows')
    assert.ok(range.min! >= 150 && range.max === 1095, JSON.stringify(range))
    assert.equal(range.selected.traces, 40)
    assert.ok(more.some(({ key, value }) => key === 'retry' && value === null))
    assert.ok(!more.some(({ key }) => key === 'skipped'))
  })

  it('weighs traces by what they stand for, and counts forced ones without weight', async () => {
    const traces = new Traces()
    // A rare operation is kept always, the usual one once in ten: half of the kept traces, a tenth of all.
    for (let i = 0; i < 60; i++) {
      await traces.add(i < 30, { service: 'a', name: 'usual', probability: 0.1, annotations: { slow: String(i < 30) } })
      await traces.add(i < 30, { service: 'a', name: 'rare', probability: 1, annotations: { slow: String(i < 30) } })
    }
    for (let i = 0; i < 10; i++) {
      await traces.add(false, { service: 'a', name: 'usual', probability: 0, annotations: { slow: 'true' } })
    }
    const { selected, others, more } = await traces.rank()
    assert.deepEqual([selected.traces, selected.forced, selected.sum], [60 - 30 + 30, 0, 330])
    assert.deepEqual([others.traces, others.forced, others.sum], [70, 10, 330])
    // Kish: 330² / (30 · 10² + 30) = 35.9
    assert.equal(selected.effective, 36)
    const slow = more.find(({ key }) => key === 'slow')!
    assert.deepEqual([slow.selected.traces, slow.selected.share, slow.others.traces, slow.others.share], [60, 1, 10, 0])
    // Shares of names are those of all traces, not of the kept ones.
    assert.ok(!more.some(({ kind }) => kind === 'name'))
  })

  it('takes what no sampler says for a weight of one', () => {
    const weigh = (...spans: SpanRecord[]) => weightOf(jointProbability(spans))
    assert.equal(weigh({ probability: 0.25 }), 4)
    assert.equal(weigh({}, { probability: 0.5 }), 2)
    assert.equal(weigh({ probability: 1 }, { probability: 0 }), 0)
    for (const probability of [-1, 2, Number.NaN, Number.POSITIVE_INFINITY]) assert.equal(weigh({ probability }), 1)
    assert.equal(weigh({ probability: 1e-300 }), 1e6)
  })

  it('is found among hostile traces, whose keys and values stay bounded', async () => {
    const limits = { features: 3000, members: 500, characters: 200_000, perTrace: 1000, perRecord: 200, numbers: 2000 }
    const traces = new Traces(limits)
    for (let i = 0; i < 120; i++) {
      const slow = i < 40
      const noise = Object.fromEntries(
        Array.from({ length: 300 }, (_, j) => [`k${i}-${j}`.padEnd(j % 50 === 0 ? 5000 : 0, 'x'), `v${i * j}`]),
      )
      const spans = Array.from({ length: 50 }, (_, j) => ({ annotations: { id: `${i}-${j}`, n: String(i * 50 + j) } }))
      const cause = { service: 'cart', annotations: { cache: slow ? 'miss' : 'hit' } }
      await traces.add(slow, { service: 'evil', annotations: noise }, cause, ...spans)
      assert.ok(traces.table.size <= limits.features + limits.perTrace, String(traces.table.size))
    }
    assert.equal(traces.table.truncated, true)
    const { more } = await traces.rank()
    assert.equal(summaryOf(more[0]), 'annotation cart cache=miss')
    assert.equal(more[0]!.selected.traces, 40)
  })

  it('shortens long values without half of a character, and says so', async () => {
    const traces = new Traces()
    const long = `${'x'.repeat(199)}😀 and more`
    for (let i = 0; i < 40; i++) await traces.add(i < 20, { annotations: { note: i < 20 ? long : 'short' } })
    const [finding] = (await traces.rank()).more
    assert.equal(finding!.value, 'x'.repeat(199))
    assert.equal(finding!.cut, true)
  })

  it('lets other work have its turn while a trace has 100,000 keys', async () => {
    const traces = new Traces({ perRecord: 100_000, perTrace: 100_000 })
    const keys = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`key-${i}`, `value-${i}`]))
    let others = 0
    const tick = () => {
      others++
      if (!done) setImmediate(tick)
    }
    let done = false
    setImmediate(tick)
    for (let i = 0; i < 5; i++) await traces.add(i === 0, { service: 'a', annotations: keys })
    await traces.rank()
    done = true
    assert.ok(others > 5, `${others} turns`)
    assert.ok(traces.table.size <= 200_000)
  })
})
