const QUIET_MS = 60_000

/** Logs a message when it is another than the last one, and otherwise once a minute. */
export function rarely(log: (message: string) => void): (message: string) => void {
  let last = ''
  let saidMs = 0
  return message => {
    const nowMs = performance.now()
    if (message === last && nowMs - saidMs < QUIET_MS) return
    last = message
    saidMs = nowMs
    log(message)
  }
}
