import assert from 'node:assert/strict'
import { buildTrace, durationClass, formatDuration, partClass, renderWaterfall } from '../../../collector/src/trace'
import { client, half, local, server } from './records'

const shop = buildTrace([
  half(server, 1n, { name: 'GET /checkout', service: 'web', from: 0, to: 80_000 }),
  half(client, 2n, { parentId: 1n, name: 'Cart.total', service: 'web', from: 20_000, to: 60_000 }),
  half(server, 2n, { parentId: 1n, name: 'Cart.total', service: 'cart', from: 30_000, to: 50_000 }),
  local(3n, {
    parentId: 2n,
    name: 'sum',
    service: 'cart',
    from: 40_000,
    to: 50_000,
    annotations: new Map([['error.type', 'Oops']]),
  }),
])

describe('the waterfall in the terminal', () => {
  it('shows a line for each span: name by depth, services, both halves as a bar, duration', () => {
    assert.equal(
      renderWaterfall(shop, { width: 77, color: false }),
      [
        'Trace 0000000000000001 · 80.0 ms · 3 spans',
        'GET /checkout  web         │████████████████████████████████████████│ 80.0 ms',
        '  Cart.total   web → cart  │          ░░░░░██████████░░░░░          │ 40.0 ms',
        '    sum ✗      cart        │                    █████               │ 10.0 ms',
        '',
      ].join('\n'),
    )
  })

  it('fills exactly the width of the terminal', () => {
    for (const width of [60, 80, 133]) {
      const [, ...lines] = renderWaterfall(shop, { width, color: false }).trimEnd().split('\n')
      for (const line of lines) assert.equal([...line].length, width)
    }
  })

  it('colors durations by their class, and marks errors without color too', () => {
    const lines = renderWaterfall(shop, { width: 80, color: true }).split('\n')
    assert.ok(lines[1]!.includes('\x1b[31m'))
    assert.ok(lines[2]!.includes('\x1b[33m'))
    assert.ok(lines[3]!.includes('\x1b[32m'))
    assert.match(lines[3]!, /sum ✗/)
  })

  it('shows escape sequences in names, services and hosts as characters that steer nothing', () => {
    const evil = '\x1b]0;owned\x07\x9b2J\r\n\u202eevil\u2028'
    const trace = buildTrace([half(client, 1n, { name: evil, service: evil, serverHost: evil })])
    const text = renderWaterfall(trace, { width: 200, color: false })
    for (const char of '\x1b\x07\x9b\r\u202e\u2028') assert.ok(!text.includes(char))
    assert.equal(text.split('\n').length, 3)
    assert.match(text, /\ufffd\]0;owned\ufffd\ufffd2J/)
  })

  it('keeps its columns when names are long, wide, or deep', () => {
    const chain = Array.from({ length: 60 }, (_, i) =>
      half(client, BigInt(i + 1), { parentId: BigInt(i), name: i % 2 ? '予約.確認する'.repeat(9) : 'x'.repeat(400) }),
    )
    const [, ...lines] = renderWaterfall(buildTrace(chain), { width: 100, color: false }).trimEnd().split('\n')
    const wide = (line: string) =>
      [...line].reduce((n, c) => n + (/[\p{Script=Han}\p{Script=Hiragana}]/u.test(c) ? 2 : 1), 0)
    for (const line of lines) assert.equal(wide(line), 100)
  })

  it('shows what is unknown as unknown', () => {
    const text = renderWaterfall(buildTrace([{ id: 1n, parentId: 9n }]), { width: 80, color: false })
    assert.match(text, /\(no name\) \(parent missing\)/)
    assert.match(text, /–$/m)
  })
})

describe('durations', () => {
  it('have three digits and a unit', () => {
    const shown = [
      0, 870, 999.6, 1000, 9_994, 12_345, 99_960, 999_600, 1_520_000, 59_960_000, 125_000_000, 3_780_000_000,
    ]
    assert.deepEqual(shown.map(formatDuration), [
      '0 µs',
      '870 µs',
      '1.00 ms',
      '1.00 ms',
      '9.99 ms',
      '12.3 ms',
      '100 ms',
      '1.00 s',
      '1.52 s',
      '1 min 00 s',
      '2 min 05 s',
      '1 h 03 min',
    ])
  })

  it('are classed by what is usual for their operation, and not at all where that is unknown', () => {
    const usual = { p50: 40_000, p95: 80_000, p99: 200_000 }
    const classes = [50_000, 80_000, 80_001, 200_000, 200_001].map(us => durationClass(us, usual))
    assert.deepEqual(classes, ['low', 'low', 'medium', 'medium', 'high'])
    assert.equal(durationClass(3_600_000_000), undefined)
    assert.equal(durationClass(Number.NaN, usual), undefined)
  })

  it('are not slow a little above the median, however alike the calls of an operation are', () => {
    const usual = { p50: 40_000, p95: 40_100, p99: 40_200 }
    assert.deepEqual(
      [40_300, 60_000, 60_001].map(us => durationClass(us, usual)),
      ['low', 'low', 'high'],
    )
  })

  it('are classed by their own part of the trace, where that is all there is', () => {
    assert.deepEqual(
      [500, 499, 200, 199].map(us => partClass(us, 1000)),
      ['high', 'medium', 'medium', 'low'],
    )
    assert.deepEqual([partClass(5, 0), partClass(5, null), partClass(Number.NaN, 10)], ['low', 'low', 'low'])
  })
})
