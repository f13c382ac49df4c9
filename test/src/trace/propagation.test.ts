import assert from 'node:assert/strict'
import { init, shutdown } from '../../../src/index'
import {
  carrierFor,
  formatB3,
  formatTraceparent,
  parseB3,
  parseTraceparent,
  readTracestate,
} from '../../../src/trace/propagation'
import { Kind, LiveSpan, Trace } from '../../../src/trace/span'
import { startServerSpan } from '../../../src/trace/tracer'

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
    for (const later of [`cc${valid.slice(2)}-what-comes-later`, `cc${valid.slice(2)}`, ` \t${valid}\t `])
      assert.ok(parseTraceparent(later), later)
  })

  const invalid = [
    'ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    '00-00000000000000000000000000000000-00f067aa0ba902b7-01',
    '00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01',
    `${valid}-more`,
    `${valid}.`,
    `cc${valid.slice(2)}.more`,
    valid.replace(/^00/, '0.'),
    valid.replace(/^00/, '000'),
    valid.replace('-4bf9', '-.bf9'),
    valid.replace('-4bf9', '-44bf9'),
    valid.replace('-00f0', '-.0f0'),
    valid.replace('-00f0', '-0f0'),
    valid.replace(/01$/, '.1'),
    valid.replace(/01$/, '1'),
    valid.replace(/01$/, '001'),
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

  it('passes on that a trace’s id is random, and no flag that has no meaning yet', () => {
    for (const [flags, expected] of [
      ['00', '00'],
      ['02', '02'],
      ['03', '03'],
      ['fd', '01'],
    ]) {
      init({ sampler: 'always', scribe: '127.0.0.1:1', logLevel: 'silent' })
      const remote = parseTraceparent(valid.replace(/01$/, flags!))
      assert.equal(formatTraceparent(startServerSpan('x', remote)).slice(-2), expected)
    }
    return shutdown(0)
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

describe('propagation: tracestate', () => {
  const member = (i: number, length = 5) => `k${i}=${'v'.repeat(length - 2 - String(i).length)}`
  const members = (n: number, length?: number) => Array.from({ length: n }, (_, i) => member(i, length))

  it('is passed on as it came, without the space around its members and empty ones', () => {
    assert.equal(readTracestate('congo=t61rcWkgMzE,rojo=00f067aa0ba902b7'), 'congo=t61rcWkgMzE,rojo=00f067aa0ba902b7')
    assert.equal(readTracestate(' a=1 ,\t, ,0b@c=x y, \t'), 'a=1,0b@c=x y')
    assert.equal(readTracestate(members(32).join()), members(32).join())
    assert.equal(readTracestate(','), undefined)
    for (const key of ['k'.repeat(256), 'a@', 'a@@b', 'a@b@c', `${'t'.repeat(241)}@${'v'.repeat(14)}`, '0_-*/'])
      assert.equal(readTracestate(`a=1,${key}=2`), `a=1,${key}=2`)
  })

  it('has each key once: the first is the newest', () => {
    assert.equal(readTracestate('a=1,b=2,a=3'), 'a=1,b=2')
  })

  const invalid = {
    'more than 32 members': members(33).join(),
    'a key in capitals': 'a=1,B=2',
    'a key that begins with @': '@a=1,b=2',
    'a space before =': 'a =1',
    'a dot in a key': 'a.b=1',
    'a member without =': 'a=1,b',
    'two =': 'a=1=2',
    'an empty value': 'a=',
    'a key of 257 characters': `${'k'.repeat(257)}=1`,
    'a value of 257 characters': `k=${'v'.repeat(257)}`,
    'a line break': 'a=1\r\nx-evil: 1',
    'a control character': 'a=\x01',
    'another script': 'a=ü',
    'a megabyte': 'a=1,'.repeat(250_000),
    'no string': ['a=1'],
  }
  for (const [what, value] of Object.entries(invalid)) {
    it(`isn’t taken with ${what}`, () => assert.equal(readTracestate(value), undefined))
  }

  it('is cut to 512 characters: first members of more than 128, then others, from the end', () => {
    const long = `long=${'x'.repeat(200)}`
    const longest = `longest=${'x'.repeat(240)}`
    const exact = members(4, 100).join()
    assert.equal(readTracestate(`${long},${exact},${longest}`), exact)
    assert.equal(readTracestate(`${long},${members(2, 100)},${longest}`), `${long},${members(2, 100)}`)
    assert.equal(readTracestate(members(6, 100).join()), members(5, 100).join())
    const fits = `${members(4, 100)},${member(5, 108)}`
    assert.equal(fits.length, 512)
    assert.equal(readTracestate(fits), fits)
  })
})

describe('propagation: b3', () => {
  const ids = 'a3ce929d0e0e4736-00f067aa0ba902b7'

  it('reads ids, decision and debug; without a decision it is the sampler’s', () => {
    const read = (header: string) => {
      const { sampled, debug, undecided, hasIds } = parseB3(header)!
      return { sampled, debug, undecided, hasIds }
    }
    const decided = { sampled: true, debug: false, undecided: false, hasIds: true }
    assert.deepEqual(read(`${ids}-1`), decided)
    assert.deepEqual(read(` ${'0'.repeat(16)}${ids}-1-05e3ac9a4f6e3b90 `), decided)
    assert.deepEqual(read(`${ids}-0`), { ...decided, sampled: false })
    assert.deepEqual(read(`${ids}-d`), { ...decided, debug: true })
    assert.deepEqual(read(ids), { ...decided, undecided: true })
    assert.deepEqual(read('0'), { ...decided, sampled: false, hasIds: false })
    assert.deepEqual(read('1'), { ...decided, hasIds: false })
    assert.deepEqual(read('d'), { ...decided, debug: true, hasIds: false })
  })

  for (const header of [
    `${ids}-2`,
    `${ids}-`,
    ids.slice(1),
    ids.toUpperCase(),
    `${ids}-1-1`,
    `0000000000000000-${ids.slice(17)}`,
    '',
    '2',
    ['0'],
    `${ids}${' '.repeat(10_000)}`,
  ]) {
    it(`takes ${JSON.stringify(header).slice(0, 60)} for no context`, () => assert.equal(parseB3(header), undefined))
  }

  it('writes what it reads', () => {
    const written = (header: string, debug: boolean) => {
      const { hi, lo, highHi, highLo, sampled, spanHi, spanLo } = parseB3(header)!
      const trace = new Trace(hi, lo, highHi, highLo, sampled, debug, 1, 0)
      return formatB3(
        new LiveSpan(
          sink,
          trace,
          spanHi,
          spanLo,
          0,
          header.endsWith('-000000000000002a') ? 42 : 0,
          Kind.CLIENT,
          'x',
          0,
        ),
      )
    }
    for (const header of [`${ids}-1`, `${ids}-0`, `4bf92f3577b34da6${ids}-1-000000000000002a`])
      assert.equal(written(header, false), header)
    assert.equal(written(`${ids}-d`, true), `${ids}-d`)
  })
})

describe('propagation: by peer', () => {
  it('takes host and port, host, the longest domain, and the default, whatever the case', () => {
    const peers = new Map(Object.entries({ 'a.b.c:80': 1, 'a.b.c': 2, '*.b.c': 3, '*.c': 4 }))
    const of = (host: unknown, port: unknown) => carrierFor({ peers, default: 0 }, host, port)
    assert.deepEqual(
      [
        of('A.b.c', 80),
        of('a.b.c', '81'),
        of('x.B.c', 80),
        of('y.x.b.c', 80),
        of('b.c', 80),
        of('c', 80),
        of(undefined, 1),
      ],
      [1, 2, 3, 3, 4, 0, 0],
    )
  })
})
