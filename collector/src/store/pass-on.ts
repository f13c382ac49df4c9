import type { Store } from './store'

/** The asynchronous methods of a store. A store that stands in for another store forwards these calls. */
const METHODS = [
  'append',
  'readTrace',
  'search',
  'complete',
  'activity',
  'hourSources',
  'readHour',
  'savedSearches',
  'saveSearch',
  'deleteSearch',
  'analyses',
  'saveAnalysis',
  'readAnalysis',
  'deleteAnalysis',
  'addKeeps',
  'keepsAfter',
  'saveRings',
  'caught',
  'keeps',
  'keepsOf',
  'rings',
  'check',
] as const

export type PassedOn = Pick<Store, (typeof METHODS)[number]>

/** Forwards each call to the store that `find` resolves to. @param find rejects if there is no store yet */
export function passOn(find: () => Promise<PassedOn>): PassedOn {
  const entries = METHODS.map(method => [
    method,
    async (...args: never[]) => {
      const store = await find()
      return (store[method] as (...args: never[]) => Promise<unknown>)(...args)
    },
  ])
  return Object.fromEntries(entries) as PassedOn
}
