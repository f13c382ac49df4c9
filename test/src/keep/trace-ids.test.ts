import assert from 'node:assert/strict'
import { TraceIds } from '../../../src/keep/kept'
import { seeded } from '../../helpers/seeded'

describe('the ids of the traces that are kept', () => {
  // As a peer may make them. Of random ones, one of 10,000,000 such lists loses an id, since a set has eight places.
  const KINDS: Record<string, (i: number) => [number, number]> = {
    'count up': i => [0, i],
    'count up in steps': i => [7, i * 4096],
    'count up in the high half': i => [i, 0],
    'are times, and count up': i => [Math.floor(i / 10), (i % 10) * 65_536],
    'count up in the bytes of both halves': i => [i << 24, i],
    'have equal halves': i => [i * 2_654_435, i * 2_654_435],
  }
  for (const [what, idOf] of Object.entries(KINDS)) {
    it(`are all found, though they ${what}, whatever the process's secret is`, () => {
      const seed = Number(process.env.MILO_TEST_SEED ?? 1)
      const random = seeded(seed)
      for (let n = 0; n < 2_000; n++) {
        const secret = Math.floor(random() * 2 ** 32) | 0
        const ids = new TraceIds(60, secret)
        for (let i = 1; i <= 150; i++) ids.add(...idOf(i), 1)
        for (let i = 1; i <= 150; i++)
          assert.notEqual(ids.find(...idOf(i), 1), -1, `${i} with the secret ${secret}, MILO_TEST_SEED=${seed}`)
      }
    })
  }
})
