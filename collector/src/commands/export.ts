import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { Config } from '../config'
import { recordToJson } from '../formats/milo-json'
import type { Logger } from '../log'
import { countConditions, describeProblem, MAX_CONDITIONS, parse, print, type TimedQuery, withTimes } from '../query'
import type { SpanSearch, TraceReader } from '../store/store'
import { traceIdsOf, withHigh } from '../trace'
import { CommandError, UsageError } from './command-error'
import { mustHaveStore, openForCommand } from './command-store'
import { showProgress } from './progress'

/**
 * The form in which traces are exported, which `milo-collector import` and `POST /api/traces` read: a line with one document for
 * each trace (ndjson), or one document for all of them (milo).
 */
type ExportForm = 'ndjson' | 'milo'

interface Exported {
  traces: number
  spans: number
  /** The number of traces that have more spans than were read. */
  truncated: number
}

const PAGE = 200

export interface ExportOptions {
  query: string
  from?: string
  to?: string
  limit?: number
  form: ExportForm
  output?: string
}

/** @throws UsageError */
function readQuery(q: string): TimedQuery {
  const { query, problems } = parse(q)
  const [problem] = problems
  if (problem !== undefined) throw new UsageError(describeProblem(q, problem))
  const count = countConditions(query)
  if (count > MAX_CONDITIONS) throw new UsageError(`${count} annotations: give at most ${MAX_CONDITIONS}`)
  return withTimes(query, Date.now() * 1000)
}

/** Writes the traces that a query matches to a file or to standard output, and logs how many. */
export async function exportAll(config: Config, log: Logger, options: ExportOptions): Promise<void> {
  const { query: words, from, to, limit = Number.POSITIVE_INFINITY, form, output } = options
  const times = [...(from === undefined ? [] : [`from:${from}`]), ...(to === undefined ? [] : [`to:${to}`])]
  const q = [words, ...times].join(' ')
  const query = readQuery(q)
  mustHaveStore(config, 'to export from')
  const file = output === undefined ? undefined : await openOutput(output)
  const progress = showProgress('export')
  try {
    const store = await openForCommand(config, log)
    try {
      const out = file?.out ?? process.stdout
      const total = Number.isFinite(limit) ? limit : 0
      const update = (done: number) => progress.update(done, total)
      const exported = await exportTraces(store, query, limit, form, out, update, config.max_trace_bytes)
      await file?.keep()
      progress.stop()
      log.info({ ...exported }, 'exported')
      if (exported.traces === 0 && q.trim() !== '')
        log.warn(
          { query: print(parse(q).query) },
          'no trace matches the query; a word that isn’t a field’s name is searched for in annotations',
        )
      if (exported.truncated > 0) {
        log.warn({ traces: exported.truncated }, 'only a part of some traces was exported: raise max_trace_bytes')
      }
    } finally {
      progress.stop()
      await store.close()
    }
  } catch (error) {
    await file?.discard()
    throw error
  }
}

/**
 * Writes traces, newest first.
 * @param limit the maximum number of traces
 * @param progress called with the number of traces that are written
 * @param maxTraceBytes the maximum number of bytes that are read of one trace
 */
async function exportTraces(
  store: Pick<SpanSearch, 'search'> & TraceReader,
  query: TimedQuery,
  limit: number,
  form: ExportForm,
  out: Writable,
  progress: (done: number) => void,
  maxTraceBytes?: number,
): Promise<Exported> {
  const exported: Exported = { traces: 0, spans: 0, truncated: 0 }
  let failure: Error | undefined
  out.on('error', error => (failure = error))
  const write = async (text: string) => {
    if (failure !== undefined) throw failure
    if (!out.write(text)) await once(out, 'drain')
  }
  if (form === 'milo') await write('{"records":[')
  let after: string | undefined
  do {
    const from = after === undefined ? {} : { after }
    const page = await store.search({ ...query, ...from, limit: Math.min(PAGE, limit - exported.traces) })
    for (const { traceId } of page.traces) {
      const { low, high } = traceIdsOf(traceId)[0]!
      const { records: found, truncated } = await store.readTrace(low, maxTraceBytes)
      const records = withHigh(found, high)
      if (records.length === 0) continue
      if (form === 'ndjson') await write(`{"traceId":"${traceId}","records":[`)
      for (const [i, record] of records.entries()) {
        const comma = i === 0 && (form === 'ndjson' || exported.spans === 0) ? '' : ','
        await write(`${comma}${form === 'ndjson' ? '' : '\n'}${JSON.stringify(recordToJson(record))}`)
      }
      if (form === 'ndjson') await write(truncated ? '],"truncated":true}\n' : ']}\n')
      exported.traces++
      if (truncated) exported.truncated++
      exported.spans += records.length
      progress(exported.traces)
    }
    after = page.next
  } while (after !== undefined && exported.traces < limit)
  if (form === 'milo') await write('\n]}\n')
  return exported
}

/**
 * Opens a file to write. The file has another name until it is complete, so that a partial file never has the final name. An
 * existing file is not replaced. Only its owner may read the file, because spans may contain secrets.
 * @throws CommandError when the file exists or can't be written
 */
async function openOutput(path: string): Promise<{ out: Writable; keep(): Promise<void>; discard(): Promise<void> }> {
  const partial = `${path}.${process.pid}.partial`
  const refuse = (error: unknown): never => {
    const { code } = error as NodeJS.ErrnoException
    throw new CommandError(
      `${path} can't be written (${code}): give a path in a folder that exists and that you may write to`,
    )
  }
  if (existsSync(path)) throw new CommandError(`${path} exists already: give another name, or remove it`)
  const file = await open(partial, 'wx', 0o600).catch(refuse)
  const out = file.createWriteStream()
  return {
    out,
    async keep() {
      await finished(out.end())
      await rename(partial, path).catch(refuse)
    },
    async discard() {
      out.destroy()
      await rm(partial, { force: true })
    },
  }
}
