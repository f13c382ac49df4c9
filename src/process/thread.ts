/** Whether this is a worker thread. `node:worker_threads` says so too, and takes 4 ms of each start. */
export const isThread = (process.chdir as { disabled?: boolean }).disabled === true

let hasVitest = false

/**
 * vitest ends its threads by `terminate()`, and nothing of a thread runs after that. Before, it waits for listeners.
 * @param flush is called then, for the first caller alone
 */
export function beforeVitestEnds(flush: () => Promise<void>): void {
  if (hasVitest) return
  // It is there once vitest 3 or 4 has begun with a test file.
  const state = (globalThis as { __vitest_worker__?: { onCleanup?: unknown } }).__vitest_worker__
  if (typeof state?.onCleanup !== 'function') return
  hasVitest = true
  state.onCleanup(flush)
}
