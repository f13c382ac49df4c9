import { RECORD_HEADER } from 'milo/codec/span'
import { scanRecords } from '../../record/records'

/** A message that is in the journal; or some of its records, when a database refuses the whole. */
export interface Entry {
  /** Rises. It is no time: see MessageNumbers. */
  id: bigint
  /** Microseconds since the epoch, by a clock that may have been wrong. */
  receivedUs: bigint
  /** The whole message, and where in it the entry's records begin and end. */
  body: Buffer
  start: number
  end: number
  /** How many records that are. */
  spans: number
}

/**
 * The entry of a message that a journal has. A journal that was damaged must not stop a start: what follows the last record
 * that can be read is put aside.
 */
export async function readEntry(
  id: bigint,
  receivedUs: bigint,
  body: Buffer,
  putAside: (entry: Entry, error: Error) => void | Promise<void>,
): Promise<Entry> {
  let spans = 0
  let end = 0
  try {
    scanRecords(body, (_, recordEnd) => {
      spans++
      end = recordEnd
    })
  } catch (error) {
    await putAside({ id, receivedUs, body, start: end, end: body.length, spans: 1 }, error as Error)
  }
  return { id, receivedUs, body: body.subarray(0, end), start: 0, end, spans }
}

/** Two entries with half of the records each; the entry itself when it has only one. */
export function halves(entry: Entry): Entry[] {
  const { body, start, end, spans } = entry
  if (spans === 1) return [entry]
  const half = spans >> 1
  let middle = start
  for (let i = 0; i < half; i++) middle += RECORD_HEADER + body.readInt32BE(middle + 4)
  return [
    { ...entry, end: middle, spans: half },
    { ...entry, start: middle, end, spans: spans - half },
  ]
}
