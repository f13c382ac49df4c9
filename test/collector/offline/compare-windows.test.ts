import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { compareWindows } from '../../../collector/src/commands/compare-windows'
import { whole } from '../../helpers/results'
import { temporaryDirectory, undo } from '../support'
import { forgetDirectory, lineOf, merge, reduce } from './programs'
import { recordsOf } from './traces'

describe('compare-windows', () => {
  after(async () => {
    await undo()
    forgetDirectory()
  })

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

  it('says which root operations have changed, and by which operations', () => {
    assert.deepEqual(compareWindows(fileOf('before', 2000), fileOf('after', 27_000), {}), [
      'web GET /: 3.98 ms → 29.0 ms, +25.0 ms ± 106 µs',
      '  +25.0 ms ± 52 µs  stock count: 1 calls a trace → 1 (+0 µs), each 2.19 ms → 27.2 ms (+25.0 ms)',
      '',
    ])
    const [first, second] = compareWindows(fileOf('before', 2000), fileOf('after', 2000, 3), {})
    assert.match(first!, /^web GET \/: 3.98 ms → 8.\d+ ms, \+4.\d+ ms/)
    assert.match(
      second!,
      /^ {2}\+4.\d+ ms ± .* {2}stock count: 1 calls a trace → 3 \(\+4.\d+ ms\), each 2.19 ms → 2.19 ms/,
    )
  })

  it('says that nothing has changed, and writes all that was compared as JSON', () => {
    const file = fileOf('same', 2000)
    assert.deepEqual(compareWindows(file, file, {}), ['1 root operations: nothing has changed beyond chance.'])
    const [found] = compareWindows(file, file, { json: true }).map(line => JSON.parse(line))
    assert.deepEqual([found.kind, found.root, found.bands.length], ['regression', { service: 'web', name: 'GET /' }, 5])
  })

  it('refuses files that have no results', () => {
    const file = join(temporaryDirectory(), 'x')
    const refused = (content: string, message: RegExp) => {
      writeFileSync(file, content)
      assert.throws(() => compareWindows(file, file, {}), message)
    }
    refused(whole([{ kind: 'window' }]), /x has no results of root operations: give what reduce --merge wrote/)
    refused('{"kind":"root",\n', /x has a line that isn't JSON/)
    refused('', /x isn't results: give what reduce --merge wrote/)
    refused('null\n', /x isn't results/)
    assert.throws(() => compareWindows(join(file, 'y'), file, {}), /y can't be read: /)
  })

  it('refuses files that are cut, or that hold several windows', () => {
    const results = readFileSync(fileOf('whole', 2000), 'utf8')
    const file = join(temporaryDirectory(), 'x')
    for (const [content, message] of [
      [results.split('\n').slice(0, -4).join('\n'), /x: it is not whole: its last line is not of kind "end"/],
      [results.replace(/^{"kind":"path".*\n/m, ''), /x: it is not whole: it has \d+ results of \d+/],
      [results + results, /x has results of several windows: give a file of each/],
    ] as const) {
      writeFileSync(file, content)
      assert.throws(() => compareWindows(fileOf('whole', 2000), file, {}), message)
    }
  })
})
