import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { load, machine, median, nodes, Program, packages, progress, quantile, shuffled, table } from '../measure.mjs'

/*
 * An HTTP server with an empty handler, and a client by undici: what tracing their requests costs, in CPU time of their process.
 *
 *   ../sink.cjs   where spans go; one process for all
 *   load.cjs      the clients of servers; one process for all
 *   program.cjs   one variant of the server in a process of its own
 *   client.cjs    one variant of the client in a process of its own, with a server that isn't traced
 */

const HERE = dirname(fileURLToPath(import.meta.url))

export const options = {
  /** So often each variant is measured, in turns. */
  rounds: { type: 'string', default: '15' },
  /** Requests that each measurement makes. */
  calls: { type: 'string', default: '50000' },
  /** Only these major versions of Node, these settings, these variants (untraced always runs). */
  node: { type: 'string', default: '' },
  setting: { type: 'string', default: '' },
  variant: { type: 'string', default: '' },
}

const SETTINGS = [
  { name: 'pipelined, 10 at a time', connections: 10, depth: 10 },
  { name: 'one at a time', connections: 10, depth: 1 },
  { name: 'client: undici.request', isClient: true, of: ['asynclocalstorage', 'least', 'milo', 'opentelemetry'] },
]

const NAMES = {
  asynclocalstorage: 'AsyncLocalStorage',
  least: 'the least',
  milo: 'Milo',
  opentelemetry: 'OpenTelemetry',
  ddtrace: 'dd-trace',
}
const PERCENTAGES = [0, 1, 100]
/** They make no spans. */
const SPANLESS = ['untraced', 'asynclocalstorage']
/** What has no sampler. */
const ALWAYS = { asynclocalstorage: [0], least: [100] }
/** Added µs per request, by percentage. */
const BUDGET_US = { 0: 0.5, 1: 0.5, 100: 2 }

/** Measurements before the first that counts: compilation, and the first connection to the sink. */
const WARM_UP_ROUNDS = 3

export async function bench(values) {
  const [sink, ports] = await Program.start(join(HERE, '../sink.cjs'), {})
  const [clients] = await Program.start(join(HERE, 'load.cjs'), {})
  const wanted = (list, value) => list === '' || list.split(',').includes(String(value))
  const text = [about()]
  try {
    for (const node of nodes().filter(({ version }) => wanted(values.node, version.split('.')[0]))) {
      text.push(`### Node ${node.version}`)
      for (const setting of SETTINGS.filter(({ name }) => values.setting === '' || name.includes(values.setting))) {
        const variants = Object.keys(NAMES).filter(
          name => wanted(values.variant, name) && isInstalled(name) && (setting.of?.includes(name) ?? true),
        )
        const result = await measure(node, setting, variants, { sink, clients, ports }, values)
        text.push(`#### ${setting.name}`, result)
      }
    }
  } finally {
    clients.stop()
    sink.stop()
  }
  return { text: text.join('\n\n'), failed: false }
}

function isInstalled(name) {
  return name !== 'ddtrace' || existsSync(join(HERE, '../node_modules/dd-trace'))
}

function about() {
  return [
    `${machine()}. ${packages([]).join(', ')}.`,
    '',
    'node:http with a handler that says ok, 10 connections kept alive, their clients in another process. CPU time of the server per',
    'request, user and system, garbage collection, encoding and sending included; the receivers run in a process of their own, and no',
    'span is dropped. Medians of interleaved rounds; *added* is the median of the differences to untraced within a round, its quartiles in',
    'brackets. AsyncLocalStorage: a `run` of an empty one around each request, and nothing else; *over* it is what a tracer adds to that. Before Node 24 it alone takes more than the budget at 0 and 1 %. The least: thirty lines that send a span of each request, with a context, two looks at the clock, ids and as many bytes as Milo’s span has, and do nothing else (http/least.cjs, http/least-undici.cjs). OpenTelemetry: instrumentation-http, batch processor, OTLP protobuf. dd-trace as it comes, with its agent played by the',
    'receiver; it sends every trace there, whatever its rate. The client: requests of a pool of 10 connections whose answers are read, each the root of a',
    'trace; AsyncLocalStorage: the requests in a `run` of one; OpenTelemetry: instrumentation-undici.',
  ].join('\n')
}

async function measure(
  node,
  { connections, depth, name: setting, isClient = false },
  names,
  { sink, clients, ports },
  values,
) {
  const rounds = Number(values.rounds)
  const calls = Number(values.calls)
  const variants = [
    { name: 'untraced', percent: 0 },
    ...names.flatMap(name => (ALWAYS[name] ?? PERCENTAGES).map(percent => ({ name, percent }))),
  ]
  const [server, served] = isClient ? await Program.start(join(HERE, 'program.cjs'), { args: ['untraced'] }) : []
  for (const variant of variants) {
    variant.costs = []
    const [program, { port }] = await Program.start(join(HERE, isClient ? 'client.cjs' : 'program.cjs'), {
      node: node.path,
      execArgv: variant.name === 'milo' ? ['-r', 'milo/register'] : [],
      args: isClient ? [variant.name, String(served.port)] : [variant.name],
      env: {
        BENCH_PROBABILITY: String(variant.percent / 100),
        BENCH_SCRIBE_PORT: String(ports.scribePort),
        BENCH_HTTP_PORT: String(ports.httpPort),
      },
    })
    Object.assign(variant, { program, port })
  }
  const loads = []
  try {
    for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
      for (const variant of shuffled(variants)) {
        const { traces } = await sink.ask('traces')
        await variant.program.ask('begin')
        if (isClient) await variant.program.ask({ calls })
        else await clients.ask({ port: variant.port, calls, connections, depth })
        const { cpuUs, sent, lost } = await variant.program.ask('end')
        check(variant, sent ?? (await sink.ask('traces')).traces - traces, lost, calls)
        if (round >= 0) variant.costs.push(cpuUs / calls)
      }
      loads.push(load())
      progress(`Node ${node.version}, ${setting}: round ${round + 1} of ${rounds}`)
    }
  } finally {
    for (const { program } of variants) program.stop()
    server?.stop()
    progress('')
  }
  return `${tableOf(variants)}\n\n${rounds} rounds of ${calls} requests; load ${Math.min(...loads).toFixed(1)}–${Math.max(...loads).toFixed(1)}.`
}

/** A variant that didn't do its work has not been cheap. */
function check({ name, percent }, sent, lost, calls) {
  const all = percent === 100 || name === 'ddtrace'
  const none = SPANLESS.includes(name) || (percent === 0 && !all)
  if (lost > 0 || (none && sent > 0) || (all && sent < calls)) {
    throw new Error(
      `${name} at ${percent} % sent ${sent} spans of ${calls} requests, and lost ${lost}: nothing to compare`,
    )
  }
}

function tableOf(variants) {
  const [untraced] = variants
  const storage = variants.find(({ name }) => name === 'asynclocalstorage')
  const over = (variant, other) => variant.costs.map((cost, i) => cost - other.costs[i])
  const withQuartiles = values => {
    const [low, mid, high] = [0.25, 0.5, 0.75].map(q => quantile(values, q).toFixed(2))
    return `${mid} [${low}, ${high}]`
  }
  const rows = variants.map(variant => {
    const { name, percent, costs } = variant
    const perCall = median(costs).toFixed(1)
    if (variant === untraced) return ['untraced', perCall, '', '', '', '', '']
    const added = over(variant, untraced)
    const mine = median(added)
    const rival = variants.find(other => other.name === 'opentelemetry' && other.percent === percent)
    return [
      name in ALWAYS ? NAMES[name] : `${NAMES[name]}, ${percent} %`,
      perCall,
      withQuartiles(added),
      storage === undefined || variant === storage ? '' : withQuartiles(over(variant, storage)),
      name === 'milo' ? `≤ ${BUDGET_US[percent]}` : '',
      rival === undefined || name in ALWAYS || variant === rival
        ? ''
        : (mine / median(over(rival, untraced))).toFixed(2),
      name === 'milo' ? (mine <= BUDGET_US[percent] ? 'yes' : 'no') : '',
    ]
  })
  const head = ['', 'µs per request', 'added µs', 'over AsyncLocalStorage', 'budget', '÷ OpenTelemetry', 'holds']
  return table(head, rows)
}
