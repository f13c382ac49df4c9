import assert from 'node:assert/strict'
import { storedTrace } from '../../../collector/src/record/records'
import { encodeRecord, readRecord } from '../../../src/codec/span'
import { span } from '../support'

describe("a trace's records as stores read them", () => {
  it('are decoded in turns, so that a long trace lets others run', async () => {
    const record = encodeRecord(span())
    const many = Buffer.concat(Array.from({ length: 50_000 }, () => record))
    let turns = 0
    const ticker = setInterval(() => turns++, 0)
    const { records: stored } = await storedTrace({ bytes: many, truncated: false })
    clearInterval(ticker)
    assert.equal(stored.length, 50_000)
    assert.ok(turns > 0)
    assert.deepEqual(stored.at(-1), stored[0])
    assert.deepEqual(stored.at(-1), readRecord(record, 0).record)
  })
})
