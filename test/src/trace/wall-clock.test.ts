import assert from 'node:assert/strict'
import { clock } from '../../../src/process/genuine'
import { WallClock } from '../../../src/trace/wall-clock'

describe('the wall clock of traces', () => {
  it('is right again at once where the other clock was ahead for a while, as a test’s may be', () => {
    const genuineNow = clock.now
    const wall = new WallClock()
    try {
      clock.now = () => genuineNow() + 3_600_000
      wall.offsetUs(clock.now())
    } finally {
      clock.now = genuineNow
    }
    const before = Date.now()
    const monotonicMs = clock.now()
    const us = wall.offsetUs(monotonicMs) + monotonicMs * 1000
    assert.ok(us >= (before - 5) * 1000 && us <= (Date.now() + 5) * 1000, `${us / 1000 - before} ms off`)
  })
})
