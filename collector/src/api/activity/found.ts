import type { FastifyInstance, FastifyReply } from 'fastify'
import { z } from 'zod'
import type { DeploymentsAnswer, PeersAnswer } from '../../http/answers'
import { HttpError } from '../../http/errors'
import { SEARCH_BYTES } from '../../store/search/search'
import type { CompletionQuery, SpanSearch, TraceReader } from '../../store/store'
import type { AskStore } from '../ask-store'
import { list, readParameters, string } from '../parameters'
import { COMPLETION_BYTES, type Reads } from '../read-budget'
import { DeploymentSearch } from './deployments'
import { Peers } from './peers'
import { type Kept, RANGE, rangeOf } from './range'

/** What searches tell of services: GET /api/deployments and /api/peers. Both are short of time rather than late. */

const DEADLINE_MS = 2_000
const MAX_PEERS = 50

const DEPLOYMENTS = z.strictObject({ ...RANGE, service: string })
const PEERS = z.strictObject({ name: list(MAX_PEERS, 'give the names of what is called') })

export function foundRoutes(
  app: FastifyInstance,
  reads: Reads,
  askStore: AskStore<SpanSearch & TraceReader>,
  kept: () => Kept,
): void {
  const peers = new Peers(Date.now)

  /** Asks the store with a part of the budget. What isn't indexed can't be found. */
  const find = async (ask: (store: SpanSearch & TraceReader) => Promise<boolean>): Promise<boolean> => {
    try {
      return await reads.searches.during(SEARCH_BYTES, () => askStore(ask))
    } catch (error) {
      if (error instanceof HttpError && error.code === 'MILO_NOT_INDEXED') return false
      throw error
    }
  }

  const complete = (query: CompletionQuery) =>
    reads.searches.during(COMPLETION_BYTES, () => askStore(store => store.complete(query)))

  app.get('/api/deployments', async (request, reply): Promise<DeploymentsAnswer> => {
    const { service, ...times } = readParameters(DEPLOYMENTS, request.query, ['service'])
    const range = rangeOf(times, kept())
    const search = new DeploymentSearch(complete, find, service, range, untilLate(reply))
    return { ...range, service, ...(await search.run()) }
  })

  app.get('/api/peers', async (request, reply): Promise<PeersAnswer> => {
    const { name } = readParameters(PEERS, request.query)
    return { peers: await peers.of(name, find, untilLate(reply)) }
  })
}

/** Returns a function that says whether there is time left, and somebody who waits. */
function untilLate(reply: FastifyReply): () => boolean {
  const endMs = performance.now() + DEADLINE_MS
  return () => performance.now() < endMs && !reply.raw.destroyed
}
