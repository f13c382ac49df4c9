import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { load, machine, median, nodes, Program, packages, progress, shuffled, table } from '../measure.mjs'

/*
 * What one span costs, from its start to its place in the buffer: encoding and sending are what the codec's bench and
 * the thrift one measure.
 */

const HERE = dirname(fileURLToPath(import.meta.url))

export const options = {
  rounds: { type: 'string', default: '15' },
  count: { type: 'string', default: '20000' },
  node: { type: 'string', default: '' },
}

const NAMES = { milo: 'Milo', opentelemetry: 'OpenTelemetry', zipkin: 'zipkin-js', ddtrace: 'dd-trace' }

/** What is made, how often it is sampled, and the budget in ns. */
const ROWS = [
  { label: 'root, sampled', what: 'root', probability: 1, budget: 110 },
  { label: 'root, unsampled', what: 'root', probability: 0, budget: 30 },
  { label: 'child, sampled', what: 'child', probability: 1, budget: 90 },
  { label: 'child, unsampled', what: 'child', probability: 0, budget: 5 },
  { label: 'annotation, sampled', what: 'annotation', probability: 1, budget: 20 },
  { label: 'annotation, unsampled', what: 'annotation', probability: 0, budget: 10 },
  { label: 'event, sampled', what: 'event', probability: 1, budget: 80 },
]

export async function bench(values) {
  const text = [
    `${machine()}. ${packages([]).join(', ')}.`,
    'CPU time in ns of one span (started and ended), annotation or event, garbage collection included, up to the buffer. Medians of interleaved rounds, a process for each tracer.',
  ]
  const [sink, ports] = await Program.start(join(HERE, '../sink.cjs'), {})
  try {
    for (const node of nodes().filter(({ version }) => values.node === '' || version.startsWith(`${values.node}.`))) {
      text.push(`### Node ${node.version}`, await measure(node, ports, Number(values.rounds), Number(values.count)))
    }
  } finally {
    sink.stop()
  }
  return { text: text.join('\n\n'), failed: false }
}

async function measure(node, ports, rounds, count) {
  const tracers = []
  for (const name of Object.keys(NAMES)) {
    if (name === 'ddtrace' && !existsSync(join(HERE, '../node_modules/dd-trace'))) continue
    const [program] = await Program.start(join(HERE, 'program.cjs'), {
      node: node.path,
      args: [name],
      env: { BENCH_SCRIBE_PORT: String(ports.scribePort) },
    })
    tracers.push({ name, program, costs: ROWS.map(() => []) })
  }
  // What none of them can be without: to ask for the context and the time.
  const [least] = await Program.start(join(HERE, 'program.cjs'), { node: node.path, args: ['least'] })
  const lookups = []
  const looks = []
  const loads = []
  try {
    // The first three rounds are for the compiler.
    for (let round = -3; round < rounds; round++) {
      for (const [i, { what, probability }] of ROWS.entries()) {
        for (const { program, costs } of shuffled(tracers)) {
          const { ns } = await program.ask({ what, probability, count })
          if (round >= 0) costs[i].push(ns)
        }
      }
      for (const [what, list] of [
        ['context', lookups],
        ['clock', looks],
      ]) {
        const { ns } = await least.ask({ what, probability: 0, count })
        if (round >= 0) list.push(ns)
      }
      loads.push(load())
      progress(`Node ${node.version}: round ${round + 1} of ${rounds}`)
    }
  } finally {
    for (const { program } of tracers) program.stop()
    least.stop()
    progress('')
  }
  const rows = ROWS.map(({ label, budget }, i) => {
    const [milo, ...rivals] = tracers.map(({ costs }) => median(costs[i]))
    const ratio = (milo / rivals[0]).toFixed(2)
    return [
      label,
      milo.toFixed(0),
      `≤ ${budget}`,
      milo <= budget ? 'yes' : 'no',
      ...rivals.map(ns => ns.toFixed(0)),
      ratio,
    ]
  })
  const names = tracers.slice(1).map(({ name }) => NAMES[name])
  const lookup = median(lookups)
  const child = median(
    tracers[0].costs[ROWS.findIndex(({ what, probability }) => what === 'child' && probability === 0)],
  )
  const note = `\`AsyncLocalStorage.getStore()\` alone: ${lookup.toFixed(0)} ns. Each root and child of Milo's, and each child of OpenTelemetry's, asks for the current span so; the sketch from which the budget of an unsampled child comes did not. Besides it, that costs Milo ${(child - lookup).toFixed(0)} ns. Two looks at the clock alone, of which no span can do with less: ${median(looks).toFixed(0)} ns.`
  return `${table(['', 'Milo', 'budget', 'holds', ...names, 'Milo ÷ OpenTelemetry'], rows)}\n\n${note}\n\n${rounds} rounds of ${count}; load ${Math.min(...loads).toFixed(1)}–${Math.max(...loads).toFixed(1)}.`
}
