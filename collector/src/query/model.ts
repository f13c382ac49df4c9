/** A search as people write it. Times may be relative to the moment at which it runs. */
export interface Query extends SpanQuery {
  /** Both times are inclusive. */
  from?: Time
  to?: Time
}

/** Conditions that one span must meet together. */
export interface SpanQuery {
  name?: string
  service?: string
  /** Microseconds, inclusive. */
  minDurationUs?: number
  maxDurationUs?: number
  annotations: AnnotationCondition[]
  error?: boolean
  /** Another condition: one that the fields above can't express. */
  where?: Where
  /** The span under which this one is. */
  above?: Above
}

export interface Above {
  /** Whether the span is the parent, or any span further up. */
  at: 'parent' | 'anywhere'
  span: SpanQuery
}

/** A condition that consists of others. `all` and `any` have at least two, and none of their own kind. */
export type Where = { kind: 'all' | 'any'; of: Where[] } | { kind: 'not'; of: Where } | Condition

export type Condition =
  | { kind: 'name'; name: string }
  | { kind: 'service'; service: string }
  | { kind: 'minDuration'; us: number }
  | { kind: 'maxDuration'; us: number }
  | { kind: 'error'; error: boolean }
  | ({ kind: 'annotation' } & AnnotationCondition)
  | ({ kind: 'number' } & NumberCondition)
  /** The span has no parent, and this name if one is given. */
  | { kind: 'root'; name?: string }

/** The most conditions that a search may have within `where` and `above`, and on annotations. Each is a join in MySQL, which has a limit. */
export const MAX_CONDITIONS = 32
/** The most alternatives that a search may have: `(a OR b) (c OR d)` has four. Each is looked up in the index. */
export const MAX_ALTERNATIVES = 32

/** A condition has a key, a value, or both. */
export interface AnnotationCondition {
  key?: string
  /** The value of that key, or of any key if `key` is undefined. */
  value?: string
  /** The way to compare the value; `exact` if there is no value. */
  match: Match
}

export type Match = 'exact' | 'prefix' | 'contains'

/** A condition on an annotation whose value is a decimal number. */
export interface NumberCondition {
  key: string
  compare: Comparison
  number: number
}

export type Comparison = '>' | '>=' | '<' | '<='

/** Microseconds since the epoch, or microseconds before now. */
export type Time = { atUs: number } | { agoUs: number }

/** Whether the query's fields say all of it, so that a form can show it. */
export function isFlat({ where, above }: SpanQuery): boolean {
  return where === undefined && above === undefined
}

/** Makes one condition of several; undefined of none. */
export function allOf(conditions: Where[]): Where | undefined {
  return joined('all', conditions)
}

export function anyOf(conditions: Where[]): Where | undefined {
  return joined('any', conditions)
}

function joined(kind: 'all' | 'any', conditions: Where[]): Where | undefined {
  const of = conditions.flatMap(condition => (condition.kind === kind ? condition.of : [condition]))
  return of.length > 1 ? { kind, of } : of[0]
}

/** How many conditions a query has of those that MAX_CONDITIONS limits. */
export function countConditions({ annotations, where, above }: SpanQuery): number {
  const ofAbove = above === undefined ? 0 : countAll(above.span)
  return annotations.length + (where === undefined ? 0 : leaves(where)) + ofAbove
}

function countAll(span: SpanQuery): number {
  const fields = [span.name, span.service, span.minDurationUs, span.maxDurationUs, span.error]
  return countConditions(span) + fields.filter(field => field !== undefined).length
}

function leaves(where: Where): number {
  if (where.kind === 'not') return leaves(where.of)
  if (where.kind === 'all' || where.kind === 'any') return where.of.reduce((sum, part) => sum + leaves(part), 0)
  return 1
}

const DECIMAL = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i

/** Reads a decimal number. @returns undefined if the text isn't one */
export function decimalOf(text: string): number | undefined {
  if (!DECIMAL.test(text)) return undefined
  const number = Number(text)
  // 0 and not −0, which looks the same.
  return Number.isFinite(number) ? number + 0 : undefined
}

export function compareNumber(text: string, { compare, number }: NumberCondition): boolean {
  const found = decimalOf(text)
  if (found === undefined) return false
  switch (compare) {
    case '>':
      return found > number
    case '>=':
      return found >= number
    case '<':
      return found < number
    case '<=':
      return found <= number
  }
}
