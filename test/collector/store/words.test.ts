import assert from 'node:assert/strict'
import { VALUES, Words } from '../../../collector/src/store/embedded/segments/words'
import { indexPolicy } from '../../../collector/src/store/search/index-policy'

/** FNV-1a, which anybody can compute. */
function fnv(hash: number, bytes: Buffer): number {
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash
}

/** 2^n words that FNV-1a takes for one: n times two pieces that lead from one state to the same next one (Joux, 2004). */
function colliding(n: number): Buffer[] {
  let words = [Buffer.alloc(0)]
  let state = VALUES
  for (let i = 0; i < n; i++) {
    const seen = new Map<number, number>()
    const piece = Buffer.alloc(4)
    for (let k = 0; ; k++) {
      piece.writeUInt32LE(Math.imul(k, 0x9e3779b1) >>> 0)
      const hash = fnv(state, piece)
      const other = seen.get(hash)
      seen.set(hash, piece.readUInt32LE())
      if (other === undefined) continue
      const otherPiece = Buffer.alloc(4)
      otherPiece.writeUInt32LE(other)
      words = words.flatMap(word => [Buffer.concat([word, otherPiece]), Buffer.concat([word, piece])])
      state = hash
      break
    }
  }
  return words
}

describe('words of a segment', () => {
  it('are told apart as fast when a sender has chosen them to meet in one slot', () => {
    const words = new Words(indexPolicy(undefined))
    let compared = 0
    const { is } = words as unknown as { is(...given: unknown[]): boolean }
    Object.assign(words, {
      is(...given: unknown[]) {
        compared++
        return is.apply(words, given)
      },
    })
    const chosen = colliding(7)
    for (const word of chosen) words.add(VALUES, word, 0, word.length)
    assert.equal(words.termCount, 128)
    assert.ok(compared < 128, `${compared} comparisons`)
  })
})
