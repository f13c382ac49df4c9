import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { AnalysedTrace } from '../../../collector/src/offline/analysis'
import { Operations } from '../../../collector/src/offline/operations'
import { Paths } from '../../../collector/src/offline/paths'
import { RootSums } from '../../../collector/src/offline/root-sums'
import { BANDS } from '../../../collector/src/store/analysis/model'
import { seeded } from '../../helpers/seeded'
import { records } from '../trace/arbitrary-records'
import { analysed, type Call, divided, linesOf, mergeAll, plain, recordsOf } from './traces'

const OTHER = '(other)'

/** What a trace spends where, by how it was made. */
interface Known {
  root: string
  us: number
  weight: number
  /** By path, as JSON. */
  parts: Map<string, number>
}

const services = ['shop', 'cart', 'stock', 'db']

/** Calls of several shapes, with loops and calls beside others. */
function drawCall(random: () => number, depth = 0): Call {
  const name = `op${Math.floor(random() * (depth === 0 ? 3 : 4))}`
  const calls = depth > 3 ? [] : Array.from({ length: Math.floor(random() * 3.5) }, () => drawCall(random, depth + 1))
  const ownUs = Array.from({ length: calls.length + 1 }, () => Math.floor(random() ** 4 * 20_000))
  const beside: Call[] = []
  if (calls.length > 0 && lengthOf(calls[0]!) > 1) beside.push({ service: 'beside', name: 'quick', ownUs: [1] })
  return { service: services[depth === 0 ? 0 : Math.floor(random() * 4)]!, name, ownUs, calls, beside }
}

function knownOf(call: Call, weight: number): Known {
  const parts = new Map<string, number>()
  const walk = ({ service, name, ownUs, calls = [] }: Call, above: unknown[]): number => {
    const path = [...above, [service, name]]
    const own = ownUs.reduce((a, b) => a + b, 0)
    if (own > 0) parts.set(JSON.stringify(path), (parts.get(JSON.stringify(path)) ?? 0) + own)
    return calls.reduce((sum, call) => sum + walk(call, path), own)
  }
  const us = walk(call, [])
  return { root: JSON.stringify([call.service, call.name]), us, weight, parts }
}

interface Line {
  kind: string
  root: { service: string | null; name: string }
  path: [string | null, string][]
  us: number[]
  traces: any
  [field: string]: any
}

function parse(paths: Paths): Line[] {
  return linesOf(paths).map(line => JSON.parse(line))
}

const PROBABILITIES = [1, 1, 0.5, 0.01, 0.3]

function draw(count: number, seed: number): { traces: AnalysedTrace[]; known: Known[] } {
  const random = seeded(seed)
  const known: Known[] = []
  const traces: AnalysedTrace[] = []
  for (let i = 0; i < count; i++) {
    const call = drawCall(random)
    const probability = PROBABILITIES[Math.floor(random() * PROBABILITIES.length)]!
    traces.push(analysed(recordsOf(call, { traceId: BigInt(i + 1), probability })))
    known.push(knownOf(call, 1 / probability))
  }
  return { traces, known }
}

function lengthOf({ ownUs, calls = [] }: Call): number {
  return sum(ownUs) + sum(calls.map(lengthOf))
}

describe('critical paths of root operations', () => {
  const { traces, known } = draw(400, 1)
  const all = new Paths()
  for (const trace of traces) all.add(trace)
  const lines = parse(all)

  it('are what every trace spends where, weighed with 1/p, in the band of its latency', () => {
    for (const { root: name, bands } of lines.filter(({ kind }) => kind === 'root')) {
      const of = known.filter(({ root }) => root === JSON.stringify([name.service, name.name]))
      const isOf = ({ root }: Line) => root.service === name.service && root.name === name.name
      const paths = lines.filter(line => line.kind === 'path' && isOf(line))
      assert.ok(of.length > 10 && paths.length > 10)
      for (const [b, { band, overUs, upToUs, traces, weight, us }] of bands.entries()) {
        assert.equal(band, BANDS[b])
        const inside = of.filter(({ us }) => (overUs === null || us > overUs) && (upToUs === null || us <= upToUs))
        assert.equal(traces, inside.length)
        near(weight, sum(inside.map(({ weight }) => weight)))
        near(us, sum(inside.map(({ us, weight }) => us * weight)), 1)
        const parts = new Map<string, number>()
        for (const { parts: own, weight } of inside) {
          for (const [path, us] of own) parts.set(path, (parts.get(path) ?? 0) + us * weight)
        }
        for (const { path, us } of paths) {
          near(us[b]!, parts.get(JSON.stringify(path)) ?? 0, 1)
          parts.delete(JSON.stringify(path))
        }
        assert.deepEqual([...parts], [])
        // To the last digit.
        assert.equal(sum(paths.map(({ us }) => us[b]!)), us)
      }
    }
  })

  it('are cut at the percentiles, as exactly as the results say', () => {
    for (const { root, bands, bucketRatio, traces, p50Us, p95Us, p99Us } of lines.filter(
      ({ kind }) => kind === 'root',
    )) {
      const of = known.filter(known => known.root === JSON.stringify([root.service, root.name]))
      of.sort((a, b) => a.us - b.us)
      assert.equal(traces, of.length)
      const total = sum(of.map(({ weight }) => weight))
      for (const [i, [share, middleUs]] of [
        [0.5, p50Us],
        [0.95, p95Us],
        [0.99, p99Us],
      ].entries()) {
        let below = 0
        const { us } = of.find(({ weight }) => (below += weight) >= share * total - 1e-6)!
        const cut = bands[i].upToUs
        assert.ok(us <= cut && cut <= us * bucketRatio, `${us} ${cut}`)
        assert.ok(Math.abs(middleUs - us) <= 1 + ((bucketRatio - 1) / 2) * us, `${us} ${middleUs}`)
      }
    }
  })

  it('have an example of each path, the trace that spent the most time there, and a trace of each band', () => {
    const byId = new Map(known.map((known, i) => [traces[i]!.id, known]))
    for (const { kind, root, path, examples, bands } of lines) {
      if (kind === 'path') {
        const key = JSON.stringify(path)
        const most = Math.max(...known.map(({ parts }) => parts.get(key) ?? 0))
        if (most > 0) assert.equal(byId.get(examples[0].traceId)!.parts.get(key), most)
      }
      if (kind !== 'root') continue
      for (const { overUs, upToUs, examples, traces } of bands) {
        assert.equal(examples.length, Math.min(1, traces))
        for (const { traceId, duration } of examples) {
          assert.equal(byId.get(traceId)!.root, JSON.stringify([root.service, root.name]))
          assert.ok(duration > (overUs ?? -1) && duration <= (upToUs ?? Infinity))
        }
      }
    }
  })

  it('say what each operation has of the mean latency, which they add up to', () => {
    for (const { root, means } of lines.filter(({ kind }) => kind === 'root')) {
      const of = known.filter(known => known.root === JSON.stringify([root.service, root.name]))
      const weight = sum(of.map(({ weight }) => weight))
      near(means[0].us, sum(of.map(({ us, weight }) => us * weight)) / weight, 0.001)
      const operations = lines.filter(
        line => line.kind === 'operation' && line.root.name === root.name && line.root.service === root.service,
      )
      for (const b of means.keys()) {
        near(sum(operations.map(({ means }) => means[b].us)), means[b].us, 1e-6)
        near(
          means[b].us,
          meanBetween(of, weight, [0, 0, 0.5, 0.95, 0.99][b]!, [1, 0.5, 0.95, 0.99, 1][b]!),
          means[b].us * 0.03,
        )
      }
      for (const { service, name, means, traces } of operations) {
        const own = of.map(({ parts, weight }) => {
          const mine = [...parts].filter(
            ([path]) => JSON.stringify(JSON.parse(path).at(-1)) === JSON.stringify([service, name]),
          )
          return { us: sum(mine.map(([, us]) => us)), weight }
        })
        near(means[0].us, sum(own.map(({ us, weight }) => us * weight)) / weight, 0.001)
        assert.equal(traces, own.filter(({ us }) => us > 0).length)
      }
    }
  })

  it('are the same, to the last byte, in whichever parts and order traces are added up', () => {
    const random = seeded(2)
    for (const parts of [1, 2, 10])
      assert.deepEqual(linesOf(divided(() => new Paths(), traces, parts, random)), linesOf(all))
  })

  for (const bounds of [
    { roots: 10, paths: 25, operations: 1000 },
    { roots: 10, paths: 10_000, operations: 8 },
    { roots: 1, paths: 10_000, operations: 10_000 },
    { roots: 2, paths: 5, operations: 4 },
  ]) {
    it(`keep all time, and are the same however they are divided, where ${JSON.stringify(bounds)} are named`, () => {
      const random = seeded(3)
      const make = () => new Paths(bounds)
      const one = divided(make, traces, 1, random)
      const found = parse(one)
      assert.ok(found.filter(({ kind }) => kind === 'root').length <= bounds.roots + 1)
      assert.ok(found.filter(({ kind, name }) => kind === 'operation' && name !== OTHER).length <= bounds.operations)
      const named = found.filter(({ kind, path }) => kind === 'path' && path.at(-1)![1] !== OTHER)
      assert.ok(named.length <= bounds.paths)
      near(
        sum(found.filter(({ kind }) => kind === 'path').flatMap(({ us }) => us)),
        sum(known.map(({ us, weight }) => us * weight)),
        found.length,
      )
      for (const { root, means } of found.filter(({ kind, root }) => kind === 'root' && root.name !== OTHER)) {
        const own = found.filter(({ kind, root: of }) => kind === 'operation' && of.name === root.name)
        for (const b of means.keys()) near(sum(own.map(({ means }) => means[b].us)), means[b].us, 1e-6)
      }
      for (const parts of [1, 3, 10]) assert.deepEqual(linesOf(divided(make, traces, parts, random)), linesOf(one))
    })
  }

  it('name operations without digits rather than those that look like ids', () => {
    const paths = new Paths({ roots: 3, paths: 20, operations: 20 })
    for (let i = 0; i < 1000; i++) {
      paths.add(plain(i, [[0, 'web', `GET /user/${i * 7919}`, 10]]))
      paths.add(
        plain(i, [
          [0, 'web', ['buy', 'sell'][i % 2]!, 10],
          [1, 'db', i % 9 === 0 ? 'read' : `key-${i}`, 5],
        ]),
      )
    }
    const found = parse(paths)
    const roots = found.filter(({ kind }) => kind === 'root').map(({ root, traces }) => [root.name, traces])
    assert.deepEqual(roots.slice(0, 2).sort(), [
      ['buy', 500],
      ['sell', 500],
    ])
    assert.deepEqual(roots.at(-1), [OTHER, 999])
    const reads = found.filter(({ kind, path }) => kind === 'path' && path.at(-1)![1] === 'read')
    assert.equal(sum(reads.map(({ traces }) => sum(traces))), 112)
  })

  it('leave forced traces out, and say how many traces have no root, no times, or only a part', () => {
    const paths = new Paths()
    paths.add(plain(1, [[0, 'a', 'b', 100]], { probability: 0 }))
    assert.deepEqual(parse(paths), [])
    paths.add(plain(2, [[0, 'a', 'b', 100]], { probability: null }))
    const part = plain(3, [[0, 'a', 'b', 300]])
    paths.add({ ...part, isCut: true, root: { ...part.root, isRoot: false } })
    const timeless = plain(4, [[0, 'a', 'b', 0]])
    timeless.tree.spans[0]!.start = null
    paths.add(timeless)
    const [root] = parse(paths)
    const { traces, weight, rootless, cut, untimed, meanUs } = root!
    assert.deepEqual(
      { traces, weight, rootless, cut, untimed, meanUs },
      { traces: 2, weight: 2, rootless: 1, cut: 1, untimed: 1, meanUs: 200 },
    )
  })

  it('keep all time of any records', () => {
    fc.assert(
      fc.property(fc.array(records, { maxLength: 6 }), lists => {
        const some = lists.filter(list => list.length > 0).map(analysed)
        const paths = new Paths()
        for (const trace of some) paths.add(trace)
        const counted = some.filter(({ weight, root }) => weight > 0 && root.durationUs <= 2 ** 40)
        const us = sum(counted.map(({ weight, root }) => weight * root.durationUs))
        const found = parse(paths)
        near(sum(found.filter(({ kind }) => kind === 'path').flatMap(({ us }) => us)), us, found.length + us * 1e-9)
        assert.deepEqual(linesOf(divided(() => new Paths(), some, 3, seeded(1))), linesOf(paths))
      }),
      { numRuns: 100 },
    )
  })

  it('are told apart as deep as a line of the results has room for', () => {
    const paths = new Paths()
    const deep = Array.from({ length: 100_000 }, (_, i): [number, string, string, number] => [i, 's', `op ${i % 3}`, 1])
    paths.add(plain(1, deep))
    paths.add(
      plain(2, [[0, 'wide', 'root', 0], ...deep.map(([, ...rest]): [number, string, string, number] => [1, ...rest])]),
    )
    const long = '\u0001'.repeat(200)
    paths.add(
      plain(
        3,
        Array.from({ length: 60 }, (_, i) => [i, long, long, 1]),
      ),
    )
    const found = linesOf(paths)
    assert.ok(Math.max(...found.map(line => line.length)) < 60_000)
    const lines: Line[] = found.map(line => JSON.parse(line))
    const of = (name: string) => lines.filter(({ kind, root }) => kind === 'path' && root.service === name)
    assert.deepEqual([of('s').length, of('s').at(-1)!.path.length, sum(of('s').at(-1)!.us)], [65, 65, 100_000 - 64])
    assert.deepEqual(
      of('wide')
        .map(({ us }) => sum(us))
        .sort(),
      [0, 33_333, 33_333, 33_334],
    )
    assert.equal(sum(of(long).flatMap(({ us }) => us)), 60)
  })

  it('are in several partial results where one would be too long a line, and add up alike', () => {
    const root = [...all.partials()].map(([, value]) => value as any).find(({ service }) => service === 'shop')
    const { service, name, pathLimit, operationLimit, ...json } = root
    const words = new Operations()
    const read = RootSums.read(words.of(service, name), JSON.parse(JSON.stringify(json)), words)
    const parts = [...read.parts(100)]
    assert.ok(parts.length > 5)
    const merged = new Paths()
    for (const part of parts)
      merged.merge('', JSON.parse(JSON.stringify({ ...part, service, name, pathLimit, operationLimit })))
    const one = new Paths()
    one.merge('', JSON.parse(JSON.stringify(root)))
    assert.deepEqual(linesOf(merged), linesOf(one))
  })

  it('say no to lines that are no partial results, and keep nothing of them', () => {
    const paths = new Paths()
    paths.add(traces[0]!)
    const [[key, value]] = [...paths.partials()].filter(([key]) => key !== '[null,"(other)"]') as [[string, any]]
    const before = linesOf(paths)
    const whole = JSON.parse(JSON.stringify(value))
    for (const field of Object.keys(whole)) {
      for (const nonsense of [undefined, -1, 'x', [[1]], [[0, 'x']], [[0, 1]]]) {
        if (field === 'service' && nonsense === 'x') continue
        if (field === 'name' && nonsense === 'x') continue
        assert.throws(() => paths.merge(key, { ...whole, [field]: nonsense }), `${field} ${JSON.stringify(nonsense)}`)
      }
    }
    assert.deepEqual(linesOf(paths), before)
    mergeAll(paths, [[key, value]])
    assert.equal(parse(paths)[0]!.traces, 2)
  })
})

function meanBetween(of: Known[], total: number, from: number, to: number): number {
  let [begin, us] = [0, 0]
  for (const known of [...of].sort((a, b) => a.us - b.us)) {
    const end = begin + known.weight
    us += known.us * Math.max(0, Math.min(end, to * total) - Math.max(begin, from * total))
    begin = end
  }
  return us / ((to - from) * total)
}

function sum(numbers: number[]): number {
  return numbers.reduce((sum, n) => sum + n, 0)
}

function near(a: number, b: number, most = 1e-6): void {
  assert.ok(Math.abs(a - b) <= most + Math.abs(b) * 1e-8, `${a} is not ${b}`)
}
