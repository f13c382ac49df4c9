import type { SpanRecord } from 'milo/codec/span'
import { JaegerWriter, type SpanPlace } from '../../formats/jaeger/write'
import { NO_PARENT, type Trace, type TraceSpan } from '../../trace'
import { hexId } from '../../trace/ids'
import { Turns } from '../../turns'
import { bySpan, listJson } from '../json-pieces'
import { treeOf } from '../stored-traces'

/** Yields a trace in Jaeger's JSON, in pieces: its spans as they were reported, where the trace's tree has them, by corrected clocks. */
export async function* jaegerTraceJson(records: SpanRecord[], truncated: boolean): AsyncGenerator<string> {
  const { traceId, start, spans } = await treeOf(records, truncated)
  const places = new Map(spans.map(span => [span.spanId, span]))
  const halves = bySpan(records.filter(({ traceId, id }) => traceId !== undefined && id !== undefined))
  const writer = new JaegerWriter(traceId, halves, id => placeOf(places.get(hexId(id)), start))
  await new Turns().take(writer.prepare(), 64)
  const head = `{"traceID":${JSON.stringify(traceId)},"spans":[`
  yield* listJson(head, halves, some => some.flatMap(records => writer.write(records)), '],')
  const warnings = truncated ? ['this trace is too long to be read as a whole: a part of it is here'] : null
  yield `"processes":${JSON.stringify(writer.processes)},"warnings":${JSON.stringify(warnings)}}`
}

/** Yields Jaeger's answer with one trace. */
export async function* jaegerAnswer(records: SpanRecord[], truncated: boolean): AsyncGenerator<string> {
  yield '{"data":['
  yield* jaegerTraceJson(records, truncated)
  yield '],"total":0,"limit":0,"offset":0,"errors":null}'
}

function placeOf(span: TraceSpan | undefined, start: Trace['start']): SpanPlace {
  if (span === undefined) {
    return { name: '', parentId: undefined, correctionUs: () => 0, startUs: start ?? 0, warnings: [] }
  }
  const isRoot = span.parentId === NO_PARENT || span.cycle
  const warnings: string[] = []
  if (span.cycle) warnings.push(`the parents of this span form a circle, which is cut here: ${span.parentId}`)
  if (span.orphan) warnings.push(`the parent of this span isn't in the trace: ${span.parentId}`)
  if (span.repeats.length > 0) warnings.push(`${span.repeats.length} reports of this span are of the same side`)
  const corrections = {
    client: correction(span.clientStart, span.rawClientStart),
    server: correction(span.serverStart, span.rawServerStart),
    local: correction(span.start, span.rawStart),
  }
  return {
    name: span.name,
    parentId: isRoot ? undefined : BigInt.asIntN(64, BigInt(`0x${span.parentId}`)),
    correctionUs: side => corrections[side],
    startUs: Math.round(span.start ?? start ?? 0),
    warnings,
  }
}

function correction(corrected: number | null, raw: number | null | undefined): number {
  return corrected === null || raw === null || raw === undefined ? 0 : Math.round(corrected - raw)
}
