import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { load, machine, progress, ROOT, table } from '../measure.mjs'

/* What it costs to analyse everything that was traced, by a pipe on this machine, beside Zipkin's job for the same traces. */

const HERE = dirname(fileURLToPath(import.meta.url))
const MILO = join(ROOT, 'collector/bin/milo-collector.js')

export const options = {
  records: { type: 'string', default: '10000000' },
  /** How many of them zipkin-dependencies gets; to write them into Cassandra takes longer than all the rest. */
  rival: { type: 'string', default: '1000000' },
}

const MUST = { export: 2, analysis: 10, reducerMb: 200 }
const HOURS_AGO = 2
const HOUR_MS = 3600e3

export async function bench({ records, rival }) {
  const before = load()
  const folder = mkdtempSync(join(tmpdir(), 'milo-bench-offline-'))
  try {
    const theirs = Number(rival) > 0 ? await zipkin(Number(rival)) : undefined
    const ours = await milo(folder, Number(records))
    return report(ours, theirs, before)
  } finally {
    progress('')
    rmSync(folder, { recursive: true })
  }
}

async function milo(folder, count) {
  const hourMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HOURS_AGO * HOUR_MS
  const db = join(folder, 'milo.db')
  progress(`${count.toLocaleString('en')} records into a store`)
  const { traces, records } = await program(db, count, hourMs)
  const hour = ms => new Date(ms).toISOString().slice(0, 13)
  // To fill the store may go on into the next hour.
  const hours = `${hour(hourMs)}..${hour(hourMs + HOURS_AGO * HOUR_MS)}`
  const usage = join(folder, 'usage')
  const env = {
    ...process.env,
    NODE_OPTIONS: `--require ${join(HERE, 'usage.cjs')}`,
    MILO_BENCH_USAGE: usage,
    MILO_COLLECTOR_EMBEDDED_PATH: db,
    MILO_COLLECTOR_LOG_LEVEL: 'warn',
    LC_ALL: 'C',
    TMPDIR: folder,
  }
  const files = join(folder, 'files')
  mkdirSync(files)
  progress('export')
  const from = performance.now()
  await bash(`'${MILO}' export --hours ${hours} --to '${files}'`, env)
  const exported = performance.now()
  progress('map, sort and reduce')
  const parts = readdirSync(files).filter(name => !name.startsWith('_'))
  const { stderr } = await bash(
    `TIMEFORMAT='sort %U %S'
     cat ${parts.map(name => `'${join(files, name)}'`).join(' ')} | '${MILO}' map | { time sort -S 512M; } | '${MILO}' reduce --hours ${hours} |
     sort > '${join(folder, 'partials')}'
     '${MILO}' reduce --merge < '${join(folder, 'partials')}' > '${join(folder, 'results')}'`,
    env,
  )
  const analysed = performance.now()
  const [, user, system] = /^sort ([\d.]+) ([\d.]+)$/m.exec(stderr)
  const took = readFileSync(usage, 'utf8')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  const of = (...args) => took.find(one => args.every(arg => one.args.includes(arg)))
  const results = readFileSync(join(folder, 'results'), 'utf8').trim().split('\n')
  const window = JSON.parse(results[0])
  if (window.traces !== traces) throw new Error(`${traces} traces were stored, and ${window.traces} analysed`)
  return {
    ...{ traces, records, lines: results.length },
    seconds: { export: (exported - from) / 1000, analysis: (analysed - exported) / 1000 },
    bytes: parts.reduce((sum, name) => sum + statSync(join(files, name)).size, 0),
    export: of('export'),
    map: of('map'),
    reduce: took.find(({ args }) => args[0] === 'reduce' && !args.includes('--merge')),
    merge: of('--merge'),
    sortUs: (Number(user) + Number(system)) * 1e6,
  }
}

/** Of all that a shell runs. */
function bash(script, env) {
  return promisify(execFile)('bash', ['-c', `set -euo pipefail\n${script}`], { env, maxBuffer: 1 << 26 })
}

async function program(...args) {
  const shift = ['--require', join(HERE, 'hours-ago.cjs'), '--require', 'tsx/cjs']
  const env = { ...process.env, MILO_BENCH_HOURS_AGO: String(HOURS_AGO) }
  const { stdout } = await promisify(execFile)(process.execPath, [...shift, join(HERE, 'program.ts'), ...args], {
    cwd: ROOT,
    env,
  })
  return JSON.parse(stdout)
}

/** zipkin-dependencies on Cassandra, for a day with these traces and for one without any. */
async function zipkin(count) {
  progress(`${count.toLocaleString('en')} spans for zipkin-dependencies`)
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--require', 'tsx/cjs', join(HERE, 'rival.ts'), String(count)],
    { cwd: ROOT, maxBuffer: 1 << 26 },
  )
  return JSON.parse(stdout.slice(stdout.lastIndexOf('{"records"')))
}

function report(ours, theirs, before) {
  let failed = false
  const row = (what, found, unit, must) => {
    const holds = must === undefined || found <= must
    failed ||= !holds
    return [
      what,
      `${digits(found)} ${unit}`,
      must === undefined ? '' : `≤ ${must}`,
      must === undefined ? '' : holds ? 'yes' : 'no',
    ]
  }
  const us = ({ cpuUs }) => cpuUs / ours.records
  const text = [
    `${machine()}. Load ${before.toFixed(1)}–${load().toFixed(1)}.`,
    `${ours.records.toLocaleString('en')} records of ${ours.traces.toLocaleString('en')} traces, from an embedded store into ${Math.round(ours.bytes / 1e6).toLocaleString('en')} MB of files ` +
      `(${ours.seconds.export.toFixed(0)} s), and by a pipe into ${ours.lines.toLocaleString('en')} lines of results (${ours.seconds.analysis.toFixed(0)} s). CPU time a record, and each process' largest resident set.`,
    table(
      ['', 'found', 'must', 'holds'],
      [
        row('export', us(ours.export), 'µs', MUST.export),
        row('map', us(ours.map), 'µs'),
        row('reduce', us(ours.reduce), 'µs'),
        row('map + reduce', us(ours.map) + us(ours.reduce), 'µs', MUST.analysis),
        row('sort', ours.sortUs / ours.records, 'µs'),
        row('reduce --merge, in all', ours.merge.cpuUs / 1e6, 's'),
        row('memory: export', ours.export.maxMb, 'MB'),
        row('memory: map', ours.map.maxMb, 'MB'),
        row('memory: reduce', ours.reduce.maxMb, 'MB', MUST.reducerMb),
        row('memory: reduce --merge', ours.merge.maxMb, 'MB'),
      ],
    ),
  ]
  if (theirs !== undefined) {
    const net = (theirs.cpuUs - theirs.emptyUs) / theirs.records
    text.push(
      `zipkin-dependencies ${theirs.version}, which finds links between services, on the first ${theirs.records.toLocaleString('en')} of these records as spans in its table in Cassandra; ` +
        `without what it takes for an empty day, ${(theirs.emptyUs / 1e6).toFixed(1)} s. Cassandra's own work isn't counted.`,
      table(
        ['', 'found', 'Milo, export to results', 'times as much'],
        [
          ['CPU time a span', `${digits(net)} µs`, `${digits(total(ours))} µs`, (net / total(ours)).toFixed(1)],
          [
            'memory',
            `${digits(theirs.maxMb)} MB`,
            `${digits(ours.reduce.maxMb)} MB`,
            (theirs.maxMb / ours.reduce.maxMb).toFixed(1),
          ],
        ],
      ),
    )
  }
  return { text: text.join('\n\n'), failed }
}

/** Everything, with sort and merge. */
function total({ records, sortUs, ...processes }) {
  const { export: read, map, reduce, merge } = processes
  return (read.cpuUs + map.cpuUs + reduce.cpuUs + merge.cpuUs + sortUs) / records
}

function digits(n) {
  return n >= 100 ? n.toFixed(0) : n.toPrecision(3)
}
