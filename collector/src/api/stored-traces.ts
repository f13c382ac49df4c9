import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyReply } from 'fastify'
import type { SpanRecord } from 'milo/codec/span'
import { HttpError, quote } from '../http/errors'
import type { StoredTrace } from '../record/records'
import type { TraceReader } from '../store/store'
import { buildTraceInSlices, type Trace, traceIdsOf, withHigh } from '../trace'
import type { AskStore } from './ask-store'
import type { Grant, Reads } from './read-budget'

/** A client that hasn't read the answer by this time is disconnected: the trace is in memory until then. */
const ANSWER_DEADLINE_MS = 300_000

/** Reads traces for answers, whichever form they have, within the budget for all readers. */
export class StoredTraces {
  readonly maxTraceBytes: number
  private readonly reads: Reads
  private readonly askStore: AskStore<TraceReader>

  constructor(reads: Reads, askStore: AskStore<TraceReader>) {
    this.reads = reads
    this.maxTraceBytes = reads.maxTraceBytes
    this.askStore = askStore
  }

  /** Returns a grant that lasts until the answer has been sent, or the connection is closed. */
  async grantFor(reply: FastifyReply, bytes: number): Promise<Grant> {
    const grant = await this.reads.traces.take(bytes)
    const late = setTimeout(() => reply.raw.destroy(), ANSWER_DEADLINE_MS)
    const end = () => {
      clearTimeout(late)
      grant.release()
    }
    if (reply.raw.closed) end()
    else reply.raw.once('close', end)
    return grant
  }

  /** Sets the deadline for a client that doesn't read the answer. Node resets the connection's timeout for the next request. */
  waitForReader(reply: FastifyReply): void {
    reply.raw.setTimeout(this.reads.answerStandstillMs)
  }

  /**
   * @param id in any form that people have ids in
   * @throws HttpError 400 if it is no id, 404 if there is no such trace
   */
  async find(id: string, maxBytes: number): Promise<StoredTrace> {
    for (const { low, high } of readTraceId(id)) {
      const trace = await this.askStore(store => store.readTrace(low, maxBytes))
      const records = withHigh(trace.records, high)
      if (records.length > 0) return { ...trace, records }
    }
    throw new HttpError(404, 'MILO_NO_SUCH_TRACE', `no trace ${quote(id)} is stored`)
  }
}

/**
 * Returns the ids that a text may mean.
 * @throws HttpError 400 if it is no id
 */
export function readTraceId(id: string): ReturnType<typeof traceIdsOf> {
  const ids = traceIdsOf(id)
  if (ids.length > 0) return ids
  throw new HttpError(
    400,
    'MILO_BAD_TRACE_ID',
    `${quote(id)} is not a trace id: give up to 32 hex digits, a UUID, a traceparent, or a decimal from -2^63 to 2^64-1`,
  )
}

/** Builds a trace's tree, with turns of the event loop in between. */
export async function treeOf(records: SpanRecord[], truncated: boolean): Promise<Trace> {
  const { spans, ...head } = await buildTraceInSlices(records, nextTurn)
  return { ...head, ...(truncated && { truncated }), spans }
}
