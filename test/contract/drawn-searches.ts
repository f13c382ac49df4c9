import fc from 'fast-check'
import type { AnnotationCondition, Condition, SpanQuery, Where } from '../../collector/src/query'
import type { IdentifiedRecord } from '../../collector/src/record/records'
import type { Match, SearchQuery } from '../../collector/src/store/store'
import { drawnSpan, drawnWhere } from '../helpers/drawn-where'

/** Small traces and searches that have much to do with them. */

type Conditions = Partial<Omit<SearchQuery, 'limit' | 'after'>>

const word = fc.constantFrom('', 'a', 'A', 'b', 'a ', 'ab', 'é', '\0')
const service = fc.constantFrom('a', 'b')
/** In the same microseconds, or some part of a second apart; halves may be two seconds apart. */
const someUs = fc.oneof(
  fc.integer({ min: -3, max: 3 }),
  fc.integer({ min: -3, max: 3 }).map(n => n * 300_000),
  fc.integer({ min: -1_000_000, max: 1_000_000 }),
)

export const drawnSpans = fc.array(
  fc.record(
    {
      traceId: fc.nat(5),
      id: fc.nat(3),
      // Missing ones, circles, and the span itself among them.
      parentId: fc.nat(4),
      name: word,
      service,
      annotations: fc.array(fc.tuple(word, word), { maxLength: 3 }),
      number: fc.constantFrom('-1', '1', '2', '+2.50', '1e1', '10', '.5', '', '0x1', '5 ', 'x'),
      error: fc.constantFrom('error', 'error.type'),
      // At least one, or the time of receipt decides.
      events: fc.array(fc.tuple(someUs, fc.integer({ min: 1, max: 5 })), { minLength: 1, maxLength: 4 }),
    },
    { requiredKeys: ['traceId', 'id', 'annotations', 'events'] },
  ),
  { minLength: 1, maxLength: 25 },
)

const annotation = fc.oneof(
  fc.record({ key: word, match: fc.constant('exact' as Match) }, { noNullPrototype: true }),
  fc.record(
    { key: word, value: word, match: fc.constantFrom('exact', 'prefix', 'contains') },
    { requiredKeys: ['value', 'match'], noNullPrototype: true },
  ),
)
const drawnFields = fc.record(
  {
    name: word,
    service,
    minDurationUs: fc.nat(6),
    maxDurationUs: fc.nat(6),
    annotations: fc.array(annotation, { maxLength: 3 }),
    error: fc.boolean(),
  },
  { requiredKeys: ['annotations'], noNullPrototype: true },
)
const drawnCondition: fc.Arbitrary<Condition> = fc.oneof(
  fc.record({ kind: fc.constant('name' as const), name: word }),
  fc.record({ kind: fc.constant('service' as const), service }),
  fc.record({ kind: fc.constantFrom('minDuration' as const, 'maxDuration' as const), us: fc.nat(6) }),
  fc.record({ kind: fc.constant('error' as const), error: fc.boolean() }),
  annotation.map(condition => ({ kind: 'annotation' as const, ...condition })),
  fc.record({
    kind: fc.constant('number' as const),
    key: fc.constant('number'),
    compare: fc.constantFrom('>' as const, '>=' as const, '<' as const, '<=' as const),
    number: fc.constantFrom(-1, 0, 1, 2, 2.5, 10),
  }),
  fc.record({ kind: fc.constant('root' as const), name: word }, { requiredKeys: ['kind'] }),
)

export const drawnQueries = fc.array(
  fc.tuple(
    fc.oneof(drawnFields, drawnSpan(drawnFields, drawnWhere(drawnCondition))),
    fc.record({ fromUs: someUs, toUs: someUs }, { requiredKeys: [] }),
  ),
  { minLength: 1, maxLength: 8 },
)

type Drawn<A> = A extends fc.Arbitrary<(infer T)[]> ? T : never

export function drawnRecord(
  { traceId, id, parentId, name, service, annotations, number, error, events }: Drawn<typeof drawnSpans>,
  nonce: string,
  traceIds: bigint[],
  baseUs: bigint,
): IdentifiedRecord {
  return {
    traceId: traceIds[traceId]!,
    id: BigInt(id),
    ...(parentId === undefined ? {} : { parentId: BigInt(parentId) }),
    ...(name === undefined ? {} : { name: nonce + name }),
    ...(service === undefined ? {} : { service: nonce + service }),
    annotations: new Map([
      ...annotations.map(([key, value]): [string, string] => [nonce + key, nonce + value]),
      ...(number === undefined ? [] : ([[`${nonce}number`, number]] as [string, string][])),
      ...(error === undefined ? [] : ([[error, 'x']] as [string, string][])),
    ]),
    events: events.map(([us, eventType]) => ({ timestamp: baseUs + BigInt(us), eventType })),
  }
}

/** Makes a drawn query one of this run alone. */
export function drawnQuery(
  [drawn, { fromUs, toUs }]: Drawn<typeof drawnQueries>,
  nonce: string,
  baseUs: number,
): Conditions {
  const query: Conditions = spanOf(drawn, nonce)
  const own = query.name !== undefined || query.service !== undefined || drawn.annotations.length > 0
  if (fromUs !== undefined || !own) query.fromUs = baseUs + (fromUs ?? -1e6)
  if (toUs !== undefined || !own) query.toUs = baseUs + (toUs ?? 1e6)
  return query
}

function spanOf({ name, service, annotations, where, above, ...rest }: SpanQuery, nonce: string): SpanQuery {
  return {
    ...rest,
    ...(name !== undefined && { name: nonce + name }),
    ...(service !== undefined && { service: nonce + service }),
    annotations: annotations.map(condition => annotationOf(condition, nonce)),
    ...(where && { where: whereOf(where, nonce) }),
    ...(above && { above: { ...above, span: spanOf(above.span, nonce) } }),
  }
}

function whereOf(where: Where, nonce: string): Where {
  switch (where.kind) {
    case 'all':
    case 'any':
      return { ...where, of: where.of.map(part => whereOf(part, nonce)) }
    case 'not':
      return { ...where, of: whereOf(where.of, nonce) }
    case 'name':
      return { ...where, name: nonce + where.name }
    case 'service':
      return { ...where, service: nonce + where.service }
    case 'root':
      return where.name === undefined ? where : { ...where, name: nonce + where.name }
    case 'number':
      return { ...where, key: nonce + where.key }
    case 'annotation':
      return { kind: 'annotation', ...annotationOf(where, nonce) }
    default:
      return where
  }
}

function annotationOf({ key, value, match }: AnnotationCondition, nonce: string): AnnotationCondition {
  // What is contained begins within the run's own word.
  const begin = match === 'contains' ? nonce.slice(3) : nonce
  return {
    ...(key !== undefined && { key: nonce + key }),
    ...(value !== undefined && { value: begin + value }),
    match,
  }
}
