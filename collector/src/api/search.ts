import { randomBytes } from 'node:crypto'
import querystring from 'node:querystring'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { CompletionAnswer, SavedSearchAnswer, SavedSearchesAnswer, SearchAnswer } from '../http/answers'
import { HttpError, quote } from '../http/errors'
import { SEARCH_BYTES } from '../store/search/search'
import type { CompletionQuery, SavedSearch, SavedSearches, SpanSearch } from '../store/store'
import type { AskStore } from './ask-store'
import { orderedSearch } from './ordered-search'
import { limit, oneOf, readBody, readOrder, readParameters, readSearch, string } from './parameters'
import { COMPLETION_BYTES, type Reads } from './read-budget'
import { clientTurns } from './survey/client-turns'
import { searchWithin } from './survey/parts'

/** Search, completion in the search box, and saved searches. */

const MAX_SAVED = 1000
const MAX_NAME_LENGTH = 200
const MAX_QUERY_LENGTH = 8000

const COMPLETION = z
  .strictObject({
    field: oneOf(['name', 'service', 'key', 'value']),
    key: string.optional(),
    prefix: string.default(''),
    limit: limit(100, 10),
  })
  .refine(({ field, key }) => field !== 'value' || key !== undefined, {
    error: 'key is missing: field=value completes the values of one key',
  })
  .refine(({ field, key }) => field === 'value' || key === undefined, {
    error: 'key is for field=value: leave it out',
  })

const rule = (message: string) => ({
  error: ({ input }: { input?: unknown }) => (input === undefined ? 'is missing: give name and query' : message),
})
const NAME = rule(`must be a string of 1 to ${MAX_NAME_LENGTH} characters`)
const QUERY = rule(`must be a string of at most ${MAX_QUERY_LENGTH} characters`)
/** A string with half of a surrogate pair has no UTF-8: the store would keep another one. */
const isUnicode = (value: string) => !/\p{Surrogate}/u.test(value)
const UNICODE = 'must be valid Unicode: it has half of a surrogate pair'

const SAVED = z.strictObject(
  {
    name: z.string(NAME).max(MAX_NAME_LENGTH, NAME).trim().min(1, NAME).refine(isUnicode, UNICODE),
    query: z
      .string(QUERY)
      .max(MAX_QUERY_LENGTH, QUERY)
      .refine(isUnicode, UNICODE)
      .transform(query => query.replace(/^\?/, '')),
  },
  { error: 'the body is not an object: give {"name": …, "query": …}' },
)
const CHANGES = SAVED.partial()

export function searchRoutes(app: FastifyInstance, reads: Reads, askStore: AskStore<SpanSearch & SavedSearches>): void {
  const { searches, surveys } = reads
  app.get('/api/search', async (request, reply): Promise<SearchAnswer> => {
    const query = readSearch(request.query, nowUs())
    const order = readOrder(request.query)
    if (order !== 'newest') {
      const search = searchWithin(reads, askStore)
      return surveys.during(1, () =>
        orderedSearch(search, query, order, { turns: clientTurns(reply), deadlineMs: 1.5 * reads.surveyMs }),
      )
    }
    const page = await searches.during(SEARCH_BYTES, () => askStore(store => store.search(query)))
    const { traces, next = null, read, cost } = page
    return { traces, next, read, cost }
  })

  app.get('/api/complete', async (request): Promise<CompletionAnswer> => {
    const query: CompletionQuery = readParameters(COMPLETION, request.query)
    return { values: await searches.during(COMPLETION_BYTES, () => askStore(store => store.complete(query))) }
  })

  app.get('/api/saved-searches', async (request): Promise<SavedSearchesAnswer> => {
    readParameters(z.strictObject({}), request.query)
    const searches = await askStore(store => store.savedSearches())
    return { searches: searches.map(toJson) }
  })

  app.post('/api/saved-searches', async (request, reply) => {
    const { name, query } = readSaved(SAVED, request.body)
    if ((await askStore(store => store.savedSearches())).length >= MAX_SAVED) {
      throw new HttpError(
        409,
        'MILO_TOO_MANY_SAVED_SEARCHES',
        `${MAX_SAVED} searches are saved already: delete one first`,
      )
    }
    const search: SavedSearch = { id: randomBytes(9).toString('base64url'), name, query, createdUs: nowUs() }
    await askStore(store => store.saveSearch(search))
    return reply.code(201).header('location', `/api/saved-searches/${search.id}`).send(toJson(search))
  })

  app.get<{ Params: { id: string } }>('/api/saved-searches/:id', async request => toJson(await find(request.params.id)))

  app.put<{ Params: { id: string } }>('/api/saved-searches/:id', async request => {
    const changes = readSaved(CHANGES, request.body)
    const search = { ...(await find(request.params.id)), ...changes }
    await askStore(store => store.saveSearch(search))
    return toJson(search)
  })

  app.delete<{ Params: { id: string } }>('/api/saved-searches/:id', async (request, reply) => {
    if (!(await askStore(store => store.deleteSearch(request.params.id)))) throw unknown(request.params.id)
    return reply.code(204).send()
  })

  async function find(id: string): Promise<SavedSearch> {
    const search = (await askStore(store => store.savedSearches())).find(search => search.id === id)
    if (search === undefined) throw unknown(id)
    return search
  }
}

function unknown(id: string): HttpError {
  return new HttpError(404, 'MILO_NO_SUCH_SEARCH', `no saved search ${quote(id)}`)
}

/** @throws HttpError for a body that the schema refuses, or for a query that can't be run */
function readSaved<S extends typeof SAVED | typeof CHANGES>(schema: S, body: unknown): z.output<S> {
  const search = readBody(schema, body)
  if (search.query !== undefined) readSearch(querystring.parse(search.query, '&', '=', { maxKeys: 0 }), nowUs())
  return search
}

function toJson({ id, name, query, createdUs }: SavedSearch): SavedSearchAnswer {
  return { id, name, query, created: createdUs }
}

function nowUs(): number {
  return Date.now() * 1000
}
