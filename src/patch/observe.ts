import { types } from 'node:util'
import { GenuinePromise } from '../process/genuine'
import { imitate } from './imitate'

/*
 * Hears how a promise of the application's ends, without taking a part in it. How depends on the promise:
 *
 *   one of Node's      Promise's `then`: whatever a subclass has put in the place of that isn't called. Nor is what somebody has
 *                      put on the promise itself, which `await` doesn't call either
 *   one of bluebird's  a callback that isn't counted among those that could cancel it, or handle its rejection
 *   one of Q's         `then`
 *   any other          the application's own first `then` is watched: to call it might start something, as it sends the
 *                      queries of postgres.js and of query builders
 */

/** Is given what the promise was fulfilled with, except by bluebird's. */
type End = (value?: unknown) => void
type Fail = (error: unknown) => void

const nativeThen = GenuinePromise.prototype.then

/**
 * Whether a value is a promise of Node's own class, or of a subclass that has its `then`, which makes others of that class: one that a
 * library has just made, nobody else can have touched.
 */
export function isNodePromise(value: unknown): value is Promise<unknown> {
  if (!(value instanceof GenuinePromise)) return false
  const { constructor: Class, then } = value as { constructor: any; then: unknown }
  return Class === GenuinePromise || (then === nativeThen && Class?.[Symbol.species] === Class)
}

/** What ends with a promise: a span, or something that is more than one. */
interface Ending {
  /** Notes a failure, after which `end` is called. */
  fail(error: unknown): unknown
  /** @param value what the promise was fulfilled with, as far as it is known */
  end(value?: unknown): void
}

/**
 * Ends the span when `result` settles, if it is a promise, else at once. Never throws.
 * @param atOnce false where something else ends it: then only a rejection does so here
 * @param isAsync whether it is an async function's promise
 * @returns what the application gets
 */
export function endWith<R>(span: Ending, result: R, atOnce = true, isAsync = false): R {
  const end = (value?: unknown) => {
    if (atOnce) span.end(value)
  }
  const fail = (error: unknown) => {
    span.fail(error)
    span.end()
  }
  try {
    if (isAsync) return passOn(result as Promise<unknown>, end, fail) as R
    if (!observe(result, end, fail)) end()
  } catch {
    // A getter or a `then` that throws. It will throw for the application too, if that looks.
    end()
  }
  return result
}

/**
 * Has one of these called when `value` settles. A rejection counts as handled then, if `value` is one of Node's or Q's promises:
 * give it those that other code handles.
 * @returns false for what isn't a promise
 * @throws what a getter of the application's throws
 */
export function observe(value: unknown, end: End, fail: Fail): boolean {
  if (value === null || typeof value !== 'object') return false
  const then = (value as any).then
  if (typeof then !== 'function') return false
  // mysql2's query has a `then` that throws and prints, for callers that await it by mistake.
  if (typeof (value as any).on === 'function' && typeof (value as any).catch !== 'function') return false
  if (types.isPromise(value) && startsNothing(value, then)) nativeThen.call(value, end, fail)
  else if (isBluebird(value)) observeBluebird(value, end, fail)
  else if (typeof (value as any).promiseDispatch === 'function') then.call(value, end, fail)
  else watchThen(value as PromiseLike<unknown>, then, end, fail)
  return true
}

/**
 * Puts a promise that settles in the same way in the place of an async function's, which nobody has seen yet. A handler
 * of Milo's on the function's own promise would make V8 leave the callers out of its errors' stacks, and Node take its
 * rejection for handled.
 */
function passOn(promise: Promise<unknown>, end: End, fail: Fail): Promise<unknown> {
  return nativeThen.call(
    promise,
    value => {
      end(value)
      return value
    },
    error => {
      fail(error)
      throw error
    },
  )
}

/**
 * Whether a promise's `then` is that of its Promise, which may be another realm's, or another library's version of it; or the promise
 * is no subclass's.
 */
function startsNothing(promise: object, then: unknown): boolean {
  const prototype = Object.getPrototypeOf(promise)
  let level = promise
  for (let next = prototype; next && Object.getPrototypeOf(next); ) {
    level = next
    next = Object.getPrototypeOf(level)
  }
  return level === prototype || then === Object.getOwnPropertyDescriptor(level, 'then')?.value
}

/** The methods that only bluebird 3 has, under whatever name it is loaded. */
interface Bluebird {
  _target(): Bluebird
  _length(): number
  _settledValue(): unknown
  _addCallbacks(fulfill: End, reject: Fail, promise: undefined, receiver: { cancel: End }, context: null): void
  _ensurePossibleRejectionHandled(): void
  isPending(): boolean
  isRejected(): boolean
}

function isBluebird(value: any): value is Bluebird {
  return (
    typeof value._addCallbacks === 'function' &&
    value._addCallbacks.length === 5 &&
    typeof value._target === 'function' &&
    typeof value._length === 'function' &&
    typeof value._settledValue === 'function' &&
    typeof value._ensurePossibleRejectionHandled === 'function'
  )
}

/** How many of a rejected promise's callbacks were Milo's. */
const heard = new WeakMap<Bluebird, number>()

function observeBluebird(promise: Bluebird, end: End, fail: Fail): void {
  const now = promise._target()
  if (!now.isPending()) {
    // `reason()` would count as handling it.
    if (now.isRejected()) fail(now._settledValue())
    else end()
    return
  }
  const rejected = (error: unknown) => {
    fail(error)
    // It has a callback, so bluebird takes it for handled: if all that it has are Milo's, it isn't.
    const target = promise._target()
    const mine = (heard.get(target) ?? 0) + 1
    heard.set(target, mine)
    if (mine === target._length()) target._ensurePossibleRejectionHandled()
  }
  now._addCallbacks(end, rejected, undefined, { cancel: end }, null)
}

/**
 * Has one of these called when `value` settles, if other code calls its `then`: a rejection that nobody handles stays one. Never throws.
 * It doesn't see a promise of Node's that is awaited, because `await` doesn't call `then`.
 */
export function observeThen(value: unknown, end: End, fail: Fail): void {
  try {
    if (value === null || typeof value !== 'object') return
    const { then } = value as PromiseLike<unknown>
    if (typeof then === 'function') watchThen(value as PromiseLike<unknown>, then, end, fail)
  } catch {
    // A getter that throws will do so for other code as well. And a frozen promise stays as it is.
  }
}

/** What a promise's `then`, while it is Milo's, tells of the outcome: a promise that many calls return tells so many. */
const watched = new WeakMap<object, { by: unknown; ends: [End, Fail][] }>()
const MAX_ENDS = 100

/** Lets the application's own first `then` tell of the outcome. */
function watchThen(thenable: PromiseLike<unknown>, then: PromiseLike<unknown>['then'], end: End, fail: Fail): void {
  const before = watched.get(thenable)
  if (before?.by === then) {
    // What is too much for one promise doesn't wait for it.
    if (before.ends.length < MAX_ENDS) before.ends.push([end, fail])
    else end()
    return
  }
  const own = Object.getOwnPropertyDescriptor(thenable, 'then')
  const ends: [End, Fail][] = [[end, fail]]
  const watching = function (this: unknown, onFulfilled: unknown, onRejected: unknown) {
    // It may have been frozen in the meantime, or somebody may have put another in the place of this one.
    if (thenable.then === by) {
      if (own) Reflect.defineProperty(thenable, 'then', own)
      else Reflect.deleteProperty(thenable, 'then')
    }
    const told = ends.splice(0)
    return Reflect.apply(then, this, [
      (value: unknown) => {
        for (const [end] of told) end(value)
        return typeof onFulfilled === 'function' ? onFulfilled(value) : value
      },
      (error: unknown) => {
        for (const [, fail] of told) fail(error)
        if (typeof onRejected === 'function') return onRejected(error)
        throw error
      },
    ])
  }
  const by = imitate(then as Function, watching)
  Object.defineProperty(thenable, 'then', {
    value: by,
    configurable: true,
    writable: true,
    enumerable: own?.enumerable,
  })
  watched.set(thenable, { by, ends })
}
