import assert from 'node:assert/strict'
import { Counter, Weight } from '../../../../collector/src/store/activity/counter'
import { OTHER } from '../../../../collector/src/store/activity/model'
import {
  type Delta,
  deltaEntries,
  edgeKey,
  edgeOf,
  keyWord,
  mergeRow,
  mergeSteps,
  operationKey,
  operationOf,
  readDelta,
  readRow,
  rowEntries,
  writeDelta,
  writeRow,
} from '../../../../collector/src/store/activity/rows'
import { StoreError } from '../../../../collector/src/store/store'
import { dice } from './dice'

const roll = dice(3)

function counter(calls: number, p = 1, sign = 1): Counter {
  const made = new Counter()
  const weight = new Weight().set(p)
  for (let i = 0; i < calls; i++) {
    const [duration, isError] = [Math.round(Math.exp(roll() * 15)), roll() < 0.1]
    made.add(weight, Math.floor(roll() * 32), i % 3 === 0, isError, duration, sign)
    if (sign > 0) made.show(i, -i, 1.7e15 + i, duration, isError)
  }
  return made
}

const operation = (name: string, service = 'shop') => operationKey({ service, name, side: 'server' })
const edge = (callerName: string, callee = 'stock', calleeName = 'get', caller = 'shop') =>
  edgeKey({ caller, callerName, callee, calleeName })
const body = (calls: Record<string, number>) =>
  writeRow(new Map(Object.entries(calls).map(([key, n]) => [key, counter(n)])))
const callsOf = (row: Buffer) => Object.fromEntries([...readRow(row)].map(([key, { calls }]) => [key, calls]))

describe('keys of activity', () => {
  it('are made of their words and become them again', () => {
    const key = { service: 'shop', name: '', side: 'local' as const }
    assert.deepEqual(operationOf(operationKey(key)), key)
    const call = { caller: 'a', callerName: '', callee: 'ä 🙂', calleeName: 'x' }
    assert.deepEqual(edgeOf(edgeKey(call)), call)
  })

  it('have words of at most 256 characters, of Unicode, without what divides them', () => {
    assert.equal(keyWord('a\0b'), 'a\ufffdb')
    assert.equal(keyWord('x'.repeat(1e6)), 'x'.repeat(256))
    assert.equal(keyWord(`${'x'.repeat(255)}🙂`), `${'x'.repeat(255)}\ufffd`)
    assert.equal(keyWord('🙂\ude42'), '🙂\ufffd')
  })

  it('of another form are refused', () => {
    for (const key of ['', 'a\0b', 'a\0b\0c', 'a\0b\0server\0'])
      assert.throws(() => operationOf(key), { code: 'MILO_STORE_DAMAGED' })
    for (const key of ['a\0b\0c', 'a\0b\0c\0d\0e']) assert.throws(() => edgeOf(key), { code: 'MILO_STORE_DAMAGED' })
  })
})

describe('a row of activity', () => {
  it('is read as it was written', () => {
    const counters = new Map([
      [operation('get'), counter(50)],
      [operation('get', 'shöp🙂'), counter(5, 0.3)],
      [operation('get', 'shöp🙃'), counter(5, 0.01)],
      [operation('', ''), counter(1, Number.NaN)],
      [operation('x'.repeat(256), 'y'.repeat(256)), counter(3, 0.5, -1)],
      [operation('none'), new Counter()],
    ])
    const row = writeRow(counters)
    const read = readRow(row)
    assert.deepEqual([...read.keys()].sort(), [...counters.keys()].sort())
    for (const [key, { calls, records, unknown, durations }] of read) {
      const was = counters.get(key)!
      assert.deepEqual([calls, records, unknown], [was.calls, was.records, was.unknown])
      assert.equal(durations.quantile(0.5), was.durations.quantile(0.5))
    }
    assert.deepEqual(writeRow(read), row)
  })

  it('can be read in part: entries that nobody takes are passed over', () => {
    const row = body({ [operation('a')]: 3, [operation('b')]: 4, [operation('c')]: 5 })
    const sum = new Counter()
    const keys: string[] = []
    for (const entry of rowEntries(row)) {
      keys.push(operationOf(entry.key).name)
      if (entry.key !== operation('b')) entry.addTo(sum)
    }
    assert.deepEqual(keys, ['a', 'b', 'c'])
    assert.equal(sum.calls, 8)
  })

  it('adds up', () => {
    const row = body({ [operation('a')]: 3, [operation('b')]: 4 })
    const both = mergeRow(
      'operations',
      row,
      [
        [operation('b'), counter(2)],
        [operation('c'), counter(7)],
      ],
      10,
    )
    assert.deepEqual(callsOf(both), { [operation('a')]: 3, [operation('b')]: 6, [operation('c')]: 7 })
    assert.deepEqual(callsOf(mergeRow('operations', undefined, [[operation('c'), counter(7)]], 10)), {
      [operation('c')]: 7,
    })
  })

  it('leaves out what corrections took back', () => {
    const calls = counter(3, 0.3)
    const row = writeRow(new Map([[edge('a'), calls]]))
    const back = new Counter()
    back.merge(calls, -1)
    const after = mergeRow(
      'calls',
      row,
      [
        [edge('a'), back],
        [edge('b'), calls],
      ],
      10,
    )
    assert.deepEqual([...readRow(after).keys()], [edge('b')])
  })

  it('keeps the busiest operations by name and counts the rest by side', () => {
    const client = operationKey({ service: 'shop', name: 'c', side: 'client' })
    const row = body({ [operation('a')]: 5, [operation('b')]: 9, [client]: 1, [operation('d')]: 2 })
    const other = operation(OTHER)
    const expected = {
      [operation('a')]: 5,
      [operation('b')]: 9,
      [other]: 2,
      [operationKey({ service: 'shop', name: OTHER, side: 'client' })]: 1,
    }
    const merged = mergeRow('operations', row, [], 2)
    assert.deepEqual(callsOf(merged), expected)
    const more = mergeRow('operations', merged, [[operation('e'), counter(3)]], 2)
    assert.deepEqual(callsOf(more), { ...expected, [other]: 5 })
  })

  it('takes a correction of what was counted as other from there', () => {
    const row = mergeRow('calls', body({ [edge('a')]: 5, [edge('b')]: 1 }), [], 1)
    const other = edge(OTHER, 'stock', OTHER)
    assert.deepEqual(callsOf(row), { [edge('a')]: 5, [other]: 1 })
    assert.deepEqual(callsOf(mergeRow('calls', row, [[edge('b'), counter(1, 1, -1)]], 5)), { [edge('a')]: 5 })
  })

  it('keeps the services of calls that it doesn’t keep by name, while there aren’t too many', () => {
    const calls = {
      [edge('a')]: 50,
      [edge('a', 'x')]: 5,
      [edge('b', 'x')]: 4,
      [edge('a', 'y')]: 3,
      [edge('a', 'z')]: 2,
    }
    const others = (callee: string) => edge(OTHER, callee, OTHER)
    assert.deepEqual(callsOf(mergeRow('calls', body(calls), [], 1)), {
      [edge('a')]: 50,
      [others('x')]: 9,
      [others(OTHER)]: 5,
    })
    const callers = { [edge('a')]: 9, [edge('a', 'stock', 'get', 'x')]: 5, [edge('a', 'stock', 'get', 'y')]: 3 }
    assert.deepEqual(callsOf(mergeRow('callers', body(callers), [], 1)), {
      [edge('a')]: 9,
      [edge(OTHER, 'stock', OTHER, 'x')]: 5,
      [edge(OTHER, 'stock', OTHER, OTHER)]: 3,
    })
  })

  it('has no more than so many keys and loses no call, whatever comes', () => {
    let row: Buffer | undefined
    let calls = 0
    for (let round = 0; round < 20; round++) {
      const additions = Array.from({ length: 20 }, (): [string, Counter] => {
        const n = 1 + Math.floor(roll() ** 4 * 50)
        calls += n
        return [edge(`n${Math.floor(roll() * 40)}`, `s${Math.floor(roll() * 60)}`), counter(n)]
      })
      row = mergeRow('calls', row, additions, 10)
      const sums = Object.values(callsOf(row))
      assert.ok(sums.length <= 21)
      assert.equal(
        sums.reduce((a, b) => a + b),
        calls,
      )
    }
  })
})

describe('the merging of a row to which much is added', () => {
  it('ends in steps, so that others have their turn, and loses nothing', () => {
    const additions = Array.from({ length: 5_000 }, (_, i): [string, Counter] => [edge(`n${i}`), counter(1 + (i % 7))])
    const before = body({ [edge('a')]: 9, [edge('n1')]: 100 })
    const steps = mergeSteps('calls', before, additions, 50)
    let count = 0
    let step = steps.next()
    for (; !step.done; step = steps.next()) count++
    // Each addition is a step when it is added, and two when it is told whether it is among the busiest.
    assert.ok(count > 15_000, `${count}`)
    const calls = callsOf(step.value)
    assert.equal(Object.keys(calls).length, 51)
    assert.equal(calls[edge('n1')], 102)
    assert.equal(calls[edge('a')], 9)
    const sum = Object.values(calls).reduce((a, b) => a + b)
    assert.equal(
      sum,
      additions.reduce((n, [, { calls }]) => n + calls, 109),
    )
    assert.deepEqual(step.value, mergeRow('calls', before, additions, 50))
  })
})

describe('a delta of activity', () => {
  const delta = (): Delta =>
    new Map([
      [
        29_000_000,
        { operations: new Map([[operation('a'), counter(3, 0.1)]]), edges: new Map([[edge('a'), counter(2)]]) },
      ],
      [-7, { operations: new Map(), edges: new Map([[edge('b'), counter(2, 0.3, -1)]]) }],
      [29_000_001, { operations: new Map([[operation('b'), counter(1)]]), edges: new Map() }],
    ])

  it('is read as it was written, as a whole and by entries', () => {
    const written = writeDelta(delta())
    const read = readDelta(written)
    const shape = (of: Delta) =>
      [...of].map(([minute, { operations, edges }]) => [minute, [...operations.keys()], [...edges.keys()]])
    assert.deepEqual(shape(read), shape(delta()))
    assert.deepEqual(writeDelta(read), written)
    const entries: unknown[] = []
    for (const { minute, kind, key } of deltaEntries(written)) entries.push([minute, kind, key])
    assert.deepEqual(entries, [
      [29_000_000, 'operations', operation('a')],
      [29_000_000, 'edges', edge('a')],
      [-7, 'edges', edge('b')],
      [29_000_001, 'operations', operation('b')],
    ])
    assert.deepEqual(readDelta(writeDelta(new Map())), new Map())
  })

  it('that is damaged gives an error of the store or other numbers, but nothing else, and soon', () => {
    const good = [writeDelta(delta()), writeRow(readRow(body({ [operation('a')]: 30, [operation('b')]: 2 })))]
    let refused = 0
    for (const [i, bytes] of good.entries()) {
      const read = (damaged: Buffer) => {
        try {
          if (i === 0) readDelta(damaged)
          else readRow(damaged)
        } catch (error) {
          assert.ok(error instanceof StoreError && error.code === 'MILO_STORE_DAMAGED', String(error))
          refused++
        }
      }
      for (let end = 0; end < bytes.length; end++) {
        const before = refused
        read(bytes.subarray(0, end))
        assert.equal(refused, before + 1, `cut at ${end}`)
      }
      for (let round = 0; round < 3000; round++) {
        const damaged = Buffer.from(bytes)
        for (let n = 0; n <= roll() * 3; n++)
          damaged[Math.floor(roll() * bytes.length)] = roll() < 0.5 ? 255 : roll() * 256
        read(damaged)
      }
      assert.throws(() => readRow(Buffer.alloc(100_000, 255)), { code: 'MILO_STORE_DAMAGED' })
      assert.throws(() => readRow(Buffer.concat([bytes, Buffer.alloc(1)])), { code: 'MILO_STORE_DAMAGED' })
    }
    assert.ok(refused > 1000)
  })
})
