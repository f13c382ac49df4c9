/** Which annotations can be searched for. Names, services, durations, errors and times always can. */
export interface IndexPolicy {
  indexes(key: string): boolean
  /** Whether every key is. */
  indexesAll: boolean
  /** A value as the index has it. What is longer than this many characters is found by its beginning. */
  cut(value: string): string
  maxValueLength: number
}

/** As the configuration has it. */
export interface IndexSettings {
  /** Only these keys; undefined: all. */
  allow?: string[] | undefined
  /** But none of these. */
  deny?: string[] | undefined
  /** Characters (UTF-16 units) of a value. */
  value_length?: number | undefined
}

export const DEFAULT_VALUE_LENGTH = 256
/** What converters write for themselves to read (collector/src/formats): long, and nothing that anybody would search for. */
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
