import assert from 'node:assert/strict'
import { findTraceId } from '../../../collector/src/trace'

describe('the trace id in what people paste', () => {
  const cases: [what: string, pasted: string, id: string | null][] = [
    ['16 hex digits', '112210f47de98115', '112210f47de98115'],
    ['32 hex digits', '4bf92f3577b34da6a3ce929d0e0e4736', '4bf92f3577b34da6a3ce929d0e0e4736'],
    ['capitals and blanks around', '  112210F47DE98115\n', '112210f47de98115'],
    ['hex with 0x', '0x112210f47de98115', '112210f47de98115'],
    ['hex without its leading zeros', 'abc123', '0000000000abc123'],
    ['more than 16 digits without leading zeros', 'f112210f47de98115', '000000000000000f112210f47de98115'],
    ['decimal, as the original printed ids', '1234567890123456789', '1234567890123456789'],
    ['a negative decimal', '-42', '-42'],
    ['quotes', '"112210f47de98115"', '112210f47de98115'],
    ['a UUID', '4bf92f35-77b3-4da6-a3ce-929d0e0e4736', '4bf92f3577b34da6a3ce929d0e0e4736'],
    ['traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', '4bf92f3577b34da6a3ce929d0e0e4736'],
    [
      'traceparent with its name',
      'Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      '4bf92f3577b34da6a3ce929d0e0e4736',
    ],
    ['b3', 'b3: 112210f47de98115-00f067aa0ba902b7-1', '112210f47de98115'],
    ['uber-trace-id', 'abc123:def:0:1', '0000000000abc123'],
    ['a link to the page', 'http://127.0.0.1:2180/trace/112210f47de98115?span=0000000000000001', '112210f47de98115'],
    ['a link to the API', 'http://127.0.0.1:2180/api/traces/-42', '-42'],
    [
      'a link with a UUID',
      'https://traces.example/milo/trace/4BF92F35-77b3-4da6-a3ce-929d0e0e4736',
      '4bf92f3577b34da6a3ce929d0e0e4736',
    ],
    ['a link with an id without its leading zeros', '/trace/abc123', '0000000000abc123'],
    ['nothing', '   ', null],
    ['a word', 'checkout', null],
    ['too many digits', 'f'.repeat(33), null],
  ]
  for (const [what, pasted, id] of cases) {
    it(`${id === null ? "isn't found in" : 'is found in'} ${what}`, () => assert.equal(findTraceId(pasted), id))
  }
})
