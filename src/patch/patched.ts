import { warnOnce } from '../process/copies'
import { setImmediate } from '../process/genuine'
import { log, logs } from '../process/log'

/** What has been patched and what couldn't be, for the one line that says so at level info. */

const patched = new Set<string>()
const left = new Map<string, string>()
let due = false

/** @param what a package with its version, or a built-in module */
export function notePatched(what: string): void {
  if (patched.has(what)) return
  patched.add(what)
  announce()
}

/** @returns whether that is new */
export function noteLeft(what: string, reason: string): boolean {
  if (left.get(what) === reason) return false
  patched.delete(what)
  left.set(what, reason)
  announce()
  return true
}

/**
 * Says, once, that something isn't traced.
 * @param what its name, with its version or file
 * @param reason goes on after the name: `is outside >=2`
 */
export function sayLeft(what: string, reason: string, remedy?: string): void {
  if (left.size >= MAX_LEFT && !left.has(what)) return
  if (noteLeft(what, reason)) warnOnce(`${what} ${reason} and isn't traced${remedy === undefined ? '' : `: ${remedy}`}`)
}

/** Names may be an application's files: more of them help nobody. */
const MAX_LEFT = 100

/** One line when the application's first tick has run, and again for what changes later. */
function announce(): void {
  if (due || !logs('info')) return
  due = true
  setImmediate(() => {
    due = false
    const done = patched.size === 0 ? 'nothing' : [...patched].join(', ')
    const rest = [...left].map(([what, reason]) => `${what} (${reason})`).join(', ')
    log('info', `patched: ${done}${rest === '' ? '' : `; not patched: ${rest}`}`)
  })
}
