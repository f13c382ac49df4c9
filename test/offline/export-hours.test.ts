import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync, truncateSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as zlib from 'node:zlib'
import fc from 'fast-check'
import Database from 'libsql'
import { hasCompression } from '../../collector/src/offline/compression'
import { ExportError } from '../../collector/src/offline/destination'
import { Folder } from '../../collector/src/offline/folder'
import { exportHours } from '../../collector/src/offline/hour-files'
import { HOUR_US, parseHours } from '../../collector/src/offline/hours'
import { openEmbeddedHours } from '../../collector/src/store/embedded/hours'
import type { HourPage, HourReader } from '../../collector/src/store/store'
import { randomId, span, temporaryDirectory, undo } from '../collector/support'
import { type Accepted, AN_HOUR, accept, encoded, filesIn, namesOfParts, options, recordsIn, TEN_US } from './exported'

const TWO_HOURS = { fromUs: TEN_US, toUs: TEN_US + 2 * HOUR_US }

/** Messages of several traces each, in three hours. */
function someMessages(): Accepted[] {
  const traces = Array.from({ length: 20 }, randomId)
  return Array.from({ length: 300 }, (_, i) => ({
    at: i * 36_000_000 + i,
    records: Array.from({ length: 1 + (i % 7) }, (_, j) =>
      span({ traceId: traces[(i * 3 + j * j) % 20]!, annotations: new Map([['n', `${i}.${j} ${'x'.repeat(i)}`]]) }),
    ),
  }))
}

function recordsBetween(messages: Accepted[], from: number, to: number): string[] {
  return encoded(messages.filter(({ at }) => at >= from && at < to).flatMap(({ records }) => records))
}

describe('export --hours', () => {
  let path: string
  let messages: Accepted[]
  let reader: ReturnType<typeof openEmbeddedHours> | undefined

  beforeEach(() => {
    path = join(temporaryDirectory(), 'milo.db')
    messages = someMessages()
    accept(path, messages)
  })
  afterEach(async () => {
    await shut()
    await undo()
  })

  function open() {
    reader ??= openEmbeddedHours(path, 'shop:2100')
    return reader
  }

  async function shut(): Promise<void> {
    await reader?.close()
    reader = undefined
  }

  it('writes a file a collector and hour, with each record of that hour once, in a line of its trace', async () => {
    const folder = join(temporaryDirectory(), 'a', 'b')
    const exported = await exportHours(open(), new Folder(folder), TWO_HOURS, options())
    const files = filesIn(folder)
    const [ten, eleven, ...others] = namesOfParts(files.keys())
    assert.match(ten!, /^2026-03-01T10Z-shop_2100-[0-9a-f]{8}-0000\.tsv$/)
    assert.match(eleven!, /^2026-03-01T11Z-shop_2100-[0-9a-f]{8}-0000\.tsv$/)
    assert.deepEqual(others, [])
    assert.deepEqual(recordsIn(new Map([[ten!, files.get(ten!)!]])), recordsBetween(messages, 0, HOUR_US))
    assert.deepEqual(
      recordsIn(new Map([[eleven!, files.get(eleven!)!]])),
      recordsBetween(messages, HOUR_US, 2 * HOUR_US),
    )
    assert.equal(statSync(join(folder, ten!)).mode & 0o777, 0o600)
    assert.equal(statSync(folder).mode & 0o777, 0o700)
    const { records, bytes, ...counts } = exported
    assert.deepEqual(counts, { written: 2, alreadyThere: 0, leftOut: 0, parts: 2, damaged: 0 })
    assert.equal(records, recordsBetween(messages, 0, 2 * HOUR_US).length)
    assert.equal(bytes, files.get(ten!)!.length + files.get(eleven!)!.length)
    assert.deepEqual(JSON.parse(String(files.get(`_${eleven!.slice(0, -9)}.json`))), {
      collector: 'shop:2100',
      hour: '2026-03-01T11:00:00.000Z',
      parts: [{ name: eleven, bytes: files.get(eleven!)!.length }],
      records: recordsBetween(messages, HOUR_US, 2 * HOUR_US).length,
      damaged: 0,
      named: [],
    })
  })

  it('gives the same bytes again, whatever else has come meanwhile, and leaves files alone that are there', async () => {
    const [first, second] = [temporaryDirectory(), temporaryDirectory()]
    await exportHours(open(), new Folder(first), AN_HOUR, options({ compress: 'gzip', partBytes: 20_000 }))
    await shut()
    accept(path, [
      { at: -5 * HOUR_US, records: [span()] },
      { at: 5 * HOUR_US, records: [span()] },
    ])
    const [before, times] = [filesIn(first), readdirSync(first).map(name => statSync(join(first, name)).mtimeMs)]
    const again = await exportHours(
      open(),
      new Folder(first),
      AN_HOUR,
      options({ compress: 'gzip', partBytes: 20_000 }),
    )
    assert.deepEqual([again.written, again.alreadyThere], [0, 1])
    assert.deepEqual(
      readdirSync(first).map(name => statSync(join(first, name)).mtimeMs),
      times,
    )
    await exportHours(open(), new Folder(second), AN_HOUR, options({ compress: 'gzip', partBytes: 20_000 }))
    assert.ok(before.size > 3, `${before.size} files`)
    assert.deepEqual(filesIn(second), before)
  })

  it('leaves out the hour that isn’t over, those that have expired, and those before the first span, and says so', async () => {
    const nowUs = Date.now() * 1000
    const hours = parseHours('-1h..now', nowUs)
    const { fromUs } = hours
    accept(path, [{ at: fromUs + HOUR_US - TEN_US, records: [span()] }])
    const told = options({ nowUs })
    const [until, folder] = [{ fromUs: TEN_US - HOUR_US, toUs: TEN_US + HOUR_US }, temporaryDirectory()]
    assert.equal((await exportHours(open(), new Folder(folder), until, told)).written, 1)
    const current = { fromUs: fromUs + HOUR_US, toUs: fromUs + 2 * HOUR_US }
    assert.equal((await exportHours(open(), new Folder(folder), current, told)).leftOut, 1)
    assert.match(
      told.warned[0]!,
      /^hours are left out: they are before the first span, or spans of theirs have expired$/,
    )
    assert.match(told.warned[1]!, /^hours from .*Z on are left out: they aren't over$/)
    await shut()
    const db = new Database(path)
    db.exec(`UPDATE progress SET retired = ${TEN_US + HOUR_US + 5}`)
    db.close()
    const exported = await exportHours(open(), new Folder(temporaryDirectory()), TWO_HOURS, told)
    assert.deepEqual([exported.written, exported.leftOut], [0, 2])
  })

  it('goes on where it was interrupted: whole parts stay, the one that wasn’t is written anew', async () => {
    for (const compress of ['none', 'gzip'] as const) {
      const [folder, uninterrupted] = [temporaryDirectory(), temporaryDirectory()]
      const parts = { compress, partBytes: 30_000 }
      await exportHours(open(), new Folder(uninterrupted), AN_HOUR, options(parts))
      const small = repaged(open(), () => 5_000)
      await assert.rejects(exportHours(failing(small, 10), new Folder(folder), AN_HOUR, options(parts)), /lost/)
      const before = readdirSync(folder)
      assert.equal(before.length, 1, 'one part, and nothing of the next')
      const { ino } = statSync(join(folder, before[0]!))
      const exported = await exportHours(small, new Folder(folder), AN_HOUR, options(parts))
      assert.equal(exported.parts, readdirSync(folder).length - 1)
      assert.equal(statSync(join(folder, before[0]!)).ino, ino)
      assert.deepEqual(filesIn(folder), filesIn(uninterrupted))
    }
  })

  it('tries an hour again after an error that may pass, a bounded number of times', async () => {
    const folder = temporaryDirectory()
    let failures = 0
    const flaky: HourReader = {
      hourSources: () => open().hourSources(),
      readHour: async (...hour) => {
        const pages = await open().readHour(...hour)
        return (async function* () {
          for await (const page of pages) {
            if (failures++ < 2) throw new ExportError('away for a moment', true)
            yield page
          }
        })()
      },
    }
    const told = options()
    await exportHours(flaky, new Folder(folder), AN_HOUR, told)
    assert.deepEqual(told.warned, Array(2).fill('away for a moment: the hour is begun again'))
    assert.deepEqual(recordsIn(filesIn(folder)), recordsBetween(messages, 0, HOUR_US))
    failures = Number.NEGATIVE_INFINITY
    await assert.rejects(exportHours(flaky, new Folder(temporaryDirectory()), AN_HOUR, options()), /away for a moment/)
  })

  it('divides into the same parts whatever pages the lines come in, at the ends of lines', async () => {
    const expected = temporaryDirectory()
    const parts = { compress: 'gzip', partBytes: 25_000 } as const
    await exportHours(open(), new Folder(expected), AN_HOUR, options(parts))
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 60_000 }), { minLength: 1 }), async sizes => {
        const folder = temporaryDirectory()
        let i = 0
        await exportHours(
          repaged(open(), () => sizes[i++ % sizes.length]!),
          new Folder(folder),
          AN_HOUR,
          options(parts),
        )
        assert.deepEqual(filesIn(folder), filesIn(expected))
      }),
      { numRuns: 15 },
    )
    for (const [name, bytes] of filesIn(expected)) {
      if (name.endsWith('.gz')) assert.ok(zlib.gunzipSync(bytes).length <= 25_000, name)
    }
  })

  it('gives a line that is longer than a part a part of its own', async () => {
    const folder = temporaryDirectory()
    await exportHours(open(), new Folder(folder), AN_HOUR, options({ partBytes: 10 }))
    const files = filesIn(folder)
    for (const name of namesOfParts(files.keys())) assert.equal(String(files.get(name)).split('\n').length, 2, name)
    assert.deepEqual(recordsIn(files), recordsBetween(messages, 0, HOUR_US))
  })

  it('counts and names damaged messages, and exports the others', async () => {
    const db = new Database(path)
    const [bent, cut] = [messages[3]!, messages[7]!].map(({ at }) => TEN_US + at)
    db.exec(`UPDATE message SET body = CAST(substr(body, 1, 40) || 'X' || substr(body, 42) AS BLOB) WHERE id = ${bent}`)
    db.exec(`UPDATE message SET body = substr(body, 1, 30), crc = NULL WHERE id = ${cut}`)
    db.close()
    const folder = temporaryDirectory()
    const told = options()
    const exported = await exportHours(open(), new Folder(folder), AN_HOUR, told)
    assert.equal(exported.damaged, 2)
    assert.equal(told.warned.length, 2)
    assert.equal(told.warned[0], `left out: message ${bent} isn't as it was written`)
    assert.match(told.warned[1]!, new RegExp(`^left out: message ${cut} can't be read: `))
    const good = messages.filter((_, i) => i !== 3 && i !== 7)
    assert.deepEqual(recordsIn(filesIn(folder)), recordsBetween(good, 0, HOUR_US))
    const summary = readdirSync(folder).find(name => name.endsWith('.json'))!
    const { damaged, named } = JSON.parse(readFileSync(join(folder, summary), 'utf8'))
    assert.deepEqual([damaged, named.length], [2, 2])
  })

  it('writes an hour anew whose files aren’t all there or as long as they were, and doesn’t mix compressions', async () => {
    const folder = temporaryDirectory()
    const parts = { compress: 'gzip', partBytes: 30_000 } as const
    await exportHours(open(), new Folder(folder), AN_HOUR, options(parts))
    const whole = filesIn(folder)
    const [first] = namesOfParts(whole.keys())
    // With its summary, the hour is there, however it is compressed.
    assert.equal((await exportHours(open(), new Folder(folder), AN_HOUR, options())).alreadyThere, 1)
    unlinkSync(join(folder, first!))
    assert.equal((await exportHours(open(), new Folder(folder), AN_HOUR, options(parts))).written, 1)
    assert.deepEqual(filesIn(folder), whole)
    truncateSync(join(folder, first!), 100)
    assert.equal((await exportHours(open(), new Folder(folder), AN_HOUR, options(parts))).written, 1)
    assert.deepEqual(filesIn(folder), whole)
    for (const name of readdirSync(folder)) if (name.endsWith('.json')) writeFileSync(join(folder, name), '{"parts":[{')
    await assert.rejects(exportHours(open(), new Folder(folder), AN_HOUR, options()), /was begun with --compress gzip/)
    await exportHours(open(), new Folder(folder), AN_HOUR, options(parts))
    assert.deepEqual(filesIn(folder), whole)
  })

  it('removes what an export that was killed has left, and not what another one is writing', async () => {
    const folder = temporaryDirectory()
    for (const name of ['_2026-0000.tsv.0123abcd.partial', '_2026-0001.tsv.0123abcd.partial', '_mine.partial'])
      writeFileSync(join(folder, name), 'x')
    for (const name of ['_2026-0000.tsv.0123abcd.partial', '_mine.partial'])
      utimesSync(join(folder, name), new Date(0), new Date(Date.now() - 2 * 3_600_000))
    await exportHours(open(), new Folder(folder), AN_HOUR, options())
    const left = readdirSync(folder).filter(name => name.endsWith('.partial'))
    assert.deepEqual(left.sort(), ['_2026-0001.tsv.0123abcd.partial', '_mine.partial'])
  })

  it('compresses by zstd where Node has it', async function () {
    if (!hasCompression('zstd')) this.skip()
    const folder = temporaryDirectory()
    await exportHours(open(), new Folder(folder), AN_HOUR, options({ compress: 'zstd' }))
    const [[name, bytes]] = [...filesIn(folder)] as [[string, Buffer]]
    assert.match(name, /\.tsv\.zst$/)
    const { zstdDecompressSync } = zlib as unknown as { zstdDecompressSync(bytes: Buffer): Buffer }
    assert.deepEqual(recordsIn(new Map([['x', zstdDecompressSync(bytes)]])), recordsBetween(messages, 0, HOUR_US))
  })

  it('says what a folder lacks', async () => {
    const file = join(temporaryDirectory(), 'file')
    writeFileSync(file, '')
    const expected = { message: `${file}: it isn't a folder: give --to another path (EEXIST)` }
    await assert.rejects(exportHours(open(), new Folder(file), AN_HOUR, options()), expected)
  })
})

/** The same lines, in pages of other sizes. */
function repaged(reader: HourReader, size: () => number): HourReader {
  return {
    hourSources: () => reader.hourSources(),
    readHour: async (...hour) => {
      const pages: HourPage[] = []
      for await (const page of await reader.readHour(...hour)) pages.push(page)
      const all = Buffer.concat(pages.map(({ lines }) => lines))
      return (async function* () {
        for (let at = 0; at < all.length; ) {
          const end = all.indexOf('\n', Math.min(all.length - 1, at + size() - 1)) + 1
          yield { ...pages.at(-1)!, records: 0, lines: all.subarray(at, end) }
          at = end
        }
        yield {
          ...pages.at(-1)!,
          records: pages.reduce((sum, { records }) => sum + records, 0),
          lines: Buffer.alloc(0),
        }
      })()
    },
  }
}

/** Ends with an error after so many pages. */
function failing(reader: HourReader, pages: number): HourReader {
  return {
    hourSources: () => reader.hourSources(),
    readHour: async (...hour) => {
      const read = await reader.readHour(...hour)
      return (async function* () {
        let left = pages
        for await (const page of read) {
          if (left-- === 0) throw new Error('lost')
          yield page
        }
      })()
    },
  }
}

describe('hours', () => {
  const nowUs = TEN_US + 25 * 60_000_000
  const hours = (text: string) => parseHours(text, nowUs)

  it('are days, hours and times before now, rounded down', () => {
    const ten = { fromUs: TEN_US, toUs: TEN_US + HOUR_US }
    for (const text of [
      '2026-03-01T10..2026-03-01T11',
      '2026-03-01T10:00Z..2026-03-01T12:00+01:00',
      '2026-03-01T10Z..2026-03-01T11Z',
    ])
      assert.deepEqual(hours(text), ten, text)
    assert.deepEqual(hours('2026-03-01..2026-03-02'), { fromUs: TEN_US - 10 * HOUR_US, toUs: TEN_US + 14 * HOUR_US })
    assert.deepEqual(hours('-1h..now'), { fromUs: TEN_US - HOUR_US, toUs: TEN_US })
    assert.deepEqual(hours('-1d..-1h'), { fromUs: TEN_US - 24 * HOUR_US, toUs: TEN_US - HOUR_US })
  })

  it('are refused with a remedy', () => {
    for (const text of [
      '',
      '2026-03-01T10',
      '..',
      'now..',
      '2026-03-01T10:30..2026-03-01T12',
      '2026-02-30..2026-03-02',
      'a..b',
      '-2h..-1h..now',
    ])
      assert.throws(
        () => hours(text),
        { name: 'RangeError', message: /isn't FROM\.\.TO in hours: give UTC hours/ },
        text,
      )
    for (const text of ['now..-1h', '2026-03-01..2026-03-01', '-10m..now'])
      assert.throws(() => hours(text), /holds no hour/)
    assert.throws(() => hours('2020-01-01..2026-01-01'), /more than a year/)
  })
})
