/**
 * Builds trees from stored half-spans. The code is pure and doesn't need Node: the API, the web interface and batch jobs share
 * it.
 */
export { buildTrace, buildTraceInSlices } from './build'
export { CallPaths } from './call-paths'
export { walkCriticalPath } from './critical-path'
export { type DiffError, type DiffNode, diffErrors, diffTraces, type TraceDiff } from './diff'
export {
  type DurationClass,
  durationClass,
  durationLabels,
  formatDuration,
  partClass,
  type Usual,
} from './duration'
export { EVENTS_KEY, readEvent } from './event-attributes'
export { arose, errorsOf, type Failure, failureOf, foldMessage, roseThrough } from './failure'
export { findTraceId, paddedId } from './find-id'
export { hostName, isEveryMachine } from './host'
export { traceJson } from './json'
export { ASKED, HISTORY_KEY, KEEP_KEY, KEEP_SPAN_KEY, keepSpanOf, keptReasons, leftOutOf } from './kept'
export * from './model'
export { peerOf } from './peer'
export { jointProbability, weightOf } from './probability'
export { CLIENT, SERVER, sideOf } from './reports'
export { summarize } from './summary'
export { traceIdsOf, withHigh } from './trace-id'
export { renderWaterfall, type WaterfallOptions } from './waterfall'
