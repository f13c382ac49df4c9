import { AsyncResource, createHook, executionAsyncId, executionAsyncResource } from 'node:async_hooks'
import { EventEmitter } from 'node:events'
import Module from 'node:module'
import { isPromise } from 'node:util/types'
import { setImmediate } from './genuine'

/**
 * The process's end, seen without changing it. Milo has no listener on `process`: an application counts listeners
 * (`process.listenerCount('SIGTERM') === 0`, signal-exit), relies on their order, and is warned of more than ten. Milo
 * puts an `emit` on the prototype of `process`, which no other object has. It sees what happens and passes it on.
 *
 * **Signals.** SIGTERM and SIGINT end a process that doesn't listen to them; to flush first, somebody has to listen. Node
 * starts to watch a signal when process emits 'newListener' for it, and calls whatever `process.emit` was at that moment.
 * Milo lets it emit that without adding a listener, with a function of its own in `process.emit`'s place for that moment,
 * and so hears of each signal before the application does:
 *
 *     the application listens ──▶ Milo sends what waits, and passes the signal on
 *     nobody does             ──▶ Milo flushes, stops watching, and sends the process the signal again: it dies of it
 *
 * Whether the application listens is asked when the signal comes; listeners may come and go before. When the last one
 * goes, Node stops watching, and Milo starts it again.
 *
 * **beforeExit.** Node emits it when the loop has run empty, and again when it has run empty once more after a listener
 * gave it work. The flush is such work, and no listener may hear of it:
 *
 *     emitted ──▶ the application's listeners ──▶ Milo holds the loop for one turn, and looks whether others do
 *                                                    │ they do: the application goes on
 *                                                    ▼ nobody does
 *     emitted, and not passed on ──▶ Milo flushes ──▶ emitted, and not passed on ──▶ exit
 *
 * So spans that listeners end are sent as well, and each listener is called exactly as often as without Milo.
 *
 * **jest** gives a test file a copy of `process`, which hears of no end. There Milo listens to the process itself, which is jest's: no
 * test sees it. Nothing else would hear of each end: signal-exit, which jest uses, puts an `emit` before Milo's whenever it writes a file.
 */

const SIGNALS: NodeJS.Signals[] = ['SIGTERM', 'SIGINT']

interface Departing {
  /** Sends what waits, without holding the process. */
  hurry(): void
  /** While `isHeld` is true, begins nothing that would keep the loop alive. */
  hold(isHeld: boolean): void
  /** Whether nothing waits to be sent or spooled. */
  isIdle(): boolean
  /** Sends or spools what waits, within a deadline. Never rejects. */
  flush(): Promise<void>
  /** The last moment: nothing asynchronous gets a turn after it. @param isOver whether no listener gets one either */
  last(isOver: boolean): void
}

/** The state of this file. */
const exit = {
  departing: undefined as Departing | undefined,
  /** Whether Milo's `emit` is on the prototype and the signals are watched. */
  watching: false,
  /** Whether a signal is about to end the process. */
  dying: false,
  /** `holding`: Milo alone keeps the loop alive, as far as is known. `leaving`: Milo has flushed. */
  stage: 'running' as 'running' | 'holding' | 'leaving',
  /** Holds the loop for one turn after beforeExit. */
  holder: undefined as NodeJS.Immediate | undefined,
  /** Undoes `watchOwnEmit`. */
  unwatchOwnEmit() {},
  /** The event that goes through an `emit` of somebody else's on its way to Milo's. */
  passing: undefined as string | symbol | undefined,
  /** Undoes `watchClosing`, once the listeners and the ticks after them are done. */
  unwatchClosing() {},
}

const prototype = Object.getPrototypeOf(process) as NodeJS.Process
/** The process itself, where `process` is a copy of jest's; what jest gives for node:module inherits from Node's. */
const jests: NodeJS.Process | undefined = Object.getPrototypeOf(Module)?.createRequire?.('/')('process')
const isDeno = process.versions.deno !== undefined

/** Calls `next`, in place of the one before, when the process ends. */
export function watchExit(next: Departing): void {
  exit.departing = next
  if (exit.watching) return
  exit.watching = true
  // Bun calls no `emit` of anybody's.
  if (process.versions.bun !== undefined) {
    process.on('beforeExit', flushAtEnd)
    return
  }
  if (jests !== undefined) {
    jests.on('beforeExit', flushAtEnd)
    jests.on('exit', last)
    return
  }
  Object.defineProperty(prototype, 'emit', { value: emit, configurable: true, enumerable: true, writable: true })
  watchOwnEmit()
  if (!canWatchSignals()) return
  for (const signal of SIGNALS) watch(signal)
}

export function unwatchExit(): void {
  exit.departing = undefined
  exit.unwatchClosing()
  if (!exit.watching) return
  exit.watching = false
  if (process.versions.bun !== undefined) {
    process.removeListener('beforeExit', flushAtEnd)
    return
  }
  if (jests !== undefined) {
    jests.removeListener('beforeExit', flushAtEnd)
    jests.removeListener('exit', last)
    return
  }
  exit.unwatchOwnEmit()
  // Others may have kept it: without `departing` it only passes on.
  if (prototype.emit === emit) delete (prototype as Partial<NodeJS.Process>).emit
  if (!canWatchSignals()) return
  for (const signal of SIGNALS) unwatch(signal)
}

/**
 * On Windows a process can't send itself a signal, and in Deno one that watches signals never ends. In a worker, which gets none,
 * to watch them does nothing.
 */
function canWatchSignals(): boolean {
  return process.platform !== 'win32' && !isDeno
}

function flushAtEnd(): void {
  void exit.departing?.flush()
}

function last(): void {
  exit.departing?.last(true)
}

type Emit = (this: any, type: string | symbol, ...args: any[]) => boolean

function emit(this: NodeJS.Process, type: string | symbol, ...args: unknown[]): boolean {
  const next: Emit = EventEmitter.prototype.emit
  if (exit.passing !== type) return around(this, type, args, next)
  exit.passing = undefined
  return Reflect.apply(next, this, [type, ...args])
}

/**
 * Somebody was here before Milo, with an `emit` on `process` itself that calls what the prototype had then (Yarn's Plug'n'Play
 * does, to hide warnings). Milo stands before that one too.
 */
function watchOwnEmit(): void {
  const own = Object.getOwnPropertyDescriptor(process, 'emit')
  const theirs: Emit | undefined = own?.value
  if (typeof theirs !== 'function' || !own!.configurable) return
  const next: Emit = function (type, ...args) {
    // It may as well call the prototype's, which is Milo's now.
    exit.passing = type
    try {
      return Reflect.apply(theirs, this, [type, ...args])
    } finally {
      exit.passing = undefined
    }
  }
  const value: Emit = function (type, ...args) {
    return around(this, type, args, next)
  }
  Object.defineProperty(process, 'emit', { ...own, value })
  exit.unwatchOwnEmit = () => {
    if (process.emit === (value as unknown)) Object.defineProperty(process, 'emit', own!)
  }
}

function around(self: NodeJS.Process, type: string | symbol, args: unknown[], next: Emit): boolean {
  const pass = () => Reflect.apply(next, self, [type, ...args]) as boolean
  if (exit.departing === undefined || self !== process) return pass()
  // Node emits it outside of everything; an application that does so itself is passed on to.
  if (type === 'beforeExit' && executionAsyncId() === 0) return beforeExit(pass)
  if (type === 'exit') return atExit(pass)
  const heard = pass()
  if (type === 'removeListener') listenerRemoved(args[0] as string | symbol)
  return heard
}

function beforeExit(pass: () => boolean): boolean {
  if (isDeno) {
    // Its immediates keep the loop alive, referenced or not: who else does can't be seen. It emits again if the flush took a while.
    const heard = pass()
    void exit.departing?.flush()
    return heard
  }
  if (exit.stage === 'holding') {
    exit.stage = 'leaving'
    callbackHook.disable()
    exit.departing?.hold(false)
    void exit.departing?.flush()
    return false
  }
  if (exit.stage === 'leaving') {
    exit.stage = 'running'
    return false
  }
  // Nothing waits, and nobody is called who could end a span, or begin something: the process is over.
  const isHeard = process.listenerCount('beforeExit') > 0
  if (!isHeard && !Object.hasOwn(process, 'emit') && exit.departing?.isIdle()) return pass()
  exit.stage = 'holding'
  exit.departing?.hold(true)
  const before = handles()
  exit.holder = setImmediate(() => {
    // New handles are the application's, even if none has called back yet.
    if (exit.stage === 'holding' && handles() > before) return applicationGoesOn()
    // An unref'd immediate runs only if something else keeps the loop alive.
    const mine = exit.holder
    setImmediate(() => {
      if (exit.stage === 'holding' && exit.holder === mine) applicationGoesOn()
    }).unref()
  })
  callbackHook.enable()
  if (isHeard) watchClosing()
  return pass()
}

function applicationGoesOn(): void {
  exit.stage = 'running'
  callbackHook.disable()
  exit.unwatchClosing()
  exit.departing?.hold(false)
}

/**
 * A handle that is being closed keeps the loop alive for one more turn, even an unref'd one without a callback. So Node emits
 * beforeExit again after a listener has closed something. No list shows such handles, but all close by the same function.
 */
function watchClosing(): void {
  const prototype = handlePrototype()
  if (prototype === undefined) return
  const { close } = prototype
  prototype.close = function (...args) {
    applicationGoesOn()
    return close.apply(this, args)
  }
  exit.unwatchClosing = () => {
    prototype.close = close
    exit.unwatchClosing = () => {}
  }
}

interface HandlePrototype {
  close(...args: unknown[]): void
}

/** The prototype of all handles. Only a handle leads to it, and that of a child that hasn't been spawned holds nothing. */
function handlePrototype(): HandlePrototype | undefined {
  try {
    const { ChildProcess } = require('node:child_process') as { ChildProcess: new () => { _handle: object } }
    let level = new ChildProcess()._handle
    while (!Object.hasOwn(level, 'close')) level = Object.getPrototypeOf(level)
    return level as HandlePrototype
  } catch {
    // This version of Node has it elsewhere.
    return undefined
  }
}

/** Handles of standard streams are counted even when they are idle, from when an application first asks for them. */
function handles(): number {
  return process.getActiveResourcesInfo().filter(type => !/^(Pipe|TTY)Wrap$/.test(type)).length
}

/** Resources of callbacks that run without a turn of the loop. */
const ticks = new WeakSet<object>()

/** Sees each callback that the loop makes: Node itself lists only some of what the loop waits for. */
const callbackHook = createHook({
  init(_id, type, _trigger, resource) {
    if (type === 'TickObject' || type === 'Microtask') ticks.add(resource)
  },
  before() {
    const resource = executionAsyncResource() as { hasRef?(): boolean }
    if (isPromise(resource) || resource instanceof AsyncResource) return
    // The second condition finds ticks from before the hook was enabled, such as those of an application's process.emit that prints.
    if (ticks.has(resource) || ('callback' in resource && 'args' in resource)) return
    exit.unwatchClosing()
    if (resource !== exit.holder && resource.hasRef?.() !== false) applicationGoesOn()
  },
})

function atExit(pass: () => boolean): boolean {
  // A listener may end the process at once, by process.exit.
  exit.departing?.last(false)
  try {
    return pass()
  } finally {
    exit.departing?.last(true)
  }
}

function listenerRemoved(name: string | symbol): void {
  if (!exit.dying && SIGNALS.includes(name as NodeJS.Signals) && process.listenerCount(name) === 0) {
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
  if (process.listenerCount(signal) > 0 && !exit.dying) {
    exit.departing?.hurry()
    return (process.emit as (...args: unknown[]) => boolean).call(process, signal, ...rest)
  }
  if (exit.departing === undefined || exit.dying) die(signal)
  else {
    exit.dying = true
    void exit.departing.flush().then(() => die(signal))
  }
  return false
}

function die(signal: NodeJS.Signals): void {
  exit.departing?.last(true)
  exit.dying = true
  // A listener was added while Milo flushed: without Milo the process would have been dead by then.
  process.removeAllListeners(signal)
  unwatch(signal)
  process.kill(process.pid, signal)
  // The process lives on: it is process 1 of a container, which its own signals can't end.
  exit.dying = false
}
