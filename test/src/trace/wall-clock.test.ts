import assert from 'node:assert/strict'
import { clock } from '../../../src/process/genuine'
import { WallClock } from '../../../src/trace/wall-clock'

describe('the wall clock', () => {
  const { now, wallMs } = clock
  afterEach(() => void Object.assign(clock, { now, wallMs }))

  /** Lets the clocks run, `offMs` apart from what Node says of them; the monotonic one takes `interruptedMs` for each reading. */
  function worstOf(offMs: number, interruptedMs: number): number {
    let ms = 1_000
    const trueOffsetMs = clock.timeOrigin() + offMs
    clock.now = () => (ms += interruptedMs)
    clock.wallMs = () => Math.floor(ms + trueOffsetMs)
    const wall = new WallClock()
    let worstMs = 0
    for (let i = 0; i < 100; i++) {
      ms += 1000.37
      worstMs = Math.max(worstMs, Math.abs(wall.offsetUs(clock.now()) / 1000 - trueOffsetMs))
    }
    return worstMs
  }

  it('is known to the millisecond, whatever Node’s own origin of time is off by', () => {
    for (const offMs of [0, 1.7, -1.7, 40, -3_600_000]) assert.ok(worstOf(offMs, 0) <= 1.001, String(worstOf(offMs, 0)))
  })

  it('isn’t mistaken when the process is interrupted between two readings', () => {
    assert.ok(worstOf(0, 25) <= 0.001)
    assert.ok(worstOf(1.7, 25) <= 1.701)
  })
})
