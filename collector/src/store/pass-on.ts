import type { Store } from './store'

/** The methods that answer later. A store that stands in for another one passes them on by name. */
const METHODS = [
  'append',
  'readTrace',
  'search',
  'complete',
  'activity',
  'savedSearches',
  'saveSearch',
  'deleteSearch',
  'check',
] as const

export type PassedOn = Pick<Store, (typeof METHODS)[number]>

/** @param find gives the store that is to answer, or rejects */
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
