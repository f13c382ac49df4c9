import { scanRecords } from '../record/records'
import { type Store, StoreError } from './store'
import type { Progress } from './store-config'

/**
 * What a store keeps of records that it accepted and that a database refuses for good, or that can't be read: a person decides
 * what becomes of them (milo-collector quarantine).
 */
export interface Quarantine {
  /** Oldest first. */
  list(): Promise<QuarantinedRecord[]>
  /** The record as it came. */
  read(id: string): Promise<Buffer>
  drop(id: string): Promise<void>
  close(): Promise<void>
}

export interface QuarantinedRecord {
  id: string
  /** What the database said. */
  reason: string
  bytes: number
  /** Microseconds since the epoch; in databases the day. */
  receivedUs: bigint
}

export interface Retried {
  stored: number
  /** They are put aside again, with the reason of now. */
  refused: number
  /** They are no span records, and stay where they are. */
  unreadable: number
}

/** How much is given to the store at once. */
const BATCH_BYTES = 1024 * 1024

/**
 * Gives records to the store once more. They leave the quarantine when the store has settled them: a crash on the way leaves
 * some in both places, where they do no harm.
 * @param openQuarantine the embedded store's file has one user at a time
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
      for (let bytes = 0; from < ids.length && bytes < BATCH_BYTES; from++) {
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
      // What was put aside before stays until it has been stored, or put aside under another number.
      const store = await openStore()
      await use(store, async () => store.append(bodies.map(body => ({ body, spans: 1 }))))
      const { spans, putAside } = store.backlog()
      if (spans > 0) throw new StoreError('MILO_STORE_UNAVAILABLE', 'not all is settled: run the command again')
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
    `no record ${JSON.stringify(id)} is in quarantine: quarantine list names them`,
  )
}

async function use<T extends { close(): Promise<void> }>(it: T, work: (it: T) => Promise<void>): Promise<void> {
  try {
    await work(it)
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
