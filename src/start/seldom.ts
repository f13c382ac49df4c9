/** What settings need that few processes have: a file of its own, which other starts don't read. */

export { exportTargets } from './exports'
export { givenPlugins } from './given-plugins'
export { tlsTerms } from './tls'
export { trustedCallers } from './trusted-callers'
export { meantBy } from './unknown-variable'
