import { T, type Writer } from '../codec/binary'
import { LOCAL_END, LOCAL_START } from '../codec/events'
import { beginRecord, endRecord, RECORD_HEADER, stringField } from '../codec/span'
import { END_EVENT, Kind, type LiveSpan, START_EVENT } from '../trace/span'

/**
 * Appends an ended span as a record (src/idl/milo.thrift): the SDK's own encoder, which reads a Span as it is and
 * allocates no objects.
 * @returns the record's struct length in bytes
 */
export function writeSpan(w: Writer, span: LiveSpan, service: string, host: string): number {
  const start = beginRecord(w)
  const { trace, kind } = span

  w.field(T.I64, 1)
  w.i64(trace.hi, trace.lo)
  stringField(w, 2, span.name)
  w.field(T.I64, 3)
  w.i64(span.idHi, span.idLo)
  w.field(T.I64, 4)
  w.i64(span.parentHi, span.parentLo)
  stringField(w, kind === Kind.SERVER ? 6 : 5, host)

  const events = span.events
  w.field(T.LIST, 7)
  w.byte(T.STRUCT)
  w.i32(2 + (events === undefined ? 0 : events.length / 2))
  writeEvent(w, span.startUs, START_EVENT[kind], kind === Kind.LOCAL ? LOCAL_START : undefined)
  if (events !== undefined) {
    for (let i = 0; i < events.length; i += 2) {
      writeEvent(w, events[i] as number, START_EVENT[Kind.LOCAL], events[i + 1] as string)
    }
  }
  writeEvent(w, span.endUs, END_EVENT[kind], kind === Kind.LOCAL ? LOCAL_END : undefined)

  const annotations = span.annotations
  if (annotations !== undefined) {
    w.field(T.MAP, 8)
    w.byte(T.STRING)
    w.byte(T.STRING)
    w.i32(annotations.length / 2)
    for (let i = 0; i < annotations.length; i++) w.string(annotations[i]!)
  }
  const counters = span.counters
  if (counters !== undefined) {
    w.field(T.MAP, 9)
    w.byte(T.STRING)
    w.byte(T.I64)
    w.i32(counters.length / 2)
    for (let i = 0; i < counters.length; i += 2) {
      w.string(counters[i] as string)
      w.i64FromNumber(counters[i + 1] as number)
    }
  }
  if (trace.highHi !== 0 || trace.highLo !== 0) {
    w.field(T.I64, 10)
    w.i64(trace.highHi, trace.highLo)
  }
  stringField(w, 11, service)
  if (!Number.isNaN(trace.probability)) {
    w.field(T.DOUBLE, 12)
    w.double(trace.probability)
  }
  w.byte(T.STOP)
  endRecord(w, start)
  return w.pos - start - RECORD_HEADER
}

function writeEvent(w: Writer, timeUs: number, type: number, value: string | undefined): void {
  w.field(T.I64, 1)
  w.i64FromNumber(Math.floor(timeUs))
  w.field(T.I32, 2)
  w.i32(type)
  if (value !== undefined) stringField(w, 3, value)
  w.byte(T.STOP)
}
