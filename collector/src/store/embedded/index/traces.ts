import { SpanScan, scanSpanStruct } from 'milo/codec/scan'
import { RECORD_HEADER } from 'milo/codec/span'
import type { EmbeddedFile } from '../file'
import { query, traceToken } from './tokens'

/**
 * Calls `add` with each of the trace's records, in the order of their arrival, until it says that it takes no more.
 * @param onDamage told of a message whose bytes aren't as they were written: it is left out
 */
export function readTrace(
  file: EmbeddedFile,
  traceId: bigint,
  add: (records: Buffer) => boolean,
  onDamage: (message: bigint) => void,
): void {
  const id = Buffer.allocUnsafe(8)
  id.writeBigInt64BE(traceId)
  const match = query([traceToken(traceId)])
  file.snapshot(() => {
    for (const part of file.liveParts()) {
      for (const [message] of file.index(part).selectMessages.all([match]) as [bigint][]) {
        const body = file.readMessage(message)
        if (body === 'damaged') onDamage(message)
        // Undefined: retired while this reads.
        else if (body !== undefined && !addRecords(body, id, add)) return
      }
    }
  })
}

/** The records of a trace among those of a message: what stands together at once. */
function addRecords(body: Buffer, id: Buffer, add: (records: Buffer) => boolean): boolean {
  const found = new SpanScan()
  let from = 0
  let to = 0
  let next = body.indexOf(id)
  for (let start = 0; next !== -1 && start < body.length; ) {
    const end = start + RECORD_HEADER + body.readInt32BE(start + 4)
    if (next < end) {
      // A journal that was damaged may end in the middle of a record.
      if (end > body.length || scanSpanStruct(body, start + RECORD_HEADER, end, found) !== end) break
      if (body.compare(id, 0, 8, found.traceIdAt, found.traceIdAt + 8) === 0) {
        if (start !== to) {
          if (to > from && !add(body.subarray(from, to))) return false
          from = start
        }
        to = end
      }
      next = body.indexOf(id, end)
    }
    start = end
  }
  return to === from || add(body.subarray(from, to))
}
