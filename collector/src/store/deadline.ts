import limitTo from 'p-limit'
import { type StoreError, unavailable } from './store'

/**
 * Returns the promise's outcome, or rejects after `ms`: databases that are away may never answer. What the promise does
 * after that is ignored.
 * @param late makes the error of that rejection
 */
export async function within<R>(
  ms: number,
  promise: Promise<R>,
  late: () => Error = () => new Error(`no answer within ${ms} ms`),
): Promise<R> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), ms)
  })
  try {
    return await Promise.race([promise, deadline])
  } finally {
    clearTimeout(timer)
  }
}

/** Calls `work` with every item, at most `concurrency` at once. After a rejection it starts no more calls and rejects with that error. */
export async function inParallel<T>(items: T[], concurrency: number, work: (item: T) => Promise<unknown>) {
  const limit = limitTo(concurrency)
  const stop = (error: unknown) => {
    limit.clearQueue()
    throw error
  }
  await Promise.all(items.map(item => limit(() => work(item).catch(stop))))
}

/** Errors of servers that answered and refused our configuration: waiting doesn't help. */
const refusals = new WeakSet<StoreError>()

/** @param refused whether the server answered, and no later attempt will fare better */
export function databaseError(where: string, error: unknown, refused: boolean): StoreError {
  const made = unavailable(where, error)
  if (refused) refusals.add(made)
  return made
}

export function isRefusal(error: StoreError): boolean {
  return refusals.has(error)
}
