import assert from 'node:assert/strict'
import type { GroupNode } from '../../../collector/src/http/answers'
import { buildTrace, diffTraces } from '../../../collector/src/trace'
import { groupKindOf, kindOf, partsOf, partsOfDiff, withAncestors } from '../../../collector/ui/compare/changes'
import { signed } from '../../../collector/ui/compare/signed'
import { local } from '../trace/records'

const span = (id: number, parent: number, name: string, from: number, to: number) =>
  local(BigInt(id), { parentId: BigInt(parent), name, service: 's', from: from * 1000, to: to * 1000 })

describe('a comparison', () => {
  const a = buildTrace([
    span(1, 0, 'root', 0, 100),
    span(2, 1, 'less', 0, 30),
    span(3, 1, 'gone', 30, 40),
    span(4, 1, 'even', 40, 60),
    span(5, 1, 'loop', 60, 70),
  ])
  const b = buildTrace([
    span(1, 0, 'root', 0, 150),
    span(2, 1, 'less', 0, 10),
    span(4, 1, 'even', 40, 60.5),
    span(5, 1, 'loop', 61, 66),
    span(6, 1, 'loop', 66, 71),
    span(7, 1, 'new', 71, 149),
  ])
  const diff = diffTraces(a, b)

  it('has a sign wherever the way is known', () => {
    assert.deepEqual(Object.fromEntries(diff.nodes.map(node => [node.name, kindOf(node)])), {
      ...{ root: 'more', less: 'less', gone: 'removed', even: 'same' },
      // As long as before, but twice instead of once.
      ...{ loop: 'more', new: 'added' },
    })
    assert.deepEqual([signed(-2, String), signed(3, String), signed(0, String)], ['−2', '+3', ''])
  })

  it('shows what differs below the calls that lead to it', () => {
    assert.deepEqual(
      withAncestors(diff.nodes, node => node.name === 'new').map(({ name }) => name),
      ['root', 'new'],
    )
    assert.deepEqual(
      withAncestors(diff.nodes, () => false),
      [],
    )
  })

  it('tells where the time went, and the parts of all calls add up to it', () => {
    const parts = partsOfDiff(diff)
    assert.deepEqual([parts[0]!.name, parts[0]!.change], ['new', 78_000])
    assert.equal(
      diff.nodes.reduce((sum, { criticalChange }) => sum + criticalChange, 0),
      50_000,
    )
    const twice = partsOf([
      { service: 's', name: 'x', criticalChange: 5000 },
      { service: 's', name: 'x', criticalChange: 4000 },
      { service: 't', name: 'x', criticalChange: -100 },
    ])
    assert.deepEqual(twice, [{ service: 's', name: 'x', change: 9000 }])
    assert.deepEqual(partsOf([]), [])
  })
})

describe('a comparison of groups', () => {
  const node = (
    beyondChance: GroupNode['beyondChance'],
    calls: number,
    time: number,
    inFast = 5,
    inSlow = 5,
  ): GroupNode => ({
    ...{ service: 's', name: 'x', depth: 0 },
    fast: { traces: inFast, calls: 1, time: 20_000, critical: 0, errors: 0 },
    slow: { traces: inSlow, calls: 1 + calls, time: 20_000 + time, critical: 0, errors: 0 },
    change: { calls, time, critical: 0 },
    beyondChance,
  })

  it('leaves out what chance explains, however large it is', () => {
    assert.equal(groupKindOf(node({ calls: false, time: false }, 9, 1e6)), 'same')
    assert.equal(groupKindOf(node({ calls: false, time: true }, -1, 10)), 'more')
    assert.equal(groupKindOf(node({ calls: true, time: false }, -1, 10)), 'less')
    assert.equal(groupKindOf(node({ calls: true, time: true }, 1, 10, 0)), 'added')
    assert.equal(groupKindOf(node({ calls: true, time: true }, -1, -10, 5, 0)), 'removed')
  })

  it('goes by the sizes where nobody can tell', () => {
    assert.equal(groupKindOf(node({ calls: null, time: null }, 0, 1500)), 'same')
    assert.equal(groupKindOf(node({ calls: null, time: null }, 0, -9000)), 'less')
    assert.equal(groupKindOf(node({ calls: null, time: null }, 1, 0)), 'more')
  })
})
