import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { median, Program, progress, quantile, shuffled, table } from '../measure.mjs'

const HERE = dirname(fileURLToPath(import.meta.url))

/** Rounds before the first that counts: for the compiler, and for the history to be full. */
const WARM_UP_ROUNDS = 5

/** CPU ns of an unsampled span with two annotations. */
const SPANS = [
  { values: 'repeated', budget: 250 },
  { values: 'unique', budget: 450 },
]

export async function spans(node, { rounds, count }) {
  const variants = []
  for (const way of ['off', 'on']) {
    const [program] = await Program.start(join(HERE, 'span.cjs'), { node: node.path, args: [way] })
    variants.push({ way, program, costs: { repeated: [], unique: [] } })
  }
  try {
    for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
      for (const { values } of SPANS) {
        for (const { way, program, costs } of shuffled(variants)) {
          const { ns, spans } = await program.ask({ values, count: Number(count) })
          if (spans > 0 !== (way === 'on')) throw new Error(`the history has ${spans} spans with retroactive ${way}`)
          if (round >= 0) costs[values].push(ns)
        }
      }
      progress(`Node ${node.version}, spans: round ${round + 1} of ${rounds}`)
    }
  } finally {
    for (const { program } of variants) program.stop()
    progress('')
  }
  const [off, on] = variants
  const rows = SPANS.map(({ values, budget }) => {
    const ns = median(on.costs[values])
    const not = median(off.costs[values])
    return [`values that are ${values}`, not.toFixed(0), ns.toFixed(0), `≤ ${budget}`, ns <= budget ? 'yes' : 'no']
  })
  return {
    failed: false,
    text: [
      'An unsampled root with two annotations, started and ended: CPU time in ns, garbage collection included.',
      table(['', 'not recorded', 'recorded', 'budget', 'holds'], rows),
    ].join('\n\n'),
  }
}

const ADDED_US = 1
const ADDED_BYTES = 28

export async function thrift(node, { rounds, calls }) {
  const [sink, ports] = await Program.start(join(HERE, '../sink.cjs'), {})
  const rows = []
  try {
    for (const [name, inFlight] of [
      ['one at a time', 1],
      ['50 in flight', 50],
    ]) {
      const { on, off, bytes, ofLeast } = await compare(node, ports, inFlight, Number(rounds), Number(calls), name)
      const added = on.map((cost, i) => cost - off[i])
      const [low, high] = [0.25, 0.75].map(q => quantile(added, q).toFixed(1))
      const holds = median(added) <= ADDED_US && bytes === ADDED_BYTES
      rows.push([
        name,
        median(off).toFixed(1),
        median(on).toFixed(1),
        `${median(added).toFixed(2)} [${low}, ${high}]`,
        `≤ ${ADDED_US}`,
        median(ofLeast).toFixed(2),
        `+${bytes}`,
        `+${ADDED_BYTES}`,
        holds ? 'yes' : 'no',
      ])
    }
  } finally {
    sink.stop()
  }
  return {
    failed: false,
    text: [
      'A Thrift echo at 0 % (framed; client and server in one process, which both record): µs of CPU time per call; *added* is the median of',
      'the differences within a round, its quartiles in brackets. The least: what recording two spans adds to generated code that does',
      'nothing but that: two looks at the clock, ids in a field of 28 bytes and 84 bytes of memory for each (thrift/least.cjs).',
      '',
      table(['', 'not recorded', 'recorded', 'added µs', 'budget', 'the least', 'bytes a call', 'must', 'holds'], rows),
    ].join('\n'),
  }
}

async function compare(node, ports, inFlight, rounds, calls, name) {
  const variants = []
  const ways = ['off', 'on'].flatMap(way => [
    { way, variant: 'milo' },
    { way, variant: 'least' },
  ])
  for (const { way, variant } of ways) {
    const [program] = await Program.start(join(HERE, '../thrift/program.cjs'), {
      node: node.path,
      execArgv: variant === 'milo' ? ['-r', 'milo/register'] : [],
      args: [JSON.stringify({ variant, transport: 'TFramedTransport', inFlight })],
      env: {
        BENCH_PROBABILITY: '0',
        BENCH_SCRIBE_PORT: String(ports.scribePort),
        BENCH_LEAST: way === 'on' ? 'recorded' : 'off',
        MILO_RETROACTIVE: way === 'on' ? '1' : '0',
      },
    })
    variants.push({ way, variant, program, costs: [], bytes: 0 })
  }
  try {
    for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
      for (const variant of shuffled(variants)) {
        const { cpuUs, bytes, sent } = await variant.program.ask({ calls })
        // What takes exceptionally long is kept, and sent.
        if (variant.way === 'off' && sent > 0) throw new Error(`${sent} spans were sent of calls that aren't sampled`)
        if (round >= 0) variant.costs.push(cpuUs / calls)
        variant.bytes = bytes / calls
      }
      progress(`Node ${node.version}, thrift, ${name}: round ${round + 1} of ${rounds}`)
    }
  } finally {
    for (const { program } of variants) program.stop()
    progress('')
  }
  const [off, leastOff, on, leastOn] = variants
  const ofLeast = leastOn.costs.map((cost, i) => cost - leastOff.costs[i])
  return { off: off.costs, on: on.costs, bytes: on.bytes - off.bytes, ofLeast }
}

/** A pointer leaked by each call would be 7 MB. */
const MOST_GROWTH_BYTES = 1024 * 1024
const HISTORY_BYTES = 4 * 1024 * 1024

export async function memory(node, { leak }) {
  const calls = Number(leak)
  const checkpoints = [calls / 10, calls / 2, calls]
  const [sink, ports] = await Program.start(join(HERE, '../sink.cjs'), {})
  const [program, first] = await Program.start(join(HERE, '../thrift/leak.cjs'), {
    node: node.path,
    execArgv: ['--expose-gc', '--disable-warning=ExperimentalWarning', '-r', 'milo/register'],
    args: [JSON.stringify({ transport: 'TFramedTransport', inFlight: 50, checkpoints })],
    env: {
      BENCH_PROBABILITY: '0',
      BENCH_SCRIBE_PORT: String(ports.scribePort),
      MILO_RETROACTIVE: '1',
      MILO_RETROACTIVE_BYTES: String(HISTORY_BYTES),
    },
  })
  const seen = [first]
  try {
    while (seen.length < checkpoints.length) seen.push(await program.answer())
  } finally {
    program.stop()
    sink.stop()
  }
  const last = seen.at(-1)
  const growth = Math.max(last.heapBytes - first.heapBytes, last.externalBytes - first.externalBytes)
  const failed = growth > MOST_GROWTH_BYTES
  const mib = bytes => (bytes / 1024 / 1024).toFixed(2)
  const rows = seen.map(at => [
    at.calls.toLocaleString('en'),
    mib(at.heapBytes),
    mib(at.externalBytes),
    String(at.spans),
  ])
  return {
    failed,
    text: [
      `Recorded calls, 50 in flight, with a history of ${HISTORY_BYTES / 1024 / 1024} MiB, which is full before the first line; after a full collection.`,
      table(['calls', 'heap, MiB', 'external, MiB', 'live spans'], rows),
      `${failed ? 'FAILED: memory grew' : 'No growth'}: ${(growth / 1024).toFixed(0)} KiB over ${(last.calls - first.calls).toLocaleString('en')} calls (bound: ${MOST_GROWTH_BYTES / 1024} KiB).`,
    ].join('\n\n'),
  }
}
