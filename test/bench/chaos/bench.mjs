import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { load, machine, median, nodes, Program, progress, shuffled, table } from '../measure.mjs'

/* A loaded HTTP server beside Scribes that misbehave: what they cost it in CPU time, latency and memory, and how it ends. */

const HERE = dirname(fileURLToPath(import.meta.url))
const HTTP = join(HERE, '../http')

export const options = {
  rounds: { type: 'string', default: '11' },
  /** Requests that each measurement makes, and before the first that counts: the buffer is full then. */
  calls: { type: 'string', default: '20000' },
  node: { type: 'string', default: '' },
}

const CONNECTIONS = 10
/** Of the CPU time beside a Scribe that takes everything, what another may cost more; design: the 1 %. */
const MOST_MORE = 0.01

export async function bench(values) {
  const [sink, { scribePort }] = await Program.start(join(HERE, '../sink.cjs'), {})
  const [scribes, { ports }] = await Program.start(join(HERE, 'scribes.cjs'), {})
  const [clients] = await Program.start(join(HTTP, 'load.cjs'), {})
  const text = [about()]
  try {
    for (const node of nodes().filter(({ version }) => values.node === '' || version.startsWith(`${values.node}.`))) {
      const variants = [
        { name: 'without Milo', variant: 'untraced' },
        { name: 'Scribe takes all', variant: 'milo', port: scribePort },
        ...ports.map(([way, port]) => ({ name: `Scribe ${way}`, variant: 'milo', port })),
      ]
      text.push(`### Node ${node.version}`, await measure(node, variants, clients, values))
    }
  } finally {
    for (const program of [clients, scribes, sink]) program.stop()
  }
  return { text: text.join('\n\n'), failed: false }
}

function about() {
  return [
    `${machine()}.`,
    '',
    `The server of the bench http, ${CONNECTIONS} clients with a request each on the way, every request sampled, Milo's buffer as by default.`,
    'CPU time of the server per request; *more* is over a Scribe that takes all spans, the median of the ratios within a round. Latency is',
    'what the clients see, in ms. Memory is the largest resident set. The end: how long SIGTERM takes, with what by default is a deadline',
    'of 1,000 ms for Scribe, and what the process ends by.',
  ].join('\n')
}

async function measure(node, variants, clients, values) {
  const rounds = Number(values.rounds)
  const calls = Number(values.calls)
  for (const variant of variants) {
    const [program, { port }] = await Program.start(join(HTTP, 'program.cjs'), {
      node: node.path,
      execArgv: variant.variant === 'milo' ? ['-r', 'milo/register'] : [],
      args: [variant.variant],
      env: {
        BENCH_PROBABILITY: '1',
        BENCH_SCRIBE_PORT: String(variant.port),
        BENCH_BUFFERED_SPANS: '10000',
        BENCH_LOG_LEVEL: 'silent',
      },
    })
    Object.assign(variant, { program, httpPort: port, cpuUs: [], medianMs: [], p99Ms: [], lost: 0, mostBytes: 0 })
  }
  const loads = []
  try {
    for (let round = -2; round < rounds; round++) {
      for (const variant of shuffled(variants)) {
        await variant.program.ask('begin')
        const { medianMs, p99Ms } = await clients.ask({
          port: variant.httpPort,
          calls,
          connections: CONNECTIONS,
          depth: 1,
        })
        const { cpuUs, lost, mostBytes } = await variant.program.ask('look')
        variant.mostBytes = mostBytes
        if (round < 0) continue
        variant.cpuUs.push(cpuUs / calls)
        variant.medianMs.push(medianMs)
        variant.p99Ms.push(p99Ms)
        variant.lost += lost
      }
      loads.push(load())
      progress(`Node ${node.version}: round ${round + 1} of ${rounds}`)
    }
    for (const variant of variants) variant.end = await variant.program.end()
  } finally {
    for (const { program } of variants) program.stop()
    progress('')
  }
  const healthy = variants[1]
  const rows = variants.map(({ name, port, cpuUs, medianMs, p99Ms, lost, mostBytes, end }) => {
    const more = median(cpuUs.map((cost, i) => cost / healthy.cpuUs[i])) - 1
    const bad = port !== undefined && port !== healthy.port
    return [
      name,
      median(cpuUs).toFixed(1),
      bad ? `${(more * 100).toFixed(1)} %` : '',
      bad ? `≤ ${MOST_MORE * 100} %` : '',
      bad ? (more <= MOST_MORE ? 'yes' : 'no') : '',
      median(medianMs).toFixed(2),
      median(p99Ms).toFixed(2),
      `${(mostBytes / 1024 / 1024).toFixed(0)} MiB`,
      `${Math.round((100 * lost) / (calls * rounds))} %`,
      `${end.ms.toFixed(0)} ms, ${end.by}`,
    ]
  })
  const head = ['', 'µs', 'more', 'budget', 'holds', 'median', '99 %', 'memory', 'dropped', 'the end']
  return `${table(head, rows)}\n\n${rounds} rounds of ${calls} requests; load ${Math.min(...loads).toFixed(1)}–${Math.max(...loads).toFixed(1)}.`
}
