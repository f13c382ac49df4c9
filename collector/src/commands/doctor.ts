import { randomBytes } from 'node:crypto'
import { statfs } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { EventType, encodeRecord } from 'milo/codec/span'
import { version } from '../../package.json'
import type { Config } from '../config'
import { answerTo, ask, bodyOf, type Collector, reasonOf } from '../http/client'
import type { Logger } from '../log'
import { createUpstream } from '../relay/upstream'
import { hexId } from '../trace/ids'
import { hostHere } from './addresses'
import { CommandError } from './command-error'
import { collectorHere, secret, trusting } from './running-collector'

/**
 * Looks at the collector that runs by this configuration as its clients do: sends it a span, and looks for that by its id and by an
 * annotation. Writes one page to standard output.
 */

/** How long a span may take until it is found. */
const FOUND_MS = 10_000
const AGAIN_MS = 200
const REPLY_MS = 5_000
const MAX_REPLY_BYTES = 8 * 1024 * 1024
/** Below this much room the store soon refuses spans. */
const LITTLE_ROOM = 1024 ** 3
/** The most that the clocks of a collector and of this process may differ. */
const MAX_SKEW_MS = 5_000
/** Counters of what was refused or lost, and what they count. */
const COUNTERS: [name: string, what: string][] = [
  ['milo_collector_spans_rejected_total', 'unusable spans were rejected: label reason in /metrics says why'],
  ['milo_collector_spans_deferred_total', 'spans were answered TRY_LATER; their senders keep them'],
  ['milo_collector_entries_dropped_total', 'entries of other categories were dropped: see scribe.category'],
  ['milo_collector_spans_put_aside_total', 'spans were put aside: see milo-collector quarantine list'],
  ['milo_collector_connection_errors_total', 'connections were closed because of what they sent'],
]

interface Page {
  line(title: string, text: string): void
  problem(text: string): void
}

export async function doctor(config: Config, _log: Logger): Promise<void> {
  const lines: string[] = []
  const problems: string[] = []
  const page: Page = {
    line: (title, text) => lines.push(`  ${title.padEnd(12)} ${text}`),
    problem: text => problems.push(text),
  }
  const traceId = randomBytes(8).readBigInt64BE()
  page.line('store', storeOf(config))
  const accepted = await sendSpan(config, traceId, page)
  if (config.store !== 'scribe') await lookAtHttp(config, accepted ? traceId : undefined, page)
  else
    page.line('found', `spans go on to ${config.relay.upstreams.map(({ host, port }) => `${host}:${port}`).join(', ')}`)
  await lookAtDisk(config, page)
  for (const [i, problem] of problems.entries()) lines.push(`  ${(i === 0 ? 'to do' : '').padEnd(12)} ${problem}`)
  if (problems.length === 0) lines.push('  all is well')
  process.stdout.write(`Milo's collector ${version} on Node ${process.version}, ${hostname()}\n${lines.join('\n')}\n`)
  if (problems.length > 0)
    throw new CommandError(
      `${problems.length === 1 ? 'one thing is' : `${problems.length} things are`} to do: see the page`,
    )
}

function storeOf({ store, embedded, cassandra, mysql }: Config): string {
  if (store === 'embedded') return `embedded, ${resolve(embedded.path)}`
  if (store === 'scribe') return 'none: it forwards to other Scribe servers'
  return `Cassandra at ${cassandra.hostname.join(', ')}:${cassandra.port}, MySQL at ${mysql.hostname}:${mysql.port}`
}

/** @returns whether any port has accepted the span */
async function sendSpan(config: Config, traceId: bigint, page: Page): Promise<boolean> {
  const host = hostHere(config.collector_host)
  const nowUs = BigInt(Date.now()) * 1000n
  const record = encodeRecord({
    traceId,
    id: traceId,
    name: 'milo.doctor',
    service: 'milo-collector doctor',
    clientHost: hostname(),
    serverHost: hostname(),
    probability: 0,
    annotations: new Map([['milo.doctor', hexId(traceId)]]),
    events: [
      { timestamp: nowUs, eventType: EventType.CUSTOM, value: 'begin' },
      { timestamp: nowUs + 1n, eventType: EventType.CUSTOM, value: 'end' },
    ],
  })
  const tls = config.scribe.tls === undefined ? undefined : trusting(config.scribe.tls.cert)
  let accepted = false
  for (const port of config.collector_port) {
    if (port === 0) {
      page.problem('collector_port is 0, a free port that only the collector knows: give the port that its log has')
      continue
    }
    const upstream = createUpstream({ host, port, tls })
    const began = performance.now()
    const answer = await upstream.log([{ category: config.scribe.category, message: record }])
    upstream.close()
    const ms = Math.round(performance.now() - began)
    const where = `${host}:${port}`
    if (answer.is === 'failed') {
      page.line('Scribe', `${where}: ${answer.reason}`)
      // Of the default ports one may belong to somebody else.
      if (config.collectorPortGiven || port === config.collector_port[0])
        page.problem(
          `nothing takes spans at ${where}: start milo-collector with this configuration, or give the running one's`,
        )
    } else if (answer.is === 'try later') {
      page.line('Scribe', `${where} answers TRY_LATER`)
      page.problem(`${where} takes no spans at the moment: /healthz and the log say why`)
    } else {
      accepted = true
      page.line('Scribe', `${where} answers OK after ${ms} ms`)
    }
  }
  return accepted
}

async function lookAtHttp(config: Config, traceId: bigint | undefined, page: Page): Promise<void> {
  if (config.http.port === 0)
    return page.problem('http.port is 0, a free port that only the collector knows: give the port that its log has')
  const collector = collectorHere(config, secret('MILO_DOCTOR_TOKEN', undefined, ''))
  const base = collector.url.href.slice(0, -1)
  // Relative, as the address may have a path of its own.
  const get = (path: string) => answerOf(collector, `.${path}`)
  const alive = await get('/livez')
  if (alive.error !== undefined) {
    page.line('HTTP', `${base}: ${alive.error}`)
    return page.problem(
      `nothing answers at ${base}: start milo-collector with this configuration, or give the running one's`,
    )
  }
  const healthy = await get('/healthz')
  page.line(
    'HTTP',
    `${base} answers; ${healthy.status === 200 ? 'it is healthy' : `it isn't healthy: ${saidIn(healthy.body)}`}`,
  )
  if (healthy.status !== 200) page.problem(`the collector says: ${saidIn(healthy.body)}`)
  const skew = Math.abs(Date.parse(alive.date ?? '') - Date.now())
  if (skew > MAX_SKEW_MS) page.problem(`its clock differs by ${Math.round(skew / 1000)} s from the one here`)
  const allowed = await get('/api/status')
  if (allowed.status === 401 || allowed.status === 403) {
    page.line('found', 'it asks for credentials')
    return page.problem('set MILO_DOCTOR_TOKEN to a token that may read, as `milo-collector token` makes them')
  }
  if (traceId !== undefined) await lookForSpan(get, base, traceId, page)
  const metrics = await get('/metrics')
  for (const [counter, what] of COUNTERS) {
    const n = sumOf(metrics.body, counter)
    if (n > 0) page.line('since start', `${n} ${what}`)
  }
  const asking = sumOf(metrics.body, 'milo_collector_keep_processes')
  const told = sumOf(metrics.body, 'milo_collector_keeps_announced_total')
  if (asking > 0)
    page.line('histories', `${asking} processes ask what to keep after the fact; ${told} traces since start`)
}

type Get = (path: string) => Promise<Answer>

async function lookForSpan(get: Get, base: string, traceId: bigint, page: Page): Promise<void> {
  const id = hexId(traceId)
  const ways = [
    { what: 'by its id', path: `/api/traces/${id}`, has: ({ status }: Answer) => status === 200 },
    {
      what: 'by an annotation',
      path: `/api/search?${new URLSearchParams({ q: `milo.doctor=${id}` })}`,
      has: ({ status, body }: Answer) => status === 200 && body.includes(`"${id}"`),
    },
  ]
  const began = performance.now()
  for (const { what, path, has } of ways) {
    let isFound = has(await get(path))
    while (!isFound && performance.now() - began < FOUND_MS) {
      await sleep(AGAIN_MS)
      isFound = has(await get(path))
    }
    const ms = Math.round(performance.now() - began)
    page.line('found', isFound ? `${what} after ${ms} ms: ${base}${path}` : `not ${what} within ${FOUND_MS / 1000} s`)
    if (!isFound)
      page.problem(
        `a span that was answered OK isn't found ${what}: see the log, and milo_collector_… in ${base}/metrics`,
      )
  }
}

async function lookAtDisk({ store, embedded, relay }: Config, page: Page): Promise<void> {
  const path = store === 'embedded' ? embedded.path : store === 'scribe' ? relay.path : undefined
  if (path === undefined) return
  try {
    const { bavail, bsize } = await statfs(dirname(resolve(path)))
    const room = bavail * bsize
    page.line('disk', `${(room / 1024 ** 3).toFixed(1)} GiB free`)
    if (room < LITTLE_ROOM)
      page.problem(`the disk of ${resolve(path)} is almost full: make room, or lower retention_days`)
  } catch (error) {
    page.problem(`the directory of ${resolve(path)} can't be looked at: ${(error as Error).message}`)
  }
}

interface Answer {
  status: number
  body: string
  date: string | undefined
  error: string | undefined
}

async function answerOf(collector: Collector, path: string): Promise<Answer> {
  try {
    const answer = await answerTo(ask(collector, path, { method: 'GET', deadlineMs: REPLY_MS }).end())
    const body = await bodyOf(answer, MAX_REPLY_BYTES)
    return { status: answer.statusCode ?? 0, body: body.toString(), date: answer.headers.date, error: undefined }
  } catch (error) {
    return { status: 0, body: '', date: undefined, error: reasonOf(error) }
  }
}

function saidIn(body: string): string {
  try {
    return String(JSON.parse(body).error)
  } catch {
    return 'it gives no reason'
  }
}

/** Adds up the series of a counter. */
function sumOf(metrics: string, name: string): number {
  let sum = 0
  for (const [, value] of metrics.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))) sum += Number(value)
  return sum
}
