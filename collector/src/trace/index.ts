/**
 * From stored half-spans to trees: pure, without Node, shared by the API, the web interface and batch jobs.
 */
export { buildTrace } from './build'
export { type DurationClass, durationClass, formatDuration } from './duration'
export * from './model'
export { summarize } from './summary'
export { renderWaterfall, type WaterfallOptions } from './waterfall'
