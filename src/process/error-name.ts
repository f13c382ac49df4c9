import { types } from 'node:util'

/*
 * Many errors take their `name` from their class: `this.name = this.constructor.name`. A minifier renames classes, but not what modules
 * export. So plugins note the classes of their libraries' errors, by which the errors keep their names within a bundle.
 */

const names = new WeakMap<object, string>()

/** Notes what a class of errors is called, whatever has become of its `name`. */
export function noteError(type: unknown, name: string): void {
  if (typeof type === 'function') names.set(type, name)
}

/** Notes the classes of errors that a module exports. */
export function noteErrors(exports: object): void {
  for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(exports)))
    if (typeof value === 'function' && value.prototype instanceof Error) noteError(value, name)
}

/** Another realm, such as a test runner makes, has its own Error. */
export function isError(value: unknown): value is Error {
  return value instanceof Error || types.isNativeError(value)
}

/**
 * An error's `name`; that of another object's class; of anything else, what `typeof` says.
 * @throws what the application's getters throw
 */
export function errorName(error: unknown): string {
  if (typeof error !== 'object' || error === null) return typeof error
  const type: Function | undefined = error.constructor
  const known = typeof type === 'function' ? (names.get(type) ?? String(type.name)) : ''
  if (!isError(error)) return known || 'object'
  const { name } = error
  // One that isn't its class's is what the library or the application calls the error.
  return (typeof name === 'string' && name !== type?.name ? name : known) || 'Error'
}
