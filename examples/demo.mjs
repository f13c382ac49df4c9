// The whole chain on this machine: a collector, and the shop's four processes under `-r milo/register`. Sends requests,
// shows one trace as a waterfall, and stays up until Ctrl-C.
//
//     npm run demo
//     npm run demo -- --once      on free ports; ends, with status 0 only if every trace came back whole
//
// Progress goes to stderr, the waterfall and the addresses to stdout.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs, styleText } from 'node:util'

/** Until the trace is there, or with --once until the end; what isn't done by then is given up. */
const DEADLINE_MS = 25_000
/** How long spans may take from the last response to the collector's answers. */
const ARRIVAL_MS = 8_000
/** How long a process may take to end before it is killed. */
const GRACE_MS = 2_000
/** Clocks of one machine, read by two processes. */
const TOLERANCE_US = 1_000

const root = fileURLToPath(new URL('..', import.meta.url))
const require = createRequire(import.meta.url)

// ── What is asked of the shop, and the calls that each request must show ──────────────────────────────────────────────

/** One RPC: `from` calls `to`, which makes `calls` meanwhile. */
const rpc = (from, to, name, calls = [], how = {}) => ({ from, to, name, calls, ...how })
const check = how => rpc('front', 'inventory', 'Inventory.check', [quote('inventory', how)], how)
const estimate = how => rpc('front', 'orders', 'Orders.estimate', [quote('orders', how)], how)
const reserve = how => rpc('front', 'inventory', 'Inventory.reserve', [], how)
const place = () => rpc('front', 'orders', 'Orders.place', [quote('orders')])
const receipt = () => rpc('front', 'orders', 'Orders.sendReceipt', [], { oneway: true })
const quote = (from, how) => rpc(from, 'pricing', 'Pricing.quote', [], how)
const fails = { fails: true }

const bought = [check(), estimate(), reserve(), place(), receipt()]
const requests = [
  { path: '/checkout?user=ada&item=teapot', status: 200, calls: bought },
  { path: '/checkout?user=ada&item=umbrella', status: 409, calls: [check(), estimate(), reserve(fails)] },
  { path: '/checkout?user=ada&item=unicorn', status: 502, calls: [check(fails), estimate(fails)], fails: true },
  { path: '/checkout?user=bob&item=lamp', status: 200, calls: bought },
]

/** What is wrong with a trace, in words; empty when it is exactly the request's. */
function problemsOf(trace, request) {
  const problems = []
  const seen = new Set()

  function visit(parent, expected) {
    for (const call of expected) {
      const what = `${call.name} (${call.from} → ${call.to})`
      const found = trace.spans.filter(
        span => span.parentId === parent.spanId && span.name === call.name && span.clientService === call.from,
      )
      if (found.length !== 1) {
        problems.push(`${what}: ${found.length} spans with a client half by ${call.from} below ${parent.name}`)
        continue
      }
      const [span] = found
      seen.add(span)
      if (span.kind !== 'rpc') problems.push(`${what}: only the ${span.kind} half is there`)
      else if (!inside(span, call.oneway)) problems.push(`${what}: the server half isn't inside the client half`)
      if (span.kind === 'rpc' && span.service !== call.to) problems.push(`${what}: served by ${span.service}`)
      if (span.start < parent.serverStart - TOLERANCE_US) problems.push(`${what}: begins before its parent`)
      if (span.repeats.length > 0) problems.push(`${what}: a half was reported more than once`)
      for (const { field } of span.conflicts.filter(({ key }) => key === null)) {
        problems.push(`${what}: the halves give different values for ${field}`)
      }
      if (span.error !== Boolean(call.fails)) problems.push(`${what}: ${span.error ? 'failed' : 'should have failed'}`)
      visit(span, call.calls)
    }
  }

  const roots = trace.spans.filter(span => /^0+$/.test(span.parentId))
  if (roots.length !== 1) return [`the request to front: ${roots.length} roots`]
  const [top] = roots
  seen.add(top)
  if (top.kind !== 'server' || top.service !== 'front')
    problems.push(`the request to front: ${top.kind} of ${top.service}`)
  if (top.error !== Boolean(request.fails))
    problems.push(`the request to front: ${top.error ? 'failed' : 'should have failed'}`)
  visit(top, request.calls)
  for (const span of trace.spans) if (!seen.has(span)) problems.push(`${span.name}: a span that nobody expects there`)
  return problems
}

/** Whether the server half lies within the client half. A oneway call's client doesn't wait for the server. */
function inside({ clientStart, clientDuration, serverStart, serverDuration }, oneway) {
  if (serverStart < clientStart - TOLERANCE_US) return false
  return oneway || serverStart + serverDuration <= clientStart + clientDuration + TOLERANCE_US
}

// ── Processes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const processes = []
/** Aborted by a signal (reason: its name) or by what went wrong (reason: the error). */
const stop = new AbortController()

/** The user's own MILO_ settings are not the demo's. */
const cleanEnv = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MILO_')))

function start(name, args, env = {}) {
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { ...cleanEnv, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const started = { name, child, stdout: '', stderr: '', ended: undefined }
  // Enough for a last word, however long it runs.
  for (const stream of ['stdout', 'stderr']) {
    child[stream].setEncoding('utf8').on('data', text => {
      started[stream] = (started[stream] + text).slice(-4000)
    })
  }
  started.ended = new Promise(resolve => {
    child.on('error', resolve)
    child.on('close', (status, signal) => {
      if (!stop.signal.aborted)
        stop.abort(new Error(`${name} ended (${signal ?? `status ${status}`})${lastWords(started)}`))
      resolve()
    })
  })
  processes.push(started)
  return started
}

function lastWords({ stdout, stderr }) {
  const lines = `${stdout}${stderr}`.trim().split('\n').slice(-8)
  return lines[0] === '' ? '' : `\n    ${lines.join('\n    ')}`
}

/** Ends the processes and waits for them; those that don't end are killed. */
async function end(which) {
  for (const { child } of which) child.kill('SIGTERM')
  const impatience = new AbortController()
  const all = Promise.all(which.map(({ ended }) => ended)).then(() => impatience.abort())
  await pause(GRACE_MS, undefined, { signal: impatience.signal }).catch(() => {})
  for (const { name, child } of which) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    say(styled('yellow', `  ${name} didn't stop when told to: killed`))
    child.kill('SIGKILL')
  }
  await all
}

// Whatever ends this process takes the others along.
process.on('exit', () => {
  for (const { child } of processes) child.kill('SIGKILL')
})

/** Asks `probe` until it returns something, or it is over. */
async function until(what, probe, withinMs = DEADLINE_MS) {
  const deadline = Math.min(performance.now() + withinMs, DEADLINE_MS)
  for (;;) {
    const found = await probe()
    if (found !== undefined) return found
    if (stop.signal.aborted) throw stop.signal.reason
    if (performance.now() > deadline) throw new Error(`gave up: ${what()}`)
    await pause(20)
  }
}

/** So many ports that nobody listens on; those wanted first, as far as they are free. */
async function ports(...wanted) {
  const servers = []
  for (const port of wanted) {
    const server = createServer()
    const listen = port =>
      new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve))
    await listen(port).catch(() => listen(0))
    if (port !== 0 && server.address().port !== port) say(`  port ${port} is busy; ${server.address().port} it is`)
    servers.push(server)
  }
  const found = servers.map(server => server.address().port)
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))))
  return found
}

// ── The demo ──────────────────────────────────────────────────────────────────────────────────────────────────────────

async function startCollector(folder, httpPort, scribePort) {
  const config = join(folder, 'collector.yaml')
  // JSON is YAML, and needs no care with paths.
  writeFileSync(
    config,
    JSON.stringify({
      collector_host: '127.0.0.1',
      collector_port: scribePort,
      http: { host: '127.0.0.1', port: httpPort },
      store: 'embedded',
      embedded: { path: join(folder, 'milo.db') },
    }),
  )
  const collector = start('collector', ['collector/bin/milo-collector.js', '--config', config])
  await until(
    () => `the collector isn't healthy${lastWords(collector)}`,
    async () => ((await get(`http://127.0.0.1:${httpPort}/healthz`))?.ok ? true : undefined),
  )
}

async function startShop(scribePort, frontPort) {
  async function traced(name, env = {}) {
    const shop = start(name, ['-r', 'milo/register', `examples/shop/${name}.js`], {
      PORT: '0',
      MILO_SERVICE: name,
      MILO_SCRIBE: `127.0.0.1:${scribePort}`,
      MILO_SAMPLER: 'always',
      ...env,
    })
    return until(
      () => `${name} doesn't listen${lastWords(shop)}`,
      () => /^listening on (\d+)$/m.exec(shop.stdout)?.[1],
    )
  }
  const PRICING_PORT = await traced('pricing')
  const [INVENTORY_PORT, ORDERS_PORT] = await Promise.all([
    traced('inventory', { PRICING_PORT }),
    traced('orders', { PRICING_PORT }),
  ])
  return traced('front', { PORT: String(frontPort), INVENTORY_PORT, ORDERS_PORT })
}

/** The response, or undefined while nobody answers. */
async function get(url) {
  return fetch(url, { signal: AbortSignal.timeout(3_000) }).catch(() => undefined)
}

async function getJson(url) {
  const response = await get(url)
  return response?.ok ? response.json() : undefined
}

/** Every request's trace, whole, in the order of the requests. */
async function readTraces(api) {
  let missing = ['no trace at all']
  return until(
    () => `these are missing or wrong in the collector:\n    ${missing.join('\n    ')}`,
    async () => {
      // Every request asks Inventory first; newest first.
      const found = await getJson(`${api}/search?name=Inventory.check&limit=100`)
      const ids = (found?.traces ?? []).map(({ traceId }) => traceId).reverse()
      if (ids.length < requests.length) {
        missing = [`${ids.length} traces found for ${requests.length} requests`]
        return undefined
      }
      const traces = await Promise.all(ids.map(id => getJson(`${api}/traces/${id}`)))
      missing = requests.flatMap((request, i) =>
        (traces[i] ? problemsOf(traces[i], request) : ['no answer']).map(problem => `${request.path}: ${problem}`),
      )
      return missing.length === 0 ? traces : undefined
    },
    ARRIVAL_MS,
  )
}

async function demo(folder, once) {
  say(`${styled('bold', 'Milo demo')}, on Node ${process.versions.node}`)
  const [httpPort, scribePort, frontPort] = once ? await ports(0, 0, 0) : await ports(2180, 2100, 8080)
  const web = `http://127.0.0.1:${httpPort}`
  await startCollector(folder, httpPort, scribePort)
  say(`  collector on ${web}, Scribe on port ${scribePort}, spans in ${folder}`)
  const shop = `http://127.0.0.1:${await startShop(scribePort, frontPort)}`
  say(`  front, orders, inventory, pricing, each with -r milo/register`)
  for (const { path, status } of requests) {
    const response = await get(shop + path)
    if (response?.status !== status)
      throw new Error(`GET ${path}: ${response?.status ?? 'no answer'} instead of ${status}`)
    say(
      `  GET ${path}  ${styleText(status === 200 ? 'green' : 'yellow', `${status}`)} ${(await response.text()).trim()}`,
    )
  }
  const traces = await readTraces(`${web}/api`)
  const { renderWaterfall } = require('../collector/dist/trace.js')
  const color = process.stdout.isTTY && !process.env.NO_COLOR
  const shown = traces.at(-1)
  console.log(`\n${renderWaterfall(shown, { width: Math.min(process.stdout.columns ?? 110, 140), color })}`)
  if (once) {
    const spans = traces.reduce((sum, trace) => sum + trace.spans.length, 0)
    say(styled('green', `${traces.length} traces, ${spans} spans: every half is there and in its place`))
    return
  }
  console.log(`This trace:    ${web}/trace/${shown.traceId}`)
  console.log(`All of them:   ${web}/`)
  console.log(`One more:      curl '${shop}/checkout?user=ada&item=lamp'`)
  console.log('Ctrl-C stops it all.')
  clearTimeout(lastResort)
  await new Promise((_, reject) => stop.signal.addEventListener('abort', () => reject(stop.signal.reason)))
}

/** Coloured for people, plain for files. */
function styled(style, text) {
  return process.stderr.isTTY && !process.env.NO_COLOR ? styleText(style, text) : text
}

function say(line) {
  process.stderr.write(`${line}\n`)
}

const { values: options } = parseArgs({ options: { once: { type: 'boolean', default: false } } })
for (const file of ['dist/register.js', 'collector/dist/main.js', 'collector/dist/trace.js']) {
  if (existsSync(join(root, file))) continue
  say(`${file} isn't there; build first: npm run build`)
  process.exit(1)
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    // The second time somebody is in a hurry.
    if (stop.signal.aborted) process.exit(1)
    stop.abort(signal)
  })
}
// Should even the stopping hang.
const lastResort = setTimeout(() => process.exit(1), DEADLINE_MS + 2 * GRACE_MS + 500)

const folder = mkdtempSync(join(tmpdir(), 'milo-demo-'))
let status = 0
try {
  await demo(folder, options.once)
} catch (error) {
  if (error !== stop.signal.reason || error instanceof Error) {
    say(styled('red', error.message))
    status = 1
  } else {
    say(`\n${error}: stopping`)
    status = options.once ? 1 : 0
  }
}
stop.abort()
const [collector, ...shop] = processes
// The shop first, so that its last spans still find the collector.
await end(shop)
if (collector !== undefined) await end([collector])
rmSync(folder, { recursive: true, force: true })
process.exit(status)
