/** Traces that are kept after the fact: a file of its own, because most processes have no history. */

export { Retroactive } from './retroactive'
export { retroactiveSettings } from './settings'
