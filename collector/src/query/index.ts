/**
 * The language of the search box. The code is pure and doesn't need Node: the API and the web interface share it.
 *
 *     name:Shop.checkout service:shop user=42 city^=Lon note*="a b" key:user paid duration>50ms duration<=2s error last 1h
 */
export { type Completion, completionAt, insertCompletion } from './complete'
export { lex } from './lexer'
export { type AnnotationCondition, MAX_CONDITIONS, type Match, type Query, type Time } from './model'
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
