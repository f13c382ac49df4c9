/**
 * cls-hooked's assertions throw node:assert's AssertionErrors, and so do these; but node:assert is loaded only to throw
 * one: it takes half a millisecond of a start.
 */
export function ok(condition: unknown, message: string): asserts condition {
  if (condition) return
  const assert = require('node:assert') as typeof import('node:assert')
  throw new assert.AssertionError({ message, actual: condition, expected: true, operator: '==', stackStartFn: ok })
}
