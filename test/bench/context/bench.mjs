import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { load, machine, median, nodes, Program, packages, progress, shuffled, table } from '../measure.mjs'

/* What carrying a context costs code that only awaits, and a TCP echo; and what a long chain of contexts keeps in memory. */

const HERE = dirname(fileURLToPath(import.meta.url))

export const options = {
  rounds: { type: 'string', default: '15' },
  count: { type: 'string', default: '200000' },
  echoes: { type: 'string', default: '20000' },
  node: { type: 'string', default: '' },
}

const NAMES = {
  none: 'nothing',
  asynclocalstorage: 'AsyncLocalStorage',
  milo: 'Milo (a span)',
  'milo-cls': 'milo/cls',
  opentelemetry: 'OpenTelemetry',
  'cls-hooked': 'cls-hooked',
}

const HEAD = [
  '',
  'ns per await',
  'added',
  'budget',
  'holds',
  'µs per echo',
  'efficiency',
  'budget',
  'holds',
  'heap after the chain',
]

const CHAIN = 200_000
/** Throughput per CPU time with a context, by that without one; design: context. */
const LEAST_EFFICIENCY = 0.93
/** Added ns per await, by Node's major version; design: context. */
const budgetNs = version => (Number(version.split('.')[0]) >= 24 ? 45 : 150)

export async function bench(values) {
  const text = [
    `${machine()}. ${packages([]).join(', ')}.`,
    `CPU time in ns of one await in a loop of async calls, within the context; medians of interleaved rounds, a process for each. TCP echo: CPU time in µs of one over 10 loopback connections, server and clients in one process, each request served in a context of its own; efficiency is what nothing takes by what this takes, the median over the rounds. Heap: what is more after a chain of ${CHAIN.toLocaleString('en')} promises, after a collection.`,
  ]
  for (const node of nodes().filter(({ version }) => values.node === '' || version.startsWith(`${values.node}.`))) {
    text.push(
      `### Node ${node.version}`,
      await measure(node, Number(values.rounds), Number(values.count), Number(values.echoes)),
    )
  }
  return { text: text.join('\n\n'), failed: false }
}

async function measure(node, rounds, count, echoes) {
  const ways = []
  for (const name of Object.keys(NAMES)) {
    if (name === 'cls-hooked' && !existsSync(join(HERE, '../node_modules/cls-hooked'))) continue
    const [program] = await Program.start(join(HERE, 'program.cjs'), {
      node: node.path,
      execArgv: ['--expose-gc'],
      args: [name],
    })
    ways.push({ name, program, costs: [], echoCosts: [] })
  }
  const loads = []
  try {
    for (let round = -3; round < rounds; round++) {
      for (const { program, costs } of shuffled(ways)) {
        const { ns } = await program.ask({ what: 'awaits', count })
        if (round >= 0) costs.push(ns)
      }
      for (const { program, echoCosts } of shuffled(ways)) {
        const { ns } = await program.ask({ what: 'echoes', count: echoes })
        if (round >= 0) echoCosts.push(ns)
      }
      loads.push(load())
      progress(`Node ${node.version}: round ${round + 1} of ${rounds}`)
    }
    for (const way of ways) way.heap = (await way.program.ask({ what: 'chain', count: CHAIN })).bytes
  } finally {
    for (const { program } of ways) program.stop()
    progress('')
  }
  const none = median(ways[0].costs)
  const rows = ways.map(({ name, costs, echoCosts, heap }) => {
    const added = median(costs) - none
    const efficiency = median(echoCosts.map((cost, i) => ways[0].echoCosts[i] / cost))
    const ours = name.startsWith('milo')
    return [
      NAMES[name],
      median(costs).toFixed(0),
      name === 'none' ? '' : added.toFixed(0),
      ours ? `≤ ${budgetNs(node.version)}` : '',
      ours ? (added <= budgetNs(node.version) ? 'yes' : 'no') : '',
      (median(echoCosts) / 1000).toFixed(1),
      name === 'none' ? '' : efficiency.toFixed(2),
      ours ? `≥ ${LEAST_EFFICIENCY}` : '',
      ours ? (efficiency >= LEAST_EFFICIENCY ? 'yes' : 'no') : '',
      `${(heap / 1024).toFixed(0)} KiB`,
    ]
  })
  return `${table(HEAD, rows)}\n\n${rounds} rounds of ${count} awaits and ${echoes} echoes; load ${Math.min(...loads).toFixed(1)}–${Math.max(...loads).toFixed(1)}.`
}
