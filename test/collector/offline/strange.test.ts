import assert from 'node:assert/strict'
import { Strange } from '../../../collector/src/offline/strange'
import { seeded } from '../../helpers/seeded'
import { divided, linesOf, plain } from './traces'

type Part = [depth: number, service: string | null, name: string, us: number]

interface Line {
  kind: string
  root: { service: string | null; name: string }
  [field: string]: any
}

function parse(strange: Strange): Line[] {
  return linesOf(strange).map(line => JSON.parse(line))
}

/** A tree of operations, as nested lists of names. */
type Tree = [name: string, ...calls: Tree[]]

function partsOf([name, ...calls]: Tree, depth = 0): Part[] {
  return [[depth, 's', name, 1], ...calls.flatMap(call => partsOf(call, depth + 1))]
}

/** What makes trees alike, as text: calls in order of the alphabet, each once. */
function shapeOf([name, ...calls]: Tree): string {
  return `${name}(${[...new Set(calls.map(shapeOf))].sort().join()})`
}

function drawTree(random: () => number, depth = 0): Tree {
  const calls = depth > 2 ? 0 : Math.floor(random() ** 2 * 4)
  const name = depth === 0 ? 'root' : 'abc'[Math.floor(random() * 3)]!
  return [name, ...Array.from({ length: calls }, () => drawTree(random, depth + 1))]
}

describe('strange traces', () => {
  it('are those whose shape is rarest, however often calls are repeated and in whichever order', () => {
    const random = seeded(1)
    const strange = new Strange()
    const weights = new Map<string, { weight: number; ids: string[] }>()
    let total = 0
    for (let i = 0; i < 3000; i++) {
      const tree = drawTree(random)
      const probability = random() < 0.5 ? 1 : 0.1
      const trace = plain(i, partsOf(tree), { probability })
      strange.add(trace)
      const known = weights.get(shapeOf(tree)) ?? { weight: 0, ids: [] }
      known.weight += 1 / probability
      known.ids.push(trace.id)
      weights.set(shapeOf(tree), known)
      total += 1 / probability
    }
    const found = parse(strange).filter(({ kind }) => kind === 'strange')
    const rarest = [...weights.values()].sort((a, b) => a.weight - b.weight)
    assert.ok(weights.size > 100)
    assert.equal(found.length, 10)
    for (const [i, { rank, traceId, weight, share, traces, shapes, of, examples }] of found.entries()) {
      const same = rarest.find(({ ids }) => ids.includes(traceId))!
      assert.deepEqual([rank, shapes, of], [i + 1, weights.size, 3000])
      assert.equal(weight, rarest[i]!.weight)
      assert.equal(weight, same.weight)
      assert.equal(traces, same.ids.length)
      assert.ok(Math.abs(share - weight / total) < 1e-9)
      assert.ok(examples.every((example: any) => same.ids.includes(example.traceId)))
    }
  })

  it('have the same shape as their operations say, and another if anything differs', () => {
    const shapes = (...trees: Tree[]) => {
      const strange = new Strange()
      for (let i = 0; i < 100; i++) strange.add(plain(1000 + i, partsOf(['root', ['usual']])))
      for (const [i, tree] of trees.entries()) strange.add(plain(i, partsOf(tree)))
      return parse(strange).filter(({ kind }) => kind === 'strange')
    }
    const [a, b, c]: Tree[] = [['a'], ['b'], ['c', ['a']]]
    assert.equal(shapes(['root', a!, b!, c!], ['root', c!, c!, b!, a!, a!], ['root', c!, b!, b!, a!]).length, 1)
    assert.equal(
      shapes(['root', a!, ['b', a!]], ['root', ['a', b!]], ['root', a!, ['b', b!]], ['root', ['b', a!]]).length,
      4,
    )
    // A loop in a loop is one call in one call.
    assert.equal(shapes(['root', ['a', b!, b!], ['a', b!]], ['root', ['a', b!]]).length, 1)
  })

  it('are the slowest of each root operation too, forced ones among them', () => {
    const random = seeded(2)
    const strange = new Strange()
    const all: { id: string; us: number; root: string }[] = []
    for (let i = 0; i < 500; i++) {
      const us = Math.floor(random() * 1000)
      const root = `root ${i % 3}`
      const trace = plain(i, [[0, 's', root, us]], { probability: i % 5 === 0 ? 0 : 0.5, startUs: 77 })
      strange.add(trace)
      all.push({ id: trace.id, us, root })
    }
    for (const root of ['root 0', 'root 1', 'root 2']) {
      const slowest = all.filter(trace => trace.root === root).sort((a, b) => b.us - a.us || (a.id < b.id ? -1 : 1))
      const found = parse(strange).filter(({ kind, root: { name } }) => kind === 'slow' && name === root)
      assert.deepEqual(
        found.map(({ traceId, durationUs, start, rank }) => ({ traceId, durationUs, start, rank })),
        slowest.slice(0, 10).map(({ id, us }, i) => ({ traceId: id, durationUs: us, start: 77, rank: i + 1 })),
      )
    }
    // All have the same shape, which isn't strange.
    assert.equal(parse(strange).filter(({ kind }) => kind === 'strange').length, 0)
  })

  it('are the same, to the last byte, however they are divided, with too many shapes or root operations as well', () => {
    const random = seeded(3)
    const traces = Array.from({ length: 600 }, (_, i) => {
      const parts = partsOf(drawTree(random))
      parts[0]![2] = `root ${Math.floor(random() * 8)}`
      return plain(i, parts, { probability: [1, 0.3, 0][i % 3]! })
    })
    const bounds = [
      [undefined, undefined],
      [
        { maxKeys: 100, maxGroups: 50 },
        { maxKeys: 40, maxGroups: 50 },
      ],
      [
        { maxKeys: 100, maxGroups: 3 },
        { maxKeys: 1000, maxGroups: 3 },
      ],
    ] as const
    for (const [roots, shapes] of bounds) {
      const make = () => new Strange(roots, shapes)
      const one = linesOf(divided(make, traces, 1, random))
      for (const parts of [2, 10]) assert.deepEqual(linesOf(divided(make, traces, parts, random)), one)
    }
  })

  it('say how many shapes there are about, if these are more than are kept', () => {
    const strange = new Strange(undefined, { maxKeys: 500, maxGroups: 10 })
    for (let i = 0; i < 5000; i++)
      strange.add(
        plain(i, [
          [0, 's', 'root', 1],
          [1, 's', `id ${i}`, 1],
        ]),
      )
    const [found] = parse(strange).filter(({ kind }) => kind === 'strange')
    assert.equal(found!.isSample, true)
    assert.ok(found!.shapes > 4000 && found!.shapes < 6000, `${found!.shapes}`)
    assert.deepEqual([found!.traces, found!.of, found!.share], [1, 5000, 0.0002])
  })

  it('may be deep or wide', () => {
    const strange = new Strange()
    const parts = Array.from({ length: 100_000 }, (_, i): Part => [i, 's', `op ${i % 3}`, 1])
    strange.add(plain(1, parts))
    strange.add(plain(2, [[0, 's', 'op 0', 1], ...parts.map(([, ...rest]): Part => [1, ...rest])]))
    for (let i = 3; i < 100; i++) strange.add(plain(i, [[0, 's', 'op 0', 1]]))
    const found = parse(strange).filter(({ kind }) => kind === 'strange')
    assert.deepEqual(found.map(({ spans }) => spans).sort(), [100_000, 100_001])
  })
})
