import { passOn } from '../pass-on'
import { closedError } from '../pipeline/group-commit'
import type { IndexSettings } from '../search/index-policy'
import { NO_BACKLOG, type Store, StoreError } from '../store'

const RETRY_MS = [250, 4_000] as const

/**
 * Stands in for a store whose databases couldn't be reached when the collector started. It tries to connect again and again.
 * Until then it rejects every call with the reason; afterwards it forwards calls to the store.
 * @param reason the error of the first `connect`
 */
export function waitingStore(connect: () => Promise<Store>, reason: unknown, log: (message: string) => void): Store {
  let store: Store | undefined
  let index: IndexSettings | undefined
  let timer: NodeJS.Timeout | undefined
  let connecting: Promise<void> | undefined
  let closing: Promise<void> | undefined

  function retry(delayMs: number): void {
    timer = setTimeout(() => {
      connecting = connect().then(found, error => {
        if (closing !== undefined) return
        // Log a new problem, and any that isn't a StoreError.
        const message = (error as Error).message
        if (!(error instanceof StoreError) || message !== (reason as Error).message) log(message)
        reason = error
        retry(Math.min(delayMs * 2, RETRY_MS[1]))
      })
    }, delayMs)
  }

  function found(connected: Store): void {
    store = connected
    if (index !== undefined) store.setIndex(index)
    if (closing === undefined) log('the databases are available: spans are accepted')
  }

  async function close(): Promise<void> {
    clearTimeout(timer)
    reason = closedError()
    if (store !== undefined) return store.close()
    // A running attempt may last until its databases answer; the store that it opens is closed then.
    void connecting?.then(() => store?.close()).catch(() => {})
  }

  retry(RETRY_MS[0])
  return {
    ...passOn(async () => {
      if (store === undefined) throw reason
      return store
    }),
    nowUs: () => store?.nowUs() ?? Date.now() * 1000,
    dead: () => store?.dead(),
    setIndex(settings) {
      index = settings
      store?.setIndex(settings)
    },
    backlog: () => store?.backlog() ?? NO_BACKLOG,
    close: () => (closing ??= close()),
  }
}
