import { Reader, Writer } from 'milo/codec/binary'
import { type LogEntry, ResultCode } from 'milo/codec/scribe'
import { Counter, Gauge } from 'prom-client'
import { type Logger, limitWarnings } from '../log'
import type { Metrics } from '../metrics'
import type { SpanIngest } from '../receive/ingest'
import { IdMap } from '../record/ids'
import { NO_BACKLOG, type SpanSink, StoreError, type StoreLifecycle } from '../store/store'
import type { UpstreamAddress } from './scribe-connection'
import { openSpool, type Spool, type SpooledCall } from './spool'
import { createUpstream, type LogAnswer } from './upstream'

/**
 * Does what scribed did on each host: answers calls of Log OK once they are on disk, and forwards them from there, oldest first,
 * to the first upstream that accepts them. Entries of every category are forwarded unread.
 *
 *     Log → spool (durable) → OK           spool → Log → first upstream that says OK → forgotten
 *
 * A call that was forwarded but not yet deleted when the process died is forwarded again: delivery is at least once, as with
 * Scribe. Milo's collectors store a record that comes twice once.
 */
export interface Relay {
  ingest: SpanIngest
  /** The parts of a store that a relay has. It stores nothing that could be read. */
  store: StoreLifecycle & Pick<SpanSink, 'backlog'>
}

export interface RelayOptions {
  path: string
  /** The spool's limit. Beyond it, senders get TRY_LATER. */
  maxBytes: number
  upstreams: UpstreamAddress[]
  /** Whether messages that aren't ASCII are sent as base64, for servers that store only text, such as Flume. */
  base64: boolean
  /** The shortest and the longest pause between rounds in which no upstream accepted the oldest calls. Each pause is twice the last. */
  retryMs?: readonly [number, number]
  /** The category of spans that come by HTTP. */
  category: string
  /** How long `close` may forward calls. The remaining calls stay in the spool. */
  closeMs: number
  metrics: Metrics
  log: Logger
}

/** Several spooled calls become one call of Log upstream, up to this many bytes. */
const BATCH_BYTES = 1024 * 1024
const RETRY_MS = [250, 10_000] as const
/**
 * After ALONE_AFTER rounds in which upstreams accepted the connection but not the calls, only the oldest call is sent. After
 * POSTPONE_AFTER rounds it goes behind all others, in case it is the call that no upstream can accept.
 */
const ALONE_AFTER = 3
const POSTPONE_AFTER = 8
/**
 * A call that was postponed this many times, although upstreams accepted other calls in between, is put aside. When an upstream
 * answers TRY_LATER or accepts nothing at all, the call isn't the cause.
 */
const MAX_REFUSALS = 3

/** @throws StoreError when the spool can't be opened */
export function createRelay(options: RelayOptions): Relay {
  const { metrics, log, base64, category, closeMs, retryMs: [firstRetryMs, lastRetryMs] = RETRY_MS } = options
  const spool = openSpool(options.path, options.maxBytes)
  const counters = createCounters(metrics, spool)
  const upstreams = options.upstreams.map(address => ({
    ...createUpstream(address),
    name: `${address.host}:${address.port}`,
  }))
  const warn = limitWarnings(log)
  /** The index of the upstream that accepted the last call. */
  let preferred = 0
  /** How many times calls that are still in the spool were refused, by their ids. */
  const refusals = new IdMap<number>()
  /** Whether an upstream has accepted other calls since a call was last postponed. */
  let othersWereTaken = false
  let storeFails = false
  let closing = false
  let wake: (() => void) | undefined
  let forwarding: Promise<void> | undefined

  async function forward(): Promise<void> {
    let retryMs = firstRetryMs
    let fruitlessRounds = 0
    while (!closing) {
      const calls = spool.oldest(fruitlessRounds >= ALONE_AFTER ? 1 : BATCH_BYTES, 0n)
      if (calls.length === 0) return
      const answer = await round(calls)
      if (answer.is === 'ok') {
        spool.remove(calls.map(({ id }) => id))
        for (const { id } of calls) refusals.delete(id)
        counters.forwarded.inc(calls.length)
        retryMs = firstRetryMs
        fruitlessRounds = 0
        othersWereTaken = true
        continue
      }
      fruitlessRounds = answer.is !== 'failed' || answer.reached ? fruitlessRounds + 1 : 0
      if (fruitlessRounds >= POSTPONE_AFTER) {
        letOthersPass(calls[0]!, answer)
        fruitlessRounds = ALONE_AFTER
      }
      await sleep(retryMs * (0.5 + Math.random() / 2))
      retryMs = Math.min(retryMs * 2, lastRetryMs)
    }
  }

  function letOthersPass({ id, body }: SpooledCall, answer: LogAnswer): void {
    const bytes = body.length
    const refused = (refusals.get(id) ?? 0) + (answer.is === 'failed' && othersWereTaken ? 1 : 0)
    othersWereTaken = false
    refusals.delete(id)
    if (answer.is === 'failed' && refused >= MAX_REFUSALS) {
      spool.putAside(id, answer.reason)
      counters.putAside.inc()
      log.warn(
        { bytes, reason: answer.reason },
        "a call that no upstream accepts was put aside in the spool's table `refused`",
      )
    } else if (spool.size().calls > 1) {
      refusals.set(spool.postpone(id), refused)
      counters.postponed.inc()
      warn('postponed', { bytes }, 'a call that no upstream accepts goes behind the others')
    } else refusals.set(id, refused)
  }

  /**
   * Tries each upstream once, beginning with the one that accepted the last call.
   * @returns the answer that promises most
   */
  async function round(calls: SpooledCall[]): Promise<LogAnswer> {
    const entries = calls.flatMap(({ body }) => readCall(body)).map(entry => (base64 ? asText(entry) : entry))
    let best: LogAnswer = { is: 'failed', reason: 'closing', reached: false }
    for (let i = 0; i < upstreams.length && !closing; i++) {
      const at = (preferred + i) % upstreams.length
      const upstream = upstreams[at]!
      const answer = await upstream.log(entries)
      if (answer.is === 'ok') {
        preferred = at
        return answer
      }
      counters.failures.inc({ reason: answer.is === 'failed' ? 'failed' : 'try_later' })
      const reason = answer.is === 'failed' ? answer.reason : 'TRY_LATER'
      warn(`upstream ${upstream.name}`, { upstream: upstream.name, reason }, 'an upstream accepted no calls')
      if (answer.is !== 'failed' || (answer.reached && best.is === 'failed')) best = answer
    }
    return best
  }

  function sleep(ms: number): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  function start(): void {
    if (closing || forwarding !== undefined) return
    forwarding = forward()
      .catch(error => {
        // The spool's disk can't be read or written. The calls stay in the spool.
        log.error({ err: error }, 'the relay could not read or write its spool')
        return sleep(lastRetryMs)
      })
      .finally(() => {
        forwarding = undefined
        // A call may have arrived just after the spool was found empty.
        if (spool.size().calls > 0) start()
      })
  }

  async function take(call: Buffer): Promise<'ok' | 'busy' | 'store'> {
    if (call.length === 0) return 'ok'
    try {
      await spool.append(call)
      storeFails = false
    } catch (error) {
      const busy = error instanceof StoreError && error.code === 'MILO_STORE_BUSY'
      storeFails = !busy
      warn('spool', { err: error }, 'the relay refused a call: TRY_LATER')
      return busy ? 'busy' : 'store'
    }
    start()
    return 'ok'
  }

  async function close(): Promise<void> {
    const deadline = performance.now() + closeMs
    while (forwarding !== undefined && performance.now() < deadline) {
      await Promise.race([forwarding, new Promise(resolve => setTimeout(resolve, 50))])
    }
    closing = true
    wake?.()
    for (const upstream of upstreams) upstream.close()
    await forwarding
    await spool.close()
  }

  start()
  return {
    ingest: {
      *log(entries) {
        return take(writeCall(entries)).then(result => {
          metrics.logResults.inc({ result })
          return result === 'ok' ? ResultCode.OK : ResultCode.TRY_LATER
        })
      },
      storeFails: () => storeFails,
      hasRoom: () => spool.size().bytes < options.maxBytes,
      async add(records) {
        return (await take(writeCall([{ category, message: records }]))) === 'ok' ? 'ok' : 'try later'
      },
      reject(source, reason, spans) {
        metrics.spansReceived.inc({ source }, spans)
        metrics.spansRejected.inc({ source, reason }, spans)
      },
    },
    store: {
      backlog: () => NO_BACKLOG,
      check: async () => spool.check(),
      dead: () => undefined,
      close,
    },
  }
}

function createCounters({ registry }: Metrics, spool: Spool) {
  const registers = [registry]
  const name = (rest: string) => `milo_collector_relay_${rest}`
  const gauge = (rest: string, help: string, value: () => number) =>
    new Gauge({
      name: name(rest),
      help,
      registers,
      collect() {
        this.set(value())
      },
    })
  gauge('spooled_calls', 'Calls of Log on disk that wait to be forwarded.', () => spool.size().calls)
  gauge('spooled_bytes', 'The bytes of these calls.', () => spool.size().bytes)
  return {
    forwarded: new Counter({
      name: name('forwarded_calls_total'),
      help: 'Calls that an upstream answered with OK.',
      registers,
    }),
    failures: new Counter({
      name: name('failures_total'),
      help: 'Attempts that an upstream did not answer with OK, by reason: try_later or failed.',
      labelNames: ['reason'],
      registers,
    }),
    postponed: new Counter({
      name: name('postponed_calls_total'),
      help: 'Calls put behind the others because no upstream accepted them.',
      registers,
    }),
    putAside: new Counter({
      name: name('put_aside_calls_total'),
      help: "Calls that no upstream accepts although it accepts others; they are in the spool's table refused.",
      registers,
    }),
  }
}

/** Encodes a call for the spool: category and message of each entry, as Thrift writes strings. */
function writeCall(entries: Iterable<LogEntry>): Buffer {
  const w = new Writer()
  for (const { category, message } of entries) {
    w.string(category)
    w.bytes(message)
  }
  return w.take()
}

function readCall(body: Buffer): LogEntry[] {
  const reader = new Reader(body)
  const entries: LogEntry[] = []
  while (reader.pos < body.length) entries.push({ category: reader.string(), message: reader.bytes() })
  return entries
}

function asText({ category, message }: LogEntry): LogEntry {
  const ascii = message.every(byte => byte < 128)
  return ascii ? { category, message } : { category, message: Buffer.from(message.toString('base64'), 'latin1') }
}
