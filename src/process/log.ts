/** What Milo says, on standard error and nowhere else: an application's standard output is its own. */

import { fstatSync, writeSync } from 'node:fs'
import { clock, setImmediate } from './genuine'

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

/** A line's characters. A pipe takes up to 4096 bytes whole or not at all. */
const LINE_LENGTH = 4000

/** One line. Never throws, and never waits: a closed, full or broken standard error is not the application's problem. */
export function log(level: Exclude<LogLevel, 'silent'>, message: string): void {
  if (logs(level)) write(`milo ${level}: ${message.slice(0, LINE_LENGTH)}\n`)
}

const STDERR = 2
const stderrGetter = Object.getOwnPropertyDescriptor(process, 'stderr')?.get
const stderrFile = openFile()

/** Which file standard error is; undefined when it has been closed. */
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
 * ends the process, unless somebody listens, and a listener of Milo's would spare the application its own errors. Where
 * the application has put a function or a stream in the place of Node's, that gets the line (pm2, tests).
 */
function write(line: string): void {
  try {
    // Node makes pipes and sockets non-blocking when this is first asked for: a full one refuses the line.
    const stream = process.stderr
    if (isReplaced(stream)) return void writeTo(stream, line)
  } catch {
    // A getter or a function of the application's that throws.
  }
  try {
    // Once it was closed, the number may be that of a file of the application's.
    if (openFile() === stderrFile) writeSync(STDERR, line)
  } catch {
    // Nowhere is left to say it.
  }
}

function isReplaced(stream: NodeJS.WriteStream): boolean {
  const getter = Object.getOwnPropertyDescriptor(process, 'stderr')?.get
  return getter === undefined || getter !== stderrGetter || Object.hasOwn(stream, 'write')
}

/** What is in the place of Node's may pass the line on to it: an error of that comes before the next turn of the loop. */
function writeTo(stream: NodeJS.WriteStream, line: string): void {
  const ignore = () => {}
  stream.on?.('error', ignore)
  setImmediate(() => stream.removeListener?.('error', ignore)).unref()
  stream.write(line)
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
