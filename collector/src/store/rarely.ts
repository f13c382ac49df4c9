const QUIET_MS = 60_000

/** Returns a log function that repeats the same message at most once a minute. */
export function rarely(log: (message: string) => void): (message: string) => void {
  let last = ''
  let loggedMs = 0
  return message => {
    const nowMs = performance.now()
    if (message === last && nowMs - loggedMs < QUIET_MS) return
    last = message
    loggedMs = nowMs
    log(message)
  }
}
