/** Which annotations are indexed. Names, services, durations, errors and times always are. */
export interface IndexPolicy {
  indexes(key: string): boolean
  /** Whether every key is indexed. */
  indexesAll: boolean
  /** Cuts a value to maxValueLength. A longer value is found by its beginning. */
  cut(value: string): string
  maxValueLength: number
}

/** The configuration's section `index`. */
export interface IndexSettings {
  /** Keys to index; undefined means all. */
  allow?: string[] | undefined
  /** Keys not to index. */
  deny?: string[] | undefined
  /** Maximal length of an indexed value, in UTF-16 units. */
  value_length?: number | undefined
}

export const DEFAULT_VALUE_LENGTH = 256
/** Annotations that converters write for themselves (collector/src/formats): they are long, and nobody searches for them. */
export const DEFAULT_DENY = ['otel.links', 'otel.events', 'otel.types', 'otel.resource_types']

export function indexPolicy(settings: IndexSettings = {}): IndexPolicy {
  const { allow, deny = DEFAULT_DENY, value_length: maxValueLength = DEFAULT_VALUE_LENGTH } = settings
  const allowed = allow === undefined ? undefined : new Set(allow)
  const denied = new Set(deny)
  return {
    indexes: key => !denied.has(key) && (allowed === undefined || allowed.has(key)),
    indexesAll: allowed === undefined && denied.size === 0,
    cut: value => (value.length > maxValueLength ? value.slice(0, maxValueLength) : value),
    maxValueLength,
  }
}
