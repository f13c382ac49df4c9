import assert from 'node:assert/strict'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { buildTrace, buildTraceInSlices } from '../../../collector/src/trace'
import { client, half, server } from './records'

describe('building a trace in slices', () => {
  const records = Array.from({ length: 20_000 }, (_, i) => {
    const id = BigInt(i + 1)
    const call = { parentId: id / 3n, from: i, to: 1e6 - i }
    return [half(client, id, { ...call, clientHost: 'a' }), half(server, id, { ...call, serverHost: 'b' })]
  }).flat()

  it('gives the same trace as buildTrace, and lets other work run meanwhile', async () => {
    let turns = 0
    const ticker = setInterval(() => turns++, 0)
    const done: number[] = []
    const trace = await buildTraceInSlices(records, nextTurn, { sliceMs: 0, onProgress: part => done.push(part) })
    clearInterval(ticker)
    assert.deepEqual(trace, buildTrace(records))
    assert.ok(turns > 0)
    assert.ok(done.length > 10)
    assert.deepEqual(
      done,
      [...done].sort((a, b) => a - b),
    )
    assert.ok(done[0]! > 0 && done.at(-1)! <= 1)
  })

  it('passes on an error of the pause, and makes no pause when there is little to do', async () => {
    const never = async () => assert.fail('nothing to wait for')
    assert.deepEqual(await buildTraceInSlices([], never, { sliceMs: 60_000 }), buildTrace([]))
    await assert.rejects(
      buildTraceInSlices(records, () => Promise.reject(new Error('stopped')), { sliceMs: 0 }),
      /stopped/,
    )
  })
})
