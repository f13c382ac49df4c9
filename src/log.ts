/** What Milo says, on standard error and nowhere else: an application's standard output is its own. */

import { clock } from './genuine'

export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

let threshold = LOG_LEVELS.indexOf('warn')

export function setLogLevel(level: LogLevel): void {
  threshold = LOG_LEVELS.indexOf(level)
}

/** Whether something of this level is said. */
export function logs(level: LogLevel): boolean {
  return LOG_LEVELS.indexOf(level) <= threshold
}

/** One line. Never throws: a closed or full standard error is not the application's problem. */
export function log(level: Exclude<LogLevel, 'silent'>, message: string): void {
  if (!logs(level)) return
  try {
    process.stderr.write(`milo ${level}: ${message}\n`)
  } catch {
    // nowhere left to say it
  }
}

const lastSaid = new Map<string, number>()

/** The same as log, at most once in 30 s for each `key`. Keys are constants of the code, so the map stays small. */
export function logRarely(key: string, level: Exclude<LogLevel, 'silent'>, message: string): void {
  const now = clock.now()
  const last = lastSaid.get(key)
  if (last !== undefined && now - last < 30_000) return
  lastSaid.set(key, now)
  log(level, message)
}

/** An error's name and message, whatever was thrown, without running code of the application. */
export function describe(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  } catch {
    return 'something that has no text'
  }
}
