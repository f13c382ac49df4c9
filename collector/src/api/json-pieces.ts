import { setImmediate as nextTurn } from 'node:timers/promises'
import type { SpanRecord } from 'milo/codec/span'
import { IdMap } from '../record/ids'

/** The number of spans that are converted to JSON at once, which takes a millisecond. Each piece is sent when it is ready. */
const SPANS_AT_ONCE = 200

/** Yields a JSON list of the converted elements in pieces, with a turn of the event loop in between. */
export async function* listJson<E>(
  head: string,
  elements: E[],
  convert: (some: E[]) => unknown[],
  tail: string,
): AsyncGenerator<string> {
  yield head
  let comma = ''
  for (let i = 0; i < elements.length; i += SPANS_AT_ONCE) {
    const piece = JSON.stringify(convert(elements.slice(i, i + SPANS_AT_ONCE))).slice(1, -1)
    if (piece === '') continue
    yield comma + piece
    comma = ','
    await nextTurn()
  }
  yield tail
}

/** Returns the records of each span. */
export function bySpan(records: SpanRecord[]): SpanRecord[][] {
  const spans = new IdMap<SpanRecord[], bigint | undefined>()
  for (const record of records) {
    const halves = spans.get(record.id)
    if (halves === undefined) spans.set(record.id, [record])
    else halves.push(record)
  }
  return [...spans.values()]
}
