/**
 * `milo/plugin`: what a plugin is, and what it may use. A plugin is a plain value that says which files of which package
 * it patches; Milo calls it when the application loads them. docs/writing-a-plugin.md has an example.
 */

export { endWith, isNodePromise, observe, observeThen } from './patch/observe'
export { sayEarly, sayLeft } from './patch/patched'
export type { Emit, Patch, Plugin, PluginHandle, Wrapped } from './patch/plugin'
export { errorName, noteError, noteErrors } from './process/error-name'
export { clearTimeout, clock, setImmediate, setTimeout } from './process/genuine'
export { describe, ifRejected, logRarely } from './process/log'
export { currentSettings, isActive } from './start/instance'
export { currentFrame, Frame, fillFrame, frameToFill, frameWith, runInFrame } from './trace/context'
export {
  baggageOf,
  baggageOfHeaders,
  contextOfEntries,
  contextOfHeaders,
  entriesOf,
  type HeaderTarget,
  isName,
  writeHeaders,
} from './trace/http-headers'
export {
  b3OfEntries,
  type Carrier,
  carrierFor,
  childContext,
  type Entries,
  formatTraceparent,
  hasZeroId,
  parseB3,
  parseTraceparent,
  type RemoteContext,
  remoteContext,
} from './trace/propagation'
export { Kind, type PluginSpan as Span, UNSAMPLED } from './trace/span'
export { currentSpan, ids, isTold, recordsUnsampled, startServerSpan, startSpan } from './trace/tracer'
