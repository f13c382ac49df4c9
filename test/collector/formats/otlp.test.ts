import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Unusable } from '../../../collector/src/formats/fields'
import { parseJson } from '../../../collector/src/formats/json'
import { readOtlpJson, readOtlpProtobuf, toOtlpJson } from '../../../collector/src/formats/otlp'
import { messageType } from '../../../collector/src/formats/protobuf'
import { encodeRecord, readRecord, type SpanRecord } from '../../../src/codec/span'
import { flatten, type Json, otlpRequest, toProtobuf } from './otlp-arbitrary'

const requestType = () => messageType('opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest')

/** As they come back from the store. */
function stored(spans: Iterable<SpanRecord | Unusable>): SpanRecord[] {
  return [...spans].map(span => {
    if (span instanceof Unusable) throw new Error(`${span.reason}: ${span.message}`)
    return readRecord(encodeRecord(span), 0).record
  })
}

describe('OTLP', () => {
  it('goes into records and back without loss, from JSON', () => {
    fc.assert(
      fc.property(otlpRequest, request => {
        const records = stored(readOtlpJson(parseJson(Buffer.from(JSON.stringify(request)))))
        assert.deepEqual(flatten(toOtlpJson(records) as Json), flatten(request))
      }),
      { numRuns: 1000 },
    )
  })

  it('makes the same records of protobuf as of JSON', () => {
    fc.assert(
      fc.property(otlpRequest, request => {
        const fromJson = stored(readOtlpJson(request))
        assert.deepEqual(stored(readOtlpProtobuf(toProtobuf(request, requestType()))), fromJson)
      }),
      { numRuns: 1000 },
    )
  })
})
