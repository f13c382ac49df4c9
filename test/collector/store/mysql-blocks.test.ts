import assert from 'node:assert/strict'
import fc from 'fast-check'
import { BLOCK_PLACES, type Block, blocksOf, placesIn } from '../../../collector/src/store/cassandra-mysql/mysql-blocks'
import { durationHex, ordered } from '../../../collector/src/store/cassandra-mysql/mysql-terms'
import { comparePlaces, I64_MAX, I64_MIN, type Place } from '../../../collector/src/store/search/place'

const SPAN_TAIL = '0123456789abcdef01aabbccddeeff'

function hexOf({ startUs, traceId }: Place, tail: string): string {
  return ordered(startUs) + ordered(traceId) + tail
}

/** @param places with their tails, in hex and in any order */
function blocks(places: string[]): Block[] {
  const sorted = [...places].sort().reverse()
  return [...blocksOf(Buffer.from(sorted.join(''), 'hex'), (places[0]?.length ?? 0) / 2)]
}

function unpacked({ place, older }: Block, leastTail?: string): Place[] {
  const least = leastTail === undefined ? undefined : Buffer.from(leastTail, 'hex')
  return [...placesIn(Buffer.from(place, 'hex'), Buffer.from(older, 'hex'), least)]
}

describe("blocks in MySQL's index", () => {
  it('give every place back, those of a block in order and of one window, whatever the places are', () => {
    const start = fc.oneof(
      fc.bigInt(0n, 2n ** 22n),
      fc.bigInt(I64_MIN, I64_MAX),
      fc.constantFrom(I64_MIN, -1n, I64_MAX),
    )
    const place = fc.record({ startUs: start, traceId: fc.bigInt(I64_MIN, I64_MAX) })
    fc.assert(
      fc.property(fc.array(place, { maxLength: 300 }), fc.constantFrom(durationHex(-1), SPAN_TAIL), (places, tail) => {
        const all: Place[] = []
        for (const block of blocks(places.map(place => hexOf(place, tail)))) {
          const some = unpacked(block)
          assert.deepEqual(
            some,
            [...some].sort((a, b) => comparePlaces(b, a)),
          )
          assert.equal(new Set(some.map(({ startUs }) => startUs >> 20n)).size, 1)
          all.push(...some)
        }
        const hexes = (of: Place[]) => of.map(place => hexOf(place, tail)).sort()
        assert.deepEqual(hexes(all), hexes(places))
      }),
    )
  })

  it('have a limited length, and one place alone no more than itself', () => {
    const places = Array.from({ length: 2 * BLOCK_PLACES + 1 }, (_, i) => ({ startUs: BigInt(i), traceId: 1n }))
    for (const tail of [durationHex(7), SPAN_TAIL]) {
      const made = blocks(places.map(place => hexOf(place, tail)))
      assert.deepEqual(
        made.map(block => unpacked(block).length),
        [BLOCK_PLACES, BLOCK_PLACES, 1],
      )
      assert.deepEqual(made[2], { place: hexOf(places[0]!, tail), older: '' })
      for (const { place, older } of made) assert.ok(place.length <= 2 * 37 && older.length <= 2 * 3302)
    }
  })

  it('that begin alike and go on otherwise are rows of their own; the same ones are the same', () => {
    const [newest, second, third] = [3n, 2n, 1n].map(startUs => hexOf({ startUs, traceId: 5n }, durationHex(9)))
    const rows = [[newest], [newest, second], [newest, third], [newest, second, third], [third, newest, second]]
    const keys = rows.map(places =>
      blocks(places as string[])
        .map(({ place }) => place)
        .join(),
    )
    assert.equal(new Set(keys).size, 4)
    assert.equal(keys[3], keys[4])
  })

  it('leave out the places whose records were too short', () => {
    const places = [40, -1, 1000, 999].map((us, i) => hexOf({ startUs: BigInt(i), traceId: 5n }, durationHex(us)))
    const [block] = blocks(places)
    const starts = (least: number) => unpacked(block!, durationHex(least)).map(({ startUs }) => Number(startUs))
    assert.deepEqual([starts(-1), starts(0), starts(1000)], [[3, 2, 1, 0], [3, 2, 0], [2]])
  })
})
