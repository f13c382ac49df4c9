import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { compareWindows } from '../../../collector/src/commands/compare-windows'
import { edgeLine, whole, windowLine } from '../../helpers/results'
import { temporaryDirectory, undo } from '../support'
import { lineOf, merge, reduce } from './programs'
import { recordsOf } from './traces'

describe('compare-windows', () => {
  after(undo)

  /** Results of both line programs, of traces in which one call takes so much time. */
  function fileOf(name: string, stockUs: number, counts = 1): string {
    const lines = Array.from({ length: 40 }, (_, i) => {
      const calls = Array.from({ length: counts }, () => ({
        service: 'stock',
        name: 'count',
        ownUs: [stockUs + i * 10],
      }))
      const call = { service: 'web', name: 'GET /', ownUs: [1000 + (i % 7) * 100, 500], calls }
      return lineOf(recordsOf(call, { traceId: BigInt(i + 1), probability: 1 }))
    })
    const file = join(temporaryDirectory(), name)
    writeFileSync(file, `${merge(reduce(lines)).join('\n')}\n`)
    return file
  }

  it('says which root operations have changed, and by which operations', async () => {
    assert.deepEqual(await compareWindows(fileOf('before', 2000), fileOf('after', 27_000), {}), [
      'web GET /: 3.98 ms → 29.0 ms, +25.0 ms ± 106 µs',
      '  +25.0 ms ± 52 µs  stock count: 1 calls a trace → 1 (+0 µs), each 2.19 ms → 27.2 ms (+25.0 ms)',
      '',
    ])
    const [first, second] = await compareWindows(fileOf('before', 2000), fileOf('after', 2000, 3), {})
    assert.match(first!, /^web GET \/: 3.98 ms → 8.\d+ ms, \+4.\d+ ms/)
    assert.match(
      second!,
      /^ {2}\+4.\d+ ms ± .* {2}stock count: 1 calls a trace → 3 \(\+4.\d+ ms\), each 2.19 ms → 2.19 ms/,
    )
  })

  it('says that nothing has changed, and writes all that was compared as JSON', async () => {
    const file = fileOf('same', 2000)
    assert.deepEqual(await compareWindows(file, file, {}), ['1 root operations: nothing has changed beyond chance.'])
    const [found] = (await compareWindows(file, file, { json: true })).map(line => JSON.parse(line))
    assert.deepEqual([found.kind, found.root, found.bands.length], ['regression', { service: 'web', name: 'GET /' }, 5])
  })

  it('reads compressed files', async () => {
    const file = fileOf('plain', 2000)
    writeFileSync(`${file}.gz`, gzipSync(readFileSync(file)))
    assert.deepEqual(await compareWindows(`${file}.gz`, file, {}), await compareWindows(file, file, {}))
  })

  it('takes a window in which no trace began', async () => {
    const file = join(temporaryDirectory(), 'empty')
    writeFileSync(file, whole([windowLine('2026-11-30T10:00:00Z')]))
    assert.deepEqual(await compareWindows(file, fileOf('some', 2000), {}), [
      '0 root operations: nothing has changed beyond chance.',
    ])
  })

  it("refuses what load refuses: files that aren't the whole results of one window", async () => {
    const results = readFileSync(fileOf('whole', 2000), 'utf8')
    const file = join(temporaryDirectory(), 'x')
    for (const [content, message] of [
      ['{"kind":"root",\n', /x: line 1: it isn't JSON/],
      ['', /x: it has no results: give a file that milo-collector reduce --merge wrote/],
      ['null\n', /x: line 1: it is not an object with a kind/],
      [whole([{ kind: 'window', from: null, to: null }]), /x: line 1: its from and to are not whole hours/],
      [whole([windowLine('2026-11-30T10:00:00Z'), edgeLine('a', 'b', 1)]), /x has no results of root operations: /],
      [results.replace('"kind":"path"', '"kind":"bath"'), /x: line \d+: unknown kind "bath"/],
      [results.split('\n').slice(0, -4).join('\n'), /x: it is not whole: its last line is not of kind "end"/],
      [results.replace(/^{"kind":"path".*\n/m, ''), /x: it is not whole: it has \d+ results of \d+/],
      [results + results, /x: line \d+: it begins the results of another window/],
      [gzipSync(results).subarray(0, -30), /x can't be decompressed: unexpected end of file/],
    ] as const) {
      writeFileSync(file, content)
      await assert.rejects(compareWindows(fileOf('whole', 2000), file, {}), message)
    }
    await assert.rejects(compareWindows(join(file, 'y'), file, {}), /y can't be read \(ENOTDIR\)/)
  })
})
