import { RECORD_HEADER } from 'milo/codec/span'
import { scanRecords } from '../../record/records'

/** A message in the journal, or a part of its records if a database refuses the whole message. */
export interface Entry {
  /** An ascending number, not a time: see MessageNumbers. */
  id: bigint
  /** Microseconds since the epoch, by a clock that may have been wrong. */
  receivedUs: bigint
  /** The whole message; the entry's records are between `start` and `end`. */
  body: Buffer
  start: number
  end: number
  /** The number of records. */
  spans: number
}

/**
 * Makes the entry of a message read from a journal. A damaged journal must not prevent a start: everything after the last
 * readable record is put aside.
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

/** Splits an entry into two with half of the records each. An entry with one record is returned as is. */
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
