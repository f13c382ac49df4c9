import type { Analysis } from './analysis'
import { Edges } from './edges'
import { Instrumentation } from './instrumentation'
import { Paths } from './paths'
import { Strange } from './strange'

/** All analyses, by the names of their partial results and of `--only`. */
const ANALYSES: Record<string, () => Analysis> = {
  edges: () => new Edges(),
  instrumentation: () => new Instrumentation(),
  paths: () => new Paths(),
  strange: () => new Strange(),
}

export const ANALYSIS_NAMES = Object.keys(ANALYSES)

/** @param names those that are wanted; undefined for all */
export function makeAnalyses(names = ANALYSIS_NAMES): Map<string, Analysis> {
  return new Map(ANALYSIS_NAMES.filter(name => names.includes(name)).map(name => [name, ANALYSES[name]!()]))
}
