import { execFile } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { load, machine, median, progress, ROOT, shuffled, table } from '../measure.mjs'

/* Collectors and their stores, loaded as fast as they answer; what was acknowledged is read back and counted. */

const HERE = dirname(fileURLToPath(import.meta.url))

export const options = {
  rounds: { type: 'string', default: '3' },
  /** Frames of 100 spans, at most; and seconds of sending, at most. */
  frames: { type: 'string', default: '10000' },
  seconds: { type: 'string', default: '20' },
  connections: { type: 'string', default: '8' },
  /** Those whose name holds this. */
  system: { type: 'string', default: '' },
  /** Frames of a longer run of Milo's embedded store, in whose course the memory is looked at; 0 for none. */
  long: { type: 'string', default: '50000' },
}

const LONG_SECONDS = '600'
const LONG_LOOKS = 5
/** What 99 of 100 answers must not take longer than while searches go on. */
const SEARCHED_P99_MS = 100

const SYSTEMS = [
  { name: 'milo-embedded', title: 'Milo, embedded store', atLeast: 60_000, cpuAtMost: 17 },
  { name: 'zipkin-memory', title: 'Zipkin 3.6.1, memory' },
  { name: 'milo-databases', title: 'Milo, Cassandra 5 + MariaDB 10.11', atLeast: 18_000, cpuAtMost: 100 },
  // What it accepts in a second takes it ten to store.
  { name: 'zipkin-cassandra', title: 'Zipkin 3.6.1, Cassandra 5', secondsAtMost: 3 },
]

export async function bench(values) {
  const systems = SYSTEMS.filter(({ name }) => name.includes(values.system))
  let failed = false
  const results = new Map(systems.map(({ name }) => [name, []]))
  const rounds = Number(values.rounds)
  for (let round = 1; round <= rounds; round++) {
    for (const { name, secondsAtMost = Infinity } of shuffled(systems)) {
      progress(`collector: round ${round} of ${rounds}, ${name}`)
      const seconds = String(Math.min(values.seconds, secondsAtMost))
      results.get(name).push(await run(name, { ...values, seconds }))
    }
  }
  const ofSearches = systems[0].name === 'milo-embedded' ? await searchedRuns(values) : undefined
  failed ||= ofSearches?.failed === true
  const ofLong = systems[0].name === 'milo-embedded' && values.long !== '0' ? await longRun(values) : []
  progress('')
  const of = (name, pick) => median(results.get(name).map(pick))
  const total = ({ cpuUs }) => Object.values(cpuUs).reduce((sum, us) => sum + us, 0)
  const rows = systems.map(({ name, title, atLeast, cpuAtMost }) => {
    const stored = of(name, r => r.storedPerSecond)
    const cpu = of(name, total)
    const lost = results.get(name).reduce((sum, r) => sum + r.lost, 0)
    const spans = results.get(name).reduce((sum, r) => sum + r.spans, 0)
    const holds = atLeast === undefined ? '' : stored >= atLeast && cpu <= cpuAtMost && lost === 0 ? 'yes' : 'no'
    failed ||= holds === 'no'
    const parts = Object.keys(results.get(name)[0].cpuUs)
    return [
      title,
      count(of(name, r => r.acknowledgedPerSecond)),
      count(stored),
      `${of(name, r => r.p50).toFixed(1)} / ${of(name, r => r.p99).toFixed(0)}`,
      `${cpu.toFixed(cpu < 100 ? 1 : 0)}${parts.length > 1 ? ` (${parts.map(part => `${part} ${of(name, r => r.cpuUs[part]).toFixed(0)}`).join(', ')})` : ''}`,
      of(name, r => r.memory.largest).toFixed(0),
      results.get(name)[0].bytesPerSpan === undefined ? '' : of(name, r => r.bytesPerSpan).toFixed(0),
      `${count(lost)} of ${count(spans)}`,
      `${(of(name, r => r.found) * 100).toFixed(0)} %, ${of(name, r => r.searchMs).toFixed(of(name, r => r.searchMs) < 10 ? 1 : 0)} ms`,
      atLeast === undefined ? '' : `≥ ${count(atLeast)}, ≤ ${cpuAtMost} µs`,
      holds,
    ]
  })
  const head = [
    '',
    'acknowledged/s',
    'stored and indexed/s',
    'answer p50 / p99 ms',
    'CPU µs a span',
    'MiB',
    'bytes a span',
    'lost',
    'found',
    'budget',
    'holds',
  ]
  const text = [
    `${machine()}, for everything: senders, collectors and databases. Load ${load().toFixed(1)}.`,
    '',
    `${values.connections} connections, each with one call of Log on the way: a frame of 100 spans of 280 bytes and 1.9 annotations. At most ${values.seconds} s`,
    'of sending; 3 s to Zipkin on Cassandra, which stores for minutes what it accepts in that time.',
    'Before that, 300,000 spans to Milo on databases and to Zipkin in memory, whose JVMs compile meanwhile, and 20,000 to the others.',
    '*Stored and indexed* counts until nothing is behind any more. CPU time is that of the collector and its databases, without the',
    'senders. MiB: the largest resident set of the collector. *Lost*: what was answered OK and is not there when everything is read back.',
    '*Found*: of 200 spans (of 10, Zipkin being slow), how many a search by an annotation of their own finds, and in what time (median).',
    `Zipkin takes its own Thrift form in base64, which is what its Scribe collector knows. Medians of ${rounds} runs each, in turns.`,
    '',
    table(head, rows),
  ]
  const ratio = (a, b) =>
    results.has(a) && results.has(b) ? of(a, r => r.storedPerSecond) / of(b, r => r.storedPerSecond) : undefined
  const embedded = ratio('milo-embedded', 'zipkin-memory')
  const databases = ratio('milo-databases', 'zipkin-cassandra')
  if (embedded !== undefined) text.push('', `Embedded ÷ Zipkin's memory store: ${embedded.toFixed(1)}.`)
  if (databases !== undefined)
    text.push('', `Cassandra + MariaDB ÷ Zipkin on the same Cassandra: ${databases.toFixed(1)}.`)
  text.push(...(ofSearches?.text ?? []), ...ofLong)
  return { text: text.join('\n'), failed }
}

/** Acknowledgments while searches go on that no index answers. */
async function searchedRuns(values) {
  const runs = []
  for (let round = 1; round <= Number(values.rounds); round++) {
    progress(`collector: long searches meanwhile, round ${round} of ${values.rounds}`)
    runs.push(await run('milo-embedded', values, 'searching'))
  }
  const p99 = median(runs.map(r => r.p99))
  const searches = runs.reduce((sum, r) => sum + r.longSearched, 0)
  const failed = p99 > SEARCHED_P99_MS
  return {
    failed,
    text: [
      '',
      '### Answers while long searches go on',
      '',
      `Milo, embedded, as above, while one client searches for a part of a value that none has and for two conditions that no span meets`,
      `together, ${count(searches)} times in ${runs.length} runs: answer p50 / p99 ${median(runs.map(r => r.p50)).toFixed(1)} / ${p99.toFixed(0)} ms (must: ≤ ${SEARCHED_P99_MS}; holds: ${failed ? 'no' : 'yes'}).`,
    ],
  }
}

async function longRun(values) {
  progress(`collector: ${count(values.long * 100)} spans`)
  const { spans, memory, storedPerSecond, lost } = await run('milo-embedded', {
    ...values,
    frames: values.long,
    seconds: LONG_SECONDS,
  })
  const looks = Array.from({ length: LONG_LOOKS }, (_, i) => {
    const end = ((i + 1) * memory.course.length) / LONG_LOOKS
    return Math.max(...memory.course.slice(Math.floor((i * memory.course.length) / LONG_LOOKS), end))
  })
  return [
    '',
    '### Memory in a longer run',
    '',
    `Milo, embedded: ${count(spans)} spans in a row, ${count(storedPerSecond)} stored and indexed per second, ${count(lost)} lost. The collector's largest`,
    'resident set in each fifth of that time, and once nothing is behind any more; SQLite keeps 64 MiB of the file.',
    '',
    table(
      ['', ...looks.map((_, i) => `${i + 1}/${LONG_LOOKS}`), 'in the end'],
      [['MiB', ...looks.map(mib => mib.toFixed(0)), memory.course.at(-1).toFixed(0)]],
    ),
  ]
}

async function run(name, { frames, seconds, connections }, ...more) {
  const args = ['--require', 'tsx/cjs', join(HERE, 'program.ts'), name, frames, seconds, connections, ...more]
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, maxBuffer: 1 << 24 })
  return JSON.parse(stdout.slice(stdout.lastIndexOf('{"spans"')))
}

function count(n) {
  return Math.round(n).toLocaleString('en')
}
