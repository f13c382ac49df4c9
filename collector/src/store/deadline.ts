import { type StoreError, unavailable } from './store'

/**
 * The promise's outcome, or a rejection after so long: databases that are away may never answer. What the promise does
 * afterwards goes unnoticed.
 * @param late what it rejects with
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

/** Calls `work` with every item, so many at once; after a rejection with no more, and rejects with it. */
export async function inParallel<T>(items: T[], atOnce: number, work: (item: T) => Promise<unknown>): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < items.length) {
      try {
        await work(items[next++]!)
      } catch (error) {
        next = items.length
        throw error
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker))
}

/** Errors of a server that can be reached and won't have us as we are configured: waiting is no use. */
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
