import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { load, machine, median, nodes, Program, packages, progress, quantile, shuffled, table } from '../measure.mjs'

/*
 * A Thrift echo over TCP loopback, client and server in one process: what tracing it costs, in CPU time of that process.
 *
 *   ../sink.cjs   where spans go; one process for all
 *   program.cjs   one variant (untraced, milo, opentelemetry, zipkin .cjs) in a process of its own; runs echo.cjs
 *   leak.cjs      a million sampled calls, and what is left in memory
 *   otel.mjs      the same comparison within OpenTelemetry's SDK: by ThriftInstrumentation, and by hand
 */

const HERE = dirname(fileURLToPath(import.meta.url))

export const options = {
  /** So often each variant is measured, in turns. */
  rounds: { type: 'string', default: '15' },
  /** Calls that each measurement makes. */
  calls: { type: 'string', default: '5000' },
  /** Only these major versions of Node, these settings, these variants (untraced always runs). */
  node: { type: 'string', default: '' },
  setting: { type: 'string', default: '' },
  variant: { type: 'string', default: '' },
  /** Calls of the leak check; 0: none. */
  leak: { type: 'string', default: '1000000' },
}

const SETTINGS = [
  { name: 'framed, one at a time', transport: 'TFramedTransport', inFlight: 1 },
  { name: 'framed, 50 in flight', transport: 'TFramedTransport', inFlight: 50 },
  { name: 'buffered, one at a time', transport: 'TBufferedTransport', inFlight: 1 },
  { name: 'buffered, 50 in flight', transport: 'TBufferedTransport', inFlight: 50 },
]

const NAMES = { least: 'the least', milo: 'Milo', opentelemetry: 'OpenTelemetry', zipkin: 'zipkin-js' }
const RIVALS = { names: NAMES, about, tableOf, checks: checkForLeaks }
const PERCENTAGES = [0, 1, 100]
/** What has no sampler. */
const ALWAYS = { least: [100] }
/** Added µs per call, by percentage. At 100 % also at most a third of OpenTelemetry's. */
const BUDGET_US = { 0: 3, 1: 4, 100: 5 }
const MOST_OF_OPENTELEMETRY = 1 / 3

/** Measurements before the first that counts: compilation, and the first connection to the sink. */
const WARM_UP_ROUNDS = 4

/** A pointer leaked by each call would be 7 MB from the first checkpoint to the last. */
const MOST_GROWTH_BYTES = 1024 * 1024
/** Spans still alive at a checkpoint: the one that stands for none, and what the last turn of the loop holds. */
const MOST_SPANS = 10

export const bench = values => compare(values, RIVALS)

/**
 * @param names what the variants are called, by their files
 * @param checks what else is done on each version of Node, unless `leak` is 0
 */
export async function compare(values, { names, about, tableOf, checks }) {
  const [sink, ports] = await Program.start(join(HERE, '../sink.cjs'), {})
  const wanted = (list, value) => list === '' || list.split(',').includes(String(value))
  const text = [about()]
  let failed = false
  try {
    for (const node of nodes().filter(({ version }) => wanted(values.node, version.split('.')[0]))) {
      text.push(`### Node ${node.version}`)
      for (const setting of SETTINGS.filter(({ name }) => values.setting === '' || name.includes(values.setting))) {
        const variants = ['untraced', ...Object.keys(names).filter(name => wanted(values.variant, name))]
        const result = await measure(node, setting, variants, ports, values, tableOf)
        text.push(`#### ${setting.name}`, result)
      }
      if (checks !== undefined && Number(values.leak) > 0) {
        const leak = await checks(node, ports, Number(values.leak))
        text.push('#### Memory', leak.text)
        failed ||= leak.failed
      }
    }
  } finally {
    sink.stop()
  }
  return { text: text.join('\n\n'), failed }
}

function about() {
  return [
    `${machine()}. ${packages(['thrift']).join(', ')}.`,
    '',
    'A Thrift echo (one string, binary protocol, generated code with promises) over TCP loopback, client and server in one process; each',
    'call makes two halves of a span, or two spans. CPU time of that process per call, user and system, garbage collection, encoding and sending included; the',
    'receivers run in a process of their own, and no span is dropped. Medians of interleaved rounds; *added* is the median of',
    'the differences to untraced within a round, its quartiles in brackets. OpenTelemetry (batch processor, OTLP protobuf) and',
    'zipkin-js (JSON over HTTP, its explicit context) are instrumented by hand, their headers in an argument of their own. The least:',
    'generated code that itself sends two spans of each call, with a context, two looks at the clock, ids in a field of 28 bytes and as',
    'many bytes as Milo’s spans have, and does nothing else (thrift/least.cjs).',
  ].join('\n')
}

async function measure(node, setting, names, ports, values, tableOf) {
  const rounds = Number(values.rounds)
  const calls = Number(values.calls)
  const variants = names.flatMap(name =>
    name === 'untraced' ? [{ name, percent: 0 }] : (ALWAYS[name] ?? PERCENTAGES).map(percent => ({ name, percent })),
  )
  for (const variant of variants) {
    variant.costs = []
    ;[variant.program] = await Program.start(join(HERE, 'program.cjs'), {
      node: node.path,
      execArgv: variant.name === 'milo' ? ['-r', 'milo/register'] : [],
      args: [JSON.stringify({ variant: variant.name, transport: setting.transport, inFlight: setting.inFlight })],
      env: {
        BENCH_PROBABILITY: String(variant.percent / 100),
        BENCH_SCRIBE_PORT: String(ports.scribePort),
        BENCH_HTTP_PORT: String(ports.httpPort),
      },
    })
  }
  const loads = []
  try {
    for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
      for (const variant of shuffled(variants)) {
        const { cpuUs, sent, lost } = await variant.program.ask({ calls })
        check(variant, sent, lost, calls)
        if (round >= 0) variant.costs.push(cpuUs / calls)
      }
      loads.push(load())
      progress(`Node ${node.version}, ${setting.name}: round ${round + 1} of ${rounds}`)
    }
  } finally {
    for (const { program } of variants) program.stop()
    progress('')
  }
  return `${tableOf(variants)}\n\n${rounds} rounds of ${calls} calls; load ${Math.min(...loads).toFixed(1)}–${Math.max(...loads).toFixed(1)}.`
}

/** A variant that didn't do its work has not been cheap. */
function check({ name, percent }, sent, lost, calls) {
  const expected = name === 'untraced' || percent === 0 ? 0 : percent === 100 ? 2 * calls : undefined
  if (lost > 0 || (expected !== undefined && sent !== expected)) {
    throw new Error(
      `${name} at ${percent} % sent ${sent} spans of ${calls} calls, and lost ${lost}: nothing to compare`,
    )
  }
}

function tableOf(variants) {
  const untraced = variants.find(({ name }) => name === 'untraced')
  const added = new Map(variants.map(variant => [variant, variant.costs.map((cost, i) => cost - untraced.costs[i])]))
  const rows = variants.map(variant => {
    const { name, percent, costs } = variant
    const perCall = median(costs).toFixed(1)
    if (variant === untraced) return ['untraced', perCall, '', '', '', '']
    const mine = median(added.get(variant))
    const rival = variants.find(other => other.name === 'opentelemetry' && other.percent === percent)
    const ratio = rival === undefined ? undefined : mine / median(added.get(rival))
    const [low, high] = [0.25, 0.75].map(q => quantile(added.get(variant), q).toFixed(1))
    const holds = mine <= BUDGET_US[percent] && (percent < 100 || ratio === undefined || ratio <= MOST_OF_OPENTELEMETRY)
    return [
      name in ALWAYS ? NAMES[name] : `${NAMES[name]}, ${percent} %`,
      perCall,
      `${mine.toFixed(1)} [${low}, ${high}]`,
      name === 'milo' ? `≤ ${BUDGET_US[percent]}` : '',
      ratio === undefined || variant === rival ? '' : ratio.toFixed(2),
      name === 'milo' ? (holds ? 'yes' : 'no') : '',
    ]
  })
  return table(['', 'µs per call', 'added µs', 'budget', '÷ OpenTelemetry', 'holds'], rows)
}

async function checkForLeaks(node, ports, calls) {
  const checkpoints = [calls / 10, calls / 2, calls]
  const [program, first] = await Program.start(join(HERE, 'leak.cjs'), {
    node: node.path,
    execArgv: ['--expose-gc', '--disable-warning=ExperimentalWarning', '-r', 'milo/register'],
    args: [JSON.stringify({ transport: 'TFramedTransport', inFlight: 50, checkpoints })],
    env: { BENCH_PROBABILITY: '1', BENCH_SCRIBE_PORT: String(ports.scribePort) },
  })
  const seen = [first]
  try {
    while (seen.length < checkpoints.length) {
      seen.push(await program.answer())
      progress(`Node ${node.version}, leak check: ${seen.at(-1).calls} calls`)
    }
  } finally {
    program.stop()
    progress('')
  }
  const last = seen.at(-1)
  const growth = last.heapBytes - first.heapBytes
  const wrong = [
    growth > MOST_GROWTH_BYTES && `the heap grew by more than ${MOST_GROWTH_BYTES / 1024} KiB`,
    (last.reqs > 0 || last.openOfClient > 0 || last.openOfConnection > 0) && 'calls that are over are still kept',
    last.spans > MOST_SPANS && `${last.spans} spans are still alive`,
    (last.ended !== 2 * last.calls || last.sent + last.dropped !== last.ended) && 'the counters do not add up',
  ].filter(Boolean)
  const mib = bytes => (bytes / 1024 / 1024).toFixed(2)
  const rows = seen.map(at => [
    at.calls.toLocaleString('en'),
    mib(at.heapBytes),
    mib(at.externalBytes),
    String(at.reqs),
    `${at.openOfClient} / ${at.openOfConnection}`,
    String(at.spans),
    at.sent.toLocaleString('en'),
    at.dropped.toLocaleString('en'),
  ])
  const head = ['calls', 'heap, MiB', 'external, MiB', '_reqs', 'open calls', 'live spans', 'sent', 'dropped']
  const verdict = wrong.length === 0 ? 'No leak' : `FAILED, ${wrong.join('; ')}`
  return {
    failed: wrong.length > 0,
    text: [
      `Sampled calls, framed, 50 in flight, after a full collection. Bound: ${MOST_GROWTH_BYTES / 1024} KiB more heap from the first line to the last.`,
      table(head, rows),
      `${verdict}: the heap grew by ${(growth / 1024).toFixed(0)} KiB over ${(last.calls - first.calls).toLocaleString('en')} calls.`,
    ].join('\n\n'),
  }
}
