/**
 * What milo/otel uses of Milo's core. A file of its own, because only those load milo/otel who have OpenTelemetry: dist/otel.js
 * takes these from the bundle, where Milo's state is.
 */
export { hasPatched } from '../patch/hook'
export { imitate } from '../patch/imitate'
export type { Plugin } from '../patch/plugin'
export { warnOnce } from '../process/copies'
export { clock } from '../process/genuine'
export { expectTracing } from '../process/later'
export { describe, log, logRarely } from '../process/log'
export { currentSettings, flush, isActive, sink } from '../start/instance'
export { add } from '../start/start'
export { changeBaggage, readBaggage } from '../trace/baggage'
export { currentFrame, Frame, runInFrame } from '../trace/context'
export { baggageOfHeaders, contextOfHeaders, HTTP_HEADERS, writeBaggage, writeHeaders } from '../trace/http-headers'
export { randomHigh, randomLow, toHex } from '../trace/id'
export { childContext, HTTP_FORMATS, type RemoteContext, readTracestate } from '../trace/propagation'
export {
  cut,
  Kind,
  keeping,
  LIMITS,
  type LiveSpan,
  type PluginSpan,
  type SpanView,
  SUPPRESSED,
  UNSAMPLED,
} from '../trace/span'
export { standIn, startChild } from '../trace/tracer'
