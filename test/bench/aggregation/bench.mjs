import { execFile } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { load, machine, progress, ROOT, table } from '../measure.mjs'

/* How right the numbers of services are under sampling, and what it costs to count spans and to read what was counted. */

const HERE = dirname(fileURLToPath(import.meta.url))

export const options = {
  rounds: { type: 'string', default: '5' },
  /** How many are counted in a round. */
  records: { type: 'string', default: '200000' },
}

const MUST = { us: 1.8, month: 200, day: 300, pause: 20, quantile: 2 }
/** What an interval of 95% must cover, in percent: see test/collector/store/activity/estimates.test.ts. */
const COVERED = { calls: [93, 97], errors: [93, 97.5] }

export async function bench({ rounds, records }) {
  const before = load()
  progress('aggregation')
  const args = ['--expose-gc', '--require', 'tsx/cjs', join(HERE, 'program.ts'), rounds, records]
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, maxBuffer: 1 << 26 })
  progress('')
  const { mixes, sketch, counter, meter, operations, store } = JSON.parse(stdout.slice(stdout.lastIndexOf('{"mixes"')))
  let failed = false
  const holds = is => {
    failed ||= !is
    return is ? 'yes' : 'no'
  }
  const most = (what, found, unit, must) => [
    what,
    `${digits(found)} ${unit}`,
    must === undefined ? '' : `≤ ${must}`,
    must === undefined ? '' : holds(found <= must),
  ]
  const names = Object.keys(mixes[0].covered)
  const coverage = mixes.map(({ title, covered }) => [
    title,
    ...names.map(name => `${(100 * covered[name]).toFixed(1)} %`),
    holds(Object.entries(COVERED).every(([of, [low, high]]) => low <= 100 * covered[of] && 100 * covered[of] <= high)),
  ])
  const counting = meter.flatMap(({ portion, us, learnUs, recent, delta, countPause, learnPause }) => {
    const of = `in settlings of ${portion.toLocaleString('en')}`
    return [
      most(`a record ${of}`, us, 'µs', MUST.us),
      most(`of this, to learn ${of}`, learnUs, 'µs'),
      most(`stored for a record ${of}`, recent + delta, 'bytes'),
      most(`longest pause of count() ${of}`, countPause, 'ms', MUST.pause),
      most(`longest pause of learn() ${of}`, learnPause, 'ms', MUST.pause),
    ]
  })
  const text = [
    `${machine()}. Load ${before.toFixed(1)}–${load().toFixed(1)}.`,
    'How often the intervals of 95% have the truth, with seeds that are fixed; calls must be in 93–97 % of cases, errors in 93–97.5 %.',
    table(['', ...names, 'holds'], coverage),
    'Costs are CPU time, the least of the rounds; pauses are on the clock, the median of the rounds. A record has 1.9 annotations, and its trace four records.',
    table(
      ['', 'found', 'must', 'holds'],
      [
        most('largest error of p50–p99.9 where p = 1', sketch.error * 100, '%', MUST.quantile),
        most('an add to a counter', counter.ns, 'ns'),
        most('a counter of 1,000 calls, written', counter.bytes, 'bytes'),
        ...counting,
        most(
          `memory after ${operations.settlings / 2} settlings of ${operations.count.toLocaleString('en')} operations`,
          operations.early,
          'MB',
        ),
        most(
          `memory after ${operations.settlings}`,
          operations.late,
          'MB',
          (operations.early + operations.known).toFixed(1),
        ),
      ],
    ),
    `${operations.known.toFixed(1)} MB of it may be the identities of the records in between.`,
    `Read from an embedded store of ${Math.round(store.bytes / 1e6)} MB, that the folder has written. The longest pause of the event loop is on the clock.`,
    table(
      ['', 'found', 'must', 'holds'],
      store.reads.flatMap(({ what, ms, pause, must }) => [
        most(what, ms, 'ms', MUST[must]),
        most(`${what}: longest pause`, pause, 'ms', MUST.pause),
      ]),
    ),
  ]
  return { text: text.join('\n\n'), failed }
}

function digits(n) {
  return n >= 100 ? n.toFixed(0) : n.toPrecision(3)
}
