import { EventEmitter } from 'node:events'

/**
 * The process's end, seen without changing it.
 *
 * SIGTERM and SIGINT end a process that doesn't listen to them; to flush first, somebody has to listen. A listener on
 * `process` would be counted by the application (`process.listenerCount('SIGTERM') === 0`, signal-exit), which then
 * leaves the dying to it. So Milo has none: Node starts to watch a signal when process emits 'newListener' for it, and
 * calls whatever `process.emit` was at that moment. Milo lets it emit that without adding a listener, with a function of
 * its own in `process.emit`'s place for that moment, and so hears of each signal before the application does:
 *
 *     the application listens ──▶ Milo sends what waits, and passes the signal on
 *     nobody does             ──▶ Milo flushes, stops watching, and sends the process the signal again: it dies of it
 *
 * Whether the application listens is asked when the signal comes; listeners may come and go before. When the last one
 * goes, Node stops watching, and Milo starts it again.
 */

const SIGNALS: NodeJS.Signals[] = ['SIGTERM', 'SIGINT']

export interface Departing {
  /** Sends what waits, without holding the process. */
  hurry(): void
  /** Sends or spools what waits, within a deadline; rejects never. */
  leave(): Promise<void>
  /** The last moment: nothing asynchronous gets a turn after it. */
  last(): void
}

let departing: Departing | undefined
let listening = false
let dying = false

/** Calls `next` from now on, and nobody else. */
export function watchExit(next: Departing): void {
  departing = next
  if (listening) return
  listening = true
  process.on('beforeExit', beforeExit)
  process.on('exit', atExit)
  // On Windows a process can't send itself a signal. In a worker, which gets none, all of this does nothing.
  if (process.platform === 'win32') return
  process.on('removeListener', listenerRemoved)
  for (const signal of SIGNALS) watch(signal)
}

export function unwatchExit(): void {
  departing = undefined
  if (!listening) return
  listening = false
  process.removeListener('beforeExit', beforeExit)
  process.removeListener('exit', atExit)
  if (process.platform === 'win32') return
  process.removeListener('removeListener', listenerRemoved)
  for (const signal of SIGNALS) unwatch(signal)
}

function beforeExit(): void {
  void departing?.leave()
}

function atExit(): void {
  departing?.last()
}

function listenerRemoved(name: string | symbol): void {
  if (!dying && SIGNALS.includes(name as NodeJS.Signals) && process.listenerCount(name) === 0) {
    watch(name as NodeJS.Signals)
  }
}

function watch(signal: NodeJS.Signals): void {
  const own = Object.getOwnPropertyDescriptor(process, 'emit')
  process.emit = arrived as typeof process.emit
  try {
    EventEmitter.prototype.emit.call(process, 'newListener', signal, arrived)
  } finally {
    if (own === undefined) delete (process as Partial<NodeJS.Process>).emit
    else Object.defineProperty(process, 'emit', own)
  }
}

/** Node stops watching when nobody listens. */
function unwatch(signal: NodeJS.Signals): void {
  EventEmitter.prototype.emit.call(process, 'removeListener', signal, arrived)
}

/** What Node calls in place of process.emit. */
function arrived(signal: NodeJS.Signals, ...rest: unknown[]): boolean {
  if (process.listenerCount(signal) > 0 && !dying) {
    departing?.hurry()
    return (process.emit as (...args: unknown[]) => boolean).call(process, signal, ...rest)
  }
  if (departing === undefined || dying) die(signal)
  else {
    dying = true
    void departing.leave().then(() => die(signal))
  }
  return false
}

function die(signal: NodeJS.Signals): void {
  departing?.last()
  dying = true
  // One that was added while Milo flushed: without Milo the process would have been dead by then.
  process.removeAllListeners(signal)
  unwatch(signal)
  process.kill(process.pid, signal)
  // Still here: process 1 of a container, which its own signals can't end.
  dying = false
}
