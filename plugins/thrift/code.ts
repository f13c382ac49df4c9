/** What the plugin's patches do: all of it but the list of them, which every start needs. */
export { traceClient, traceClientClass } from './client'
export { markPersistent, patchConnection, patchXhr } from './connection'
export { sayForeign } from './foreign'
export { nameAfterFile } from './names'
export { isPatched, markPatched, patchBinaryProtocol, patchCompactProtocol, patchJsonProtocol } from './protocol'
export { patchQ } from './q'
export { traceProcessing, traceProcessor, watchServer } from './server'
