import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { load, machine, median, nodes, Program, packages, progress, ROOT, shuffled, table } from '../measure.mjs'

/* The record's codec beside npm thrift's generated one and OTLP's protobuf. Milo's parts are no exports, so they are bundled here, as they are in its packages. */

const HERE = dirname(fileURLToPath(import.meta.url))

export const options = {
  rounds: { type: 'string', default: '15' },
  count: { type: 'string', default: '50000' },
  node: { type: 'string', default: '' },
}

const NAMES = { milo: 'Milo', thrift: 'npm thrift, generated', otlp: 'OTLP protobuf' }
/** Thousand spans per CPU second; design: codec. */
const BUDGETS = { encode: 2000, decode: 1200, scan: 4000 }

export async function bench(values) {
  const text = [
    `${machine()}. ${packages(['thrift']).join(', ')}.`,
    'Thousand spans per second of CPU time; medians of interleaved rounds, a process for each. A scan finds ids, start and end, and checks the rest.',
  ]
  const folder = mkdtempSync(join(tmpdir(), 'milo-bench-'))
  const bundle = join(folder, 'codec.cjs')
  const parts = ['codec/binary', 'codec/span', 'codec/scan', 'export/encode', 'trace/span'].map(
    part => `export * from './${part}'`,
  )
  buildSync({
    stdin: { contents: parts.join('\n'), resolveDir: join(ROOT, 'src'), loader: 'ts' },
    bundle: true,
    format: 'cjs',
    platform: 'node',
    outfile: bundle,
  })
  for (const node of nodes().filter(({ version }) => values.node === '' || version.startsWith(`${values.node}.`))) {
    text.push(`### Node ${node.version}`, await measure(node, bundle, Number(values.rounds), Number(values.count)))
  }
  rmSync(folder, { recursive: true })
  return { text: text.join('\n\n'), failed: false }
}

async function measure(node, bundle, rounds, count) {
  const ways = []
  let sample = ''
  for (const name of Object.keys(NAMES)) {
    const [program, first] = await Program.start(join(HERE, 'program.cjs'), {
      node: node.path,
      args: [name, sample],
      env: { BENCH_CODEC: bundle },
    })
    // Milo comes first: the others take the span that it made.
    sample ||= first.sample
    ways.push({ name, program, speeds: { encode: [], decode: [], scan: [] } })
  }
  const loads = []
  try {
    for (let round = -3; round < rounds; round++) {
      for (const what of Object.keys(BUDGETS)) {
        for (const { program, speeds } of shuffled(ways)) {
          const { perSecond } = await program.ask({ what, count })
          if (round >= 0 && perSecond !== undefined) speeds[what].push(perSecond / 1000)
        }
      }
      loads.push(load())
      progress(`Node ${node.version}: round ${round + 1} of ${rounds}`)
    }
  } finally {
    for (const { program } of ways) program.stop()
    progress('')
  }
  const rows = Object.entries(BUDGETS).map(([what, budget]) => {
    const [milo, thrift, otlp] = ways.map(({ speeds }) =>
      speeds[what].length === 0 ? undefined : median(speeds[what]),
    )
    const show = speed => (speed === undefined ? '' : speed.toFixed(0))
    return [
      what,
      show(milo),
      `≥ ${budget}`,
      milo >= budget ? 'yes' : 'no',
      show(thrift),
      show(otlp),
      thrift === undefined ? '' : (milo / thrift).toFixed(1),
    ]
  })
  return `${table(['', 'Milo', 'budget', 'holds', NAMES.thrift, NAMES.otlp, 'Milo ÷ npm thrift'], rows)}\n\nA record of ${Buffer.from(sample, 'base64').length} bytes. ${rounds} rounds of ${count}; load ${Math.min(...loads).toFixed(1)}–${Math.max(...loads).toFixed(1)}.`
}
