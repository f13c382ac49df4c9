/**
 * The promise's outcome, or a rejection after so long: databases that are away may never answer. What the promise does
 * afterwards goes unnoticed.
 */
export async function within<R>(ms: number, promise: Promise<R>): Promise<R> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
