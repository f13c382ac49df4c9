import assert from 'node:assert/strict'
import fc from 'fast-check'
import { IdMap } from '../../../collector/src/record/ids'
import { scanRecords } from '../../../collector/src/record/records'
import {
  addOfTraces,
  nodesOf,
  type SpanRow,
  slotOf,
  spanRows,
} from '../../../collector/src/store/cassandra-mysql/span-rows'
import type { Entry } from '../../../collector/src/store/pipeline/entry'
import { messageOf } from '../../contract/store-contract'

const RECEIVED_US = 1_790_000_000_000_000n

interface Sent {
  traceId: bigint
  id: bigint
  name: string
}

function entry(id: bigint, records: Sent[]): Entry {
  const { body, spans } = messageOf(records)
  return { id, receivedUs: RECEIVED_US, body, start: 0, end: body.length, spans }
}

/** What a reader gets of a trace who knows its seconds. */
function read(rows: SpanRow[], traceId: bigint, slots: Set<bigint>): bigint[] {
  const nodes = new Set(nodesOf(traceId))
  const ids: bigint[] = []
  for (const { slot, node, records } of rows) {
    if (!slots.has(slot) || !nodes.has(node)) continue
    const add = (some: Buffer) => {
      scanRecords(some, (_start, _end, { traceIdAt, idAt }) => {
        assert.equal(some.readBigInt64BE(traceIdAt), traceId)
        ids.push(some.readBigInt64BE(idAt))
      })
      return true
    }
    addOfTraces(records, new IdMap([[traceId, { traceId, add }]]))
  }
  return ids
}

const sortedIds = (ids: bigint[]) => [...ids].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))

describe('rows of spans', () => {
  it('have every record of a trace at its nodes, once, however much is settled together', () => {
    const traceIds = fc.oneof(fc.bigInt({ min: 0n, max: 40n }), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }))
    const message = fc.array(fc.tuple(traceIds, fc.integer({ min: 0, max: 20_000 })), { minLength: 1, maxLength: 30 })
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.bigInt({ min: 0n, max: 3_000_000n }), message)), messages => {
        let spanId = 0n
        const sent: Sent[] = []
        const slots = new Map<bigint, Set<bigint>>()
        const entries = messages.map(([number, of]) => {
          const id = RECEIVED_US + number
          const records = of.map(([traceId, length]) => {
            slots.set(traceId, (slots.get(traceId) ?? new Set()).add(slotOf(id)))
            return { traceId, id: ++spanId, name: 'x'.repeat(length) }
          })
          sent.push(...records)
          return entry(id, records)
        })
        const rows = spanRows(entries)
        for (const [traceId, of] of slots) {
          const wanted = sent.filter(record => record.traceId === traceId).map(({ id }) => id)
          assert.deepEqual(sortedIds(read(rows, traceId, of)), sortedIds(wanted))
        }
      }),
    )
  })

  it('are about as large as is good to read, whether ids are random, count up, or count up in their high half', () => {
    for (const idOf of [(i: number) => BigInt(i), (i: number) => BigInt(i) << 32n, (i: number) => BigInt(i) << 44n]) {
      const sent = Array.from({ length: 20_000 }, (_, i) => ({ traceId: idOf(i), id: 1n, name: 'x'.repeat(250) }))
      const rows = spanRows([entry(RECEIVED_US, sent)])
      const sizes = rows.map(({ records }) => records.length)
      assert.ok(Math.max(...sizes) < 32 * 1024, `${idOf(1)}: ${Math.max(...sizes)}`)
      assert.ok(rows.length < 1_024, `${idOf(1)}: ${rows.length}`)
    }
  })

  it('are larger for a trace that is large by itself, and leave its neighbors theirs', () => {
    const large = Array.from({ length: 5_000 }, (_, i) => ({ traceId: 5n, id: BigInt(i), name: 'x'.repeat(250) }))
    const small = Array.from({ length: 5_000 }, (_, i) => ({ traceId: BigInt(i + 10), id: 1n, name: 'x'.repeat(250) }))
    const rows = spanRows([entry(RECEIVED_US, [...large, ...small])])
    const own = rows.filter(({ node }) => node > 2n ** 32n)
    assert.ok(own.length < 10 && own.every(({ records }) => records.length <= 256 * 1024), String(own.length))
    const wanted = nodesOf(10n)
    const read = rows.filter(({ node }) => wanted.includes(node))
    assert.ok(read.length === 1 && read[0]!.records.length < 32 * 1024, String(read.length))
  })
})
