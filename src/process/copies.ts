import asyncHooks from 'node:async_hooks'
import { EventEmitter } from 'node:events'
import { version } from '../../package.json'
import { log, logs } from './log'

/**
 * Several copies of Milo in one process: two installed ones, one within a bundle, one that a test runner evaluates again
 * for each test file. Only one of them may trace: two would report each call twice, in two traces.
 *
 *     the same version      one copy for all: entries give away what the first copy exports
 *     another version       the first that starts has the process; what starts later says so and stays off
 *     a realm of its own    as jest makes for each test file, and leaves: the newest one takes over, and the one before it
 *                           takes back what it had patched
 *
 * They meet on a built-in module, the one thing that is the same for all of them, also where `process` and `globalThis`
 * are copies.
 */
interface Copy {
  version: string
  folder: string
  /** Tells realms apart. */
  Object: ObjectConstructor
  /** Whether it is of the realm in which Node's own modules are, which is never left. */
  stays: boolean
  /** Switches it off for good, and takes back what it has patched. */
  retire(): void
  /** Tells it of another copy that gives away its exports. */
  meet(folder: string): void
  exports?: unknown
}

interface Meeting {
  running: Copy | undefined
  /** Copies by their version. */
  shared: Record<string, Copy>
  /** What has been said once, by any of them. */
  said: Record<string, true>
  /** The tracers of the libraries that are traced. Absent where a copy of an older version was first. */
  tracers?: Record<string, string>
}

// This name never changes: copies of other versions know it.
const HERE = Symbol.for('milo.copies')

const met = new Set<string>()

const me: Copy = {
  version,
  // A bundler may leave no such name.
  folder: typeof __dirname === 'string' ? __dirname : 'a bundle',
  Object,
  stays: Object.getPrototypeOf(EventEmitter.prototype) === Object.prototype,
  retire() {},
  meet(folder) {
    met.add(folder)
    if (meeting().running === me) sayMet()
  },
}

function meeting(): Meeting {
  const home = asyncHooks as unknown as { [HERE]?: Meeting }
  const there = home[HERE]
  if (there !== undefined) return there
  const made: Meeting = { running: undefined, shared: {}, said: {} }
  Object.defineProperty(home, HERE, { value: made })
  return made
}

/** Whether a copy is still there, and is to be respected. */
function lives(copy: Copy): boolean {
  return copy.stays || copy.Object === Object
}

/** @returns what the package's entries give: `exports`, or what another copy of this version has shared before. */
export function share<T>(exports: T): T {
  const { shared } = meeting()
  const there = shared[version]
  if (there === undefined || !lives(there)) {
    me.exports = exports
    shared[version] = me
    return exports
  }
  if (there.folder !== me.folder) there.meet(me.folder)
  return there.exports as T
}

/**
 * @param giveUp is called when another realm's copy takes over
 * @returns whether this copy may start
 */
export function claim(giveUp: () => void): boolean {
  const here = meeting()
  const { running } = here
  if (running !== undefined && running !== me) {
    if (lives(running)) {
      sayStandsBack(running)
      return false
    }
    try {
      running.retire()
    } catch {
      // Its realm may be torn down already.
    }
  }
  here.running = me
  me.retire = giveUp
  sayMet()
  return true
}

function sayMet(): void {
  for (const folder of met) {
    log('warn', `the copy of Milo in ${folder} stands back, and gives its calls to the one that runs, in ${me.folder}`)
  }
  met.clear()
}

function sayStandsBack(running: Copy): void {
  warnOnce(
    `Milo ${version} in ${me.folder} stands back and traces nothing: Milo ${running.version} in ${running.folder} runs already; install one version for all`,
  )
}

const claimed = new Set<string>()

/**
 * Milo's SDK and its instrumentation for OpenTelemetry may be in one process. A library is traced by the first that comes: two
 * would report each call twice.
 * @param tracer its name, and where that isn't the same for all copies of it, which one it is
 * @param leave how to keep it from tracing the library
 */
export function claimLibrary(library: string, tracer: string, leave: string): boolean {
  const tracers = (meeting().tracers ??= {})
  const there = Object.hasOwn(tracers, library) ? tracers[library] : undefined
  if (there !== undefined && there !== tracer) {
    warnOnce(
      `${tracer} leaves ${library} alone, because ${there} traces it in this process; where that is as you want it: ${leave}`,
    )
    return false
  }
  tracers[library] = tracer
  claimed.add(library)
  return true
}

/** The tracer that has a library in this process. */
export function tracerOf(library: string): string | undefined {
  return meeting().tracers?.[library]
}

export function releaseLibraries(): void {
  const { tracers = {} } = meeting()
  for (const library of claimed) delete tracers[library]
  claimed.clear()
}

/** Says something once in this process, however many copies of Milo have it to say. */
export function warnOnce(text: string): void {
  const { said } = meeting()
  if (said[text] || !logs('warn')) return
  said[text] = true
  log('warn', text)
}
