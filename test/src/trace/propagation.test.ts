import assert from 'node:assert/strict'
import { formatTraceparent, parseTraceparent } from '../../../src/trace/propagation'
import { Kind, LiveSpan, Trace } from '../../../src/trace/span'

const sink = { add() {}, truncated() {} }

describe('propagation: traceparent', () => {
  const valid = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

  it('reads the ids, the decision and later versions', () => {
    const context = parseTraceparent(valid)!
    assert.deepEqual([context.highHi, context.hi, context.lo], [0x4bf92f35, 0xa3ce929d | 0, 0x0e0e4736])
    assert.deepEqual([context.spanHi, context.spanLo], [0x00f067aa, 0x0ba902b7])
    assert.ok(context.sampled && !context.sharesSpan)
    assert.equal(parseTraceparent(valid.replace(/01$/, '00'))!.sampled, false)
    assert.equal(parseTraceparent(valid.replace(/01$/, '03'))!.sampled, true)
    assert.ok(parseTraceparent(`cc${valid.slice(2)}-what-comes-later`))
  })

  const invalid = [
    'ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    '00-00000000000000000000000000000000-00f067aa0ba902b7-01',
    '00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01',
    `${valid}-more`,
    valid.toUpperCase(),
    valid.slice(1),
    '',
    undefined,
    ['a', 'b'],
    `${valid}${' '.repeat(10_000)}`,
  ]
  for (const header of invalid) {
    it(`takes ${JSON.stringify(header)?.slice(0, 70)} for no context`, () =>
      assert.equal(parseTraceparent(header), undefined))
  }

  it('writes what it reads', () => {
    const trace = new Trace(0xa3ce929d | 0, 0x0e0e4736, 0x4bf92f35, 0x77b34da6, true, false, 1, 0)
    assert.equal(formatTraceparent(new LiveSpan(sink, trace, 0x00f067aa, 0x0ba902b7, 0, 0, Kind.CLIENT, 'x', 0)), valid)
  })

  it('makes up ids for an unsampled call that has none, since W3C demands them', () => {
    assert.match(
      formatTraceparent(
        new LiveSpan(sink, new Trace(0, 0, 0, 0, false, false, Number.NaN, 0), 0, 0, 0, 0, Kind.CLIENT, 'x', 0),
      ),
      /^00-0{16}[0-9a-f]{16}-[0-9a-f]{16}-00$/,
    )
  })
})
