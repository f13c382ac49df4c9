/**
 * From stored half-spans to trees: pure, without Node, shared by the API, the web interface and batch jobs.
 */
export { buildTrace, buildTraceInSlices } from './build'
export { walkCriticalPath } from './critical-path'
export { type DiffNode, diffTraces, type TraceDiff } from './diff'
export { type DurationClass, durationClass, durationLabels, formatDuration } from './duration'
export { findTraceId, paddedId } from './find-id'
export { hostName, isEveryMachine } from './host'
export { traceJson } from './json'
export * from './model'
export { summarize } from './summary'
export { traceIdsOf, withHigh } from './trace-id'
export { renderWaterfall, type WaterfallOptions } from './waterfall'
