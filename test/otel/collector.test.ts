import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { buildTrace, failureOf, type Trace } from '../../collector/src/trace'
import { Writer } from '../../src/codec/binary'
import { readRecord } from '../../src/codec/span'
import { writeSpan } from '../../src/export/encode'
import { register, unregister } from '../../src/otel'
import { start, stop } from '../../src/testing'
import type { LiveSpan } from '../../src/trace/span'

describe('what milo/otel records', () => {
  const w = new Writer()
  let service: string
  const note = (message: unknown) => void writeSpan(w, (message as { span: LiveSpan }).span, service, `${service}-1`)

  beforeEach(() => {
    start()
    register()
    subscribe('milo:span:end', note)
  })

  afterEach(() => {
    unsubscribe('milo:span:end', note)
    unregister()
    stop()
  })

  /** What the collector makes of the spans that have ended. */
  function collected(): Trace {
    const bytes = w.take()
    const records = []
    for (let pos = 0; pos < bytes.length; ) {
      const { record, end } = readRecord(bytes, pos)
      records.push(record)
      pos = end
    }
    return buildTrace(records)
  }

  it('is read by the collector as OpenTelemetry’s own is: queues, the attributes of events, exceptions, links', () => {
    const tracer = trace.getTracer('t')
    const attributes = { 'messaging.system': 'kafka' }
    const headers = {}
    service = 'front'
    tracer.startActiveSpan('send orders', { kind: SpanKind.PRODUCER, attributes }, span => {
      propagation.inject(context.active(), headers)
      span.end()
    })
    service = 'worker'
    const caller = propagation.extract(ROOT_CONTEXT, headers)
    const span = tracer.startSpan('process orders', { kind: SpanKind.CONSUMER, attributes }, caller)
    span.addEvent('retried', { attempt: 2 })
    span.recordException(Object.assign(new RangeError('too many'), { stack: 'RangeError: too many\n    at work' }))
    span.setStatus({ code: SpanStatusCode.ERROR, message: 'gave up' })
    span.end()
    const [sent, processed, ...more] = collected().spans
    assert.deepEqual(more, [])
    assert.deepEqual(
      [sent!.name, sent!.depth, sent!.service, sent!.clientService],
      ['send orders', 0, 'kafka', 'front'],
    )
    assert.deepEqual(
      [processed!.name, processed!.depth, processed!.service, processed!.clientService],
      ['process orders', 1, 'worker', 'kafka'],
    )
    assert.deepEqual(
      processed!.events.map(({ value, attributes: said }) => [value, said?.attempt ?? said?.['exception.type']]),
      [
        ['retried', '2'],
        ['exception', 'RangeError'],
      ],
    )
    assert.deepEqual(failureOf(processed!), {
      type: 'RangeError',
      message: 'too many',
      stack: 'RangeError: too many\n    at work',
    })
    assert.equal(failureOf(sent!), null)
  })

  it('is a call of two services where a client calls a server', () => {
    const tracer = trace.getTracer('t')
    const headers = {}
    service = 'front'
    const client = tracer.startSpan('GET', { kind: SpanKind.CLIENT })
    propagation.inject(trace.setSpan(ROOT_CONTEXT, client), headers)
    service = 'back'
    tracer.startSpan('GET /x', { kind: SpanKind.SERVER }, propagation.extract(ROOT_CONTEXT, headers)).end()
    service = 'front'
    client.end()
    const { spans, services } = collected()
    assert.deepEqual(
      spans.map(({ name, depth, clientService, service: callee }) => [name, depth, clientService, callee]),
      [
        ['GET', 0, 'front', null],
        ['GET /x', 1, null, 'back'],
      ],
    )
    assert.deepEqual(services, ['back', 'front'])
  })
})
