/**
 * The language of the search box. The code is pure and doesn't need Node: the API and the web interface share it.
 *
 *     name:Shop.checkout service:shop user=42 city^=Lon note*="a b" key:user paid duration>50ms duration<=2s error last 1h
 *     service:shop > (status>=500 OR error) NOT city=London
 */
export {
  type Alternative,
  alternativesOf,
  conditionsOf,
  type HalfConditions,
  hasFewAlternatives,
  type Literal,
  type SpanCondition,
} from './alternatives'
export { type Completion, completionAt, insertCompletion, mayJoin } from './complete'
export { lex } from './lexer'
export {
  type Above,
  type AnnotationCondition,
  allOf,
  anyOf,
  type Comparison,
  type Condition,
  compareNumber,
  countConditions,
  decimalOf,
  isFlat,
  MAX_ALTERNATIVES,
  MAX_CONDITIONS,
  type Match,
  type NumberCondition,
  type Query,
  type SpanQuery,
  type Time,
  type Where,
} from './model'
export { describeProblem, type Parsed, type Problem, parse, parseAnnotation } from './parse'
export { print, printAnnotation } from './print'
export {
  DURATION_REMEDY,
  nearestTime,
  parseDurationUs,
  parseTime,
  printDurationUs,
  printTime,
  TIME_REMEDY,
  type TimedQuery,
  timeUs,
  withTimes,
} from './units'
