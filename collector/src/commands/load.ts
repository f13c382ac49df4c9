import { createReadStream } from 'node:fs'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../config'
import type { LoadAnswer } from '../http/answers'
import { answerTo, ask, bodyOf, type Collector, reasonOf } from '../http/client'
import type { Logger } from '../log'
import { unzipped } from '../receive/unzipped'
import { LoadMaker } from '../store/analysis/load'
import { windowId } from '../store/analysis/model'
import { type Store, StoreError } from '../store/store'
import { CommandError, UsageError } from './command-error'
import { openForCommand } from './command-store'
import { collectorAt, collectorHere, secret } from './running-collector'
import { unreadable } from './unreadable-results'

/**
 * `milo-collector load` puts the results of an offline analysis where the page Analysis shows them: into the store or, as an embedded
 * store is open in one process only, into the collector that has it.
 */

export interface LoadOptions {
  /** The address of a running collector. */
  to?: string
  /** A file with a token for it. */
  tokenFile?: string
}

/** Puts the results of one window: returns when they are durable. */
type Load = (name: string, open: () => Readable) => Promise<{ window: string; results: number }>

const STANDARD_INPUT = '-'
/** The collector takes one load at a time. */
const RETRY_MS = 1_000
const MAX_RETRY_MS = 60_000
const MAX_RETRIES = 120

export async function loadAll(config: Config, log: Logger, options: LoadOptions, files: string[]): Promise<void> {
  if (files.filter(file => file === STANDARD_INPUT).length > 1) {
    throw new UsageError('standard input (-) can be read once: give it once')
  }
  const { load, close } = await target(config, log, options)
  try {
    for (const file of files) {
      const name = file === STANDARD_INPUT ? 'standard input' : file
      const open = () =>
        file === STANDARD_INPUT ? process.stdin : createReadStream(file, { highWaterMark: 256 * 1024 })
      const { window, results } = await load(name, open)
      log.info({ file: name, window, results }, 'loaded')
    }
  } finally {
    await close()
  }
}

async function target(
  config: Config,
  log: Logger,
  { to, tokenFile }: LoadOptions,
): Promise<{ load: Load; close(): Promise<void> }> {
  const into = (running: Collector) => ({ load: loadInto(running), close: async () => {} })
  const token = secret('MILO_LOAD_TOKEN', tokenFile, '--token-file')
  if (to !== undefined) return into(collectorAt('--to', to, token))
  let store: Store
  try {
    store = await openForCommand(config, log)
  } catch (error) {
    if (!(error instanceof StoreError && error.code === 'MILO_STORE_LOCKED') || config.http.port === 0) throw error
    const running = collectorHere(config, token)
    log.info({ collector: running.url.href }, 'a running collector has the store open: it gets the results')
    return into(running)
  }
  return { load: loadInStore(store), close: () => store.close() }
}

function loadInStore(store: Store): Load {
  return async (name, open) => {
    const maker = new LoadMaker(name)
    try {
      for await (const chunk of unzipped(open())) await maker.add(chunk)
      const { results, ...load } = await maker.finish(Date.now() * 1000)
      await store.saveAnalysis(load)
      return { window: windowId(load), results }
    } catch (error) {
      throw unreadable(name, error)
    }
  }
}

function loadInto(collector: Collector): Load {
  return async (name, open) => {
    for (let retries = 0; ; retries++) {
      const { status, body, retryAfterMs } = await post(collector, open()).catch(error => {
        throw unreadable(name, error)
      })
      if (status === 200) return body as LoadAnswer
      const mayRetry = name !== 'standard input' && retries < MAX_RETRIES
      if ((status === 429 || status === 503) && mayRetry) {
        await sleep(retryAfterMs ?? RETRY_MS)
        continue
      }
      throw new CommandError(`${name}: ${collector.url.href} answers ${status}: ${refusalOf(status, body)}`)
    }
  }
}

interface Answer {
  status: number
  /** JSON; null if it isn't. */
  body: any
  /** From the header retry-after; undefined if there is none. */
  retryAfterMs: number | undefined
}

/**
 * A timer takes no more than 24 days, and a longer one ends at once.
 * @param seconds the header; undefined if there is none
 */
export function retryAfterMs(seconds: string | undefined): number | undefined {
  return seconds !== undefined && /^\d+$/.test(seconds) ? Math.min(Number(seconds) * 1000, MAX_RETRY_MS) : undefined
}

/** @throws CommandError if there is no answer; what the stream fails with */
async function post(collector: Collector, body: Readable): Promise<Answer> {
  const headers = { 'content-type': 'application/x-ndjson' }
  const asked = ask(collector, 'api/analysis', { method: 'POST', headers, standstillMs: STANDSTILL_MS })
  let failure: unknown
  body.once('error', error => {
    failure = error
    asked.destroy()
  })
  body.pipe(asked)
  try {
    const answer = await answerTo(asked)
    // It needn't hear the rest.
    body.destroy()
    const text = await bodyOf(answer, MAX_ANSWER_BYTES)
    return {
      status: answer.statusCode ?? 0,
      body: parsedOrNull(text.toString()),
      retryAfterMs: retryAfterMs(answer.headers['retry-after']),
    }
  } catch (error) {
    const remedy = 'start the collector, or give --to'
    throw failure ?? new CommandError(`${collector.url.href} can't be reached (${reasonOf(error)}): ${remedy}`)
  } finally {
    body.destroy()
    asked.destroy()
  }
}

/** How long the collector may be silent: it stores what it has heard. */
const STANDSTILL_MS = 120_000
const MAX_ANSWER_BYTES = 1024 * 1024

function parsedOrNull(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function refusalOf(status: number, body: { error?: unknown } | null): string {
  const remedy =
    status === 401 || status === 403
      ? ': set MILO_LOAD_TOKEN or --token-file to a token of scope ingest or full, as milo-collector token makes them'
      : status === 404
        ? ': this collector knows no results of analyses: use a newer one'
        : ''
  return `${typeof body?.error === 'string' ? body.error : 'it gives no reason'}${remedy}`
}
