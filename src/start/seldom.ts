/** What settings need that few processes have: a file of its own, which other starts don't read. */

export { baggageKeys } from './baggage-keys'
export { exportTargets } from './exports'
export { givenPlugins } from './given-plugins'
export { named } from './named'
export { oddVariables } from './odd-variables'
export { operations } from './operations'
export { propagation } from './propagation'
export { spool } from './spool'
export { tlsTerms } from './tls'
export { trustedCallers } from './trusted-callers'
