import { randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { CompletionAnswer, SavedSearchAnswer, SavedSearchesAnswer, SearchAnswer } from '../http/answers'
import { HttpError, quote } from '../http/errors'
import { SEARCH_BYTES } from '../store/search/search'
import type { CompletionQuery, SavedSearch, SavedSearches, SpanSearch } from '../store/store'
import type { AskStore } from './ask-store'
import { readLimit, readParameters, readSearch } from './parameters'
import type { Reads } from './read-budget'

/** Search, completion in the search box, and saved searches. */

const MAX_COMPLETIONS = 100
/** About how much memory a completion takes: some thousand words, and the blocks in which it looks for them. */
const COMPLETION_BYTES = 4 * 1024 * 1024
const FIELDS = ['name', 'service', 'key', 'value'] as const
const MAX_SAVED = 1000
const MAX_NAME_LENGTH = 200
const MAX_QUERY_LENGTH = 8000

export function searchRoutes(
  app: FastifyInstance,
  { searches }: Reads,
  askStore: AskStore<SpanSearch & SavedSearches>,
): void {
  app.get('/api/search', async (request): Promise<SearchAnswer> => {
    const query = readSearch(request.query, nowUs())
    const { traces, next = null } = await searches.during(SEARCH_BYTES, () => askStore(store => store.search(query)))
    return { traces, next }
  })

  app.get('/api/complete', async (request): Promise<CompletionAnswer> => {
    const given = readParameters(request.query, ['field', 'key', 'prefix', 'limit'])
    const field = FIELDS.find(name => name === given.field)
    if (field === undefined) {
      const is = given.field === undefined ? 'is missing' : `is ${quote(given.field)}`
      throw new HttpError(400, 'MILO_BAD_PARAMETER', `field ${is}: give one of ${FIELDS.join(', ')}`)
    }
    if ((given.key !== undefined) !== (field === 'value')) {
      const problem =
        field === 'value'
          ? 'is missing: field=value completes the values of one key'
          : 'is for field=value: leave it out'
      throw new HttpError(400, 'MILO_BAD_PARAMETER', `key ${problem}`)
    }
    const query: CompletionQuery = {
      field,
      prefix: given.prefix ?? '',
      limit: readLimit(given.limit, MAX_COMPLETIONS, 10),
    }
    if (given.key !== undefined) query.key = given.key
    return { values: await searches.during(COMPLETION_BYTES, () => askStore(store => store.complete(query))) }
  })

  app.get('/api/saved-searches', async (request): Promise<SavedSearchesAnswer> => {
    readParameters(request.query, [])
    const searches = await askStore(store => store.savedSearches())
    return { searches: searches.map(toJson) }
  })

  app.post('/api/saved-searches', async (request, reply) => {
    const { name, query } = readBody(request.body)
    if (name === undefined || query === undefined) {
      throw new HttpError(
        400,
        'MILO_BAD_BODY',
        `${name === undefined ? 'name' : 'query'} is missing: give name and query`,
      )
    }
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
    const changes = readBody(request.body)
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

/** @throws HttpError for a bad name, or for a query that couldn't be run */
function readBody(body: unknown): { name?: string; query?: string } {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new HttpError(400, 'MILO_BAD_BODY', 'the body is not an object: give {"name": …, "query": …}')
  }
  const { name, query, ...others } = body as Record<string, unknown>
  const [other] = Object.keys(others)
  if (other !== undefined)
    throw new HttpError(400, 'MILO_BAD_BODY', `unknown field ${quote(other)}: the fields are name and query`)
  const out: { name?: string; query?: string } = {}
  if (name !== undefined) {
    if (typeof name !== 'string' || name.trim() === '' || name.length > MAX_NAME_LENGTH) {
      throw new HttpError(400, 'MILO_BAD_BODY', `name must be a string of 1 to ${MAX_NAME_LENGTH} characters`)
    }
    out.name = wellFormed('name', name.trim())
  }
  if (query !== undefined) {
    if (typeof query !== 'string' || query.length > MAX_QUERY_LENGTH) {
      throw new HttpError(400, 'MILO_BAD_BODY', `query must be a string of at most ${MAX_QUERY_LENGTH} characters`)
    }
    out.query = wellFormed('query', query.replace(/^\?/, ''))
    const parameters: Record<string, string | string[]> = Object.create(null)
    for (const [key, value] of new URLSearchParams(out.query)) {
      const before = parameters[key]
      parameters[key] = before === undefined ? value : [before, value].flat()
    }
    readSearch(parameters, nowUs())
  }
  return out
}

/** A string with half of a surrogate pair has no UTF-8: the store would keep another one. */
function wellFormed(field: string, value: string): string {
  if (!/\p{Surrogate}/u.test(value)) return value
  throw new HttpError(400, 'MILO_BAD_BODY', `${field} must be valid Unicode: it has half of a surrogate pair`)
}

function toJson({ id, name, query, createdUs }: SavedSearch): SavedSearchAnswer {
  return { id, name, query, created: createdUs }
}

function nowUs(): number {
  return Date.now() * 1000
}
