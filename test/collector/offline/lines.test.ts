import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'
import { Reporter } from '../../../collector/src/offline/counts'
import { parseHours } from '../../../collector/src/offline/hours'
import { BadInput } from '../../../collector/src/offline/lines'
import { EventType, encodeRecord, type SpanRecord } from '../../../src/codec/span'
import { lineOf, map, merge, reduce, resultsOf, text } from './programs'

const HOUR_US = 3_600_000_000n
/** 2026-11-30T17:00Z */
const START_US = 1_796_058_000_000_000n

function span(traceId: bigint, id: bigint, fields: Partial<SpanRecord> = {}, startUs = START_US): SpanRecord {
  return {
    traceId,
    id,
    parentId: id === 1n ? 0n : 1n,
    name: 'Shop.buy',
    service: 'shop',
    events: [
      { timestamp: startUs, eventType: EventType.SERVER_RECV },
      { timestamp: startUs + 1_000n, eventType: EventType.SERVER_SEND },
    ],
    probability: 1,
    ...fields,
  }
}

const windowOf = (lines: string[], options?: Parameters<typeof reduce>[1]) => resultsOf(lines, options).window![0]
const counts = (window: Record<string, unknown>, ...names: string[]) => names.map(name => window[name])

describe('map', () => {
  it('makes a line for each trace of a line, whatever its key, with the same records', () => {
    const records = [span(7n, 1n), span(-1n, 1n), span(7n, 2n), span(7n, 3n), span(0x1234n, 1n), span(-1n, 2n)]
    const lines = [7n, -1n, 0x1234n].map(id => lineOf(records.filter(({ traceId }) => traceId === id)))
    for (const key of ['0000000000000007\t', 'any\tkey\t', '\t', '']) {
      const mapped = map(`${key}${lineOf(records, '').slice(1)}\n`)
      assert.deepEqual(mapped.traces, lines)
      assert.deepEqual(mapped.counts, { lines: 1, records: 6, brokenLines: 0, longLines: 0 })
    }
  })

  it('takes lines with any end, empty ones, and a last one without an end', () => {
    const [a, b] = [lineOf([span(1n, 1n)]), lineOf([span(2n, 1n)])]
    assert.deepEqual(map(`\n${a}\r\n\n${b}`).traces, [a, b])
    assert.deepEqual(map('').traces, [])
  })

  it('takes lines longer than it reads at once, and passes over one that is too long', () => {
    const long = lineOf(Array.from({ length: 40_000 }, (_, i) => span(1n, BigInt(i + 1))))
    assert.ok(long.length > 3 * 1024 * 1024)
    const short = lineOf([span(2n, 1n)])
    assert.deepEqual(map(text([short, long, short])).traces, [short, long, short])
    assert.deepEqual(map(text([short, long, short]), long.length).traces, [short, long, short])
    for (const end of ['\n', '']) {
      const limited = map(`${text([short, long, short])}${long}${end}`, long.length - 1)
      assert.deepEqual(limited.traces, [short, short])
      assert.equal(limited.lines.at(-1), '!map\t{"mapsEnded":1,"mapped":2,"brokenLines":0,"longLines":2}')
      assert.equal(limited.counts.longLines, 2)
    }
  })

  it('refuses compressed files, also behind others, with what decompresses them', () => {
    const line = lineOf([span(1n, 1n)])
    const gzipped = gzipSync(text([line]))
    const zstd = Buffer.from('28b52ffd04584100', 'hex')
    for (const [file, remedy] of [
      [gzipped, /^standard input is compressed by gzip: decompress it first, gzip -dc FILE… \|$/],
      [zstd, /compressed by zstd: decompress it first, zstd -dc FILE… \|$/],
    ] as const) {
      for (const input of [file, Buffer.concat([Buffer.from(text([line])), file])]) {
        assert.throws(() => map(input), { name: 'Error', message: remedy })
      }
    }
  })

  const good = [span(1n, 1n), span(1n, 2n)]
  const bytes = Buffer.concat(good.map(encodeRecord))
  const damaged = (change: (bytes: Buffer) => Buffer) => {
    return `0000000000000001\t${change(Buffer.from(bytes)).toString('base64')}`
  }
  const withInt = (value: number, at: number) => (bytes: Buffer) => {
    bytes.writeInt32BE(value, at)
    return bytes
  }
  const second = encodeRecord(good[0]!).length
  const BROKEN: [string, string, number][] = [
    ['base64 with a foreign character', lineOf(good).replace(/.(?=.{50}$)/, '!'), 0],
    ['base64 of an impossible length', `${lineOf(good).slice(0, 16 + 1 + 400)}A`, 0],
    ['bytes that are no record', `0000000000000001\t${Buffer.from('no record').toString('base64')}`, 0],
    ['a record that is cut', damaged(bytes => bytes.subarray(0, -1)), 1],
    ['a second record without its delimiter', damaged(withInt(0, second)), 1],
    ['a length beyond the line', damaged(withInt(2 ** 31 - 1, second + 4)), 1],
    ['a negative length', damaged(withInt(-8, second + 4)), 1],
    ['a record without a span id', lineOf([good[0]!, { ...good[1]!, id: undefined }]), 1],
    ['a record without a trace id', lineOf([good[0]!, { ...good[1]!, traceId: undefined }]), 1],
  ]
  for (const [what, line, left] of BROKEN) {
    it(`counts a line with ${what} as broken, and keeps what is before the damage`, () => {
      const window = windowOf([line, lineOf([span(2n, 1n)])])
      assert.deepEqual(counts(window, 'brokenLines', 'records', 'traces'), [1, left + 1, left + 1])
    })
  }
})

describe('reduce', () => {
  it('makes nothing of nothing, and says so', () => {
    const [line, ...others] = merge(reduce([]))
    const { kind, from, to, ...zeros } = JSON.parse(line!)
    assert.deepEqual([kind, from, to, others], ['window', null, null, ['{"kind":"end","results":0}']])
    assert.deepEqual(new Set(Object.values(zeros)), new Set([0]))
  })

  it('counts a line of counts that is damaged as broken', () => {
    const window = JSON.parse(merge(reduce([lineOf([span(1n, 1n)]), '!map\t{"map', '!map\t{"mapped":-1}']))[0]!)
    assert.deepEqual(counts(window, 'brokenLines', 'traces'), [2, 1])
  })

  it('counts a line with records of another trace than its key says, as if map had been left out', () => {
    const partials = reduce([lineOf([span(1n, 1n), span(2n, 1n)])])
    const window = JSON.parse(merge(partials)[0]!)
    assert.deepEqual(counts(window, 'brokenLines', 'records', 'traces'), [1, 1, 1])
  })

  it('counts traces that come after a greater one: the input may not be sorted', () => {
    const [a, b] = [lineOf([span(1n, 1n)]), lineOf([span(2n, 1n)])]
    assert.equal(JSON.parse(merge(reduce([b, a, b]))[0]!).unsortedLines, 1)
    assert.equal(JSON.parse(merge(reduce([a, a, b]))[0]!).unsortedLines, 0)
  })

  it('drops records that come again with the same bytes, in the same line or in another one', () => {
    const records = [span(1n, 1n), span(1n, 2n), span(1n, 2n, { name: 'Shop.sell' })]
    const window = windowOf([lineOf([...records, ...records]), lineOf(records)])
    assert.deepEqual(counts(window, 'records', 'repeatedRecords', 'spans'), [9, 6, 2])
  })

  it('gives a trace to the hour in which its root began, whenever its spans did', () => {
    const late = [span(1n, 1n, {}, START_US - 1n), span(1n, 2n)]
    const early = [span(2n, 1n), span(2n, 2n, {}, START_US - 5n)]
    const last = [span(3n, 1n, {}, START_US + HOUR_US - 1n), span(3n, 2n, {}, START_US + HOUR_US)]
    const next = [span(4n, 1n, {}, START_US + HOUR_US)]
    const timeless = [span(5n, 1n, { events: [] })]
    const lines = [late, early, last, next, timeless].map(records => lineOf(records))
    const window = windowOf(lines, { hours: '2026-11-30T17..2026-11-30T18' })
    assert.deepEqual(counts(window, 'from', 'to', 'traces', 'outside', 'records'), [
      '2026-11-30T17:00Z',
      '2026-11-30T18:00Z',
      2,
      3,
      8,
    ])
    const all = windowOf(lines)
    assert.deepEqual(counts(all, 'from', 'to', 'traces', 'outside'), ['2026-11-30T16:00Z', '2026-11-30T19:00Z', 5, 0])
  })

  it('takes traces apart that share the lower half of a 128-bit id, and gives records without the upper one to the larger', () => {
    const a = [span(1n, 1n, { traceIdHigh: 5n }), span(1n, 2n, { traceIdHigh: 5n }), span(1n, 3n)]
    const b = [span(1n, 1n, { traceIdHigh: 6n, name: 'Shop.sell' })]
    const window = windowOf([lineOf([...b, ...a])])
    assert.deepEqual(counts(window, 'traces', 'spans', 'rootless'), [2, 4, 0])
    // One upper half: all of it is one trace.
    assert.deepEqual(counts(windowOf([lineOf(a)]), 'traces', 'spans'), [1, 3])
  })

  it('analyses the earliest records of a trace that has too many, and says how many it left out', () => {
    const records = Array.from({ length: 500 }, (_, i) => span(1n, BigInt(i + 1), {}, START_US + BigInt(i)))
    for (const list of [records, [...records].reverse()]) {
      const lines = Array.from({ length: 10 }, (_, i) => lineOf(list.slice(50 * i, 50 * i + 50)))
      const window = JSON.parse(merge(reduce(lines, { maxSpans: 100 }))[0]!)
      assert.deepEqual(counts(window, 'records', 'spans', 'cutTraces', 'cutRecords', 'rootless'), [500, 100, 1, 400, 0])
      const small = JSON.parse(merge(reduce(lines, { maxBytes: 10 * encodeRecord(records[0]!).length }))[0]!)
      assert.deepEqual(counts(small, 'spans', 'cutTraces', 'cutRecords', 'rootless'), [10, 1, 490, 0])
    }
  })

  it('counts traces by what their probability says', () => {
    const lines = [0, 1, 0.1, undefined, Number.NaN].map((probability, i) => {
      return lineOf([span(BigInt(i + 1), 1n, { probability })])
    })
    assert.deepEqual(counts(windowOf(lines), 'traces', 'forced', 'unknown'), [5, 1, 2])
  })
})

describe('merge', () => {
  it('adds up windows, and counts lines that are no partial results', () => {
    const parts = [[lineOf([span(1n, 1n)])], [lineOf([span(2n, 1n, {}, START_US + 5n * HOUR_US)])]]
    const lines = merge([
      ...parts.flatMap(lines => reduce(lines)),
      'nonsense',
      'edges.\t{}',
      'edges.x\t7',
      'x.\t[',
      '.',
    ])
    assert.deepEqual(counts(JSON.parse(lines[0]!), 'traces', 'from', 'to', 'brokenPartials'), [
      2,
      '2026-11-30T17:00Z',
      '2026-11-30T23:00Z',
      5,
    ])
  })

  it('passes over analyses that are not wanted', () => {
    const kinds = (lines: string[]) => new Set(lines.map(line => JSON.parse(line).kind))
    const partials = reduce([lineOf([span(1n, 1n)])])
    assert.deepEqual(kinds(merge(partials, ['edges'])), new Set(['window', 'end']))
    assert.ok(kinds(merge(partials)).has('instrumentation'))
  })

  it('says at the end of the results how many they are', () => {
    const results = merge(reduce([lineOf([span(1n, 1n)])]))
    assert.deepEqual(JSON.parse(results.at(-1)!), { kind: 'end', results: results.length - 2 })
  })

  it('makes no results where lines of map or reduce are missing', () => {
    const lines = [1n, 2n, 3n].map(id => lineOf([span(id, 1n)]))
    const mapped = map(text(lines)).lines
    const partials = reduce([...mapped].sort())
    const refused = (partials: string[]) => {
      let message = ''
      assert.throws(
        () => merge(partials),
        (error: Error) => {
          message = error.message
          return error instanceof BadInput
        },
      )
      return message
    }
    assert.match(refused([]), /^no partial results have come: .*: see what ended before its time, and run it again$/)
    // A reduce that was killed, and a copy that was cut: the end is missing.
    assert.match(
      refused(partials.slice(0, -1)),
      /^a reduce, or a copy of what it wrote, has ended before its last line: of \d+ /,
    )
    assert.match(refused([...partials.slice(0, 2), ...partials]), /has ended before its last line/)
    // All of them twice, as of a job that ran again beside what it had written before.
    assert.match(refused([...partials, ...partials]), /^the same partial results have come twice/)
    // Some others.
    assert.match(
      refused(partials.slice(1)),
      new RegExp(`^of ${partials.length} lines of partial results ${partials.length - 1} have come`),
    )
    // A map that was killed, and lines that a sort has lost.
    assert.match(refused(reduce(mapped.slice(0, -1))), /^of 1 runs of map 0 have come to their end/)
    assert.match(refused(reduce([mapped[0]!, ...mapped.slice(2)])), /^of 3 lines of map 2 have come to reduce/)
    // Whoever has lines of whole traces needs no map.
    assert.equal(JSON.parse(merge(reduce(lines))[0]!).traces, 3)
    // With several of each: what counts is the sum.
    const maps = lines.map(line => map(text([line])).lines)
    const parts = [
      [...maps[0]!, maps[1]![0]!],
      [...maps[1]!.slice(1), ...maps[2]!],
    ]
    assert.equal(JSON.parse(merge(parts.flatMap(lines => reduce(lines)))[0]!).traces, 3)
    assert.match(refused(reduce(parts[0]!)), /^of 2 runs of map 1 have come/)
  })
})

describe('hours', () => {
  it('are read as days and as hours, with or without what UTC is written by', () => {
    const day = { fromUs: Date.UTC(2026, 10, 30) * 1000, toUs: Date.UTC(2026, 11, 1) * 1000 }
    assert.deepEqual(parseHours('2026-11-30..2026-12-01'), day)
    assert.deepEqual(parseHours('2026-11-30T00..2026-12-01T00:00Z'), day)
    assert.deepEqual(parseHours('2026-11-30T00:00:00.000Z..2026-12-01T00:00:00Z'), day)
  })

  it('are refused with a remedy if they are no hours', () => {
    for (const hours of [
      '',
      '2026-11-30',
      '..',
      '2026-11-30T17:30..2026-11-30T18',
      '2026-13-30..2026-14-01',
      'a..b..c',
    ]) {
      assert.throws(() => parseHours(hours), { name: 'RangeError', message: /give UTC hours, / }, hours)
    }
    assert.throws(() => parseHours('2026-11-30..2026-11-30'), /holds no hour: FROM must be before TO/)
  })
})

describe('the reporter', () => {
  it('writes counters as Hadoop Streaming adds them up: each time what has been added', () => {
    const written: string[] = []
    const counts = { lines: 3, brokenLines: 0 }
    const reporter = new Reporter(
      'map',
      () => counts,
      text => written.push(text),
    )
    reporter.report()
    counts.lines = 10
    counts.brokenLines = 1
    reporter.report()
    reporter.report()
    assert.deepEqual(written, [
      'reporter:counter:milo,map.lines,3\n',
      'reporter:counter:milo,map.lines,7\n',
      'reporter:counter:milo,map.brokenLines,1\n',
    ])
  })
})
