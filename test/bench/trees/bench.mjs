import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { load, machine, median, nodes, Program, progress, ROOT, table } from '../measure.mjs'

/* How long the collector takes from a trace's records to its tree and JSON, as the trace grows and by its shape. */

const HERE = dirname(fileURLToPath(import.meta.url))

export const options = {
  rounds: { type: 'string', default: '9' },
  node: { type: 'string', default: '' },
}

const SIZES = [10, 1000, 10_000, 100_000]
const SHAPES = {
  random: 'random',
  fan: 'all below the root',
  chain: 'one below the other',
  skewed: 'random, 30 clocks',
}

export async function bench(values) {
  const text = [
    `${machine()}.`,
    'Milliseconds of CPU time (collecting garbage is in it), medians of the rounds. Each span has a client and a server half of 4 annotations. *Pause* is the longest time that a build in slices holds the event loop, on the clock; *JSON* is made of the tree, in pieces.',
  ]
  const folder = mkdtempSync(join(tmpdir(), 'milo-bench-'))
  const bundle = join(folder, 'trees.cjs')
  const parts = ['collector/src/trace', 'src/codec/span'].map(part => `export * from './${part}'`)
  buildSync({
    stdin: { contents: parts.join('\n'), resolveDir: ROOT, loader: 'ts' },
    bundle: true,
    format: 'cjs',
    platform: 'node',
    outfile: bundle,
  })
  for (const node of nodes().filter(({ version }) => values.node === '' || version.startsWith(`${values.node}.`))) {
    text.push(`### Node ${node.version}`, await measure(node, bundle, Number(values.rounds)))
  }
  rmSync(folder, { recursive: true })
  return { text: text.join('\n\n'), failed: false }
}

async function measure(node, bundle, rounds) {
  const rows = []
  const loads = []
  const env = { BENCH_TREES: bundle }
  for (const [shape, title] of Object.entries(SHAPES)) {
    const [program] = await Program.start(join(HERE, 'program.cjs'), { node: node.path, env })
    try {
      for (const size of SIZES) {
        progress(`Node ${node.version}: ${title}, ${size} spans`)
        const found = { build: [], pause: [], json: [], diff: [] }
        // Small traces are built many times a round, and the first rounds are for the compiler.
        const times = Math.max(1, Math.floor(10_000 / size))
        let megabytes = 0
        for (let round = -2; round < rounds; round++) {
          const answer = await program.ask({ shape, size, times })
          megabytes = answer.megabytes
          if (round >= 0) for (const what of Object.keys(found)) found[what].push(answer[what])
        }
        loads.push(load())
        rows.push([
          title,
          size.toLocaleString('en'),
          ...['build', 'pause', 'json', 'diff'].map(what => digits(median(found[what]))),
          digits(megabytes),
        ])
      }
    } finally {
      program.stop()
    }
  }
  progress('')
  const head = ['', 'spans', 'build', 'pause', 'JSON', 'comparison', 'MB of JSON']
  return `${table(head, rows)}\n\n${rounds} rounds; load ${Math.min(...loads).toFixed(1)}–${Math.max(...loads).toFixed(1)}.`
}

function digits(n) {
  return n >= 10 ? n.toFixed(0) : n.toPrecision(2)
}
