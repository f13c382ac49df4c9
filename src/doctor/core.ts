/**
 * What the doctor uses of Milo's core. A file of its own, because only those load the doctor who ask for it: dist/doctor.js takes
 * these from the bundle, where Milo's state is.
 */
export { version } from '../../package.json'
export { patchReport } from '../patch/patched'
export { clock, GenuinePromise, setTimeout } from '../process/genuine'
export { apart, expectTracing } from '../process/later'
export { describe, log } from '../process/log'
export { register } from '../register'
export { currentSettings, flush, stats, totals } from '../start/instance'
export { isLauncher } from '../start/service'
export { spanEnd, spanStart } from '../trace/channels'
export { carrierFor, HTTP_FORMATS } from '../trace/propagation'
export { never } from '../trace/sampler'
export { Kind, type LiveSpan } from '../trace/span'
export { startSpan } from '../trace/tracer'
