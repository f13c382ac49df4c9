import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { load, machine, median, nodes, packages, progress, ROOT, shuffled, table } from '../measure.mjs'

/* What it costs to start: CPU time of a process that does nothing else. */

const HERE = dirname(fileURLToPath(import.meta.url))

export const options = { rounds: { type: 'string', default: '25' }, node: { type: 'string', default: '' } }

const rival = name => join(HERE, '../node_modules', name)

const WAYS = [
  { name: 'bare Node', args: [] },
  { name: '-r milo/register', args: ['-r', 'milo/register'], budgetMs: 15 },
  { name: '--import milo/register', args: ['--import', 'milo/register'] },
  {
    name: 'OpenTelemetry, SDK alone',
    needs: '@opentelemetry/sdk-trace-base',
    args: ['-r', rival('@opentelemetry/sdk-trace-base')],
  },
  { name: 'zipkin-js', needs: 'zipkin', args: ['-r', rival('zipkin')] },
  { name: 'dd-trace', needs: 'dd-trace', args: ['-r', join(rival('dd-trace'), 'init')] },
  { name: "require('thrift')", args: ['-r', join(ROOT, 'node_modules/thrift')] },
]

const SAY = 'process.on("exit",()=>{const u=process.cpuUsage();process.stdout.write(String(u.user+u.system))})'

export async function bench(values) {
  const text = [
    `${machine()}. ${packages(['thrift']).join(', ')}.`,
    'CPU time in ms of `node … -e ""` until its exit; medians of interleaved rounds. *added* is over bare Node.',
  ]
  for (const node of nodes().filter(({ version }) => values.node === '' || version.startsWith(`${values.node}.`))) {
    text.push(`### Node ${node.version}`, measure(node, Number(values.rounds)))
  }
  return { text: text.join('\n\n'), failed: false }
}

function measure(node, rounds) {
  const ways = WAYS.filter(({ needs }) => needs === undefined || existsSync(rival(needs))).map(way => ({
    ...way,
    costs: [],
  }))
  const env = {
    PATH: process.env.PATH,
    DD_TRACE_STARTUP_LOGS: '0',
    DD_INSTRUMENTATION_TELEMETRY_ENABLED: '0',
    DD_REMOTE_CONFIGURATION_ENABLED: '0',
  }
  for (let round = -1; round < rounds; round++) {
    for (const { args, costs } of shuffled(ways)) {
      const cpuUs = Number(
        execFileSync(node.path, [...args, '-e', SAY], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'ignore'] }),
      )
      if (round >= 0) costs.push(cpuUs / 1000)
    }
    progress(`Node ${node.version}: round ${round + 1} of ${rounds}`)
  }
  progress('')
  const bare = median(ways[0].costs)
  const rows = ways.map(({ name, costs, budgetMs }) => {
    const added = median(costs) - bare
    return [
      name,
      median(costs).toFixed(1),
      name === 'bare Node' ? '' : added.toFixed(1),
      budgetMs === undefined ? '' : `≤ ${budgetMs}`,
      budgetMs === undefined ? '' : added <= budgetMs ? 'yes' : 'no',
    ]
  })
  return `${table(['', 'ms', 'added', 'budget', 'holds'], rows)}\n\n${rounds} rounds; load ${load().toFixed(1)}.`
}
