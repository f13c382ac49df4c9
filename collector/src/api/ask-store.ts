import { HttpError } from '../http/errors'
import type { LogRarely } from '../log'
import { type ReadableStore, StoreError, storedElsewhere } from '../store/store'

/** Asks the store, or a part of it, and turns its errors into answers. */
export type AskStore<S> = <V>(question: (store: S) => Promise<V>) => Promise<V>

/** Errors of the store that are the client's fault. */
const CLIENT_ERRORS = ['MILO_BAD_CURSOR', 'MILO_NOT_INDEXED', 'MILO_STORE_ELSEWHERE']

/** @param store undefined for a relay, which keeps nothing that could be read */
export function askStoreOf(store: ReadableStore | undefined, warn: LogRarely): AskStore<ReadableStore> {
  return async question => {
    try {
      if (store === undefined) throw storedElsewhere()
      return await question(store)
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      if (CLIENT_ERRORS.includes(error.code)) throw new HttpError(400, error.code, error.message)
      warn(error.code, { code: error.code }, error.message)
      throw new HttpError(503, error.code, error.message)
    }
  }
}
