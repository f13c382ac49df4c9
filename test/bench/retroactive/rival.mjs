import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { progress, quantile, table } from '../measure.mjs'
import { Chain, Collector, Counter, freePort, usageOf } from './chain.mjs'
import { carried, recordsOf, SIGNS, warmUp } from './chain-figures.mjs'

/*
 * The OpenTelemetry Collector's tail_sampling, which is sent everything and decides afterwards, beside Milo: the same services, load and
 * spans, which go out by Milo's own exporter of OTLP.
 */

const HERE = dirname(fileURLToPath(import.meta.url))
const VERSION = '0.161.0'
const EVERY = 200
/** As it is by default. */
const DECISION_WAIT_S = 30
/** When traces are looked for, after the load's end and what has to be waited for. */
const SETTLED_MS = 5_000
/** What is slow by order takes 150 ms and more. */
const SLOW_MS = 140

const POLICY = {
  decision_wait: `${DECISION_WAIT_S}s`,
  num_traces: 100_000,
  policies: [
    { name: 'errors', type: 'status_code', status_code: { status_codes: ['ERROR'] } },
    { name: 'slow', type: 'latency', latency: { threshold_ms: SLOW_MS } },
  ],
}

export async function tailSampling(values) {
  const built = await build()
  if (typeof built === 'string') return { failed: false, text: `### Beside tail sampling\n\n${built}` }
  try {
    const { rate } = await carried(values)
    const seconds = Number(values.seconds)
    const load = { rate, seconds, every: EVERY, signs: SIGNS }
    progress('beside tail sampling: Milo')
    const milo = await ofMilo(load)
    progress('beside tail sampling: tail_sampling')
    const rival = await ofRival(built.program, load)
    return { failed: false, text: report(milo, rival, load) }
  } finally {
    rmSync(built.folder, { recursive: true })
  }
}

/** @returns the program, or why there is none */
async function build() {
  const folder = mkdtempSync(join(tmpdir(), 'milo-bench-'))
  const program = join(folder, 'tail-sampling')
  progress('building tail_sampling')
  try {
    await promisify(execFile)('go', ['build', '-o', program, '.'], { cwd: join(HERE, 'tail-sampling') })
    return { folder, program }
  } catch (error) {
    rmSync(folder, { recursive: true })
    return `Not measured: tail_sampling could not be built here (${error.message.split('\n')[0]}).`
  }
}

async function ofMilo(load) {
  const collector = await Collector.start()
  const chain = await Chain.start({ MILO_SCRIBE: collector.scribe, MILO_RETROACTIVE: '1' })
  try {
    await warmUp(chain, collector, load.rate)
    const before = { ...collector.usage, bytes: collector.bytesUp }
    const traces = []
    const run = await chain.run(load, { onSign: trace => traces.push(trace) })
    await sleep(SETTLED_MS)
    const usage = collector.usage
    const bytes = collector.bytesUp - before.bytes
    let whole = 0
    for (const trace of traces) if ((await collector.recordsOf(trace.traceId)).length >= recordsOf(trace)) whole++
    return { run, traces, whole, bytes, cpuUs: usage.cpuUs - before.cpuUs, mib: usage.mib }
  } finally {
    await chain.stop()
    await collector.stop()
  }
}

async function ofRival(program, load) {
  const port = await freePort()
  const child = spawn(program, [`127.0.0.1:${port}`, JSON.stringify(POLICY)], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  await lines.next()
  const proxy = await Counter.start(port)
  const chain = await Chain.start({ MILO_EXPORT: `otlp:http://${proxy.address}`, MILO_SAMPLER: 'always' })
  try {
    await warmUp(chain, undefined, load.rate)
    await chain.flush()
    const before = { ...usageOf(child.pid), bytes: proxy.bytesUp }
    const traces = []
    const run = await chain.run(load, { onSign: trace => traces.push(trace) })
    await chain.flush()
    const bytes = proxy.bytesUp - before.bytes
    await sleep(DECISION_WAIT_S * 1000 + SETTLED_MS)
    const usage = usageOf(child.pid)
    child.stdin.write('\n')
    const kept = JSON.parse((await lines.next()).value)
    let whole = 0
    const ms = []
    for (const trace of traces) {
      const found = kept[trace.traceId.padStart(32, '0')]
      if (found === undefined || found.spans < recordsOf(trace)) continue
      whole++
      ms.push(found.atMs - trace.endMs)
    }
    const dropped = run.after.reduce((sum, { dropped }) => sum + dropped, 0)
    return { run, traces, whole, bytes, ms, dropped, cpuUs: usage.cpuUs - before.cpuUs, mib: usage.mib }
  } finally {
    await chain.stop()
    proxy.stop()
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  }
}

function report(milo, rival, { seconds }) {
  const row = (name, { run, traces, whole, bytes, cpuUs, mib }, wait) => [
    name,
    `${Math.round(run.requests / run.seconds)}${run.leftOut > 0 ? ` (${run.leftOut} left out)` : ''}`,
    `${whole} of ${traces.length}: ${((100 * whole) / traces.length).toFixed(1)} %`,
    wait,
    (bytes / seconds / 1024).toFixed(0),
    run.cpuUs.toFixed(0),
    (cpuUs / run.requests).toFixed(0),
    mib.toFixed(0),
    `${run.p50.toFixed(1)} / ${run.p99.toFixed(0)}`,
  ]
  const head = [
    '',
    'traces/s',
    'whole',
    'there after',
    'KiB/s sent',
    'services, CPU µs a trace',
    'collector, CPU µs a trace',
    'collector, MiB',
    'p50 / p99 ms',
  ]
  const half = rival.ms.length === 0 ? '–' : `${(quantile(rival.ms, 0.5) / 1000).toFixed(0)} s`
  return [
    '### Beside tail sampling',
    '',
    `The same load with one in ${EVERY}, to the OpenTelemetry Collector's tail_sampling ${VERSION}: everything is sent by OTLP (protobuf), and decided ${DECISION_WAIT_S} s later, as it is by default, by`,
    `status ERROR and a latency above ${SLOW_MS} ms. It stores nothing here; Milo's collector does.${rival.dropped > 0 ? ` ${rival.dropped} spans were dropped on their way to it.` : ''}`,
    '',
    table(head, [row('Milo', milo, '≤ 5 s'), row('tail_sampling', rival, half)]),
    '',
    `Bytes: ${((100 * milo.bytes) / rival.bytes).toFixed(2)} % of tail_sampling's.`,
  ].join('\n')
}
