/** `milo/cls`: the API of cls-hooked on Milo's one AsyncLocalStorage. */
import type { createNamespace } from './cls/namespaces'

export { createNamespace, destroyNamespace, ERROR_SYMBOL, getNamespace, reset } from './cls/namespaces'

/** What `createNamespace` returns. A type alone: the class isn't exported. */
export type Namespace<N = Record<string, any>> = ReturnType<typeof createNamespace<N>>
