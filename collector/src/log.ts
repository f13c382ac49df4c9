import pino, { type Logger } from 'pino'

export type { Logger } from 'pino'

/**
 * Logs JSON lines to standard error, or lines for people if it is a terminal. It writes synchronously, so that the line that
 * says why the process ends is never lost.
 */
export function createLog(level: string): Logger {
  const destination = process.stderr.isTTY
    ? // Loaded here: a service has no terminal.
      (require('pino-pretty') as typeof import('pino-pretty'))({ destination: 2, sync: true })
    : pino.destination({ fd: 2, sync: true })
  return pino({ level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, destination)
}

export type LogRarely = (key: string, fields: object, message: string) => void

/**
 * Limits warnings that hostile or broken input could repeat without end: at most one in 10 s for each `key` (a constant in the
 * code). It carries how many were suppressed before it.
 */
export function limitWarnings(log: Logger): LogRarely {
  const warnings = new Map<string, { at: number; suppressed: number }>()
  return (key, fields, message) => {
    const now = performance.now()
    const last = warnings.get(key)
    if (last !== undefined && now - last.at < 10_000) {
      last.suppressed++
      return
    }
    warnings.set(key, { at: now, suppressed: 0 })
    log.warn(last?.suppressed ? { ...fields, suppressed: last.suppressed } : fields, message)
  }
}
