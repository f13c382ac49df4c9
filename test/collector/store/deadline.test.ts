import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import { inParallel } from '../../../collector/src/store/deadline'

describe('parallel work', () => {
  it('handles every item, and no more at once than it may', async () => {
    const handled: number[] = []
    let running = 0
    let mostRunning = 0
    await inParallel([1, 2, 3, 4, 5], 2, async item => {
      mostRunning = Math.max(mostRunning, ++running)
      await setImmediate()
      running--
      handled.push(item)
    })
    assert.deepEqual(handled, [1, 2, 3, 4, 5])
    assert.equal(mostRunning, 2)
  })

  it('rejects with the first error and starts nothing after it', async () => {
    const started: number[] = []
    const failing = inParallel([1, 2, 3, 4, 5, 6], 2, async item => {
      started.push(item)
      await setImmediate()
      if (item === 2) throw new Error('the second item failed')
    })
    await assert.rejects(failing, /the second item failed/)
    const startedBefore = [...started]
    for (let turns = 0; turns < 5; turns++) await setImmediate()
    assert.deepEqual(started, startedBefore)
    assert.ok(started.length <= 3, String(started))
  })
})
