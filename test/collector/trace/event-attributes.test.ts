import assert from 'node:assert/strict'
import { buildTrace, readEvent } from '../../../collector/src/trace'
import { custom, local } from './records'

const eventsOf = (json: string | undefined, ...values: [at: number, value: string][]) => {
  const annotations = new Map(json === undefined ? [] : [['otel.events', json]])
  const events = values.map(([at, value]) => custom(at, value))
  return buildTrace([local(1n, { from: 0, to: 100, annotations, events })]).spans[0]!.events
}

describe('the attributes of events', () => {
  it('stand with the event that they belong to, also where the events came in another order than they happened', () => {
    const json = JSON.stringify({
      0: { attributes: { 'exception.type': 'IOError', 'retry.count': 3 } },
      2: { attributes: { key: 'a' }, droppedAttributesCount: 1 },
    })
    assert.deepEqual(
      eventsOf(json, [30, 'exception'], [20, 'plain'], [10, 'cache miss']).map(({ value, attributes }) => [
        value,
        attributes,
      ]),
      [
        ['cache miss', { key: 'a' }],
        ['plain', undefined],
        ['exception', { 'exception.type': 'IOError', 'retry.count': '3' }],
      ],
    )
  })

  it('are left out where they make no sense', () => {
    for (const json of [
      '',
      'no JSON',
      '[]',
      'null',
      '{"0":1}',
      '{"0":{"attributes":[]}}',
      '{"0":{"attributes":{}}}',
      '{"7":{"attributes":{"a":"b"}}}',
    ]) {
      assert.deepEqual(eventsOf(json, [10, 'e']), [{ time: 10, value: 'e', side: 'local' }], json)
    }
    assert.deepEqual(eventsOf(undefined, [10, 'e']), [{ time: 10, value: 'e', side: 'local' }])
  })

  it("don't change what objects inherit", () => {
    const [event] = eventsOf('{"0":{"attributes":{"__proto__":{"polluted":"yes"},"constructor":"x"}}}', [10, 'e'])
    assert.deepEqual(Object.entries(event!.attributes!), [
      ['__proto__', '{"polluted":"yes"}'],
      ['constructor', 'x'],
    ])
    assert.equal(({} as Record<string, unknown>).polluted, undefined)
  })

  it("are read from the text that OpenTelemetry's exporters write for Zipkin", () => {
    assert.deepEqual(readEvent('"exception":{"exception.type":"E","lines":2}'), {
      name: 'exception',
      attributes: { 'exception.type': 'E', lines: '2' },
    })
    for (const text of ['cache miss', '"quoted"', '"a":{}', '"a":{"b":1},"c":{"d":1}', '"a":{"b":', '{"a":1}', '']) {
      assert.deepEqual(readEvent(text), { name: text })
    }
  })
})
