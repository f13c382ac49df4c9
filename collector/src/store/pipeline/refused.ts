import { CodecError } from 'milo/codec/binary'
import { StoreError } from '../store'
import { type Entry, halves } from './entry'

/**
 * A database may refuse some data forever: a value that is too long or out of range, a statement that is too large. Such a batch
 * is halved until the records at fault are alone. They are put aside with the reason, and the rest is stored.
 */

const SQLITE_REFUSALS = /^SQLITE_(TOOBIG|CONSTRAINT|MISMATCH|RANGE)/

/** Whether the data is at fault, so that retrying can't help. */
export function isLasting(error: unknown): boolean {
  if (error instanceof StoreError) return error.code === 'MILO_STORE_REFUSED'
  const { code } = error as { code?: unknown }
  if (typeof code === 'string') return SQLITE_REFUSALS.test(code)
  // These are bugs of ours that only this data triggers.
  return error instanceof RangeError || error instanceof TypeError || error instanceof CodecError
}

/**
 * Calls `work` with all entries, or with ever smaller parts if it rejects some of them for good.
 * @param work must be idempotent
 * @param putAside called with each record that `work` refuses
 */
export async function withoutRefused(
  entries: Entry[],
  work: (entries: Entry[]) => Promise<void>,
  putAside: (entry: Entry, error: Error) => void | Promise<void>,
): Promise<void> {
  try {
    await work(entries)
  } catch (error) {
    if (!isLasting(error)) throw error
    const middle = entries.length >> 1
    const parts =
      middle > 0 ? [entries.slice(0, middle), entries.slice(middle)] : halves(entries[0]!).map(half => [half])
    if (parts.length === 1) return putAside(entries[0]!, error as Error)
    for (const part of parts) await withoutRefused(part, work, putAside)
  }
}
