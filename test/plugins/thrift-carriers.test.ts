import assert from 'node:assert/strict'
import { readCallTrace } from '../../plugins/thrift/carriers/calltrace'
import { FIELD_BYTES, FIELD_ID, fieldLength, putField, readField } from '../../plugins/thrift/carriers/field'
import { Kind, LiveSpan, Trace } from '../../src/trace/span'

const sink = { add() {}, truncated() {} }
const span = (probability: number, high = 0, sampled = true, debug = false) =>
  new LiveSpan(
    sink,
    new Trace(0x11223344, -2, high, high, sampled, debug, probability, 0),
    0x55667788,
    3,
    -1,
    -1,
    Kind.CLIENT,
    'x',
    0,
  )

function field(of: LiveSpan): Buffer {
  const length = fieldLength(of)
  const b = Buffer.alloc(length + 4, 0xee)
  putField(b, 2, of, length)
  assert.equal(b[1], 0xee)
  assert.equal(b[length + 2], 0xee)
  return b.subarray(2, length + 2)
}

describe('propagation: Milo’s field', () => {
  it('has the id 6456 and 29 bytes, for good: flags, trace, span, parent, probability', () => {
    assert.equal(FIELD_ID, 6456)
    assert.equal(
      field(span(0.5)).toString('hex'),
      '01' + '11223344fffffffe' + '5566778800000003' + 'ffffffffffffffff' + '3f000000',
    )
    assert.equal(
      field(span(0, 0, true, true))
        .toString('hex')
        .slice(0, 2),
      '03',
    )
  })

  it('adds the high half of a 128-bit trace id when there is one', () => {
    const bytes = field(span(1, 7))
    assert.equal(bytes.length, 37)
    assert.equal(bytes[0], 5)
    const context = readField(bytes, 0, bytes.length)!
    assert.deepEqual([context.highHi, context.highLo], [7, 7])
  })

  it('sends an unsampled call’s first byte alone', () => {
    assert.equal(field(span(Number.NaN, 0, false)).toString('hex'), '00')
    const context = readField(Buffer.from([0]), 0, 1)!
    assert.equal(context.sampled, false)
    assert.equal(context.hasIds, false)
  })

  it('says of an unsampled call that its trace is recorded, with ids and probability 0', () => {
    for (const high of [0, 7]) {
      const recorded = span(0, high, false)
      recorded.trace.recorded = true
      const bytes = field(recorded)
      assert.equal(bytes.length, high === 0 ? 29 : 37)
      assert.equal(bytes[0], high === 0 ? 8 : 12)
      const context = readField(bytes, 0, bytes.length)!
      const { sampled, recorded: isRecorded, hasIds, debug, hi, lo, spanHi, spanLo, highLo, probability } = context
      assert.deepEqual([sampled, isRecorded, hasIds, debug, probability], [false, true, true, false, 0])
      assert.deepEqual([hi, lo, spanHi, spanLo, highLo], [0x11223344, -2, 0x55667788, 3, high])
    }
    // Who is sampled isn't recorded besides, whatever the bits say.
    const both = field(span(1))
    both[0]! |= 8
    const context = readField(both, 0, both.length)!
    assert.deepEqual([context.sampled, context.recorded], [true, false])
  })

  it('reads back ids with the high bit set exactly, and the probability', () => {
    const bytes = field(span(Math.fround(0.1)))
    const context = readField(bytes, 0, bytes.length)!
    assert.deepEqual(
      [context.hi, context.lo, context.spanHi, context.spanLo, context.parentHi, context.parentLo],
      [0x11223344, -2, 0x55667788, 3, -1, -1],
    )
    assert.equal(context.probability, Math.fround(0.1))
    assert.ok(context.sampled && context.hasIds && context.sharesSpan)
  })

  it('ignores a longer tail, and accepts ids in an unsampled call', () => {
    const bytes = Buffer.concat([field(span(1)), Buffer.alloc(20, 9)])
    assert.equal(readField(bytes, 0, bytes.length)!.spanLo, 3)
    const unsampled = Buffer.from(bytes)
    unsampled[0] = 0
    const context = readField(unsampled, 0, FIELD_BYTES)!
    assert.equal(context.sampled, false)
    assert.equal(context.hasIds, true)
    assert.equal(context.spanLo, 3)
  })

  it('refuses another version, too few bytes for its flags, and ids of zero', () => {
    const bytes = field(span(1))
    const changed = (at: number, value: number) => {
      const b = Buffer.from(bytes)
      b[at] = value
      return b
    }
    assert.equal(readField(changed(0, 0x11), 0, 29), undefined)
    for (let length = 0; length < 29; length++) assert.equal(readField(bytes, 0, length), undefined)
    assert.equal(readField(changed(0, 0x05), 0, 29), undefined)
    assert.equal(readField(Buffer.concat([Buffer.from([1]), Buffer.alloc(28)]), 0, 29), undefined)
  })

  it('takes a probability that isn’t one for unknown', () => {
    for (const value of [Number.NaN, -1, 2, Number.POSITIVE_INFINITY]) {
      const bytes = Buffer.from(field(span(1)))
      bytes.writeFloatBE(value, 25)
      assert.ok(Number.isNaN(readField(bytes, 0, 29)!.probability))
    }
  })

  it('reads CALLTRACE’s 24 bytes as a sampled context of unknown probability', () => {
    const context = readCallTrace(field(span(1)).subarray(1, 25))!
    assert.ok(context.sampled && Number.isNaN(context.probability))
    assert.equal(context.spanHi, 0x55667788)
  })
})
