import assert from 'node:assert/strict'
import { Routes } from '../../../src/export/routes'

describe('the emitter’s routes', () => {
  const addresses = [1, 2, 3].map(port => ({ host: 'scribe', port }))
  const options = { addresses, firstPauseMs: 50, longestPauseMs: 300, returnMs: 30_000 }
  const routes = (random = () => 1) => new Routes(options, random)

  it('try each address at once, pause after all have failed, and then go on with the first', () => {
    const all = routes()
    const ports = []
    const pauses = []
    for (let i = 0; i < 6; i++) {
      ports.push(all.choose(0).port)
      pauses.push(all.answered('failed', 0))
    }
    assert.deepEqual(ports, [1, 2, 3, 1, 2, 3])
    assert.deepEqual(pauses, [0, 0, 50, 0, 0, 100])
  })

  it('pause twice as long after each round, up to the longest; an OK begins with the shortest again', () => {
    const all = routes()
    const round = () => Math.max(...addresses.map(() => all.answered('refused', 0)))
    assert.deepEqual([round(), round(), round(), round(), round()], [50, 100, 200, 300, 300])
    all.answered('ok', 0)
    assert.equal(round(), 50)
  })

  it('spread a pause over its second half', () => {
    const pauses = [0, 0.5].map(n => {
      const all = routes(() => n)
      return Math.max(...addresses.map(() => all.answered('failed', 0)))
    })
    assert.deepEqual(pauses, [25, 37.5])
  })

  it('begin a new round with each OK', () => {
    const all = routes()
    all.answered('failed', 0)
    all.answered('failed', 0)
    all.answered('ok', 0)
    assert.deepEqual([all.answered('failed', 0), all.answered('failed', 0)], [0, 0])
  })

  it('return to the first address after its time to recover, which another failure there prolongs', () => {
    const all = routes()
    all.answered('failed', 1000)
    assert.equal(all.choose(30_999).port, 2)
    assert.equal(all.choose(31_000).port, 1)
    all.answered('try_later', 31_000)
    assert.equal(all.choose(31_000).port, 2)
    assert.equal(all.choose(61_000).port, 1)
  })

  it('are busy from a TRY_LATER until an OK, and for a second at least', () => {
    const all = routes()
    assert.equal(all.isBusy(0), false)
    all.answered('failed', 0)
    assert.equal(all.isBusy(0), false)
    all.answered('try_later', 5000)
    assert.equal(all.isBusy(60_000), true)
    all.answered('ok', 5500)
    assert.deepEqual([all.isBusy(5999), all.isBusy(6000)], [true, false])
    all.answered('failed', 6000)
    assert.equal(all.isBusy(6000), false)
  })
})
