import { type AnnotationCondition, MAX_ALTERNATIVES, type NumberCondition, type SpanQuery, type Where } from './model'

/**
 * What a span must meet, as alternatives of which one is enough. Each of them is a plain list, so an index can look up every
 * alternative by one of its conditions, and no index needs to know OR:
 *
 *     service:shop (user=42 OR status>=500) NOT error   →   shop, user=42, not error   or   shop, status>=500, not error
 *
 * Within parentheses, name, service and minimal duration apply to the same half as outside of them. NOT begins anew: what is within it
 * has a half of its own, so that NOT is true of exactly those spans of which the condition is not.
 */
export interface Alternative {
  /** What one half meets. */
  half: HalfConditions
  literals: Literal[]
}

/** Conditions on one half of a span. */
export interface HalfConditions {
  name?: string | undefined
  service?: string | undefined
  minDurationUs?: number | undefined
}

/** A condition on a span that is or isn't so. */
export interface Literal {
  is: boolean
  of: SpanCondition
}

export type SpanCondition =
  /** Some half meets these. */
  | ({ kind: 'half' } & HalfConditions)
  | ({ kind: 'annotation' } & AnnotationCondition)
  | ({ kind: 'number' } & NumberCondition)
  | { kind: 'error' }
  | { kind: 'root' }
  /** The longest half took so long at most. */
  | { kind: 'maxDuration'; us: number }

/** @returns none if no span can meet the query, undefined if there would be more than MAX_ALTERNATIVES */
export function alternativesOf(span: SpanQuery): Alternative[] | undefined {
  try {
    return product(conditionsOf(span).map(expanded))
  } catch (error) {
    if (error === TOO_MANY) return undefined
    throw error
  }
}

/** Whether the query has no more alternatives than a search takes; those of spans above it count for themselves. */
export function hasFewAlternatives(span: SpanQuery): boolean {
  for (let at: SpanQuery | undefined = span; at !== undefined; at = at.above?.span) {
    if (at.where !== undefined && alternativesOf(at) === undefined) return false
  }
  return true
}

const TOO_MANY = new Error(`more than ${MAX_ALTERNATIVES} alternatives`)

/** Returns a query's fields as conditions, without the spans above. */
export function conditionsOf(span: SpanQuery): Where[] {
  const { name, service, minDurationUs, maxDurationUs, annotations, error, where } = span
  const conditions: Where[] = []
  if (name !== undefined) conditions.push({ kind: 'name', name })
  if (service !== undefined) conditions.push({ kind: 'service', service })
  conditions.push(...annotations.map(condition => ({ kind: 'annotation' as const, ...condition })))
  if (minDurationUs !== undefined) conditions.push({ kind: 'minDuration', us: minDurationUs })
  if (maxDurationUs !== undefined) conditions.push({ kind: 'maxDuration', us: maxDurationUs })
  if (error !== undefined) conditions.push({ kind: 'error', error })
  if (where !== undefined) conditions.push(...(where.kind === 'all' ? where.of : [where]))
  return conditions
}

function expanded(where: Where): Alternative[] {
  switch (where.kind) {
    case 'any':
      return few(where.of.flatMap(expanded))
    case 'all':
      return product(where.of.map(expanded))
    case 'not':
      return negated(where.of)
    case 'name':
      return [{ half: { name: where.name }, literals: [] }]
    case 'service':
      return [{ half: { service: where.service }, literals: [] }]
    case 'minDuration':
      return [{ half: { minDurationUs: where.us }, literals: [] }]
    case 'error':
      return [{ half: {}, literals: [{ is: where.error, of: { kind: 'error' } }] }]
    case 'root':
      return [
        {
          half: where.name === undefined ? {} : { name: where.name },
          literals: [{ is: true, of: { kind: 'root' } }],
        },
      ]
    default:
      return [{ half: {}, literals: [{ is: true, of: where }] }]
  }
}

function negated(where: Where): Alternative[] {
  if (where.kind === 'any') return product(where.of.map(negated))
  // What was negated twice holds for itself, too.
  if (where.kind === 'not')
    return expanded(where.of).map(alternative => ({ half: {}, literals: literalsOf(alternative) }))
  // One literal of each alternative must fail.
  return product(
    expanded(where).map(alternative =>
      literalsOf(alternative).map(({ is, of }) => ({ half: {}, literals: [{ is: !is, of }] })),
    ),
  )
}

function literalsOf({ half, literals }: Alternative): Literal[] {
  return Object.keys(half).length === 0 ? literals : [{ is: true, of: { kind: 'half', ...half } }, ...literals]
}

/** Returns what meets an alternative of each factor. */
function product(factors: Alternative[][]): Alternative[] {
  let result: Alternative[] = [{ half: {}, literals: [] }]
  for (const factor of factors) {
    result = few(result.flatMap(left => factor.flatMap(right => both(left, right) ?? [])))
  }
  return result
}

function few(alternatives: Alternative[]): Alternative[] {
  if (alternatives.length > MAX_ALTERNATIVES) throw TOO_MANY
  return alternatives
}

/** @returns undefined if no half can be both */
function both(left: Alternative, right: Alternative): Alternative | undefined {
  const half = { ...left.half }
  const { name, service, minDurationUs } = right.half
  if (name !== undefined) {
    if (half.name !== undefined && half.name !== name) return undefined
    half.name = name
  }
  if (service !== undefined) {
    if (half.service !== undefined && half.service !== service) return undefined
    half.service = service
  }
  if (minDurationUs !== undefined) half.minDurationUs = Math.max(minDurationUs, half.minDurationUs ?? 0)
  return { half, literals: [...left.literals, ...right.literals] }
}
