import { scanRecords } from '../record/records'
import { type Store, StoreError } from './store'
import type { Progress } from './store-config'

/**
 * Accepted records that a database refuses for good, or that can't be read. An operator decides what happens to them
 * (milo-collector quarantine).
 */
export interface Quarantine {
  /** Lists the records, oldest first. */
  list(): Promise<QuarantinedRecord[]>
  /** Returns the record as it was received. */
  read(id: string): Promise<Buffer>
  drop(id: string): Promise<void>
  close(): Promise<void>
}

export interface QuarantinedRecord {
  id: string
  /** The database's error message. */
  reason: string
  bytes: number
  /** Microseconds since the epoch; databases store only the day. */
  receivedUs: bigint
}

export interface Retried {
  stored: number
  /** How many records were refused again, and put aside with the new reason. */
  refused: number
  /** How many aren't valid span records; they stay in quarantine. */
  unreadable: number
}

/** How much is sent to the store at once. */
const MAX_BATCH_BYTES = 1024 * 1024

/**
 * Sends records to the store again, and removes them from the quarantine when the store has settled them. After a crash some may
 * be in both, which is harmless.
 * @param openQuarantine called for each batch, since the embedded store's file has only one user at a time
 */
export async function retryQuarantine(
  ids: string[],
  openQuarantine: () => Promise<Quarantine>,
  openStore: () => Promise<Store>,
  progress: Progress = () => {},
): Promise<Retried> {
  const retried: Retried = { stored: 0, refused: 0, unreadable: 0 }
  for (let from = 0; from < ids.length; ) {
    const batch: string[] = []
    const bodies: Buffer[] = []
    await use(await openQuarantine(), async quarantine => {
      for (let bytes = 0; from < ids.length && bytes < MAX_BATCH_BYTES; from++) {
        const body = await quarantine.read(ids[from]!)
        bytes += body.length
        if (!isRecord(body)) retried.unreadable++
        else {
          batch.push(ids[from]!)
          bodies.push(body)
        }
      }
    })
    if (batch.length > 0) {
      // The records stay in quarantine until they have been stored, or put aside again under another number.
      const store = await openStore()
      await use(store, async () => store.append(bodies.map(body => ({ body, spans: 1 }))))
      const { spans, putAside } = store.backlog()
      if (spans > 0)
        throw new StoreError('MILO_STORE_UNAVAILABLE', 'not all records are settled yet: run the command again')
      retried.refused += putAside
      retried.stored += batch.length - putAside
      await use(await openQuarantine(), async quarantine => {
        for (const id of batch) await quarantine.drop(id)
      })
    }
    progress(from, ids.length)
  }
  return retried
}

export function unknownRecord(id: string): StoreError {
  return new StoreError(
    'MILO_NOT_QUARANTINED',
    `no record ${JSON.stringify(id)} is in quarantine: list the records with milo-collector quarantine list`,
  )
}

/** Closes `it` after the work, however that ends. */
export async function use<T extends { close(): Promise<void> }, R>(it: T, work: (it: T) => Promise<R>): Promise<R> {
  try {
    return await work(it)
  } finally {
    await it.close()
  }
}

function isRecord(body: Buffer): boolean {
  let records = 0
  try {
    scanRecords(body, () => records++)
  } catch {
    return false
  }
  return records === 1
}
