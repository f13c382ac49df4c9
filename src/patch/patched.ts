import { warnOnce } from '../process/copies'
import { setImmediate } from '../process/genuine'
import { log, logs } from '../process/log'

/** What has been patched and what couldn't be, for the one line that says so at level info. */
const report = {
  patched: new Set<string>(),
  /** Why a package isn't traced, by its name. */
  untraced: new Map<string, string>(),
  /** Which other tracer has a library, by its plugin's name. */
  left: new Map<string, string>(),
  isDue: false,
}

/** What is patched, with versions, why something isn't, and what is left to another tracer, to which. */
export function patchReport(): Readonly<Record<'untraced' | 'left', ReadonlyMap<string, string>>> & {
  readonly patched: ReadonlySet<string>
} {
  return report
}

export function noteLeft(plugin: string, tracer: string): void {
  report.left.set(plugin, tracer)
}

/** @param what a package with its version, or a built-in module */
export function notePatched(what: string): void {
  if (report.patched.has(what)) return
  report.patched.add(what)
  announce()
}

/** @returns whether that is new */
export function noteUntraced(what: string, reason: string): boolean {
  if (report.untraced.get(what) === reason) return false
  report.patched.delete(what)
  report.untraced.set(what, reason)
  announce()
  return true
}

/**
 * Says, once, that something isn't traced.
 * @param what its name, with its version or file
 * @param reason goes on after the name: `is outside >=2`
 */
export function sayLeft(what: string, reason: string, remedy?: string): void {
  if (report.untraced.size >= MAX_UNTRACED && !report.untraced.has(what)) return
  if (noteUntraced(what, reason))
    warnOnce(`${what} ${reason} and isn't traced${remedy === undefined ? '' : `: ${remedy}`}`)
}

/** The tracer whose patches these are, as its log calls it, and how to load it before the application. */
export interface Patcher {
  name: string
  early: string
}

let patcher: Patcher | undefined

export function setPatcher(given: Patcher): void {
  patcher = given
}

/** Says, once, that a package was loaded too early to be traced. */
export function sayEarly(name: string, remedy = patcher?.early): void {
  sayLeft(name, `was loaded before ${patcher?.name}`, remedy)
}

/** The names of more than these help nobody; they may be an application's files. */
const MAX_UNTRACED = 100

/** One line when the application's first tick has run, and again for what changes later. */
function announce(): void {
  if (report.isDue || !logs('info')) return
  report.isDue = true
  setImmediate(() => {
    report.isDue = false
    const done = report.patched.size === 0 ? 'nothing' : [...report.patched].join(', ')
    const rest = [...report.untraced].map(([what, reason]) => `${what} (${reason})`).join(', ')
    log('info', `patched: ${done}${rest === '' ? '' : `; not patched: ${rest}`}`)
  })
}
