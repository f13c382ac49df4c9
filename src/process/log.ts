/** Milo's log, on standard error alone: standard output belongs to the application. */

import { fstatSync, writeSync } from 'node:fs'
import { errorName } from './error-name'
import { clock, setImmediate } from './genuine'

export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

let threshold = LOG_LEVELS.indexOf('warn')

export function setLogLevel(level: LogLevel): void {
  threshold = LOG_LEVELS.indexOf(level)
}

/** Whether messages of this level are logged. */
export function logs(level: LogLevel): boolean {
  return LOG_LEVELS.indexOf(level) <= threshold
}

/** The longest line, in characters. A pipe takes up to 4096 bytes whole or not at all. */
const LINE_LENGTH = 4000

/** Logs one line. Never throws and never waits: a closed, full or broken standard error must not harm the application. */
export function log(level: Exclude<LogLevel, 'silent'>, message: string): void {
  if (logs(level)) write(`milo ${level}: ${message.slice(0, LINE_LENGTH)}\n`)
}

const STDERR = 2
const stderrGetter = Object.getOwnPropertyDescriptor(process, 'stderr')?.get
const stderrFile = openFile()

/** Identifies standard error's file; undefined when it has been closed. */
function openFile(): string | undefined {
  try {
    const { dev, ino } = fstatSync(STDERR, { bigint: true })
    return `${dev} ${ino}`
  } catch {
    return undefined
  }
}

/**
 * Writes to the descriptor rather than to `process.stderr`: there a broken pipe or a full disk is an `error` event that
 * ends the process when nothing listens to it, and a listener of Milo's would hide the application's own errors. Where
 * the application has replaced Node's stream or its `write` (pm2, tests), the replacement gets the line.
 */
function write(line: string): void {
  try {
    // The first access makes pipes and sockets non-blocking: a full one refuses the line.
    const stream = process.stderr
    if (isReplaced(stream)) return void writeTo(stream, line)
  } catch {
    // The application's getter or function has thrown.
  }
  try {
    // After standard error was closed, its number may belong to a file of the application's.
    if (openFile() === stderrFile) writeSync(STDERR, line)
  } catch {
    // There is nowhere to report this.
  }
}

function isReplaced(stream: NodeJS.WriteStream): boolean {
  const getter = Object.getOwnPropertyDescriptor(process, 'stderr')?.get
  return getter === undefined || getter !== stderrGetter || Object.hasOwn(stream, 'write')
}

/** The replacement may pass the line on to Node's stream, whose error comes before the next turn of the loop. */
function writeTo(stream: NodeJS.WriteStream, line: string): void {
  const ignore = () => {}
  stream.on?.('error', ignore)
  setImmediate(() => stream.removeListener?.('error', ignore)).unref()
  stream.write(line)
}

const lastSaid = new Map<string, number>()

/** Logs at most once in 30 s for each `key`. Keys are constants of the code, so the map stays small. */
export function logRarely(key: string, level: Exclude<LogLevel, 'silent'>, message: string): void {
  const now = clock.now()
  const last = lastSaid.get(key)
  if (last !== undefined && now - last < 30_000) return
  lastSaid.set(key, now)
  log(level, message)
}

/**
 * Has `say` called if what should have returned at once was async and rejects: a rejection that nobody hears of ends the process.
 * @param result what a function of the application's returned
 */
export function ifRejected(result: unknown, say: (error: unknown) => void): void {
  const promise = result as Partial<PromiseLike<unknown>> | undefined
  if (typeof promise?.then === 'function') promise.then(undefined, say)
}

/** The name and message of what was thrown, which needn't be an error. Never throws. */
export function describe(error: unknown): string {
  try {
    return error instanceof Error ? `${errorName(error)}: ${error.message || causesOf(error)}` : String(error)
  } catch {
    return 'something that has no text'
  }
}

/** Node's error for a name none of whose addresses could be reached has no message, but those of its addresses. */
function causesOf({ errors }: Error & { errors?: unknown }): string {
  return Array.isArray(errors) ? errors.map(error => String(error?.message)).join('; ') : ''
}
