import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { EventType, encodeRecord, type SpanRecord } from '../../../src/codec/span'
import { ROOT } from '../../helpers/child'
import { generateTrace } from '../../helpers/generated-trace'
import { temporaryDirectory, undo } from '../support'
import { lineOf, map, merge, reduce, text } from './programs'

/** The commands as they are installed, on pipes. */

const BIN = join(ROOT, 'collector/bin/milo-collector.js')

after(undo)

const lines = Array.from({ length: 200 }, (_, i) => {
  return lineOf(generateTrace({ traceId: BigInt(i * 7919 + 1), spans: 3 + (i % 20), startUs: 1_700_000_000_000_000 }))
})

interface Ended {
  status: number | null
  stdout: string
  stderr: string
}

async function ended(child: ChildProcess): Promise<Ended> {
  let [stdout, stderr] = ['', '']
  child.stdout!.setEncoding('utf8').on('data', data => (stdout += data))
  child.stderr!.setEncoding('utf8').on('data', data => (stderr += data))
  const [status] = await once(child, 'close')
  return { status, stdout, stderr }
}

function run(args: string[], input: string | Buffer, env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const child = spawn(process.execPath, [BIN, ...args], { env: { ...process.env, ...env } })
  child.stdin.on('error', () => {}).end(input)
  return ended(child)
}

describe('milo-collector map and reduce', () => {
  it('give in a pipe of the shell what the parts give, and data alone on standard output', async () => {
    const file = join(temporaryDirectory(), 'lines')
    writeFileSync(file, text(lines))
    const node = `'${process.execPath}' '${BIN}'`
    const out = execFileSync(
      '/bin/sh',
      ['-c', `${node} map < '${file}' | LC_ALL=C sort | ${node} reduce | ${node} reduce --merge`],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    )
    assert.equal(out, text(merge(reduce(map(text(lines)).lines.sort()))))
  })

  it('say on standard error what they have counted: in words, or as Hadoop Streaming’s counters', async () => {
    const input = text([...lines.slice(0, 3), 'x\t!'])
    const [words, counters, reduced] = await Promise.all([
      run(['map'], input),
      run(['map'], input, { mapreduce_job_id: 'job_1' }),
      run(['reduce', '--reporter', '--only', 'edges', '--max-spans', '2'], text(lines.slice(0, 3))),
    ])
    const records = map(input).counts.records
    assert.equal(words.stderr, `milo-collector map: lines: 4, records: ${records}, broken lines: 1\n`)
    assert.deepEqual(counters.stderr.split('\n'), [
      'reporter:counter:milo,map.lines,4',
      `reporter:counter:milo,map.records,${records}`,
      'reporter:counter:milo,map.brokenLines,1',
      '',
    ])
    assert.match(reduced.stderr, /^reporter:counter:milo,reduce\.cutTraces,3$/m)
    assert.equal(words.stdout, counters.stdout)
  })

  it('refuse what they don’t know with a remedy, and end with status 2', async () => {
    const REFUSED: [string[], RegExp][] = [
      [['reduce', '--only', 'edge'], /there is no analysis 'edge': give some of edges, /],
      [['reduce', '--hours', 'yesterday'], /'yesterday' isn't FROM\.\.TO in hours: give UTC hours/],
      [['reduce', '--merge', '--hours', '2026-11-30..2026-12-01'], /--hours chooses traces/],
      [['reduce', '--max-spans', '0'], /give a whole number above 0/],
      [['map', 'file'], /too many arguments/],
    ]
    const all = await Promise.all(REFUSED.map(([args]) => run(args, '')))
    for (const [i, { status, stdout, stderr }] of all.entries()) {
      assert.match(stderr, REFUSED[i]![1])
      assert.deepEqual([status, stdout], [2, ''])
    }
  })

  it('warn if no trace is analysed, and say in which hours they began', async () => {
    const hours = ['--hours', '2026-11-30..2026-12-01']
    const [outside, none] = await Promise.all([
      run(['reduce', ...hours], text(lines.slice(0, 3))),
      run(['reduce', ...hours, '--reporter'], ''),
    ])
    assert.match(
      outside.stderr,
      /^milo-collector reduce: warning: no trace is analysed: all 3 began in other hours, 2023-11-14T22:00Z\.\.2023-11-14T23:00Z: see --hours$/m,
    )
    assert.match(none.stderr, /^milo-collector reduce: warning: no trace is analysed: none has come$/m)
    const merged = await run(['reduce', '--merge'], outside.stdout)
    assert.match(
      merged.stderr,
      /^milo-collector merge: warning: no trace is analysed: all 3 began in other hours than/m,
    )
    assert.match(merged.stderr, /^milo-collector merge: lines: \d+, outside: 3$/m)
    assert.deepEqual(
      [outside, none, merged].map(({ status }) => status),
      [0, 0, 0],
    )
    assert.equal(JSON.parse(merged.stdout.split('\n', 1)[0]!).from, '2026-11-30T00:00Z')
  })

  it('refuse compressed input, and partial results that aren’t whole, with status 1 and one line', async () => {
    const partials = text(reduce(lines.slice(0, 3)).slice(0, -1))
    const [zipped, cut] = await Promise.all([
      run(['map'], gzipSync(text(lines))),
      run(['reduce', '--merge', '--reporter'], partials),
    ])
    assert.equal(
      zipped.stderr,
      'milo-collector: standard input is compressed by gzip: decompress it first, gzip -dc FILE… |\n',
    )
    assert.match(
      cut.stderr,
      /^milo-collector: a reduce, or a copy of what it wrote, has ended before its last line: [^\n]*\n$/,
    )
    assert.deepEqual([zipped.status, cut.status, cut.stdout], [1, 1, ''])
  })

  it('end with an error, and no stack, if nobody reads what they write', async () => {
    const child = spawn(process.execPath, [BIN, 'map'], { stdio: ['pipe', 'pipe', 'pipe'] })
    child.stdout.destroy()
    child.stdin.on('error', () => {}).end(text(Array.from({ length: 20 }, () => lines).flat()))
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', data => (stderr += data))
    const [status] = await once(child, 'close')
    assert.equal(status, 1)
    assert.equal(stderr, 'milo-collector: standard output was closed before all was written\n')
  })

  /** Starts reduce so that it says at its end how much memory it had at most. */
  function measured(): ChildProcess {
    const atExit = join(temporaryDirectory(), 'at-exit.cjs')
    // Not resourceUsage(): its maxRSS begins with that of the process that has started this one.
    writeFileSync(
      atExit,
      `process.on('exit', () => {
        const status = require('node:fs').readFileSync('/proc/self/status', 'utf8')
        process.stderr.write('maxRSS ' + /VmHWM:\\s+(\\d+)/.exec(status)[1] + '\\n')
      })`,
    )
    return spawn(process.execPath, ['-r', atExit, BIN, 'reduce'], { stdio: ['pipe', 'pipe', 'pipe'] })
  }

  const megabytesOf = ({ stderr }: Ended) => Number(/^maxRSS (\d+)$/m.exec(stderr)![1]) / 1024

  it('reduce takes less than 200 MB where hardly an operation, a path or an edge comes twice', async function () {
    this.timeout(120_000)
    const child = measured()
    const end = ended(child)
    for (let t = 1; t <= 2_500; t++) {
      const records = Array.from({ length: 20 }, (_, i): SpanRecord => {
        const [type, other] =
          i % 2 === 0
            ? ([EventType.SERVER_RECV, EventType.SERVER_SEND] as const)
            : ([EventType.CLIENT_SEND, EventType.CLIENT_RECV] as const)
        return {
          ...{ traceId: BigInt(t), id: BigInt(i + 1), parentId: BigInt(i) },
          ...{ name: `GET /users/${t}/${i}`, service: `service-${i >> 1}` },
          events: [
            { timestamp: 1_700_000_000_000_000n + BigInt(i), eventType: type },
            { timestamp: 1_700_000_000_000_000n + BigInt((t * 7919) % 1_000_000) + BigInt(100 - i), eventType: other },
          ],
        }
      })
      if (!child.stdin!.write(`${lineOf(records)}\n`)) await once(child.stdin!, 'drain')
    }
    child.stdin!.end()
    const reduced = await end
    assert.equal(reduced.status, 0, reduced.stderr)
    assert.match(reduced.stderr, /traces: 2500, spans: 50000/)
    assert.ok(megabytesOf(reduced) < 200, reduced.stderr)
  })

  it('reduce takes no more memory for a trace of two million spans than for one of 100,000', async function () {
    this.timeout(120_000)
    const child = measured()
    const end = ended(child)
    const PER_LINE = 2_000
    // The same records with other ids and times: to make two million anew takes longer than to reduce them.
    const records = Array.from({ length: PER_LINE }, (_, i): SpanRecord => {
      return {
        traceId: 1n,
        id: BigInt(i + 1),
        parentId: i === 0 ? 0n : BigInt(Math.ceil(i / 8)),
        name: `operation-${i % 50}`,
        service: `service-${i % 10}`,
        events: [
          { timestamp: 1_700_000_000_000_000n + BigInt(i), eventType: EventType.SERVER_RECV },
          { timestamp: 1_700_000_000_500_000n + BigInt(i), eventType: EventType.SERVER_SEND },
        ],
      }
    })
    const bytes = Buffer.concat(records.map(encodeRecord))
    const places = records.map(record => {
      const bytes = encodeRecord(record)
      const find = (value: bigint) => {
        const wanted = Buffer.alloc(8)
        wanted.writeBigInt64BE(value)
        return bytes.indexOf(wanted, 16)
      }
      return { length: bytes.length, id: find(record.id!), time: find(record.events![0]!.timestamp!) }
    })
    for (let n = 0; n < 1_000; n++) {
      let at = 0
      for (const [i, { length, id, time }] of places.entries()) {
        // The later ones come first, which is the hardest for what keeps the earliest.
        const number = (999 - n) * PER_LINE + i
        bytes.writeInt32BE(number + 1, at + id + 4)
        bytes.writeBigInt64BE(1_700_000_000_000_000n + BigInt(number), at + time)
        at += length
      }
      const line = `0000000000000001\t${bytes.toString('base64')}\n`
      if (!child.stdin!.write(line)) await once(child.stdin!, 'drain')
    }
    child.stdin!.end()
    const reduced = await end
    const { status, stdout, stderr } = reduced
    assert.equal(status, 0, stderr)
    const window = JSON.parse(merge(stdout.split('\n').slice(0, -1))[0]!)
    assert.deepEqual([window.records, window.spans, window.cutTraces, window.cutRecords], [2e6, 1e5, 1, 1.9e6])
    assert.equal(window.rootless, 0)
    assert.ok(megabytesOf(reduced) < 200, stderr)
  })
})
